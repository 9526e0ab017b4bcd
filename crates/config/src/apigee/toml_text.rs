//! Pieces of `edgeproxy.toml`, whatever a stranger's file has put into them.

use std::fmt::{Display, Write};

/// `key = value`.
pub(super) fn line(key: &str, value: impl Display) -> String {
    format!("{key} = {value}")
}

/// A basic string (TOML 1.0, *String*).
pub(super) fn string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            // Writing to a text never fails.
            c if c.is_control() => drop(write!(quoted, "\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// An inline table of texts.
pub(super) fn pairs(pairs: &[(String, String)]) -> String {
    let inside: Vec<String> = pairs
        .iter()
        .map(|(key, value)| format!("{} = {}", self::key(key), string(value)))
        .collect();
    format!("{{ {} }}", inside.join(", "))
}

/// A key, or a part of a table's header: `[apps.NAME]`.
pub(super) fn key(name: &str) -> String {
    let bare = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if bare && !name.is_empty() {
        name.to_owned()
    } else {
        string(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_text_is_put_in_comes_out_again() {
        for text in [
            "",
            "a\"b\\c",
            "\u{0}\u{7f}\r\n\t\u{85}",
            "é\u{1f600}",
            "'''\"\"\"",
        ] {
            let document = format!("[{}]\nk = {}\n", key("a.b"), string(text));
            let table: toml::Table = document.parse().unwrap();
            assert_eq!(table["a.b"]["k"].as_str(), Some(text));
        }
        assert_eq!((key("shop-1"), key("")), ("shop-1".to_owned(), "\"\"".to_owned()));
    }
}
