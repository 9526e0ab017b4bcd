//! What a restart brings back.

use std::time::Duration;

use edgeproxy_backend::{Backend, BackendId};
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};

use super::Registry;
use super::write::is_kept;
use crate::entry::{Doubt, Entry, Life};
use crate::ledger::Asked;
use crate::{Kept, Leases, Leaving, Overridden, Record, Unrestored};

impl Registry {
    pub(super) fn bring_back(
        &mut self,
        kept: Kept,
        admit: impl Fn(&Backend) -> Result<(), String>,
    ) -> Vec<Unrestored> {
        let Kept {
            mut records,
            overrides,
            leaving,
        } = kept;
        // What has been given a number already can't have had it before the restart.
        let given = self.config.first_incarnation..self.next_incarnation;
        let mut overrides = self.by_id_of_overrides(overrides);
        records.sort_by_key(|record| record.incarnation);
        let is_mixed = self.entries.len() > 0;
        let room = self.config.max_backends.saturating_sub(self.entries.len());
        let coming = records.len().min(room);
        self.entries.reserve(coming);
        self.index.reserve(coming);
        self.timers.reserve(coming);
        let (mut unrestored, mut late) = (Vec::new(), HashSet::with_hasher(self.hasher()));
        for record in records {
            let refused = if given.contains(&record.incarnation) {
                Some(twice(&record))
            } else {
                self.check_restorable(&record, &admit)
            };
            self.pass_over(record.incarnation);
            if let Some(refused) = refused {
                if self.config.leases == Leases::Here {
                    self.correct(&record);
                }
                unrestored.push(refused);
                continue;
            }
            let set = overrides.remove(&record.backend.id);
            let app = self.restore_one(record, set);
            if is_mixed {
                late.insert(app);
            }
        }
        for leaving in leaving {
            let id = &leaving.record.backend.id;
            self.pass_over(leaving.record.incarnation);
            if self.index.find(id, &self.entries).is_some()
                || self.check_room(&leaving.record.backend.app, 1).is_err()
            {
                continue; // it was on its way out
            }
            let set = overrides.remove(id);
            late.insert(self.restore_leaving(leaving, set));
        }
        for app in late {
            self.apps.sort(app, &mut self.entries);
        }
        let mut rest: Vec<Overridden> = overrides.into_values().collect();
        // The same inputs give the same outputs.
        rest.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        for known in rest {
            if let Some(slot) = self.index.find(&known.id, &self.entries) {
                let app = self.entries[slot].endpoint.app.clone();
                self.note_appropriated(&known, &app);
            }
            self.override_known(known);
        }
        unrestored
    }

    pub(super) fn all_kept(&self) -> Kept {
        let listed = || self.entries.iter().map(|(_, entry)| entry);
        let mut records: Vec<Record> = listed()
            .filter(|entry| is_kept(entry))
            .map(Entry::record)
            .collect();
        records.sort_by_key(|record| record.incarnation);
        let set = listed()
            .filter(|entry| entry.life != Life::Superseded)
            .map(|entry| &entry.id)
            .chain(self.remembered.ids());
        let mut overrides: Vec<Overridden> = set
            .map(|id| self.overridden(id))
            .filter(Overridden::is_some)
            .collect();
        overrides.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let mut leaving: Vec<Leaving> = self
            .drains
            .slots()
            .iter()
            .filter_map(|slot| self.leaving(*slot))
            .collect();
        leaving.sort_by_key(|leaving| leaving.record.incarnation);
        Kept {
            records,
            overrides,
            leaving,
        }
    }

    fn leaving(&self, slot: u32) -> Option<Leaving> {
        let entry = &self.entries[slot];
        let drain = entry.details().drain.filter(|_| entry.life == Life::Leaving)?;
        Some(Leaving {
            record: entry.record(),
            left: drain.until.since(self.now()),
        })
    }

    fn hasher(&self) -> FixedState {
        FixedState::with_seed(self.config.seed)
    }

