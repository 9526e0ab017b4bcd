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
        let (encrypted, rest) = if let Some(rest) = text.strip_prefix("http://") {
            (false, rest)
        } else if let Some(rest) = text.strip_prefix("https://") {
            (true, rest)
        } else {
            return Err(Mismatch::text(text).help(format!("write \"http://{text}\"")));
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if let Some((_, host)) = authority.rsplit_once('@') {
            let help = "a password in an address is seen by everybody who sees the setting; have a collector of your own \
                        add it";
            return Err(Mismatch::new(quoted(&format!("http…://***@{host}"))).help(help));
        }
        let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_visible || text.contains(['?', '#']) {
            return Err(Mismatch::text(text));
        }
        let (host, port) = host_and_port(authority).ok_or_else(|| Mismatch::text(text))?;
        Ok(Some(CollectorUrl {
            text: text.to_owned(),
            encrypted,
            host: host.to_owned(),
            port,
            path: if path.len() > 1 { path } else { PATH }.to_owned(),
        }))
    }
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
    (!host.is_empty()).then_some((host, port))
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
            "http://a?b",
            "http://user:secret@a",
        ] {
            let mismatch = format!("{:?}", read(text).unwrap_err());
            assert!(!mismatch.contains("secret"), "{mismatch}");
        }
    }
}
