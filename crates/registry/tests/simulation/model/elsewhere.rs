//! What others do who share the store, and what they find out about leases.

use std::sync::Arc;

use edgeproxy_backend::{BackendId, Endpoint, Incarnation};
use edgeproxy_registry::{EventKind, Overrides, Record};

use super::restart::asking;
use super::{Kind, Model};
use crate::shadow::{Micros, Phase, Probed, Restored, micros};

impl Model {
    /// The life that holds a lease.
    pub fn leased(&self, id: &BackendId) -> Option<usize> {
        let i = self.listed(id)?;
        (self.all[i].phase == Phase::Live && !self.all[i].fixed).then_some(i)
    }

    /// The next number is later than this one, by whole strides.
    pub fn pass_over(&mut self, seen: Incarnation) {
        while self.next_incarnation <= seen.get() {
            self.next_incarnation += self.config.stride.get();
        }
    }

    pub fn overdue(&mut self, id: &BackendId, incarnation: Incarnation) {
        let Some(i) = self
            .leased(id)
            .filter(|i| self.all[*i].incarnation == incarnation)
        else {
            return;
        };
        match self.all[i].restored {
            Restored::Heard => self.emit(EventKind::Suspected, incarnation),
            Restored::Unheard => {}
            Restored::Absent | Restored::Overdue | Restored::Unreached => return,
        }
        self.all[i].restored = Restored::Overdue;
        self.settle(i);
    }

    /// For how much longer it is kept.
    pub fn expiring(&mut self, id: &BackendId, counts: impl Fn(&BackendId) -> bool) -> Option<Micros> {
        let i = self.leased(id)?;
        let b = &self.all[i];
        let left = (b.deadline + 3 * b.ttl)
            .checked_sub(self.now)
            .filter(|left| *left > 0)?;
        self.distrusts(i, counts).then_some(left)
    }

    pub fn heard_elsewhere(&mut self, id: &BackendId) {
        let Some(i) = self.leased(id) else { return };
        let now = self.now;
        let b = &mut self.all[i];
        b.deadline = now + b.ttl;
        b.renewals += 1;
        b.heard(now);
        self.settle_all(i);
    }

    /// Another one has it so. `endpoint` is what the registry has by that id now.
    pub fn registered_elsewhere(&mut self, record: &Record, endpoint: impl Fn() -> Arc<Endpoint>) {
        self.pass_over(record.incarnation);
        let backend = &record.backend;
        let no_app = !self.apps().contains(&backend.app) && self.apps().len() >= self.config.max_apps;
        let Some(i) = self.listed(&backend.id) else {
            if self.all.len() < self.config.max_backends && !no_app {
                let at = self.remembered.iter().position(|known| known.id == backend.id);
                let known = at.map(|at| self.remembered.remove(at));
                let overrides = known.map(|known| known.of(&backend.app)).unwrap_or_default();
                self.join(record, overrides, &endpoint());
            }
            return;
        };
        let b = &self.all[i];
        if b.fixed && b.phase == Phase::Live {
            return;
        }
        if b.incarnation == record.incarnation && b.phase == Phase::Live {
            self.restated(i, record);
        } else if b.incarnation < record.incarnation {
            if no_app || self.all.len() > self.config.max_backends {
                self.gone_elsewhere(&backend.id, record.incarnation, EventKind::Removed);
                return;
            }
            let (overrides, before) = (b.overrides, b.incarnation);
            let full = self.all.len() >= self.config.max_backends;
            self.join(record, overrides, &endpoint());
            let old = self.all.iter().position(|b| b.incarnation == before).unwrap();
            self.supersede(old, full);
        }
    }

    fn join(&mut self, record: &Record, overrides: Overrides, endpoint: &Arc<Endpoint>) {
        self.insert(asking(record), overrides, endpoint, Kind::Leased);
        self.next_incarnation -= self.config.stride.get();
        self.events.pop();
        let b = self.all.last_mut().unwrap();
        b.incarnation = record.incarnation;
        b.probed = Probed::Fine;
        b.state = b.wanted();
        self.events.push((EventKind::Registered, record.incarnation));
        self.all.sort_by_key(|b| b.incarnation);
    }

    fn restated(&mut self, i: usize, record: &Record) {
        let (now, asking) = (self.now, asking(record));
        let b = &mut self.all[i];
        b.ttl = micros(record.ttl);
        b.deadline = now + b.ttl;
        b.heard(now);
        (b.weight, b.soft, b.hard, b.fallback) = (asking.weight, asking.soft, asking.hard, asking.fallback);
        self.settle_all(i);
    }

    /// Another one has taken it out, or its lease has ended.
    pub fn gone_elsewhere(&mut self, id: &BackendId, incarnation: Incarnation, kind: EventKind) {
        self.pass_over(incarnation);
        let Some(i) = self.leased(id) else { return };
        let here = self.all[i].incarnation;
        if here <= incarnation {
            self.remove(here, kind);
        }
    }
}
