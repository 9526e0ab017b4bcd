//! How long a response is expected to take: a peak-sensitive moving average that time wears off.

use std::time::Duration;

use crate::MonoTime;

/// How long an endpoint is expected to take for a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expected {
    /// The time to a response's head: what it was at its worst, worn off by time and by quicker responses.
    /// `None` before the first response.
    pub latency: Option<Duration>,
    /// By how much its failures make it worth less: 1 without any, at most [`Expected::PENALTY_MAX`].
    pub penalty: u32,
}

impl Expected {
    /// Nothing has been seen yet.
    pub const UNKNOWN: Self = Self {
        latency: None,
        penalty: 1,
    };
    /// The largest penalty.
    pub const PENALTY_MAX: u32 = 1 << (LEVEL_MAX * LEVEL_SHIFT);
    /// The time in which a latency loses half of what it was, and a penalty seven eighths: 8.388608 seconds.
    pub const HALF_LIFE: Duration = Duration::from_micros(1 << (TICK_SHIFT + HALF_LIFE_SHIFT));
}

/// An [`Expected`] and when it was last written, in one word.
///
/// From the top: 40 bits of latency, in quarters of a nanosecond, so that a small step of a small average is
/// not lost by rounding (up to 274 seconds; 0 stands for none yet); 3 bits of the penalty, as a power of 8; 21 bits
/// of the time, in ticks of 65.536 ms. The time wraps after 38 hours: whoever idles for more than 19 may
/// seem to have been heard of just now, which one response puts right.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Expectation(u64);

const TICK_SHIFT: u32 = 16;
const HALF_LIFE_SHIFT: u32 = 7;
const TICK_BITS: u32 = 21;
const TICK_MASK: u64 = (1 << TICK_BITS) - 1;
const LEVEL_BITS: u32 = 3;
const LEVEL_MASK: u64 = (1 << LEVEL_BITS) - 1;
/// So many failures in a row make even one attract nobody that used to be a thousand times as quick as others;
/// and after some 30 seconds, latency and penalty together, it is tried again.
const LEVEL_MAX: u64 = 5;
/// A failure makes an endpoint worth an eighth of what it was.
const LEVEL_SHIFT: u64 = 3;
const LATENCY_SHIFT: u32 = TICK_BITS + LEVEL_BITS;
const LATENCY_MAX: u64 = u64::MAX >> LATENCY_SHIFT;
const QUARTERS: u64 = 4;

impl Expectation {
    pub(super) const NONE: Self = Self(0);

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    /// What is expected at a time.
    #[inline]
    pub(super) fn at(self, now: MonoTime) -> Expected {
        let elapsed = self.elapsed(now);
        let latency = match self.latency() {
            0 => None,
            latency => Some(Duration::from_nanos(
                worn_off(latency, elapsed).div_ceil(QUARTERS).max(1),
            )),
        };
        Expected {
            latency,
            penalty: 1 << (self.level_after(elapsed) * LEVEL_SHIFT),
        }
    }

    /// After a response; `None` if it says nothing new. One a tick does, and every one that is slower than
    /// expected: a slow one is believed at once, quick ones as far as time has passed.
    ///
    /// This is peak EWMA as Finagle has it (`com.twitter.finagle.loadbalancer.PeakEwma`), with halves for
    /// its powers of e.
    #[inline]
    pub(super) fn after_response(self, latency: Duration, now: MonoTime) -> Option<Self> {
        let sample = u64::try_from(latency.as_nanos())
            .unwrap_or(u64::MAX)
            .saturating_mul(QUARTERS)
            .clamp(1, LATENCY_MAX);
        let (average, elapsed) = (self.latency(), self.elapsed(now));
        if sample <= average && elapsed == 0 && self.level() == 0 {
            return None;
        }
        let next = if sample > average {
            sample
        } else {
            worn_off(average, elapsed) + (sample - worn_off(sample, elapsed))
        };
        let level = self.level_after(elapsed).saturating_sub(1);
        Some(Self::new(next, level, now))
    }

    /// After no response.
    pub(super) fn after_failure(self, now: MonoTime) -> Self {
        let elapsed = self.elapsed(now);
        let level = (self.level_after(elapsed) + 1).min(LEVEL_MAX);
        let latency = match self.latency() {
            0 => 0,
            latency => worn_off(latency, elapsed).max(1),
        };
        Self::new(latency, level, now)
    }

    fn new(latency: u64, level: u64, now: MonoTime) -> Self {
        Self(latency.min(LATENCY_MAX) << LATENCY_SHIFT | level << TICK_BITS | tick(now))
    }

    const fn latency(self) -> u64 {
        self.0 >> LATENCY_SHIFT
    }

    const fn level(self) -> u64 {
        self.0 >> TICK_BITS & LEVEL_MASK
    }

    fn level_after(self, elapsed: u64) -> u64 {
        self.level().saturating_sub(elapsed >> HALF_LIFE_SHIFT)
    }

    /// Ticks since it was written. Workers read the clock at different times: what was written after `now` was
    /// written now.
    const fn elapsed(self, now: MonoTime) -> u64 {
        let elapsed = tick(now).wrapping_sub(self.0) & TICK_MASK;
        if elapsed > TICK_MASK / 2 { 0 } else { elapsed }
    }
}

