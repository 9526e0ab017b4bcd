//! Others that share the store: what they change there, and what of it this registry is told.

use std::collections::BTreeSet;
use std::time::Duration;

use edgeproxy_backend::{BackendId, Incarnation};
use edgeproxy_registry::{EventKind, Kept, Leases, Record, Write};

use crate::configs::STRIDE;
use crate::disk::Disk;
use crate::model::Model;
use crate::shadow::{Micros, SECOND, micros};
use crate::world::{World, backend};

/// What has become of others' changes.
#[derive(Default)]
pub struct Others {
    /// Some were not told, so that everything has to be before anything else is.
    missed: bool,
    /// What is in the store and not here: there was no room, or the file has that id.
    pub left_out: BTreeSet<BackendId>,
}

impl Others {
    /// Who has a lease here is not left out any more.
    pub fn settle(&mut self, model: &Model, disk: &Disk) {
        let here = |id: &BackendId| model.leased(id).map(|i| model.all[i].incarnation);
        let there = |id: &BackendId| disk.record(id).map(|record| record.incarnation);
        self.left_out
            .retain(|id| there(id).is_some() && here(id) != there(id));
    }
}

impl World {
    pub fn elsewhere(&mut self, now: Micros) {
        if self.others.missed {
            self.resync(now);
            return;
        }
        match self.rng.u32(0..14) {
            0..3 => self.overdue(now),
            12.. => self.expiring(now),
            3..5 => self.heard(now),
            5..8 => self.they_register(now),
            8 => self.they_restate(now),
            9 => self.they_remove(now, EventKind::Removed),
            10 => self.they_remove(now, EventKind::Expired),
            _ => self.resync(now),
        }
    }

    fn overdue(&mut self, now: Micros) {
        let id = self.any_id();
        let Some(i) = self.model.listed(&id) else { return };
        let incarnation = if self.rng.u32(0..8) == 0 {
            Incarnation::FIRST
        } else {
            self.model.all[i].incarnation
        };
        let at = self.begin(format!("{id} {incarnation} is overdue"), now);
        self.registry.handle_overdue(&id, incarnation, at);
        self.model.overdue(&id, incarnation);
    }

    /// Its end is asked for, by one that hears of the ids with an even last digit, or of all.
    fn expiring(&mut self, now: Micros) {
        let id = self.any_id();
        let Some(i) = self.model.listed(&id) else { return };
        let (incarnation, hears_all) = (self.model.all[i].incarnation, self.rng.bool());
        let counts =
            |id: &BackendId| hears_all || id.as_str().as_bytes().last().is_some_and(|last| last % 2 == 0);
        let at = self.begin(format!("{id} {incarnation} is to end (of all: {hears_all})"), now);
        let kept = self.registry.handle_expiring(&id, incarnation, counts, at);
        let expected = self.model.expiring(&id, counts);
        self.check(kept.map(micros) == expected, || {
            format!("it is kept for {kept:?}, expected {expected:?} µs")
        });
    }

    fn heard(&mut self, now: Micros) {
        let id = self.any_id();
        let at = self.begin(format!("{id} was heard elsewhere"), now);
        self.registry.handle_heard(&id, at);
        self.model.heard_elsewhere(&id);
    }

    /// As another one would give it: none of this one's, and later than every life of that id. Every other time it is
    /// heard of late: this one, or a third, has given later ones meanwhile.
    fn their_number(&mut self, id: &BackendId) -> Incarnation {
        let known = self.disk.latest().map_or(0, Incarnation::get);
        let next = known.max(self.model.next_incarnation) / STRIDE + 1;
        let here = self.model.listed(id).map(|i| self.model.all[i].incarnation);
        let least = here.max(self.disk.life(id)).map_or(0, Incarnation::get) / STRIDE + 1;
        let mut turn = if self.rng.bool() {
            next
        } else {
            self.rng.u64(least..=next)
        };
        while !self.disk.give(turn * STRIDE + 7) {
            turn += 1;
        }
        Incarnation::new(turn * STRIDE + 7).unwrap()
    }

    fn they_register(&mut self, now: Micros) {
        let asking = self.asking();
        let record = Record {
            incarnation: self.their_number(&asking.id),
            backend: backend(&asking),
            ttl: Duration::from_micros(self.rng.u64(5 * SECOND..60 * SECOND)),
        };
        self.they_write(&Write::Registered(record), EventKind::Registered, now);
    }

    fn they_restate(&mut self, now: Micros) {
        let (id, asking) = (self.any_id(), self.asking());
        let Some(known) = self.disk.record(&id) else {
            return;
        };
        let mut record = known.clone();
        record.backend.weight = backend(&asking).weight;
        record.backend.limits = backend(&asking).limits;
        self.they_write(&Write::Registered(record), EventKind::Registered, now);
    }

