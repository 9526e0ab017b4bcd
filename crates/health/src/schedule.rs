mod jitter;
mod queue;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::num::NonZeroUsize;

use edgeproxy_backend::{Incarnation, MonoTime};
use jitter::Jitter;
use queue::{Queue, Turn};

use crate::target::Key;
use crate::{Class, Pace, Target};

/// How a [`Schedule`] behaves. Fixed for its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// How many probes may be under way at once, cancelled ones that have not ended yet included. 64.
    pub max_concurrent: NonZeroUsize,
    /// Seeds the jitter; the same seed and inputs give the same outputs. It is also what tells this
    /// process's probes from another's in [`HttpProbe::ID_HEADER`](crate::HttpProbe::ID_HEADER), so give
    /// each process its own, from a random source: proxies with the same seed would probe in step.
    pub seed: u64,
}

impl Config {
    /// 64, the default of `max_concurrent`.
    pub const DEFAULT_MAX_CONCURRENT: NonZeroUsize = match NonZeroUsize::new(64) {
        Some(number) => number,
        None => NonZeroUsize::MIN,
    };
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_concurrent: Self::DEFAULT_MAX_CONCURRENT,
            seed: 0,
        }
    }
}

/// One probe. A ticket is never used twice, so a result that comes late can't be taken for a newer one's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

impl Ticket {
    /// Its number: 1 for a schedule's first probe.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A probe that is to begin now.
#[derive(Clone, Debug)]
pub struct Start {
    /// What [`Schedule::handle_result`] or [`Schedule::handle_aborted`] is to be told when it has ended.
    pub ticket: Ticket,
    /// What to probe.
    pub target: Target,
}

/// What became of a result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It was judged.
    Counted,
    /// Its target is gone or has changed since, or the ticket has ended before: nobody heard of it.
    Void,
}

/// When to probe whom: a state machine without clock, lock, runtime or random source.
///
/// # Call order
///
/// After every call of [`upsert`](Self::upsert), [`remove`](Self::remove), [`replace`](Self::replace) or a
/// `handle_…`, first take what [`poll_cancel`](Self::poll_cancel) gives until it gives nothing, then what
/// [`poll_probe`](Self::poll_probe) gives, then ask [`poll_timeout`](Self::poll_timeout) when to call
/// [`handle_timeout`](Self::handle_timeout). Every started probe ends in one `handle_result` or
/// `handle_aborted`, a cancelled one too: until then it holds its place among `max_concurrent`, so that
/// the limit is one on sockets and not on wishes. Time never runs backwards: an earlier `now` counts as
/// the latest one.
///
/// # Cost
///
/// O(log n) in the number of targets for every call but `replace`, which is linear. With 100,000 targets
/// a probe costs 2 µs in all, and a `replace` that changes nothing 17 ms (one core of a shared machine).
pub struct Schedule {
    config: Config,
    now: MonoTime,
    entries: BTreeMap<Key, Entry>,
    /// Every entry that isn't being probed.
    queue: Queue,
    /// Every probe that was started and has not ended; void ones included.
    running: BTreeMap<Ticket, Running>,
    cancels: VecDeque<Ticket>,
    last_ticket: Ticket,
    jitter: Jitter,
}

#[derive(Debug)]
struct Entry {
    target: Target,
    pace: Pace,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Waiting { turn: Turn },
    Probing { ticket: Ticket },
}

#[derive(Clone, Copy, Debug)]
struct Running {
    key: Key,
    started: MonoTime,
}

