//! A stream's response on its way to a client.

use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Body as _;

use super::ascent::Ascent;
use super::response::{self, Framing};
use crate::http1::converse::{Listening, Silence};
use crate::http1::deliver::{Broken, Step, WaitsFor};
use crate::http1::leaving::{CHUNK_AND_LAST, LAST_CHUNK, LINE_END, Leaving};
use crate::http1::upload::Upload;
use crate::http2::receive::Receive;
use crate::transport::buffer::HeadBuffer;
use crate::transport::socket::Socket;

/// A response under way. Nothing is taken of it before the client has taken what came last.
pub(crate) struct Descent<'a, 'c, S> {
    pub(crate) client: &'a mut Listening<'c, S>,
    pub(crate) out: Leaving<&'a mut HeadBuffer>,
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

/// What has moved since this was last cleared.
#[derive(Clone, Copy, Default)]
pub(crate) struct Moved {
    taken: bool,
    given: bool,
    backend: bool,
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
                        self.out.front().extend_from_slice(LAST_CHUNK);
                        response::write_trailers(&trailers, self.out.front());
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
        let back: &[u8] = match self.framing {
            // An empty chunk would be the last one.
            Framing::Chunked if data.is_empty() => return,
            Framing::Chunked => {
                // Writing to a vector does not fail.
                let _ = write!(self.out.front(), "{:x}\r\n", data.len());
                LINE_END
            }
            // That there is no body was said already.
            Framing::Bodiless => return,
            Framing::Known(_) | Framing::UntilClose => b"",
        };
        self.out.put(data, back);
    }

    /// All of it has come.
    fn end(&mut self) {
        self.body = None;
        if self.framing == Framing::Chunked {
            if self.out.is_open() {
                self.out.front().extend_from_slice(LAST_CHUNK);
                self.out.front().extend_from_slice(LINE_END);
            } else {
                self.out.end_with(CHUNK_AND_LAST);
            }
        }
    }
}
