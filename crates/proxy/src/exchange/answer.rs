//! The proxy's own answers: problem+json (RFC 9457), with a stable word for machines.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode, Version};
use http_body_util::Full;

use crate::exchange::retry::Failed;
use crate::headers::via::{Circle, MAX_HOPS};
use crate::http1::response::Persist;

pub(crate) const WORD: HeaderName = HeaderName::from_static("x-edgeproxy-error");

/// What a route takes, for the answers that have to say so.
pub(crate) const ALLOWED: &str = "GET, HEAD, POST, PUT, DELETE, OPTIONS, TRACE, PATCH";
pub(crate) const ALLOW: HeaderValue = HeaderValue::from_static(ALLOWED);

/// Every word, in the order of the [table](crate#what-clients-are-told).
pub(crate) const WORDS: [&str; 23] = [
    "bad_request",
    "no_route",
    "method_not_allowed",
    "request_timeout",
    "deadline_exceeded",
    "expectation_failed",
    "body_too_large",
    "target_too_long",
    "head_too_large",
    "connect_failed",
    "no_response",
    "bad_response",
    "tls_failed",
    "protocol_unknown",
    "refused",
    "overloaded",
    "no_backend",
    "backends_full",
    "queue_timeout",
    "connect_timeout",
    "response_timeout",
    "http_version",
    "loop_detected",
];

/// An answer that no backend gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// Stable: in `X-Edgeproxy-Error`.
    pub(crate) word: &'static str,
    /// One short sentence.
    pub(crate) error: Cow<'static, str>,
    retry_after: Option<Duration>,
    /// The connection can't be trusted any further, or is not wanted.
    closes: bool,
}

impl Answer {
    fn new(status: StatusCode, word: &'static str, error: impl Into<Cow<'static, str>>) -> Self {
        debug_assert!(WORDS.contains(&word), "{word} is in no table");
        Self {
            status,
            word,
            error: error.into(),
            retry_after: None,
            closes: false,
        }
    }

    fn closing(self) -> Self {
        Self { closes: true, ..self }
    }

    fn retry_after(self, delay: Duration) -> Self {
        Self {
            retry_after: Some(delay),
            ..self
        }
    }

    pub(crate) fn bad_request(error: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", error).closing()
    }

    pub(crate) fn version() -> Self {
        Self::new(
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            "http_version",
            "only HTTP/1.0, 1.1 and 2 are spoken here",
        )
        .closing()
    }

