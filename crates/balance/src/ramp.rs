//! Slow start: those that are new get their share little by little.

use std::time::Duration;

use edgeproxy_backend::{Limits, MonoTime};

/// How a member that has joined, or has come back, gets to its full weight: from 10 % to 100 % in ten steps.
///
/// The weight that counts after a part `t` of the window is `t^(1/aggression)`, at least a tenth, as Envoy has
/// it (`slow_start_config`).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SlowStart {
    window: Duration,
    aggression: f64,
}

// An aggression is never NaN.
impl Eq for SlowStart {}

/// Why there is no such slow start.
#[derive(Clone, Copy, PartialEq, Debug, thiserror::Error)]
pub enum SlowStartError {
    /// The window is empty.
    #[error("slow_start is 0; leave it out to switch slow start off")]
    Window,
    /// The aggression is out of range.
    #[error("slow_start_aggression is {found}; it is between 0.1 and 10, and 1 is linear")]
    Aggression {
        /// The number found.
        found: f64,
    },
}

/// Steps of a ramp. Each is one more preparation of the balancer, and a tenth of the traffic is no burst.
pub(crate) const STEPS: u16 = 10;

impl SlowStart {
    /// A ramp over `window` on a straight line.
    ///
    /// # Errors
    /// When `window` is zero.
    pub fn linear(window: Duration) -> Result<Self, SlowStartError> {
        Self::new(window, 1.0)
    }

    /// A ramp over `window`, above the straight line with an `aggression` above 1, below it with one below.
    ///
    /// # Errors
    /// When `window` is zero, or `aggression` not between 0.1 and 10.
    pub fn new(window: Duration, aggression: f64) -> Result<Self, SlowStartError> {
        if window.is_zero() {
            return Err(SlowStartError::Window);
        }
        if !(0.1..=10.0).contains(&aggression) {
            return Err(SlowStartError::Aggression { found: aggression });
        }
        Ok(Self { window, aggression })
    }

    /// How long a ramp takes.
    #[must_use]
    pub const fn window(&self) -> Duration {
        self.window
    }

    /// The exponent's denominator; 1 is linear.
    #[must_use]
    pub const fn aggression(&self) -> f64 {
        self.aggression
    }

    /// On which step someone is that began at `since`, 1 to [`STEPS`].
    pub(crate) fn step(&self, since: MonoTime, now: MonoTime) -> u16 {
        let elapsed = now.since(since);
        (1..=STEPS)
            .rev()
            .find(|step| *step == 1 || self.begin_of(*step) <= elapsed)
            .unwrap_or(1)
    }

    /// When the next preparation is due for someone who began at `since`; `None` at the top, and for someone who is
    /// yet to begin.
    ///
    /// Rounded up to a tenth of the window on the clock itself, so that thousands who join one after the other
    /// make ten preparations in a window and not ten each.
    pub(crate) fn next_change(&self, since: MonoTime, now: MonoTime) -> Option<MonoTime> {
        let next = self.step(since, now) + 1;
        if next > STEPS || since == MonoTime::NEVER {
            return None;
        }
        let due = since + self.begin_of(next);
        let grid = u64::try_from((self.window / u32::from(STEPS)).as_micros())
            .unwrap_or(u64::MAX)
            .max(1);
        Some(MonoTime::from_micros(
            due.as_micros().div_ceil(grid).saturating_mul(grid),
        ))
    }

    /// How long after its beginning a ramp comes to a step, to the microsecond.
    fn begin_of(&self, step: u16) -> Duration {
        let part = (f64::from(step) / f64::from(STEPS)).powf(self.aggression);
        // Up and to whole microseconds, which is what a clock shows.
        Duration::try_from_secs_f64((self.window.as_secs_f64() * part * 1e6).ceil() / 1e6)
            .unwrap_or(Duration::MAX)
    }
}

/// The limits on a step: its share of the requests in flight ramps as well. The hard one too, or all who wait for
/// others that are full would fall on it.
pub(crate) fn limits_on(step: u16, limits: Limits) -> Limits {
    if step >= STEPS {
        return limits;
    }
    let part = |limit: u32| match limit {
        0 => 0,
        limit => {
            let part = u64::from(limit) * u64::from(step) / u64::from(STEPS);
            u32::try_from(part).unwrap_or(u32::MAX).max(1)
        }
    };
    Limits::new(part(limits.soft()), part(limits.hard())).unwrap_or(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOINED: MonoTime = MonoTime::from_secs(1_000);
    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn from_10_to_100_percent_linearly() {
        let ramp = SlowStart::linear(MINUTE).unwrap();
        for (secs, step) in [
            (0, 1),
            (11, 1),
            (12, 2),
            (30, 5),
            (35, 5),
            (36, 6),
            (59, 9),
            (60, 10),
            (999, 10),
        ] {
            assert_eq!(
                ramp.step(JOINED, JOINED + Duration::from_secs(secs)),
                step,
                "{secs}"
            );
        }
        assert_eq!(ramp.step(JOINED, MonoTime::ZERO), 1, "before it began");
        assert_eq!(ramp.step(MonoTime::NEVER, JOINED), 1, "who is on trial");
        assert_eq!(ramp.next_change(MonoTime::NEVER, JOINED), None);
    }

    #[test]
    fn aggression_bends_the_line() {
        let half = JOINED + MINUTE / 2;
        for (aggression, step) in [(0.1, 1), (0.5, 2), (1.0, 5), (2.0, 7), (10.0, 9)] {
            assert_eq!(
                SlowStart::new(MINUTE, aggression).unwrap().step(JOINED, half),
                step,
                "{aggression}"
            );
        }
        assert_eq!(SlowStart::linear(Duration::ZERO), Err(SlowStartError::Window));
        for found in [0.0, 0.09, 10.1, f64::INFINITY, -1.0] {
            assert_eq!(
                SlowStart::new(MINUTE, found),
                Err(SlowStartError::Aggression { found })
            );
        }
        assert!(SlowStart::new(MINUTE, f64::NAN).is_err());
    }

    #[test]
    fn every_step_is_announced_and_all_who_ramp_share_their_dates() {
        for aggression in [0.2, 1.0, 3.0] {
            let ramp = SlowStart::new(MINUTE, aggression).unwrap();
            let mut dates = Vec::new();
            for late in 0..50 {
                let since = JOINED + Duration::from_millis(late * 97);
                let (mut now, mut last) = (since, 0);
                while let Some(next) = ramp.next_change(since, now) {
                    assert!(next > now && next <= since + MINUTE + MINUTE / 10);
                    now = next;
                    assert!(ramp.step(since, now) > last);
                    last = ramp.step(since, now);
                    dates.push(now);
                }
                assert_eq!(ramp.step(since, now), STEPS);
            }
            dates.sort_unstable();
            dates.dedup();
            assert!(dates.len() <= 12, "{}", dates.len());
        }
    }

    #[test]
    fn both_limits_ramp() {
        let limits = |soft, hard| Limits::new(soft, hard).unwrap();
        assert_eq!(limits_on(1, limits(100, 150)), limits(10, 15));
        assert_eq!(limits_on(3, limits(5, 5)), limits(1, 1));
        assert_eq!(limits_on(10, limits(100, 150)), limits(100, 150));
        assert_eq!(limits_on(1, Limits::NONE), Limits::NONE);
    }
}
