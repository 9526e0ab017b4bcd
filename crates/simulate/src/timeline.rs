use std::cmp::Ordering;
use std::collections::BinaryHeap;

use edgeproxy_health::Ticket;

use crate::fleet::Action;
use crate::world::Planned;

/// One attempt at a request: its place in the slab, and the number of the attempt, which no other one ever has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Attempt {
    pub(crate) request: usize,
    pub(crate) number: u64,
}

/// What became of an attempt, as far as its backend is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Answered,
    /// A response whose status is an error.
    Error,
    Reset,
    Refused,
    ConnectTimeout,
}

/// What is going to happen.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Due {
    /// A request of that stream.
    Arrival(usize),
    /// It comes to the backend.
    Reached(usize, Attempt),
    /// The backend, in that life of it, has done its work.
    Worked(usize, u32, Attempt, Outcome),
    /// Its outcome comes to the proxy, if the backend still has that life.
    Returned(Attempt, Option<(usize, u32)>, Outcome),
    /// A probe has ended.
    Probed(usize, Ticket, bool),
    /// A heartbeat of a backend, of that series.
    Heartbeat(usize, u32),
    /// A step of the script.
    Action(usize, Planned),
    /// One is over that began in that life of the backend.
    Over(usize, Action, u32),
    /// What was laid over a machine under that number is over.
    Lifted(usize, Action, u64),
    /// Whether it has drained, for how much longer that is waited for, and how long it is gone then.
    Drained(usize, u64, u64),
    /// It starts, if it still has that life.
    Start(usize, u32),
    /// A look at everything.
    Sample,
}

struct Entry {
    at: u64,
    /// Of two at the same time the one that was said first is first.
    number: u64,
    due: Due,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The earliest is the greatest, as a heap has it.
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// What is going to happen, in order. Times are microseconds since the beginning.
#[derive(Default)]
pub(crate) struct Timeline {
    heap: BinaryHeap<Entry>,
    next: u64,
}

impl Timeline {
    pub(crate) fn push(&mut self, at: u64, due: Due) {
        let number = self.next;
        self.next += 1;
        self.heap.push(Entry { at, number, due });
    }

    pub(crate) fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|entry| entry.at)
    }

    pub(crate) fn pop(&mut self) -> Option<Due> {
        self.heap.pop().map(|entry| entry.due)
    }
}
