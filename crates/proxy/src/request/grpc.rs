//! What is different about a call of gRPC: its deadline, and how it is told of an error
//! (`doc/PROTOCOL-HTTP2.md` and `doc/http-grpc-status-mapping.md` of grpc/grpc).

use std::borrow::Cow;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Response};
use http_body_util::Full;
use tokio::time::Instant;

use crate::exchange::answer::Answer;
use crate::worker::timer::Timers;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

const LATE: &str = "the call's deadline has passed";

/// A call under way.
pub(crate) struct Call {
    deadline: Option<crate::worker::timer::Timer>,
}

/// The status codes that this proxy gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Code {
    DeadlineExceeded = 4,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
}

impl Call {
    /// The call that a request with those fields makes, if it makes one. Its time begins now.
    pub(crate) fn of(headers: &HeaderMap, timers: &Timers) -> Option<Self> {
        if !headers.get(header::CONTENT_TYPE).is_some_and(is_grpc) {
            return None;
        }
        // A backend is to refuse what is malformed; it may know better.
        let timeout = headers.get(TIMEOUT).and_then(|value| timeout(value.as_bytes()));
        let deadline = timeout.map(|timeout| {
            let timer = timers.timer();
            timer.arm(Instant::now() + timeout.min(FAR));
            timer
        });
        Some(Self { deadline })
    }

    /// Ready when the call's time is over.
    pub(crate) fn poll_late(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &self.deadline {
            Some(timer) => timer.poll_due(cx),
            None => Poll::Pending,
        }
    }

    /// The end of a call that is too late in the middle of its response.
    pub(crate) fn late_trailers() -> HeaderMap {
        trailers(Code::DeadlineExceeded, LATE)
    }

    /// The end of a call whose backend is gone in the middle of its response.
    pub(crate) fn broken_trailers() -> HeaderMap {
        trailers(Code::Unavailable, "the backend's response broke off")
    }
}

/// Longer deadlines are none; the clock's arithmetic has an end.
const FAR: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Whether the value of `Content-Type` says gRPC; gRPC-Web is another protocol.
pub(crate) fn is_grpc(value: &HeaderValue) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    let value = value.as_bytes();
    value
        .get(..TYPE.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(TYPE))
        && matches!(value.get(TYPE.len()), None | Some(b'+' | b';' | b' '))
}

fn timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(count * 3_600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

/// The word for it.
pub(crate) const LATE_WORD: &str = "deadline_exceeded";

/// What a call is told whose deadline has passed before its response began.
pub(crate) fn late() -> Response<Full<Bytes>> {
    only(Code::DeadlineExceeded, LATE, LATE_WORD)
}

/// The proxy's own answer as a call understands it: trailers only.
pub(crate) fn response(answer: &Answer) -> Response<Full<Bytes>> {
    only(code(answer.word), &answer.error, answer.word)
}

/// Where nothing was done, the client may try again: UNAVAILABLE.
fn code(word: &str) -> Code {
    match word {
        "response_timeout" | "request_timeout" => Code::DeadlineExceeded,
        "body_too_large" => Code::ResourceExhausted,
        "no_route" | "method_not_allowed" => Code::Unimplemented,
        "no_backend" | "backends_full" | "queue_timeout" | "connect_failed" | "connect_timeout"
        | "no_response" | "bad_response" | "refused" | "overloaded" => Code::Unavailable,
        _ => Code::Internal,
    }
}

fn only(code: Code, message: &str, word: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::SERVER, HeaderValue::from_static("edgeproxy"));
    headers.insert(crate::exchange::answer::WORD, HeaderValue::from_static(word));
    headers.extend(trailers(code, message));
    response
}

fn trailers(code: Code, message: &str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert(STATUS, HeaderValue::from(code as u16));
    if let Ok(message) = HeaderValue::from_str(&encoded(message)) {
        trailers.insert(MESSAGE, message);
    }
    trailers
}

/// Everything but the printable ASCII characters without `%` is percent-encoded.
fn encoded(text: &str) -> Cow<'_, str> {
    let is_plain = |b: u8| matches!(b, b' '..=b'~') && b != b'%';
    if text.bytes().all(is_plain) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if is_plain(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_known_by_its_content_type() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/gRPC; charset=x", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/json", false),
            ("", false),
        ] {
            assert_eq!(is_grpc(&HeaderValue::from_static(value)), expected, "{value}");
        }
    }

    #[test]
    fn a_timeout_is_at_most_8_digits_and_a_unit() {
        assert_eq!(timeout(b"1H"), Some(Duration::from_secs(3_600)));
        assert_eq!(timeout(b"2M"), Some(Duration::from_secs(120)));
        assert_eq!(timeout(b"3S"), Some(Duration::from_secs(3)));
        assert_eq!(timeout(b"4m"), Some(Duration::from_millis(4)));
        assert_eq!(timeout(b"5u"), Some(Duration::from_micros(5)));
        assert_eq!(timeout(b"6n"), Some(Duration::from_nanos(6)));
        assert_eq!(
            timeout(b"99999999H"),
            Some(Duration::from_secs(99_999_999 * 3_600))
        );
        for bad in ["", "1", "S", "123456789S", "1.5S", "-1S", "+1S", "1s", "1 S"] {
            assert_eq!(timeout(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn an_error_is_trailers_only_with_a_message_in_percent_encoding() {
        let answer = Answer::no_backend("x", "50 % \u{e4}", Duration::from_secs(1));
        let (parts, body) = response(&answer).into_parts();
        assert_eq!(parts.status, 200);
        assert_eq!(parts.headers["content-type"], "application/grpc");
        assert_eq!(parts.headers["grpc-status"], "14");
        assert_eq!(
            parts.headers["grpc-message"],
            "no backend of app \"x\" is routable: 50 %25 %C3%A4"
        );
        assert_eq!(parts.headers["x-edgeproxy-error"], "no_backend");
        assert!(http_body::Body::is_end_stream(&body));
    }

    #[test]
    fn every_word_has_its_status() {
        for (word, expected) in [
            ("no_route", Code::Unimplemented),
            ("connect_timeout", Code::Unavailable),
            ("response_timeout", Code::DeadlineExceeded),
            ("body_too_large", Code::ResourceExhausted),
            ("bad_request", Code::Internal),
            ("overloaded", Code::Unavailable),
            ("loop_detected", Code::Internal),
        ] {
            assert_eq!(code(word), expected, "{word}");
        }
    }
}
