//! A seeded source of jitter.

use std::time::Duration;

use edgeproxy_backend::Incarnation;

/// Jitter as a function of who and how often, not of the order in which others were ejected: the same
/// history of one backend gives the same times, whatever happens beside it.
#[derive(Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// `duration`, at most a tenth shorter or longer.
    pub(crate) fn spread(&self, duration: Duration, incarnation: Incarnation, ejections: u8) -> Duration {
        let permille = 900 + mix(self.0 ^ mix(incarnation.get()) ^ u64::from(ejections)) % 201;
        let micros = duration.as_micros() * u128::from(permille) / 1_000;
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

/// The output function of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
/// Generators", 2014).
const fn mix(value: u64) -> u64 {
    let z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_within_a_tenth_and_reaches_both_sides() {
        let jitter = Jitter::new(7);
        let second = Duration::from_secs(1);
        let spread: Vec<_> = (1..=1_000)
            .map(|n| jitter.spread(second, Incarnation::new(n).unwrap(), 0))
            .collect();
        assert!(
            spread
                .iter()
                .all(|d| *d >= second * 9 / 10 && *d <= second * 11 / 10)
        );
        assert!(
            spread.iter().any(|d| *d < second * 92 / 100) && spread.iter().any(|d| *d > second * 108 / 100)
        );
    }
}
