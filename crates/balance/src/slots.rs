//! Whose a key is, in a group of weighted members.

use std::sync::Arc;

use crate::rank::mixed;
use crate::rotation::Share;

/// The keys are cut into so many slots, and each slot has an owner: weighted rendezvous hashing (D. Thaler and
/// C. Ravishankar, IEEE/ACM ToN 6, 1998) for slots instead of keys, so that a key costs one look-up.
///
/// A slot's owner would be found by as many hashes as there are members, and all slots' by 65,536 times that.
/// It is run as a race instead: each member visits slots at random, at a pace that is its weight, and a slot is
/// its first visitor's. That takes about `SLOTS · ln SLOTS` visits together, however many members there are.
/// And it has rendezvous hashing's virtue: a member's visits depend on nothing but its own identity and
/// weight, so if it leaves, its slots change hands and no others do.
///
/// Never another number: with it most keys would change hands. See `docs/decisions/0009`.
pub(crate) const SLOTS: usize = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 16;

/// The owners of all slots. Shared by successive balancers for as long as the members and weights are the same.
#[derive(Debug)]
pub(crate) struct Slots {
    shares: Box<[Share]>,
    /// Places in the group; empty where there is one member only.
    owners: Box<[u32]>,
}

/// So long a race that a slot without a visitor would be a wonder: visits by all members, for each slot. The
/// chance that one is left is 65,536 · e⁻⁶⁴.
const LONGEST: f64 = 64.0;
/// Where it nearly always ends: ln 65,536 is 11.1.
const FIRST_LAP: f64 = 11.0;

impl Slots {
    /// Finds all owners. A share's key is its member's identity; none has weight 0.
    pub(crate) fn new(shares: Vec<Share>, previous: Option<&Arc<Self>>) -> Arc<Self> {
        if let Some(same) = previous.filter(|previous| *previous.shares == *shares) {
            return Arc::clone(same);
        }
        let owners = if shares.len() > 1 {
            race(&shares)
        } else {
            Box::default()
        };
        Arc::new(Self {
            shares: shares.into(),
            owners,
        })
    }

    /// The owner of a key's slot: a place in the group.
    #[inline]
    // The upper 16 bits.
    #[allow(clippy::cast_possible_truncation)]
    pub(crate) fn at(&self, key: u64) -> u32 {
        let slot = (key >> (u64::BITS - SLOT_BITS)) as usize;
        self.owners.get(slot).copied().unwrap_or(0)
    }
}

fn race(shares: &[Share]) -> Box<[u32]> {
    let total: f64 = shares.iter().map(|share| f64::from(share.weight)).sum();
    let mut board = Board {
        first: vec![f64::INFINITY; SLOTS].into(),
        owners: vec![0; SLOTS].into(),
        left: SLOTS,
    };
    let mut runners: Vec<Runner> = shares.iter().map(Runner::new).collect();
    let mut lap = FIRST_LAP;
    while board.left > 0 && lap <= LONGEST {
        // In a unit of time a member of weight 1 visits one slot.
        let until = lap * SLOTS as f64 / total;
        for (place, runner) in (0..).zip(&mut runners) {
            runner.run(until, |slot, time| board.visit(slot, time, place));
        }
        lap += 1.0;
    }
    board.owners
}

/// Who came first where.
struct Board {
    first: Box<[f64]>,
    owners: Box<[u32]>,
    left: usize,
}

impl Board {
    #[inline]
    fn visit(&mut self, slot: usize, time: f64, place: u32) {
        let first = &mut self.first[slot];
        if time < *first {
            self.left -= usize::from(first.is_infinite());
            *first = time;
            self.owners[slot] = place;
        }
    }
}

/// A member on its way.
struct Runner {
    identity: u64,
    /// Time between two visits.
    pace: f64,
    visits: u32,
}

impl Runner {
    fn new(share: &Share) -> Self {
        Self {
            identity: mixed(share.key),
            pace: f64::from(share.weight).recip(),
            visits: 0,
        }
    }

