//! Snapshots.

use std::mem;
use std::sync::Arc;

use edgeproxy_backend::AppName;
use edgeproxy_backend::ahead::{self, AHEAD};
use hashbrown::HashSet;

use super::Registry;
use crate::apps::{App, Apps};
use crate::clock::Active;
use crate::entry::{Doubt, Entry};
use crate::slots::Slots;
use crate::{AppSnapshot, Member, Snapshot};

/// What was published last, and what has changed since.
#[derive(Debug, Default)]
pub(super) struct Publisher {
    published: Snapshot,
    dirty: HashSet<AppName, foldhash::fast::FixedState>,
}

impl Publisher {
    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    pub(super) fn is_marked(&self, app: &AppName) -> bool {
        self.dirty.contains(app)
    }

    pub(super) const fn published(&self) -> &Snapshot {
        &self.published
    }

    /// An app that came and went unpublished leaves no trace, so the set is bounded by the apps there are
    /// and those that are published.
    pub(super) fn app_removed(&mut self, app: &AppName) {
        if !self.published.apps.contains_key(app) {
            self.dirty.remove(app);
        }
    }

    pub(super) fn publish(
        &mut self,
        apps: &mut Apps,
        entries: &Slots<Entry>,
        now: Active,
    ) -> Option<Snapshot> {
        if self.dirty.is_empty() {
            return None;
        }
        self.published.version += 1;
        let version = self.published.version;
        // Copies the outer map only if somebody still holds the last one.
        let map = Arc::make_mut(&mut self.published.apps);
        for name in mem::take(&mut self.dirty) {
            match apps.find(&name) {
                None => {
                    map.remove(&name);
                }
                Some(id) => {
                    let app = apps.get_mut(id);
                    app.dirty = false;
                    map.insert(
                        app.name.clone(),
                        Arc::new(snapshot_of(app, entries, version, now)),
                    );
                }
            }
        }
        Some(self.published.clone())
    }
}

fn member_of(entry: &Entry, now: Active) -> Member {
    Member {
        endpoint: Arc::clone(&entry.endpoint),
        state: entry.state,
        reason: entry.reason(now),
        since: entry.routable_since(),
        load: entry.details().load.factor,
        in_doubt: entry.doubt != Doubt::None,
    }
}

fn snapshot_of(app: &App, entries: &Slots<Entry>, version: u64, now: Active) -> AppSnapshot {
    let mut members = Vec::with_capacity(app.len());
    let mut slots = app.members();
    let mut batch = Vec::with_capacity(AHEAD);
    loop {
        batch.clear();
        batch.extend(slots.by_ref().take(AHEAD));
        if batch.is_empty() {
            break;
        }
        ahead::read(batch.iter().map(|slot| &entries[*slot].endpoint));
        members.extend(batch.iter().map(|slot| member_of(&entries[*slot], now)));
    }
    AppSnapshot {
        app: app.name.clone(),
        version,
        members,
    }
}

impl Registry {
    pub(super) fn mark_dirty(&mut self, app: u32) {
        let app = self.apps.get_mut(app);
        if !app.dirty {
            app.dirty = true;
            self.publisher.dirty.insert(app.name.clone());
        }
    }
}
