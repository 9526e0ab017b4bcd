//! Another process takes this one's place, or this one another's.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use edgeproxy_backend::{BackendId, Endpoint, Incarnation, MonoTime};
use edgeproxy_registry::{Kept, Registry};
use edgeproxy_store::Loaded;

use super::Handle;

impl Handle {
    /// As [`Registry::handle_predecessor`].
    pub fn begin_preceded(&self) {
        self.note(Registry::handle_predecessor);
    }

    /// As [`Registry::ask_predecessor`].
    #[must_use = "nobody is asked twice"]
    pub fn ask_predecessor(&self, max: usize) -> Option<Vec<(BackendId, Incarnation)>> {
        self.shared.lock().registry.ask_predecessor(max)
    }

    /// As [`Registry::handle_predecessor_done`], for each of them.
    pub fn predecessor_is_done(&self, with: &[(BackendId, Incarnation)]) {
        self.note(|registry, now| {
            for (id, incarnation) in with {
                registry.handle_predecessor_done(id, *incarnation, now);
            }
        });
    }

    /// As [`Registry::handle_predecessor_gone`].
    pub fn predecessor_is_gone(&self) {
        self.note(Registry::handle_predecessor_gone);
    }

    /// As [`Registry::handle_successor_drains`], for each of them, in their order; also while everything else is refused.
    pub fn drain_with_successor(&self, named: &[(BackendId, Incarnation)]) -> Vec<Option<Arc<Endpoint>>> {
        let endpoints = self.note(|registry, now| {
            let drain = |(id, incarnation): &(_, _)| registry.handle_successor_drains(id, *incarnation, now);
            named.iter().map(drain).collect()
        });
        self.shared.wake.notify_one();
        endpoints
    }

    fn note<T>(&self, note: impl FnOnce(&mut Registry, MonoTime) -> T) -> T {
        let now = self.shared.clock.now();
        note(&mut self.shared.lock().registry, now)
    }

    /// All that there is to be kept, as a store would load it, and who drains.
    #[must_use]
    pub fn kept(&self) -> Loaded {
        self.read(|registry, _| {
            let Kept {
                records,
                overrides,
                leaving,
            } = registry.kept();
            Loaded {
                records,
                overrides,
                leaving,
                next_incarnation: Some(registry.following_incarnation()),
                ..Loaded::default()
            }
        })
    }

    /// Until [`resume`](Self::resume), every change is refused as [`ControlError::Stopping`](crate::ControlError::Stopping), and no time passes: what is
    /// read from now on stays so, while another process takes it over. Reading, publishing and the ledgers go on.
    pub fn pause(&self) {
        let now = self.shared.clock.now();
        let mut state = self.shared.lock();
        state.paused = true;
        state.registry.stand_still(now);
    }

    /// Goes on after a [`pause`](Self::pause). Every lease has left what it had then.
    pub fn resume(&self) {
        let now = self.shared.clock.now();
        let mut state = self.shared.lock();
        state.paused = false;
        state.registry.go_on(now);
        drop(state);
        self.shared.wake.notify_one();
        if let Some(keeping) = &self.shared.keeping {
            keeping.wake.notify_one();
        }
    }

    /// Gives the store back, so that another process can have it. Nothing is written until [`resume`](Self::resume),
    /// which takes it again. To be called after [`pause`](Self::pause) and [`flush`](Self::flush).
    pub async fn give_store(&self) {
        if let Some(keeping) = &self.shared.keeping {
            keeping.is_given.store(true, Ordering::Release);
            keeping.store.release().await;
        }
    }
}
