//! What a store keeps, and what a write does to it: the semantics that every store shares.

use std::collections::{BTreeMap, HashMap};

use edgeproxy_backend::{BackendId, Incarnation};
use edgeproxy_registry::{Overridden, Record, Write};
use foldhash::fast::RandomState;

use crate::Loaded;

/// All that is kept, in memory. Each part has a size that its keeper knows, so that he can tell how much of what he
/// has written still counts.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    records: HashMap<BackendId, Entry<Record>, RandomState>,
    // In order, so that what is loaded is in the same one each time.
    overrides: BTreeMap<BackendId, Entry<Overridden>>,
    latest: Option<Incarnation>,
    size: u64,
}

#[derive(Debug)]
struct Entry<T> {
    value: T,
    size: u32,
}

impl Kept {
    /// Takes one write in; `size` is what it counts for as long as it holds.
    pub(crate) fn apply(&mut self, write: Write, size: u32) {
        match write {
            Write::Registered(record) => {
                self.reach(record.incarnation);
                let id = record.backend.id.clone();
                if self.knows_later(&id, record.incarnation) {
                    return;
                }
                self.size += u64::from(size);
                let before = self.records.insert(id, Entry { value: record, size });
                self.forget(before.map(|before| before.size));
            }
            Write::Gone { id, incarnation } => {
                self.reach(incarnation);
                if !self.knows_later(&id, incarnation) {
                    let before = self.records.remove(&id);
                    self.forget(before.map(|before| before.size));
                }
            }
            Write::Overridden(value) => {
                let before = if value.is_some() {
                    self.size += u64::from(size);
                    self.overrides.insert(value.id.clone(), Entry { value, size })
                } else {
                    self.overrides.remove(&value.id)
                };
                self.forget(before.map(|before| before.size));
            }
        }
    }

    /// Makes room for so many writes at once.
    pub(crate) fn reserve(&mut self, writes: usize) {
        self.records.reserve(writes);
    }

    /// Remembers that this incarnation was used.
    pub(crate) fn reach(&mut self, incarnation: Incarnation) {
        self.latest = self.latest.max(Some(incarnation));
    }

    /// The latest incarnation that was ever used.
    pub(crate) const fn latest(&self) -> Option<Incarnation> {
        self.latest
    }

    /// How many backends are registered.
    pub(crate) fn records(&self) -> usize {
        self.records.len()
    }

    /// The sizes of all that holds, added up.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// Writes that make this anew, but for the latest incarnation.
    pub(crate) fn writes(&self) -> impl Iterator<Item = Write> {
        let registered = self
            .records
            .values()
            .map(|kept| Write::Registered(kept.value.clone()));
        let overridden = self.overrides.values();
        let overridden = overridden.map(|kept| Write::Overridden(kept.value.clone()));
        registered.chain(overridden)
    }

    /// All of it, as a store hands it out.
    pub(crate) fn loaded(&self) -> Loaded {
        let mut records: Vec<Record> = self.records.values().map(|kept| kept.value.clone()).collect();
        records.sort_unstable_by_key(|record| record.incarnation);
        Loaded {
            records,
            overrides: self.overrides.values().map(|kept| kept.value.clone()).collect(),
            next_incarnation: self.latest.map(Incarnation::next),
            ..Loaded::default()
        }
    }

    fn knows_later(&self, id: &BackendId, incarnation: Incarnation) -> bool {
        self.records
            .get(id)
            .is_some_and(|kept| kept.value.incarnation > incarnation)
    }

    fn forget(&mut self, size: Option<u32>) {
        self.size -= u64::from(size.unwrap_or(0));
    }
}