    pub(crate) fn connect_refused() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "CONNECT is not allowed here",
        )
        .closing()
    }

    /// RFC 8441 §4 and RFC 9220 leave it to the status 501 to say so.
    pub(crate) fn protocol_unknown() -> Self {
        let error = "of extended CONNECT only the protocol websocket is spoken here";
        Self::new(StatusCode::NOT_IMPLEMENTED, "protocol_unknown", error)
    }

    pub(crate) fn expectation_failed() -> Self {
        let error = "only 100-continue can be expected";
        Self::new(StatusCode::EXPECTATION_FAILED, "expectation_failed", error).closing()
    }

    pub(crate) fn request_timeout(error: &'static str) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", error).closing()
    }

    pub(crate) fn body_too_large(max: u64) -> Self {
        let error = format!("the request's body is longer than {max} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", error).closing()
    }

    pub(crate) fn target_too_long(max: usize) -> Self {
        let error = format!("the request's target is longer than {max} bytes");
        Self::new(StatusCode::URI_TOO_LONG, "target_too_long", error).closing()
    }

    pub(crate) fn head_too_large(error: String) -> Self {
        Self::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "head_too_large",
            error,
        )
        .closing()
    }

    pub(crate) fn loop_detected(circle: Circle) -> Self {
        let error = match circle {
            Circle::Closed => {
                "the request has come through this proxy before; a backend's address leads back here".into()
            }
            Circle::Endless => Cow::from(format!(
                "the request has come through more than {MAX_HOPS} proxies, by Via; a backend's address leads into a ring"
            )),
        };
        Self::new(StatusCode::LOOP_DETECTED, "loop_detected", error)
    }

    pub(crate) fn no_route(host: Option<&str>) -> Self {
        let error = match host {
            Some(host) => format!(
                "no app is called \"{}\", nor its first label; expected the name of one, as in: curl -H \"Host: myapp\" …",
                excerpt(host)
            ),
            None => "no app can be told from a request without a host".to_owned(),
        };
        Self::new(StatusCode::NOT_FOUND, "no_route", error)
    }

    /// Where routes decide.
    pub(crate) fn no_route_is_for(host: Option<&str>) -> Self {
        let error = match host {
            Some(host) => format!("no route is for such a request to \"{}\"", excerpt(host)),
            None => "no route is for such a request without a host".to_owned(),
        };
        Self::new(StatusCode::NOT_FOUND, "no_route", error)
    }

    pub(crate) fn no_backend(app: &str, summary: &str, delay: Duration) -> Self {
        let colon = if summary.is_empty() { "" } else { ": " };
        let error = format!("no backend of app \"{app}\" is routable{colon}{summary}");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "no_backend", error).retry_after(delay)
    }

    pub(crate) fn backends_full(app: &str, delay: Duration) -> Self {
        let error = format!("every routable backend of app \"{app}\" is at its hard limit");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "backends_full", error).retry_after(delay)
    }

    pub(crate) fn queue_timeout(app: &str, delay: Duration) -> Self {
        let error = format!("every routable backend of app \"{app}\" stayed at its hard limit");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "queue_timeout", error).retry_after(delay)
    }

    /// Of a request that got no response.
    pub(crate) fn of_failure(failed: Failed) -> Self {
        match failed {
            Failed::Connect => Self::connect_failed(),
            Failed::Tls => Self::tls_failed(),
            Failed::ConnectTimeout => Self::connect_timeout(),
            Failed::ResponseTimeout => Self::response_timeout(),
            // An unhealthy one is passed on unless another backend was found for the request, and then that one's failure counts.
            Failed::Malformed | Failed::Unhealthy => Self::bad_response(),
            Failed::Refused => Self::refused(),
            Failed::OwnFault => Self::overloaded(),
            Failed::NotSent | Failed::Stale | Failed::GoneAway | Failed::NoResponse => Self::no_response(),
        }
    }

    pub(crate) fn connect_failed() -> Self {
        Self::new(
            StatusCode::BAD_GATEWAY,
            "connect_failed",
            "the backend could not be connected to",
        )
    }

    pub(crate) fn connect_timeout() -> Self {
        let error = "the backend did not take the connection in time";
        Self::new(StatusCode::GATEWAY_TIMEOUT, "connect_timeout", error)
    }

    pub(crate) fn tls_failed() -> Self {
        let error = "the TLS handshake with the backend failed";
        Self::new(StatusCode::BAD_GATEWAY, "tls_failed", error)
    }

    pub(crate) fn no_response() -> Self {
        let error = "the backend closed the connection without a response";
        Self::new(StatusCode::BAD_GATEWAY, "no_response", error)
    }

    pub(crate) fn refused() -> Self {
        let error = "the backend takes no more requests";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "refused", error).retry_after(Duration::from_secs(1))
    }

    pub(crate) fn overloaded() -> Self {
        let error = "this proxy has no descriptor, memory or local port left for a connection to a backend";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", error).retry_after(Duration::from_secs(1))
    }

    pub(crate) fn response_timeout() -> Self {
        let error = "the backend did not respond in time";
        Self::new(StatusCode::GATEWAY_TIMEOUT, "response_timeout", error)
    }

    pub(crate) fn bad_response() -> Self {
        Self::new(
            StatusCode::BAD_GATEWAY,
            "bad_response",
            "the backend's response is malformed",
        )
    }

    /// As a response to a request that came by `version`.
    pub(crate) fn into_response(self, version: Version) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.body())));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::SERVER, HeaderValue::from_static("edgeproxy"));
        // A 404 would otherwise be cacheable, and outlive the moment at which the app registers.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(WORD, HeaderValue::from_static(self.word));
        if let Some(delay) = self.retry_after {
            headers.insert(header::RETRY_AFTER, whole_secs(delay).into());
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, ALLOW);
        }
        if self.closes && version < Version::HTTP_2 {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// Whether the connection ends with it.
    pub(crate) fn closes(&self) -> bool {
        self.closes
    }

    /// As the bytes of a whole HTTP/1.1 response.
    pub(crate) fn into_bytes(self, persist: Persist, with_body: bool) -> Vec<u8> {
        let (status, title, word, body) = (self.status.as_u16(), self.title(), self.word, self.body());
        let mut out = format!(
            "HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\nserver: edgeproxy\r\n\
             cache-control: no-store\r\nx-edgeproxy-error: {word}\r\ndate: {}\r\ncontent-length: {}\r\n",
            httpdate::HttpDate::from(SystemTime::now()),
            body.len(),
        );
        if let Some(delay) = self.retry_after {
            out.push_str(&format!("retry-after: {}\r\n", whole_secs(delay)));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            out.push_str(&format!("allow: {ALLOWED}\r\n"));
        }
        out.push_str(persist.line());
        out.push_str("\r\n");
        if with_body {
            out.push_str(&body);
        }
        out.into_bytes()
    }

    fn title(&self) -> &'static str {
        self.status.canonical_reason().unwrap_or("Error")
    }

    fn body(&self) -> String {
        let (title, status) = (self.title(), self.status.as_u16());
        let error = escaped(&self.error);
        format!(
            "{{\"type\":\"about:blank\",\"title\":\"{title}\",\"status\":{status},\"error\":\"{error}\"}}"
        )
    }
}

