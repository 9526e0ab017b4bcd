//! Time-outs of everything that one worker serves, in one timer of the runtime.

mod wheel;

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use wheel::{Key, Wheel};

/// How finely deadlines are told apart.
///
/// A [`Timer`] never fires early. It fires within a tick of its deadline, and the millisecond by which the
/// runtime's own timer may be late, unless the worker is busy for longer. Time-outs are of seconds, so a longer
/// tick would do as well; a shorter one would wake an idle worker with many clients more often.
pub(crate) const TICK: Duration = Duration::from_millis(50);

const TICKS_PER_SEC: u64 = 1_000_000_000 / TICK_NANOS as u64;
#[expect(clippy::cast_possible_truncation, reason = "a tick is less than a second")]
const TICK_NANOS: u32 = TICK.as_nanos() as u32;
const _: () = assert!(
    1_000_000_000 % TICK_NANOS == 0,
    "a second is a whole number of ticks"
);

/// The timers of one worker. Cheap to clone; a clone is the same.
///
/// A time-out for each step of each request would be one timer in the runtime after the other, most of which
/// never pass. Here putting a deadline off is a store, see [`Wheel`]; what is left of the runtime's timers is one
/// for each worker, asleep until the next deadline that may have passed, and not there at all while nothing is
/// armed.
#[derive(Clone)]
pub(crate) struct Timers(Rc<Inner>);

struct Inner {
    wheel: RefCell<Wheel<Entry>>,
    driver: RefCell<Option<Waker>>,
    start: Instant,
}

/// What the wheel holds of a timer: 48 bytes with the links, and there is one for each client.
struct Entry {
    waker: Option<Waker>,
    fired: bool,
}

/// One deadline that can be moved. Dropping it removes it.
///
/// One task at a time waits for it: the one that polled it last.
pub(crate) struct Timer {
    timers: Timers,
    key: Key,
}

impl Timers {
    /// None yet. Nothing fires unless [`run`](Self::run) is being polled.
    pub(crate) fn new() -> Self {
        Self(Rc::new(Inner {
            wheel: RefCell::new(Wheel::new()),
            driver: RefCell::new(None),
            start: Instant::now(),
        }))
    }

    /// A timer that isn't armed.
    pub(crate) fn timer(&self) -> Timer {
        let entry = Entry {
            waker: None,
            fired: false,
        };
        Timer {
            key: self.0.wheel.borrow_mut().insert(entry),
            timers: self.clone(),
        }
    }

