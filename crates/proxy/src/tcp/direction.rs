//! One direction of a connection: a reader, a writer, and what is between them.

use std::io::{self, Read};
use std::net::Shutdown;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

#[cfg(not(target_os = "linux"))]
use super::copy::Bulk;
#[cfg(target_os = "linux")]
use super::splice::Bulk;
use super::supplies::{BUFFER_BYTES, Buffer, Supplies};

/// What a direction may move before others have their turn.
const BURST_BYTES: usize = 1024 * 1024;

/// Full buffers in a row that prove a direction bulky. A pipe costs two calls more for each read, which is
/// won back only where much comes at once: with one from the start, a short connection costs a third more.
const FULL_READS: u8 = 4;

/// Reads in a row that would have fitted into a buffer, after which a bulky direction is no more.
const SMALL_READS: u8 = 8;

/// Bytes on their way from one socket to the other.
pub(super) struct Direction<'a> {
    from: &'a TcpStream,
    to: &'a TcpStream,
    supplies: &'a Supplies,
    held: Held,
    /// Reads in a row that speak for the other way of carrying.
    streak: u8,
    bulky: bool,
    /// Whether the sockets' buffers have been bounded.
    bounded: bool,
    stage: Stage,
    moved: u64,
    stalled: bool,
}

enum Held {
    Nothing,
    Copied {
        buffer: Buffer,
        start: usize,
        end: usize,
    },
    Bulk(Bulk),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// More may come.
    Open,
    /// The sender has said all; what is held is still to be passed on.
    Ending,
    /// The receiver knows that, too.
    Ended,
}

impl<'a> Direction<'a> {
    pub(super) fn new(from: &'a TcpStream, to: &'a TcpStream, supplies: &'a Supplies) -> Self {
        Self {
            from,
            to,
            supplies,
            held: Held::Nothing,
            streak: 0,
            bulky: false,
            bounded: false,
            stage: Stage::Open,
            moved: 0,
            stalled: false,
        }
    }

    /// Bytes passed on so far.
    pub(super) fn moved(&self) -> u64 {
        self.moved
    }

    /// Whether the sender isn't read from at the moment: the receiver takes nothing, or the sender has said
    /// all. That it has failed would not be noticed then.
    pub(super) fn is_deaf(&self) -> bool {
        self.stalled || self.stage == Stage::Ended
    }

    /// Moves what can be moved. Ready once the sender has said all and the receiver has been told so.
    ///
    /// # Errors
    /// When either socket has failed. Poll it no more.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut burst = BURST_BYTES;
        loop {
            ready!(self.drain(cx))?;
            match self.stage {
                Stage::Open => {}
                Stage::Ending => {
                    self.end();
                    return Poll::Ready(Ok(()));
                }
                Stage::Ended => return Poll::Ready(Ok(())),
            }
            if burst == 0 {
                self.release();
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match self.from.poll_read_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => {
                    self.release();
                    return Poll::Pending;
                }
            }
            match self.fill() {
                Ok(0) => self.stage = Stage::Ending,
                Ok(count) => burst = burst.saturating_sub(count),
                Err(error) if is_passing(&error) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Passes on all that is held.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let drained = match &mut self.held {
                Held::Copied { buffer, start, end } if *start < *end => {
                    let rest = buffer.get(*start..*end).unwrap_or_default();
                    let written = self.to.try_write(rest);
                    written.inspect(|count| *start += count)
                }
                Held::Bulk(bulk) if bulk.held() > 0 => bulk.drain(self.to),
                _ => {
                    self.stalled = false;
                    return Poll::Ready(Ok(()));
                }
            };
            match drained {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => self.moved += count as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stalled = true;
                    ready!(self.to.poll_write_ready(cx))?;
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Takes what has come, once nothing is held any more.
    fn fill(&mut self) -> io::Result<usize> {
        if self.bulky {
            match self.take_bulk() {
                Some(bulk) => return self.fill_bulk(bulk),
                // Asked for again when as much has come again.
                None => (self.bulky, self.streak) = (false, 0),
            }
        }
        let mut buffer = match std::mem::replace(&mut self.held, Held::Nothing) {
            Held::Copied { buffer, .. } => buffer,
            Held::Bulk(bulk) => {
                self.supplies.return_bulk(bulk);
                self.supplies.buffer()
            }
            Held::Nothing => self.supplies.buffer(),
        };
        let filled = read(self.from, &mut buffer);
        let end = *filled.as_ref().unwrap_or(&0);
        self.held = Held::Copied {
            buffer,
            start: 0,
            end,
        };
        if filled.is_ok() {
            self.count(end == BUFFER_BYTES, FULL_READS);
        }
        filled
    }

    fn fill_bulk(&mut self, mut bulk: Bulk) -> io::Result<usize> {
        let filled = bulk.fill(self.from);
        self.held = Held::Bulk(bulk);
        match filled {
            Ok(count) => {
                self.count(count < BUFFER_BYTES, SMALL_READS);
                Ok(count)
            }
            Err(error) if self.supplies.is_unusable(&error) => {
                (self.bulky, self.streak) = (false, 0);
                Err(io::ErrorKind::Interrupted.into())
            }
            Err(error) => Err(error),
        }
    }

    /// The carrier that is held, or another.
    fn take_bulk(&mut self) -> Option<Bulk> {
        match std::mem::replace(&mut self.held, Held::Nothing) {
            Held::Bulk(bulk) => return Some(bulk),
            held => self.held = held,
        }
        let bulk = self.supplies.bulk()?;
        self.release();
        Some(bulk)
    }

    /// Changes the way of carrying after `enough` reads in a row that speak for it.
    fn count(&mut self, speaks_for_change: bool, enough: u8) {
        self.streak = if speaks_for_change { self.streak + 1 } else { 0 };
        if self.streak >= enough {
            (self.bulky, self.streak) = (!self.bulky, 0);
            // Only now, since most connections never need it.
            if self.bulky && !self.bounded {
                self.bounded = true;
                self.supplies.bounds.apply(self.from, self.to);
            }
        }
    }

    /// Gives back what nothing is in.
    fn release(&mut self) {
        match std::mem::replace(&mut self.held, Held::Nothing) {
            Held::Nothing => {}
            Held::Copied { buffer, .. } => self.supplies.return_buffer(buffer),
            Held::Bulk(bulk) => self.supplies.return_bulk(bulk),
        }
    }

    /// Tells the receiver that the sender has said all.
    fn end(&mut self) {
        self.release();
        self.stage = Stage::Ended;
        // Where that fails the receiver is gone, and the other direction finds out.
        let _ = SockRef::from(self.to).shutdown(Shutdown::Write);
    }
}

impl Drop for Direction<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

/// Nothing is wrong: try again, or wait.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// Reads, and forgets the readiness if that has taken all there was: the next read waits instead of asking
/// the system first. tokio's own `poll_read` does the same, but wants the socket for itself alone.
fn read(from: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut count = None;
    let tried = from.try_io(Interest::READABLE, || {
        let read = (&*SockRef::from(from)).read(buffer)?;
        count = Some(read);
        // Less than asked for is all there was; but at the end nothing more will wake anybody.
        if 0 < read && read < buffer.len() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(())
    });
    match (count, tried) {
        (Some(count), _) => Ok(count),
        (None, Err(error)) => Err(error),
        (None, Ok(())) => Ok(0),
    }
}

#[cfg(test)]
mod tests;
