//! Reads a JSON object member by member and collects everything that is wrong with it, so that its author
//! has to mend it once and not once for every field.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::extract::json::Text;
use crate::problem::Problems;

/// The members of one JSON object, and what was found wrong with them so far.
#[derive(Debug)]
pub(crate) struct Fields {
    members: Map<String, Value>,
    pub(crate) problems: Problems,
}

/// Warnings in one reply; what is beyond is counted.
const MOST_WARNINGS: usize = 16;

impl Fields {
    /// The members of `text`.
    ///
    /// # Errors
    /// When it is not an object.
    pub(crate) fn of(text: Text) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let Value::Object(members) = text.value else {
            problems.refuse(
                "",
                format!("the body is {}; expected an object", describe(&text.value)),
            );
            return Err(problems);
        };
        for path in text.duplicates {
            problems.refuse(path, "comes twice; give it once");
        }
        Ok(Self { members, problems })
    }

    /// Whether the member is there and not `null`.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.members.get(name).is_some_and(|value| !value.is_null())
    }

    /// Reads a member that may be missing, or `null`, which says the same: many languages write an
    /// absent value so. `None` as well when it is bad, which is noted.
    pub(crate) fn optional<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.members.get(name).filter(|value| !value.is_null())?;
        self.take(name, read(value))
    }

    /// Reads a member that must be there.
    pub(crate) fn required<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.members.get(name).unwrap_or(&Value::Null);
        let result = if value.is_null() {
            Err("is required".to_owned())
        } else {
            read(value)
        };
        self.take(name, result)
    }

    /// Reads a member where `null` has a meaning of its own: `None` is missing or bad, `Some(None)` is
    /// `null`.
    pub(crate) fn nullable<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<Option<T>> {
        match self.members.get(name)? {
            Value::Null => Some(None),
            value => self.take(name, read(value)).map(Some),
        }
    }

    /// The members that are not among `known`.
    pub(crate) fn unknown<'a>(&'a self, known: &'a [&str]) -> impl Iterator<Item = &'a str> {
        self.members
            .keys()
            .map(String::as_str)
            .filter(|name| !known.contains(name))
    }

    /// A sentence for each member that is not among `known`, bounded.
    pub(crate) fn warnings(&self, known: &[&str]) -> Vec<String> {
        let mut warnings: Vec<String> = self
            .unknown(known)
            .take(MOST_WARNINGS)
            .map(|name| format!("unknown member {:?}{}", excerpt(name), did_you_mean(name, known)))
            .collect();
        let more = self.unknown(known).count().saturating_sub(MOST_WARNINGS);
        if more > 0 {
            warnings.push(format!("{more} more unknown members"));
        }
        warnings
    }

    fn take<T>(&mut self, name: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|problem| self.problems.refuse(name, problem)).ok()
    }
}

/// `; did you mean "weight"?`, or nothing where no name is near.
pub(crate) fn did_you_mean(found: &str, known: &[&str]) -> String {
    if found.len() > LONGEST_NAME {
        return String::new();
    }
    let plain = |name: &str| name.to_lowercase().replace(['_', '-', ' '], "");
    let found = plain(found);
    let nearest = known
        .iter()
        .map(|name| (strsim::osa_distance(&found, &plain(name)), name))
        .filter(|(distance, name)| *distance <= name.len() / 3)
        .min();
    nearest.map_or_else(String::new, |(_, name)| format!("; did you mean {name:?}?"))
}

/// Longer than twice any known name: not worth a comparison.
const LONGEST_NAME: usize = 32;

/// The beginning of a text that someone sent: a reply must not repeat a megabyte.
pub(crate) fn excerpt(text: &str) -> &str {
    let end = text.char_indices().nth(64).map_or(text.len(), |(end, _)| end);
    &text[..end]
}

/// A text.
pub(crate) fn text(value: &Value) -> Result<&str, String> {
    value
        .as_str()
        .ok_or_else(|| format!("is {}; expected a string", describe(value)))
}

/// `true` or `false`.
pub(crate) fn flag(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| {
        let quotes = if matches!(value.as_str(), Some("true" | "false")) {
            ", without quotes"
        } else {
            ""
        };
        format!("is {}; expected true or false{quotes}", describe(value))
    })
}

/// A whole number within `range`. `8080.0` is one: JSON has one kind of number (RFC 8259 §6), and some
/// languages write every number so.
pub(crate) fn whole(value: &Value, range: RangeInclusive<u64>) -> Result<u64, String> {
    value
        .as_u64()
        .or_else(|| whole_float(value))
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            let numeric = value.as_str().is_some_and(|text| text.parse::<f64>().is_ok());
            let quotes = if numeric { ", without quotes" } else { "" };
            format!(
                "is {}; expected a whole number between {} and {}{quotes}",
                describe(value),
                range.start(),
                range.end()
            )
        })
}

/// As [`whole`], for limits of 32 bits.
pub(crate) fn whole_u32(value: &Value) -> Result<u32, String> {
    // The range makes the conversion exact.
    whole(value, 0..=u64::from(u32::MAX)).map(|number| u32::try_from(number).unwrap_or(u32::MAX))
}

fn whole_float(value: &Value) -> Option<u64> {
    /// Beyond it an f64 skips whole numbers.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let number = value
        .as_f64()
        .filter(|number| (0.0..=EXACT).contains(number) && number.fract() == 0.0)?;
    // Within the range checked above the conversion is exact.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Some(number as u64)
}

/// A share between 0.0 and 1.0, in permille.
pub(crate) fn permille(value: &Value) -> Result<u16, String> {
    let share = value.as_f64().filter(|share| (0.0..=1.0).contains(share));
    let share =
        share.ok_or_else(|| format!("is {}; expected a number between 0.0 and 1.0", describe(value)))?;
    // At most 1000.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Ok((share * 1_000.0).round() as u16)
}

/// What was found, with its article and without its length.
pub(crate) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("the string {:?}", excerpt(text)),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

#[cfg(test)]
mod tests;
