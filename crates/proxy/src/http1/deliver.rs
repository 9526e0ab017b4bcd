//! A response's body on its way to the client.

use std::task::{Context, Poll};

use super::body::{Body, BodyError};
use super::converse::{LARGE_BODY, Listening, Silence, fill};
use super::upload::Upload;
use crate::transport::socket::{Socket, poll_read, poll_write};
use crate::upstream::wire::Wire;

/// A response under way.
pub(super) struct Delivery<'a, 'c, S> {
    pub(super) client: &'a mut Listening<'c, S>,
    /// The client gets this first.
    pub(super) head: &'a [u8],
    pub(super) head_sent: usize,
    pub(super) body: &'a mut Body,
    /// The request's body, which may still be on its way.
    pub(super) upload: &'a mut Upload,
    /// The backend takes no more of it.
    pub(super) deaf: bool,
    /// The client took nothing the last time it was offered something.
    pub(super) blocked: bool,
    pub(super) moved: Moved,
}

/// What has moved since this was last cleared.
#[derive(Clone, Copy, Default)]
pub(super) struct Moved {
    /// The client took some of the answer.
    taken: bool,
    /// The client gave some of its own body.
    given: bool,
    /// The backend said something, or took something.
    backend: bool,
}

/// Whose turn it is, as long as nothing moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum WaitsFor {
    /// The client is to take some of the answer.
    Taking,
    /// The client is to give more of its body.
    Giving,
    /// The backend is to say or to take more.
    Backend,
}

/// How far a delivery has got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// The backend is not needed any more. The client may still have to take some of what it said.
    Come,
    /// The client has everything.
    Done,
}

/// Why a response could not be delivered to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Broken {
    /// The backend broke it off, or its framing.
    Backend,
    /// The client has gone.
    Client,
    /// The client's own body, still being sent, is wrong.
    Upload,
}

impl<S: Socket> Delivery<'_, '_, S> {
    /// Puts the head before the beginning of the body, if there is one, so that they leave together.
    pub(super) fn join(&mut self) -> Result<(), BodyError> {
        self.body.decode()?;
        if self.body.prepend(self.head) {
            self.head_sent = self.head.len();
        }
        Ok(())
    }

    /// Moves what can be moved; `wire` is the backend's connection, as long as it is needed.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        wire: Option<&mut Wire>,
    ) -> Poll<Result<Step, Broken>> {
        let Some(wire) = wire else {
            return self.poll_write(cx).map_ok(|()| Step::Done);
        };
        self.poll_upload(cx, wire)?;
        loop {
            // Before its last bytes are written: a client that has the whole answer can count on the place being
            // free again.
            if self.backend_is_done(cx, wire) {
                return Poll::Ready(Ok(Step::Come));
            }
            let written = match self.poll_write(cx) {
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(broken)) => return Poll::Ready(Err(broken)),
                Poll::Pending => false,
            };
            if self.backend_is_done(cx, wire) {
                return Poll::Ready(Ok(Step::Come));
            }
            if !written || self.body.has_come() {
                return Poll::Pending;
            }
            match self.poll_read(cx, wire) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "a response broke off");
                    return Poll::Ready(Err(Broken::Backend));
                }
                Poll::Pending => {
                    self.body.buffer.release();
                    let uploaded = self.upload.body.has_left();
                    let next = &mut self.upload.body.buffer;
                    let gone = uploaded && self.client.poll_gone(cx, next).is_ready();
                    return if gone {
                        Poll::Ready(Err(Broken::Client))
                    } else {
                        Poll::Pending
                    };
                }
            }
        }
    }

    /// Whom a delivery that can't go on waits for.
    pub(super) fn waits_for(&self) -> WaitsFor {
        if self.blocked {
            WaitsFor::Taking
        } else if !self.deaf && !self.upload.has_left() && self.upload.outgoing().is_empty() {
            WaitsFor::Giving
        } else {
            WaitsFor::Backend
        }
    }

    /// Whether the one that is waited for has moved. What others did doesn't count: a client that takes nothing
    /// could hold its connection by a trickle of its own body.
    pub(super) fn has_moved(&self, whom: WaitsFor) -> bool {
        match whom {
            WaitsFor::Taking => self.moved.taken,
            WaitsFor::Giving => self.moved.given,
            WaitsFor::Backend => self.moved.backend,
        }
    }

    fn backend_is_done(&mut self, cx: &mut Context<'_>, wire: &mut Wire) -> bool {
        if !self.body.has_come() {
            return false;
        }
        if self.deaf || self.upload.has_left() {
            return true;
        }
        // It has said everything and may read on. If it has closed as well, nobody is left to send the rest to.
        self.deaf = match wire.poll_readable(cx) {
            Poll::Ready(Ok(())) => poll_read(wire, cx, &mut [0]).is_ready(),
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        };
        self.deaf
    }

    /// Writes until nothing is left to be written, or the client takes no more.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        loop {
            let head = self.head.get(self.head_sent..).unwrap_or_default();
            let next = if head.is_empty() {
                self.body.outgoing()
            } else {
                head
            };
            if next.is_empty() {
                if let Err(error) = self.body.decode() {
                    tracing::debug!(%error, "a response is malformed");
                    return Poll::Ready(Err(Broken::Backend));
                }
                if self.body.outgoing().is_empty() {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            match poll_write(self.client.socket, cx, next) {
                Poll::Ready(Ok(count)) => {
                    (self.blocked, self.moved.taken) = (false, true);
                    self.client.taken += count as u64;
                    if head.is_empty() {
                        self.body.sent(count);
                    } else {
                        self.head_sent += count;
                    }
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Client)),
                Poll::Pending => {
                    self.blocked = true;
                    return Poll::Pending;
                }
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, wire: &mut Wire) -> Poll<Result<(), BodyError>> {
        match wire.poll_readable(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Poll::Ready(Err(BodyError::Truncated)),
            Poll::Pending => return Poll::Pending,
        }
        // The client has taken everything so far, so it is worth a larger step.
        if self.body.to_come() > LARGE_BODY {
            self.body.buffer.grow();
        }
        let space = self.body.space();
        if space.is_empty() {
            return Poll::Ready(Err(BodyError::TooLong));
        }
        match poll_read(wire, cx, space) {
            Poll::Ready(Ok(0)) => Poll::Ready(self.body.closed()),
            Poll::Ready(Ok(count)) => {
                self.moved.backend = true;
                self.body.buffer.filled(count);
                Poll::Ready(self.body.decode())
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(BodyError::Truncated)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// The rest of a request whose answer has begun early.
    fn poll_upload(&mut self, cx: &mut Context<'_>, wire: &mut Wire) -> Result<(), Broken> {
        while !self.deaf && !self.upload.has_left() {
            self.upload.body.decode().map_err(|_| Broken::Upload)?;
            let next = self.upload.outgoing();
            if next.is_empty() {
                match fill(cx, self.client.socket, self.upload) {
                    Poll::Ready(Ok(())) => {
                        self.moved.given = true;
                        continue;
                    }
                    Poll::Ready(Err(Silence::ClientGone)) => return Err(Broken::Client),
                    Poll::Ready(Err(_)) => return Err(Broken::Upload),
                    Poll::Pending => return Ok(()),
                }
            }
            match poll_write(wire, cx, next) {
                Poll::Ready(Ok(count)) => {
                    self.moved.backend = true;
                    self.upload.sent(count);
                }
                // It has answered, and doesn't want the rest.
                Poll::Ready(Err(_)) => self.deaf = true,
                Poll::Pending => return Ok(()),
            }
        }
        Ok(())
    }
}