    fn they_remove(&mut self, now: Micros, kind: EventKind) {
        let id = self.any_id();
        let Some(incarnation) = self.disk.record(&id).map(|record| record.incarnation) else {
            return;
        };
        self.they_write(&Write::Gone { id, incarnation }, kind, now);
    }

    fn they_write(&mut self, write: &Write, kind: EventKind, now: Micros) {
        self.disk.apply(std::slice::from_ref(write), Leases::Elsewhere);
        if self.rng.u32(0..8) == 0 {
            self.doing = format!("{write:?} elsewhere, which is not told");
            self.others.missed = true;
        } else {
            self.tell(write, kind, now);
        }
    }

    /// The registry is told of a change, and the model.
    fn tell(&mut self, write: &Write, kind: EventKind, now: Micros) {
        let at = self.begin(format!("{write:?} elsewhere ({kind:?})"), now);
        let is_void = self.registry.is_unwritten(write.id());
        match (write.clone(), kind) {
            (Write::Gone { id, incarnation }, EventKind::Expired) => {
                self.registry.handle_ended(&id, incarnation, at);
            }
            (write, _) if self.rng.bool() => self.registry.handle_foreign(write, at),
            (write, _) => {
                if let Some(hold) = self.registry.handle_foreign_ahead(write, at) {
                    self.registry.release(hold);
                }
            }
        }
        self.learn(write, kind, is_void);
    }

    fn learn(&mut self, write: &Write, kind: EventKind, is_void: bool) {
        match write {
            Write::Registered(record) => {
                self.model.pass_over(record.incarnation);
                if !is_void {
                    let (registry, time) = (&self.registry, self.model.time());
                    let id = &record.backend.id;
                    self.model
                        .registered_elsewhere(record, || registry.get(id, time).unwrap().endpoint);
                    self.note_left_out(record);
                }
            }
            Write::Gone { id, incarnation } => {
                self.model.pass_over(*incarnation);
                if !is_void {
                    self.model.gone_elsewhere(id, *incarnation, kind);
                }
            }
            Write::Overridden { .. } => {}
        }
    }

    fn note_left_out(&mut self, record: &Record) {
        let id = &record.backend.id;
        let here = self.model.leased(id).map(|i| self.model.all[i].incarnation);
        if here < Some(record.incarnation) {
            self.others.left_out.insert(id.clone());
        }
    }

    /// All that is in the store is told.
    fn resync(&mut self, now: Micros) {
        self.others.missed = false;
        let (records, overrides) = self.disk.all();
        let at = self.begin(format!("a resync with {records:?}"), now);
        let void: BTreeSet<_> = self
            .ids()
            .into_iter()
            .filter(|id| self.registry.is_unwritten(id))
            .collect();
        let kept = Kept {
            records: records.clone(),
            overrides,
            leaving: Vec::new(),
        };
        self.registry.handle_resync(kept, at);
        let there = |id: &BackendId| records.iter().any(|record| record.backend.id == *id);
        let mut gone: Vec<_> = self.ids();
        gone.retain(|id| !there(id) && !void.contains(id));
        for id in gone {
            if let Some(i) = self.model.leased(&id) {
                let incarnation = self.model.all[i].incarnation;
                self.model.gone_elsewhere(&id, incarnation, EventKind::Removed);
            }
        }
        for record in &records {
            let id = &record.backend.id;
            let same = self.model.leased(id).is_some_and(|i| {
                let b = &self.model.all[i];
                crate::model::agrees(record, b)
            });
            if !same {
                let write = Write::Registered(record.clone());
                self.learn(&write, EventKind::Registered, void.contains(id));
            }
        }
    }

    /// The store answers those that it has not taken.
    pub fn answer(&mut self, refused: &[Write]) {
        for write in refused {
            self.tell(write, EventKind::Removed, self.model.now);
        }
    }

    /// What nobody is about to write is in the store as it is here.
    pub fn compare_shared(&self) {
        if self.others.missed {
            return;
        }
        for id in self.ids() {
            if self.registry.is_unwritten(&id) {
                continue;
            }
            let (here, there) = (self.model.leased(&id), self.disk.record(&id));
            let agrees = match (here, there) {
                (Some(i), Some(record)) => {
                    crate::model::agrees(record, &self.model.all[i]) || self.others.left_out.contains(&id)
                }
                // The file has it, or had, or there was no room.
                (None, Some(_)) => self.others.left_out.contains(&id),
                (Some(_), None) => false,
                (None, None) => true,
            };
            self.check(agrees, || {
                let here = here.map(|i| &self.model.all[i]);
                format!("{id} is {here:?} here and {there:?} in the store, and nobody writes it")
            });
        }
    }
}
