//! Heartbeats.

use std::sync::Arc;

use edgeproxy_backend::{BackendId, Incarnation, Weight};

use super::Registry;
use crate::entry::Doubt;
use crate::ledger::Asked;
use crate::{FencedError, LoadReport, Renewed, Source};

impl Registry {
    pub(super) fn heartbeat(
        &mut self,
        id: &BackendId,
        fence: Option<Incarnation>,
        report: &LoadReport,
    ) -> Result<Renewed, FencedError> {
        let slot = self.find_fenced(id, fence)?;
        let now = self.now();
        let entry = &mut self.entries[slot];
        entry.renew(now);
        self.stats.heartbeats += 1;
        let changes_draining = entry.take_in(report);
        let in_doubt = entry.doubt != Doubt::None;
        self.take_in_load(slot, report);
        if in_doubt || changes_draining || report.weight.is_some() {
            self.believe(slot);
            self.apply_weight(slot, report.weight);
            self.reconsider(slot);
        }
        let entry = &self.entries[slot];
        Ok(Renewed {
            endpoint: Arc::clone(&entry.endpoint),
            ttl: (entry.source() == Source::Registered).then(|| entry.ttl()),
        })
    }

    fn apply_weight(&mut self, slot: u32, weight: Option<Weight>) {
        let entry = &mut self.entries[slot];
        let Some(weight) = weight else { return };
        let asked = Asked {
            weight,
            ..entry.asked()
        };
        let backend = entry.endpoint.backend.clone();
        let changes = entry.asked() != asked;
        if entry.overlay(asked, backend, self.share) {
            let app = entry.app;
            self.mark_dirty(app);
        }
        if changes {
            self.note_changed(slot);
        }
    }

    /// The slot of a backend, if the caller speaks for the incarnation in it.
    pub(super) fn find_fenced(&self, id: &BackendId, fence: Option<Incarnation>) -> Result<u32, FencedError> {
        let slot = self
            .index
            .find(id, &self.entries)
            .ok_or_else(|| FencedError::Unknown(id.clone()))?;
        let live = self.entries[slot].endpoint.incarnation;
        match fence {
            Some(found) if found != live => Err(FencedError::DeadIncarnation {
                id: id.clone(),
                found,
                live,
            }),
            _ => Ok(slot),
        }
    }
}
