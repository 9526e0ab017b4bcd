use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment, in seconds since 1970, UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UnixSecs(pub u64);

/// A text is no moment.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{found:?}; expected a date, or a date and a time in UTC: 2027-01-31 or 2027-01-31T12:00:00Z")]
pub struct UnixSecsError {
    /// The beginning of what was found.
    pub found: String,
}

impl UnixSecs {
    /// A moment of the system's clock.
    #[must_use]
    pub fn of(time: SystemTime) -> Self {
        Self(time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }
}

/// A date is its beginning.
impl FromStr for UnixSecs {
    type Err = UnixSecsError;

    fn from_str(text: &str) -> Result<Self, UnixSecsError> {
        let date = text.len() == "2027-01-31".len();
        let whole = if date {
            format!("{text}T00:00:00Z")
        } else {
            text.to_owned()
        };
        humantime::parse_rfc3339(&whole)
            .map(Self::of)
            .map_err(|_| UnixSecsError {
                found: text.chars().take(40).collect(),
            })
    }
}

impl fmt::Display for UnixSecs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// The end of the year 9999, beyond which nothing can be written.
        const LAST: u64 = 253_402_300_799;
        let time = UNIX_EPOCH + Duration::from_secs(self.0.min(LAST));
        write!(f, "{}", humantime::format_rfc3339_seconds(time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_its_beginning_and_times_are_utc() {
        let of = |text: &str| text.parse::<UnixSecs>();
        assert_eq!(of("1970-01-02"), Ok(UnixSecs(86_400)));
        assert_eq!(
            of("2027-01-31T12:00:00Z").unwrap().to_string(),
            "2027-01-31T12:00:00Z"
        );
        for bad in [
            "",
            "tomorrow",
            "2027-13-01",
            "2027-01-31T12:00:00+02:00",
            "2027-01-31 12:00",
            "31.01.2027",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
        assert_eq!(UnixSecs(u64::MAX).to_string(), "9999-12-31T23:59:59Z");
    }
}
