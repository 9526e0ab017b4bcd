pub(crate) mod admission;
pub(crate) mod caller;
pub(crate) mod failures;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use axum::extract::Request;
use edgeproxy_access::{Grant, Grants, UnixSecs, Unusable};
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue};

use crate::access::caller::{Caller, told};
use crate::access::failures::Failures;
use crate::endpoint::Endpoint;
use crate::problem::{Kind, Problem};
use crate::serve::tls::ClientNames;

/// Who may use the API.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Serve every peer, not only those on loopback and private networks. Nothing to whoever is [`granted`](Self::granted)
    /// something.
    pub insecure: bool,
    /// Host names, besides this machine's own, that a changing request may be addressed to. Without a
    /// port; case doesn't matter.
    pub allowed_hosts: Vec<String>,
    /// Whom tokens and certificates grant what. With it nobody is served without one, on loopback either.
    pub granted: Option<Granted>,
}

/// What is granted to whom, to be replaced at any time, for the next request. Cheap to clone; a clone is the same.
#[derive(Clone)]
pub struct Granted(Arc<ArcSwap<Grants>>);

impl Granted {
    /// By that file.
    #[must_use]
    pub fn new(grants: Grants) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(grants)))
    }

    /// What is in force now.
    pub(crate) fn in_force(&self) -> Arc<Grants> {
        self.0.load_full()
    }

    /// By another one from now on.
    pub fn replace(&self, grants: Grants) {
        self.0.store(Arc::new(grants));
    }
}

impl fmt::Debug for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Granted").field(&**self.0.load()).finish()
    }
}

/// Why somebody is not served, and who it is if that is known.
pub(crate) struct Denied {
    pub(crate) caller: Option<Caller>,
    pub(crate) problem: Problem,
}

impl From<Problem> for Denied {
    fn from(problem: Problem) -> Self {
        Self {
            caller: None,
            problem,
        }
    }
}

impl Access {
    /// Whether this peer is served at all, where nobody is told from another.
    pub(crate) fn check_peer(&self, peer: Option<SocketAddr>) -> Result<(), Problem> {
        let error = match peer {
            _ if self.insecure || self.granted.is_some() => return Ok(()),
            Some(peer) if is_private(peer.ip()) => return Ok(()),
            Some(peer) => format!(
                "{} is neither on loopback nor on a private network; without tokens only those are served: call \
                 from a private network, or set EDGEPROXY_API_TOKENS_FILE to serve whoever has a token, or \
                 EDGEPROXY_API_INSECURE=true to serve everyone",
                peer.ip().to_canonical()
            ),
            // Whoever embeds the router has to pass the address on; without it there is no one to trust.
            None => "the peer's address is unknown; serve the router with connect info".to_owned(),
        };
        Err(unauthorized(Kind::PeerNotServed, error))
    }

    /// Who it is that asks.
    pub(crate) fn identify(
        &self,
        request: &Request,
        peer: Option<SocketAddr>,
        failures: &Failures,
    ) -> Result<Caller, Denied> {
        let Some(granted) = &self.granted else {
            return Ok(Caller::Network);
        };
        let Some(peer) = peer else {
            let error = "the peer's address is unknown; serve the router with connect info";
            return Err(unauthorized(Kind::PeerNotServed, error).into());
        };
        let (grants, ip) = (granted.0.load(), peer.ip());
        if let Some(shown) = bearer(request.headers())? {
            // A known one before anything else: whoever shows wrong ones must not shut out who shares their address.
            return match grants.of_token(shown) {
                Some(grant) => usable(grant, ip),
                None => Err(guessed(ip, failures).into()),
            };
        }
        let is_open = Endpoint::is_open(request.uri().path());
        if let Some(ClientNames(names)) = request.extensions().get() {
            match grants.of_certificate(names) {
                Some(grant) => return usable(grant, ip),
                None if is_open => {}
                None => return Err(unknown_certificate(names).into()),
            }
        }
        if is_open {
            return Ok(Caller::Stranger);
        }
        let error = "this API takes a token: send it as Authorization: Bearer TOKEN; its operator makes one by `edgeproxy \
                     token new`";
        Err(unauthorized(Kind::TokenRequired, error).into())
    }
}

