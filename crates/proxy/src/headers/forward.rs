//! The rewriting of heads: what a backend and a client get to see. No I/O.

use edgeproxy_backend::BackendAddr;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::Scheme;
use http::{HeaderMap, StatusCode, Uri, Version, response};

use crate::headers::forwarded::Forwarded;
use crate::headers::hop;
use crate::headers::trace::Ids;
use crate::headers::via::Pseudonym;
use crate::http1::field::Field;
use crate::http1::request::Client;
use crate::request::inbound::Inbound;
use crate::telemetry::traces::Traced;

/// What a backend is told besides what the client said: who that is, and by which ids the request is known. Apart from
/// the client's own fields, since HTTP/1.1 has it written without it ever being in a map.
#[derive(Debug)]
pub(crate) struct Added {
    forwarded: Forwarded,
    ids: Ids,
    via: HeaderValue,
}

impl Added {
    /// Every field, for `put` to write.
    pub(crate) fn each(&self, mut put: impl FnMut(&HeaderName, &[u8])) {
        self.forwarded.each(&mut put);
        self.ids.each(&mut put);
        put(&header::VIA, self.via.as_bytes());
    }

    /// Has the next backend told another step of the trace, of a request that is traced.
    pub(crate) fn step(&mut self, span: u64) {
        self.ids.step(span);
    }

    /// Adds every field to those of the client.
    pub(crate) fn append_to(&self, headers: &mut HeaderMap) {
        self.each(|name, value| {
            // They are made of what is valid.
            if let Ok(value) = HeaderValue::from_bytes(value) {
                headers.append(name, value);
            }
        });
    }
}

/// Turns a client's fields into those that the backend gets, but for the host and for what is added.
pub(crate) fn to_backend(
    parts: &mut Parts,
    inbound: &Inbound,
    (client, traced): (Client, Option<&Traced>),
    pseudonym: &Pseudonym,
    random: impl FnMut() -> u64,
) -> Added {
    let headers = &mut parts.headers;
    let present = hop::strip_all(headers, inbound.present);
    join_cookies(headers);
    // Where it belongs depends on what the backend speaks.
    if present.has(Field::Host) {
        headers.remove(header::HOST);
    }
    Added {
        forwarded: Forwarded::replace(headers, present, client, inbound.host.as_ref()),
        ids: Ids::complete(headers, present, traced, random),
        via: pseudonym.signature(parts.version).clone(),
    }
}

/// The target with its authority, as HTTP/2 has it (RFC 9113 §8.3.1); `None` if it can't be written so.
pub(crate) fn absolute(
    scheme: Scheme,
    target: &Uri,
    host: Option<&HeaderValue>,
    addr: BackendAddr,
) -> Option<Uri> {
    let authority = match host {
        Some(host) => http::uri::Authority::from_maybe_shared(bytes::Bytes::copy_from_slice(host.as_bytes())),
        None => http::uri::Authority::from_maybe_shared(bytes::Bytes::from(addr.to_string())),
    };
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = Some(authority.ok()?);
    parts.path_and_query = target.path_and_query().cloned();
    Uri::from_parts(parts).ok()
}

/// Turns a backend's fields into those that the client gets. `false`: the response is none that may be
/// passed on.
#[must_use]
pub(crate) fn to_client(parts: &mut response::Parts, pseudonym: &Pseudonym) -> bool {
    // Nothing asked for an upgrade, so nobody may make one.
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        return false;
    }
    let headers = &mut parts.headers;
    if headers.contains_key(header::TRANSFER_ENCODING) && headers.contains_key(header::CONTENT_LENGTH) {
        return false;
    }
    hop::strip(headers);
    sign(parts, pseudonym);
    true
}

/// The same for fields of which none is between the backend and this proxy any more.
pub(crate) fn sign(parts: &mut response::Parts, pseudonym: &Pseudonym) {
    pseudonym.sign(&mut parts.headers, parts.version);
    // The codec of the client's side adds what its version needs.
    parts.version = Version::HTTP_11;
}

/// HTTP/2 may split a cookie into crumbs; HTTP/1.1 has one field (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    if crumbs.next().is_none() || crumbs.next().is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(header::COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};

    use super::*;

    fn forwarded(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut request = Request::builder().uri("/");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let pseudonym = Pseudonym::parse("here").unwrap();
        let config = crate::Config::default();
        let inbound = crate::request::inbound::check(&mut parts, &config, &pseudonym).unwrap();
        let added = to_backend(
            &mut parts,
            &inbound,
            (
                Client {
                    ip: [192, 0, 2, 7].into(),
                    trusted: false,
                    tls: false,
                    whereabouts: crate::http1::request::NOWHERE,
                },
                None,
            ),
            &pseudonym,
            || 1,
        );
        added.append_to(&mut parts.headers);
        parts.headers
    }

    #[test]
    fn cookie_crumbs_are_joined() {
        let headers = forwarded(&[("host", "a"), ("cookie", "a=1"), ("cookie", "b=2")]);
        assert_eq!(headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }

    #[test]
    fn an_upgrade_is_never_forwarded_and_an_expectation_is() {
        let headers = forwarded(&[
            ("host", "a"),
            ("connection", "Upgrade, HTTP2-Settings"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAAQAoAAAAAIAAAAA"),
            ("expect", "100-Continue"),
        ]);
        assert_eq!(headers["expect"], "100-Continue");
        for gone in ["upgrade", "http2-settings", "connection"] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
    }

    #[test]
    fn trailers_are_still_asked_for() {
        let headers = forwarded(&[("host", "a"), ("connection", "te"), ("te", "trailers, deflate")]);
        assert_eq!(headers["te"], "trailers");
        assert!(!headers.contains_key("connection"));
    }

    #[test]
    fn a_client_cannot_have_the_proxys_own_fields_removed() {
        let headers = forwarded(&[
            ("host", "a"),
            ("connection", "x-forwarded-for, via, host, x-request-id"),
        ]);
        for kept in [
            "x-forwarded-for",
            "via",
            "x-request-id",
            "traceparent",
            "x-forwarded-host",
        ] {
            assert!(headers.contains_key(kept), "{kept}");
        }
    }

    #[test]
    fn a_response_loses_what_was_between_the_backend_and_us() {
        let response = Response::builder()
            .header("connection", "x-hop")
            .header("x-hop", "1")
            .header("keep-alive", "5");
        let (mut parts, ()) = response.header("x-end", "1").body(()).unwrap().into_parts();
        assert!(to_client(&mut parts, &Pseudonym::parse("here").unwrap()));
        assert_eq!(parts.headers["via"], "1.1 here");
        assert_eq!(parts.headers["x-end"], "1");
        assert_eq!(parts.headers.len(), 2);
    }

    #[test]
    fn an_unasked_101_and_a_response_of_two_lengths_are_refused() {
        let pseudonym = Pseudonym::parse("here").unwrap();
        let (mut parts, ()) = Response::builder().status(101).body(()).unwrap().into_parts();
        assert!(!to_client(&mut parts, &pseudonym));
        let response = Response::builder()
            .header("transfer-encoding", "chunked")
            .header("content-length", "1");
        let (mut parts, ()) = response.body(()).unwrap().into_parts();
        assert!(!to_client(&mut parts, &pseudonym));
    }
}
