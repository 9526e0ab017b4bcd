use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256};
use subtle::ConstantTimeEq;

/// What is kept of a token: SHA-256 (FIPS 180-4) of a prefix and the token.
///
/// Two are compared in constant time.
#[derive(Clone, Copy)]
pub struct Digest([u8; Self::BYTES]);

/// A text is no digest. It isn't repeated: it may be a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not sha256: and 64 hexadecimal digits; `edgeproxy token hash` makes it of a token")]
pub struct DigestError;

impl Digest {
    const BYTES: usize = 32;
    /// Keeps it apart from digests of the same text elsewhere.
    const PREFIX: &'static [u8] = b"edgeproxy API token v1\0";
    const NAME: &'static str = "sha256:";

    /// Of anything that may be a token.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(Self::PREFIX);
        context.update(text);
        let mut bytes = [0; Self::BYTES];
        for (byte, made) in bytes.iter_mut().zip(context.finish().as_ref()) {
            *byte = *made;
        }
        Self(bytes)
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Digest {}

/// Equal digests have equal bytes, and so equal hashes.
impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let digits = text.strip_prefix(Self::NAME).ok_or(DigestError)?.as_bytes();
        if digits.len() != 2 * Self::BYTES {
            return Err(DigestError);
        }
        let mut bytes = [0; Self::BYTES];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let mut digits = pair.iter().map(|digit| char::from(*digit).to_digit(16));
            let (Some(Some(high)), Some(Some(low))) = (digits.next(), digits.next()) else {
                return Err(DigestError);
            };
            *byte = u8::try_from(high * 16 + low).map_err(|_| DigestError)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAME)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Not for a log: whoever has it can try guesses in peace.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_sha_256_of_the_prefix_and_the_token() {
        // printf 'edgeproxy API token v1\0abc' | sha256sum
        let known = "sha256:647893cd2f4a2eab3632383e4c2db8b15b414ddad8b499a29ff70766c909751d";
        let digest = Digest::of(b"abc");
        assert_eq!(digest.to_string(), known);
        assert_eq!(known.parse::<Digest>(), Ok(digest));
        assert_eq!(
            known.to_uppercase().replace("SHA256", "sha256").parse(),
            Ok(digest)
        );
    }

    #[test]
    fn what_is_no_digest_is_refused_and_not_repeated() {
        let good = Digest::of(b"abc").to_string();
        for bad in [
            "",
            "sha256:",
            &good[1..],
            &good[..70],
            &format!("{good}0"),
            &good.replace("sha256", "sha512"),
            &format!("sha256:{}", "g".repeat(64)),
            "edgeproxy_0123456789012345678901234567890123456789012",
        ] {
            let error = bad.parse::<Digest>().unwrap_err();
            assert!(
                bad.is_empty() || !error.to_string().contains(&bad[bad.len().min(8)..]) || bad == "sha256:"
            );
        }
        assert_eq!(format!("{:?}", Digest::of(b"abc")), "Digest(***)");
    }

    /// That it is equal only as a whole is what the constant-time comparison must not lose.
    #[test]
    fn one_bit_makes_another_digest() {
        let digest = Digest::of(b"abc");
        for bit in 0..256 {
            let mut other = digest;
            other.0[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(digest, other, "bit {bit}");
        }
    }
}
