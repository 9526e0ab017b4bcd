//! What is written to a client, gathered until the end of a turn.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::listen::phase::Phase;
use crate::transport::buffer::{Buffer, Buffers};
use crate::transport::socket::Socket;

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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Waker;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::Config;
    use crate::listen::phase::Overdue;

    struct Pair {
        near: Gathering<TcpStream>,
        far: TcpStream,
        phase: Rc<Phase>,
    }

    async fn pair() -> Pair {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (far, near) = tokio::join!(
            TcpStream::connect(listener.local_addr().unwrap()),
            listener.accept()
        );
        let phase = Rc::new(Phase::new(&Config::default(), false));
        Pair {
            near: Gathering::new(near.unwrap().0, &Rc::default(), Rc::clone(&phase)),
            far: far.unwrap(),
            phase,
        }
    }

    #[tokio::test]
    async fn what_is_written_in_a_turn_leaves_at_its_end_and_in_one_go() {
        let Pair {
            mut near, mut far, ..
        } = pair().await;
        for part in ["a", "b", "c"] {
            near.write_all(part.as_bytes()).await.unwrap();
            near.flush().await.unwrap();
        }
        let mut byte = [0];
        assert!(far.try_read(&mut byte).is_err(), "nothing has been sent");
        poll_fn(|cx| near.poll_send(cx)).await.unwrap();
        // What was sent at once is read at once.
        far.readable().await.unwrap();
        let mut all = [0; 8];
        assert_eq!(far.read(&mut all).await.unwrap(), 3);
        assert_eq!(&all[..3], b"abc");
        assert_eq!(near.0.borrow_mut().held.len(), 0);
    }

    #[tokio::test]
    async fn whoever_takes_nothing_is_timed_and_not_gathered_for_without_end() {
        let Pair { mut near, phase, far } = pair().await;
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(taken) = Pin::new(&mut near).poll_write(&mut cx, &[0; 10_000]) {
            taken.unwrap();
        }
        let held = near.0.borrow().held.len();
        assert!((1..=64 * 1024).contains(&held), "{held}");
        let blocked = phase.due();
        assert!(blocked < tokio::time::Instant::now() + Config::default().send_timeout);
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(near.poll_send(&mut cx).is_pending());
        assert_eq!(phase.due(), blocked, "to try again puts nothing off");
        tokio::time::advance(Config::default().send_timeout).await;
        assert_eq!(phase.overdue(), Some(Overdue::Send));
        drop(far);
    }

    #[tokio::test]
    async fn a_failure_is_told_to_whoever_writes_next() {
        let Pair { mut near, far, .. } = pair().await;
        far.set_zero_linger().unwrap();
        drop(far);
        near.write_all(b"a").await.unwrap();
        // Not before the reset has come.
        assert!(near.read_u8().await.is_err());
        near.write_all(b"a").await.unwrap();
        assert_eq!(poll_fn(|cx| near.poll_send(cx)).await, Err(Unsent));
        assert!(near.flush().await.is_err());
    }

    #[tokio::test]
    async fn an_end_comes_behind_what_was_gathered() {
        let Pair {
            mut near, mut far, ..
        } = pair().await;
        near.write_all(b"abc").await.unwrap();
        near.shutdown().await.unwrap();
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"abc");
    }
}
