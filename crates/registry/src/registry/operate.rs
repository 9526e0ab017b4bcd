//! An operator's changes.

use edgeproxy_backend::{BackendId, Incarnation};

use super::Registry;
use crate::entry::Life;
use crate::ledger::apply;
use crate::{EventKind, Patch, PatchError, Share, Status};

impl Registry {
    pub(super) fn patch(
        &mut self,
        id: &BackendId,
        fence: Option<Incarnation>,
        patch: &Patch,
    ) -> Result<Status, PatchError> {
        let slot = self.find_fenced(id, fence)?;
        let now = self.now();
        let entry = &mut self.entries[slot];
        let asked = entry.asked();
        let overrides = apply(entry.details().overrides, patch, asked)?;
        if overrides != entry.details().overrides {
            let before = std::mem::replace(&mut entry.details_mut().overrides, overrides);
            let backend = entry.endpoint.backend.clone();
            let app = entry.app;
            if entry.overlay(asked, backend, self.share) {
                self.mark_dirty(app);
            }
            self.note_overrides(id, before, overrides);
            // One event tells of it, whatever state follows.
            let _ = self.settle(slot);
            self.tell_predecessor(slot);
            self.emit(EventKind::Changed, slot);
            self.rescue(app);
        }
        Ok(self.status(slot, now))
    }

    /// Divides the limits of everybody anew.
    pub(super) fn divide(&mut self, share: Share) {
        if std::mem::replace(&mut self.share, share) == share {
            return;
        }
        let listed = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.life != Life::Superseded);
        let slots: Vec<u32> = listed.map(|(slot, _)| slot).collect();
        for slot in slots {
            let entry = &mut self.entries[slot];
            let (asked, backend) = (entry.asked(), entry.endpoint.backend.clone());
            let app = entry.app;
            if entry.overlay(asked, backend, share) {
                entry.tidy();
                self.mark_dirty(app);
            }
        }
    }
}
