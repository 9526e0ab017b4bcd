//! `Via` (RFC 9110 §7.6.3): who has handled a message, and so whether it runs in a circle.

use http::header::{self, HeaderValue};
use http::{HeaderMap, Version};

/// The most proxies that a message may have come through. No honest one comes through a quarter as many; one that does runs
/// in a ring so long, or among proxies so many, that none of them has seen it before.
pub(crate) const MAX_HOPS: usize = 32;

/// Why a message goes no further.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Circle {
    /// It has come through this proxy before.
    Closed,
    /// It has come through more than [`MAX_HOPS`].
    Endless,
}

/// This proxy's name in `Via`, one value for each version of the protocol that a message can have come by.
#[derive(Clone, Debug)]
pub(crate) struct Pseudonym {
    name: String,
    http10: HeaderValue,
    http11: HeaderValue,
    http2: HeaderValue,
}

impl Pseudonym {
    /// The longest name.
    const MAX_LEN: usize = 64;

    /// Reads a name of 1–64 of `A–Z a–z 0–9 . _ -`; `None` otherwise.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let permitted = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if name.is_empty() || name.len() > Self::MAX_LEN || !name.bytes().all(permitted) {
            return None;
        }
        let value = |version: &str| HeaderValue::from_str(&format!("{version} {name}")).ok();
        Some(Self {
            name: name.to_owned(),
            http10: value("1.0")?,
            http11: value("1.1")?,
            http2: value("2")?,
        })
    }

    /// Whether a message may go on, by all values of `Via` that it has.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Circle> {
        let values = headers.get_all(header::VIA).iter();
        let mut values = values.map(HeaderValue::as_bytes);
        values
            .try_fold(0, |hops, value| self.follow(hops, value))
            .map(|_| ())
    }

    /// How many proxies a message has come through, with another value of `Via` beside those that say `hops`.
    pub(crate) fn follow(&self, hops: usize, value: &[u8]) -> Result<usize, Circle> {
        if self.is_in(value) {
            return Err(Circle::Closed);
        }
        let named = value
            .split(|b| *b == b',')
            .filter(|hop| !hop.trim_ascii().is_empty());
        let hops = hops + named.count();
        if hops > MAX_HOPS {
            return Err(Circle::Endless);
        }
        Ok(hops)
    }

    /// Whether a value of `Via` names this proxy.
    pub(crate) fn is_in(&self, value: &[u8]) -> bool {
        let mut hops = value.split(|b| *b == b',');
        hops.any(|hop| {
            let mut words = hop.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            words.nth(1) == Some(self.name.as_bytes())
        })
    }

    /// Writes the line that signs a message that came by HTTP/1.`minor`.
    pub(crate) fn push_line(&self, out: &mut Vec<u8>, minor: u8) {
        out.extend_from_slice(if minor == 0 { b"via: 1.0 " } else { b"via: 1.1 " });
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    /// What signs a message that came by `version`.
    pub(crate) fn signature(&self, version: Version) -> &HeaderValue {
        match version {
            Version::HTTP_2 => &self.http2,
            Version::HTTP_11 => &self.http11,
            _ => &self.http10,
        }
    }

    /// Signs a message that came by `version`.
    pub(crate) fn sign(&self, headers: &mut HeaderMap, version: Version) {
        headers.append(header::VIA, self.signature(version).clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_known_by_the_name_it_was_signed_with() {
        let (a, b) = (
            Pseudonym::parse("edge-a").unwrap(),
            Pseudonym::parse("edge-b").unwrap(),
        );
        let mut headers = HeaderMap::new();
        b.sign(&mut headers, Version::HTTP_2);
        assert_eq!(
            (a.check(&headers), b.check(&headers)),
            (Ok(()), Err(Circle::Closed))
        );
        a.sign(&mut headers, Version::HTTP_11);
        assert_eq!(a.check(&headers), Err(Circle::Closed));
        assert_eq!(
            headers.get_all("via").iter().collect::<Vec<_>>(),
            ["2 edge-b", "1.1 edge-a"]
        );
        let mut joined = HeaderMap::new();
        joined.insert("via", HeaderValue::from_static("1.0 fred, 1.1 edge-a (comment)"));
        assert_eq!(
            (a.check(&joined), b.check(&joined)),
            (Err(Circle::Closed), Ok(()))
        );
    }

    #[test]
    fn a_message_that_has_come_through_more_than_32_goes_no_further() {
        let edge = Pseudonym::parse("edge").unwrap();
        let mut headers = HeaderMap::new();
        for hop in 0..MAX_HOPS / 2 {
            let two = format!("1.1 a{hop}, 1.1 b{hop} (comment),, ");
            headers.append("via", HeaderValue::from_str(&two).unwrap());
        }
        assert_eq!(edge.check(&headers), Ok(()));
        headers.append("via", HeaderValue::from_static(" , "));
        assert_eq!(edge.check(&headers), Ok(()), "nobody is no hop");
        headers.append("via", HeaderValue::from_static("2 c"));
        assert_eq!(edge.check(&headers), Err(Circle::Endless));
        assert_eq!(edge.follow(MAX_HOPS, b"1.1 d"), Err(Circle::Endless));
        assert_eq!(edge.follow(MAX_HOPS, b"1.1 edge"), Err(Circle::Closed));
    }

    #[test]
    fn a_name_that_would_break_the_field_is_refused() {
        for bad in ["", "a b", "a,b", "a(b", "é", &"x".repeat(65)] {
            assert!(Pseudonym::parse(bad).is_none(), "{bad}");
        }
    }
}
