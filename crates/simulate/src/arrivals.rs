use std::time::Duration;

use crate::latency::rounded;
use crate::random::Random;

/// When requests come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Arrivals {
    /// Independently of each other, as those of many clients do (a Poisson process).
    #[default]
    Poisson,
    /// At even intervals, which shrink or grow as the rate does. At most one in a microsecond.
    Even,
}

/// How many requests come each second: on a straight line from one rate to another.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rate {
    /// When the first may come.
    pub from: Duration,
    /// When no more come; `None`: at the end of the simulation.
    pub until: Option<Duration>,
    /// Requests each second in the beginning.
    pub begin: f64,
    /// Requests each second in the end.
    pub end: f64,
}

impl Rate {
    /// The same rate all the time.
    #[must_use]
    pub const fn steady(per_sec: f64) -> Self {
        Self {
            from: Duration::ZERO,
            until: None,
            begin: per_sec,
            end: per_sec,
        }
    }

    /// How many requests are to be expected of it in a simulation of that length.
    #[must_use]
    pub fn expected(&self, duration: Duration) -> f64 {
        let until = self.until.unwrap_or(duration).min(duration);
        let (whole, seen) = (self.span(duration), until.saturating_sub(self.from).as_secs_f64());
        if whole <= 0.0 {
            return 0.0;
        }
        let at_end = self.begin + (self.end - self.begin) * seen / whole;
        seen * f64::midpoint(self.begin, at_end)
    }

    fn span(&self, duration: Duration) -> f64 {
        self.until
            .unwrap_or(duration)
            .saturating_sub(self.from)
            .as_secs_f64()
    }

    fn at(&self, secs: f64, duration: Duration) -> f64 {
        let part = ((secs - self.from.as_secs_f64()) / self.span(duration)).clamp(0.0, 1.0);
        self.begin + (self.end - self.begin) * part
    }

    /// How many requests it has brought, `secs` after its beginning: the area below the line.
    fn brought(&self, secs: f64, slope: f64) -> f64 {
        secs * (self.begin + slope * secs / 2.0)
    }

    /// After how many seconds it has brought so many; `None`: it never does.
    fn after(&self, brought: f64, slope: f64) -> Option<f64> {
        let square = self.begin * self.begin + 2.0 * slope * brought;
        // Of the forms of the root the one in which nothing cancels out, whichever way the line goes.
        let secs = 2.0 * brought / (self.begin + square.sqrt());
        secs.is_finite().then_some(secs)
    }

    /// The microsecond of the next request after that one; `None`: there is none.
    pub(crate) fn next(
        &self,
        arrivals: Arrivals,
        after: u64,
        duration: Duration,
        random: &mut Random,
    ) -> Option<u64> {
        let until = self.until.unwrap_or(duration).min(duration).as_secs_f64();
        let most = self.begin.max(self.end);
        let mut at = (after as f64 / 1e6).max(self.from.as_secs_f64());
        if most <= 0.0 {
            return None;
        }
        match arrivals {
            // P. Lewis and G. Shedler, "Simulation of nonhomogeneous Poisson processes by thinning", 1979.
            Arrivals::Poisson => loop {
                at += random.exponential() / most;
                if at >= until {
                    return None;
                }
                if random.unit() * most < self.at(at, duration) {
                    break;
                }
            },
            Arrivals::Even => {
                let (from, slope) = (
                    self.from.as_secs_f64(),
                    (self.end - self.begin) / self.span(duration),
                );
                // The one before came a fraction of a microsecond early or late: it stands for the nearest whole number.
                let number = self.brought(at - from, slope).round() + 1.0;
                at = from + self.after(number, slope)?;
                if at >= until {
                    return None;
                }
                return Some(rounded(at * 1e6).max(after + 1));
            }
        }
        Some(rounded(at * 1e6).max(after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(rate: Rate, arrivals: Arrivals) -> (u32, f64) {
        let mut random = Random::new(11, 0);
        let duration = Duration::from_secs(100);
        let (mut at, mut count) = (0, 0);
        while let Some(next) = rate.next(arrivals, at, duration, &mut random) {
            assert!(next >= at);
            (at, count) = (next, count + 1);
        }
        (count, rate.expected(duration))
    }

    #[test]
    fn as_many_come_as_are_to_be_expected() {
        for (begin, end) in [(200.0, 200.0), (0.0, 400.0), (400.0, 0.0)] {
            let rate = Rate {
                from: Duration::from_secs(10),
                until: Some(Duration::from_secs(60)),
                begin,
                end,
            };
            let (poisson, expected) = count(rate, Arrivals::Poisson);
            assert!((expected - 10_000.0).abs() < 1e-6);
            // Four deviations.
            assert!((f64::from(poisson) - expected).abs() < 400.0, "{poisson}");
            let (even, _) = count(rate, Arrivals::Even);
            // The last one would come when it is over.
            assert!((f64::from(even) - expected).abs() <= 1.0, "{even}");
        }
        assert_eq!(count(Rate::steady(0.0), Arrivals::Poisson).0, 0);
        assert_eq!(count(Rate::steady(0.0), Arrivals::Even).0, 0);
    }

    #[test]
    fn even_arrivals_on_a_line_from_or_to_nothing_are_as_many_as_its_area() {
        for (begin, end, expected) in [
            (0.0, 10.0, 300.0),
            (0.0, 100.0, 3_000.0),
            (10.0, 0.0, 300.0),
            (100.0, 0.0, 3_000.0),
            (400.0, 400.0, 24_000.0),
            (0.0, 0.1, 3.0),
        ] {
            let rate = Rate {
                from: Duration::ZERO,
                until: Some(Duration::from_secs(60)),
                begin,
                end,
            };
            let (even, area) = count(rate, Arrivals::Even);
            assert!((area - expected).abs() < 1e-6, "{area}");
            assert!(
                (f64::from(even) - expected).abs() <= 1.0,
                "{begin} to {end}: {even}"
            );
        }
    }

    #[test]
    fn even_arrivals_on_a_rising_line_come_ever_faster() {
        let rate = Rate {
            from: Duration::from_secs(10),
            until: Some(Duration::from_secs(60)),
            begin: 0.0,
            end: 50.0,
        };
        let (mut random, mut at) = (Random::new(11, 0), 0);
        let times: Vec<u64> = std::iter::from_fn(|| {
            at = rate.next(Arrivals::Even, at, Duration::from_secs(100), &mut random)?;
            Some(at)
        })
        .collect();
        // The area is half of the square of the seconds.
        assert_eq!(times[1], 12_000_000);
        assert_eq!(times[49], 20_000_000);
        assert_eq!(times[799], 50_000_000);
    }
}
