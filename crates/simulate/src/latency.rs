use std::time::Duration;

use crate::random::Random;

/// How long a backend takes to answer, without what a request waits there.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Latency {
    /// Always the same.
    Constant(Duration),
    /// Exponentially distributed, with that mean.
    Exponential(Duration),
    /// Lognormally distributed, as most services are: mostly near the mean, and sometimes far above it.
    Lognormal {
        /// The mean, not the median.
        mean: Duration,
        /// The deviation of the logarithm, in thousandths: with 500 one of a hundred takes 2.8 times the mean.
        sigma_permille: u16,
    },
}

impl Latency {
    /// The mean.
    #[must_use]
    pub const fn mean(&self) -> Duration {
        match self {
            Self::Constant(mean) | Self::Exponential(mean) | Self::Lognormal { mean, .. } => *mean,
        }
    }

    /// In microseconds, at least one. `factor` is by how much it takes longer right now.
    pub(crate) fn draw(&self, factor: f64, random: &mut Random) -> u64 {
        let mean = self.mean().as_secs_f64() * 1e6 * factor;
        let drawn = match self {
            Self::Constant(_) => mean,
            Self::Exponential(_) => mean * random.exponential(),
            Self::Lognormal { sigma_permille, .. } => {
                let sigma = f64::from(*sigma_permille) / 1_000.0;
                mean * (sigma * random.normal() - sigma * sigma / 2.0).exp()
            }
        };
        rounded(drawn).max(1)
    }
}

/// The nearest whole number; what is negative or no number is 0.
// Whole, and cut off at both ends.
#[allow(clippy::cast_possible_truncation)]
pub(crate) fn rounded(number: f64) -> u64 {
    number.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_distribution_has_the_mean_that_it_is_asked_for() {
        let mean = Duration::from_millis(20);
        let mut random = Random::new(3, 0);
        for latency in [
            Latency::Constant(mean),
            Latency::Exponential(mean),
            Latency::Lognormal {
                mean,
                sigma_permille: 800,
            },
        ] {
            let n = 100_000;
            let sum: u64 = (0..n).map(|_| latency.draw(2.0, &mut random)).sum();
            let found = sum as f64 / f64::from(n);
            assert!((found / 40_000.0 - 1.0).abs() < 0.02, "{latency:?} {found}");
        }
        assert_eq!(Latency::Constant(Duration::ZERO).draw(1.0, &mut random), 1);
    }
}
