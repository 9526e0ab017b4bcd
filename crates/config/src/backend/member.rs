//! A member of a backend's table, and what is said of one that breaks its rule: word for word what the API says.

use std::ops::{Range, RangeInclusive};

use toml::de::{DeTable, DeValue};

use crate::table::Table;

/// A backend's table on its way to a backend.
pub(super) struct Members<'r, 'd, 'v> {
    pub(super) table: Table<'r, 'd>,
    pub(super) keys: &'v DeTable<'v>,
}

impl Members<'_, '_, '_> {
    pub(super) fn is_given(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// Where a member's value stands.
    pub(super) fn value_span(&self, key: &str) -> Range<usize> {
        self.keys
            .get(key)
            .map_or_else(|| self.table.at.clone(), toml::Spanned::span)
    }

    /// Reads a member that may be missing. `None` as well when it is bad, which is told.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.keys.get(key)?;
        match read(value.get_ref()) {
            Ok(found) => Some(found),
            Err(problem) => {
                self.refuse_as(key, key, &problem);
                None
            }
        }
    }

    /// Reads a member that must be there.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        if !self.is_given(key) {
            let message = format!("{} is required", self.table.subject(key));
            let help = format!("add `{key} = {example}`");
            self.table.problem(&self.table.at.clone(), message, Some(help));
            return None;
        }
        self.optional(key, read)
    }

    /// Tells what is wrong with the member `name`, at the place of `key`.
    pub(super) fn refuse_as(&mut self, key: &str, name: &str, problem: &str) {
        let (span, message) = (
            self.value_span(key),
            format!("{} {problem}", self.table.subject(name)),
        );
        self.table.problem(&span, message, None);
    }
}

/// The beginning of a text: a message must not repeat a megabyte.
pub(super) fn excerpt(text: &str) -> &str {
    let end = text.char_indices().nth(64).map_or(text.len(), |(end, _)| end);
    &text[..end]
}

/// A text.
pub(super) fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, String> {
    value
        .as_str()
        .ok_or_else(|| format!("is {}; expected a string", describe(value)))
}

/// `true` or `false`.
pub(super) fn flag(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| {
        let quotes = if matches!(value.as_str(), Some("true" | "false")) {
            ", without quotes"
        } else {
            ""
        };
        format!("is {}; expected true or false{quotes}", describe(value))
    })
}

/// A whole number within `range`.
pub(super) fn whole(value: &DeValue<'_>, range: RangeInclusive<u64>) -> Result<u64, String> {
    let number = value
        .as_integer()
        .and_then(|integer| u64::from_str_radix(integer.as_str(), integer.radix()).ok());
    number.filter(|number| range.contains(number)).ok_or_else(|| {
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
pub(super) fn whole_u32(value: &DeValue<'_>) -> Result<u32, String> {
    // The range makes the conversion exact.
    whole(value, 0..=u64::from(u32::MAX)).map(|number| u32::try_from(number).unwrap_or(u32::MAX))
}

/// What was found, with its article and without its length.
pub(super) fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the string {:?}", excerpt(text)),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
