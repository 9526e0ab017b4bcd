//! What is written to a client, gathered until the end of a turn.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::buffer::{Buffer, Buffers};
use crate::phase::Phase;
use crate::socket::Socket;

/// A socket of which writes leave together: when whoever drives the connection says so, or when a buffer is full.
///
/// h2 0.4.20 writes every DATA frame of more than a few hundred bytes by itself, since its encoder holds one at a
/// time ([hyperium/h2#902](https://github.com/hyperium/h2/issues/902)): a system call for each answer, where the
/// answers of a turn could share one. So a flush of h2's is none here; [`poll_send`](Self::poll_send) is.
///
/// A clone is the same socket.
pub(crate) struct Gathering<S>(Rc<RefCell<Gathered<S>>>);

struct Gathered<S> {
    stream: S,
    /// What has been taken and not been sent.
    held: Buffer,
    /// Why nothing more can be sent; for h2 to find.
    failed: Option<io::Error>,
    /// Told whether the client takes what it is sent.
    phase: Rc<Phase>,
}

impl<S> Clone for Gathering<S> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<S: Socket> Gathering<S> {
    pub(crate) fn new(stream: S, buffers: &Rc<Buffers>, phase: Rc<Phase>) -> Self {
        Self(Rc::new(RefCell::new(Gathered {
            stream,
            held: buffers.buffer(),
            failed: None,
            phase,
        })))
    }

    /// Sends what has been gathered. Pending: the client doesn't take all of it now. It fails as a write does, and
    /// so does the next write or flush.
    pub(crate) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        let mut this = self.0.borrow_mut();
        let Err(error) = ready!(this.poll_send(cx)) else {
            return Poll::Ready(Ok(()));
        };
        this.failed = Some(error);
        Poll::Ready(Err(Unsent))
    }
}

/// The client can't be written to any more. Why, h2 is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unsent;

impl<S: Socket> Gathered<S> {
    fn poll_take(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        // The larger kind at once: it goes back at the end of the turn, and to the next connection.
        self.held.grow();
        if self.held.space().len() < bytes.len() {
            self.held.shift();
        }
        if self.held.space().is_empty() {
            ready!(self.poll_send(cx))?;
            self.held.grow();
        }
        let space = self.held.space();
        let count = space.len().min(bytes.len());
        if let (Some(space), Some(bytes)) = (space.get_mut(..count), bytes.get(..count)) {
            space.copy_from_slice(bytes);
        }
        self.held.filled(count);
        Poll::Ready(Ok(count))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let polled = Pin::new(&mut self.stream).poll_write(cx, self.held.data());
            self.phase.writing(polled.is_pending());
            match ready!(polled)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.held.consume(count),
            }
        }
        self.held.release();
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn check(&mut self) -> io::Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }
}

impl<S: Socket> AsyncRead for Gathering<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_read(cx, buf)
    }
}

impl<S: Socket> AsyncWrite for Gathering<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_take(cx, buf)
    }

    /// Nothing: see [`Gathering`].
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.borrow_mut().check())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut this = self.0.borrow_mut();
        this.check()?;
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}
