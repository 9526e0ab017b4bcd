//! Fields that are between two neighbours only (RFC 9110 §7.6.1).

use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};

use super::Present;
use crate::http1::field::Field;

/// Between neighbours whether `Connection` names them or not. `Transfer-Encoding` is here because the body is
/// framed anew on the other side.
static ALWAYS: [HeaderName; 7] = [
    header::CONNECTION,
    // What an upgrade to h2c would begin with, which is never forwarded.
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Never removed on a neighbour's word: without them the message would have another length, or another
/// addressee.
static NEVER: [HeaderName; 2] = [header::CONTENT_LENGTH, header::HOST];

/// Removes them, and whatever `Connection` names.
pub(crate) fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        for name in named(headers) {
            headers.remove(name);
        }
    }
    for name in &ALWAYS {
        headers.remove(name);
    }
}

/// The same for a request with those fields, and what only looks like one that a backend believes the proxy by; keeps
/// that its sender takes trailers. Returns what is left.
pub(crate) fn strip_all(headers: &mut HeaderMap, present: Present) -> Present {
    const BETWEEN: [Field; 7] = [
        Field::Connection,
        Field::Http2Settings,
        Field::KeepAlive,
        Field::ProxyConnection,
        Field::Te,
        Field::TransferEncoding,
        Field::Upgrade,
    ];
    if present.has(Field::Lookalike) {
        let looks = |name: &&HeaderName| Field::of(name.as_str()) == Field::Lookalike;
        let names: Vec<HeaderName> = headers.keys().filter(looks).cloned().collect();
        for name in names {
            headers.remove(name);
        }
    }
    if !BETWEEN.iter().any(|field| present.has(*field)) {
        return present;
    }
    let trailers = takes_trailers(headers);
    strip(headers);
    if trailers {
        ask_for_trailers(headers);
    }
    Present::of(headers)
}

/// Whether the sender takes trailers: `TE: trailers` (RFC 9110 §10.1.4).
pub(crate) fn takes_trailers(headers: &HeaderMap) -> bool {
    let mut tokens = headers.get_all(header::TE).iter().flat_map(tokens);
    tokens.any(|token| token.eq_ignore_ascii_case("trailers"))
}

/// Says the same to the next neighbour. HTTP/1.1 wants `Connection: te` besides.
pub(crate) fn ask_for_trailers(headers: &mut HeaderMap) {
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
}

fn named(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION);
    let names = values
        .iter()
        .flat_map(tokens)
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok());
    names.filter(|name| !NEVER.contains(name)).collect()
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value
        .to_str()
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        fields.iter().map(field).collect()
    }

    #[test]
    fn connection_and_what_it_names_goes_and_the_rest_stays() {
        let mut headers = map(&[
            ("connection", "close, X-Hop"),
            ("connection", "x-other,, content-length, host"),
            ("x-hop", "1"),
            ("x-hop", "2"),
            ("x-other", "3"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "gzip"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABk"),
            ("host", "a"),
            ("content-length", "0"),
            ("x-end", "4"),
        ]);
        strip(&mut headers);
        assert_eq!(
            headers,
            map(&[("host", "a"), ("content-length", "0"), ("x-end", "4")])
        );
    }

    #[test]
    fn te_is_kept_for_trailers_only() {
        assert!(takes_trailers(&map(&[("te", "gzip;q=0.5, Trailers")])));
        assert!(!takes_trailers(&map(&[("te", "gzip")])));
        assert!(!takes_trailers(&HeaderMap::new()));
        let mut headers = HeaderMap::new();
        ask_for_trailers(&mut headers);
        assert_eq!(headers, map(&[("te", "trailers")]));
    }

    #[test]
    fn what_a_backend_would_take_for_the_proxys_own_is_removed() {
        let mut headers = map(&[
            ("x_forwarded_for", "1"),
            ("x-forwarded_proto", "2"),
            ("x_other", "3"),
        ]);
        let present = Present::of(&headers);
        strip_all(&mut headers, present);
        assert_eq!(headers, map(&[("x_other", "3")]));
    }

    proptest! {
        #[test]
        fn nothing_that_connection_names_is_left(
            names in proptest::collection::vec("[a-zA-Z-]{1,8}", 0..6),
            fields in proptest::collection::vec("[a-z-]{1,8}", 0..12),
        ) {
            let mut headers = HeaderMap::new();
            for field in &fields {
                headers.append(HeaderName::from_bytes(field.as_bytes()).unwrap(), HeaderValue::from_static("v"));
            }
            headers.append(header::CONNECTION, HeaderValue::from_str(&names.join(" , ")).unwrap());
            strip(&mut headers);
            for name in names.iter().map(String::as_str).chain(ALWAYS.iter().map(HeaderName::as_str)) {
                let kept = NEVER.iter().any(|never| name.eq_ignore_ascii_case(never.as_str()));
                prop_assert!(kept || !headers.contains_key(name), "{name}");
            }
        }
    }
}
