//! What others have changed in the store that this registry shares with them.

use edgeproxy_backend::{BackendId, Incarnation};
use foldhash::fast::FixedState;
use hashbrown::HashSet;

use super::Registry;
use super::write::is_kept;
use crate::entry::{Entry, Life};
use crate::ledger::Asked;
use crate::unwritten::Before;
use crate::{EventKind, Kept, Overridden, Overrides, Record, Source, Write};

impl Registry {
    pub(super) fn take_over_change(&mut self, change: Write) {
        match change {
            Write::Registered(record) => self.registered_elsewhere(record),
            Write::Gone { id, incarnation } => self.gone_elsewhere(&id, incarnation),
            Write::Overridden(known) => {
                if !self.unwritten.has_overrides_of(&known.id) {
                    self.override_known(known);
                }
            }
        }
    }

    pub(super) fn take_over_all(&mut self, kept: Kept) {
        let Kept {
            records, overrides, ..
        } = kept;
        let missing = self.missing_from(&records);
        for (id, incarnation) in missing {
            self.gone_elsewhere(&id, incarnation);
        }
        for record in records {
            if !self.has_it_so(&record) {
                self.registered_elsewhere(record);
            }
        }
        for id in self.overridden_besides(&overrides) {
            self.take_over_change(Write::Overridden(Overridden::nothing(id)));
        }
        for known in overrides {
            self.take_over_change(Write::Overridden(known));
        }
    }

    /// Whether nothing about it is news.
    fn has_it_so(&self, record: &Record) -> bool {
        let slot = self.index.find(&record.backend.id, &self.entries);
        slot.map(|slot| &self.entries[slot])
            .is_some_and(|entry| is_kept(entry) && entry.record() == *record)
    }

    fn missing_from(&self, records: &[Record]) -> Vec<(BackendId, Incarnation)> {
        let hasher = FixedState::with_seed(self.config.seed);
        let mut there = HashSet::with_capacity_and_hasher(records.len(), hasher);
        there.extend(records.iter().map(|record| &record.backend.id));
        let missing = |entry: &&Entry| is_kept(entry) && !there.contains(&entry.id);
        self.entries
            .iter()
            .map(|(_, entry)| entry)
            .filter(missing)
            .map(|entry| (entry.id.clone(), entry.endpoint.incarnation))
            .collect()
    }

    fn overridden_besides(&self, overrides: &[Overridden]) -> Vec<BackendId> {
        let hasher = FixedState::with_seed(self.config.seed);
        let mut there = HashSet::with_capacity_and_hasher(overrides.len(), hasher);
        there.extend(overrides.iter().map(|known| &known.id));
        let listed = self
            .entries
            .iter()
            .filter(|(_, entry)| {
                entry.life != Life::Superseded && entry.details().overrides != Overrides::default()
            })
            .map(|(_, entry)| &entry.id);
        let mut ids: Vec<BackendId> = listed
            .chain(self.remembered.ids())
            .filter(|id| !there.contains(id))
            .cloned()
            .collect();
        ids.sort_unstable();
        ids
    }

    fn registered_elsewhere(&mut self, record: Record) {
        self.pass_over(record.incarnation);
        if self.unwritten.has_registration_of(&record.backend.id) {
            self.unwritten.is_there(&record.backend.id);
            return; // what was changed here is written, and the store says which of the two is later
        }
        let Some(slot) = self.index.find(&record.backend.id, &self.entries) else {
            if self.check_room(&record.backend.app, 1).is_ok() {
                // Who registered it has told the store what becomes of another app's.
                let known = self.remembered.take(&record.backend.id);
                self.join(record, known);
            } else {
                self.stats.left_out += 1;
            }
            return;
        };
        let entry = &self.entries[slot];
        if entry.life == Life::Live && entry.source() == Source::File {
            return;
        }
        let here = entry.endpoint.incarnation;
        if here > record.incarnation {
            self.note_changed(slot);
        } else if here < record.incarnation {
            if self.check_room(&record.backend.app, 0).is_err() {
                self.stats.left_out += 1;
                // The later life wins, here by nobody having that id.
                self.gone_elsewhere(&record.backend.id, here);
                return;
            }
            let known = entry.overridden();
            let is_full = self.entries.len() >= self.config.max_backends;
            self.join(record, known);
            self.replace(slot, is_full);
        } else if entry.life == Life::Live {
            self.restated_elsewhere(slot, record);
        }
    }

    fn join(&mut self, record: Record, known: Option<Overridden>) {
        let Record {
            backend,
            incarnation,
            ttl,
        } = record;
        let ttl = self.ttl_within(ttl);
        let overrides = known.map(|known| known.of(&backend.app)).unwrap_or_default();
        let slot = self.place(backend, incarnation, Some(ttl), overrides, |_| ());
        let app = self.entries[slot].app;
        self.apps.put_in_order(app, &mut self.entries);
        self.emit(EventKind::Registered, slot);
    }

    fn restated_elsewhere(&mut self, slot: u32, record: Record) {
        self.forget_load(slot);
        let ttl = self.ttl_within(record.ttl);
        let now = self.now();
        let entry = &mut self.entries[slot];
        let mut backend = record.backend;
        backend.id = entry.endpoint.id.clone();
        backend.app = entry.endpoint.app.clone();
        entry.lease(ttl, now);
        if entry.overlay(Asked::of(&backend), backend, self.share) {
            let app = entry.app;
            self.mark_dirty(app);
        }
        self.believe(slot);
        self.reconsider(slot);
    }

    fn gone_elsewhere(&mut self, id: &BackendId, incarnation: Incarnation) {
        self.pass_over(incarnation);
        if self.unwritten.has_registration_of(id) {
            return;
        }
        let Some(slot) = self.index.find(id, &self.entries) else {
            return;
        };
        let entry = &self.entries[slot];
        if !is_kept(entry) {
            return;
        }
        if entry.endpoint.incarnation > incarnation {
            self.note_registered(slot, Before::Something);
            return;
        }
        self.drop_entry(slot, EventKind::Removed);
        self.unwritten.is_known(id);
    }
}
