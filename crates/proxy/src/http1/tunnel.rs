//! Bytes of another protocol, in both directions, after a 101 (RFC 9110 §7.8).

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::tcp::Ended;
use crate::transport::buffer::Buffer;
use crate::transport::socket::{Socket, poll_read, poll_write};
use crate::upstream::wire::Wire;
use crate::worker::timer::Timer;

/// One direction.
struct Flow {
    buffer: Buffer,
    /// The source has ended.
    ended: bool,
    /// The sink has been told.
    shut: bool,
}

/// Passes what either side says, beginning with what has come already, until both have ended, one fails, nothing
/// has moved for `idle`, or `is_cut`. Each side can end its own direction alone.
pub(crate) async fn run<S: Socket>(
    client: &mut S,
    early: Buffer,
    (wire, heard): (&mut Wire, Buffer),
    timer: &Timer,
    idle: Duration,
    is_cut: impl Fn() -> bool,
) -> Ended {
    let (mut up, mut down) = (Flow::of(early), Flow::of(heard));
    timer.arm(Instant::now() + idle);
    poll_fn(|cx| {
        if timer.poll_due(cx).is_ready() {
            return Poll::Ready(Ended::Idle);
        }
        if is_cut() {
            return Poll::Ready(Ended::Cut);
        }
        let mut moved = false;
        let up = up.poll(cx, client, wire, &mut moved);
        let down = down.poll(cx, wire, client, &mut moved);
        if moved {
            timer.arm(Instant::now() + idle);
        }
        match (up, down) {
            (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => Poll::Ready(Ended::Broken(error)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ended::Closed),
            _ => Poll::Pending,
        }
    })
    .await
}

impl Flow {
    fn of(buffer: Buffer) -> Self {
        Self {
            buffer,
            ended: false,
            shut: false,
        }
    }

    /// Ready when the source has ended and the sink knows, or when one of them has failed.
    fn poll<A: Socket, B: Socket>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut A,
        sink: &mut B,
        moved: &mut bool,
    ) -> Poll<io::Result<()>> {
        loop {
            while !self.buffer.is_empty() {
                match poll_write(sink, cx, self.buffer.data()) {
                    Poll::Ready(Ok(count)) => self.buffer.consume(count),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
                *moved = true;
            }
            self.buffer.release();
            if self.shut {
                return Poll::Ready(Ok(()));
            }
            if self.ended {
                return match std::pin::Pin::new(sink).poll_shutdown(cx) {
                    Poll::Ready(ended) => {
                        self.shut = true;
                        Poll::Ready(ended)
                    }
                    Poll::Pending => Poll::Pending,
                };
            }
            match source.poll_readable(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
            match poll_read(source, cx, self.buffer.space()) {
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(count)) => self.buffer.filled(count),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.buffer.release();
                    return Poll::Pending;
                }
            }
        }
    }
}
