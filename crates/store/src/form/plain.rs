use std::borrow::Cow;
use std::str::FromStr;

/// JSON whose members come in one order, without spaces and without escapes.
pub(super) struct Plain<'a> {
    rest: &'a str,
}

impl<'a> Plain<'a> {
    pub(super) fn of(json: &'a [u8]) -> Option<Self> {
        let rest = std::str::from_utf8(json).ok()?;
        Some(Self { rest })
    }

    /// A text without escapes, after `before`.
    pub(super) fn text(&mut self, before: &str) -> Option<Cow<'a, str>> {
        let text = self.rest.strip_prefix(before)?.strip_prefix('"')?;
        let end = text
            .bytes()
            .position(|byte| byte == b'"' || byte == b'\\' || byte < b' ')?;
        let (text, rest) = text.split_at_checked(end)?;
        self.rest = rest.strip_prefix('"')?;
        Some(text.into())
    }

    /// A whole number as JSON spells it, after `before`.
    pub(super) fn number<T: FromStr>(&mut self, before: &str) -> Option<T> {
        let number = self.rest.strip_prefix(before)?;
        let end = number.bytes().position(|byte| !byte.is_ascii_digit())?;
        let (digits, rest) = number.split_at_checked(end)?;
        if digits.len() > 1 && digits.starts_with('0') {
            return None;
        }
        // What a fraction or an exponent begins with is none of what comes next.
        self.rest = rest;
        digits.parse().ok()
    }

    /// Whether this is all that is left.
    pub(super) fn is_at(&self, end: &str) -> bool {
        self.rest == end
    }
}
