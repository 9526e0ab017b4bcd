//! Paths as routes see them, and what a backend gets in their place.

use std::fmt;

/// A path that others begin with, in whole segments: `/api` is a prefix of `/api` and `/api/x`, not of `/apis`. It
/// is compared byte by byte with what a client sends.
#[derive(Clone, PartialEq, Eq, Hash)]
// Without the slash of the root, so that what follows it always begins with one.
pub struct PathPrefix(Box<str>);

/// A text that no path begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PathPrefixError {
    /// It doesn't begin with a slash.
    #[error("a path prefix begins with a slash")]
    Relative,
    /// A byte has no place in a path (RFC 3986 §3.3).
    #[error("a path prefix holds {0:?}, which has no place in a path unless it is written as %XX")]
    Byte(char),
    /// A segment is empty, `.` or `..`.
    #[error("a segment of a path prefix is neither empty nor . nor ..")]
    Segment,
}

impl PathPrefix {
    /// The prefix of every path.
    #[must_use]
    pub fn root() -> Self {
        Self(Box::default())
    }

    /// Reads one such as `/api`. A slash at its end plays no part.
    ///
    /// # Errors
    /// When no path begins with that, or none that is taken, see [`Route`](crate::Route).
    pub fn parse(text: &str) -> Result<Self, PathPrefixError> {
        let Some(path) = text.strip_prefix('/') else {
            return Err(PathPrefixError::Relative);
        };
        if let Some(bad) = text.chars().find(|c| !is_of_path(*c)) {
            return Err(PathPrefixError::Byte(bad));
        }
        if path.is_empty() {
            return Ok(Self::root());
        }
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.split('/').any(str::is_empty) || has_dot_segments(path.as_bytes()) {
            return Err(PathPrefixError::Segment);
        }
        Ok(Self(format!("/{path}").into()))
    }

    /// Whether it is the prefix of every path.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Nothing for the root, and else the text.
    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

/// RFC 3986 §3.3: what a segment is made of, and slashes.
fn is_of_path(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~%!$&'()*+,;=:@/".contains(c)
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(if self.is_root() { "/" } else { &self.0 })
    }
}

impl fmt::Debug for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

/// Whether a backend could take the path for another one than it looks like: a segment of it is `.` or `..`, however
/// the dots and the slashes beside them are written. RFC 3986 §2.3 makes `%2e` a dot; `%2f`, `%5c` and a backslash are
/// separators to servers that decode before they split; and some leave out what a `;` begins before they look.
pub(super) fn has_dot_segments(path: &[u8]) -> bool {
    let mut segment = path;
    loop {
        let (dots, behind) = leading_dots(segment);
        let ends = behind.is_empty() || behind.starts_with(b";") || separator(behind).is_some();
        if ends && (1..=2).contains(&dots) {
            return true;
        }
        segment = match next_segment(behind) {
            Some(next) => next,
            None => return false,
        };
    }
}

/// How many dots a text begins with, and what follows them.
fn leading_dots(mut text: &[u8]) -> (usize, &[u8]) {
    let mut dots = 0;
    loop {
        text = match text {
            [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] => rest,
            _ => return (dots, text),
        };
        dots += 1;
    }
}

/// What follows a separator that the text begins with.
fn separator(text: &[u8]) -> Option<&[u8]> {
    match text {
        [b'/' | b'\\', rest @ ..]
        | [b'%', b'2', b'f' | b'F', rest @ ..]
        | [b'%', b'5', b'c' | b'C', rest @ ..] => Some(rest),
        _ => None,
    }
}

/// What follows the next separator, if there is one.
fn next_segment(mut text: &[u8]) -> Option<&[u8]> {
    loop {
        let at = text.iter().position(|b| matches!(b, b'/' | b'\\' | b'%'))?;
        text = text.get(at..)?;
        if let Some(next) = separator(text) {
            return Some(next);
        }
        text = text.get(1..)?;
    }
}

