//! What waits to be written of a message of HTTP/1.1: a head or a chunk's size, a piece of a body, and what ends the piece. All of it
//! leaves in one system call.

use std::borrow::BorrowMut;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use tokio::io::AsyncWrite;

use crate::transport::buffer::HeadBuffer;

pub(crate) const LINE_END: &[u8] = b"\r\n";
/// Without the trailers and the empty line that end a body.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n";
pub(crate) const CHUNK_AND_LAST: &[u8] = b"\r\n0\r\n\r\n";

/// `F` is the memory of what leaves first, owned or lent.
pub(crate) struct Leaving<F> {
    front: F,
    front_sent: usize,
    data: Bytes,
    back: &'static [u8],
}

impl<F: BorrowMut<HeadBuffer>> Leaving<F> {
    /// A head, which is whole.
    pub(crate) fn new(front: F) -> Self {
        Self {
            front,
            front_sent: 0,
            data: Bytes::new(),
            back: b"",
        }
    }

    /// What leaves before the data. More may be put behind it while [`is_open`](Self::is_open).
    pub(crate) fn front(&mut self) -> &mut Vec<u8> {
        self.front.borrow_mut()
    }

    /// Puts a piece of a body, and what ends it, behind the front.
    pub(crate) fn put(&mut self, data: Bytes, back: &'static [u8]) {
        (self.data, self.back) = (data, back);
    }

    /// Puts this behind the piece that waits, in place of what was to end it.
    pub(crate) fn end_with(&mut self, back: &'static [u8]) {
        self.back = back;
    }

    /// Whether nothing waits to be written.
    pub(crate) fn is_empty(&self) -> bool {
        self.front_sent == self.front.borrow().len() && self.is_open()
    }

    /// Whether something can be put behind what is there.
    pub(crate) fn is_open(&self) -> bool {
        self.data.is_empty() && self.back.is_empty()
    }

    /// In one system call, whatever there is.
    pub(crate) fn poll_write<S: AsyncWrite + Unpin>(
        &self,
        cx: &mut Context<'_>,
        socket: &mut S,
    ) -> Poll<io::Result<usize>> {
        let front = self.front.borrow().get(self.front_sent..).unwrap_or_default();
        let socket = Pin::new(socket);
        match (front, &*self.data, self.back) {
            (front, [], []) => socket.poll_write(cx, front),
            ([], data, []) => socket.poll_write(cx, data),
            (front, data, back) => {
                let parts = [front, data, back].map(IoSlice::new);
                socket.poll_write_vectored(cx, &parts)
            }
        }
    }

    /// So many bytes have left.
    pub(crate) fn advance(&mut self, count: usize) {
        let front = self.front.borrow_mut();
        let of_front = count.min(front.len() - self.front_sent);
        self.front_sent += of_front;
        if self.front_sent == front.len() {
            front.clear();
            self.front_sent = 0;
        }
        let of_data = (count - of_front).min(self.data.len());
        self.data.advance(of_data);
        self.back = self.back.get(count - of_front - of_data..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::transport::buffer::Buffers;

    /// A socket that takes a few bytes at a time.
    struct Narrow {
        width: usize,
        taken: Vec<u8>,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let count = bytes.len().min(self.width);
            self.taken.extend_from_slice(&bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            parts: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
            self.poll_write(cx, &all)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn however_little_is_taken_at_a_time_all_of_it_leaves_in_order() {
        let home = Rc::<Buffers>::default();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for width in 1..20 {
            let mut socket = Narrow {
                width,
                taken: Vec::new(),
            };
            let mut leaving = Leaving::new(home.head());
            leaving.front().extend_from_slice(b"head\r\n\r\n5\r\n");
            leaving.put(Bytes::from_static(b"hello"), LINE_END);
            leaving.end_with(CHUNK_AND_LAST);
            while !leaving.is_empty() {
                let Poll::Ready(Ok(count)) = leaving.poll_write(&mut cx, &mut socket) else {
                    panic!("it takes something each time");
                };
                leaving.advance(count);
            }
            assert_eq!(socket.taken, b"head\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "{width}");
            // The front's memory serves again.
            assert!(leaving.front().is_empty() && leaving.is_open());
        }
    }
}
