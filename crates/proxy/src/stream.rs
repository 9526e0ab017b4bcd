//! Sockets that remember what happened on them.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::phase::Phase;

/// A backend's socket: knows whether anything has come from it since a request began. The codec says only that
/// a response is incomplete, which is another matter when not a byte of it has come.
pub(crate) struct Heard {
    stream: TcpStream,
    heard: Rc<Cell<bool>>,
}

impl Heard {
    pub(crate) fn new(stream: TcpStream, heard: Rc<Cell<bool>>) -> Self {
        Self { stream, heard }
    }
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.heard.set(true);
        }
        polled
    }
}

/// A client's socket: begins with the bytes that told its protocol, and tells the connection's [`Phase`] of
/// what comes and what can't leave.
pub(crate) struct Observed {
    stream: TcpStream,
    first: Vec<u8>,
    phase: Rc<Phase>,
    heard: Rc<Cell<bool>>,
}

impl Observed {
    pub(crate) fn new(stream: TcpStream, first: Vec<u8>, phase: Rc<Phase>, heard: Rc<Cell<bool>>) -> Self {
        Self {
            stream,
            first,
            phase,
            heard,
        }
    }
}

impl AsyncRead for Observed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let count = self.first.len().min(buf.remaining());
            buf.put_slice(&self.first[..count]);
            self.first.drain(..count);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.heard.set(true);
        }
        polled
    }
}

macro_rules! write_through {
    ($name:ident, $seen:expr) => {
        impl AsyncWrite for $name {
            fn poll_write(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
                $seen(&self, polled.is_pending());
                polled
            }

            fn poll_write_vectored(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
                $seen(&self, polled.is_pending());
                polled
            }

            fn is_write_vectored(&self) -> bool {
                self.stream.is_write_vectored()
            }

            fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.stream).poll_flush(cx)
            }

            fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.stream).poll_shutdown(cx)
            }
        }
    };
}

write_through!(Heard, |_: &Pin<&mut Heard>, _| ());
write_through!(Observed, |this: &Pin<&mut Observed>, blocked| this
    .phase
    .writing(blocked));
