use std::cmp::Ordering;

use crate::balancer::Entry;
use crate::{Inner, Target};

/// Where a member stands among those that could be picked: the least comes first. Total for a given
/// entropy, so that "the next one" is well defined after a refusal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rank {
    /// The load is `load / capacity`, compared exactly.
    load: u64,
    capacity: u64,
    /// Breaks ties: a number of the member's own for this pick, so that each of a tie is as likely as the
    /// others.
    tie: u64,
    pub(crate) member: u32,
}

impl Ord for Rank {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        // 33 and 32 bits at most: no overflow.
        (self.load * other.capacity)
            .cmp(&(other.load * self.capacity))
            .then_with(|| (self.tie, self.member).cmp(&(other.tie, other.member)))
    }
}

impl PartialOrd for Rank {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Which members of a group come into question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Room {
    /// Those below their soft limit, the one with the least in flight for its weight first.
    BelowSoft,
    /// Those below their hard limit, the one with the least in flight for its soft limit first.
    BelowHard,
}

impl Room {
    /// The rank of a member with so many in flight, if it comes into question. `luck` is the pick's.
    #[inline]
    pub(crate) fn rank<T>(self, entry: &Entry<T>, in_flight: u32, member: u32, luck: u64) -> Option<Rank> {
        let tie = mixed(luck ^ u64::from(member));
        let limits = entry.limits;
        match self {
            Self::BelowSoft => limits.below_soft(in_flight).then(|| Rank {
                load: u64::from(in_flight) + 1,
                capacity: u64::from(entry.weight),
                tie,
                member,
            }),
            Self::BelowHard if !limits.below_hard(in_flight) => None,
            // Asked in vain already, or just come free: in a race either way, and so the last resort.
            Self::BelowHard if limits.below_soft(in_flight) => Some(Rank {
                load: u64::from(u32::MAX),
                capacity: 1,
                tie,
                member,
            }),
            Self::BelowHard => Some(Rank {
                load: u64::from(in_flight),
                capacity: u64::from(limits.soft()),
                tie,
                member,
            }),
        }
    }
}

/// What `explain` shows as a member's score.
pub(crate) fn score<T: Target>(
    inner: Inner,
    entry: &Entry<T>,
    in_flight: u32,
    turns: Option<u64>,
) -> Option<f64> {
    match inner {
        Inner::LeastConnections if entry.weight == 0 => None,
        Inner::LeastConnections => Some((f64::from(in_flight) + 1.0) / f64::from(entry.weight)),
        // Exact: a period that is walked has at most 65,536 turns.
        Inner::RoundRobin | Inner::Weighted => {
            turns.and_then(|turns| u32::try_from(turns).ok()).map(f64::from)
        }
    }
}

/// What a pick needs randomness for. Each has its own, or else whoever is likely to be drawn would be likely
/// to win a tie, too.
#[derive(Clone, Copy)]
pub(crate) enum Draw {
    Two = 1,
    Tie,
    Weighted,
    Start,
}

/// 64 random bits for one purpose, and for one member where the purpose has several.
#[inline]
pub(crate) const fn drawn(entropy: u64, draw: Draw, member: u32) -> u64 {
    mixed(mixed(entropy ^ ((draw as u64) << 60)) ^ member as u64)
}

/// Spreads entropy over all bits: the finalizer of SplitMix64 (G. Steele et al., OOPSLA 2014).
#[inline]
pub(crate) const fn mixed(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A number below `bound` out of 32 random bits: D. Lemire, "Fast random integer generation in an
/// interval", ACM TOMACS 29 (2019), without its correction, which is below `bound / 2³²`.
#[inline]
// The product of two 32-bit numbers, shifted back.
#[allow(clippy::cast_possible_truncation)]
pub(crate) const fn below(bound: u32, random: u32) -> u32 {
    ((random as u64 * bound as u64) >> 32) as u32
}
