use std::fmt;
use std::sync::Arc;

/// What a proxy is called among those that share a store: 1–63 of `A–Z a–z 0–9 . _ -`. No two that run have the same.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProxyName(Arc<str>);

/// Why a text is no name of a proxy.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{found:?} is not a proxy's name: 1 to 63 of A-Z a-z 0-9 . _ -")]
pub struct ProxyNameError {
    /// The text, cut to 64 characters.
    pub found: String,
}

impl ProxyName {
    /// The longest name, in characters.
    pub const MAX_LEN: usize = 63;

    /// Reads a name.
    ///
    /// # Errors
    /// When `text` is not 1–63 of the permitted characters.
    pub fn parse(text: &str) -> Result<Self, ProxyNameError> {
        let permitted = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if text.is_empty() || text.len() > Self::MAX_LEN || !text.bytes().all(permitted) {
            return Err(ProxyNameError {
                found: text.chars().take(64).collect(),
            });
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProxyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ProxyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_plain() {
        assert_eq!(ProxyName::parse("edge-1.eu_A").unwrap().as_str(), "edge-1.eu_A");
        for bad in ["", "a b", "a/b", "ä", &"x".repeat(64)] {
            assert!(ProxyName::parse(bad).is_err(), "{bad}");
        }
    }
}
