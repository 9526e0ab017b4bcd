//! What a client's connection is doing, and until when it may.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::Config;
use crate::http2::Breach;

/// A client's HTTP/2 connection as its timer sees it.
#[derive(Debug)]
pub(crate) struct Phase {
    doing: Cell<Doing>,
    served: Cell<bool>,
    draining: Cell<bool>,
    /// Since when the client has taken nothing although there is something.
    blocked: Cell<Option<Instant>>,
    breach: Cell<Option<Breach>>,
    times: Times,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    idle: Duration,
    send: Duration,
    grace: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Doing {
    /// Nothing, since then.
    Idle(Instant),
    /// Serving that many requests.
    Busy(u32),
}

/// What a connection took too long for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Overdue {
    /// Beginning a request.
    Idle,
    /// Taking an answer.
    Send,
}

/// One request under way on a client's connection, until it is dropped with the end of its answer.
#[derive(Debug)]
pub(crate) struct Turn(Rc<Phase>);

/// A busy connection has no deadline, but something must be in the timer.
const FAR: Duration = Duration::from_secs(3_600);

impl Phase {
    pub(crate) fn new(config: &Config, draining: bool) -> Self {
        let times = Times {
            idle: config.idle_timeout,
            send: config.send_timeout,
            grace: config.drain_grace,
        };
        Self {
            doing: Cell::new(Doing::Idle(Instant::now())),
            served: Cell::new(false),
            draining: Cell::new(draining),
            blocked: Cell::new(None),
            breach: Cell::new(None),
            times,
        }
    }

    /// Bytes were offered to the client, which took some or, `blocked`, none.
    pub(crate) fn writing(&self, blocked: bool) {
        match (blocked, self.blocked.get()) {
            (true, None) => self.blocked.set(Some(Instant::now())),
            (false, Some(_)) => self.blocked.set(None),
            _ => {}
        }
    }

    /// The client has sent what ends its connection.
    pub(crate) fn breach(&self, breach: Breach) {
        self.breach.set(Some(breach));
    }

    /// What the client has sent that ends its connection.
    pub(crate) fn breached(&self) -> Option<Breach> {
        self.breach.get()
    }

    /// A whole head has come.
    pub(crate) fn begin(self: &Rc<Self>) -> Turn {
        self.served.set(true);
        let others = if let Doing::Busy(others) = self.doing.get() {
            others
        } else {
            0
        };
        self.doing.set(Doing::Busy(others + 1));
        Turn(Rc::clone(self))
    }

    /// From now on a connection that is not asked for anything is not waited for.
    pub(crate) fn drain(&self) {
        if !self.draining.replace(true)
            && let Doing::Idle(_) = self.doing.get()
        {
            self.doing.set(Doing::Idle(Instant::now()));
        }
    }

    /// Whether a request has begun on it.
    pub(crate) fn has_served(&self) -> bool {
        self.served.get()
    }

    /// When it is overdue, if nothing changes.
    pub(crate) fn due(&self) -> Instant {
        let due = match self.doing.get() {
            Doing::Idle(since) if self.draining.get() => since + self.times.grace.min(self.times.idle),
            Doing::Idle(since) => since + self.times.idle,
            Doing::Busy(_) => Instant::now() + FAR,
        };
        self.blocked
            .get()
            .map_or(due, |since| due.min(since + self.times.send))
    }

    /// For what it is overdue now.
    pub(crate) fn overdue(&self) -> Option<Overdue> {
        let now = Instant::now();
        if self.due() > now {
            return None;
        }
        let blocked = self.blocked.get();
        Some(if blocked.is_some_and(|since| since + self.times.send <= now) {
            Overdue::Send
        } else {
            Overdue::Idle
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let phase = &self.0;
        phase.doing.set(match phase.doing.get() {
            Doing::Busy(others) if others > 1 => Doing::Busy(others - 1),
            _ => Doing::Idle(Instant::now()),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase() -> Rc<Phase> {
        Rc::new(Phase::new(&Config::default(), false))
    }

    async fn after(secs: u64) {
        tokio::time::advance(Duration::from_secs(secs)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_may_idle_for_75_seconds() {
        let phase = phase();
        after(74).await;
        assert_eq!(phase.overdue(), None);
        drop(phase.begin());
        after(74).await;
        assert_eq!(phase.overdue(), None);
        after(1).await;
        assert_eq!(phase.overdue(), Some(Overdue::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_may_take_as_long_as_the_client_takes_its_answer() {
        let phase = phase();
        let (one, other) = (phase.begin(), phase.begin());
        after(1_000).await;
        drop(one);
        assert_eq!(phase.overdue(), None);
        phase.writing(true);
        after(59).await;
        phase.writing(true);
        assert_eq!(phase.overdue(), None);
        after(1).await;
        assert_eq!(phase.overdue(), Some(Overdue::Send));
        phase.writing(false);
        assert_eq!(phase.overdue(), None);
        drop(other);
        after(75).await;
        assert_eq!(phase.overdue(), Some(Overdue::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn a_draining_connection_is_listened_to_for_the_grace_only() {
        let phase = phase();
        after(10).await;
        phase.drain();
        tokio::time::advance(Duration::from_millis(499)).await;
        assert_eq!(phase.overdue(), None);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(phase.overdue(), Some(Overdue::Idle));
        assert!(!phase.has_served());
    }
}