    fn by_id_of_overrides(&self, overrides: Vec<Overridden>) -> HashMap<BackendId, Overridden, FixedState> {
        let mut by_id = HashMap::with_capacity_and_hasher(overrides.len(), self.hasher());
        by_id.extend(overrides.into_iter().map(|known| (known.id.clone(), known)));
        by_id
    }

    /// The store has something else by that id than is there.
    fn correct(&mut self, record: &Record) {
        let slot = self.index.find(&record.backend.id, &self.entries);
        match slot.filter(|slot| is_kept(&self.entries[*slot])) {
            Some(slot) => self.note_changed(slot),
            None => self.note_never(&record.backend.id, record.incarnation),
        }
    }

    fn check_restorable(
        &self,
        record: &Record,
        admit: impl Fn(&Backend) -> Result<(), String>,
    ) -> Option<Unrestored> {
        let id = &record.backend.id;
        if self.listed.contains_key(id) {
            return Some(Unrestored::Static(id.clone()));
        }
        if self.index.find(id, &self.entries).is_some() {
            return Some(twice(record));
        }
        if let Err(why) = admit(&record.backend) {
            return Some(Unrestored::Refused { id: id.clone(), why });
        }
        let (max_backends, max_apps) = (self.config.max_backends, self.config.max_apps);
        if self.entries.len() >= max_backends {
            return Some(Unrestored::TooManyBackends {
                id: id.clone(),
                max: max_backends,
            });
        }
        if self.apps.find(&record.backend.app).is_none() && self.apps.len() >= max_apps {
            return Some(Unrestored::TooManyApps {
                id: id.clone(),
                max: max_apps,
            });
        }
        None
    }

    /// The nearest TTL that is allowed here: what has been kept, other settings or another proxy may have allowed.
    pub(super) fn ttl_within(&self, ttl: Duration) -> Duration {
        ttl.clamp(self.config.ttl_min, self.config.ttl_max)
    }

    /// Its app.
    fn restore_one(&mut self, record: Record, set: Option<Overridden>) -> u32 {
        let Record {
            backend,
            incarnation,
            ttl,
        } = record;
        let ttl = self.ttl_within(ttl);
        let overrides = set
            .as_ref()
            .map(|known| known.of(&backend.app))
            .unwrap_or_default();
        if let Some(known) = set {
            self.note_appropriated(&known, &backend.app);
        }
        let slot = self.place(backend, incarnation, Some(ttl), overrides, |entry| {
            entry.doubt = Doubt::Restored;
        });
        self.entries[slot].app
    }

    /// Its app.
    fn restore_leaving(&mut self, leaving: Leaving, set: Option<Overridden>) -> u32 {
        let Leaving { record, left } = leaving;
        let Record {
            backend,
            incarnation,
            ttl,
        } = record;
        let overrides = set.map(|known| known.of(&backend.app)).unwrap_or_default();
        let slot = self.place(backend, incarnation, Some(ttl), overrides, |entry| {
            entry.life = Life::Leaving;
        });
        self.start_drain(slot, self.now() + left.min(self.config.drain_max));
        self.entries[slot].app
    }

    /// What an operator has set, as a store has it. Nothing is noted.
    pub(super) fn override_known(&mut self, known: Overridden) {
        let Some(slot) = self.index.find(&known.id, &self.entries) else {
            let _ = self.remembered.take(&known.id);
            self.remember(known);
            return;
        };
        let entry = &mut self.entries[slot];
        let overrides = known.of(&entry.endpoint.app);
        if entry.details().overrides == overrides {
            return;
        }
        let asked: Asked = entry.asked();
        entry.details_mut().overrides = overrides;
        let backend = entry.endpoint.backend.clone();
        if entry.overlay(asked, backend, self.share) {
            let app = entry.app;
            self.mark_dirty(app);
        }
        self.reconsider(slot);
    }
}

fn twice(record: &Record) -> Unrestored {
    Unrestored::Twice {
        id: record.backend.id.clone(),
        found: record.incarnation,
    }
}