impl Schedule {
    /// An empty schedule.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            now: MonoTime::ZERO,
            entries: BTreeMap::new(),
            queue: Queue::default(),
            running: BTreeMap::new(),
            cancels: VecDeque::new(),
            last_ticket: Ticket(0),
            jitter: Jitter::new(config.seed),
        }
    }

    /// Probes this target from now on. One that is known and has not changed keeps its turn; one that has
    /// changed begins anew.
    pub fn upsert(&mut self, target: Target, now: MonoTime) {
        self.advance(now);
        let key = target.key();
        if let Some(entry) = self.entries.get_mut(&key) {
            if entry.target.same(&target) {
                // An equal monitor of a newer table: holding on to it lets the older one go.
                entry.target = target;
                return;
            }
            let phase = entry.phase;
            self.release(phase);
        }
        self.insert(target);
        debug_assert!(self.check_invariants());
    }

    /// Probes this target no longer. `false` if it wasn't known.
    pub fn remove(&mut self, incarnation: Incarnation, class: Class, now: MonoTime) -> bool {
        self.advance(now);
        let key = Key { incarnation, class };
        let Some(entry) = self.entries.remove(&key) else {
            return false;
        };
        self.release(entry.phase);
        debug_assert!(self.check_invariants());
        true
    }

    /// Probes exactly these targets from now on: as [`upsert`](Self::upsert) of each, and
    /// [`remove`](Self::remove) of every other. Of two with one identity, the later counts.
    pub fn replace(&mut self, mut targets: Vec<Target>, now: MonoTime) {
        self.advance(now);
        // The sort is stable, and linear on what is sorted already; the last of equals is to stay.
        targets.reverse();
        targets.sort_by_key(Target::key);
        targets.dedup_by_key(|target| target.key());
        let mut wanted = targets.into_iter().peekable();
        let mut fresh = Vec::new();
        let mut dropped = Vec::new();
        // Both sides are in order, so one pass settles who stays, without a search for each.
        self.entries.retain(|key, entry| {
            while let Some(target) = wanted.next_if(|target| target.key() < *key) {
                fresh.push(target);
            }
            match wanted.next_if(|target| target.key() == *key) {
                Some(target) if entry.target.same(&target) => {
                    entry.target = target;
                    return true;
                }
                changed_or_gone => fresh.extend(changed_or_gone),
            }
            dropped.push(entry.phase);
            false
        });
        for phase in dropped {
            self.release(phase);
        }
        for target in fresh.into_iter().chain(wanted) {
            self.upsert(target, now);
        }
        debug_assert!(self.check_invariants());
    }

    /// A probe has ended with a result. If it still counts, `judge` is told for which target, and says
    /// how soon the next probe is due.
    pub fn handle_result(
        &mut self,
        ticket: Ticket,
        now: MonoTime,
        judge: impl FnOnce(&Target) -> Pace,
    ) -> Verdict {
        self.end(ticket, now, |entry| entry.pace = judge(&entry.target))
    }

    /// A probe has ended without a result: it was cancelled, or failed for a fault of our own. If its
    /// target is still there, the next one is due at the pace that held before.
    pub fn handle_aborted(&mut self, ticket: Ticket, now: MonoTime) {
        self.end(ticket, now, |_| {});
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: MonoTime) {
        self.advance(now);
    }

    /// A probe that is to be cancelled, because its target is gone or has changed.
    pub fn poll_cancel(&mut self) -> Option<Ticket> {
        self.cancels.pop_front()
    }

    /// A probe that is to begin now, the longest overdue first.
    pub fn poll_probe(&mut self) -> Option<Start> {
        if self.is_saturated() {
            return None;
        }
        let key = self.queue.pop_due(self.now)?;
        let entry = self.entries.get_mut(&key)?;
        let ticket = Ticket(self.last_ticket.0 + 1);
        self.last_ticket = ticket;
        entry.phase = Phase::Probing { ticket };
        let target = entry.target.clone();
        self.running.insert(
            ticket,
            Running {
                key,
                started: self.now,
            },
        );
        debug_assert!(self.check_invariants());
        Some(Start { ticket, target })
    }

    /// When to call [`handle_timeout`](Self::handle_timeout). `None`: there is nobody to probe, or no room
    /// to do so before a running probe has ended.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<MonoTime> {
        if self.is_saturated() {
            return None;
        }
        self.queue.next_due()
    }

    /// The number of targets.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nobody to probe.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number of probes that have not ended, cancelled ones included.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Whether no probe may begin before another has ended.
    #[must_use]
    pub fn is_saturated(&self) -> bool {
        self.running.len() >= self.config.max_concurrent.get()
    }

    fn advance(&mut self, now: MonoTime) {
        self.now = self.now.max(now);
    }

    fn insert(&mut self, target: Target) {
        let key = target.key();
        let due = if target.begins_at_once() {
            self.now
        } else {
            self.now + self.jitter.below(target.interval(Pace::Settled))
        };
        let turn = self.queue.push(key, due);
        self.entries.insert(
            key,
            Entry {
                target,
                pace: Pace::Settled,
                phase: Phase::Waiting { turn },
            },
        );
    }

    /// Gives up the turn, or the probe, of an entry that is gone.
    fn release(&mut self, phase: Phase) {
        match phase {
            Phase::Waiting { turn } => self.queue.remove(turn),
            Phase::Probing { ticket } => self.cancels.push_back(ticket),
        }
    }

    fn end(&mut self, ticket: Ticket, now: MonoTime, judge: impl FnOnce(&mut Entry)) -> Verdict {
        self.advance(now);
        let Some(Running { key, started }) = self.running.remove(&ticket) else {
            return Verdict::Void;
        };
        let Some(entry) = self
            .entries
            .get_mut(&key)
            .filter(|entry| entry.phase == Phase::Probing { ticket })
        else {
            // Nobody needs to be told to cancel what has ended.
            self.cancels.retain(|cancelled| *cancelled != ticket);
            return Verdict::Void;
        };
        judge(entry);
        let interval = self.jitter.around(entry.target.interval(entry.pace));
        // Counted from its beginning, so that a slow backend is not probed less often. One that took
        // longer than its interval queues behind all who are overdue already.
        let turn = self.queue.push(key, (started + interval).max(self.now));
        entry.phase = Phase::Waiting { turn };
        debug_assert!(self.check_invariants());
        Verdict::Counted
    }

    /// What can be checked in constant time; the tests check the rest.
    fn check_invariants(&self) -> bool {
        let probing = self.entries.len() - self.queue.len();
        probing + self.cancels.len() <= self.running.len()
            && self.running.len() <= self.config.max_concurrent.get()
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schedule")
            .field("now", &self.now)
            .field("targets", &self.entries.len())
            .field("running", &self.running.len())
            .field("next", &self.poll_timeout())
            .finish_non_exhaustive()
    }
}
