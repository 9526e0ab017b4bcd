use std::cmp::Ordering;
use std::time::Duration;

use edgeproxy_backend::Expected;

use crate::balancer::Entry;

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
        // 48 and 16 bits at most, or 32 and 32: no overflow.
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
    /// Those below their soft limit, the one with the least load for its weight first.
    BelowSoft,
    /// Those below their hard limit, the one with the least in flight for its soft limit first.
    BelowHard,
}

impl Room {
    /// The rank of a member with so many in flight, if it comes into question. `load` is what the algorithm
    /// compares, 48 bits at most; `luck` is the pick's.
    #[inline]
    pub(crate) fn rank<T>(
        self,
        entry: &Entry<T>,
        in_flight: u32,
        load: u64,
        member: u32,
        luck: u64,
    ) -> Option<Rank> {
        let tie = mixed(luck ^ u64::from(member));
        let limits = entry.limits;
        match self {
            Self::BelowSoft => limits.below_soft(in_flight).then(|| Rank {
                load,
                capacity: u64::from(entry.share),
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

/// What a response costs: the time that it is expected to take, in units of 256 ns, and more after failures.
/// `unknown` is the latency of those that have not answered yet, in the same unit.
#[inline]
pub(crate) fn cost(expected: Expected, unknown: u64) -> u64 {
    expected
        .latency
        .map_or(unknown, latency_units)
        .saturating_mul(u64::from(expected.penalty))
}

#[inline]
pub(crate) fn latency_units(latency: Duration) -> u64 {
    // A u64 of nanoseconds is 584 years.
    #[allow(clippy::cast_possible_truncation)]
    let nanos = latency.as_nanos() as u64;
    (nanos >> UNIT_SHIFT).max(1)
}

/// The load of one that takes a request more: 48 bits, which is 20 hours of waiting.
#[inline]
pub(crate) fn costly_load(cost: u64, in_flight: u32) -> u64 {
    cost.saturating_mul(u64::from(in_flight) + 1).min(LOAD_MAX)
}

const UNIT_SHIFT: u32 = 8;
const LOAD_MAX: u64 = (1 << 48) - 1;

/// What a pick needs randomness for. Each has its own, or else whoever is likely to be drawn would be likely
/// to win a tie, too.
#[derive(Clone, Copy)]
pub(crate) enum Draw {
    Two = 1,
    Tie,
    Weighted,
    Start,
    Key,
    Refresh,
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
