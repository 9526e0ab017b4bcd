//! A store as simple as can be, and a machine that fails at any time.

use std::collections::{BTreeMap, BTreeSet};

use edgeproxy_backend::{BackendId, Incarnation, MonoTime};
use edgeproxy_registry::{
    Config, Configuration, Kept, Leases, Overridden, Record, Registry, Snapshot, Write,
};

use crate::elsewhere::Others;
use crate::model::{Model, agrees};
use crate::shadow::Micros;
use crate::world::{World, backend};

/// What survives.
#[derive(Default)]
pub struct Disk {
    records: BTreeMap<BackendId, Record>,
    overrides: BTreeMap<BackendId, Overridden>,
    /// The latest life of every id that was ever there.
    lives: BTreeMap<BackendId, Incarnation>,
    /// Numbers that others have given.
    given: BTreeSet<u64>,
    /// What is being written.
    pub under_way: Option<Vec<Write>>,
}

/// How many numbers are left out by a restart: those of registrations that were never kept are among them.
const GAP: u64 = 1_000;

impl Disk {
    /// Gives what those were answered with that it has not taken.
    pub fn apply(&mut self, writes: &[Write], leases: Leases) -> Vec<Write> {
        let mut refused = Vec::new();
        for write in writes.iter().cloned() {
            let known = self.lives.get(write.id()).copied();
            let is_dead = |record: &Record| {
                leases == Leases::Elsewhere
                    && known == Some(record.incarnation)
                    && !self.records.contains_key(&record.backend.id)
            };
            match write {
                Write::Registered(record) if known > Some(record.incarnation) || is_dead(&record) => {
                    let id = record.backend.id;
                    refused.push(match self.records.get(&id) {
                        Some(record) => Write::Registered(record.clone()),
                        None => Write::Gone {
                            incarnation: known.unwrap_or(record.incarnation),
                            id,
                        },
                    });
                }
                Write::Registered(record) => {
                    if known <= Some(record.incarnation) {
                        self.lives.insert(record.backend.id.clone(), record.incarnation);
                        self.records.insert(record.backend.id.clone(), record);
                    }
                }
                Write::Gone { id, incarnation } => {
                    if known > Some(incarnation)
                        && let Some(record) = self.records.get(&id)
                    {
                        refused.push(Write::Registered(record.clone()));
                    }
                    if known <= Some(incarnation) {
                        self.lives.insert(id.clone(), incarnation);
                        self.records.remove(&id);
                    }
                }
                Write::Overridden(overridden) => {
                    self.overrides.remove(&overridden.id);
                    if overridden.is_some() {
                        self.overrides.insert(overridden.id.clone(), overridden);
                    }
                }
            }
        }
        refused
    }

    /// The latest life that it ever had there.
    pub fn life(&self, id: &BackendId) -> Option<Incarnation> {
        self.lives.get(id).copied()
    }

    /// Another one gives that number, unless it was given before.
    pub fn give(&mut self, number: u64) -> bool {
        self.given.insert(number)
    }

    pub fn record(&self, id: &BackendId) -> Option<&Record> {
        self.records.get(id)
    }

    pub fn latest(&self) -> Option<Incarnation> {
        self.lives.values().max().copied()
    }

    /// All that is there, oldest first.
    pub fn all(&self) -> (Vec<Record>, Vec<Overridden>) {
        let mut records: Vec<Record> = self.records.values().cloned().collect();
        records.sort_by_key(|record| record.incarnation);
        (records, self.overrides.values().cloned().collect())
    }

    /// Later than all that was ever kept.
    fn next_incarnation(&self) -> Option<Incarnation> {
        self.lives.values().max().map(|latest| latest.next())
    }
}

impl World {
    /// A batch is begun, or ends in one way or the other.
    pub fn write(&mut self) {
        let Some(writes) = self.disk.under_way.take() else {
            let max = self.rng.usize(1..6);
            let writes = self.registry.take_writes(max);
            self.doing = format!("{writes:?} are being kept");
            self.check(!writes.is_empty() || self.registry.writes_waiting() == 0, || {
                "there is something to be kept, but nothing is given".to_owned()
            });
            self.disk.under_way = Some(writes).filter(|writes| !writes.is_empty());
            return;
        };
        if self.rng.u32(0..4) > 0 {
            self.doing = format!("{writes:?} are kept");
            let refused = self.disk.apply(&writes, self.model.config.leases);
            self.registry.handle_kept(&writes);
            if self.model.config.leases == Leases::Elsewhere {
                self.answer(&refused);
            }
        } else {
            let some = self.rng.usize(0..=writes.len());
            self.doing = format!("{writes:?} may not be kept");
            self.disk.apply(&writes[..some], self.model.config.leases);
            self.registry.handle_not_kept(&writes);
        }
    }