    /// Wakes the task of every timer that has been polled, whether it is armed or not, so that it looks again
    /// at what it is waiting for. For what concerns all: a drain, a backend that is cut.
    pub(crate) fn wake_all(&self) {
        let wakers: Vec<_> = {
            let wheel = self.0.wheel.borrow();
            wheel.payloads().filter_map(|entry| entry.waker.clone()).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Fires what is due; one task of the worker. Ends when the last of the timers, and of the clones of this, is
    /// dropped. Of several, only the one that was polled last is woken.
    pub(crate) fn run(&self) -> impl Future<Output = ()> + use<> {
        drive(Rc::downgrade(&self.0))
    }
}

/// How many tasks are woken at a time. Thousands of clients that came together are due together, and whoever else has
/// something to do is not to wait until all of them have been told.
const AT_ONCE: usize = 32;

async fn drive(timers: Weak<Inner>) {
    let mut sleep = pin!(None::<Sleep>);
    let mut due = Vec::new();
    poll_fn(|cx| {
        loop {
            due.drain(due.len().saturating_sub(AT_ONCE)..)
                .for_each(Waker::wake);
            if !due.is_empty() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let Some(timers) = timers.upgrade() else {
                return Poll::Ready(());
            };
            register(&timers.driver, cx.waker());
            let next = timers.fire(&mut due);
            if !due.is_empty() {
                continue;
            }
            let Some(tick) = next else {
                // A timer of the runtime would wake the worker although there is nothing to do.
                sleep.set(None);
                return Poll::Pending;
            };
            let until = timers.instant(tick);
            drop(timers);
            if sleep.is_none() {
                sleep.set(Some(sleep_until(until)));
            }
            if let Some(mut sleep) = sleep.as_mut().as_pin_mut() {
                sleep.as_mut().reset(until);
                ready!(sleep.poll(cx));
            }
        }
    })
    .await;
}

impl Inner {
    /// Fires what is due by now, and gives whom to wake: without the wheel, since whom a waker wakes may use it at
    /// once. Returns the tick to do it again in.
    fn fire(&self, due: &mut Vec<Waker>) -> Option<u64> {
        let mut wheel = self.wheel.borrow_mut();
        let (now, _) = self.ticks(Instant::now());
        wheel.advance(now, |entry| {
            entry.fired = true;
            due.extend(entry.waker.clone());
        });
        wheel.next_wake()
    }

    fn wake_driver(&self) {
        let waker = self.driver.borrow().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// How many ticks have passed by then, and whether a part of another has.
    fn ticks(&self, at: Instant) -> (u64, bool) {
        let since = at.saturating_duration_since(self.start);
        let nanos = since.subsec_nanos();
        let ticks = since.as_secs().saturating_mul(TICKS_PER_SEC);
        (
            ticks.saturating_add(u64::from(nanos / TICK_NANOS)),
            !nanos.is_multiple_of(TICK_NANOS),
        )
    }

    /// The beginning of a tick.
    fn instant(&self, tick: u64) -> Instant {
        let nanos = tick % TICKS_PER_SEC * u64::from(TICK_NANOS);
        self.start + Duration::from_secs(tick / TICKS_PER_SEC) + Duration::from_nanos(nanos)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // So that it ends.
        self.wake_driver();
    }
}

impl Timer {
    /// Sets the deadline, in place of an earlier one, whether that has passed or not. In the common case, a
    /// later one than before, this is a store; one that has passed already fires within a tick.
    pub(crate) fn arm(&self, due: Instant) {
        let inner = &self.timers.0;
        let (tick, part) = inner.ticks(due);
        let late = {
            let mut wheel = inner.wheel.borrow_mut();
            if let Some(entry) = wheel.get_mut(self.key) {
                entry.fired = false;
            }
            wheel.arm(self.key, tick.saturating_add(u64::from(part)))
        };
        if late {
            inner.wake_driver();
        }
    }

    /// Takes the deadline back, whether it has passed or not.
    pub(crate) fn disarm(&self) {
        let mut wheel = self.timers.0.wheel.borrow_mut();
        wheel.disarm(self.key);
        if let Some(entry) = wheel.get_mut(self.key) {
            entry.fired = false;
        }
    }

    /// Whether the deadline has passed; no longer once it is set anew.
    pub(crate) fn is_due(&self) -> bool {
        self.timers
            .0
            .wheel
            .borrow()
            .get(self.key)
            .is_some_and(|entry| entry.fired)
    }

    /// Ready once the deadline has passed. The task is woken then, and by [`Timers::wake_all`]; it stays
    /// registered for as long as the timer lives.
    pub(crate) fn poll_due(&self, cx: &mut Context<'_>) -> Poll<()> {
        let (fired, registered) = match self.timers.0.wheel.borrow().get(self.key) {
            Some(entry) => (entry.fired, is_registered(entry.waker.as_ref(), cx.waker())),
            None => (false, true),
        };
        if !registered {
            // Both the new and the old one without the wheel: to clone or drop a waker is somebody else's code.
            let mut waker = Some(cx.waker().clone());
            if let Some(entry) = self.timers.0.wheel.borrow_mut().get_mut(self.key) {
                std::mem::swap(&mut entry.waker, &mut waker);
            }
        }
        if fired { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let removed = self.timers.0.wheel.borrow_mut().remove(self.key);
        drop(removed);
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("due", &self.is_due()).finish()
    }
}

fn is_registered(waker: Option<&Waker>, new: &Waker) -> bool {
    waker.is_some_and(|waker| waker.will_wake(new))
}

fn register(slot: &RefCell<Option<Waker>>, new: &Waker) {
    let registered = is_registered(slot.borrow().as_ref(), new);
    if !registered {
        let old = slot.replace(Some(new.clone()));
        drop(old);
    }
}

#[cfg(test)]
mod tests;
