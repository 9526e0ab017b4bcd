//! Results of probes.

use edgeproxy_backend::{BackendId, Incarnation};

use super::Registry;
use crate::entry::{Doubt, Life};
use crate::ledger::{ProbeLedger, Turn, Verdict};
use crate::{EventKind, Monitoring, Pace, Probe};

impl Registry {
    pub(super) fn probe(
        &mut self,
        id: &BackendId,
        incarnation: Incarnation,
        probe: Probe,
        passed: bool,
    ) -> Pace {
        let Some(slot) = self.index.find(id, &self.entries) else {
            return Pace::Settled;
        };
        let entry = &self.entries[slot];
        if entry.endpoint.incarnation != incarnation || entry.life != Life::Live {
            return Pace::Settled;
        }
        match probe {
            Probe::Monitor => self.monitor(slot, passed),
            Probe::Suspect => self.presence(slot, passed),
        }
    }

    /// Whether one that is in doubt is still there.
    fn presence(&mut self, slot: u32, passed: bool) -> Pace {
        match (self.entries[slot].doubt, passed) {
            (Doubt::None, _) => Pace::Settled,
            (Doubt::Suspect, true) => Pace::Changing,
            (Doubt::Suspect, false) => {
                self.stats.expiries += 1;
                self.drop_entry(slot, EventKind::Expired);
                Pace::Settled
            }
            (Doubt::Restored | Doubt::Absent, true) => {
                self.believe(slot);
                self.reconsider(slot);
                Pace::Settled
            }
            (Doubt::Restored, false) => {
                self.entries[slot].doubt = Doubt::Absent;
                self.reconsider(slot);
                Pace::Changing
            }
            // It is there, and whether anybody has heard it is for others to say.
            (Doubt::Overdue, true) | (Doubt::Absent | Doubt::Unreached, false) => Pace::Changing,
            (Doubt::Overdue, false) => {
                self.entries[slot].doubt = Doubt::Unreached;
                self.reconsider(slot);
                Pace::Changing
            }
            (Doubt::Unreached, true) => {
                self.reach(slot);
                self.reconsider(slot);
                Pace::Changing
            }
        }
    }

    /// It was heard of, or reached: nothing is doubted any more. The state follows by
    /// [`reconsider`](Self::reconsider).
    pub(super) fn believe(&mut self, slot: u32) {
        let since = self.clock.last();
        let entry = &mut self.entries[slot];
        let before = std::mem::replace(&mut entry.doubt, Doubt::None);
        if matches!(before, Doubt::Absent | Doubt::Unreached) {
            entry.since = since;
        }
        if before != Doubt::None {
            // Whatever its state, nobody need probe it any more.
            let app = entry.app;
            self.mark_dirty(app);
        }
    }

    /// A probe reaches one that is overdue.
    fn reach(&mut self, slot: u32) {
        let entry = &mut self.entries[slot];
        if entry.doubt == Doubt::Unreached {
            entry.doubt = Doubt::Overdue;
            entry.since = self.clock.last();
        }
    }

    fn monitor(&mut self, slot: u32, passed: bool) -> Pace {
        let now = self.now();
        let entry = &mut self.entries[slot];
        let is_restored = matches!(entry.doubt, Doubt::Restored | Doubt::Absent);
        if passed && !entry.has_details() && !is_restored && entry.doubt != Doubt::Unreached {
            return Pace::Settled; // by far the most frequent case: nothing was against it
        }
        if self.apps.get(entry.app).policy.monitoring == Monitoring::Off {
            return Pace::Settled;
        }
        if passed && is_restored {
            self.believe(slot);
        } else if passed {
            self.reach(slot);
        }
        let entry = &mut self.entries[slot];
        let policy = &self.apps.get(entry.app).policy;
        let details = entry.details_mut();
        let turn = if passed {
            details.probe.pass(policy)
        } else {
            details.probe.fail(policy)
        };
        match turn {
            Some(Turn::Out) => details.traffic.halt_decay(policy, now),
            Some(Turn::Back) => details.traffic.resume_decay(now),
            None => {}
        }
        if passed && details.probe.verdict() == Verdict::Healthy {
            details.traffic.begin_trial();
        }
        let pace = details.probe.pace();
        if turn == Some(Turn::Back) {
            entry.since = self.clock.last();
        }
        self.reconsider(slot);
        pace
    }

    /// Empties the probe ledgers of an app that nobody probes any more. Whether somebody is to be rescued shows only
    /// once all of them are back.
    pub(super) fn forget_probes(&mut self, app: u32) {
        let now = self.now();
        let speaks = |slot: &u32| self.entries[*slot].details().probe != ProbeLedger::CLEAN;
        let slots: Vec<u32> = self.apps.get(app).members().filter(speaks).collect();
        for slot in slots {
            let entry = &mut self.entries[slot];
            let details = entry.details_mut();
            let was_out = details.probe.verdict() != Verdict::Healthy;
            details.probe = ProbeLedger::CLEAN;
            if was_out {
                details.traffic.resume_decay(now);
                entry.since = self.clock.last();
            }
            if let Some(transition) = self.settle(slot) {
                self.announce(slot, transition);
            }
        }
    }
}
