//! Registration, renewal and takeover.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::{AppName, Backend, Endpoint, Incarnation};

use super::Registry;
use crate::entry::{Entry, Life};
use crate::ledger::{Asked, ProbeLedger};
use crate::unwritten::Before;
use crate::{
    EventKind, Initial, LoadReport, Monitoring, Overrides, RegisterError, Registered, RegisteredKind,
    Registration, Share, Source,
};

impl Registry {
    pub(super) fn register(&mut self, registration: Registration) -> Result<Registered, RegisterError> {
        let Registration { backend, ttl } = registration;
        let ttl = self.lease_length(ttl)?;
        let Some(slot) = self.index.find(&backend.id, &self.entries) else {
            self.check_room(&backend.app, 1)?;
            let overrides = self.recall(&backend.id, &backend.app);
            let slot = self.insert(backend, Some(ttl), overrides);
            self.note_registered(slot, Before::Nothing);
            return Ok(self.registered(slot, RegisteredKind::New));
        };
        let entry = &self.entries[slot];
        let is_live = entry.life == Life::Live;
        if is_live && entry.source() == Source::File {
            return Err(RegisterError::Static(backend.id));
        }
        // Also while it drains: its requests, and what operators have set on it, are that app's.
        if entry.endpoint.app != backend.app {
            return Err(RegisterError::AppTaken {
                id: backend.id,
                app: entry.endpoint.app.clone(),
            });
        }
        if !is_live || entry.endpoint.addr != backend.addr {
            return Ok(self.register_over(slot, backend, ttl));
        }
        self.renew(slot, backend, ttl);
        Ok(self.registered(slot, RegisteredKind::Renewed))
    }

    fn lease_length(&self, asked: Option<Duration>) -> Result<Duration, RegisterError> {
        let (min, max) = (self.config.ttl_min, self.config.ttl_max);
        match asked {
            None => Ok(self.config.ttl),
            Some(found) if found < min || found > max => Err(RegisterError::Ttl { found, min, max }),
            Some(ttl) => Ok(ttl),
        }
    }

    pub(super) fn check_room(&self, app: &AppName, places: usize) -> Result<(), RegisterError> {
        let (max_backends, max_apps) = (self.config.max_backends, self.config.max_apps);
        if self.entries.len() + places > max_backends {
            return Err(RegisterError::TooManyBackends { max: max_backends });
        }
        if self.apps.find(app).is_none() && self.apps.len() >= max_apps {
            return Err(RegisterError::TooManyApps { max: max_apps });
        }
        Ok(())
    }

    /// A new incarnation in a place of its own. Without a `ttl` it is one of the file.
    pub(super) fn insert(&mut self, backend: Backend, ttl: Option<Duration>, overrides: Overrides) -> u32 {
        let policy = self.apps.policy(&backend.app);
        let probe_first = policy.initial == Initial::ProbeFirst && policy.monitoring == Monitoring::On;
        let incarnation = self.next_incarnation();
        let slot = self.place(backend, incarnation, ttl, overrides, |entry| {
            if probe_first {
                entry.details_mut().probe = ProbeLedger::AWAITS_FIRST;
            }
        });
        self.stats.registrations += 1;
        self.emit(EventKind::Registered, slot);
        slot
    }

    fn next_incarnation(&mut self) -> Incarnation {
        let incarnation = self.next_incarnation;
        self.next_incarnation = after(incarnation, self.config.stride);
        incarnation
    }

    /// No number up to this one is given from now on.
    pub(super) fn pass_over(&mut self, seen: Incarnation) {
        if seen < self.next_incarnation {
            return;
        }
        let (next, stride) = (self.next_incarnation.get(), self.config.stride.get());
        let strides = (seen.get() - next) / stride + 1;
        let next = next.saturating_add(strides.saturating_mul(stride));
        self.next_incarnation = Incarnation::new(next).unwrap_or(seen);
    }

