//! Bulk where there is no `splice(2)`: by a buffer that is large enough to make calls few.

use std::io;

use tokio::net::TcpStream;

/// Above this a copy leaves the processor's cache.
const SIZE: usize = 256 * 1024;

/// A large buffer.
pub(super) struct Bulk {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Bulk {
    /// # Errors
    /// Never; a pipe in its place might.
    #[expect(clippy::unnecessary_wraps, reason = "the same as of a pipe")]
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self {
            bytes: vec![0; SIZE].into_boxed_slice(),
            start: 0,
            end: 0,
        })
    }

    /// Bytes in it.
    pub(super) fn held(&self) -> usize {
        self.end - self.start
    }

    /// Takes what has come. 0: the end.
    pub(super) fn fill(&mut self, from: &TcpStream) -> io::Result<usize> {
        let count = from.try_read(&mut self.bytes)?;
        (self.start, self.end) = (0, count);
        Ok(count)
    }

    /// Passes on what is in it, as far as the receiver takes it.
    pub(super) fn drain(&mut self, to: &TcpStream) -> io::Result<usize> {
        let count = to.try_write(self.bytes.get(self.start..self.end).unwrap_or_default())?;
        self.start += count;
        Ok(count)
    }
}
