//! Incarnations that several proxies give without asking each other.
//!
//! The low 16 bits tell proxies apart: below 32,768 they are those of the count of starts that the store keeps, and from
//! there on they are drawn by lot, by a proxy that has to begin without the store. The bits above them count as Lamport's
//! clocks do: one more than the highest that has been seen.
//!
//! Who begins without the store has seen nothing. So that its lives are later than those that are there, it counts from the
//! time of day, in steps of 1/64 s since 2025: as long as fewer than 64 backends a second register, on average since then,
//! nobody's count is ahead of that. 37 bits of count, which leave an incarnation below 2^53, last until 2093.

use std::num::NonZeroU64;
#[cfg(any(test, feature = "etcd"))]
use std::time::Duration;

use edgeproxy_backend::Incarnation;

/// The distance between two that one proxy gives.
pub(crate) const STRIDE: NonZeroU64 = NonZeroU64::MIN.saturating_add((1 << 16) - 1);

/// Starts that are told apart; the other half of the low bits is for those that begin without the store.
const STARTS: u64 = STRIDE.get() / 2;
/// The first of January 2025, in seconds since 1970.
#[cfg(any(test, feature = "etcd"))]
const EPOCH: Duration = Duration::from_secs(1_735_689_600);
/// A clock that is far ahead may use up half of the room.
#[cfg(any(test, feature = "etcd"))]
const COUNT_MAX: u64 = 1 << 36;

/// The first one after all those that are told, with the low bits of that start.
pub(crate) fn first_after(latest: u64, start: u64) -> Option<Incarnation> {
    let count = latest / STRIDE.get() + 1;
    let high = count.checked_mul(STRIDE.get())?;
    high.checked_add(start % STARTS).and_then(Incarnation::new)
}

/// The first one of a proxy that begins without the store, at that time since 1970, by that lot.
#[cfg(any(test, feature = "etcd"))]
pub(crate) fn without_store(since_1970: Duration, lot: u64) -> Incarnation {
    let since = since_1970.saturating_sub(EPOCH);
    let steps = since
        .as_secs()
        .saturating_mul(64)
        .saturating_add(u64::from(since.subsec_nanos()) / 15_625_000);
    let number = steps.clamp(1, COUNT_MAX) * STRIDE.get() + STARTS + lot % STARTS;
    Incarnation::new(number).unwrap_or(Incarnation::FIRST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incarnations_of_two_starts_never_meet_and_the_later_one_is_higher() {
        let first = first_after(0, 1).unwrap().get();
        let other = first_after(first, 2).unwrap().get();
        assert_eq!(STRIDE.get(), 65_536);
        assert_eq!((first, other), (65_537, 131_074));
        for n in 0..1000 {
            assert_ne!((first + n * STRIDE.get()) % STRIDE.get(), other % STRIDE.get());
        }
        assert_eq!(first_after(other, 65_536 + 2).unwrap().get(), 3 * 65_536 + 2);
        assert_eq!(first_after(u64::MAX, 1), None);
    }

    #[test]
    fn who_begins_without_the_store_counts_by_the_clock_and_meets_nobody_that_has_a_number() {
        let day = Duration::from_secs(24 * 3600);
        let now = EPOCH + 700 * day;
        let first = without_store(now, 5).get();
        assert_eq!(
            (first >> 16, first % STRIDE.get()),
            (700 * 24 * 3600 * 64, STARTS + 5)
        );
        assert!(first < 1 << 53);
        // Later than whoever registered 63 backends a second since the beginning, and than itself a moment ago.
        let busy = first_after(700 * 24 * 3600 * 63 * STRIDE.get(), 7).unwrap();
        assert!(busy.get() < first);
        assert!(without_store(now + Duration::from_millis(16), 0).get() > first);
        for start in 0..2 * STARTS {
            assert!(first_after(0, start).unwrap().get() % STRIDE.get() < STARTS);
            assert!(without_store(now, start).get() % STRIDE.get() >= STARTS);
        }
        // Who has heard of it counts on from it.
        assert!(first_after(first, 1).unwrap().get() > first);
    }

    #[test]
    fn a_clock_that_is_wrong_leaves_room() {
        assert_eq!(without_store(Duration::ZERO, 0).get(), STRIDE.get() + STARTS);
        let ahead = without_store(Duration::MAX, u64::MAX).get();
        assert!(ahead < 1 << 53);
        assert!(first_after(ahead, 1).unwrap().get() < 1 << 53);
    }
}
