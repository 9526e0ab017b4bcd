//! What happens when a deadline comes.

use super::Registry;
use crate::EventKind;
use crate::entry::{Doubt, Life};

/// What one call may cost, in looks at a timer. At 0.2–0.4 µs each it stays below half a millisecond, and a
/// million leases of 60 s, each set again once in a lease, need 17 such calls a second.
const WORK_BOUND: usize = 1_024;
/// Members that the guard counts at the cost of one such look: they are read one after the other, and
/// nothing is written.
const COUNTS_PER_LOOK: usize = 4;

impl Registry {
    pub(super) fn timeout(&mut self) {
        self.sweep();
        let now = self.now();
        let mut work = 0;
        while work < WORK_BOUND {
            let Some((at, slot)) = self.timers.peek() else {
                return;
            };
            if at > now {
                return;
            }
            work += 1;
            let due = self.entries[slot].due(self.config.leases);
            if due == at {
                work += self.expire(slot) / COUNTS_PER_LOOK;
            } else {
                // A heartbeat has moved it. Even if it is due now, others may be due before.
                self.timers.set(slot, due);
            }
        }
    }

    /// Does the one thing that an entry's earliest deadline stands for, and says how many members were
    /// counted for it.
    fn expire(&mut self, slot: u32) -> usize {
        let entry = &self.entries[slot];
        if entry.life != Life::Live {
            self.cut(slot);
            return 0;
        }
        if entry
            .details()
            .traffic
            .ends()
            .is_some_and(|end| end <= entry.removal(self.config.leases))
        {
            self.entries[slot].details_mut().traffic.begin_trial();
            self.reconsider(slot);
            return 0;
        }
        let guarded = self.ask_guard(slot);
        if guarded.keeps {
            self.stats.suspected += 1;
            self.entries[slot].doubt = Doubt::Suspect;
            // Whatever its state, it is to be probed from now on.
            let app = self.entries[slot].app;
            self.mark_dirty(app);
            self.emit(EventKind::Suspected, slot);
            let _ = self.settle(slot);
        } else {
            self.stats.expiries += 1;
            self.drop_entry(slot, EventKind::Expired);
        }
        guarded.counted
    }
}
