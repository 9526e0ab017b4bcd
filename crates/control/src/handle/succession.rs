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
    pub fn ask_predecessor(&self) -> Option<Vec<(BackendId, Incarnation)>> {
        self.shared.lock().registry.ask_predecessor()
    }

    /// As [`Registry::handle_predecessor_done`].
    pub fn predecessor_is_done(&self, id: &BackendId, incarnation: Incarnation) {
        self.note(|registry, now| registry.handle_predecessor_done(id, incarnation, now));
    }

    /// As [`Registry::handle_predecessor_gone`].
    pub fn predecessor_is_gone(&self) {
        self.note(Registry::handle_predecessor_gone);
    }

    /// As [`Registry::handle_successor_drains`]; also while everything else is refused.
    pub fn drain_with_successor(&self, id: &BackendId, incarnation: Incarnation) -> Option<Arc<Endpoint>> {
        let endpoint = self.note(|registry, now| registry.handle_successor_drains(id, incarnation, now));
        self.shared.wake.notify_one();
        endpoint
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

    /// Until [`resume`](Self::resume), every change is refused as [`ControlError::Stopping`], and no time passes: what is
    /// read from now on stays so, while another process takes it over. Reading, publishing and the ledgers go on.
    pub fn pause(&self) {
        self.shared.lock().paused = true;
    }

    /// Goes on after a [`pause`](Self::pause). No lease runs out for it: the registry takes it as time in which nobody
    /// could reach it.
    pub fn resume(&self) {
        self.shared.lock().paused = false;
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
