//! What happens when a deadline comes.

use super::Registry;
use crate::EventKind;
use crate::entry::Life;

/// Timers that one call looks at: at 0.2–0.4 µs each it stays below half a millisecond, and a million
/// leases of 60 s, each set again once in a lease, need 17 such calls a second.
const TIMER_BOUND: usize = 1_024;

impl Registry {
    pub(super) fn timeout(&mut self) {
        self.sweep();
        let now = self.now();
        for _ in 0..TIMER_BOUND {
            let Some((at, slot)) = self.timers.peek() else { return };
            if at > now {
                return;
            }
            let due = self.entries[slot].due();
            if due == at {
                self.expire(slot);
            } else {
                // A heartbeat has moved it. Even if it is due now, others may be due before.
                self.timers.set(slot, due);
            }
        }
    }

    /// The one thing that an entry's earliest deadline stands for.
    fn expire(&mut self, slot: u32) {
        let entry = &self.entries[slot];
        if entry.life != Life::Live {
            self.cut(slot);
        } else if entry.details().traffic.ends().is_some_and(|end| end <= entry.lease_end()) {
            self.entries[slot].details_mut().traffic.begin_trial();
            self.reconsider(slot);
        } else if self.guard_keeps(slot) {
            self.stats.suspected += 1;
            self.entries[slot].suspect = true;
            self.emit(EventKind::Suspected, slot);
            let _ = self.settle(slot);
        } else {
            self.stats.expiries += 1;
            self.drop_entry(slot, EventKind::Expired);
        }
    }
}
