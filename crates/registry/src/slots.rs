//! Where the entries live: numbered places that are reused.

use std::ops::{Index, IndexMut};

use slab::Slab;

/// Entries by a number of four bytes. The number of an entry that was removed is given to another one.
#[derive(Debug)]
pub(crate) struct Slots<T>(Slab<T>);

/// The most entries: a slot must fit into a `u32`, and its last values are marks elsewhere.
pub(crate) const MAX_SLOTS: usize = (u32::MAX / 2) as usize;

impl<T> Slots<T> {
    pub(crate) const fn new() -> Self {
        Self(Slab::new())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Makes room for so many more.
    pub(crate) fn reserve(&mut self, more: usize) {
        self.0.reserve(more);
    }

    // The registry holds at most `MAX_SLOTS` entries.
    #[allow(clippy::cast_possible_truncation)]
    pub(crate) fn insert(&mut self, entry: T) -> u32 {
        self.0.insert(entry) as u32
    }

    pub(crate) fn remove(&mut self, slot: u32) -> T {
        self.0.remove(slot as usize)
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&T> {
        self.0.get(slot as usize)
    }

    #[allow(clippy::cast_possible_truncation)] // as above
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.0.iter().map(|(slot, entry)| (slot as u32, entry))
    }
}

impl<T> Index<u32> for Slots<T> {
    type Output = T;

    fn index(&self, slot: u32) -> &T {
        &self.0[slot as usize]
    }
}

impl<T> IndexMut<u32> for Slots<T> {
    fn index_mut(&mut self, slot: u32) -> &mut T {
        &mut self.0[slot as usize]
    }
}