const fn tick(now: MonoTime) -> u64 {
    now.as_micros() >> TICK_SHIFT & TICK_MASK
}

/// Halved for each half-life. In between 2⁻ˣ is 1 − ln 2 · x + (ln 2 − ½) · x², which is right at both ends and in
/// its slope at 0, so that many short steps come to what one long step does; within 0.8 % of the exact curve.
const fn worn_off(latency: u64, elapsed: u64) -> u64 {
    let halves = elapsed >> HALF_LIFE_SHIFT;
    if halves >= 40 {
        return 0;
    }
    let part = elapsed & ((1 << HALF_LIFE_SHIFT) - 1);
    // In 2⁻¹⁶.
    let factor =
        65_536 - ((part * 45_426) >> HALF_LIFE_SHIFT) + ((part * part * 12_658) >> (2 * HALF_LIFE_SHIFT));
    // 40 bits and 17.
    ((latency >> halves) * factor) >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: MonoTime = MonoTime::from_secs(1_000);

    fn after(halves: u32) -> MonoTime {
        START + Expected::HALF_LIFE * halves
    }

    fn heard(latency: Duration) -> Expectation {
        Expectation::NONE.after_response(latency, START).unwrap()
    }

    fn millis(expectation: Expectation, now: MonoTime) -> f64 {
        expectation.at(now).latency.unwrap().as_secs_f64() * 1_000.0
    }

    #[test]
    fn before_the_first_response_nothing_is_expected() {
        assert_eq!(Expectation::NONE.at(START), Expected::UNKNOWN);
        let failed = Expectation::NONE.after_failure(START).at(START);
        assert_eq!((failed.latency, failed.penalty), (None, 8));
    }

    #[test]
    fn a_slow_response_is_believed_at_once() {
        let quick = heard(Duration::from_millis(1));
        let slow = quick.after_response(Duration::from_millis(50), START).unwrap();
        assert_eq!(slow.at(START).latency, Some(Duration::from_millis(50)));
    }

    #[test]
    fn quick_responses_count_as_far_as_time_has_passed() {
        let slow = heard(Duration::from_millis(50));
        assert!(slow.after_response(Duration::from_millis(1), START).is_none());
        let once = slow.after_response(Duration::from_millis(1), after(1)).unwrap();
        assert!((millis(once, after(1)) - 25.5).abs() < 0.01);
        // A thousand a second, for a minute: all that is left is what they took.
        let mut often = slow;
        for milli in 0..60_000 {
            let now = START + Duration::from_millis(milli);
            often = often
                .after_response(Duration::from_millis(1), now)
                .unwrap_or(often);
        }
        let last = millis(often, START + Duration::from_secs(60));
        assert!((1.0..1.5).contains(&last), "{last}");
    }

    #[test]
    fn without_traffic_half_is_forgotten_in_each_half_life() {
        let slow = heard(Duration::from_millis(64));
        for (halves, left) in [(0, 64.0), (1, 32.0), (2, 16.0), (6, 1.0)] {
            assert!((millis(slow, after(halves)) - left).abs() < 0.01, "{halves}");
        }
        let between = millis(slow, START + Expected::HALF_LIFE / 2);
        assert!((between / 64.0 - 0.5_f64.sqrt()).abs() < 0.008, "{between}");
        assert_eq!(slow.at(after(200)).latency, Some(Duration::from_nanos(1)));
    }

    #[test]
    fn each_failure_costs_eight_times_and_time_or_success_makes_up_for_it() {
        let mut word = heard(Duration::from_millis(8));
        for penalty in [8, 64, 512, 4_096, 32_768, 32_768] {
            word = word.after_failure(START);
            assert_eq!(word.at(START).penalty, penalty);
        }
        assert_eq!(Expected::PENALTY_MAX, 32_768);
        for (halves, penalty) in [(1, 4_096), (2, 512), (5, 1), (9, 1)] {
            assert_eq!(word.at(after(halves)).penalty, penalty);
        }
        for penalty in [4_096, 512, 64, 8, 1] {
            word = word.after_response(Duration::from_millis(8), START).unwrap();
            assert_eq!(word.at(START).penalty, penalty);
        }
        // What it is charged is not what it took.
        assert_eq!(word.at(START).latency, Some(Duration::from_millis(8)));
    }

    #[test]
    fn a_clock_that_lags_behind_or_wraps_changes_nothing() {
        let slow = heard(Duration::from_millis(64));
        assert_eq!(slow.at(START - Duration::from_secs(3)), slow.at(START));
        let edge = MonoTime::from_micros((1 << (TICK_BITS + TICK_SHIFT)) - 1);
        let before = Expectation::NONE
            .after_response(Duration::from_millis(64), edge)
            .unwrap();
        assert!((millis(before, edge + Expected::HALF_LIFE) - 32.0).abs() < 0.5);
    }

    #[test]
    fn any_latency_fits() {
        let never = heard(Duration::MAX).at(START).latency.unwrap();
        assert!(never > Duration::from_secs(274), "{never:?}");
        assert_eq!(
            heard(Duration::ZERO).at(START).latency,
            Some(Duration::from_nanos(1))
        );
    }
}
