use std::time::Duration;

use crate::Count;

/// The upper bounds of the buckets, in microseconds, each inclusive; the last bucket has none. From 0.5 ms, below which
/// a proxy's own time is, to 60 s, about as long as clients wait; 2 to 2.5 times apart, so that a percentile by
/// interpolation is that far off at most.
pub const BOUNDS_MICROS: [u64; BUCKETS - 1] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 60_000_000,
];

/// How many buckets a histogram has, the unbounded one included.
pub const BUCKETS: usize = 16;

/// How often something took how long, which **one** thread notes and any may read; see [`Count`].
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Count; BUCKETS],
    micros: Count,
}

impl Histogram {
    /// Notes one.
    #[inline]
    pub fn record(&self, took: Duration) {
        // In 64 bits, since `as_micros` multiplies and converts 128.
        let micros = took
            .as_secs()
            .saturating_mul(1_000_000)
            .saturating_add(took.subsec_micros().into());
        if let Some(bucket) = self.buckets.get(bucket(micros)) {
            bucket.add(1);
        }
        self.micros.add(micros);
    }

    /// What has been noted at about this moment.
    #[must_use]
    pub fn read(&self) -> Buckets {
        Buckets {
            counts: std::array::from_fn(|at| self.buckets.get(at).map_or(0, Count::get)),
            micros: self.micros.get(),
        }
    }
}

/// Without a branch that depends on the value: what comes mixed would be predicted badly.
#[inline]
fn bucket(micros: u64) -> usize {
    BOUNDS_MICROS
        .iter()
        .map(|bound| usize::from(micros > *bound))
        .sum()
}

/// What histograms have noted, added up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Buckets {
    /// How many fell into each bucket; not cumulative.
    pub counts: [u64; BUCKETS],
    /// The sum of all, in microseconds.
    pub micros: u64,
}

impl Buckets {
    /// Adds others to these.
    pub fn add(&mut self, others: &Self) {
        for (count, other) in self.counts.iter_mut().zip(others.counts) {
            *count = count.wrapping_add(other);
        }
        self.micros = self.micros.wrapping_add(others.micros);
    }

    /// How many there are in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts
            .iter()
            .fold(0, |total, count| total.wrapping_add(*count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_the_bucket_that_it_ends() {
        let histogram = Histogram::default();
        for micros in [0, 500, 501, 60_000_000, 60_000_001] {
            histogram.record(Duration::from_micros(micros));
        }
        let buckets = histogram.read();
        assert_eq!((buckets.counts[0], buckets.counts[1]), (2, 1));
        assert_eq!((buckets.counts[14], buckets.counts[15]), (1, 1));
        assert_eq!((buckets.total(), buckets.micros), (5, 120_001_002));
    }

    #[test]
    fn every_bound_is_above_the_one_before() {
        assert!(BOUNDS_MICROS.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn the_longest_time_has_a_bucket() {
        let histogram = Histogram::default();
        histogram.record(Duration::MAX);
        let buckets = histogram.read();
        assert_eq!((buckets.counts[BUCKETS - 1], buckets.micros), (1, u64::MAX));
    }
}
