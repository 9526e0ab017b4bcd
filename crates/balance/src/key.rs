//! What `hash` and stickiness know a client by.

use std::fmt;

/// A client's address, header or cookie, as 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(u64);

impl Key {
    /// The key of `bytes` under the [default secret](Keyer::DEFAULT).
    #[must_use]
    pub const fn of(bytes: &[u8]) -> Self {
        Keyer::DEFAULT.key(bytes)
    }

    /// A key whose 64 bits come from elsewhere. They must be evenly spread.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Makes keys of bytes: SipHash-1-3 (J.-P. Aumasson and D. J. Bernstein, INDOCRYPT 2012), which is the same on
/// every machine and in every version, so that several proxies send a client to the same backend and go on to
/// do so after an update.
///
/// With the default secret anyone can work out which headers or cookies lead to the same backend, and direct as
/// many at it as they like. Bounded loads pass on what is more than a quarter above its share; where clients are
/// hostile, give all proxies a secret of their own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Keyer(u64, u64);

impl Keyer {
    /// No secret: the same for everyone.
    pub const DEFAULT: Self = Self(0, 0);

    /// Keys that only those can predict who know `secret`.
    #[must_use]
    pub const fn with_secret(secret: [u8; 16]) -> Self {
        let bits = u128::from_le_bytes(secret);
        // The two halves.
        #[allow(clippy::cast_possible_truncation)]
        Self(bits as u64, (bits >> 64) as u64)
    }

    /// The key of `bytes`.
    #[must_use]
    pub const fn key(&self, bytes: &[u8]) -> Key {
        let mut state = [
            self.0 ^ 0x736f_6d65_7073_6575,
            self.1 ^ 0x646f_7261_6e64_6f6d,
            self.0 ^ 0x6c79_6765_6e65_7261,
            self.1 ^ 0x7465_6462_7974_6573,
        ];
        let mut rest = bytes;
        while let Some((word, tail)) = rest.split_first_chunk::<8>() {
            state = absorb(state, u64::from_le_bytes(*word));
            rest = tail;
        }
        let mut last = (bytes.len() as u64) << 56;
        let mut at = 0;
        while at < rest.len() {
            last |= (rest[at] as u64) << (8 * at);
            at += 1;
        }
        state = absorb(state, last);
        state[2] ^= 0xff;
        state = round(round(round(state)));
        Key(state[0] ^ state[1] ^ state[2] ^ state[3])
    }
}

impl Default for Keyer {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Debug for Keyer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::DEFAULT {
            "Keyer(default)"
        } else {
            "Keyer(secret)"
        })
    }
}

const fn absorb(mut state: [u64; 4], word: u64) -> [u64; 4] {
    state[3] ^= word;
    state = round(state);
    state[0] ^= word;
    state
}

const fn round([mut a, mut b, mut c, mut d]: [u64; 4]) -> [u64; 4] {
    a = a.wrapping_add(b);
    b = b.rotate_left(13) ^ a;
    a = a.rotate_left(32);
    c = c.wrapping_add(d);
    d = d.rotate_left(16) ^ c;
    a = a.wrapping_add(d);
    d = d.rotate_left(21) ^ a;
    c = c.wrapping_add(b);
    b = b.rotate_left(17) ^ c;
    c = c.rotate_left(32);
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hasher as _};

    use super::*;

    #[test]
    fn the_key_is_siphash_1_3() {
        for length in 0..100_u8 {
            let bytes: Vec<u8> = (0..length).collect();
            // What the standard library uses today, without a secret.
            let mut hasher = DefaultHasher::new();
            hasher.write(&bytes);
            assert_eq!(Key::of(&bytes).bits(), hasher.finish(), "{length}");
        }
    }

    #[test]
    fn a_key_never_changes_between_versions() {
        let secret = Keyer::with_secret(*b"0123456789abcdef");
        assert_eq!(
            [Key::of(b""), Key::of(b"203.0.113.7"), secret.key(b"203.0.113.7")].map(Key::bits),
            [
                15_130_871_412_783_076_140,
                10_029_219_162_747_865_401,
                261_572_955_095_285_857
            ]
        );
        assert_eq!(
            format!("{:?} {:?}", Keyer::DEFAULT, secret),
            "Keyer(default) Keyer(secret)"
        );
    }
}
