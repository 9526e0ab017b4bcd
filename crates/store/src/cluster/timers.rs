//! When each backend is looked at again.

use edgeproxy_backend::{BackendId, MonoTime};

use super::entry::Entry;
use super::{Cluster, plus};

impl Cluster {
    /// Sees to it that it is looked at when its lease may have run out.
    pub(super) fn arm(&mut self, id: &BackendId, now: MonoTime) {
        if let Some(entry) = self.backends.get(id) {
            let at = self.looked_at(id, entry, now);
            self.arm_at(id, at);
        }
    }

    /// The same where it may well be looked at earlier, and the timer be kept.
    pub(super) fn arm_in_time(&mut self, id: &BackendId, now: MonoTime) {
        if let Some(entry) = self.backends.get(id) {
            let at = self.looked_at(id, entry, now);
            if entry.armed.is_none_or(|armed| armed > at) {
                self.arm_at(id, at);
            }
        }
    }

    fn looked_at(&self, id: &BackendId, entry: &Entry, now: MonoTime) -> MonoTime {
        plus(self.runs_until(id, entry), self.grace(now)).max(now)
    }

    pub(super) fn arm_at(&mut self, id: &BackendId, at: MonoTime) {
        let Some(entry) = self.backends.get_mut(id) else {
            return;
        };
        if let Some(armed) = entry.armed.replace(at) {
            self.timers.remove(&(armed, id.clone()));
        }
        self.timers.insert((at, id.clone()));
    }
}
