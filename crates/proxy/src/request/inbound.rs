//! A client's request before it is routed: what is refused, and what is known of the rest. No I/O.

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode, Uri, Version};

use crate::Config;
use crate::exchange::answer::Answer;
use crate::headers::Present;
use crate::headers::via::Pseudonym;
use crate::http1::field::Field;
use crate::http1::request::target;
use crate::request::host::{self, Authority};

/// A request that may be forwarded.
#[derive(Debug)]
pub(crate) struct Inbound {
    /// The authority as the client wrote it, for `Host`. HTTP/1.0 may do without.
    pub(crate) host: Option<HeaderValue>,
    /// In origin form, or `*`.
    pub(crate) target: Uri,
    /// What is among its fields.
    pub(crate) present: Present,
}

impl Inbound {
    /// The host as apps are looked up by.
    pub(crate) fn name(&self) -> Option<&str> {
        let text = self.host.as_ref()?.as_bytes();
        let name = host::plain_name(text).and_then(|name| std::str::from_utf8(name).ok());
        name.or_else(|| Some(Authority::parse(text).ok()?.name()))
    }
}

/// Why a request is not forwarded.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It is refused.
    Refused(Answer),
    /// `Max-Forwards: 0` on OPTIONS or TRACE: this proxy is the last recipient (RFC 9110 §7.6.2).
    LastHop,
}

impl From<Answer> for Stop {
    fn from(answer: Answer) -> Self {
        Self::Refused(answer)
    }
}

/// Checks a request's head as the codec left it. The codec has already refused what it can't parse; what is
/// checked here is what it lets through.
pub(crate) fn check(parts: &mut Parts, config: &Config, pseudonym: &Pseudonym) -> Result<Inbound, Stop> {
    if !matches!(
        parts.version,
        Version::HTTP_10 | Version::HTTP_11 | Version::HTTP_2
    ) {
        return Err(Answer::version().into());
    }
    check_sizes(parts, config)?;
    if parts.method == Method::CONNECT {
        return Err(Answer::connect_refused().into());
    }
    let present = Present::of(&parts.headers);
    check_framing(parts, present)?;
    let host = host(parts, present)?;
    if present.has(Field::Via) {
        pseudonym.check(&parts.headers).map_err(Answer::loop_detected)?;
    }
    if matches!(parts.method, Method::OPTIONS | Method::TRACE) {
        count_forward(&mut parts.headers)?;
    }
    Ok(Inbound {
        host,
        target: target(parts)?,
        present,
    })
}

/// What this proxy answers as the last recipient.
pub(crate) fn last_hop(parts: &Parts) -> (StatusCode, HeaderMap, Vec<u8>) {
    let mut headers = HeaderMap::new();
    if parts.method == Method::OPTIONS {
        headers.insert(header::ALLOW, crate::exchange::answer::ALLOW);
        return (StatusCode::NO_CONTENT, headers, Vec::new());
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("message/http"));
    let mut body = format!("TRACE {} {:?}\r\n", parts.uri, parts.version).into_bytes();
    // RFC 9110 §9.3.8: what is secret is not sent back.
    let secret = [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];
    for (name, value) in parts.headers.iter().filter(|(name, _)| !secret.contains(name)) {
        body.extend_from_slice(name.as_str().as_bytes());
        body.extend_from_slice(b": ");
        body.extend_from_slice(value.as_bytes());
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"\r\n");
    (StatusCode::OK, headers, body)
}

fn check_sizes(parts: &Parts, config: &Config) -> Result<(), Answer> {
    let uri = &parts.uri;
    let target = uri.path().len()
        + uri.query().map_or(0, |query| query.len() + 1)
        + uri.authority().map_or(0, |authority| authority.as_str().len());
    if target > config.max_target_bytes {
        return Err(Answer::target_too_long(config.max_target_bytes));
    }
    if parts.headers.len() > config.max_fields {
        let (found, max) = (parts.headers.len(), config.max_fields);
        return Err(Answer::head_too_large(format!(
            "the request has {found} fields; at most {max} are taken"
        )));
    }
    // Two for the colon and space, two for the line's end.
    let fields: usize = parts
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if target + fields > config.max_head_bytes {
        let max = config.max_head_bytes;
        return Err(Answer::head_too_large(format!(
            "the request's head is longer than {max} bytes"
        )));
    }
    Ok(())
}

