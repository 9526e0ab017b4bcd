use std::fmt;
use std::str::FromStr;

/// Where an API is: `http://HOST:PORT`, or `https://HOST:PORT` with the feature `tls`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiUrl {
    scheme: Scheme,
    /// Without the brackets of an IPv6 literal.
    host: String,
    port: u16,
}

/// Whether the API is spoken to in the clear.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// Why a text is no address of an API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} {problem}; expected the address of an API, such as http://10.0.0.1:8081")]
pub struct ApiUrlError {
    found: String,
    problem: &'static str,
}

impl ApiUrl {
    #[cfg(feature = "driver")]
    pub(crate) const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host, as a name or a literal.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The value of `Host` (RFC 9110 §7.2).
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for ApiUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl FromStr for ApiUrl {
    type Err = ApiUrlError;

    fn from_str(text: &str) -> Result<Self, ApiUrlError> {
        let fault = |problem| ApiUrlError {
            found: text.chars().take(128).collect(),
            problem,
        };
        let (scheme, default, rest) = match text.split_once("://") {
            None => (Scheme::Http, 80, text),
            Some(("http", rest)) => (Scheme::Http, 80, rest),
            Some(("https", _)) if !cfg!(feature = "tls") => {
                return Err(fault("needs TLS, which this build has not (the feature tls)"));
            }
            Some(("https", rest)) => (Scheme::Https, 443, rest),
            Some(_) => return Err(fault("begins with neither http:// nor https://")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or(fault("has no closing bracket"))?;
                if host.parse::<std::net::Ipv6Addr>().is_err() {
                    return Err(fault("has no IPv6 address between its brackets"));
                }
                (
                    host,
                    if after.is_empty() {
                        None
                    } else {
                        Some(
                            after
                                .strip_prefix(':')
                                .ok_or(fault("has something other than a port after its bracket"))?,
                        )
                    },
                )
            }
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.is_empty() || host.len() > 253 || !host.chars().all(legal) {
            return Err(fault("has no host"));
        }
        let port = match port {
            None => default,
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or(fault("has a port that is not between 1 and 65535"))?,
        };
        Ok(Self {
            scheme,
            host: host.to_owned(),
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_a_host_and_a_port() {
        for (text, expected) in [
            ("http://127.0.0.1:8081", "http://127.0.0.1:8081"),
            ("http://localhost:9000/", "http://localhost:9000"),
            ("edge.internal:8081", "http://edge.internal:8081"),
            ("http://edge.internal", "http://edge.internal:80"),
            ("http://[::1]:8081", "http://[::1]:8081"),
            ("http://[::1]", "http://[::1]:80"),
        ] {
            assert_eq!(text.parse::<ApiUrl>().unwrap().to_string(), expected, "{text}");
        }
        let https = "https://edge".parse::<ApiUrl>();
        assert_eq!(https.is_ok(), cfg!(feature = "tls"), "{https:?}");
    }

    #[test]
    fn what_is_none_is_refused_with_an_example() {
        for bad in [
            "",
            "http://",
            "ftp://a",
            "http://a/api/v1",
            "http://me@a",
            "http://a b",
            "http://a:0",
            "http://a:65536",
            "http://a:b",
            "http://[::1",
            "http://[::1]x",
            "http://[x]:1",
            "http://::1",
            "http://a\r\nx: y",
        ] {
            let told = bad.parse::<ApiUrl>().unwrap_err().to_string();
            assert!(told.contains("such as http://10.0.0.1:8081"), "{bad}: {told}");
        }
    }
}
