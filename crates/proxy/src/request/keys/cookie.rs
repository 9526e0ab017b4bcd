//! The cookie that tells the proxy with whom a client was.

use std::fmt;
use std::time::{Duration, SystemTime};

use super::fields::{Fields, cookies};

/// The name of a cookie: a token (RFC 6265 §4.1.1), whose case matters.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CookieName(Box<str>);

/// No cookie can have that name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{found:?} is no name of a cookie: that is 1 to 128 of A-Z a-z 0-9 ! # $ % & ' * + - . ^ _ ` | ~")]
pub struct CookieNameError {
    found: String,
}

impl CookieName {
    /// Reads a name.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(name: &str) -> Result<Self, CookieNameError> {
        let permitted = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if (1..=128).contains(&name.len()) && name.bytes().all(permitted) {
            return Ok(Self(name.into()));
        }
        // An error message must not repeat a megabyte.
        let found = name.chars().take(32).collect();
        Err(CookieNameError { found })
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A cookie that the proxy sets, and by which it knows a client's backend again: on every proxy and after a
/// restart, without memory.
///
/// `NAME=VALUE; Path=/; Max-Age=TTL; HttpOnly; SameSite=Lax`, and `Secure` where the client came by TLS, to this proxy or to
/// a trusted one in front of it. The value is 24 hexadecimal digits: 16 of the backend's identity, which is a hash of
/// its id and says nothing of where it is, and 8 of the second in which it was written. It is set when a client
/// has none, comes to another backend, or, so that a binding is counted from its last use, has used
/// a sixty-fourth of its time.
///
/// A client may write what it likes: it is bound to the backend of that identity if it is one of the app's that may
/// be picked, as it could be by chance; to nobody by anything else, be it too old. Nothing else is
/// looked up by it. Apps that share a host need names of their own, or they overwrite each other's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StickyCookie {
    name: CookieName,
    ttl_secs: u32,
}

/// What a client's cookie says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Held {
    /// The backend's, if it is one that counts.
    pub(crate) identity: Option<u64>,
    /// It needs no new one as long as it stays with its backend.
    fresh: bool,
    /// It is to be sent by TLS alone.
    secure: bool,
}

/// The value of `Set-Cookie`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SetCookie<'a> {
    cookie: &'a StickyCookie,
    identity: u64,
    at: u32,
    secure: bool,
}

/// How finely the time since the last use is told, as by [`Bindings`](edgeproxy_balance::Bindings).
const TICKS: u32 = 64;

impl StickyCookie {
    /// One that lasts for `ttl` after its last use, or up to a sixty-fourth less: whole seconds, at least one.
    #[must_use]
    pub fn new(name: CookieName, ttl: Duration) -> Self {
        let ttl_secs = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX).max(1);
        Self { name, ttl_secs }
    }

    pub(super) fn held(&self, fields: &impl Fields, secure: bool) -> Held {
        self.held_at(fields, secure, wall_secs())
    }

    fn held_at(&self, fields: &impl Fields, secure: bool, now: u32) -> Held {
        // There are several where paths or domains differ, and one of them may be of the backend's making.
        let read = cookies(fields, self.name.as_str()).find_map(|value| self.read_at(value, now));
        Held {
            identity: read.map(|(identity, _)| identity),
            fresh: read.is_some_and(|(_, age)| age <= self.ttl_secs / TICKS),
            secure,
        }
    }

    /// Whom a value binds to right now.
    pub(super) fn read(&self, value: &[u8]) -> Option<u64> {
        self.read_at(value, wall_secs()).map(|(identity, _)| identity)
    }

    /// The identity, and how many seconds ago it was written, or is going to have been: clocks differ.
    fn read_at(&self, value: &[u8], now: u32) -> Option<(u64, u32)> {
        let (identity, at) = value.split_at_checked(16)?;
        let (identity, at) = (hex(identity)?, u32::try_from(hex(at)?).ok()?);
        let age = now.wrapping_sub(at).min(at.wrapping_sub(now));
        (value.len() == 24 && age < self.ttl_secs).then_some((identity, age))
    }

    /// What a client needs that has got an answer of the backend with that identity.
    pub(super) fn renewed(&self, held: Held, identity: u64) -> Option<SetCookie<'_>> {
        (held.identity != Some(identity) || !held.fresh).then(|| SetCookie {
            cookie: self,
            identity,
            at: wall_secs(),
            secure: held.secure,
        })
    }
}

impl fmt::Display for SetCookie<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StickyCookie { name, ttl_secs } = self.cookie;
        write!(
            f,
            "{}={:016x}{:08x}; Path=/; Max-Age={ttl_secs}; HttpOnly; SameSite=Lax",
            name.as_str(),
            self.identity,
            self.at
        )?;
        if self.secure {
            f.write_str("; Secure")?;
        }
        Ok(())
    }
}

/// Lower case alone: what this proxy writes, and nothing that looks like it.
fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u64::from(digit))
    })
}

