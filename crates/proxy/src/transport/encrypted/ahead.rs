use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What is read in one go. A record has 16 KiB at most.
const STEP: usize = 32 * 1024;

/// A socket that is read from ahead. rustls asks for 4 KiB at a time, which would be a call to the system for each
/// of them: two hundred and more for a mebibyte. Memory is held only while bytes of a step are still to be taken.
pub(super) struct Ahead {
    stream: TcpStream,
    bytes: Vec<u8>,
    taken: usize,
    left: u64,
}

impl Ahead {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            bytes: Vec::new(),
            taken: 0,
            left: 0,
        }
    }

    pub(super) fn into_socket(self) -> TcpStream {
        self.stream
    }

    /// Waits for the first byte that is still to be taken, and leaves it there. `None`: the end has come.
    pub(super) async fn first(&mut self) -> io::Result<Option<u8>> {
        poll_fn(|cx| self.poll_fill(cx)).await?;
        Ok(self.bytes.get(self.taken).copied())
    }

    /// Ready once there is something to be taken, or nothing more will come.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() {
            ready!(self.stream.poll_read_ready(cx))?;
            let mut bytes = Vec::with_capacity(STEP);
            ready!(pin!(self.stream.read_buf(&mut bytes)).poll(cx))?;
            self.bytes = bytes;
        }
        Poll::Ready(Ok(()))
    }

    /// Bytes that the system has taken so far.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    fn count(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = &written {
            self.left += *count as u64;
        }
        written
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.stream
    }
}

impl AsyncRead for Ahead {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_fill(cx))?;
        let rest = this.bytes.get(this.taken..).unwrap_or_default();
        let count = rest.len().min(buf.remaining());
        buf.put_slice(rest.get(..count).unwrap_or_default());
        this.taken += count;
        if this.taken >= this.bytes.len() {
            (this.bytes, this.taken) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Ahead {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn all_comes_in_order_and_nothing_is_held_in_between() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut ahead = Ahead::new(listener.accept().await.unwrap().0);
        let sent: Vec<u8> = (0..100_000_u32).map(|at| at.to_le_bytes()[0]).collect();
        let sending = async {
            sender.write_all(&sent).await.unwrap();
            sender
        };
        let mut got = vec![0; sent.len()];
        let (sender, read) = tokio::join!(sending, async {
            for piece in got.chunks_mut(4_096) {
                ahead.read_exact(piece).await.unwrap();
            }
        });
        let () = read;
        assert!(got == sent);
        let mut cx = Context::from_waker(Waker::noop());
        let mut space = [0; 16];
        let polled = Pin::new(&mut ahead).poll_read(&mut cx, &mut ReadBuf::new(&mut space));
        assert!(polled.is_pending());
        assert_eq!(ahead.bytes.capacity(), 0);
        drop(sender);
        assert_eq!(ahead.read(&mut space).await.unwrap(), 0);
    }
}
