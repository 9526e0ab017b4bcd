//! What an attempt says to a backend, and hears from it: the request's head and body up, a response's head down.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite as _;

use super::body::BodyError;
use super::response::{self, Asked, Head, Manner, ResponseError};
use super::upload::Upload;
use crate::exchange::retry::Failed;
use crate::transport::buffer::{Buffer, HeadBuffer};
use crate::transport::socket::{Socket, poll_read};
use crate::upstream::wire::Wire;

/// Why there is no response.
#[derive(Debug)]
pub(super) enum Silence {
    /// The backend's failure.
    Backend(Failed),
    /// The client's body is wrong.
    Body(BodyError),
    /// The client has gone.
    ClientGone,
}

impl From<Failed> for Silence {
    fn from(failed: Failed) -> Self {
        Self::Backend(failed)
    }
}

/// Where a client's body has got to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Uploaded {
    /// Some of it moved; there is more.
    Moved,
    /// All of it has left.
    All,
}

/// The part of a client's body that a backend has not taken when it answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unread {
    Nothing,
    /// The client has been waiting for a 100, and may now send all of it or none (RFC 9110 §10.1.1).
    Withheld,
    /// The backend takes no more.
    Refused,
    /// It is still being taken.
    Coming,
}

impl Unread {
    /// Whether a response with this head is the last on the client's connection because of that.
    pub(super) fn ends(self, head: &Head) -> bool {
        match self {
            Self::Nothing => false,
            Self::Withheld | Self::Refused => true,
            Self::Coming => !head.keep_alive,
        }
    }
}

/// The client as it looks while its request is under way.
pub(super) struct Listening<'a, S> {
    pub(super) socket: &'a mut S,
    /// Whether it may still say something: until it has shut its side, or has sent the beginning of its next
    /// request.
    pub(super) listens: bool,
    /// It has shut its side.
    pub(super) shut: bool,
    /// Bytes that it has taken of an answer.
    pub(super) taken: u64,
}

impl<S: Socket> Listening<'_, S> {
    /// Notices whether the client, which has nothing more to send, breaks its connection off. Bytes of its next
    /// request are taken once and then left to wait.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>, next: &mut Buffer) -> Poll<()> {
        if !self.listens || self.socket.poll_readable(cx).is_pending() {
            return Poll::Pending;
        }
        let space = next.space();
        if space.is_empty() {
            self.listens = false;
            return Poll::Pending;
        }
        match poll_read(self.socket, cx, space) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(0)) => self.shut = true,
            Poll::Ready(Ok(count)) => next.filled(count),
            Poll::Ready(Err(_)) => return Poll::Ready(()),
        }
        self.listens = false;
        Poll::Pending
    }
}

/// One attempt's conversation with a backend.
pub(super) struct Conversation<'a, 'c, S> {
    pub(super) wire: &'a mut Wire,
    pub(super) client: &'a mut Listening<'c, S>,
    pub(super) upload: &'a mut Upload,
    /// The request's head, and how much of it has left.
    pub(super) head: &'a [u8],
    pub(super) head_sent: usize,
    /// What has come from the backend, and how much of it has been looked at.
    pub(super) heard: &'a mut Buffer,
    pub(super) seen: usize,
    /// Interim responses that have come.
    pub(super) interim: u32,
    /// Whether it has been asked for an answer before.
    pub(super) asked_before: bool,
    /// Writing has failed; the backend may have answered before.
    pub(super) deaf: bool,
    /// Whether the connection has served before.
    pub(super) reused: bool,
}

