//! From a backend's id to its slot.

use std::hash::BuildHasher;

use edgeproxy_backend::BackendId;
use foldhash::fast::FixedState;

use crate::entry::Entry;
use crate::slots::Slots;

/// Slots by the id of the entry in them: open addressing with linear probing, eight bytes a place.
///
/// With a million leases a heartbeat is nothing but cache misses, one after the other. A table with
/// separate control bytes costs two before it knows the slot, this one costs one. The hash is kept in the
/// place, so that growing doesn't read a million ids in the middle of one registration.
#[derive(Debug)]
pub(crate) struct Index {
    /// A power of two of them.
    places: Vec<Place>,
    len: usize,
    hasher: FixedState,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    hash: u32,
    slot: u32,
}

const EMPTY: Place = Place {
    hash: 0,
    slot: u32::MAX,
};
const MIN_PLACES: usize = 16;

impl Place {
    const fn is_empty(self) -> bool {
        self.slot == EMPTY.slot
    }
}

impl Index {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            places: vec![EMPTY; MIN_PLACES],
            len: 0,
            hasher: FixedState::with_seed(seed),
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn find(&self, id: &BackendId, entries: &Slots<Entry>) -> Option<u32> {
        let hash = self.hash(id.as_str());
        let is_it = |slot| entries.get(slot).is_some_and(|entry| entry.id == *id);
        self.place_of(hash, is_it).map(|at| self.places[at].slot)
    }

    /// Points the id to `slot`; where it pointed elsewhere, no longer there.
    pub(crate) fn point(&mut self, id: &BackendId, slot: u32, entries: &Slots<Entry>) {
        let hash = self.hash(id.as_str());
        let is_it = |slot| entries.get(slot).is_some_and(|entry| entry.id == *id);
        if let Some(at) = self.place_of(hash, is_it) {
            self.places[at].slot = slot;
            return;
        }
        self.reserve(1);
        self.put(Place { hash, slot });
        self.len += 1;
    }

    /// Forgets the id, if it points to `slot`.
    pub(crate) fn forget(&mut self, id: &BackendId, slot: u32) {
        let hash = self.hash(id.as_str());
        let Some(mut hole) = self.place_of(hash, |found| found == slot) else {
            return;
        };
        self.len -= 1;
        // Knuth, TAOCP 6.4, algorithm R: what follows moves up, so that no search stops at the hole.
        let mut at = self.after(hole);
        while !self.places[at].is_empty() {
            let way = self.distance(self.home(self.places[at].hash), at);
            if way >= self.distance(hole, at) {
                self.places[hole] = self.places[at];
                hole = at;
            }
            at = self.after(at);
        }
        self.places[hole] = EMPTY;
    }

    /// Makes room for so many more.
    pub(crate) fn reserve(&mut self, more: usize) {
        // Three quarters full at the most, else the runs that a search walks along become long.
        let needed = (self.len + more).saturating_mul(4).div_ceil(3);
        if needed <= self.places.len() {
            return;
        }
        let places = vec![EMPTY; needed.next_power_of_two()];
        let before = std::mem::replace(&mut self.places, places);
        for place in before.into_iter().filter(|place| !place.is_empty()) {
            self.put(place);
        }
    }

    /// Into the first empty place; there always is one.
    fn put(&mut self, place: Place) {
        let mut at = self.home(place.hash);
        while !self.places[at].is_empty() {
            at = self.after(at);
        }
        self.places[at] = place;
    }

    #[inline]
    fn place_of(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<usize> {
        let mut at = self.home(hash);
        loop {
            let place = self.places[at];
            if place.is_empty() {
                return None;
            }
            if place.hash == hash && is_it(place.slot) {
                return Some(at);
            }
            at = self.after(at);
        }
    }

    #[inline]
    const fn home(&self, hash: u32) -> usize {
        hash as usize & (self.places.len() - 1)
    }

    #[inline]
    const fn after(&self, at: usize) -> usize {
        (at + 1) & (self.places.len() - 1)
    }

    /// From one place forward to another.
    const fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.places.len() - 1)
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // half of a hash is still one
    fn hash(&self, id: &str) -> u32 {
        let hash = self.hasher.hash_one(id);
        (hash ^ (hash >> 32)) as u32
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;
    use std::time::Duration;

    use edgeproxy_backend::{
        AppName, Backend, BackendAddr, Country, Endpoint, Incarnation, MonoTime, Region,
    };
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Active;

    fn entry(id: &BackendId) -> Entry {
        let backend = Backend::new(
            id.clone(),
            AppName::parse("a").unwrap(),
            Region::parse("eu").unwrap(),
            Country::parse("DE").unwrap(),
            BackendAddr::parse("10.0.0.1", 1).unwrap(),
        );
        let endpoint = Arc::new(Endpoint::new(backend, Incarnation::FIRST));
        Entry::new(endpoint, Some(Duration::ZERO), 0, (Active::ZERO, MonoTime::ZERO))
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_map(steps in prop::collection::vec((0..24_u32, any::<bool>()), 0..150)) {
            let (mut index, mut entries, mut model) = (Index::new(1), Slots::new(), HashMap::new());
            for (n, insert) in steps {
                let id = BackendId::parse(&format!("b{n}")).unwrap();
                if insert {
                    let slot = entries.insert(entry(&id));
                    index.point(&id, slot, &entries);
                    model.insert(id.clone(), slot);
                } else if let Some(slot) = model.remove(&id) {
                    index.forget(&id, slot);
                }
                prop_assert_eq!(index.len(), model.len());
                for n in 0..24 {
                    let id = BackendId::parse(&format!("b{n}")).unwrap();
                    prop_assert_eq!(index.find(&id, &entries), model.get(&id).copied());
                }
            }
        }
    }
}
