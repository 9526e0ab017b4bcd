//! Sockets that remember what happened on them.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http2::Breach;
use crate::http2::flood::Flood;
use crate::http2::frames::Frames;
use crate::http2::gather::Gathering;
use crate::http2::sections::{Counter, Sections};
use crate::listen::phase::Phase;
use crate::transport::socket::Socket;
use crate::upstream::wire::Wire;

/// A backend's socket: knows whether anything has come from it since a request began. The codec says only that
/// a response is incomplete, which is another matter when not a byte of it has come. Counts the fields of trailers.
pub(crate) struct Heard {
    stream: Wire,
    heard: Arc<AtomicBool>,
    counter: Counter,
    sections: Rc<Sections>,
}

impl Heard {
    pub(crate) fn new(stream: Wire, heard: Arc<AtomicBool>, sections: Rc<Sections>) -> Self {
        Self {
            stream,
            heard,
            counter: Counter::of_backend(),
            sections,
        }
    }
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        let came = buf.filled().get(before..).unwrap_or_default();
        if !came.is_empty() {
            this.heard.store(true, Ordering::Relaxed);
            this.counter.read(came, &this.sections);
        }
        polled
    }
}

/// A client's socket: begins with the bytes that told its protocol, and tells the connection's [`Phase`] of
/// what comes.
pub(crate) struct Observed<S> {
    stream: Gathering<S>,
    first: Vec<u8>,
    phase: Rc<Phase>,
    heard: Arc<AtomicBool>,
    flood: Flood,
    frames: Frames,
    counter: Counter,
    sections: Rc<Sections>,
}

impl<S> Observed<S> {
    pub(crate) fn new(
        stream: Gathering<S>,
        first: Vec<u8>,
        phase: Rc<Phase>,
        heard: Arc<AtomicBool>,
        flood: Flood,
        sections: Rc<Sections>,
    ) -> Self {
        Self {
            stream,
            first,
            phase,
            heard,
            flood,
            frames: Frames::new(),
            counter: Counter::of_client(),
            sections,
        }
    }
}

impl<S: Socket> AsyncRead for Observed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.phase.breached().is_some() {
            // Whoever drives the connection looks next, and ends it.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let polled = if this.first.is_empty() {
            Pin::new(&mut this.stream).poll_read(cx, buf)
        } else {
            let count = this.first.len().min(buf.remaining());
            buf.put_slice(this.first.get(..count).unwrap_or_default());
            this.first.drain(..count);
            Poll::Ready(Ok(()))
        };
        let came = buf.filled().get(before..).unwrap_or_default();
        if !came.is_empty() {
            this.heard.store(true, Ordering::Relaxed);
            this.counter.read(came, &this.sections);
            if let Err(wrong) = this.frames.read(came) {
                this.phase.breach(Breach::Malformed(wrong.reason));
                buf.set_filled(before + wrong.before);
                if wrong.before == 0 {
                    // Not an end, as nothing would be.
                    return Poll::Pending;
                }
            } else if let Err(flooded) = this.flood.read(came) {
                this.phase.breach(Breach::Flooded(flooded));
            }
        }
        polled
    }
}

impl AsyncWrite for Heard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
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

impl<S: Socket> AsyncWrite for Observed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(count)) = polled {
            self.flood.wrote(count);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
