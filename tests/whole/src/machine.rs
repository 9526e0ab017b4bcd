//! A backend's machine, and the agent on it that keeps it registered.

use edgeproxy_backend::{Backend, Incarnation};

use crate::trace::P;

/// What becomes of a connection to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Power {
    /// It answers.
    Up,
    /// It accepts connections, and resets them once it has a request.
    Resets,
    /// It accepts connections, and never answers.
    Hung,
    /// It refuses connections.
    Off,
    /// Nobody is at its address.
    Gone,
}

impl Power {
    /// Whether a connection is made.
    pub(crate) const fn accepts(self) -> bool {
        matches!(self, Self::Up | Self::Resets | Self::Hung)
    }
}

#[derive(Debug)]
pub(crate) struct Machine {
    /// At the address that it has now.
    pub(crate) backend: Backend,
    pub(crate) power: Power,
    /// Counts its starts: what it worked at before is lost.
    pub(crate) boot: u32,
    /// Counts changes of its power: what was planned before is void.
    pub(crate) planned: u32,
    pub(crate) has_agent: bool,
    /// Counts what its agent has planned, as above.
    pub(crate) series: u32,
    /// The proxy that its agent turns to.
    pub(crate) home: P,
    /// Of the latest call; waited for if not 0.
    pub(crate) waits_for: u32,
    pub(crate) calls: u32,
    /// What its agent knows.
    pub(crate) life: Option<Incarnation>,
    /// Its agent wants it out.
    pub(crate) is_leaving: bool,
    pub(crate) truth: Truth,
}

/// What is true of it, whatever anybody thinks.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// Since when it answers every proxy, and is heard by one that reaches the store, without a gap. In active time.
    pub(crate) well_since: Option<u64>,
    pub(crate) heard_at: u64,
    /// Heartbeats in a row.
    pub(crate) beats: u32,
    /// When each proxy last heard it.
    pub(crate) heard_by: Vec<u64>,
    /// And the time before that.
    pub(crate) heard_before: Vec<u64>,
    /// Since when it neither serves nor beats.
    pub(crate) dead_since: Option<u64>,
    /// The latest life that was acknowledged, and whether it is kept.
    pub(crate) acknowledged: Option<(Incarnation, bool)>,
    /// Lives that were deregistered: when it was acknowledged, by whom, and whether it is kept.
    pub(crate) ended: Vec<Ended>,
    /// What the store has.
    pub(crate) stored: Option<Incarnation>,
    /// An operator has switched it off: when that was acknowledged, by whom, and whether it is kept.
    pub(crate) disabled: Option<(u64, P, bool)>,
    /// Lives that it has asked to end.
    pub(crate) leaving: Vec<Incarnation>,
    /// It is not to come back.
    pub(crate) is_retired: bool,
    /// Where an operator last switched it off or on.
    pub(crate) switched_by: Option<P>,
    /// Something about an operator's switch is under way.
    pub(crate) is_switched: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) life: Incarnation,
    pub(crate) at: u64,
    pub(crate) by: P,
    pub(crate) is_kept: bool,
}

/// Ends that are remembered.
const ENDS: usize = 8;

impl Truth {
    pub(crate) fn end(&mut self, ended: Ended) {
        if self.ended.len() == ENDS {
            self.ended.remove(0);
        }
        self.ended.push(ended);
    }

    pub(crate) fn end_of(&self, life: Incarnation) -> Option<Ended> {
        self.ended.iter().find(|ended| ended.life == life).copied()
    }
}
