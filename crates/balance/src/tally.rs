//! How many requests a group has in flight altogether.

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Up to so many members are added up when the sum is asked for; of more it is kept, and refreshed little by
/// little.
pub(crate) const ADDED_MAX: usize = 32;

/// The sum of what each member of a group had in flight when it was last looked at.
///
/// Nobody tells a balancer when a request ends, and one counter for all of a group's requests would be written
/// twice by each of them. So whoever is looked at anyway is noted, and with it one more by chance: after as
/// many picks as there are members the sum is as old as that. Up to [`ADDED_MAX`] members it is exact.
#[derive(Debug)]
pub(crate) struct Tally {
    seen: Box<[AtomicU32]>,
    total: Total,
}

/// On a line of its own: written with most picks.
#[repr(align(128))]
#[derive(Debug)]
struct Total(AtomicU64);

impl Tally {
    /// A tally of members with these loads.
    pub(crate) fn new(loads: impl ExactSizeIterator<Item = u32>) -> Self {
        if loads.len() <= ADDED_MAX {
            return Self {
                seen: Box::default(),
                total: Total(AtomicU64::new(0)),
            };
        }
        let seen: Box<[AtomicU32]> = loads.map(AtomicU32::new).collect();
        let total = seen
            .iter()
            .map(|load| u64::from(load.load(Ordering::Relaxed)))
            .sum();
        Self {
            seen,
            total: Total(AtomicU64::new(total)),
        }
    }

    /// Whether [`kept`](Self::kept) means anything; else add up.
    #[inline]
    pub(crate) fn is_kept(&self) -> bool {
        !self.seen.is_empty()
    }

    /// Notes what a member, by its place in the group, has in flight.
    #[inline]
    pub(crate) fn note(&self, place: u32, in_flight: u32) {
        let Some(seen) = self.seen.get(place as usize) else {
            return;
        };
        if seen.load(Ordering::Relaxed) != in_flight {
            let before = seen.swap(in_flight, Ordering::Relaxed);
            let change = u64::from(in_flight).wrapping_sub(u64::from(before));
            self.total.0.fetch_add(change, Ordering::Relaxed);
        }
    }

    /// The sum, as far as known.
    #[inline]
    pub(crate) fn kept(&self) -> u64 {
        // Two notes of a member may be added in the other order, and so the sum be below zero for an instant.
        self.total
            .0
            .load(Ordering::Relaxed)
            .cast_signed()
            .max(0)
            .cast_unsigned()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn few_members_are_not_kept() {
        assert!(!Tally::new((0..32).map(|_| 7)).is_kept());
        assert!(Tally::new((0..33).map(|_| 7)).is_kept());
    }

    #[test]
    fn the_sum_is_that_of_the_latest_notes_on_any_number_of_threads() {
        for threads in [1, 4] {
            let tally = Tally::new((0..100).map(|_| 5));
            assert_eq!(tally.kept(), 500);
            thread::scope(|scope| {
                for seed in 0..threads {
                    let tally = &tally;
                    scope.spawn(move || {
                        let mut random = fastrand::Rng::with_seed(seed);
                        for _ in 0..20_000 {
                            tally.note(random.u32(0..100), random.u32(0..1_000));
                        }
                    });
                }
            });
            (0..100).for_each(|place| tally.note(place, place));
            assert_eq!(tally.kept(), 4_950);
        }
    }
}
