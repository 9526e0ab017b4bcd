use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where a backend listens: a unicast address and a port that can be connected to from another machine.
///
/// An IPv4-mapped IPv6 address is stored as the IPv4 address that it is, so that one backend has one
/// spelling and no check can be walked around.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendAddr(SocketAddr);

/// Why an address or a port can't be a backend's. `field` of the API is `ip` but for [`AddrError::Port`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddrError {
    /// Not an address at all.
    #[error("{found:?} is not an IPv4 or IPv6 address; a host name is not accepted")]
    NotAnAddress {
        /// The text found, shortened.
        found: String,
    },
    /// An address that no single other machine can have.
    #[error("{ip} is {kind}; a backend needs an address that the proxy can connect to")]
    Unroutable {
        /// The address found.
        ip: IpAddr,
        /// What kind of address that is, with its article.
        kind: &'static str,
    },
    /// Port 0.
    #[error("is 0; a port is between 1 and 65535")]
    Port,
}

impl BackendAddr {
    /// Reads an address literal and joins it with a port.
    ///
    /// # Errors
    /// When `ip` is no literal, or as [`BackendAddr::new`].
    pub fn parse(ip: &str, port: u16) -> Result<Self, AddrError> {
        let ip: IpAddr = ip.parse().map_err(|_| AddrError::NotAnAddress {
            found: ip.chars().take(64).collect(),
        })?;
        Self::new(ip, port)
    }

    /// Joins an address with a port.
    ///
    /// # Errors
    /// When `ip` is unspecified, multicast, broadcast or link-local, or `port` is 0.
    pub fn new(ip: IpAddr, port: u16) -> Result<Self, AddrError> {
        let ip = ip.to_canonical();
        if let Some(kind) = unroutable(ip) {
            return Err(AddrError::Unroutable { ip, kind });
        }
        if port == 0 {
            return Err(AddrError::Port);
        }
        Ok(Self(SocketAddr::new(ip, port)))
    }

    /// The address and port.
    #[must_use]
    pub const fn socket_addr(self) -> SocketAddr {
        self.0
    }

    /// The address.
    #[must_use]
    pub const fn ip(self) -> IpAddr {
        self.0.ip()
    }

    /// The port, 1–65535.
    #[must_use]
    pub const fn port(self) -> u16 {
        self.0.port()
    }
}

fn unroutable(ip: IpAddr) -> Option<&'static str> {
    if ip.is_unspecified() {
        return Some("the unspecified address");
    }
    if ip.is_multicast() {
        return Some("a multicast address");
    }
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if link_local {
        return Some("a link-local address");
    }
    match ip {
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some("the broadcast address"),
        // RFC 1122 §3.2.1.3: "this network" is no destination.
        IpAddr::V4(v4) if v4.octets()[0] == 0 => Some("an address of \"this network\" (0.0.0.0/8)"),
        IpAddr::V6(v6) if is_ipv4_compatible(v6) => {
            Some("an IPv4-compatible address (deprecated by RFC 4291)")
        }
        _ => None,
    }
}

/// `::/96` without `::` and `::1`: deprecated, and another spelling of an IPv4 address to some systems.
fn is_ipv4_compatible(v6: Ipv6Addr) -> bool {
    v6.segments()[..6] == [0; 6] && v6 != Ipv6Addr::LOCALHOST
}

impl fmt::Display for BackendAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for BackendAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unicast_addresses_are_taken_and_mapped_ones_unwrapped() {
        assert_eq!(
            BackendAddr::parse("10.50.1.1", 8080).unwrap().to_string(),
            "10.50.1.1:8080"
        );
        assert_eq!(BackendAddr::parse("::1", 1).unwrap().to_string(), "[::1]:1");
        assert_eq!(
            BackendAddr::parse("::ffff:10.0.0.1", 80).unwrap().to_string(),
            "10.0.0.1:80"
        );
    }

    #[test]
    fn what_no_backend_can_have_is_refused_in_every_spelling() {
        for bad in [
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "169.254.0.1",
            "fe80::1",
            "::ffff:169.254.0.1",
            "::ffff:0.0.0.0",
            "::ffff:224.0.0.1",
            "0.1.2.3",
            "::10.0.0.1",
        ] {
            assert!(
                matches!(BackendAddr::parse(bad, 80), Err(AddrError::Unroutable { .. })),
                "{bad}"
            );
        }
        for bad in [
            "",
            "localhost",
            "10.0.0",
            "10.0.0.1:80",
            "010.0.0.1",
            "fe80::1%eth0",
            "[::1]",
        ] {
            assert!(
                matches!(BackendAddr::parse(bad, 80), Err(AddrError::NotAnAddress { .. })),
                "{bad}"
            );
        }
        assert_eq!(BackendAddr::parse("10.0.0.1", 0), Err(AddrError::Port));
    }
}
