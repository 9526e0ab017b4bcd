use std::fmt;
use std::str::FromStr;

/// Where an etcd is, and under which of its keys everything is kept: `etcd://HOST:PORT[,HOST:PORT…][/PREFIX]`, or
/// `etcds://` with TLS.
///
/// ```
/// # #[cfg(feature = "etcd")] {
/// let address: edgeproxy_store::EtcdAddress = "etcd://10.0.0.1:2379,10.0.0.2/shop".parse().unwrap();
/// assert_eq!(address.to_string(), "etcd://10.0.0.1:2379,10.0.0.2:2379/shop");
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EtcdAddress {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) prefix: String,
    encrypted: bool,
}

/// One member's address for clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Endpoint {
    /// A name or an address; of IPv6 without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Why a text is no address of an etcd.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{found:?} {problem}; expected etcd://HOST:PORT[,HOST:PORT...][/PREFIX]")]
pub struct EtcdAddressError {
    /// The text, or its part, cut to 64 characters; a password in it is left out.
    pub found: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// Of a cluster; etcd itself advises seven at most.
const ENDPOINTS_MAX: usize = 16;
const PREFIX_MAX: usize = 200;
/// What etcd listens on for clients unless it is told otherwise.
const DEFAULT_PORT: u16 = 2379;
const DEFAULT_PREFIX: &str = "edgeproxy";

impl EtcdAddress {
    /// Whether connections are made inside TLS.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// The members, for messages.
    pub(super) fn members(&self) -> String {
        let members: Vec<_> = self.endpoints.iter().map(Endpoint::to_string).collect();
        members.join(", ")
    }
}

impl FromStr for EtcdAddress {
    type Err = EtcdAddressError;

    fn from_str(text: &str) -> Result<Self, EtcdAddressError> {
        let fault = |found: &str, problem| EtcdAddressError {
            found: found.chars().take(64).collect(),
            problem,
        };
        let (encrypted, rest) = match text.split_once("://") {
            Some(("etcd", rest)) => (false, rest),
            Some(("etcds", rest)) => (true, rest),
            _ => return Err(fault(text, "does not begin with etcd:// or etcds://")),
        };
        let (hosts, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if let Some((_, host)) = hosts.rsplit_once('@') {
            return Err(fault(
                host,
                "has a user before it, which everybody would see; name the files of user and password in the settings",
            ));
        }
        let prefix = prefix.trim_matches('/');
        let permitted = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
        if prefix.len() > PREFIX_MAX || !prefix.chars().all(permitted) {
            return Err(fault(prefix, "is no prefix: at most 200 of A-Z a-z 0-9 / . _ -"));
        }
        let endpoints: Vec<_> = hosts
            .split(',')
            .map(|host| endpoint(host).map_err(|problem| fault(host, problem)))
            .collect::<Result<_, _>>()?;
        if endpoints.len() > ENDPOINTS_MAX {
            return Err(fault(hosts, "names more than 16 members"));
        }
        let prefix = if prefix.is_empty() { DEFAULT_PREFIX } else { prefix };
        Ok(Self {
            endpoints,
            prefix: prefix.to_owned(),
            encrypted,
        })
    }
}

fn endpoint(text: &str) -> Result<Endpoint, &'static str> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or("is no host and port")?)),
        None => match text.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err("is an IPv6 address without brackets"),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_v6 = host.contains(':');
    let permitted =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') || (is_v6 && c == ':');
    if host.is_empty() || host.len() > 253 || !host.chars().all(permitted) {
        return Err("is no host name or address");
    }
    let port = match port {
        None => DEFAULT_PORT,
        Some(port) => port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or("has no port from 1 to 65535")?,
    };
    Ok(Endpoint {
        host: host.to_owned(),
        port,
    })
}

impl fmt::Display for EtcdAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.encrypted { "etcds://" } else { "etcd://" })?;
        for (at, endpoint) in self.endpoints.iter().enumerate() {
            write!(f, "{}{endpoint}", if at == 0 { "" } else { "," })?;
        }
        write!(f, "/{}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_prefix_are_read_and_shown_again() {
        for (text, shown) in [
            ("etcd://a", "etcd://a:2379/edgeproxy"),
            (
                "etcds://a:1,[::1]:2,[::2]/x/y/",
                "etcds://a:1,[::1]:2,[::2]:2379/x/y",
            ),
            ("etcd://127.0.0.1:2379/shop", "etcd://127.0.0.1:2379/shop"),
        ] {
            let address: EtcdAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(address.to_string().parse(), Ok(address));
        }
    }

    #[test]
    fn what_is_no_address_is_told_why_and_a_password_is_not_repeated() {
        for (text, words) in [
            ("http://a", "does not begin with etcd://"),
            ("etcd://", "is no host name"),
            ("etcd://a:0", "has no port"),
            ("etcd://a:x", "has no port"),
            ("etcd://::1", "without brackets"),
            ("etcd://[::1]x", "is no host and port"),
            ("etcd://a,,b", "is no host name"),
            ("etcd://a/ä", "is no prefix"),
            ("etcd://root:hunter2@a", "has a user before it"),
        ] {
            let message = text.parse::<EtcdAddress>().unwrap_err().to_string();
            assert!(message.contains(words), "{text}: {message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
        let many = vec!["a"; 17].join(",");
        assert!(format!("etcd://{many}").parse::<EtcdAddress>().is_err());
    }
}
