//! A request's head as a backend of HTTP/2 gets it. No I/O.

use bytes::Bytes;
use edgeproxy_backend::BackendAddr;
use http::header::{HeaderName, HeaderValue};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Uri, Version};

use crate::headers::forward;
use crate::http1::field::Field;
use crate::http1::head;

/// A request, and how its body comes.
#[derive(Debug)]
pub(crate) struct Translated {
    pub(crate) request: Request<()>,
    pub(crate) chunked: bool,
}

/// Translates the head that a backend of HTTP/1.1 would get (RFC 9113 §8.3.1). `None`: it has no form in HTTP/2.
/// `addr` is the host of a request that names none.
pub(crate) fn translate(head: &[u8], addr: BackendAddr) -> Option<Translated> {
    let mut room = head::room();
    let mut parsed = httparse::Request::new(&mut []);
    parsed.parse_with_uninit_headers(head, &mut room).ok()?;
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    let (mut host, mut chunked) = (None, false);
    for field in parsed.headers.iter() {
        let value = HeaderValue::from_bytes(field.value).ok()?;
        match Field::of(field.name) {
            Field::Host => host = Some(value),
            Field::TransferEncoding => chunked = true,
            // RFC 9113 §8.2.2.
            Field::Connection | Field::Upgrade => {}
            _ => drop(headers.append(HeaderName::from_bytes(field.name.as_bytes()).ok()?, value)),
        }
    }
    let target = Bytes::copy_from_slice(parsed.path?.as_bytes());
    let target = Uri::from(PathAndQuery::from_maybe_shared(target).ok()?);
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(parsed.method?.as_bytes()).ok()?;
    *request.uri_mut() = forward::absolute(Scheme::HTTP, &target, host.as_ref(), addr)?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    Some(Translated { request, chunked })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(head: &str) -> Translated {
        translate(head.as_bytes(), BackendAddr::parse("10.0.0.1", 80).unwrap()).unwrap()
    }

    #[test]
    fn the_host_is_the_authority_and_what_is_between_neighbours_is_gone() {
        let Translated { request, chunked } = translated(
            "POST /a?b=[c] HTTP/1.1\r\nHost: app:81\r\nX-A: 1\r\ncookie: a=1; b=2\r\nte: trailers\r\n\
             connection: te\r\ntransfer-encoding: chunked\r\n\r\n",
        );
        assert_eq!(
            (request.method(), request.uri()),
            (&Method::POST, &"http://app:81/a?b=[c]".parse().unwrap())
        );
        let fields: Vec<_> = request
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        assert_eq!(
            fields,
            [("x-a", &b"1"[..]), ("cookie", b"a=1; b=2"), ("te", b"trailers")]
        );
        assert!(chunked);
    }

    #[test]
    fn a_request_without_host_is_for_the_backends_address_and_one_for_the_server_for_no_path() {
        let old = translated("GET / HTTP/1.1\r\ncontent-length: 2\r\n\r\n");
        assert_eq!(old.request.uri().authority().unwrap(), "10.0.0.1:80");
        assert!(!old.chunked && old.request.headers()["content-length"] == "2");
        let server = translated("OPTIONS * HTTP/1.1\r\nhost: [::1]\r\n\r\n");
        assert_eq!(
            (server.request.uri().path(), server.request.uri().host()),
            ("*", Some("[::1]"))
        );
    }
}
