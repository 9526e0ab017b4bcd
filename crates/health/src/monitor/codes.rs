use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use http::StatusCode;

use super::error::{Problem, SettingError, excerpt};

const FIELD: &str = "http.success_codes";
const FIRST: u16 = 200;
const LAST: u16 = 599;
const WORDS: usize = 7;

/// The status codes that a probe passes with: at least one of 200–599. A 1xx response is never the last
/// one of an exchange, so no probe could end with it.
///
/// One bit for each code: it can't grow, and asking it costs a shift.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StatusCodes([u64; WORDS]);

impl StatusCodes {
    /// 200 alone.
    pub const OK: Self = {
        let mut words = [0; WORDS];
        words[0] = 1;
        Self(words)
    };

    /// The codes of every range.
    ///
    /// # Errors
    /// When there is none, or one goes beyond 200–599 or runs backwards.
    pub fn new(ranges: impl IntoIterator<Item = RangeInclusive<u16>>) -> Result<Self, SettingError> {
        let mut words = [0; WORDS];
        for range in ranges {
            let (first, last) = (*range.start(), *range.end());
            if first < FIRST || last > LAST || first > last {
                let found = if first == last {
                    first.to_string()
                } else {
                    format!("{first}-{last}")
                };
                return Err(Problem::StatusCode { found }.of(FIELD));
            }
            for code in first..=last {
                let (word, bit) = position(code);
                words[word] |= bit;
            }
        }
        if words == [0; WORDS] {
            return Err(Problem::NoStatusCode.of(FIELD));
        }
        Ok(Self(words))
    }

    /// Whether a response with this code passes.
    #[must_use]
    pub fn contains(&self, code: StatusCode) -> bool {
        self.has(code.as_u16())
    }

    fn has(&self, code: u16) -> bool {
        if !(FIRST..=LAST).contains(&code) {
            return false;
        }
        let (word, bit) = position(code);
        self.0[word] & bit != 0
    }
}

/// Where the bit of a code within the bounds is.
fn position(code: u16) -> (usize, u64) {
    let index = code - FIRST;
    (usize::from(index / 64), 1 << (index % 64))
}

impl Default for StatusCodes {
    fn default() -> Self {
        Self::OK
    }
}

impl FromStr for StatusCodes {
    type Err = SettingError;

    /// Reads codes and ranges with commas between them, such as `200, 204, 300-399`.
    fn from_str(text: &str) -> Result<Self, SettingError> {
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            match (code(first.trim()), code(last.trim())) {
                (Some(first), Some(last)) => Ok(first..=last),
                _ => Err(Problem::StatusCode {
                    found: excerpt(part.trim()),
                }
                .of(FIELD)),
            }
        };
        if text.trim().is_empty() {
            return Err(Problem::NoStatusCode.of(FIELD));
        }
        let ranges: Result<Vec<_>, _> = text.split(',').map(range).collect();
        Self::new(ranges?)
    }
}

/// `u16::from_str` takes "+200", which is no code.
fn code(text: &str) -> Option<u16> {
    let digits = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

impl fmt::Display for StatusCodes {
    /// Writes what [`FromStr`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut next = FIRST;
        while let Some(first) = (next..=LAST).find(|code| self.has(*code)) {
            let last = (first..=LAST)
                .take_while(|code| self.has(*code))
                .last()
                .unwrap_or(first);
            write!(f, "{separator}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
            separator = ",";
            next = last + 1;
        }
        Ok(())
    }
}

impl fmt::Debug for StatusCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
