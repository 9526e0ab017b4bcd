//! What the codec needs of a connection, whether it is encrypted or not.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::worker::timer::Timer;

/// A connection that can tell that bytes have come without being given memory for them.
///
/// Whoever was told `Pending` for bytes that were to be written offers them again, or nothing ever more.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// Ready once a read would bring bytes, the end, or an error.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Says what has to be said before an end in peace, as far as the system takes it at once.
    fn part(&mut self) {}

    /// Whether an end right now is one in peace: nothing has come that nobody has read, and nothing comes in answer to
    /// the end. Meaningful only of a side that has said that it sends nothing more.
    fn is_quiet(&self) -> bool;

    /// Ends it so that the other side sees that it was broken off.
    fn reset(self);
}

impl Socket for TcpStream {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }

    fn is_quiet(&self) -> bool {
        // The system is asked only if something is known to have happened.
        let read = self.try_read(&mut [0]);
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    fn reset(self) {
        // If the system refuses it the connection is closed in the ordinary way, which is all that can be done.
        let _ = self.set_zero_linger();
    }
}

/// Reads into `space`. How many bytes; 0 is the end, or no space.
pub(crate) fn poll_read<S: Socket>(
    socket: &mut S,
    cx: &mut Context<'_>,
    space: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buf = ReadBuf::new(space);
    Pin::new(socket)
        .poll_read(cx, &mut buf)
        .map_ok(|()| buf.filled().len())
}

/// Writes some of `bytes`.
pub(crate) fn poll_write<S: Socket>(
    socket: &mut S,
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    Pin::new(socket).poll_write(cx, bytes)
}

/// Writes all of `bytes`, within the timer's time.
pub(crate) async fn write_all<S: Socket>(
    socket: &mut S,
    timer: &Timer,
    until: Instant,
    bytes: &[u8],
) -> io::Result<()> {
    let mut rest = bytes;
    let mut armed = false;
    poll_fn(|cx| {
        while !rest.is_empty() {
            if timer.poll_due(cx).is_ready() && armed {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            match poll_write(socket, cx, rest) {
                Poll::Ready(Ok(count)) => rest = rest.get(count..).unwrap_or_default(),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    if !armed {
                        timer.arm(until);
                        armed = true;
                    }
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    })
    .await
}
