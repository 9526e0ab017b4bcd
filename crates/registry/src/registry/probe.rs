//! Results of probes.

use edgeproxy_backend::{BackendId, Incarnation};

use super::Registry;
use crate::entry::Life;
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
            Probe::Suspect if !entry.suspect => Pace::Settled,
            Probe::Suspect if passed => Pace::Changing,
            Probe::Suspect => {
                self.stats.expiries += 1;
                self.drop_entry(slot, EventKind::Expired);
                Pace::Settled
            }
        }
    }

    fn monitor(&mut self, slot: u32, passed: bool) -> Pace {
        let now = self.now();
        let entry = &mut self.entries[slot];
        if passed && !entry.has_details() {
            return Pace::Settled; // by far the most frequent case: nothing was against it
        }
        let policy = &self.apps.get(entry.app).policy;
        if policy.monitoring == Monitoring::Off {
            return Pace::Settled;
        }
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
