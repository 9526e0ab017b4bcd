//! What has happened, for people and for a comparison of two runs.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use edgeproxy_backend::Incarnation;
use edgeproxy_registry::{EventKind, State};

use crate::network::Way;
use crate::request::Outcome;

/// A backend's machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct B(pub(crate) usize);

/// A proxy.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct P(pub(crate) usize);

impl fmt::Debug for B {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b{}", self.0)
    }
}

impl fmt::Debug for P {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", self.0)
    }
}

/// Why a request was let in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum By {
    OpenGate,
    LastResort,
}

/// One thing that happened.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum What {
    Cut(Way, u64),
    StoreCut(P, u64),
    StoreAway(u64),
    StoreIsBack(Option<P>),
    StoreSlow(u64),
    AnswersLost(P, u32),
    Compacted,
    Killed(P, u64),
    Started(P),
    Frozen(P, u64),
    Resumed(P),
    Asleep(u64),
    Power(B, crate::machine::Power),
    AgentDies(B),
    AgentStarts(B),
    Moves(B, u16),
    Beat(B, P, bool),
    Registers(B, P),
    Acknowledged(B, P, Incarnation, bool),
    Leaves(B, P, Incarnation),
    Left(B, P, bool),
    Operator(B, P, bool),
    Picked(P, B, Incarnation, By),
    NobodyFor(P),
    Full(P),
    Ended(P, B, Incarnation, Outcome),
    Probed(P, B, Incarnation, bool),
    Told(P, B, Incarnation, EventKind, State),
    Published(P),
    Stored(B, Option<Incarnation>),
    Quiet,
    Settled,
}

/// The last events, and a number for all of them.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    last: VecDeque<(u64, What)>,
    all: DefaultHasher,
    count: u64,
}

const KEPT: usize = 1_500;

impl Trace {
    pub(crate) fn note(&mut self, now: u64, what: What) {
        (now, what).hash(&mut self.all);
        self.count += 1;
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back((now, what));
    }

    /// The same for two runs in which the same happened at the same times, in the same order.
    pub(crate) fn digest(&self) -> (u64, u64) {
        (self.count, self.all.finish())
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, what) in &self.last {
            writeln!(f, "{:6}.{:03} {what:?}", at / 1_000, at % 1_000)?;
        }
        Ok(())
    }
}