impl<S: Socket> Conversation<'_, '_, S> {
    /// Moves the request up as far as both sides allow. Ready when something moved, once all has left, or when
    /// the client fails; a backend that takes no more is only noted, since it may have answered already.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<Uploaded, Silence>> {
        let mut moved = false;
        loop {
            if self.deaf {
                return Poll::Pending;
            }
            if self.head_sent == self.head.len() && self.upload.has_left() {
                return Poll::Ready(Ok(Uploaded::All));
            }
            self.upload.body.decode().map_err(Silence::Body)?;
            let head = self.head.get(self.head_sent..).unwrap_or_default();
            let body = self.upload.outgoing();
            if head.is_empty() && body.is_empty() {
                match fill(cx, self.client.socket, self.upload) {
                    Poll::Ready(Ok(())) => moved = true,
                    Poll::Ready(Err(silence)) => return Poll::Ready(Err(silence)),
                    Poll::Pending if moved => return Poll::Ready(Ok(Uploaded::Moved)),
                    Poll::Pending => return Poll::Pending,
                }
                continue;
            }
            match poll_write_both(self.wire, cx, head, body) {
                Poll::Ready(Ok(count)) => {
                    let of_head = count.min(head.len());
                    self.head_sent += of_head;
                    self.upload.sent(count - of_head);
                    moved = true;
                }
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "a backend takes no more of a request");
                    if self.head_sent == 0 {
                        // Not a byte of it was taken.
                        let failed = if self.reused {
                            Failed::NotSent
                        } else {
                            Failed::Connect
                        };
                        return Poll::Ready(Err(failed.into()));
                    }
                    self.deaf = true;
                }
                Poll::Pending if moved => return Poll::Ready(Ok(Uploaded::Moved)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// What is to become of the rest of the client's body, if a final response comes now. `waits`: the client sends
    /// none before it is told to, and has not been.
    pub(super) fn unread(&self, waits: bool) -> Unread {
        if self.upload.has_left() {
            Unread::Nothing
        } else if waits && !self.upload.has_begun() {
            Unread::Withheld
        } else if self.deaf {
            Unread::Refused
        } else {
            Unread::Coming
        }
    }

    /// Whether the client is waited for: it has still to send some of its body.
    pub(super) fn waits_for_client(&self) -> bool {
        self.head_sent == self.head.len()
            && !self.deaf
            && self.upload.outgoing().is_empty()
            && !self.upload.has_left()
    }

    /// Reads a response's head, final or interim. What the client gets in its place is in `out`.
    pub(super) fn poll_hear<'m>(
        &mut self,
        cx: &mut Context<'_>,
        asked: Asked,
        manner: impl Fn(&Head) -> Manner<'m>,
        out: &mut HeadBuffer,
    ) -> Poll<Result<Head, Failed>> {
        loop {
            if self.heard.len() > self.seen {
                let read = response::read(self.heard.data(), self.seen, asked, |head, fields| {
                    if !head.is_agreed(self.heard.data(), self.head) {
                        return Err(ResponseError::Unasked);
                    }
                    head.write(self.heard.data(), fields, &manner(&head), out)
                });
                match read {
                    Ok(Some((head, ()))) => {
                        self.heard.consume(head.len);
                        self.seen = 0;
                        return Poll::Ready(Ok(head));
                    }
                    Ok(None) => self.seen = self.heard.len(),
                    Err(error) => {
                        tracing::debug!(%error, "a backend's response is malformed");
                        return Poll::Ready(Err(Failed::Malformed));
                    }
                }
            }
            // Right behind the request there is none, and no memory is needed to see that. Later, whoever has been
            // woken reads at once.
            if !std::mem::replace(&mut self.asked_before, true)
                && let Err(error) = ready!(self.wire.poll_readable(cx))
            {
                return Poll::Ready(Err(self.silent(Some(&error))));
            }
            if self.heard.space().is_empty() {
                self.heard.shift();
                if self.heard.space().is_empty() {
                    self.heard.grow();
                }
            }
            match poll_read(self.wire, cx, self.heard.space()) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.silent(None))),
                Poll::Ready(Ok(count)) => self.heard.filled(count),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.silent(Some(&error)))),
                Poll::Pending => {
                    self.heard.release();
                    return Poll::Pending;
                }
            }
        }
    }

    /// The backend's connection has ended without a response.
    fn silent(&self, error: Option<&io::Error>) -> Failed {
        let heard = !self.heard.is_empty() || self.interim > 0;
        tracing::debug!(
            error = error.map(tracing::field::display),
            heard,
            reused = self.reused,
            "no response"
        );
        if self.reused && !heard {
            Failed::Stale
        } else {
            Failed::NoResponse
        }
    }
}

/// Asks the client for more of its body.
pub(super) fn fill<S: Socket>(
    cx: &mut Context<'_>,
    socket: &mut S,
    upload: &mut Upload,
) -> Poll<Result<(), Silence>> {
    // Nothing is held while the client pauses.
    upload.body.buffer.release();
    if ready!(socket.poll_readable(cx)).is_err() {
        return Poll::Ready(Err(Silence::ClientGone));
    }
    if !upload.body.buffer.is_large() && upload.body.to_come() > LARGE_BODY {
        upload.body.buffer.grow();
    }
    let space = upload.body.space();
    if space.is_empty() {
        return Poll::Ready(Err(Silence::Body(BodyError::TooLong)));
    }
    match ready!(poll_read(socket, cx, space)) {
        Ok(0) => Poll::Ready(upload.body.closed().map_err(Silence::Body)),
        Ok(count) => {
            upload.body.buffer.filled(count);
            Poll::Ready(Ok(()))
        }
        Err(_) => Poll::Ready(Err(Silence::ClientGone)),
    }
}

/// Bodies of which more than this is still to come are moved by the larger buffers.
pub(crate) const LARGE_BODY: u64 = 16 * 1024;

/// Writes a head and what follows it, in one system call if there are both.
fn poll_write_both(
    wire: &mut Wire,
    cx: &mut Context<'_>,
    head: &[u8],
    body: &[u8],
) -> Poll<io::Result<usize>> {
    let wire = Pin::new(wire);
    match (head, body) {
        (head, []) => wire.poll_write(cx, head),
        ([], body) => wire.poll_write(cx, body),
        (head, body) => wire.poll_write_vectored(cx, &[IoSlice::new(head), IoSlice::new(body)]),
    }
}