    /// An entry for that incarnation, in its app and settled. Nobody is told.
    pub(super) fn place(
        &mut self,
        mut backend: Backend,
        incarnation: Incarnation,
        ttl: Option<Duration>,
        overrides: Overrides,
        prepare: impl FnOnce(&mut Entry),
    ) -> u32 {
        let app = self.apps.find_or_add(&backend.app);
        // One text for the whole app instead of one for each member.
        backend.app = self.apps.get(app).name.clone();
        let asked = Asked::of(&backend);
        let endpoint = Arc::new(Endpoint::new(backend.clone(), incarnation));
        let mut entry = Entry::new(endpoint, ttl, app, (self.now(), self.clock.last()));
        prepare(&mut entry);
        if overrides != Overrides::default() || self.share != Share::WHOLE {
            if overrides != Overrides::default() {
                entry.details_mut().overrides = overrides;
            }
            entry.overlay(asked, backend, self.share);
        }
        let slot = self.entries.insert(entry);
        let id = self.entries[slot].endpoint.id.clone();
        self.index.point(&id, slot, &self.entries);
        self.apps.join(slot, &mut self.entries);
        self.mark_dirty(app);
        // Its state needs no event of its own: it has been like that from the beginning.
        let _ = self.settle(slot);
        slot
    }

    fn register_over(&mut self, old: u32, backend: Backend, ttl: Duration) -> Registered {
        let superseded = self.entries[old].endpoint.incarnation;
        let slot = self.take_over(old, backend, Some(ttl));
        self.registered(slot, RegisteredKind::Superseded(superseded))
    }

    /// Lets a new incarnation have the id of the one in `old`, which drains. There is room for its app.
    pub(super) fn take_over(&mut self, old: u32, backend: Backend, ttl: Option<Duration>) -> u32 {
        let known = self.entries[old].overridden();
        let overrides = known
            .as_ref()
            .map(|known| known.of(&backend.app))
            .unwrap_or_default();
        if let Some(known) = known {
            self.note_appropriated(&known, &backend.app);
        }
        let is_full = self.entries.len() >= self.config.max_backends;
        // In before out, so that an app of one member is never without.
        match ttl {
            Some(_) => {
                let slot = self.insert(backend, ttl, overrides);
                self.note_registered(slot, Before::Something);
                self.replace(old, is_full);
                slot
            }
            None => {
                self.note_filed(old);
                let slot = self.insert(backend, None, overrides);
                self.replace(old, is_full);
                slot
            }
        }
    }

    pub(super) fn replace(&mut self, old: u32, is_full: bool) {
        self.supersede(old);
        if is_full {
            self.let_go(old);
        }
    }

    fn renew(&mut self, slot: u32, mut backend: Backend, ttl: Duration) {
        let now = self.now();
        self.forget_load(slot);
        let entry = &mut self.entries[slot];
        // Shares the texts that are there already.
        backend.id = entry.endpoint.id.clone();
        backend.app = entry.endpoint.app.clone();
        let asked = Asked::of(&backend);
        let mut differs = entry.ttl() != ttl || entry.asked() != asked;
        entry.lease(ttl, now);
        entry.renew(now);
        entry.reported = LoadReport::default();
        if entry.overlay(asked, backend, self.share) {
            differs = true;
            let app = entry.app;
            self.mark_dirty(app);
        }
        if differs {
            self.note_changed(slot);
        }
        self.believe(slot);
        self.stats.renewals += 1;
        if differs {
            self.emit(EventKind::Renewed, slot);
        } else {
            self.emit_no_news(EventKind::Renewed, slot);
        }
        self.reconsider(slot);
    }

    fn registered(&self, slot: u32, kind: RegisteredKind) -> Registered {
        let entry = &self.entries[slot];
        Registered {
            endpoint: Arc::clone(&entry.endpoint),
            kind,
            ttl: entry.ttl(),
        }
    }
}

fn after(incarnation: Incarnation, stride: NonZeroU64) -> Incarnation {
    Incarnation::new(incarnation.get().saturating_add(stride.get())).unwrap_or(incarnation)
}
