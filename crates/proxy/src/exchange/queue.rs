//! Where requests of one app wait while every backend is at its hard limit.

mod line;

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::sync::{AtomicUsize, Mutex, Ordering, fence};
use line::{Key, Line};

/// The bounded queue of one app, first in, first out, shared by all workers. It goes from table to table with the
/// app, so that nobody loses a place when the app is built anew.
///
/// It doesn't hold places, it says whose turn it is to try for one: what admits is the meter of an endpoint, here
/// as everywhere, so a hard limit is never exceeded, whatever goes wrong with the order.
///
/// # What it costs
///
/// While nobody waits, a place that is given back costs a fence and a load of a line that nobody writes to, and
/// one that is taken a load. Only where somebody waits, or begins to, is there a lock, held for a few writes and
/// never while anybody is woken. A request that takes it has nothing to gain from speed: it is about to sleep, or
/// it ends and somebody is asleep for it. So the request path still takes no shared lock as long as there is room.
///
/// # Order
///
/// A request asks [`is_empty`](Self::is_empty) before it picks, and joins at the end if somebody waits. A place
/// that is given back is the longest waiter's turn, and only that one is woken. It tries, and if the room has gone
/// keeps its place in the line. If there is room that it can't use (on the backend that it has just failed on), it
/// passes the turn on to the one behind it; what none of them can use, the next that joins
/// may try for at once, which overtakes nobody who could have had it. Across workers the order is that of joining
/// and of turns; between two that have their turns at the same time, it is that of whose worker is faster.
///
/// # No wake-up is lost
///
/// Somebody gives a place back, and looks whether anybody waits; somebody else begins to wait, and looks whether
/// there is a place. Both write first, then fence, then read, so at least one of them sees the other
/// (Dekker's argument): the first in an empty line therefore always has a turn to try with *after* it has joined,
/// and finding room it lets the next one try, since it can't know how much there is.
pub struct Queue {
    /// The length of the line, for those who don't want to lock it.
    waiting: AtomicUsize,
    line: Mutex<Line<Waker>>,
}

/// As many wait as may.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{max} requests are waiting for a backend, which is as many as may")]
pub(crate) struct QueueFull {
    /// How many that is.
    pub(crate) max: usize,
}

/// A place in the line, until it is dropped: served, timed out, or given up.
#[must_use = "dropping it leaves the queue"]
pub(crate) struct Waiting {
    queue: Arc<Queue>,
    key: Key,
}

impl Queue {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            waiting: AtomicUsize::new(0),
            line: Mutex::new(Line::new()),
        }
    }

    /// How many requests wait, at about this moment.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether nobody waits, so that a new request may pick for itself.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Joins the line at its end, where at most `max` requests wait.
    ///
    /// Whoever joins says so, by the settings that it sees: the queue outlives them, and so nobody has to be told when
    /// they change. Those that wait already keep their places when `max` becomes smaller.
    ///
    /// # Errors
    /// When it is as long as it may be.
    pub(crate) fn join(self: &Arc<Self>, max: usize) -> Result<Waiting, QueueFull> {
        let joined = self.locked(|line| line.join(max).ok_or(QueueFull { max }))?;
        // Between having joined and looking for room; the other one is in `release_one`.
        fence(Ordering::SeqCst);
        Ok(Waiting {
            queue: Arc::clone(self),
            key: joined,
        })
    }

    /// A place on one of the app's backends has been given back: call it after the meter has counted that.
    #[inline]
    pub(crate) fn release_one(&self) {
        // Between having given back and looking who waits; the other one is in `join`.
        fence(Ordering::SeqCst);
        if !self.is_empty() {
            self.wake(Line::release_one);
        }
    }

    /// There may be any amount of room: a backend has come, a gate has opened, a limit was raised. The waiters try
    /// one after the other, until one finds none.
    pub(crate) fn wake_all(&self) {
        fence(Ordering::SeqCst);
        if !self.is_empty() {
            self.wake(Line::release_any);
        }
    }

    #[cold]
    fn wake(&self, whom: impl FnOnce(&mut Line<Waker>) -> Option<Waker>) {
        if let Some(waker) = self.locked(whom) {
            waker.wake();
        }
    }

    fn locked<R>(&self, change: impl FnOnce(&mut Line<Waker>) -> R) -> R {
        // Nothing in there panics; and if it did, waiters that are never woken would be worse.
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut line);
        self.waiting.store(line.len(), Ordering::Relaxed);
        result
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self::new()
    }
}

/// Tells the queue that a place has been given back. Keep it behind the place, so that it is dropped after it.
pub(crate) struct Returned(pub(crate) Arc<Queue>);

impl Drop for Returned {
    fn drop(&mut self) {
        self.0.release_one();
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.len()).finish()
    }
}

impl Waiting {
    /// Ready when it is this request's turn to try. Try at once, then: if it finds room, drop this; if it finds
    /// none, poll again, which keeps its place; if it finds only room that it can't use,
    /// [`pass_on`](Self::pass_on) and poll again.
    pub(crate) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Cloned and dropped without the lock: that is somebody else's code.
        let mut waker = Some(cx.waker().clone());
        let turn = self
            .queue
            .locked(|line| line.take_turn(self.key, |slot| std::mem::swap(slot, &mut waker)));
        if turn { Poll::Ready(()) } else { Poll::Pending }
    }

    /// There is room that this request can't use, but the one behind it perhaps can.
    pub(crate) fn pass_on(&mut self) {
        self.queue.wake(|line| line.pass_on(self.key));
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.queue.wake(|line| line.leave(self.key));
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
