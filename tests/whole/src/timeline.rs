//! What is going to happen, in order.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use edgeproxy_backend::Incarnation;
use edgeproxy_health::{Class, Ticket};

use crate::request::{Attempt, Outcome};
use crate::trace::{B, P};

#[derive(Clone, Debug)]
pub(crate) enum Due {
    /// Something goes wrong.
    Trouble,
    /// A client's request comes to a proxy.
    Request(P),
    Ended(Attempt, Outcome),
    /// A machine has worked at it, in that boot.
    Worked(Attempt, B, u32),
    /// An agent has something to send, unless that series is over.
    Agent(B, u32),
    /// A call of an agent comes to a proxy.
    Call(P, Call),
    /// The answer to it comes back.
    Answer(B, u32, Answer),
    GiveUp(B, u32),
    /// A probe of that process ends.
    Probe(P, u32, Ticket, B, Incarnation, Class, bool),
    /// Power comes back, in the same boot.
    Power(B, u32, crate::machine::Power),
    AgentStarts(B),
    Boot(B),
    StoreIsBack(Option<P>),
    StoreIsQuick,
    Start(P),
    Resume(P),
    Enable(B),
    Look,
}

/// What an agent, or an operator, asks of a proxy.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) machine: B,
    /// Of the agent; answers to an earlier one are void. 0: nobody waits for the answer.
    pub(crate) number: u32,
    pub(crate) wish: Wish,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Wish {
    Register {
        port: u16,
    },
    Beat,
    /// With the life that it is about.
    Leave(Incarnation),
    Enable(bool),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    Registered(Incarnation),
    Renewed,
    Unknown,
    Left,
    /// Nobody listens, or it is stopping.
    Refused,
}

#[derive(Debug, Default)]
pub(crate) struct Timeline {
    heap: BinaryHeap<Reverse<Entry>>,
    sequence: u64,
}

#[derive(Debug)]
struct Entry {
    at: u64,
    sequence: u64,
    due: Due,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

impl Timeline {
    pub(crate) fn push(&mut self, at: u64, due: Due) {
        self.sequence += 1;
        let sequence = self.sequence;
        self.heap.push(Reverse(Entry { at, sequence, due }));
    }

    pub(crate) fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    pub(crate) fn pop(&mut self, now: u64) -> Option<Due> {
        if self.next_at()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry.due)
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }
}
