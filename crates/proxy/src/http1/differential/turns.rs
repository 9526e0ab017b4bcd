//! hyper without a network and without a clock: it is polled until it has nothing more to do.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use hyper::rt::{Read, ReadBufCursor, Write};

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What comes of it, or `None` if it waits for something that does not come.
pub(super) fn finish<F: Future>(future: F) -> Option<F::Output> {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut future = pin!(future);
    loop {
        woken.0.store(false, Ordering::Relaxed);
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
        if !woken.0.load(Ordering::Relaxed) {
            return None;
        }
    }
}

/// One end of a connection: what the other end says, and nobody looks at what it is told.
pub(super) struct Wire {
    bytes: Vec<u8>,
    at: usize,
    /// The other end shuts its side down behind it.
    closes: bool,
    /// It says nothing before it has been asked.
    asked: bool,
    waiting: Option<Waker>,
}

impl Wire {
    pub(super) fn client(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            at: 0,
            closes: false,
            asked: true,
            waiting: None,
        }
    }

    pub(super) fn backend(bytes: &[u8], closes: bool) -> Self {
        Self {
            closes,
            asked: false,
            ..Self::client(bytes)
        }
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let left = self.bytes.len() - self.at;
        if !self.asked || (left == 0 && !self.closes) {
            self.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = left.min(buf.remaining());
        buf.put_slice(&self.bytes[self.at..self.at + count]);
        self.at += count;
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.asked = true;
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
