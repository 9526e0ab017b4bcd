//! Incarnations that several proxies give without asking each other.
//!
//! The low 16 bits tell proxies apart; the bits above them count as Lamport's clocks do: one more than the highest that
//! has been seen.

use std::num::NonZeroU64;

use edgeproxy_backend::Incarnation;

/// The distance between two that one proxy gives.
pub(crate) const STRIDE: NonZeroU64 = NonZeroU64::MIN.saturating_add((1 << 16) - 1);

/// The first one after all those that are told, with the low bits of that start.
pub(crate) fn first_after(latest: u64, start: u64) -> Option<Incarnation> {
    let count = latest / STRIDE.get() + 1;
    let high = count.checked_mul(STRIDE.get())?;
    high.checked_add(start % STRIDE.get()).and_then(Incarnation::new)
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
}
