//! The authority that a request names: `Host`, `:authority`, or an absolute target's.

/// A host and perhaps a port, checked against RFC 9110 §7.2 and RFC 3986 §3.2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Authority<'a> {
    /// As it was written.
    pub(crate) text: &'a str,
    /// The host without a port; an IPv6 literal without its brackets.
    pub(crate) host: &'a str,
    /// The port, if one is given and not empty.
    pub(crate) port: Option<u16>,
}

/// Why a text is no authority.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum AuthorityError {
    #[error("is empty")]
    Empty,
    #[error("holds a character that no host has")]
    Character,
    #[error("holds an address in brackets that is none")]
    Literal,
    #[error("holds a port that is none")]
    Port,
}

impl<'a> Authority<'a> {
    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port`. User information is refused: nothing good is called
    /// `user@host` in a request.
    pub(crate) fn parse(text: &'a [u8]) -> Result<Self, AuthorityError> {
        let text = std::str::from_utf8(text).map_err(|_| AuthorityError::Character)?;
        let (host, rest) = match text.strip_prefix('[') {
            Some(inner) => {
                let (host, rest) = inner.split_once(']').ok_or(AuthorityError::Literal)?;
                host.parse::<std::net::Ipv6Addr>()
                    .map_err(|_| AuthorityError::Literal)?;
                (host, rest)
            }
            None => {
                let end = text.bytes().position(|b| b == b':').unwrap_or(text.len());
                let (host, rest) = text.split_at(end);
                check_name(host)?;
                (host, rest)
            }
        };
        Ok(Self {
            text,
            host,
            port: parse_port(rest)?,
        })
    }

    /// The host as apps are looked up by: without the root's dot.
    pub(crate) fn name(&self) -> &'a str {
        self.host.strip_suffix('.').unwrap_or(self.host)
    }
}

/// What [`Authority::name`] would say, of all but the rarest in one pass; `None` leaves it to [`Authority::parse`].
pub(crate) fn plain_name(text: &[u8]) -> Option<&[u8]> {
    let end = text.iter().position(|byte| !PLAIN[usize::from(*byte)]);
    let (name, rest) = text.split_at(end.unwrap_or(text.len()));
    let is_port = match rest {
        [] => true,
        [b':', digits @ ..] => {
            let number = |number: u32, digit: &u8| {
                let digit = digit.wrapping_sub(b'0');
                (digit < 10).then(|| number * 10 + u32::from(digit))
            };
            digits.len() <= 5
                && digits
                    .iter()
                    .try_fold(0, number)
                    .is_some_and(|port| port <= 0xffff)
        }
        _ => false,
    };
    if name.is_empty() || !is_port {
        return None;
    }
    Some(name.strip_suffix(b".").unwrap_or(name))
}

fn check_name(host: &str) -> Result<(), AuthorityError> {
    if host.is_empty() {
        return Err(AuthorityError::Empty);
    }
    // Nearly every name is made of these alone.
    if host.bytes().all(|byte| PLAIN[usize::from(byte)]) {
        return Ok(());
    }
    let mut bytes = host.bytes();
    while let Some(byte) = bytes.next() {
        let hex = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_hexdigit());
        let permitted = PLAIN[usize::from(byte)] || (byte == b'%' && hex(bytes.next()) && hex(bytes.next()));
        if !permitted {
            return Err(AuthorityError::Character);
        }
    }
    Ok(())
}

/// What a name may hold as it is (RFC 3986 §3.2.2: unreserved, and sub-delimiters).
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < plain.len() {
        #[expect(clippy::cast_possible_truncation, reason = "it is below 256")]
        let b = byte as u8;
        plain[byte] = b.is_ascii_alphanumeric()
            || matches!(b, b'-' | b'.' | b'_' | b'~')
            || matches!(
                b,
                b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
            );
        byte += 1;
    }
    plain
};

fn parse_port(rest: &str) -> Result<Option<u16>, AuthorityError> {
    if rest.is_empty() {
        return Ok(None);
    }
    let digits = rest.strip_prefix(':').ok_or(AuthorityError::Port)?;
    if digits.is_empty() {
        return Ok(None);
    }
    // `u16::from_str` takes a plus sign.
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(AuthorityError::Port);
    }
    digits.parse().map(Some).map_err(|_| AuthorityError::Port)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<(&str, Option<u16>), AuthorityError> {
        Authority::parse(text.as_bytes()).map(|a| (a.name(), a.port))
    }

    #[test]
    fn a_port_is_stripped_and_an_address_literal_unwrapped() {
        assert_eq!(parse("Example.COM"), Ok(("Example.COM", None)));
        assert_eq!(parse("example.com:8080"), Ok(("example.com", Some(8080))));
        assert_eq!(parse("example.com:"), Ok(("example.com", None)));
        assert_eq!(parse("example.com."), Ok(("example.com", None)));
        assert_eq!(parse("[::1]:80"), Ok(("::1", Some(80))));
        assert_eq!(parse("[2001:db8::1]"), Ok(("2001:db8::1", None)));
        assert_eq!(parse("127.0.0.1:1"), Ok(("127.0.0.1", Some(1))));
        assert_eq!(parse("a%2Db"), Ok(("a%2Db", None)));
    }

    #[test]
    fn what_is_no_authority_is_refused() {
        for (text, error) in [
            ("", AuthorityError::Empty),
            (":80", AuthorityError::Empty),
            ("a b", AuthorityError::Character),
            ("user@a", AuthorityError::Character),
            ("a/b", AuthorityError::Character),
            ("a,b.example/", AuthorityError::Character),
            ("a%2", AuthorityError::Character),
            ("é", AuthorityError::Character),
            ("[::1", AuthorityError::Literal),
            ("[1.2.3.4]", AuthorityError::Literal),
            ("[::1]x", AuthorityError::Port),
            ("::1", AuthorityError::Empty),
            ("a:b", AuthorityError::Port),
            ("a:+1", AuthorityError::Port),
            ("a:65536", AuthorityError::Port),
            ("a:1:2", AuthorityError::Port),
        ] {
            assert_eq!(parse(text), Err(error), "{text:?}");
        }
        assert_eq!(Authority::parse(b"\xff"), Err(AuthorityError::Character));
    }

    proptest! {
        #[test]
        fn a_plain_name_is_what_is_parsed(text in "[a-zA-Z0-9.%~é@-]{0,8}(:[0-9+a]{0,6})?") {
            if let Some(name) = plain_name(text.as_bytes()) {
                prop_assert_eq!(parse(&text).map(|(name, _)| name.as_bytes()), Ok(name));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused_and_never_hold_a_delimiter(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(authority) = Authority::parse(&bytes) {
                prop_assert!(!authority.host.is_empty());
                prop_assert!(!authority.host.contains(['@', '/', '?', '#', ' ', '[', ']', '\r', '\n', '\0']));
            }
        }
    }
}
