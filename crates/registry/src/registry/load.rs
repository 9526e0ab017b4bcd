//! Load reports.

use super::Registry;
use crate::load::{Steering, elsewhere};
use crate::{LoadReport, State};

impl Registry {
    /// A heartbeat has come with this report, which the entry has taken in. Of those that report no load it is not even
    /// asked whether they did.
    pub(super) fn take_in_load(&mut self, slot: u32, report: &LoadReport) {
        let reported = self.entries[slot].reported;
        if reported.in_flight.is_some() {
            let meter = &self.entries[slot].endpoint.meter;
            meter.set_elsewhere(elsewhere(meter.elsewhere(), report.in_flight, meter.in_flight()));
        }
        if reported.utilization_permille.is_some() {
            self.steer(slot, report.utilization_permille);
        }
    }

    fn steer(&mut self, slot: u32, utilization: Option<u16>) {
        let entry = &self.entries[slot];
        let app = entry.app;
        // Who gets no requests is idle, and will not be once it gets some.
        let gets_its_share = matches!(entry.state, State::Routable | State::Suspect);
        let before = entry.details().load;
        let mut load = before;
        self.apps.get_mut(app).loads.report(
            entry.endpoint.region,
            &mut load,
            utilization.filter(|_| gets_its_share),
        );
        if load == before {
            return;
        }
        let entry = &mut self.entries[slot];
        entry.details_mut().load = load;
        entry.tidy();
        if load.factor != before.factor {
            self.mark_dirty(app);
        }
    }

    /// What it reported of its load is forgotten, before anything else of it changes: it registered anew, or leaves its
    /// app.
    pub(super) fn forget_load(&mut self, slot: u32) {
        let entry = &mut self.entries[slot];
        if entry.reported.in_flight.is_some() {
            entry.endpoint.meter.set_elsewhere(0);
        }
        let mut load = entry.details().load;
        if load == Steering::CLEAN {
            return;
        }
        let (app, is_published) = (entry.app, load.factor != Steering::CLEAN.factor);
        self.apps
            .get_mut(app)
            .loads
            .forget(entry.endpoint.region, &mut load);
        entry.details_mut().load = Steering::CLEAN;
        entry.tidy();
        if is_published {
            self.mark_dirty(app);
        }
    }
}
