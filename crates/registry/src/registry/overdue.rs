//! Leases that are held elsewhere: who is asked whether it is still there, who was heard, who is gone.

use edgeproxy_backend::{BackendId, Incarnation};

use super::Registry;
use super::write::is_kept;
use crate::entry::Doubt;
use crate::{EventKind, Leases};

impl Registry {
    /// Its slot, if that life of it holds a registration.
    fn find_life(&self, id: &BackendId, incarnation: Incarnation) -> Option<u32> {
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
        if let Some(slot) = self.find_life(id, incarnation) {
            self.stats.expiries += 1;
            self.drop_entry(slot, EventKind::Expired);
            self.unwritten.is_known(id);
        }
    }
}
