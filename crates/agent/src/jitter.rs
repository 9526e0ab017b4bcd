//! A seeded source of jitter: whoever drives a session brings the seed, and a seed brings the same session again.

use std::time::Duration;

/// SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
#[derive(Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Anything between the two, to the microsecond; the first if they are the wrong way round.
    pub(crate) fn between(&mut self, from: Duration, to: Duration) -> Duration {
        let span = to.saturating_sub(from).as_micros().saturating_add(1);
        let micros = u128::from(self.next()) % span;
        from + Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reaches_both_ends_and_nothing_beyond() {
        let mut jitter = Jitter::new(7);
        let (from, to) = (Duration::from_millis(10), Duration::from_millis(20));
        let drawn: Vec<_> = (0..2_000).map(|_| jitter.between(from, to)).collect();
        assert!(drawn.iter().all(|d| (from..=to).contains(d)));
        assert!(drawn.iter().any(|d| *d < from + Duration::from_micros(100)));
        assert!(drawn.iter().any(|d| *d > to - Duration::from_micros(100)));
        assert_eq!(jitter.between(to, from), to);
    }
}
