use std::fmt;

/// A share of traffic relative to the other backends of an app: 0–1000, 0 takes no new traffic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u16);

/// A weight above [`Weight::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is {found}; a weight is between 0 and 1000")]
pub struct WeightError {
    /// The number found.
    pub found: u64,
}

impl Weight {
    /// What a backend gets that doesn't say.
    pub const DEFAULT: Self = Self(2);
    /// Takes no new traffic.
    pub const ZERO: Self = Self(0);
    /// The largest weight.
    pub const MAX: Self = Self(1000);

    /// A weight of `value`.
    ///
    /// # Errors
    /// When `value` is above 1000.
    pub const fn new(value: u64) -> Result<Self, WeightError> {
        if value > Self::MAX.0 as u64 {
            return Err(WeightError { found: value });
        }
        // Checked above: at most 1000.
        #[allow(clippy::cast_possible_truncation)]
        Ok(Self(value as u16))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Debug for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// How many requests a backend takes at a time. 0 stands for no limit in both.
///
/// Below `soft` it is comfortable; between `soft` and `hard` it is used only when its whole tier is; at
/// `hard` never.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Limits {
    soft: u32,
    hard: u32,
}

/// Two limits that contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("hard_limit {hard} is below soft_limit {soft}; raise it to {soft} or more, or use 0 for no limit")]
pub struct LimitsError {
    /// The soft limit found.
    pub soft: u32,
    /// The hard limit found.
    pub hard: u32,
}

impl Limits {
    /// What a backend gets that doesn't say: comfortable to 100, never above 150.
    pub const DEFAULT: Self = Self { soft: 100, hard: 150 };
    /// No limit.
    pub const NONE: Self = Self { soft: 0, hard: 0 };

    /// Limits of `soft` and `hard` concurrent requests; 0 means none.
    ///
    /// # Errors
    /// When both are given and `hard` is below `soft`.
    pub const fn new(soft: u32, hard: u32) -> Result<Self, LimitsError> {
        if hard != 0 && hard < soft {
            return Err(LimitsError { soft, hard });
        }
        Ok(Self { soft, hard })
    }

    /// The soft limit; 0 is none.
    #[must_use]
    pub const fn soft(self) -> u32 {
        self.soft
    }

    /// The hard limit; 0 is none.
    #[must_use]
    pub const fn hard(self) -> u32 {
        self.hard
    }

    /// Whether a backend with `in_flight` requests is still comfortable: never at its hard limit, even without a soft one.
    #[must_use]
    pub const fn below_soft(self, in_flight: u32) -> bool {
        if self.soft == 0 {
            self.below_hard(in_flight)
        } else {
            in_flight < self.soft
        }
    }

    /// Whether a backend with `in_flight` requests may take another.
    #[must_use]
    pub const fn below_hard(self, in_flight: u32) -> bool {
        self.hard == 0 || in_flight < self.hard
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Weight {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_at_most_1000() {
        assert_eq!(Weight::new(1000).unwrap(), Weight::MAX);
        assert_eq!(Weight::new(1001), Err(WeightError { found: 1001 }));
        assert_eq!(Weight::new(u64::MAX).unwrap_err().found, u64::MAX);
    }

    #[test]
    fn zero_means_no_limit_and_hard_may_not_be_below_soft() {
        assert!(Limits::new(100, 0).is_ok());
        assert!(Limits::new(0, 1).is_ok());
        assert!(Limits::new(2, 1).is_err());
        assert!(Limits::NONE.below_soft(u32::MAX) && Limits::NONE.below_hard(u32::MAX));
        let limits = Limits::new(2, 3).unwrap();
        assert!(limits.below_soft(1) && !limits.below_soft(2));
        assert!(limits.below_hard(2) && !limits.below_hard(3));
    }

    #[test]
    fn without_a_soft_limit_the_hard_one_ends_comfort() {
        let limits = Limits::new(0, 3).unwrap();
        assert!(limits.below_soft(2) && !limits.below_soft(3));
    }
}
