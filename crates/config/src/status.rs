use std::ops::RangeInclusive;

use crate::value::{FromValue, Mismatch, Value};

/// Statuses of responses, from 200 to 599.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StatusCodes(Vec<RangeInclusive<u16>>);

impl StatusCodes {
    /// As they were written, in order.
    #[must_use]
    pub fn ranges(&self) -> &[RangeInclusive<u16>] {
        &self.0
    }

    /// Whether that status is one of them.
    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }

    const MAX_LISTED: usize = 64;

    pub(crate) fn ok() -> Self {
        Self(vec![200..=200])
    }
}

impl FromValue for StatusCodes {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let Value::List(items) = value else {
            return Err(value.unfit());
        };
        if items.len() > Self::MAX_LISTED {
            let found = Mismatch::new(format!("{} statuses", items.len()));
            return Err(found.help(format!("at most {} can be listed", Self::MAX_LISTED)));
        }
        let code = |text: &str| text.parse().ok().filter(|code| (200..=599).contains(code));
        let range = |(index, item): (usize, &String)| {
            let (first, last) = item.split_once('-').unwrap_or((item, item));
            match (code(first), code(last)) {
                (Some(first), Some(last)) if first <= last => Ok(first..=last),
                _ if item.len() == 3 && item.ends_with("xx") => {
                    let digit = item.chars().next().unwrap_or('5');
                    let help = format!("write \"{digit}00-{digit}99\"");
                    Err(Mismatch::text(item).help(help).item(index))
                }
                _ => Err(Mismatch::new(item.chars().take(32).collect::<String>()).item(index)),
            }
        };
        items
            .iter()
            .enumerate()
            .map(range)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_numbers_and_ranges() {
        let read = |items: &[&str]| {
            StatusCodes::from_value(&Value::List(
                items.iter().map(|item| (*item).to_owned()).collect(),
            ))
        };
        let codes = read(&["404", "500-503"]).unwrap();
        assert!(codes.contains(404) && codes.contains(500) && codes.contains(503));
        assert!(!codes.contains(405) && !codes.contains(504));
        for (bad, help) in [
            ("4xx", Some("write \"400-499\"")),
            ("503-500", None),
            ("199", None),
            ("600", None),
            ("500-", None),
        ] {
            let mismatch = read(&["500", bad]).unwrap_err();
            assert_eq!(
                (mismatch.item, mismatch.help.as_deref()),
                (Some(1), help),
                "{bad}"
            );
        }
        assert!(read(&vec!["500"; 65]).is_err());
    }
}
