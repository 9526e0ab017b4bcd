use std::sync::Arc;

/// Up to 32 pairs of text, 4 KiB in all, that a backend says about itself. Sorted by key, cheap to clone,
/// and a null pointer while empty.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Metadata(Option<Arc<[Pair]>>);

type Pair = (Box<str>, Box<str>);

/// Why pairs are not accepted as metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// More than [`Metadata::MAX_PAIRS`].
    #[error("has {found} pairs; at most 32 are allowed")]
    TooManyPairs {
        /// Pairs found.
        found: usize,
    },
    /// More than [`Metadata::MAX_BYTES`].
    #[error("takes {found} bytes; at most 4096 are allowed, keys and values together")]
    TooLarge {
        /// Bytes found.
        found: usize,
    },
}

impl Metadata {
    /// The most pairs.
    pub const MAX_PAIRS: usize = 32;
    /// The most bytes, keys and values together.
    pub const MAX_BYTES: usize = 4096;

    /// Collects pairs. A key that comes twice keeps its last value.
    ///
    /// # Errors
    /// When the pairs are too many or too large.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, MetadataError> {
        let map: std::collections::BTreeMap<String, String> = pairs.into_iter().collect();
        if map.len() > Self::MAX_PAIRS {
            return Err(MetadataError::TooManyPairs { found: map.len() });
        }
        let bytes: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > Self::MAX_BYTES {
            return Err(MetadataError::TooLarge { found: bytes });
        }
        if map.is_empty() {
            return Ok(Self(None));
        }
        let pairs = map
            .into_iter()
            .map(|(key, value)| (key.into_boxed_str(), value.into_boxed_str()));
        Ok(Self(Some(pairs.collect())))
    }

    /// The pairs, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .flat_map(|pairs| pairs.iter().map(|(key, value)| (&**key, &**value)))
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Metadata {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(count: usize, len: usize) -> Vec<(String, String)> {
        (0..count).map(|n| (format!("{n:04}"), "v".repeat(len))).collect()
    }

    #[test]
    fn metadata_is_bounded_in_pairs_and_bytes() {
        assert!(Metadata::new(pairs(32, 124)).is_ok());
        assert_eq!(
            Metadata::new(pairs(33, 0)),
            Err(MetadataError::TooManyPairs { found: 33 })
        );
        assert_eq!(
            Metadata::new(pairs(32, 125)),
            Err(MetadataError::TooLarge { found: 4128 })
        );
        let twice = [("a".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())];
        assert_eq!(
            Metadata::new(twice).unwrap().iter().collect::<Vec<_>>(),
            [("a", "2")]
        );
    }
}
