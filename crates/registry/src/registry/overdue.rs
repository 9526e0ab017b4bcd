//! Leases that are held elsewhere: who is asked whether it is still there, who was heard, who is gone.

use std::time::Duration;

use edgeproxy_backend::{BackendId, Incarnation, MonoTime};

use super::Registry;
use super::write::is_kept;
use crate::entry::Doubt;
use crate::{EventKind, Leases};

impl Registry {
    /// Its lease has run out, as far as those know who [hold it elsewhere](crate::Leases::Elsewhere), and they want to know whether
    /// it is still there.
    ///
    /// - It stays in rotation, as [`Suspect`](crate::State::Suspect) and [`Overdue`](crate::Reason::Overdue), and a
    ///   [probe](crate::Probe::Suspect) is to be sent, again and again.
    /// - One that fails takes it out: it is unhealthy, and [`Unreached`](crate::Reason::Unreached). One that passes, be it the
    ///   monitor's, brings it back.
    /// - The doubt is over when it is heard: a heartbeat, a registration, or [elsewhere](Self::handle_heard).
    ///
    /// Another life of it, or one of the configuration file, is left alone; so is everybody where leases are held here.
    pub fn handle_overdue(&mut self, id: &BackendId, incarnation: Incarnation, now: MonoTime) {
        self.advance(now);
        self.doubt(id, incarnation);
        debug_assert!(self.check_invariants());
    }

    /// Those who [hold its lease elsewhere](crate::Leases::Elsewhere) are about to end it, although nobody says that it is gone. `Some` where
    /// the [guard](crate::Config::mass_expiry_guard) distrusts that, and for how much longer it is to be kept at the most: until three
    /// TTLs after its lease ran out. It is theirs to keep it, while a probe reaches it.
    ///
    /// The guard counts the members of its app for which `counts` says yes: those of which a heartbeat would be known here.
    /// Three of those that have renewed three times, and more than half of them, have to be silent.
    ///
    /// `None` for another life of it, for one of the configuration file, and where leases are held here. O(n) in the members
    /// of its app, but not for each of them.
    pub fn handle_expiring(
        &mut self,
        id: &BackendId,
        incarnation: Incarnation,
        counts: impl Fn(&BackendId) -> bool,
        now: MonoTime,
    ) -> Option<Duration> {
        self.advance(now);
        let kept = self.guard_elsewhere(id, incarnation, counts);
        debug_assert!(self.check_invariants());
        kept
    }

    /// It has been heard elsewhere. Its lease begins anew, as far as it is told here.
    pub fn handle_heard(&mut self, id: &BackendId, now: MonoTime) {
        self.advance(now);
        self.hear(id);
        debug_assert!(self.check_invariants());
    }

    /// Its lease has ended: what was decided where leases are [held elsewhere](crate::Leases::Elsewhere) has come true in the store.
    /// As with [`handle_foreign`](Self::handle_foreign), what was changed here and isn't written yet stays.
    pub fn handle_ended(&mut self, id: &BackendId, incarnation: Incarnation, now: MonoTime) {
        self.advance(now);
        self.end(id, incarnation);
        debug_assert!(self.check_invariants());
    }

    /// Its slot, if that life of it holds a registration.
    pub(super) fn find_life(&self, id: &BackendId, incarnation: Incarnation) -> Option<u32> {
        let slot = self.index.find(id, &self.entries)?;
        let entry = &self.entries[slot];
        (is_kept(entry) && entry.endpoint.incarnation == incarnation).then_some(slot)
    }

    pub(super) fn doubt(&mut self, id: &BackendId, incarnation: Incarnation) {
        if self.config.leases == Leases::Here {
            return;
        }
        let Some(slot) = self.find_life(id, incarnation) else {
            return;
        };
        match self.entries[slot].doubt {
            Doubt::None => self.emit(EventKind::Suspected, slot),
            Doubt::Restored => {}
            // It is being probed.
            Doubt::Suspect | Doubt::Absent | Doubt::Overdue | Doubt::Unreached => return,
        }
        self.entries[slot].doubt = Doubt::Overdue;
        let app = self.entries[slot].app;
        self.mark_dirty(app);
        let _ = self.settle(slot);
    }

    pub(super) fn hear(&mut self, id: &BackendId) {
        let Some(slot) = self.index.find(id, &self.entries) else {
            return;
        };
        if !is_kept(&self.entries[slot]) {
            return;
        }
        let now = self.now();
        self.entries[slot].renew(now);
        if self.entries[slot].doubt != Doubt::None {
            self.believe(slot);
            self.reconsider(slot);
        }
    }

    pub(super) fn end(&mut self, id: &BackendId, incarnation: Incarnation) {
        self.pass_over(incarnation);
        if self.unwritten.has_registration_of(id) {
            return; // what was changed here is written, and the store says what became of it
        }
        let Some(slot) = self.index.find(id, &self.entries) else {
            return;
        };
        let entry = &self.entries[slot];
        // Nor is an earlier life there any more.
        if is_kept(entry) && entry.endpoint.incarnation <= incarnation {
            self.stats.expiries += 1;
            self.drop_entry(slot, EventKind::Expired);
            self.unwritten.is_known(id);
        }
    }
}
