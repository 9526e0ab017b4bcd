//! Looking without touching.

use std::sync::Arc;

use edgeproxy_backend::{AppName, Backend, BackendId, MonoTime};

use super::Registry;
use crate::clock::Active;
use crate::entry::Life;
use crate::{Page, State, Stats, Status};

impl Registry {
    /// One backend.
    #[must_use]
    pub fn get(&self, id: &BackendId, now: MonoTime) -> Option<Status> {
        let now = self.preview(now);
        self.index
            .find(id, &self.entries)
            .map(|slot| self.status(slot, now))
    }

    /// A page of the backends that `matches`, `limit` at the most, beginning at `cursor`: 0, or the
    /// [`Page::next`] of the page before. In no order that means anything; one that registers while
    /// somebody is turning the pages may be missed, one that stays is listed once. O(n), since it counts
    /// all that match; those beyond the page cost no more than `matches`.
    pub fn list(
        &self,
        cursor: usize,
        limit: usize,
        mut matches: impl FnMut(&Backend, State) -> bool,
        now: MonoTime,
    ) -> Page {
        let now = self.preview(now);
        let mut page = Page::default();
        for (slot, entry) in self.entries.iter() {
            if entry.life == Life::Superseded {
                continue;
            }
            if !matches(&entry.endpoint, entry.state) {
                continue;
            }
            page.total += 1;
            let place = slot as usize;
            if place < cursor {
                continue;
            }
            if page.items.len() < limit {
                page.items.push(self.status(slot, now));
            } else if page.next.is_none() {
                page.next = Some(place);
            }
        }
        page
    }

    /// The members of one app, in the order of their registration; `None` if it has none.
    #[must_use]
    pub fn app(&self, app: &AppName, now: MonoTime) -> Option<Vec<Status>> {
        let now = self.preview(now);
        let app = self.apps.get(self.apps.find(app)?);
        Some(app.members().map(|slot| self.status(slot, now)).collect())
    }

    /// The apps that have a member, in the order of their names.
    #[must_use]
    pub fn apps(&self) -> Vec<AppName> {
        let mut names: Vec<AppName> = self.apps.iter().map(|(_, app)| app.name.clone()).collect();
        names.sort_unstable();
        names
    }

    /// How full it is, and what has happened since it began.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            backends: self.index.len(),
            apps: self.apps.len(),
            events_dropped: self.events.dropped(),
            ..self.stats
        }
    }

    pub(super) fn status(&self, slot: u32, now: Active) -> Status {
        let entry = &self.entries[slot];
        Status {
            endpoint: Arc::clone(&entry.endpoint),
            state: entry.state,
            reason: entry.reason(now),
            source: entry.source(),
            registered: now.since(entry.registered),
            lease: entry.lease_left(now),
            overrides: entry.details().overrides,
            reported: entry.reported,
        }
    }

    fn preview(&self, now: MonoTime) -> Active {
        self.clock.preview(now, self.is_watched())
    }
}
