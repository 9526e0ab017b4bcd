use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// Why a text is not a name. The message is the one that the API shows for the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing at all.
    #[error("must not be empty")]
    Empty,
    /// Longer than the field allows.
    #[error("is {found} characters long; at most {max} are allowed")]
    TooLong {
        /// Characters found.
        found: usize,
        /// Characters allowed.
        max: usize,
    },
    /// A character outside the permitted set.
    #[error("has the character {found:?} at position {at}; allowed are {allowed}")]
    Character {
        /// The offending character.
        found: char,
        /// Its position, from 1, in characters.
        at: usize,
        /// The permitted set, in words.
        allowed: &'static str,
    },
    /// A DNS name with a label that is empty, longer than 63, or that begins or ends with a hyphen.
    #[error("is not a DNS name: the label {label:?} {problem}")]
    Label {
        /// The label, as found.
        label: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

fn check(
    text: &str,
    max: usize,
    allowed: &'static str,
    permitted: impl Fn(char) -> bool,
) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if let Some((at, found)) = text.chars().enumerate().find(|(_, c)| !permitted(*c)) {
        return Err(NameError::Character {
            found,
            at: at + 1,
            allowed,
        });
    }
    // Every permitted character is ASCII, so from here on bytes are characters.
    if text.len() > max {
        return Err(NameError::TooLong {
            found: text.len(),
            max,
        });
    }
    Ok(())
}

macro_rules! text_type {
    ($name:ident) => {
        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

/// The identity of a backend: 1–128 of `A–Z a–z 0–9 . _ : -`. Case matters. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId(Arc<str>);

impl BackendId {
    /// The longest identity, in characters.
    pub const MAX_LEN: usize = 128;

    /// Reads an identity.
    ///
    /// # Errors
    /// Says what is wrong with `text` when it is empty, longer than [`Self::MAX_LEN`], or holds a
    /// character outside the set.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check(text, Self::MAX_LEN, "A-Z a-z 0-9 . _ : -", |c| {
            c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-')
        })?;
        Ok(Self(text.into()))
    }
}

text_type!(BackendId);

/// The name of an app, a DNS name: 1–253 of `a–z 0–9 . -`, upper case folded. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppName(Arc<str>);

impl AppName {
    /// The longest name, in characters (RFC 1035 §2.3.4, without the root label).
    pub const MAX_LEN: usize = 253;
    const MAX_LABEL: usize = 63;

    /// Reads a name and folds it to lower case.
    ///
    /// # Errors
    /// Says what is wrong with `text` when it is empty, too long, holds a character outside the set, or
    /// has a label that no DNS name could have (RFC 1035 §2.3.1).
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check(text, Self::MAX_LEN, "a-z 0-9 . -", |c| {
            c.is_ascii_alphanumeric() || matches!(c, '.' | '-')
        })?;
        for label in text.split('.') {
            let problem = if label.is_empty() {
                "is empty"
            } else if label.len() > Self::MAX_LABEL {
                "is longer than 63 characters"
            } else if label.starts_with('-') || label.ends_with('-') {
                "begins or ends with a hyphen"
            } else {
                continue;
            };
            return Err(NameError::Label {
                label: label.to_owned(),
                problem,
            });
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

text_type!(AppName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_id_takes_its_whole_alphabet_and_nothing_else() {
        assert_eq!(BackendId::parse("Az09._:-").unwrap().as_str(), "Az09._:-");
        assert_eq!(BackendId::parse(""), Err(NameError::Empty));
        let message = BackendId::parse("a b").unwrap_err().to_string();
        assert_eq!(
            message,
            "has the character ' ' at position 2; allowed are A-Z a-z 0-9 . _ : -"
        );
        assert!(BackendId::parse(&"x".repeat(128)).is_ok());
        assert_eq!(
            BackendId::parse(&"x".repeat(129)),
            Err(NameError::TooLong { found: 129, max: 128 })
        );
    }

    #[test]
    fn an_app_name_is_a_dns_name_and_folds_case() {
        assert_eq!(
            AppName::parse("My-App.Example").unwrap().as_str(),
            "my-app.example"
        );
        assert!(matches!(AppName::parse("a..b"), Err(NameError::Label { .. })));
        assert!(matches!(AppName::parse("-a"), Err(NameError::Label { .. })));
        assert!(matches!(
            AppName::parse("a_b"),
            Err(NameError::Character {
                found: '_',
                at: 2,
                ..
            })
        ));
        assert!(matches!(
            AppName::parse(&"x".repeat(64)),
            Err(NameError::Label { .. })
        ));
        assert!(matches!(
            AppName::parse(&"x.".repeat(127)),
            Err(NameError::TooLong { found: 254, .. })
        ));
    }
}
