//! Pings to a peer that has become silent (RFC 9113 §6.7).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::Instant;

use crate::worker::timer::Timer;

/// When a silent peer is asked whether it is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// After that much silence.
    pub(crate) first: Duration,
    /// And again, for as long as it answers pings and nothing else.
    pub(crate) again: Duration,
    /// The peer is gone if it doesn't answer within that.
    pub(crate) answer: Duration,
}

/// Finds out whether a peer is still there. Costs a flag for each read, and a look every so often.
pub(crate) struct KeepAlive {
    pings: PingPong,
    timer: Timer,
    pace: Pace,
    /// Whether anything has been read since it was last looked at.
    heard: Arc<AtomicBool>,
    doing: Doing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// Nothing: nobody waits for the peer.
    Resting,
    /// Listening, to ask when the timer is due.
    Listening,
    /// Waiting for an answer.
    Asking,
}

impl KeepAlive {
    /// `heard` is set by whoever reads.
    pub(crate) fn new(pings: PingPong, timer: Timer, heard: Arc<AtomicBool>, pace: Pace) -> Self {
        Self {
            pings,
            timer,
            pace,
            heard,
            doing: Doing::Resting,
        }
    }

    /// Ready when the peer is gone. To be polled after the connection, whenever that is; `wanted`: somebody waits
    /// for the peer.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, wanted: bool) -> Poll<()> {
        loop {
            if self.doing == Doing::Resting {
                if !wanted {
                    return Poll::Pending;
                }
                self.listen(self.pace.first);
            }
            if self.doing == Doing::Asking {
                match self.pings.poll_pong(cx) {
                    Poll::Ready(Ok(_)) => self.listen(self.pace.again),
                    // The connection ends by itself.
                    Poll::Ready(Err(_)) => return Poll::Pending,
                    Poll::Pending => {}
                }
            }
            if self.timer.poll_due(cx).is_pending() {
                return Poll::Pending;
            }
            let heard = self.heard.swap(false, Ordering::Relaxed);
            match self.doing {
                Doing::Asking if heard => self.timer.arm(Instant::now() + self.pace.answer),
                Doing::Asking => return Poll::Ready(()),
                _ if !wanted => self.doing = Doing::Resting,
                _ if heard => self.listen(self.pace.first),
                _ => match self.pings.send_ping(Ping::opaque()) {
                    Ok(()) => {
                        self.doing = Doing::Asking;
                        self.timer.arm(Instant::now() + self.pace.answer);
                    }
                    Err(_) => return Poll::Pending,
                },
            }
        }
    }

    fn listen(&mut self, silence: Duration) {
        self.doing = Doing::Listening;
        self.heard.store(false, Ordering::Relaxed);
        self.timer.arm(Instant::now() + silence);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::Pin;

    use super::*;
    use crate::worker::timer::Timers;

    const PACE: Pace = Pace {
        first: Duration::from_secs(30),
        again: Duration::from_secs(300),
        answer: Duration::from_secs(20),
    };

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_answers_no_ping_is_gone_after_the_silence_and_the_time_to_answer() {
        let (near, _far) = tokio::io::duplex(1 << 16);
        let (_sender, mut conn) = h2::client::handshake(near).await.unwrap();
        let timers = Timers::new();
        let heard = Arc::new(AtomicBool::new(false));
        let pings = conn.ping_pong().unwrap();
        let mut keep_alive = KeepAlive::new(pings, timers.timer(), heard, PACE);
        let began = Instant::now();
        let gone = poll_fn(|cx| {
            assert!(Pin::new(&mut conn).poll(cx).is_pending());
            keep_alive.poll(cx, true)
        });
        tokio::select! {
            () = timers.run() => panic!("the timers have ended"),
            () = gone => {}
        }
        let took = began.elapsed();
        assert!(
            took >= PACE.first + PACE.answer && took < PACE.first + PACE.answer + Duration::from_secs(1),
            "{took:?}"
        );
    }
}