/// What a backend gets in place of a request's path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rewrite<'t> {
    /// Stands before everything.
    add: &'t str,
    /// So much of the path is replaced, by that.
    replaced: Option<(usize, &'t str)>,
}

impl<'t> Rewrite<'t> {
    /// `path` is the route's, `replacement` what takes its place, and `add` what the app puts before everything. `None`:
    /// the path stays as it is.
    pub(super) fn of(
        path: &'t PathPrefix,
        replacement: Option<&'t PathPrefix>,
        add: &'t PathPrefix,
    ) -> Option<Self> {
        let replacement = replacement.filter(|replacement| *replacement != path);
        (replacement.is_some() || !add.is_root()).then(|| Self {
            add: add.text(),
            replaced: replacement.map(|replacement| (path.text().len(), replacement.text())),
        })
    }

    /// What an app puts before everything, without a route.
    pub(super) fn adding(add: &'t PathPrefix) -> Option<Self> {
        (!add.is_root()).then(|| Self {
            add: add.text(),
            replaced: None,
        })
    }

    /// Gives the parts of the path and query that a backend gets to `put`, in order. `target` is the client's: a path that
    /// begins with a slash and that the route is for, and its query; nothing in place of the path is the root.
    ///
    /// What comes out begins with one slash where the route decides how it begins: two would be a host to whoever
    /// resolves it as a reference (RFC 3986 §4.2), as a redirect to the same path with a slash at its end does.
    pub(crate) fn each(self, target: &str, mut put: impl FnMut(&str)) {
        put(self.add);
        let mut rest = target;
        if let Some((length, replacement)) = self.replaced {
            put(replacement);
            rest = target.get(length..).unwrap_or_default();
            if !replacement.is_empty() {
                return put(rest);
            }
            if rest.starts_with("//") {
                rest = rest.trim_start_matches('/');
            }
        }
        if !rest.starts_with('/') {
            put("/");
        }
        put(rest);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix(text: &str) -> PathPrefix {
        PathPrefix::parse(text).unwrap()
    }

    fn rewritten(path: &str, replacement: Option<&str>, add: &str, target: &str) -> String {
        let (path, replacement, add) = (prefix(path), replacement.map(prefix), prefix(add));
        let mut out = String::new();
        match Rewrite::of(&path, replacement.as_ref(), &add) {
            Some(rewrite) => rewrite.each(target, |part| out.push_str(part)),
            None => out.push_str(target),
        }
        out
    }

    #[test]
    fn a_prefix_is_a_path_without_what_could_be_read_in_two_ways() {
        for (text, shown) in [
            ("/", "/"),
            ("/api", "/api"),
            ("/api/", "/api"),
            ("/a/%61", "/a/%61"),
        ] {
            assert_eq!(prefix(text).to_string(), shown);
        }
        assert_eq!(PathPrefix::parse("api"), Err(PathPrefixError::Relative));
        assert_eq!(PathPrefix::parse(""), Err(PathPrefixError::Relative));
        for bad in ["/a b", "/a?", "/a#", "/\"", "/{", "/\\", "/é"] {
            assert!(
                matches!(PathPrefix::parse(bad), Err(PathPrefixError::Byte(_))),
                "{bad}"
            );
        }
        for bad in ["//", "/a//b", "/.", "/a/..", "/%2e%2E/a", "/a%2f..", "//a"] {
            assert_eq!(PathPrefix::parse(bad), Err(PathPrefixError::Segment), "{bad}");
        }
    }

    #[test]
    fn dots_are_found_however_they_are_written() {
        for path in [
            "/.",
            "/..",
            "/./",
            "/a/../b",
            "/a/..",
            "/%2e",
            "/.%2E/x",
            "/a%2f..",
            "/a%2F..%2fb",
            "/a%5c..\\b",
            "/a\\..",
            "/%2f/..",
            "/%/..",
            "/a/..;/b",
            "/.;x",
            "/%2/%2e%2e",
            "..",
            "/a%5C%2e",
        ] {
            assert!(has_dot_segments(path.as_bytes()), "{path}");
        }
        for path in [
            "",
            "/",
            "/a",
            "/...",
            "/.a",
            "/a.",
            "/a..b",
            "/..a/",
            "/a../b",
            "//",
            "/%2e%2e%2e",
            "/.well-known/x",
            "/a%2fb",
            "/%252e%252e",
            "/%",
            "/%2",
            "/a%2",
            "/..%2",
            "/a%00..",
            "/a;/b",
            "/a;..",
        ] {
            assert!(!has_dot_segments(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn a_rewritten_path_begins_with_one_slash_and_keeps_its_query_and_its_encoding() {
        for (path, replacement, add, target, expected) in [
            ("/api", Some("/v1"), "/", "/api/x?q=/api", "/v1/x?q=/api"),
            ("/api", Some("/v1"), "/", "/api", "/v1"),
            ("/api", Some("/v1"), "/", "/api?q", "/v1?q"),
            ("/api", Some("/v1"), "/", "/api/", "/v1/"),
            ("/api", Some("/"), "/", "/api", "/"),
            ("/api", Some("/"), "/", "/api?q", "/?q"),
            ("/api", Some("/"), "/", "/api/%61%2Fb;c", "/%61%2Fb;c"),
            ("/api", Some("/"), "/", "/api//evil.example/x", "/evil.example/x"),
            ("/api", Some("/v1"), "/", "/api//x", "/v1//x"),
            ("/api", Some("/"), "/base", "/api", "/base/"),
            ("/api", Some("/v1"), "/base", "/api/x", "/base/v1/x"),
            ("/", Some("/v1"), "/", "/x", "/v1/x"),
            ("/", Some("/v1"), "/", "/", "/v1/"),
            ("/", None, "/base", "/", "/base/"),
            ("/", None, "/base", "/x?y", "/base/x?y"),
            ("/", None, "/base", "?y", "/base/?y"),
            ("/", Some("/v1"), "/", "/?y", "/v1/?y"),
            ("/api", Some("/api"), "/", "/api//x", "/api//x"),
            ("/", None, "/", "//x", "//x"),
        ] {
            assert_eq!(rewritten(path, replacement, add, target), expected, "{target}");
        }
    }

    proptest! {
        #[test]
        fn a_replaced_prefix_is_never_escaped_and_the_path_never_ambiguous(
            rest in "(/[a./%2efF5cC\\\\]{0,6}){0,4}", query in "(\\?[a-z/.]{0,5})?",
            replacement in prop_oneof![Just("/"), Just("/v1"), Just("/v1/w")],
            add in prop_oneof![Just("/"), Just("/base")],
        ) {
            let target = format!("/api{rest}{query}");
            let path = target.split('?').next().unwrap();
            prop_assume!(!has_dot_segments(path.as_bytes()));
            let out = rewritten("/api", Some(replacement), add, &target);
            prop_assert!(out.starts_with('/') && !out.starts_with("//"), "{out}");
            let front = format!("{}{}", prefix(add).text(), prefix(replacement).text());
            prop_assert!(out.starts_with(&front), "{out}");
            prop_assert!(out.ends_with(&query), "{out}");
            let path = out.strip_suffix(query.as_str()).unwrap();
            prop_assert!(!has_dot_segments(path.as_bytes()), "{out}");
        }

        #[test]
        fn dots_are_found_as_a_decoder_finds_them(path in "(/|\\\\|%2f|%5C|\\.|%2e|%2E|a|%){0,12}") {
            let decoded = path
                .replace("%2f", "/").replace("%5C", "/").replace('\\', "/").replace("%2e", ".").replace("%2E", ".");
            // What is left of a percent sign may have become part of another code, which a single decoding doesn't see.
            prop_assume!(!decoded.contains('%') || !path.contains("%%"));
            let naive = decoded.split('/').any(|segment| segment == "." || segment == "..");
            prop_assert_eq!(has_dot_segments(path.as_bytes()), naive, "{}", path);
        }
    }
}
