use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, StatusCode};

use crate::problem::Problem;

/// Who may use the API while there are no tokens.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Serve every peer, not only those on loopback and private networks.
    pub insecure: bool,
    /// Host names, besides this machine's own, that a changing request may be addressed to. Without a
    /// port; case doesn't matter.
    pub allowed_hosts: Vec<String>,
}

impl Access {
    /// Whether this peer is served at all.
    pub(crate) fn check_peer(&self, peer: Option<SocketAddr>) -> Result<(), Problem> {
        let error = match peer {
            _ if self.insecure => return Ok(()),
            Some(peer) if is_private(peer.ip()) => return Ok(()),
            Some(peer) => format!(
                "{} is neither on loopback nor on a private network; without tokens only those are served: call \
                 from a private network, or set EDGEPROXY_API_INSECURE=true to serve everyone",
                peer.ip().to_canonical()
            ),
            // Whoever embeds the router has to pass the address on; without it there is no one to trust.
            None => "the peer's address is unknown; serve the router with connect info".to_owned(),
        };
        Err(Problem::new(StatusCode::UNAUTHORIZED, error).with_header(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"edgeproxy\""),
        ))
    }
}

/// Loopback, RFC 1918, RFC 4193, RFC 6598 and link-local.
fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local() || is_shared(v4),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// RFC 6598: 100.64.0.0/10.
fn is_shared(v4: Ipv4Addr) -> bool {
    let [first, second, ..] = v4.octets();
    first == 100 && second & 0b1100_0000 == 64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_private_networks_are_served_and_nobody_else() {
        for private in [
            "127.0.0.1",
            "127.255.255.254",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.0",
            "100.127.255.255",
            "169.254.1.1",
            "::1",
            "fc00::1",
            "fdff::1",
            "fe80::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
        ] {
            assert!(is_private(private.parse().unwrap()), "{private}");
        }
        for public in [
            "8.8.8.8",
            "172.15.255.255",
            "172.32.0.1",
            "100.63.255.255",
            "100.128.0.0",
            "192.169.0.1",
            "169.253.0.1",
            "0.0.0.0",
            "2001:db8::1",
            "2606:4700::1",
            "::ffff:8.8.8.8",
            "::",
            "fec0::1",
        ] {
            assert!(!is_private(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn insecure_lifts_it_and_an_unknown_peer_is_nobody() {
        let peer = "8.8.8.8:1".parse().unwrap();
        assert!(Access::default().check_peer(Some(peer)).is_err());
        assert!(Access::default().check_peer(None).is_err());
        let insecure = Access {
            insecure: true,
            ..Access::default()
        };
        assert!(insecure.check_peer(Some(peer)).is_ok());
    }
}
