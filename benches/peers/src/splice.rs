//! The floor of carrying many bytes: they stay in the kernel.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use mio::net::TcpStream;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use crate::relay::{Direction, serve};

const PIPE: usize = 512 * 1024;

/// By a pipe between the sockets.
struct Splice {
    reader: OwnedFd,
    writer: OwnedFd,
    held: usize,
    ended: bool,
}

impl Direction for Splice {
    fn new() -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        fcntl_setpipe_size(&writer, PIPE)?;
        Ok(Self {
            reader,
            writer,
            held: 0,
            ended: false,
        })
    }

    fn pump(&mut self, from: &mut TcpStream, to: &mut TcpStream, _: &mut [u8]) -> io::Result<bool> {
        const FLAGS: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);
        loop {
            while self.held > 0 {
                // By mio's own way, so that it knows when the socket wants no more.
                let moved = to.try_io(
                    || match splice(&self.reader, None, &*to, None, self.held, FLAGS) {
                        Ok(count) => Ok(count),
                        Err(Errno::AGAIN) => Err(ErrorKind::WouldBlock.into()),
                        Err(error) => Err(error.into()),
                    },
                );
                match moved {
                    Ok(count) => self.held -= count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
            if self.ended {
                return Ok(true);
            }
            let moved = from.try_io(|| match splice(&*from, None, &self.writer, None, PIPE, FLAGS) {
                Ok(count) => Ok(count),
                Err(Errno::AGAIN) => Err(ErrorKind::WouldBlock.into()),
                Err(error) => Err(error.into()),
            });
            match moved {
                Ok(0) => self.ended = true,
                Ok(count) => self.held = count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Relays to `to` by `splice(2)` until a signal ends the process.
pub(crate) fn run(to: SocketAddr) -> anyhow::Result<()> {
    serve::<Splice>(to)
}