/// Rounded up, since an earlier try would fail again.
fn whole_secs(delay: Duration) -> u64 {
    delay.as_secs() + u64::from(delay.subsec_nanos() > 0)
}

/// An error message must not repeat eight kilobytes.
fn excerpt(text: &str) -> String {
    text.chars().take(64).collect()
}

/// RFC 8259 §7.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn parts(answer: Answer, version: Version) -> (http::response::Parts, String) {
        let (parts, body) = answer.into_response(version).into_parts();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let body = runtime.block_on(body.collect()).unwrap().to_bytes();
        (parts, String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn the_runbook_says_of_every_word_what_to_do() {
        let runbook = include_str!("../../../../docs/runbook.md");
        for word in WORDS {
            assert!(runbook.contains(&format!("| `{word}` |")), "{word}");
        }
    }

    #[test]
    fn all_out_says_why_and_when_to_come_back() {
        let answer = Answer::no_backend("x", "2 ejected, 1 draining", Duration::from_millis(1_500));
        let (parts, body) = parts(answer, Version::HTTP_11);
        assert_eq!(parts.status, 503);
        assert_eq!(parts.headers["retry-after"], "2");
        assert_eq!(parts.headers["x-edgeproxy-error"], "no_backend");
        assert_eq!(parts.headers["server"], "edgeproxy");
        assert_eq!(parts.headers["content-type"], "application/problem+json");
        assert!(!parts.headers.contains_key("connection"));
        assert_eq!(
            body,
            "{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\
             \"error\":\"no backend of app \\\"x\\\" is routable: 2 ejected, 1 draining\"}"
        );
    }

    #[test]
    fn nothing_is_said_after_a_colon_that_has_nothing_to_say() {
        let answer = Answer::no_backend("x", "", Duration::from_secs(1));
        assert_eq!(answer.error, "no backend of app \"x\" is routable");
    }

    #[test]
    fn an_untrusted_connection_is_closed_on_http_1_only() {
        assert_eq!(
            parts(Answer::bad_request("no"), Version::HTTP_11).0.headers["connection"],
            "close"
        );
        assert!(
            !parts(Answer::bad_request("no"), Version::HTTP_2)
                .0
                .headers
                .contains_key("connection")
        );
        assert_eq!(
            parts(Answer::connect_refused(), Version::HTTP_11).0.headers["allow"],
            ALLOW
        );
    }

    #[test]
    fn what_a_client_wrote_is_escaped_and_cut() {
        let answer = Answer::no_route(Some(&"a\"\\\u{1}".repeat(100)));
        let (_, body) = parts(answer, Version::HTTP_11);
        assert!(body.contains("a\\\"\\\\\\u0001") && body.len() < 600, "{body}");
    }

    #[test]
    fn the_raw_form_is_a_whole_response() {
        let text =
            String::from_utf8(Answer::request_timeout("slow").into_bytes(Persist::Close, true)).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{head}");
        assert!(
            head.contains(&format!("content-length: {}\r\n", body.len())),
            "{head}"
        );
        let full = Answer::backends_full("a", Duration::from_secs(2)).into_bytes(Persist::Open, false);
        let text = String::from_utf8(full).unwrap();
        assert!(
            text.contains("\r\nretry-after: 2\r\n") && text.ends_with("\r\n\r\n"),
            "{text}"
        );
    }
}
