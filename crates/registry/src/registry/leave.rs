//! How a backend goes.

use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::{BackendId, Incarnation};

use super::Registry;
use crate::entry::{Doubt, Life};
use crate::{DeregisterError, Deregistered, EventKind, Source, State};

impl Registry {
    pub(super) fn deregister(
        &mut self,
        id: &BackendId,
        fence: Option<Incarnation>,
        drain: Option<Duration>,
    ) -> Result<Deregistered, DeregisterError> {
        let slot = self.find_fenced(id, fence)?;
        let entry = &self.entries[slot];
        if entry.source() == Source::File && entry.life == Life::Live {
            return Err(DeregisterError::Static(id.clone()));
        }
        let endpoint = Arc::clone(&entry.endpoint);
        match drain {
            None => self.drop_entry(slot, EventKind::Removed),
            Some(drain) => self.begin_leaving(slot, drain.min(self.config.drain_max)),
        }
        Ok(Deregistered {
            in_flight: endpoint.meter.remaining(),
            endpoint,
            draining: drain.is_some(),
        })
    }

    pub(super) fn begin_leaving(&mut self, slot: u32, drain: Duration) {
        let until = self.now() + drain;
        if self.entries[slot].life == Life::Leaving {
            self.shorten_drain(slot, until);
            return;
        }
        self.note_gone(slot);
        let entry = &mut self.entries[slot];
        entry.life = Life::Leaving;
        let app = entry.app;
        // One that drains by its own word is in that state already, and yet no longer in doubt.
        if std::mem::replace(&mut entry.doubt, Doubt::None) != Doubt::None {
            self.mark_dirty(app);
        }
        self.start_drain(slot, until);
        let _ = self.settle(slot);
        self.emit(EventKind::Draining, slot);
        self.rescue(self.entries[slot].app);
    }

    /// Another incarnation has this one's id: it drains, unseen.
    pub(super) fn supersede(&mut self, slot: u32) {
        let was = self.entries[slot].life;
        self.shut(slot);
        let app = self.entries[slot].app;
        let stays = self.leave_app(slot);
        let entry = &mut self.entries[slot];
        entry.life = Life::Superseded;
        entry.doubt = Doubt::None;
        entry.state = State::Draining;
        entry.details_mut().overrides = crate::Overrides::default();
        if was == Life::Live {
            self.start_drain(slot, self.now() + self.config.drain_timeout);
            self.emit(EventKind::Draining, slot);
        }
        let due = self.entries[slot].due(self.config.leases);
        self.timers.ensure(slot, due);
        self.follow_predecessor(slot);
        if stays {
            self.rescue(app);
        }
    }

    /// Removes an entry at once. What it has in flight goes on, unwatched.
    pub(super) fn drop_entry(&mut self, slot: u32, kind: EventKind) {
        self.shut(slot);
        self.emit(kind, slot);
        self.remove(slot);
    }

    /// Forgets an entry, wherever it is known.
    pub(super) fn remove(&mut self, slot: u32) {
        self.stop_drain(slot);
        self.timers.remove(slot);
        if self.entries[slot].life == Life::Superseded {
            self.entries.remove(slot);
            return;
        }
        self.note_gone(slot);
        let app = self.entries[slot].app;
        let stays = self.leave_app(slot);
        let entry = self.entries.remove(slot);
        self.index.forget(&entry.endpoint.id, slot);
        if let Some(overridden) = entry.overridden() {
            self.remember(overridden);
        }
        if stays {
            self.rescue(app);
        }
    }

    /// Takes an entry out of its app, and says whether the app still has members.
    fn leave_app(&mut self, slot: u32) -> bool {
        let app = self.entries[slot].app;
        self.forget_load(slot);
        self.mark_dirty(app);
        let name = self.entries[slot].endpoint.app.clone();
        let stays = self.apps.get(app).len() > 1;
        self.apps.leave(slot, &mut self.entries);
        if !stays {
            self.publisher.app_removed(&name);
        }
        stays
    }
}
