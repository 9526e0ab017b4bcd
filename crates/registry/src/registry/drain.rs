//! Draining: who is waited for, how long, and how many.

use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::{BackendId, Endpoint, Incarnation};
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::Registry;
use crate::clock::Active;
use crate::entry::{Before, Drain, Life};
use crate::{EventKind, State};

/// Everything that drains, and when to look whether it has ended.
#[derive(Debug)]
pub(super) struct Drains {
    slots: Vec<u32>,
    next_sweep: Option<Active>,
    /// Places before this one are still to be looked at in the sweep under way.
    left: usize,
    /// Superseded incarnations by their id, the oldest first.
    predecessors: HashMap<BackendId, Vec<u32>, FixedState>,
    /// Another process may still have requests under way, which is asked before a drain ends.
    is_preceded: bool,
    /// Who was disabled since that process was last asked, which may still have requests for them.
    disabled: HashMap<BackendId, Incarnation, FixedState>,
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
            is_preceded: false,
            disabled: HashMap::with_hasher(FixedState::with_seed(seed)),
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
        let before = if self.drains.is_preceded {
            Before::Unasked
        } else {
            Before::Nothing
        };
        self.entries[slot].details_mut().drain = Some(Drain {
            until,
            position,
            before,
        });
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

    /// Another process, which this one takes the place of, has requests under way.
    pub(super) fn begin_preceded(&mut self) {
        self.drains.is_preceded = true;
        self.wait_for_predecessor(Before::Nothing, Before::Unasked, usize::MAX);
    }

    pub(super) fn end_preceded(&mut self) {
        self.drains.is_preceded = false;
        self.drains.disabled.clear();
        self.wait_for_predecessor(Before::Unasked, Before::Nothing, usize::MAX);
        self.wait_for_predecessor(Before::Asked, Before::Nothing, usize::MAX);
    }

    /// An operator has disabled it, or enabled it again.
    pub(super) fn tell_predecessor(&mut self, slot: u32) {
        let entry = &self.entries[slot];
        if !self.drains.is_preceded {
            return;
        }
        let (id, incarnation) = (entry.endpoint.id.clone(), entry.endpoint.incarnation);
        if entry.state == State::Disabled {
            self.drains.disabled.insert(id, incarnation);
        } else {
            self.drains.disabled.remove(&id);
        }
    }

    fn wait_for_predecessor(&mut self, from: Before, to: Before, max: usize) -> Vec<u32> {
        let mut moved = Vec::new();
        for slot in &self.drains.slots {
            if moved.len() == max {
                break;
            }
            if let Some(drain) = &mut self.entries[*slot].details_mut().drain
                && drain.before == from
            {
                drain.before = to;
                moved.push(*slot);
            }
        }
        moved
    }

    pub(super) fn ask_predecessor_now(&mut self, max: usize) -> Option<Vec<(BackendId, Incarnation)>> {
        let mut named: Vec<_> = self.drains.disabled.extract_if(|_, _| true).take(max).collect();
        let asked = self.wait_for_predecessor(Before::Unasked, Before::Asked, max - named.len());
        let is_waited_for = |slot: &u32| {
            let drain = self.entries[*slot].details().drain;
            drain.is_some_and(|drain| drain.before == Before::Asked)
        };
        if named.is_empty() && !self.drains.slots.iter().any(is_waited_for) {
            return None;
        }
        named.extend(asked.into_iter().map(|slot| {
            let endpoint = &self.entries[slot].endpoint;
            (endpoint.id.clone(), endpoint.incarnation)
        }));
        Some(named)
    }

    /// The process before has nothing in flight there any more, and begins nothing.
    pub(super) fn predecessor_is_done_with(&mut self, id: &BackendId, incarnation: Incarnation) {
        let predecessors = self.drains.predecessors.get(id).into_iter().flatten().copied();
        let mut slots = predecessors.chain(self.index.find(id, &self.entries));
        let slot = slots.find(|slot| self.entries[*slot].endpoint.incarnation == incarnation);
        if let Some(slot) = slot
            && let Some(drain) = &mut self.entries[slot].details_mut().drain
        {
            drain.before = Before::Nothing;
        }
    }

    /// Has it drain, since it gets nothing new in the process that has taken this one's place, either. `None`: it isn't here.
    pub(super) fn drain_with_successor(
        &mut self,
        id: &BackendId,
        incarnation: Incarnation,
    ) -> Option<Arc<Endpoint>> {
        let slot = self.index.find(id, &self.entries)?;
        let entry = &self.entries[slot];
        if entry.endpoint.incarnation != incarnation {
            return None;
        }
        let endpoint = Arc::clone(&entry.endpoint);
        if entry.life == Life::Live {
            self.listed.remove(id);
            self.begin_leaving(slot, self.config.drain_max);
        }
        Some(endpoint)
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
            let entry = &self.entries[slot];
            let is_waited_for = |drain: Drain| drain.before != Before::Nothing;
            if entry.endpoint.meter.remaining() == 0 && !entry.details().drain.is_some_and(is_waited_for) {
                self.drop_entry(slot, EventKind::Removed);
            }
        }
        if self.drains.left == 0 && !self.drains.slots.is_empty() {
            self.drains.next_sweep = Some(now + SWEEP_INTERVAL);
        }
    }
}
