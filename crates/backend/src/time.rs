use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in monotonic time: microseconds since an origin that the caller chose.
///
/// The pure crates hold no clock. Whoever drives them reads one and passes the reading in, so a test can
/// run a day in a millisecond and a wall-clock jump changes nothing. Eight bytes instead of the sixteen
/// of [`std::time::Instant`], which matters where a million leases hold one each. It spans 584,000 years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MonoTime(u64);

impl MonoTime {
    /// The origin.
    pub const ZERO: Self = Self(0);
    /// Later than every time that a clock will ever show.
    pub const NEVER: Self = Self(u64::MAX);

    /// The time `micros` microseconds after the origin.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The time `secs` seconds after the origin.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since the origin.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Add<Duration> for MonoTime {
    type Output = Self;

    /// Saturates at [`MonoTime::NEVER`].
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }
}

impl Sub<Duration> for MonoTime {
    type Output = Self;

    /// Saturates at [`MonoTime::ZERO`].
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(micros(duration)))
    }
}

impl fmt::Debug for MonoTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NEVER {
            return f.write_str("never");
        }
        write!(f, "{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(MonoTime::ZERO - Duration::from_secs(1), MonoTime::ZERO);
        assert_eq!(MonoTime::NEVER + Duration::from_secs(1), MonoTime::NEVER);
        assert_eq!(
            MonoTime::from_secs(1).since(MonoTime::from_secs(2)),
            Duration::ZERO
        );
        assert_eq!(format!("{:?}", MonoTime::from_micros(1_500_000)), "1.500000s");
    }
}
