//! Draining: who is waited for, how long, and how many.

use std::time::Duration;

use edgeproxy_backend::BackendId;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::Registry;
use crate::EventKind;
use crate::clock::Active;
use crate::entry::{Drain, Life};

/// Everything that drains, and when to look whether it has ended.
#[derive(Debug)]
pub(super) struct Drains {
    slots: Vec<u32>,
    next_sweep: Option<Active>,
    /// Places before this one are still to be looked at in the sweep under way.
    left: usize,
    /// Superseded incarnations by their id, the oldest first.
    predecessors: HashMap<BackendId, Vec<u32>, FixedState>,
}

/// How long after it has ended a drain is noticed at the most.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);
/// Drains that are looked at in one call, a load of one atomic each.
const SWEEP_BOUND: usize = 1_024;
/// Superseded incarnations of one id that are waited for. A backend whose address flaps would otherwise
/// fill the registry with its own past.
const MAX_PREDECESSORS: usize = 4;

impl Drains {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            slots: Vec::new(),
            next_sweep: None,
            left: 0,
            predecessors: HashMap::with_hasher(FixedState::with_seed(seed)),
        }
    }

    pub(super) const fn next_sweep(&self) -> Option<Active> {
        self.next_sweep
    }

    pub(super) const fn slots(&self) -> &Vec<u32> {
        &self.slots
    }

    pub(super) fn predecessors(&self) -> impl Iterator<Item = (&BackendId, &[u32])> {
        self.predecessors.iter().map(|(id, slots)| (id, slots.as_slice()))
    }
}

impl Registry {
    // Slots that drain are slots, of which there are fewer than 2^31.
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn start_drain(&mut self, slot: u32, until: Active) {
        let position = self.drains.slots.len() as u32;
        self.drains.slots.push(slot);
        self.entries[slot].details_mut().drain = Some(Drain { until, position });
        let first_look = self.now() + SWEEP_INTERVAL;
        self.drains.next_sweep.get_or_insert(first_look);
        self.timers.ensure(slot, until);
    }

    pub(super) fn shorten_drain(&mut self, slot: u32, until: Active) {
        if let Some(drain) = &mut self.entries[slot].details_mut().drain {
            drain.until = drain.until.min(until);
            self.timers.ensure(slot, until);
        }
    }

    /// Takes a slot off the list of those that drain, if it is there.
    pub(super) fn stop_drain(&mut self, slot: u32) {
        let Some(drain) = self.entries[slot].details().drain else {
            return;
        };
        self.entries[slot].details_mut().drain = None;
        self.drains.slots.swap_remove(drain.position as usize);
        if let Some(moved) = self.drains.slots.get(drain.position as usize)
            && let Some(drain_of_moved) = &mut self.entries[*moved].details_mut().drain
        {
            drain_of_moved.position = drain.position;
        }
        if self.drains.slots.is_empty() {
            self.drains.next_sweep = None;
            self.drains.left = 0;
        }
        if self.entries[slot].life == Life::Superseded {
            self.forget_predecessor(slot);
        }
    }

    /// Keeps count of a superseded incarnation; the oldest of too many is cut early.
    pub(super) fn follow_predecessor(&mut self, slot: u32) {
        let id = self.entries[slot].endpoint.id.clone();
        let slots = self.drains.predecessors.entry(id).or_default();
        slots.push(slot);
        if slots.len() > MAX_PREDECESSORS {
            let oldest = slots[0];
            self.cut(oldest);
        }
    }

    fn forget_predecessor(&mut self, slot: u32) {
        let id = &self.entries[slot].endpoint.id;
        let Some(slots) = self.drains.predecessors.get_mut(id) else {
            return;
        };
        slots.retain(|other| *other != slot);
        if slots.is_empty() {
            self.drains.predecessors.remove(id);
        }
    }

    /// Stops waiting for a superseded incarnation. What it has in flight goes on, unwatched.
    pub(super) fn let_go(&mut self, slot: u32) {
        if self
            .entries
            .get(slot)
            .is_some_and(|entry| entry.life == Life::Superseded)
        {
            self.drop_entry(slot, EventKind::Removed);
        }
    }

    /// The drain deadline has passed.
    pub(super) fn cut(&mut self, slot: u32) {
        self.entries[slot].endpoint.meter.cut();
        self.emit(EventKind::Removed, slot);
        self.remove(slot);
    }

    /// Lets those go that have nothing in flight any more.
    pub(super) fn sweep(&mut self) {
        let now = self.now();
        if self.drains.next_sweep.is_none_or(|at| at > now) {
            return;
        }
        if self.drains.left == 0 {
            self.drains.left = self.drains.slots.len();
        }
        // Backwards: removing a slot moves the last into its place, and that was looked at already, or
        // has only just begun to drain.
        let mut bound = SWEEP_BOUND;
        while self.drains.left > 0 && bound > 0 {
            self.drains.left -= 1;
            bound -= 1;
            let Some(&slot) = self.drains.slots.get(self.drains.left) else {
                continue;
            };
            if self.entries[slot].endpoint.meter.in_flight() == 0 {
                self.drop_entry(slot, EventKind::Removed);
            }
        }
        if self.drains.left == 0 && !self.drains.slots.is_empty() {
            self.drains.next_sweep = Some(now + SWEEP_INTERVAL);
        }
    }
}
