//! From the ledgers to one state, its gate and its event.

use edgeproxy_backend::Gate;

use super::Registry;
use crate::entry::{Entry, gate_of};
use crate::ledger::Standing;
use crate::{Event, EventKind, State};

/// A state before and after.
pub(super) type Transition = (State, State);

impl Registry {
    /// Lets an entry's ledgers decide anew, and follows up: gate, counts, snapshot, event, and a rescue
    /// where it was the last. To be called after every change to an entry.
    pub(super) fn reconsider(&mut self, slot: u32) {
        if let Some(transition) = self.settle(slot) {
            self.announce(slot, transition);
        }
        self.rescue(self.entries[slot].app);
    }

    /// Brings state, gate, counts and timer of an entry in line with its ledgers, and says what changed.
    ///
    /// The gate moves only when the state's gate does: what the data plane has closed by itself stays
    /// closed until its report has been judged, whatever is renewed in the meantime.
    pub(super) fn settle(&mut self, slot: u32) -> Option<Transition> {
        let (before, after) = (self.entries[slot].state, self.entries[slot].decide());
        let shut = |state| matches!(gate_of(state), Gate::Unhealthy | Gate::Closed);
        if !shut(before) && shut(after) {
            self.absorb(slot);
        }
        let now = self.now();
        let entry = &mut self.entries[slot];
        let policy = &self.apps.get(entry.app).policy;
        if entry.has_details() {
            let traffic = &mut entry.details_mut().traffic;
            if traffic.is_clean(policy, now) {
                *traffic = crate::ledger::Traffic::CLEAN;
            }
            entry.tidy();
        }
        let due = entry.due(self.config.leases);
        self.timers.ensure(slot, due);
        if before == after {
            return None;
        }
        entry.state = after;
        let gate = gate_of(after);
        if gate != gate_of(before) && !(gate == Gate::Closed && self.held.takes(&entry.endpoint)) {
            set_gate(entry);
        }
        let app = entry.app;
        self.apps.get_mut(app).moved(before, after);
        self.mark_dirty(app);
        Some((before, after))
    }

    /// Tells of a change of state that no other event tells of.
    pub(super) fn announce(&mut self, slot: u32, (before, after): Transition) {
        let kind = match (before, after) {
            (_, State::Ejected) => EventKind::Ejected,
            (_, State::Trial) => EventKind::TrialStarted,
            (_, State::Unhealthy) => EventKind::Unhealthy,
            (_, State::Draining) => EventKind::Draining,
            (_, State::Disabled) | (State::Disabled, _) => EventKind::Changed,
            (_, State::Routable | State::Suspect) => EventKind::Readmitted,
        };
        self.emit(kind, slot);
    }

    pub(super) fn emit(&mut self, kind: EventKind, slot: u32) {
        self.events.push(self.event(kind, slot));
    }

    /// It said again what is known of it.
    pub(super) fn emit_no_news(&mut self, kind: EventKind, slot: u32) {
        let event = self.event(kind, slot);
        self.events.push(Event {
            is_news: false,
            ..event
        });
    }

    fn event(&self, kind: EventKind, slot: u32) -> Event {
        let entry = &self.entries[slot];
        Event {
            sequence: 0,
            at: self.clock.last(),
            id: entry.endpoint.id.clone(),
            app: entry.endpoint.app.clone(),
            incarnation: entry.endpoint.incarnation,
            region: entry.endpoint.region,
            kind,
            state: entry.state,
            reason: entry.reason(self.now()),
            is_news: true,
        }
    }

    /// The gate is about to be closed for another reason. If the data plane has excluded the backend and
    /// the report is still on its way, closing would make that report void and the failures forgotten; so
    /// the ledger takes them in now.
    fn absorb(&mut self, slot: u32) {
        let entry = &self.entries[slot];
        let ejected = matches!(entry.details().traffic.standing(), Standing::Ejected { .. });
        if entry.endpoint.meter.gate() == Gate::Excluded && !ejected {
            self.eject(slot);
        }
    }

    /// Where failed requests keep out all that are left of an app, and may not: opens the one that would be
    /// back soonest, those on trial first, fallbacks last.
    pub(super) fn rescue(&mut self, app: u32) {
        if !self.apps.get(app).needs_rescue() {
            return;
        }
        let held = |slot: &u32| matches!(self.entries[*slot].state, State::Ejected | State::Trial);
        let rank = |slot: &u32| {
            let entry = &self.entries[*slot];
            (entry.endpoint.fallback, entry.details().traffic.ends())
        };
        let Some(slot) = self.apps.get(app).members().filter(held).min_by_key(rank) else {
            return;
        };
        let now = self.now();
        self.entries[slot].readmit(now, self.clock.last());
        if let Some(transition) = self.settle(slot) {
            self.announce(slot, transition);
        }
    }
}

fn set_gate(entry: &Entry) {
    let meter = &entry.endpoint.meter;
    match gate_of(entry.state) {
        Gate::Open => meter.open(),
        Gate::Excluded => meter.exclude(),
        Gate::Trial | Gate::TrialBusy => meter.start_trial(),
        Gate::Unhealthy => meter.bench(),
        Gate::Closed => meter.close(),
        Gate::Cut => meter.cut(),
    }
}
