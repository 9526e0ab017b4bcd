//! Where a request comes from, which decides who is near: by the client's address, or by what a trusted peer says.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use edgeproxy_backend::Country;
use edgeproxy_balance::Client;
use http::HeaderMap;
use http::header::HeaderName;
use ipnet::IpNet;

use crate::headers::forwarded::is_trusted;
use crate::http1::field::Field;
use crate::http1::head::Fields;

/// Tells where clients are. Asked on the request path, for each connection once and for each request that a trusted
/// peer introduces: it must neither wait nor take a lock that anybody holds for long.
pub trait Locate: fmt::Debug + Send + Sync {
    /// Where `address` is, as far as that is known.
    fn address(&self, address: IpAddr) -> Client;
    /// Where somebody is who is in `country`.
    fn country(&self, country: Country) -> Client;
}

/// How trusted peers are read.
#[derive(Clone, Copy)]
pub(crate) struct Origins<'a> {
    pub(crate) trusted: &'a [IpNet],
    /// The field that names the client's country.
    pub(crate) country: Option<&'a HeaderName>,
}

/// Whom a trusted peer introduces.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Introduced {
    pub(crate) address: Option<IpAddr>,
    pub(crate) country: Option<Country>,
}

impl Origins<'_> {
    /// By the fields of a head of HTTP/1.
    pub(crate) fn of(self, fields: &Fields<'_, '_>) -> Introduced {
        let chain = fields.iter().filter(|line| line.field == Field::XFor);
        let country = self.country.and_then(|name| {
            let named = |line: &str| line.eq_ignore_ascii_case(name.as_str());
            fields.iter().find(|line| named(line.name)).map(|line| line.value)
        });
        self.read(chain.map(|line| line.value), country)
    }

    /// By the fields of a head of HTTP/2.
    pub(crate) fn of_map(self, headers: &HeaderMap) -> Introduced {
        let chain = headers.get_all("x-forwarded-for").iter();
        let country = self.country.and_then(|name| headers.get(name));
        self.read(
            chain.map(http::HeaderValue::as_bytes),
            country.map(http::HeaderValue::as_bytes),
        )
    }

    fn read<'v>(self, chain: impl Iterator<Item = &'v [u8]>, country: Option<&[u8]>) -> Introduced {
        let country = country.and_then(|code| std::str::from_utf8(code).ok());
        Introduced {
            address: nearest(chain, self.trusted),
            country: country.and_then(|code| Country::parse(code.trim()).ok()),
        }
    }
}

/// The client of a chain of `X-Forwarded-For`: the address nearest to this proxy that is no trusted peer's, or else the
/// farthest. Whoever is in front of what can't be read is not believed, since a client may have written it.
pub(crate) fn nearest<'v>(chain: impl Iterator<Item = &'v [u8]>, trusted: &[IpNet]) -> Option<IpAddr> {
    let mut client = None;
    for hop in chain.flat_map(|value| value.split(|byte| *byte == b',')) {
        client = match (hop_address(hop), client) {
            (Some(hop), Some(before)) if is_trusted(hop, trusted) => Some(before),
            (Some(hop), _) => Some(hop),
            (None, _) => None,
        };
    }
    client
}

/// With or without a port, as proxies write them.
fn hop_address(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop.trim_ascii()).ok()?;
    let address = text
        .parse()
        .or_else(|_| text.parse().map(|socket: SocketAddr| socket.ip()));
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    address
        .ok()
        .or_else(bracketed)
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn introduced(chain: &[&str], country: Option<&str>) -> Introduced {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let name = HeaderName::from_static("cf-ipcountry");
        let origins = Origins {
            trusted: &trusted,
            country: Some(&name),
        };
        let mut headers = HeaderMap::new();
        for value in chain {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        if let Some(country) = country {
            headers.insert(&name, country.parse().unwrap());
        }
        origins.of_map(&headers)
    }

    #[test]
    fn the_client_is_the_nearest_that_is_no_trusted_peer() {
        for (chain, expected) in [
            (&[][..], None),
            (&["192.0.2.1"], Some("192.0.2.1")),
            (&["192.0.2.1, 10.0.0.1"], Some("192.0.2.1")),
            (&["192.0.2.1,10.0.0.1", "fd00::1"], Some("192.0.2.1")),
            // What a client has written in front is not believed.
            (&["198.51.100.1, 192.0.2.1, 10.0.0.1"], Some("192.0.2.1")),
            (&["hello, 192.0.2.1, 10.0.0.1"], Some("192.0.2.1")),
            // Within the operator's own networks.
            (&["10.0.0.2, 10.0.0.1"], Some("10.0.0.2")),
            (&["192.0.2.1, unknown"], None),
            (&["192.0.2.1, unknown, 10.0.0.1"], Some("10.0.0.1")),
            (&["192.0.2.1:4711"], Some("192.0.2.1")),
            (&["[2001:db8::1]:4711"], Some("2001:db8::1")),
            (&["[2001:db8::1]"], Some("2001:db8::1")),
            (&["::ffff:192.0.2.1"], Some("192.0.2.1")),
            (&[","], None),
        ] {
            let found = introduced(chain, None).address.map(|address| address.to_string());
            assert_eq!(found.as_deref(), expected, "{chain:?}");
        }
    }

    #[test]
    fn a_country_is_a_code_that_there_is() {
        for (country, expected) in [("br", Some("BR")), (" DE ", Some("DE")), ("XX", None), ("", None)] {
            let found = introduced(&[], Some(country)).country;
            assert_eq!(found.as_ref().map(Country::as_str), expected, "{country:?}");
        }
    }
}
