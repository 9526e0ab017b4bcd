//! Paths of requests, and names that they are sent to.

use std::fmt;

use crate::policy::HeaderName;
use crate::value::{FromValue, Mismatch, Value};

/// A path that others begin with, in whole segments: `/api` is a prefix of `/api` and `/api/x`, not of `/apis`.
/// Without a slash at its end, unless it is `/`, the prefix of every path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PathPrefix(Box<str>);

impl PathPrefix {
    pub(crate) const EXPECTED: &'static str = "a path, such as \"/api\"";
    const LONGEST: usize = 2_048;

    /// The prefix of every path.
    #[must_use]
    pub fn root() -> Self {
        Self("/".into())
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether that path, or every path that begins with that prefix, begins with this one.
    #[must_use]
    pub fn covers(&self, path: &str) -> bool {
        if &*self.0 == "/" {
            return path.starts_with('/');
        }
        path.strip_prefix(&*self.0)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn parse(text: &str) -> Result<Self, Mismatch> {
        let refused = |help: &str| Err(Mismatch::text(text).help(help));
        if let Some((_, rest)) = text.split_once("://") {
            let path = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/");
            return Err(Mismatch::text(text).help(format!("only the path: write {path:?}")));
        }
        if text.contains('*') {
            return refused("it is a prefix already: leave the * out");
        }
        if !text.starts_with('/') {
            return Err(Mismatch::text(text).help(format!("a path begins with a slash: write \"/{text}\"")));
        }
        if text.contains(['?', '#']) {
            return refused("only the path: leave out the query, from ? or # on");
        }
        if text.len() > Self::LONGEST || !text.bytes().all(is_of_path) {
            return refused(
                "at most 2048 letters, digits and characters of paths; others are written as %XX",
            );
        }
        let path = text.strip_suffix('/').unwrap_or(text);
        // However the dots are written, and whatever a server takes for a separator (see the data plane's PathPrefix).
        let plain = path.to_ascii_lowercase().replace("%2e", ".");
        let plain = plain.replace("%2f", "/").replace("%5c", "/").replace(';', "/;");
        let is_dots = |segment: &str| matches!(segment, "." | "..");
        if plain.split('/').any(is_dots) || path.split('/').skip(1).any(str::is_empty) {
            return refused("a segment is neither empty nor . nor ..");
        }
        Ok(if path.is_empty() {
            Self::root()
        } else {
            Self(path.into())
        })
    }
}

/// RFC 3986 §3.3: what a segment is made of, and slashes.
fn is_of_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@/".contains(&byte)
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromValue for PathPrefix {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        Self::parse(value.as_text()?)
    }
}

/// Fields with a value each.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Headers(pub(crate) Vec<(HeaderName, String)>);

impl Headers {
    const MOST: usize = 32;
    const LONGEST_VALUE: usize = 4_096;
}

impl FromValue for Headers {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let Value::Pairs(pairs) = value else {
            return Err(value.unfit());
        };
        if pairs.len() > Self::MOST {
            let found = Mismatch::new(format!("{} fields", pairs.len()));
            return Err(found.help(format!("at most {} can be listed", Self::MOST)));
        }
        let mut headers: Vec<(HeaderName, String)> = Vec::with_capacity(pairs.len());
        for (index, (name, value)) in pairs.iter().enumerate() {
            let name = HeaderName::parse(name).map_err(|mismatch| mismatch.item(index))?;
            if headers.iter().any(|(other, _)| *other == name) {
                let help = "it comes twice, since the case of a name plays no part: keep one";
                return Err(Mismatch::text(name.as_str()).help(help).item(index));
            }
            // RFC 9110 §5.5, without what no proxy would pass on unchanged.
            let plain = value.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
            if !plain || value.trim() != value || value.len() > Self::LONGEST_VALUE {
                let help = "a value is visible ASCII with spaces between, at most 4096 characters";
                return Err(Mismatch::text(value).help(help).item(index));
            }
            headers.push((name, value.clone()));
        }
        Ok(Self(headers))
    }
}