/// The token that a request shows (RFC 6750 §2.1). In the query none is looked for: those end in logs.
fn bearer(headers: &HeaderMap) -> Result<Option<&[u8]>, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Problem::malformed("several Authorization headers; send one"));
    }
    let value = value.as_bytes();
    let (scheme, rest) = value.split_at(value.len().min("Bearer ".len()));
    if scheme.eq_ignore_ascii_case(b"Bearer ") {
        return Ok(Some(rest.trim_ascii()));
    }
    let error = "the Authorization is no bearer token; send it as Authorization: Bearer TOKEN";
    Err(unauthorized(Kind::TokenRequired, error))
}

fn usable(grant: &Arc<Grant>, ip: IpAddr) -> Result<Caller, Denied> {
    let caller = Caller::Granted(Arc::clone(grant));
    let problem = match grant.check(UnixSecs::of(SystemTime::now()), ip) {
        Ok(()) => return Ok(caller),
        Err(Unusable::Expired(at)) => unauthorized(
            Kind::TokenExpired,
            format!(
                "{} has expired, at {at}; its operator makes another one",
                told(grant)
            ),
        ),
        Err(Unusable::Elsewhere(ip)) => Problem::new(
            Kind::TokenElsewhere,
            format!("{} may not be used from {ip}", told(grant)),
        ),
    };
    Err(Denied {
        caller: Some(caller),
        problem,
    })
}

/// What is asked for (RFC 6750 §3).
const BEARER: &str = "Bearer realm=\"edgeproxy\"";
/// What was shown is worth nothing (RFC 6750 §3.1).
const INVALID: &str = "Bearer realm=\"edgeproxy\", error=\"invalid_token\"";

/// What an unknown token is answered with: that it is one, and after too many of them no more than to wait.
fn guessed(ip: IpAddr, failures: &Failures) -> Problem {
    let now = Instant::now();
    if let Some(wait) = failures.wait(ip, now) {
        return too_many(wait);
    }
    failures.count(ip, now);
    unknown_token()
}

fn unknown_token() -> Problem {
    let error =
        "the token is none of those that are known; it may have been replaced, or be for another edgeproxy";
    unauthorized(Kind::TokenUnknown, error)
}

fn unknown_certificate(names: &[String]) -> Problem {
    let named: Vec<String> = names
        .iter()
        .take(4)
        .map(|name| name.chars().take(128).collect())
        .collect();
    let is_for = if named.is_empty() {
        "no DNS name and no URI".to_owned()
    } else {
        named.join(", ")
    };
    let error = format!(
        "the certificate is for {is_for}; none of that is a subject of [[certificates]] in the file of tokens"
    );
    Problem::new(Kind::CertificateUnknown, error)
}

fn unauthorized(kind: Kind, error: impl Into<String>) -> Problem {
    let challenge = match kind {
        Kind::TokenUnknown | Kind::TokenExpired => INVALID,
        _ => BEARER,
    };
    Problem::new(kind, error).with_header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

fn too_many(wait: Duration) -> Problem {
    let error = "too many wrong tokens from this address; wait as Retry-After says";
    Problem::for_now(Kind::TooManyWrongTokens, error, secs_up(wait))
}

/// Whole seconds, at least one.
pub(crate) fn secs_up(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// Loopback, RFC 1918, RFC 4193, RFC 6598 and link-local.
pub(crate) fn is_private(ip: IpAddr) -> bool {
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
    fn a_bearer_token_is_read_as_the_rfc_writes_it() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            bearer(&headers)
                .map(|shown| shown.map(<[u8]>::to_vec))
                .map_err(|problem| problem.kind())
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["Bearer abc"]), Ok(Some(b"abc".to_vec())));
        assert_eq!(of(&["bearer  abc "]), Ok(Some(b"abc".to_vec())));
        for other in ["Basic YTpi", "abc", "", "Bearer"] {
            assert_eq!(of(&[other]), Err(Kind::TokenRequired), "{other}");
        }
        assert_eq!(of(&["Bearer a", "Bearer b"]), Err(Kind::Malformed));
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
