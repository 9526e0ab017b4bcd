//! A response's head as a client of HTTP/1 gets it. No I/O.

use http::{HeaderMap, StatusCode, header, response};

use crate::http1::field::Field;
use crate::http1::request::Method;
use crate::http1::response::{Asked, Persist};
use crate::http1::text::push_decimal;

/// How a client is told where a body ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Framing {
    /// There is none.
    Bodiless,
    Known(u64),
    Chunked,
    /// With its connection, since HTTP/1.0 knows of no chunks.
    UntilClose,
}

/// By what a backend said of a body, which has `ended` with the head or not.
pub(crate) fn framing(parts: &response::Parts, asked: Asked, ended: bool) -> Framing {
    let length = length(&parts.headers);
    let bodiless = matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    match length {
        _ if bodiless || asked.method == Method::Head => Framing::Bodiless,
        _ if ended => Framing::Known(0),
        Some(length) => Framing::Known(length),
        None if asked.minor > 0 => Framing::Chunked,
        None => Framing::UntilClose,
    }
}

/// h2 has checked that it is a number, and that several are the same.
fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Writes the head of a final response, which has been signed.
pub(crate) fn write(
    parts: &response::Parts,
    framing: Framing,
    persist: Persist,
    date: impl FnOnce() -> [u8; 29],
    out: &mut Vec<u8>,
) {
    write_lines(parts.status, &parts.headers, out);
    if !parts.headers.contains_key(header::DATE) {
        push(out, "date", &date());
    }
    let length = match framing {
        // What there would have been (RFC 9110 §8.6).
        Framing::Bodiless if parts.status != StatusCode::NO_CONTENT => length(&parts.headers),
        Framing::Known(length) => Some(length),
        _ => None,
    };
    if let Some(length) = length {
        out.extend_from_slice(b"content-length: ");
        push_decimal(out, length);
        out.extend_from_slice(b"\r\n");
    }
    if framing == Framing::Chunked {
        push(out, "transfer-encoding", b"chunked");
    }
    out.extend_from_slice(persist.line().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes the head of an interim response, which has been signed.
pub(crate) fn write_interim(interim: &http::Response<()>, out: &mut Vec<u8>) {
    write_lines(interim.status(), interim.headers(), out);
    out.extend_from_slice(b"\r\n");
}

/// Writes the fields that may stand behind a chunked body, and the line that ends them.
pub(crate) fn write_trailers(trailers: &HeaderMap, out: &mut Vec<u8>) {
    for (name, value) in trailers {
        if Field::of(name.as_str()).may_trail() {
            push(out, name.as_str(), value.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn write_lines(status: StatusCode, headers: &HeaderMap, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in headers {
        if name != header::CONTENT_LENGTH {
            push(out, name.as_str(), value.as_bytes());
        }
    }
}

fn push(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    fn written(status: u16, length: Option<&str>, (method, minor): (Method, u8), ended: bool) -> String {
        let mut response = Response::builder()
            .status(status)
            .header("x", "1")
            .header("date", "then");
        if let Some(length) = length {
            response = response.header("content-length", length);
        }
        let (parts, ()) = response.body(()).unwrap().into_parts();
        let asked = Asked {
            method,
            minor,
            upgrade: false,
        };
        let mut out = b"old".to_vec();
        let framing = framing(&parts, asked, ended);
        write(&parts, framing, Persist::Open, || [b'd'; 29], &mut out);
        let text = String::from_utf8(out).unwrap();
        let text = text.strip_suffix("\r\n\r\n").unwrap();
        text.split_once("date: then").unwrap().1.trim_start().to_owned()
    }

    #[test]
    fn each_body_has_its_framing() {
        let get = (Method::Get, 1);
        assert_eq!(written(200, Some("5"), get, false), "content-length: 5");
        assert_eq!(written(200, None, get, false), "transfer-encoding: chunked");
        assert_eq!(written(200, None, (Method::Get, 0), false), "");
        assert_eq!(written(200, None, get, true), "content-length: 0");
        assert_eq!(written(204, Some("5"), get, true), "");
        assert_eq!(written(304, Some("5"), get, true), "content-length: 5");
        assert_eq!(written(304, None, get, true), "");
        assert_eq!(
            written(200, Some("5"), (Method::Head, 1), true),
            "content-length: 5"
        );
        assert_eq!(written(200, None, (Method::Head, 1), true), "");
    }

    #[test]
    fn an_unknown_status_has_no_reason_and_the_date_is_added() {
        let (parts, ()) = Response::builder().status(599).body(()).unwrap().into_parts();
        let mut out = Vec::new();
        write(
            &parts,
            Framing::UntilClose,
            Persist::Close,
            || [b'd'; 29],
            &mut out,
        );
        let expected = format!(
            "HTTP/1.1 599 \r\ndate: {}\r\nconnection: close\r\n\r\n",
            "d".repeat(29)
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
