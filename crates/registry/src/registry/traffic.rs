//! What the data plane found.

use edgeproxy_backend::{Gate, Signal, TrafficReport};

use super::Registry;
use crate::State;
use crate::entry::gate_of;

impl Registry {
    pub(super) fn traffic(&mut self, report: &TrafficReport) {
        let Some(slot) = self.index.find(&report.id, &self.entries) else {
            return;
        };
        let endpoint = &self.entries[slot].endpoint;
        if endpoint.incarnation != report.incarnation || endpoint.meter.epoch() != report.epoch {
            return;
        }
        match report.signal {
            Signal::StreakReached | Signal::TrialFailed => self.judge(slot),
            Signal::TrialPassed => self.trial_passed(slot),
        }
    }

    pub(super) fn lost_reports(&mut self) {
        // Judging changes states, not who is a member.
        let slots: Vec<u32> = self.apps.iter().flat_map(|(_, app)| app.members()).collect();
        for slot in slots {
            self.judge(slot);
        }
    }

    /// Confirms an exclusion by the data plane, or takes it back.
    fn judge(&mut self, slot: u32) {
        let entry = &self.entries[slot];
        let meter = &entry.endpoint.meter;
        if meter.gate() != Gate::Excluded || !matches!(gate_of(entry.state), Gate::Open | Gate::Trial) {
            return;
        }
        // One on trial is out of the traffic already: where nobody is left, it would have been rescued.
        let may = gate_of(entry.state) == Gate::Trial || self.apps.get(entry.app).may_eject();
        if !may {
            meter.open();
            self.stats.ejections_refused += 1;
            return;
        }
        self.eject(slot);
        self.reconsider(slot);
    }

    fn trial_passed(&mut self, slot: u32) {
        let entry = &self.entries[slot];
        let on_trial = matches!(entry.endpoint.meter.gate(), Gate::Trial | Gate::TrialBusy);
        if entry.state == State::Trial && on_trial {
            let now = self.now();
            self.entries[slot].readmit(now, self.clock.last());
            self.reconsider(slot);
        }
    }

    /// Enters an ejection into the ledger.
    pub(super) fn eject(&mut self, slot: u32) {
        let now = self.now();
        let entry = &mut self.entries[slot];
        let policy = &self.apps.get(entry.app).policy;
        let (streak, incarnation) = (entry.endpoint.meter.streak(), entry.endpoint.incarnation);
        let jitter = |length, ejections| self.jitter.spread(length, incarnation, ejections);
        entry.details_mut().traffic.eject(streak, policy, jitter, now);
        self.stats.ejections += 1;
    }
}
