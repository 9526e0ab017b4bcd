//! A stream's response on its way to a client.

use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use http_body::Body as _;

use super::ascent::Ascent;
use super::response::{self, Framing};
use crate::buffer::HeadBuffer;
use crate::http1::converse::{Listening, Silence};
use crate::http1::deliver::{Broken, Step, WaitsFor};
use crate::http1::upload::Upload;
use crate::http2::receive::Receive;
use crate::socket::Socket;

/// A response under way. Nothing is taken of it before the client has taken what came last.
pub(crate) struct Descent<'a, 'c, S> {
    pub(crate) client: &'a mut Listening<'c, S>,
    pub(crate) out: Out<'a>,
    pub(crate) framing: Framing,
    /// `None`: all of it has come.
    pub(crate) body: Option<&'a mut Receive>,
    /// The request's body, which may still be on its way.
    pub(crate) ascent: &'a mut Ascent,
    pub(crate) upload: &'a mut Upload,
    /// The client took nothing the last time it was offered something.
    pub(crate) blocked: bool,
    /// That the backend is not needed any more has been said.
    pub(crate) parted: bool,
    pub(crate) moved: Moved,
}

/// What waits to be written.
pub(crate) struct Out<'a> {
    /// Leaves first: the head, a chunk's size, what is behind the last chunk.
    front: &'a mut HeadBuffer,
    front_sent: usize,
    data: Bytes,
    /// Leaves behind the data.
    back: &'static [u8],
}

/// What has moved since this was last cleared.
#[derive(Clone, Copy, Default)]
pub(crate) struct Moved {
    taken: bool,
    given: bool,
    backend: bool,
}

const LINE_END: &[u8] = b"\r\n";
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
const CHUNK_AND_LAST: &[u8] = b"\r\n0\r\n\r\n";

impl<'a> Out<'a> {
    /// A head.
    pub(crate) fn new(front: &'a mut HeadBuffer) -> Self {
        Self {
            front,
            front_sent: 0,
            data: Bytes::new(),
            back: b"",
        }
    }

    fn is_empty(&self) -> bool {
        self.front_sent == self.front.len() && self.is_open()
    }

    /// Whether something can be put behind what is there.
    fn is_open(&self) -> bool {
        self.data.is_empty() && self.back.is_empty()
    }

    /// In one system call, whatever there is.
    fn poll_write<S: Socket>(&self, cx: &mut Context<'_>, socket: &mut S) -> Poll<io::Result<usize>> {
        let front = self.front.get(self.front_sent..).unwrap_or_default();
        let socket = Pin::new(socket);
        match (front, &*self.data, self.back) {
            (front, [], []) => socket.poll_write(cx, front),
            ([], data, []) => socket.poll_write(cx, data),
            (front, data, back) => {
                let parts = [front, data, back].map(IoSlice::new);
                socket.poll_write_vectored(cx, &parts)
            }
        }
    }

    fn advance(&mut self, count: usize) {
        let of_front = count.min(self.front.len() - self.front_sent);
        self.front_sent += of_front;
        if self.front_sent == self.front.len() {
            self.front.clear();
            self.front_sent = 0;
        }
        let of_data = (count - of_front).min(self.data.len());
        self.data.advance(of_data);
        self.back = self.back.get(count - of_front - of_data..).unwrap_or_default();
    }
}

impl<S: Socket> Descent<'_, '_, S> {
    /// Moves what can be moved. [`Step::Come`] once, when the backend is not needed any more.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, Broken>> {
        self.poll_ascent(cx)?;
        loop {
            if self.out.is_open() {
                self.pull(cx)?;
            }
            // Before the last bytes are written: a client that has the whole answer can count on the place being free
            // again.
            if !self.parted && self.body.is_none() && self.ascent.is_over() {
                self.parted = true;
                return Poll::Ready(Ok(Step::Come));
            }
            if self.out.is_empty() {
                return if self.parted {
                    Poll::Ready(Ok(Step::Done))
                } else {
                    self.wait(cx)
                };
            }
            match self.out.poll_write(cx, self.client.socket) {
                Poll::Ready(Ok(count)) if count > 0 => {
                    (self.blocked, self.moved.taken) = (false, true);
                    self.client.taken += count as u64;
                    self.out.advance(count);
                }
                Poll::Ready(_) => return Poll::Ready(Err(Broken::Client)),
                Poll::Pending => {
                    self.blocked = true;
                    return Poll::Pending;
                }
            }
        }
    }

    /// Whom a delivery that can't go on waits for.
    pub(crate) fn waits_for(&self) -> WaitsFor {
        if self.blocked {
            WaitsFor::Taking
        } else if !self.ascent.is_over() && self.upload.outgoing().is_empty() {
            WaitsFor::Giving
        } else {
            WaitsFor::Backend
        }
    }

    /// Whether the one that is waited for has moved.
    pub(crate) fn has_moved(&self, whom: WaitsFor) -> bool {
        match whom {
            WaitsFor::Taking => self.moved.taken,
            WaitsFor::Giving => self.moved.given,
            WaitsFor::Backend => self.moved.backend,
        }
    }

    /// Notices a client that leaves while the backend is waited for.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, Broken>> {
        let next = &mut self.upload.body.buffer;
        if self.ascent.has_ended() && self.client.poll_gone(cx, next).is_ready() {
            return Poll::Ready(Err(Broken::Client));
        }
        Poll::Pending
    }

    /// The rest of a request whose answer has begun early.
    fn poll_ascent(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        while !self.ascent.is_over() {
            match self.ascent.poll(cx, self.client, self.upload) {
                Poll::Ready(Ok(_)) => (self.moved.given, self.moved.backend) = (true, true),
                Poll::Ready(Err(Silence::ClientGone)) => return Err(Broken::Client),
                Poll::Ready(Err(_)) => return Err(Broken::Upload),
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// Takes what comes next of the response, if it is there.
    fn pull(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        while self.out.is_open()
            && let Some(body) = &mut self.body
        {
            let frame = match Pin::new(&mut **body).poll_frame(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(None) => {
                    self.end();
                    return Ok(());
                }
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(%error, "a response broke off");
                    return Err(Broken::Backend);
                }
            };
            self.moved.backend = true;
            let ended = body.is_end_stream();
            match frame.into_data() {
                Ok(data) => self.take(data),
                Err(frame) => {
                    if let (Framing::Chunked, Ok(trailers)) = (self.framing, frame.into_trailers()) {
                        self.out.front.extend_from_slice(b"0\r\n");
                        response::write_trailers(&trailers, self.out.front);
                        self.body = None;
                        return Ok(());
                    }
                }
            }
            if ended {
                self.end();
            }
        }
        Ok(())
    }

    fn take(&mut self, data: Bytes) {
        match self.framing {
            // An empty chunk would be the last one.
            Framing::Chunked if data.is_empty() => return,
            Framing::Chunked => {
                // Writing to a vector does not fail.
                let _ = write!(**self.out.front, "{:x}\r\n", data.len());
                self.out.back = LINE_END;
            }
            // That there is no body was said already.
            Framing::Bodiless => return,
            Framing::Known(_) | Framing::UntilClose => {}
        }
        self.out.data = data;
    }

    /// All of it has come.
    fn end(&mut self) {
        self.body = None;
        if self.framing == Framing::Chunked {
            if self.out.is_open() {
                self.out.front.extend_from_slice(LAST_CHUNK);
            } else {
                self.out.back = CHUNK_AND_LAST;
            }
        }
    }
}
