//! Bulk by `splice(2)`: from socket to socket through a pipe, without a copy into this process.

use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// A larger pipe costs fewer calls and more memory; nothing was gained above this.
const PIPE_BYTES: usize = 512 * 1024;
/// What a pipe has by itself. The kernel gives less to a user who has too many, and that is worth nothing.
const PIPE_BYTES_MIN: usize = 64 * 1024;

/// A pipe.
///
/// It is filled only while it is empty and drained only while it is not. So would-block never comes from the
/// pipe, always from the socket, and forgetting the socket's readiness, as [`TcpStream::try_io`] then does,
/// is right. A pipe can be full with far less in it than it holds, a slot for each small packet, which is why
/// its size tells nothing.
pub(super) struct Bulk {
    read: OwnedFd,
    write: OwnedFd,
    size: usize,
    held: usize,
}

impl Bulk {
    /// # Errors
    /// When the system gives no pipe, or too small a one.
    pub(super) fn open() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let size = match fcntl_setpipe_size(&write, PIPE_BYTES) {
            Ok(size) => size,
            Err(_) => rustix::pipe::fcntl_getpipe_size(&write)?,
        };
        if size < PIPE_BYTES_MIN {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        Ok(Self {
            read,
            write,
            size,
            held: 0,
        })
    }

    /// Bytes in it.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Takes what has come, into the empty pipe. 0: the end.
    pub(super) fn fill(&mut self, from: &TcpStream) -> io::Result<usize> {
        debug_assert_eq!(self.held, 0, "would-block has to be the socket's");
        let count = from.try_io(Interest::READABLE, || {
            Ok(splice(from, None, &self.write, None, self.size, FLAGS)?)
        })?;
        self.held = count;
        Ok(count)
    }

    /// Passes on what is in it, as far as the receiver takes it.
    pub(super) fn drain(&mut self, to: &TcpStream) -> io::Result<usize> {
        let count = to.try_io(Interest::WRITABLE, || {
            Ok(splice(&self.read, None, to, None, self.held, FLAGS)?)
        })?;
        self.held = self.held.saturating_sub(count);
        Ok(count)
    }
}

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);