    /// Makes all visits up to a time. Only sums and products of whole numbers and the pace, so that every
    /// machine comes to the same result.
    #[inline]
    // The upper 16 bits, and 32 of the others.
    #[allow(clippy::cast_possible_truncation)]
    fn run(&mut self, until: f64, mut visit: impl FnMut(usize, f64)) {
        while f64::from(self.visits) * self.pace < until {
            let random = mixed(self.identity.wrapping_add(u64::from(self.visits)));
            // Somewhere in its step, or everyone's first visits would come at once.
            let within = f64::from(random as u32) / (u32::MAX as f64 + 1.0);
            let time = (f64::from(self.visits) + within) * self.pace;
            visit((random >> (u64::BITS - SLOT_BITS)) as usize, time);
            self.visits += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(key: u64, weight: u16) -> Share {
        Share { key, weight }
    }

    fn owners(shares: &[Share]) -> Vec<u64> {
        let slots = Slots::new(shares.to_vec(), None);
        (0..SLOTS as u64)
            .map(|slot| shares[slots.at(slot << 48) as usize].key)
            .collect()
    }

    fn counts(shares: &[Share]) -> Vec<f64> {
        let owners = owners(shares);
        let count = |share: &Share| owners.iter().filter(|owner| **owner == share.key).count() as f64;
        shares.iter().map(count).collect()
    }

    #[test]
    fn each_has_slots_in_proportion_to_weight() {
        for weights in [
            vec![1; 2],
            vec![2; 10],
            vec![7; 100],
            vec![1, 2, 3, 4],
            vec![1_000, 10, 500],
            (1..60).collect(),
        ] {
            let shares: Vec<Share> = (1..)
                .zip(&weights)
                .map(|(key, weight)| share(key, *weight))
                .collect();
            let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            for (count, weight) in counts(&shares).into_iter().zip(&weights) {
                let ideal = SLOTS as f64 * f64::from(*weight) / total;
                // Five standard deviations of a fair draw for each slot.
                assert!(
                    (count - ideal).abs() < 5.0 * ideal.sqrt(),
                    "{weights:?}: {count}, {ideal}"
                );
            }
        }
    }

    #[test]
    fn whoever_leaves_or_changes_its_weight_moves_no_others_slot() {
        let mut random = fastrand::Rng::with_seed(3);
        for members in [2, 3, 10, 50] {
            let mut shares: Vec<Share> = (0..members).map(|key| share(key, random.u16(1..=9))).collect();
            let before = owners(&shares);
            let changed = random.usize(0..shares.len());
            let key = shares[changed].key;
            shares[changed].weight += 5;
            for (old, new) in before.iter().zip(owners(&shares)) {
                assert!(*old == new || new == key, "heavier: slots come to it alone");
            }
            shares.remove(changed);
            for (old, new) in before.iter().zip(owners(&shares)) {
                assert!(*old == new || *old == key, "gone: its own slots alone go");
            }
        }
    }

    #[test]
    fn the_order_of_the_members_and_the_scale_of_their_weights_make_no_difference() {
        let shares: Vec<Share> = (0..20).map(|key| share(key * 7, 1 + (key % 5) as u16)).collect();
        let mut turned = shares.clone();
        turned.reverse();
        assert_eq!(owners(&shares), owners(&turned));
        let scaled: Vec<Share> = shares.iter().map(|one| share(one.key, one.weight * 8)).collect();
        assert_eq!(owners(&shares), owners(&scaled));
    }

    #[test]
    fn the_same_members_share_their_slots() {
        let shares = vec![share(1, 1), share(2, 1)];
        let slots = Slots::new(shares.clone(), None);
        assert!(Arc::ptr_eq(&slots, &Slots::new(shares, Some(&slots))));
        assert!(!Arc::ptr_eq(&slots, &Slots::new(vec![share(1, 1)], Some(&slots))));
    }
}
