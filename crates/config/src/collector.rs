//! Where spans go, and whose word decides which.

use std::fmt;

use crate::types::words;
use crate::value::{FromValue, Mismatch, Value, quoted};

/// Where a collector of OpenTelemetry is: `http://HOST:PORT`, or `https://`; without a path, `/v1/traces` is meant.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CollectorUrl {
    text: String,
    encrypted: bool,
    host: String,
    port: u16,
    path: String,
}

/// The port for OTLP over HTTP, and its path.
const PORT: u16 = 4318;
const PATH: &str = "/v1/traces";

impl CollectorUrl {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is spoken to inside TLS.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// A name or an address, that of IPv6 without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port; 4318 unless another one was written.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Where it takes spans.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// Empty is none.
impl FromValue for Option<CollectorUrl> {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let text = value.as_text()?;
        if text.is_empty() {
            return Ok(None);
        }
        no_secret(text)?;
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(Mismatch::text(text).help(format!("write {}", quoted(&format!("http://{text}")))));
        };
        let encrypted = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(Mismatch::text(text).help("write http:// or https://, for OTLP over HTTP")),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (host, port) = host_and_port(authority).ok_or_else(|| {
            let help =
                "write a name or an address, that of IPv6 in brackets, and a port from 1 to 65535 or none";
            Mismatch::text(text).help(help)
        })?;
        if !is_path(path) {
            let help = format!(
                "the path {} has what none can have; write such a character as % and two digits",
                quoted(path)
            );
            return Err(Mismatch::text(text).help(help));
        }
        Ok(Some(CollectorUrl {
            text: text.to_owned(),
            encrypted,
            host: host.to_owned(),
            port,
            path: if path.len() > 1 { path } else { PATH }.to_owned(),
        }))
    }
}

/// Refuses what may be a secret, whatever else is wrong, without a word of it.
fn no_secret(text: &str) -> Result<(), Mismatch> {
    let (found, help) = if text.contains('@') {
        (
            "an address with an @",
            "a password in an address is seen by everybody who sees the setting; have a collector of your own add it",
        )
    } else if text.contains(['?', '#']) {
        (
            "an address with a query or a fragment",
            "write it without what begins with ? or #; a token in it would be seen by everybody who sees the setting",
        )
    } else {
        return Ok(());
    };
    Err(Mismatch::new(found).help(help))
}

fn host_and_port(authority: &str) -> Option<(&str, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, port)
        }
        None => match authority.find(':') {
            Some(at) => authority.split_at(at),
            None => (authority, ""),
        },
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().ok().filter(|port| *port > 0)?,
        None if port.is_empty() => PORT,
        None => return None,
    };
    (authority.starts_with('[') || is_host(host)).then_some((host, port))
}

/// An address of IPv4, or a name that a certificate can be checked against: labels of RFC 1123 §2.1 or with `_`, which
/// machines of containers have, of which the last is no number.
fn is_host(host: &str) -> bool {
    if host.parse::<std::net::Ipv4Addr>().is_ok() {
        return true;
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| {
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len())
            && label.bytes().all(is_known)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_number = |label: &str| {
        let hex = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
        label.bytes().all(|byte| byte.is_ascii_digit())
            || hex.is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    host.len() <= 253 && name.split('.').all(is_label) && !name.rsplit('.').next().is_some_and(is_number)
}

/// RFC 3986 §3.3, without `@`, which has been refused.
fn is_path(path: &str) -> bool {
    let mut pieces = path.split('%');
    let is_plain = |piece: &str| {
        let mut bytes = piece.bytes();
        bytes.all(|byte| byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:".contains(&byte))
    };
    pieces.next().is_none_or(is_plain)
        && pieces.all(|piece| {
            let digits = piece.get(..2).unwrap_or_default();
            digits.len() == 2
                && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
                && piece.get(2..).is_some_and(is_plain)
        })
}

impl fmt::Display for CollectorUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

words! {
    /// Whose `traceparent` decides whether a request is told of.
    TracesFollow {
        /// Nobody's.
        Nobody = "nobody",
        /// That of trusted proxies.
        Trusted = "trusted",
        /// Everybody's.
        Everybody = "everybody",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<CollectorUrl>, Mismatch> {
        FromValue::from_value(&Value::Text(text.to_owned()))
    }

    #[test]
    fn an_address_may_leave_out_what_is_usual() {
        for (text, encrypted, host, port, path) in [
            ("http://127.0.0.1:4318", false, "127.0.0.1", 4318, "/v1/traces"),
            ("http://collector", false, "collector", 4318, "/v1/traces"),
            ("https://[::1]:9/", true, "::1", 9, "/v1/traces"),
            (
                "HTTP://otel_collector.",
                false,
                "otel_collector.",
                4318,
                "/v1/traces",
            ),
            ("http://3c/a%2Fb,c", false, "3c", 4318, "/a%2Fb,c"),
            (
                "https://a.example:443/otlp/v1/traces",
                true,
                "a.example",
                443,
                "/otlp/v1/traces",
            ),
        ] {
            let url = read(text).unwrap().unwrap();
            let found = (url.is_encrypted(), url.host(), url.port(), url.path());
            assert_eq!(found, (encrypted, host, port, path), "{text}");
            assert_eq!(url.to_string(), text);
        }
        assert_eq!(read("").unwrap(), None);
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "collector:4318",
            "grpc://a:4317",
            "http://",
            "http://:1",
            "http://a:0",
            "http://a:b",
            "http://[::1",
            "http://[x]:1",
            "http://[::1]1",
            "http://a b",
            "http://c/v1/{x}",
            "http://c/v1/ü",
            "http://c/%",
            "http://c/%2x",
            "https://a,b",
            "https://-a",
            "https://a..b",
            "https://256.1.1.1",
            "https://a.0x7f",
            "http://ü.example",
        ] {
            assert!(read(text).unwrap_err().help.is_some(), "{text}");
        }
        let long = format!("http://{}", "a".repeat(64));
        assert!(read(&long).is_err());
    }

    #[test]
    fn a_password_or_a_token_is_not_repeated_whatever_else_is_wrong() {
        for text in [
            "http://user:secret@a",
            "user:secret@collector:4318",
            "HTTP://user:secret@a",
            "grpc://user:secret@a",
            "http://user:sec/secret@a",
            "http://user@secret@a b",
            "http://a/?token=secret",
            "a?token=secret",
            "http://a#secret",
            "http://a b/?secret",
        ] {
            let mismatch = read(text).unwrap_err();
            assert!(mismatch.help.is_some(), "{text}");
            let said = format!("{mismatch:?}");
            assert!(!said.contains("secret"), "{text}: {said}");
        }
    }
}
