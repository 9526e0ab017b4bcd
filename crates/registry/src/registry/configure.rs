//! What the configuration says of apps and backends, put in force as a whole.

use edgeproxy_backend::{AppName, Backend, BackendId};
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};

use super::Registry;
use crate::entry::Life;
use crate::ledger::Asked;
use crate::{Configuration, EventKind, LoadReport, Monitoring, Reconciled, StaticError};

/// The backends of the file by their ids, as it has them.
pub(super) type Listed = HashMap<BackendId, Backend, FixedState>;

impl Registry {
    pub(super) fn put_in_force(&mut self, configuration: Configuration) -> Result<Reconciled, StaticError> {
        let Configuration {
            others,
            apps,
            backends,
        } = configuration;
        let listed = self.by_id(&backends)?;
        self.check_room_for(&backends)?;
        // First, since they say how a backend begins.
        self.config.app = others;
        for app in self.apps.replace_policies(others, apps) {
            self.policy_changed(app);
        }
        let before = std::mem::replace(&mut self.listed, listed);
        Ok(self.reconcile(backends, before))
    }

    /// Lets another policy have its say about the backends that are there.
    pub(super) fn policy_changed(&mut self, app: u32) {
        self.mark_dirty(app);
        if self.apps.get(app).policy.monitoring == Monitoring::Off {
            self.forget_probes(app);
        }
        self.rescue(app);
    }

    fn by_id(&self, backends: &[Backend]) -> Result<Listed, StaticError> {
        let hasher = FixedState::with_seed(self.config.seed);
        let mut listed = Listed::with_capacity_and_hasher(backends.len(), hasher);
        for backend in backends {
            if listed.insert(backend.id.clone(), backend.clone()).is_some() {
                return Err(StaticError::Twice(backend.id.clone()));
            }
        }
        Ok(listed)
    }

    /// An incarnation that takes over needs no room, as none does that registers.
    fn check_room_for(&self, backends: &[Backend]) -> Result<(), StaticError> {
        let is_new = |backend: &&Backend| self.index.find(&backend.id, &self.entries).is_none();
        let new = backends.iter().filter(is_new).count();
        let max = self.config.max_backends;
        if self.entries.len() + new > max {
            return Err(StaticError::TooManyBackends { new, max });
        }
        let apps: HashSet<&AppName, FixedState> = backends
            .iter()
            .map(|backend| &backend.app)
            .filter(|app| self.apps.find(app).is_none())
            .collect();
        let (new, max) = (apps.len(), self.config.max_apps);
        if self.apps.len() + new > max {
            return Err(StaticError::TooManyApps { new, max });
        }
        Ok(())
    }

    fn reconcile(&mut self, backends: Vec<Backend>, before: Listed) -> Reconciled {
        let mut done = Reconciled::default();
        let stands = |backend: &Backend| before.get(&backend.id) == Some(backend);
        let (known, new): (Vec<_>, Vec<_>) = backends
            .into_iter()
            .filter(|backend| !stands(backend))
            .partition(|backend| self.index.find(&backend.id, &self.entries).is_some());
        // Those that need room before those that make some, and in before out, so that no app is without in
        // between.
        for backend in new {
            let overrides = self.recall(&backend.id, &backend.app);
            self.insert(backend, None, overrides);
            done.added += 1;
        }
        for backend in known {
            self.restate_or_take_over(backend, &mut done);
        }
        let mut gone: Vec<BackendId> = before
            .into_keys()
            .filter(|id| !self.listed.contains_key(id))
            .collect();
        // The same inputs give the same events.
        gone.sort_unstable();
        for slot in gone
            .iter()
            .filter_map(|id| self.index.find(id, &self.entries))
            .collect::<Vec<_>>()
        {
            self.begin_leaving(slot, self.config.drain_timeout);
            done.removed += 1;
        }
        done
    }

    fn restate_or_take_over(&mut self, backend: Backend, done: &mut Reconciled) {
        let Some(slot) = self.index.find(&backend.id, &self.entries) else {
            return;
        };
        let entry = &self.entries[slot];
        let stays = entry.life == Life::Live
            && entry.endpoint.app == backend.app
            && entry.endpoint.addr == backend.addr;
        if stays {
            self.restate(slot, backend);
            done.changed += 1;
        } else {
            self.take_over(slot, backend, None);
            done.added += 1;
        }
    }

    fn restate(&mut self, slot: u32, mut backend: Backend) {
        self.note_filed(slot);
        self.forget_load(slot);
        let entry = &mut self.entries[slot];
        // Shares the texts that are there already.
        backend.id = entry.endpoint.id.clone();
        backend.app = entry.endpoint.app.clone();
        entry.hold();
        entry.reported = LoadReport::default();
        if entry.overlay(Asked::of(&backend), backend, self.share) {
            let app = entry.app;
            self.mark_dirty(app);
        }
        self.emit(EventKind::Changed, slot);
        self.reconsider(slot);
    }
}
