//! What a restart brings back.

use std::sync::Arc;

use edgeproxy_backend::{BackendId, Endpoint};
use edgeproxy_registry::{Overridden, Record};

use super::{Asking, Kind, Model};
use crate::shadow::{Phase, Restored, Shadow, micros};

impl Model {
    /// What a store that knows everything has: the registrations, and what operators have set.
    pub fn durable(&self) -> (Vec<&Shadow>, Vec<Overridden>) {
        let kept = self.all.iter().filter(|b| b.phase == Phase::Live && !b.fixed);
        let listed = self.all.iter().filter(|b| b.listed());
        let listed = listed.map(Shadow::overridden);
        let mut overrides: Vec<_> = listed.chain(self.remembered.iter().cloned()).collect();
        overrides.retain(Overridden::is_some);
        overrides.sort_by(|a, b| a.id.cmp(&b.id));
        (kept.collect(), overrides)
    }

    /// Of a model that has been configured and nothing else. Gives the ids that aren't restored.
    pub fn restore(
        &mut self,
        records: &[Record],
        overrides: &[Overridden],
        endpoint: impl Fn(&BackendId) -> Arc<Endpoint>,
    ) -> Vec<BackendId> {
        let mut unrestored = Vec::new();
        for record in records {
            let id = &record.backend.id;
            let no_app = !self.apps().contains(&record.backend.app);
            if self.listed(id).is_some()
                || self.all.len() >= self.config.max_backends
                || (no_app && self.apps().len() >= self.config.max_apps)
            {
                unrestored.push(id.clone());
                continue;
            }
            let set = overrides.iter().find(|known| known.id == *id);
            let set = set.map(|known| known.of(&record.backend.app)).unwrap_or_default();
            self.insert(asking(record), set, &endpoint(id), Kind::Leased);
            self.events.pop(); // nobody is told
            self.total_events -= 1;
            self.next_incarnation -= self.config.stride.get();
            self.pass_over(record.incarnation);
            let b = self.all.last_mut().unwrap();
            b.incarnation = record.incarnation;
            b.restored = Restored::Unheard;
            b.probed = crate::shadow::Probed::Fine;
            b.state = b.wanted();
        }
        self.all.sort_by_key(|b| b.incarnation);
        for known in overrides {
            match self.listed(&known.id) {
                Some(i) if self.all[i].overrides != known.of(&self.all[i].app) => {
                    self.all[i].overrides = known.of(&self.all[i].app);
                    self.settle_all(i);
                }
                Some(_) => {}
                None if self.config.max_remembered > 0 => self.remembered.push(known.clone()),
                None => {}
            }
        }
        unrestored
    }
}

pub(super) fn asking(record: &Record) -> Asking {
    let backend = &record.backend;
    Asking {
        id: backend.id.clone(),
        app: backend.app.clone(),
        addr: backend.addr,
        weight: backend.weight.get(),
        soft: backend.limits.soft(),
        hard: backend.limits.hard(),
        fallback: backend.fallback,
        ttl: Some(micros(record.ttl)),
    }
}

/// Whether a store has of a backend what it should.
pub fn agrees(record: &Record, shadow: &Shadow) -> bool {
    let backend = &record.backend;
    record.incarnation == shadow.incarnation
        && micros(record.ttl) == shadow.ttl
        && (&backend.id, &backend.app, backend.addr) == (&shadow.id, &shadow.app, shadow.addr)
        && (backend.weight.get(), backend.fallback) == (shadow.weight, shadow.fallback)
        && (backend.limits.soft(), backend.limits.hard()) == (shadow.soft, shadow.hard)
}