    /// The process is killed, and starts again.
    pub fn restart(&mut self, now: Micros) {
        let writes = self.disk.under_way.take().unwrap_or_default();
        let some = self.rng.usize(0..=writes.len());
        self.disk.apply(&writes[..some], self.model.config.leases);
        // Now and then by an earlier version, which didn't write whose they are.
        if self.rng.u32(0..8) == 0 {
            self.disk
                .overrides
                .values_mut()
                .for_each(|known| known.app = None);
        }
        let (records, overrides) = self.disk.all();
        self.doing = format!("a restart with {records:?}, {overrides:?}");

        let config = Config {
            first_incarnation: self
                .disk
                .next_incarnation()
                .map_or(self.model.config.first_incarnation, |next| {
                    self.own_number(next.get() + GAP)
                }),
            ..self.model.config.clone()
        };
        let (others, policies, file) = (config.app, self.model.policies.clone(), self.model.file.clone());
        let mut registry = Registry::new(config.clone(), MonoTime::from_micros(now));
        let configuration = Configuration {
            others,
            apps: policies.clone(),
            backends: file.iter().map(backend).collect(),
        };
        let kept = Kept {
            records: records.clone(),
            overrides: overrides.clone(),
            leaving: Vec::new(),
        };
        let at = MonoTime::from_micros(now);
        self.check(registry.configure(configuration, at).is_ok(), || {
            "the file is refused".to_owned()
        });
        let refused = registry.restore(kept, |_| Ok(()), at).len();
        let mut model = Model::new(config, now);
        let endpoint = |id: &BackendId| registry.get(id, at).unwrap().endpoint;
        model.configure(others, &policies, file, endpoint);
        let unrestored = model.restore(&records, &overrides, endpoint);
        self.check(unrestored.len() == refused, || {
            format!("{refused} are not restored, expected {unrestored:?}")
        });
        self.others = Others::default();
        if model.config.leases == Leases::Elsewhere {
            self.others.left_out = unrestored.into_iter().collect();
        }
        self.registry = registry;
        self.model = model;
        self.requests.clear();
        self.reports.clear();
        self.snapshot = Snapshot::default();
        (self.last_sequence, self.dropped) = (0, 0);
    }

    /// The first of this registry's own numbers from there on.
    fn own_number(&self, from: u64) -> Incarnation {
        let (stride, first) = (
            self.model.config.stride.get(),
            self.model.config.first_incarnation.get(),
        );
        let number = from + (first % stride + stride - from % stride) % stride;
        Incarnation::new(number).unwrap()
    }

    /// All that was acknowledged is there, and nothing that was acknowledged to be gone.
    pub fn compare_disk(&self) {
        if self.model.config.leases == Leases::Elsewhere {
            self.compare_shared();
            return;
        }
        let told = self.registry.kept();
        if self.registry.unwritten() > 0 {
            return;
        }
        let (registered, overrides) = self.model.durable();
        self.check(
            told.overrides == overrides && told.records.len() == registered.len(),
            || format!("{told:?} is to be kept, expected {registered:?}, {overrides:?}"),
        );
        let records = &self.disk.records;
        let has = |shadow: &&&crate::shadow::Shadow| {
            let record = records.get(&shadow.id);
            record.is_some_and(|record| agrees(record, shadow))
        };
        let right = registered.iter().filter(has).count();
        self.check(right == registered.len() && records.len() == right, || {
            format!("{records:?} are kept, expected {registered:?}")
        });
        let kept: Vec<_> = self.disk.overrides.values().cloned().collect();
        self.check(kept == overrides, || {
            format!("{kept:?} are kept, expected {overrides:?}")
        });
    }

    /// No number is given twice, whatever was lost.
    pub fn check_number(&self, incarnation: Incarnation) {
        // Others have numbers of their own, of which not all are known here.
        let stride = self.model.config.stride.get();
        let own = |life: &&Incarnation| life.get() % stride == incarnation.get() % stride;
        let latest = self.disk.lives.values().filter(own).max().copied();
        self.check(latest < Some(incarnation), || {
            format!("{incarnation} is given, but {latest:?} is there already")
        });
    }
}
