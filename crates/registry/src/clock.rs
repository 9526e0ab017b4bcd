//! Time without the pauses of the process.

use std::ops::Add;
use std::time::Duration;

use edgeproxy_backend::MonoTime;

/// A point in active time: the time that has passed less every pause of the process. Every deadline is
/// kept in it, so that a pause extends a million leases by one addition. A type of its own, because a mix
/// with [`MonoTime`] would be right until the first pause.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(crate) struct Active(MonoTime);

impl Active {
    pub(crate) const ZERO: Self = Self(MonoTime::ZERO);
    pub(crate) const NEVER: Self = Self(MonoTime::NEVER);
    /// The last that comes.
    pub(crate) const LAST: Self = Self(MonoTime::from_micros(u64::MAX - 1));

    /// How long after `earlier` this is; zero when it is not after it.
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        self.0.since(earlier.0)
    }
}

impl Add<Duration> for Active {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0 + duration)
    }
}

impl From<Active> for MonoTime {
    fn from(at: Active) -> Self {
        at.0
    }
}

/// What was once handed out comes back.
impl From<MonoTime> for Active {
    fn from(at: MonoTime) -> Self {
        Self(at)
    }
}

/// Turns the caller's time into active time.
#[derive(Debug)]
pub(crate) struct Clock {
    last: MonoTime,
    paused: Duration,
    tick: Duration,
    patience: Duration,
    stands: bool,
}

impl Clock {
    pub(crate) fn new(now: MonoTime, tick: Duration, tolerance: Duration) -> Self {
        Self {
            last: now,
            paused: Duration::ZERO,
            tick,
            patience: tick.saturating_add(tolerance),
            stands: false,
        }
    }

    /// Moves on to `now` and says whether there was a pause of the process before it. An earlier time stands still.
    pub(crate) fn advance(&mut self, now: MonoTime, watched: bool) -> bool {
        let gap = now.since(self.last);
        let pause = self.is_pause(gap, watched);
        if pause || self.stands {
            self.paused += gap;
        }
        self.last = self.last.max(now);
        pause && !self.stands
    }

    /// From the time of the last call on no active time passes, however often that moves on.
    pub(crate) const fn stand(&mut self) {
        self.stands = true;
    }

    /// From the time of the last call on it passes again.
    pub(crate) const fn go_on(&mut self) {
        self.stands = false;
    }

    /// The active time of the last call.
    pub(crate) fn now(&self) -> Active {
        Active(self.last - self.paused)
    }

    /// The active time that [`Self::advance`] would arrive at.
    pub(crate) fn preview(&self, now: MonoTime, watched: bool) -> Active {
        let gap = now.since(self.last);
        if self.stands || self.is_pause(gap, watched) {
            self.now()
        } else {
            self.now() + gap
        }
    }

    /// When the caller's clock will show `at`, if no pause comes between.
    pub(crate) fn real(&self, at: Active) -> MonoTime {
        at.0 + self.paused
    }

    /// The time of the last call.
    pub(crate) const fn last(&self) -> MonoTime {
        self.last
    }

    /// When the next call is due, lest the silence count as a pause.
    pub(crate) fn next_tick(&self) -> MonoTime {
        self.last + self.tick
    }

    fn is_pause(&self, gap: Duration, watched: bool) -> bool {
        watched && gap > self.patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: Duration = Duration::from_secs(1);

    fn at(secs: u64) -> MonoTime {
        MonoTime::from_secs(secs)
    }

    #[test]
    fn a_silence_within_the_tolerance_is_no_pause() {
        let mut clock = Clock::new(at(10), SEC, SEC);
        assert!(!clock.advance(at(12), true));
        assert_eq!(clock.now(), Active(at(12)));
    }

    #[test]
    fn a_pause_stands_still_in_active_time() {
        let mut clock = Clock::new(at(10), SEC, SEC);
        let deadline = clock.now() + 5 * SEC;
        let wake = at(12) + Duration::from_micros(1);
        assert_eq!(clock.preview(wake, true), Active(at(10)));
        assert!(clock.advance(wake, true));
        assert_eq!(clock.now(), Active(at(10)));
        assert_eq!(clock.real(deadline), wake + 5 * SEC);
    }

    #[test]
    fn while_it_stands_no_active_time_passes_and_a_silence_counts_once() {
        let mut clock = Clock::new(at(10), SEC, SEC);
        let deadline = clock.now() + 5 * SEC;
        clock.stand();
        for now in [11, 12, 60, 61] {
            assert_eq!(clock.preview(at(now), true), Active(at(10)));
            assert!(!clock.advance(at(now), true));
            assert_eq!(clock.now(), Active(at(10)));
        }
        clock.go_on();
        assert_eq!(clock.real(deadline), at(61 + 5));
        assert!(!clock.advance(at(62), true));
        assert_eq!(clock.now(), Active(at(11)));
    }

    #[test]
    fn without_leases_a_silence_is_just_time() {
        let mut clock = Clock::new(at(0), SEC, SEC);
        assert!(!clock.advance(at(1_000), false));
        assert_eq!(clock.now(), Active(at(1_000)));
    }

    #[test]
    fn time_that_goes_backwards_stands_still() {
        let mut clock = Clock::new(at(10), SEC, SEC);
        assert!(!clock.advance(at(3), true));
        assert_eq!((clock.last(), clock.now()), (at(10), Active(at(10))));
    }
}
