//! Gates that stay open for those who still go by the snapshot before.

use std::sync::Arc;

use edgeproxy_backend::{Endpoint, Gate};

use super::Registry;
use crate::Hold;
use crate::entry::{Life, gate_of};

/// Backends whose gates would be shut by now, and whose word they are held open by.
#[derive(Debug, Default)]
pub(super) struct Held {
    endpoints: Vec<(Hold, Arc<Endpoint>)>,
    /// By which those are held that would be shut now.
    current: Option<Hold>,
    last: u64,
}

impl Held {
    /// Notes an endpoint, if gates are held open now.
    pub(super) fn takes(&mut self, endpoint: &Arc<Endpoint>) -> bool {
        let Some(hold) = self.current else { return false };
        self.endpoints.push((hold, Arc::clone(endpoint)));
        true
    }

    /// Whether any gate is held open by that word.
    pub(super) fn holds(&self, hold: Hold) -> bool {
        self.endpoints.iter().any(|(by, _)| *by == hold)
    }

    pub(super) fn contains(&self, endpoint: &Endpoint) -> bool {
        let mut held = self.endpoints.iter();
        held.any(|(_, held)| held.incarnation == endpoint.incarnation)
    }
}

impl Registry {
    /// What `change` would shut is held open.
    pub(super) fn holding<T>(&mut self, change: impl FnOnce(&mut Self) -> T) -> (T, Hold) {
        self.held.last += 1;
        let hold = Hold(self.held.last);
        self.held.current = Some(hold);
        let changed = change(self);
        self.held.current = None;
        (changed, hold)
    }

    pub(super) fn let_shut(&mut self, hold: Hold) {
        let held = std::mem::take(&mut self.held.endpoints);
        let (due, rest): (Vec<_>, Vec<_>) = held.into_iter().partition(|(by, _)| *by == hold);
        self.held.endpoints = rest;
        for (_, endpoint) in due {
            let slot = self.index.find(&endpoint.id, &self.entries);
            let entry = slot.map(|slot| &self.entries[slot]);
            // It may have come back meanwhile.
            let is_back = entry.is_some_and(|entry| {
                entry.endpoint.incarnation == endpoint.incarnation
                    && entry.life != Life::Superseded
                    && gate_of(entry.state) != Gate::Closed
            });
            if !is_back && endpoint.meter.gate() != Gate::Cut {
                endpoint.meter.close();
            }
        }
    }

    /// Shuts the gate of an entry, or notes that it is to be.
    pub(super) fn shut(&mut self, slot: u32) {
        let endpoint = &self.entries[slot].endpoint;
        if !self.held.takes(endpoint) {
            endpoint.meter.close();
        }
    }
}
