use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::Digest;

/// A bearer token (RFC 6750 §2.1). Whoever has it has its rights, so it is shown by [`reveal`](Self::reveal) alone.
#[derive(Clone)]
pub struct Token(Box<str>);

/// A text is no token, or a poor one. It isn't repeated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenError {
    /// Not as long as randomness is.
    #[error(
        "the token has {found} characters; expected at least {} random ones, such as `edgeproxy token new` makes",
        Token::MIN_CHARS
    )]
    Short {
        /// How many it has.
        found: usize,
    },
    /// Longer than is read.
    #[error("the token has {found} characters; expected at most {}", Token::MAX_CHARS)]
    Long {
        /// How many it has.
        found: usize,
    },
    /// What can't stand in `Authorization`.
    #[error("the token holds what a bearer token can't; expected letters, digits and -._~+/ (RFC 6750)")]
    Characters,
    /// `aaaa…`.
    #[error(
        "the token has only {found} different characters, so it is not random; `edgeproxy token new` makes one that is"
    )]
    Monotonous {
        /// How many.
        found: usize,
    },
}

/// The system has no random numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the system has no random numbers, so no token can be made")]
pub struct NoRandomness;

impl Token {
    /// The fewest characters: 128 bits as hexadecimal digits.
    pub const MIN_CHARS: usize = 32;
    /// The most.
    pub const MAX_CHARS: usize = 512;
    /// The fewest different characters. Of 32 random hexadecimal digits about 14 are.
    const MIN_DIFFERENT: usize = 8;
    /// By which scanners for secrets know it.
    const PREFIX: &'static str = "edgeproxy_";
    const RANDOM_BYTES: usize = 32;

    /// A new one: 256 random bits behind `edgeproxy_`.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut bytes = [0; Self::RANDOM_BYTES];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
        Ok(Self(
            format!("{}{}", Self::PREFIX, URL_SAFE_NO_PAD.encode(bytes)).into(),
        ))
    }

    /// One that was made elsewhere.
    ///
    /// # Errors
    /// When it can't be sent, or is so short or monotonous that it can't be random.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let found = text.chars().count();
        if found < Self::MIN_CHARS {
            return Err(TokenError::Short { found });
        }
        if found > Self::MAX_CHARS {
            return Err(TokenError::Long { found });
        }
        let permitted = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
        if !text.trim_end_matches('=').bytes().all(permitted) {
            return Err(TokenError::Characters);
        }
        let mut different: Vec<u8> = text.bytes().collect();
        different.sort_unstable();
        different.dedup();
        if different.len() < Self::MIN_DIFFERENT {
            let found = different.len();
            return Err(TokenError::Monotonous { found });
        }
        Ok(Self(text.into()))
    }

    /// What the file may know of it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }

    /// The token itself, for the client that is to have it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_token_is_fit_and_no_two_are_alike() {
        let made: Vec<Token> = (0..100).map(|_| Token::generate().unwrap()).collect();
        for (index, token) in made.iter().enumerate() {
            assert_eq!(token.reveal().len(), 53);
            assert!(Token::parse(token.reveal()).is_ok());
            assert!(
                made.iter()
                    .skip(index + 1)
                    .all(|other| other.digest() != token.digest())
            );
        }
    }

    #[test]
    fn short_and_monotonous_tokens_are_refused_and_none_is_repeated() {
        let of = |text: &str| Token::parse(text).unwrap_err();
        assert_eq!(of("hunter2"), TokenError::Short { found: 7 });
        assert_eq!(of(&"a".repeat(513)), TokenError::Long { found: 513 });
        assert_eq!(of(&"ab".repeat(20)), TokenError::Monotonous { found: 2 });
        for bad in [
            "two words, which no header can hold, or it could",
            "0123456789abcdef=0123456789abcdef",
        ] {
            assert_eq!(of(bad), TokenError::Characters, "{bad}");
            assert!(!of(bad).to_string().contains(bad));
        }
        let token = Token::parse("0123456789abcdef0123456789abcdef==").unwrap();
        assert_eq!(format!("{token:?}"), "Token(***)");
    }
}
