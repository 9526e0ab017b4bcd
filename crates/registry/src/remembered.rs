//! What an operator has set on backends that are gone.

use std::collections::BTreeMap;

use edgeproxy_backend::BackendId;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::Overridden;

/// Overrides by id, for when the backend comes back. Bounded: the one that was put away first is forgotten.
#[derive(Debug)]
pub(crate) struct Remembered {
    by_id: HashMap<BackendId, (u64, Overridden), FixedState>,
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
    pub(crate) fn put(&mut self, overridden: Overridden) -> Option<BackendId> {
        if !overridden.is_some() {
            return None;
        }
        let id = overridden.id.clone();
        if self.max == 0 {
            return Some(id);
        }
        let _ = self.take(&id);
        let mut forgotten = None;
        if self.by_id.len() >= self.max
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.by_id.remove(&oldest);
            forgotten = Some(oldest);
        }
        self.by_id.insert(id.clone(), (self.next, overridden));
        self.by_age.insert(self.next, id);
        self.next += 1;
        forgotten
    }

    pub(crate) fn get(&self, id: &BackendId) -> Option<&Overridden> {
        self.by_id.get(id).map(|(_, overridden)| overridden)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = &BackendId> {
        self.by_id.keys()
    }

    pub(crate) fn take(&mut self, id: &BackendId) -> Option<Overridden> {
        let (age, overridden) = self.by_id.remove(id)?;
        self.by_age.remove(&age);
        Some(overridden)
    }

    pub(crate) fn is_consistent(&self) -> bool {
        self.by_id.len() == self.by_age.len() && self.by_id.len() <= self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Overrides;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut remembered = Remembered::new(2, 0);
        let id = |n: u32| BackendId::parse(&format!("b{n}")).unwrap();
        let off = |n| Overridden {
            overrides: Overrides {
                enabled: Some(false),
                ..Overrides::default()
            },
            ..Overridden::nothing(id(n))
        };
        assert_eq!(remembered.put(off(1)), None);
        assert_eq!(remembered.put(off(2)), None);
        assert_eq!(remembered.put(off(1)), None); // younger than 2 now
        assert_eq!(remembered.put(off(3)), Some(id(2)));
        assert_eq!(remembered.put(Overridden::nothing(id(4))), None); // nothing to remember
        assert!(remembered.is_consistent());
        assert_eq!(remembered.take(&id(2)), None);
        assert_eq!(
            (remembered.take(&id(1)), remembered.take(&id(3))),
            (Some(off(1)), Some(off(3)))
        );
        assert_eq!(remembered.take(&id(1)), None);
    }
}
