//! What an operator has set on backends that are gone.

use std::collections::BTreeMap;

use edgeproxy_backend::BackendId;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::Overrides;

/// Overrides by id, for when the backend comes back. Bounded: the one that was put away first is forgotten.
#[derive(Debug)]
pub(crate) struct Remembered {
    by_id: HashMap<BackendId, (u64, Overrides), FixedState>,
    by_age: BTreeMap<u64, BackendId>,
    next: u64,
    max: usize,
}

impl Remembered {
    pub(crate) fn new(max: usize, seed: u64) -> Self {
        Self {
            by_id: HashMap::with_hasher(FixedState::with_seed(seed)),
            by_age: BTreeMap::new(),
            next: 0,
            max,
        }
    }

    /// Gives the one that is forgotten for it.
    pub(crate) fn put(&mut self, id: &BackendId, overrides: Overrides) -> Option<BackendId> {
        if overrides == Overrides::default() {
            return None;
        }
        if self.max == 0 {
            return Some(id.clone());
        }
        let _ = self.take(id);
        let mut forgotten = None;
        if self.by_id.len() >= self.max
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.by_id.remove(&oldest);
            forgotten = Some(oldest);
        }
        self.by_id.insert(id.clone(), (self.next, overrides));
        self.by_age.insert(self.next, id.clone());
        self.next += 1;
        forgotten
    }

    pub(crate) fn get(&self, id: &BackendId) -> Overrides {
        self.by_id
            .get(id)
            .map(|(_, overrides)| *overrides)
            .unwrap_or_default()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = &BackendId> {
        self.by_id.keys()
    }

    pub(crate) fn take(&mut self, id: &BackendId) -> Overrides {
        let Some((age, overrides)) = self.by_id.remove(id) else {
            return Overrides::default();
        };
        self.by_age.remove(&age);
        overrides
    }

    pub(crate) fn is_consistent(&self) -> bool {
        self.by_id.len() == self.by_age.len() && self.by_id.len() <= self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut remembered = Remembered::new(2, 0);
        let id = |n: u32| BackendId::parse(&format!("b{n}")).unwrap();
        let off = Overrides {
            enabled: Some(false),
            ..Overrides::default()
        };
        assert_eq!(remembered.put(&id(1), off), None);
        assert_eq!(remembered.put(&id(2), off), None);
        assert_eq!(remembered.put(&id(1), off), None); // younger than 2 now
        assert_eq!(remembered.put(&id(3), off), Some(id(2)));
        assert_eq!(remembered.put(&id(4), Overrides::default()), None); // nothing to remember
        assert!(remembered.is_consistent());
        assert_eq!(remembered.take(&id(2)), Overrides::default());
        assert_eq!((remembered.take(&id(1)), remembered.take(&id(3))), (off, off));
        assert_eq!(remembered.take(&id(1)), Overrides::default());
    }
}
