//! Whom a request comes from, as told to the backend.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};
use ipnet::IpNet;

use super::Present;
use crate::http1::field::Field;
use crate::http1::request::Client;
use crate::http1::text::push_ip;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Says who the client is besides those three, and is believed by some backends.
static OTHERS: [HeaderName; 4] = [
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-real-ip"),
];

/// Whether a peer's own forwarding headers are believed.
pub(crate) fn is_trusted(peer: IpAddr, trusted: &[IpNet]) -> bool {
    let peer = peer.to_canonical();
    trusted.iter().any(|network| network.contains(&peer))
}

/// Whom a request comes from, as its backend is told.
#[derive(Clone, Debug)]
pub(crate) struct Forwarded {
    /// The addresses in front of the client's.
    chain: Option<String>,
    ip: IpAddr,
    /// `None`: what is named already is kept.
    proto: Option<&'static str>,
    host: Option<HeaderValue>,
}

impl Forwarded {
    /// Takes out of the fields what is told anew. From a trusted peer the chain of addresses is continued, and the
    /// scheme and host that it names are kept; anybody else's claims are dropped.
    pub(crate) fn replace(
        headers: &mut HeaderMap,
        present: Present,
        client: Client,
        host: Option<&HeaderValue>,
    ) -> Self {
        let Client { ip, trusted, tls, .. } = client;
        let mut chain = None;
        if present.has(Field::XFor) {
            chain = if trusted { self::chain(headers) } else { None };
            headers.remove(FOR);
        }
        if !trusted && (present.has(Field::Forwarded) || present.has(Field::XOther)) {
            for name in &OTHERS {
                headers.remove(name);
            }
        }
        let mut replaces = |field, name| {
            let there = present.has(field);
            if there && !trusted {
                headers.remove(name);
            }
            !(there && trusted)
        };
        let proto = replaces(Field::XProto, PROTO).then_some(if tls { "https" } else { "http" });
        let host = if replaces(Field::XHost, HOST) {
            host.cloned()
        } else {
            None
        };
        Self {
            chain,
            ip: ip.to_canonical(),
            proto,
            host,
        }
    }

    /// Every field that is told.
    pub(crate) fn each(&self, mut put: impl FnMut(&HeaderName, &[u8])) {
        let chain = self.chain.as_deref().unwrap_or_default();
        let mut text = Vec::with_capacity(chain.len() + 48);
        if !chain.is_empty() {
            text.extend_from_slice(chain.as_bytes());
            text.extend_from_slice(b", ");
        }
        push_ip(&mut text, self.ip);
        put(&FOR, &text);
        if let Some(proto) = self.proto {
            put(&PROTO, proto.as_bytes());
        }
        if let Some(host) = &self.host {
            put(&HOST, host.as_bytes());
        }
    }
}

/// Whether a value of `X-Forwarded-For` can be continued.
pub(crate) fn is_chain(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(|b| matches!(b, b'\t' | b' '..=b'~'))
}

fn chain(headers: &HeaderMap) -> Option<String> {
    let values: Vec<&str> = headers
        .get_all(FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    if values.is_empty() {
        None
    } else {
        Some(values.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Client = Client {
        ip: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)),
        trusted: false,
        tls: false,
        whereabouts: crate::http1::request::NOWHERE,
    };

    fn claims() -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.append(FOR, HeaderValue::from_static("198.51.100.1"));
        headers.append(FOR, HeaderValue::from_static("198.51.100.2"));
        headers.insert(PROTO, HeaderValue::from_static("https"));
        headers.insert(HOST, HeaderValue::from_static("claimed"));
        headers.insert(header::FORWARDED, HeaderValue::from_static("for=198.51.100.1"));
        headers.insert("x-real-ip", HeaderValue::from_static("198.51.100.1"));
        headers
    }

    fn write(headers: &mut HeaderMap, client: Client, host: Option<&HeaderValue>) {
        let present = Present::of(headers);
        let forwarded = Forwarded::replace(headers, present, client, host);
        forwarded.each(|name, value| {
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        });
    }

    #[test]
    fn a_strangers_claims_are_replaced() {
        let mut headers = claims();
        write(&mut headers, PEER, Some(&HeaderValue::from_static("shop")));
        assert_eq!(headers.get_all(FOR).iter().collect::<Vec<_>>(), ["192.0.2.7"]);
        assert_eq!(headers[PROTO], "http");
        assert_eq!(headers[HOST], "shop");
        assert_eq!(headers.len(), 3);
    }

    #[test]
    fn a_trusted_proxys_claims_are_kept_and_its_address_is_appended() {
        let mut headers = claims();
        let trusted = Client {
            trusted: true,
            ..PEER
        };
        write(&mut headers, trusted, Some(&HeaderValue::from_static("shop")));
        assert_eq!(
            headers.get_all(FOR).iter().collect::<Vec<_>>(),
            ["198.51.100.1, 198.51.100.2, 192.0.2.7"]
        );
        assert_eq!(headers[PROTO], "https");
        assert_eq!(headers[HOST], "claimed");
        assert!(headers.contains_key(header::FORWARDED));
    }

    #[test]
    fn a_mapped_address_is_trusted_and_written_as_the_ipv4_address_that_it_is() {
        let peer: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
        assert!(is_trusted(peer, &["192.0.2.0/24".parse().unwrap()]));
        assert!(!is_trusted(peer, &["198.51.100.0/24".parse().unwrap()]));
        assert!(!is_trusted(peer, &[]));
        let mut headers = HeaderMap::new();
        write(
            &mut headers,
            Client {
                ip: peer,
                tls: true,
                ..PEER
            },
            None,
        );
        assert_eq!(headers[FOR], "192.0.2.7");
        assert_eq!(headers[PROTO], "https");
        assert!(!headers.contains_key(HOST));
    }
}