/// The codec refuses malformed lengths, but takes a list of codings that ends in `chunked`.
fn check_framing(parts: &Parts, present: Present) -> Result<(), Answer> {
    if present.has(Field::TransferEncoding) {
        let mut codings = parts.headers.get_all(header::TRANSFER_ENCODING).iter();
        let coding = codings.next().map_or(b"".as_slice(), HeaderValue::as_bytes);
        if codings.next().is_some() || !coding.eq_ignore_ascii_case(b"chunked") {
            return Err(Answer::bad_request("Transfer-Encoding is not a single chunked"));
        }
        if present.has(Field::ContentLength) {
            return Err(Answer::bad_request(
                "Content-Length and Transfer-Encoding contradict each other",
            ));
        }
    }
    Ok(())
}

/// Refuses a request that says itself that its body is longer than `max` bytes.
pub(crate) fn check_length(headers: &HeaderMap, max: Option<u64>) -> Result<(), Answer> {
    let Some(max) = max else {
        return Ok(());
    };
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    match length.map(str::parse::<u64>) {
        Some(Ok(length)) if length > max => Err(Answer::body_too_large(max)),
        _ => Ok(()),
    }
}

/// RFC 9112 §3.2 and RFC 9113 §8.3.1.
fn host(parts: &Parts, present: Present) -> Result<Option<HeaderValue>, Answer> {
    let mut field = None;
    if present.has(Field::Host) {
        let mut fields = parts.headers.get_all(header::HOST).iter();
        field = fields.next();
        if fields.next().is_some() {
            return Err(Answer::bad_request("Host is given more than once"));
        }
    }
    if let Some(field) = field {
        check_authority("Host", field.as_bytes())?;
    }
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    if parts.version == Version::HTTP_2 {
        return host_of_http2(field, authority);
    }
    if field.is_none() && parts.version == Version::HTTP_11 {
        return Err(Answer::bad_request("Host is missing"));
    }
    match authority {
        // The absolute form replaces whatever Host says (RFC 9112 §3.2.2).
        Some(authority) => authority_value("the target's authority", authority).map(Some),
        None => Ok(field.cloned()),
    }
}

fn host_of_http2(
    field: Option<&HeaderValue>,
    authority: Option<&str>,
) -> Result<Option<HeaderValue>, Answer> {
    match (authority, field) {
        (Some(authority), Some(field)) if !field.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) => {
            Err(Answer::bad_request("host contradicts :authority"))
        }
        (Some(authority), _) => authority_value(":authority", authority).map(Some),
        (None, Some(field)) => Ok(Some(field.clone())),
        (None, None) => Err(Answer::bad_request(":authority is missing")),
    }
}

fn authority_value(what: &str, authority: &str) -> Result<HeaderValue, Answer> {
    check_authority(what, authority.as_bytes())?;
    HeaderValue::from_str(authority).map_err(|_| Answer::bad_request(format!("{what} is malformed")))
}

fn check_authority(what: &str, text: &[u8]) -> Result<(), Answer> {
    if host::plain_name(text).is_some() {
        return Ok(());
    }
    Authority::parse(text)
        .map(drop)
        .map_err(|problem| Answer::bad_request(format!("{what} {problem}")))
}

fn count_forward(headers: &mut HeaderMap) -> Result<(), Stop> {
    let Some(value) = headers.get(header::MAX_FORWARDS) else {
        return Ok(());
    };
    let digits = value
        .to_str()
        .ok()
        .filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    let Some(digits) = digits else {
        return Err(Answer::bad_request("Max-Forwards is not a number").into());
    };
    // Digits that overflow are a number all the same.
    match digits.parse::<u64>().unwrap_or(u64::MAX) {
        0 => Err(Stop::LastHop),
        left => {
            headers.insert(header::MAX_FORWARDS, (left - 1).into());
            Ok(())
        }
    }
}

fn target(parts: &Parts) -> Result<Uri, Answer> {
    let absolute = parts.uri.authority().is_some();
    let Some(path) = parts.uri.path_and_query() else {
        return Ok(Uri::from(PathAndQuery::from_static("/")));
    };
    // The codec permits some that HTTP/1 has no place for.
    target::check_bytes(path.as_str())?;
    if parts.method == Method::OPTIONS {
        // RFC 9112 §3.2.4: OPTIONS on an absolute target without a path is about the server as a whole.
        let whole = absolute && path == "/";
        let star = || PathAndQuery::from_static("*");
        return Ok(Uri::from(if whole { star() } else { path.clone() }));
    }
    if path == "*" {
        return Err(target::no_target());
    }
    Ok(Uri::from(path.clone()))
}

#[cfg(test)]
mod tests;