/// Seconds of the wall clock, which several proxies and a restart have in common. They wrap in 2106, and so do their
/// differences. A clock that is set wrong lets bindings end, and nothing worse.
fn wall_secs() -> u32 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    // The lower half.
    #[allow(clippy::cast_possible_truncation)]
    let secs = since.map_or(0, |since| since.as_secs()) as u32;
    secs
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use proptest::prelude::*;

    use super::*;

    const NOW: u32 = 1_800_000_000;
    const BACKEND: u64 = 0x0123_4567_89ab_cdef;

    fn sticky() -> StickyCookie {
        StickyCookie::new(CookieName::parse("edgeproxy").unwrap(), Duration::from_secs(640))
    }

    fn cookie(identity: u64, at: u32, secure: bool) -> String {
        let cookie = &sticky();
        SetCookie {
            cookie,
            identity,
            at,
            secure,
        }
        .to_string()
    }

    fn held(fields: &[&str], now: u32) -> Held {
        let mut map = HeaderMap::new();
        for field in fields {
            map.append("cookie", field.parse().unwrap());
        }
        sticky().held_at(&&map, false, now)
    }

    #[test]
    fn the_cookie_has_its_attributes_and_tells_no_address() {
        assert_eq!(
            cookie(BACKEND, 0x6b49_d200, false),
            "edgeproxy=0123456789abcdef6b49d200; Path=/; Max-Age=640; HttpOnly; SameSite=Lax"
        );
        assert!(cookie(BACKEND, NOW, true).ends_with("; SameSite=Lax; Secure"));
    }

    #[test]
    fn what_was_set_is_read_again_until_its_time_is_over() {
        let set = cookie(BACKEND, NOW, false);
        let pair = set.split(';').next().unwrap();
        for (later, identity, fresh) in [
            (0, Some(BACKEND), true),
            (10, Some(BACKEND), true),
            (11, Some(BACKEND), false),
            (639, Some(BACKEND), false),
            (640, None, false),
            (1_000_000, None, false),
        ] {
            let held = held(&["theme=dark", &format!("a=b; {pair}; c")], NOW + later);
            assert_eq!((held.identity, held.fresh), (identity, fresh), "{later}");
        }
        // Another proxy's clock is ahead.
        let ahead = held(&[pair], NOW - 5);
        assert_eq!((ahead.identity, ahead.fresh), (Some(BACKEND), true));
        assert_eq!(held(&[pair], NOW - 700).identity, None);
    }

    #[test]
    fn a_forged_value_is_as_none() {
        for forged in [
            "",
            "x",
            "10.0.0.1:8080",
            "0123456789abcdef",
            "0123456789abcdef6b49d20",
            "0123456789abcdef6b49d2000",
            "0123456789ABCDEF6b49d200",
            "+123456789abcdef6b49d200",
            "\"0123456789abcdef6b49d200\"",
            "0123456789abcdef00000000",
            "0123456789abcdef6b49d2\u{e9}",
        ] {
            let held = held(&[&format!("edgeproxy={forged}")], 0x6b49_d200);
            assert_eq!(held.identity, None, "{forged}");
            assert!(sticky().renewed(held, BACKEND).is_some());
        }
        let sound = "edgeproxy=0123456789abcdef6b49d200";
        assert_eq!(held(&["edgeproxy=x", sound], 0x6b49_d200).identity, Some(BACKEND));
    }

    #[test]
    fn it_is_set_when_there_is_none_or_the_backend_has_changed_or_it_has_aged() {
        let with = |identity, fresh| Held {
            identity,
            fresh,
            secure: false,
        };
        let is_set = |held| sticky().renewed(held, BACKEND).is_some();
        assert!(!is_set(with(Some(BACKEND), true)));
        assert!(is_set(with(Some(BACKEND), false)));
        assert!(is_set(with(Some(7), true)));
        assert!(is_set(with(None, false)));
    }

    #[test]
    fn a_cookie_s_name_is_a_token() {
        assert!(CookieName::parse("__Host-session").is_ok());
        for bad in ["", "a b", "a=b", "a;b", "é", &"x".repeat(129)] {
            assert!(CookieName::parse(bad).is_err(), "{bad}");
        }
        let error = CookieName::parse(&"=".repeat(1_000)).unwrap_err().to_string();
        assert!(error.len() < 200, "{error}");
    }

    proptest! {
        #[test]
        fn whatever_a_client_writes_binds_it_to_an_identity_or_to_nobody(
            value in prop::collection::vec(any::<u8>(), 0..40), now in any::<u32>(),
        ) {
            if let Some((identity, age)) = sticky().read_at(&value, now) {
                let written = format!("{identity:016x}");
                prop_assert_eq!(written.as_bytes(), &value[..16]);
                prop_assert!(age < 640);
            }
        }

        #[test]
        fn what_was_written_is_read(identity in any::<u64>(), now in any::<u32>(), age in 0_u32..640) {
            let value = format!("{identity:016x}{:08x}", now.wrapping_sub(age));
            prop_assert_eq!(sticky().read_at(value.as_bytes(), now), Some((identity, age)));
        }
    }
}
