//! What is told of a request: its spans' names, kinds, attributes and statuses.

use std::time::{Duration, SystemTime};

use edgeproxy_backend::Protocol;
use edgeproxy_config::Settings;
use edgeproxy_proxy::{AttemptSpan, RequestSpan};
use edgeproxy_traces::Origin;
use edgeproxy_traces::otlp::{Attribute, Kind, Outcome, Scope, Span, Status};

use crate::build_error::BuildError;
use crate::shared_store::own_name;

/// The conventions that the names are of.
const CONVENTIONS: &str = "https://opentelemetry.io/schemas/1.37.0";

/// `traceparent`'s flag of a trace that is told of (W3C Trace Context §3.2.2.5), and OTLP's for what is known of the
/// parent: that it is known, and that it is another process's.
const SAMPLED: u32 = 0x01;
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// Which program tells, and which process of it.
pub(super) fn origin(settings: &Settings) -> Result<Origin, BuildError> {
    let port = settings.listen_addr.map_or(0, |addr| addr.port());
    let port = if settings.api_enabled {
        settings.api_listen_addr.port()
    } else {
        port
    };
    let name = own_name(settings, port)?;
    let version = env!("CARGO_PKG_VERSION");
    Ok(Origin {
        attributes: vec![
            Attribute::text("service.name", "edgeproxy"),
            Attribute::text("service.version", version),
            Attribute::text("service.instance.id", name.as_str()),
            Attribute::text("edgeproxy.region", settings.region.as_str()),
        ],
        scope: Scope {
            name: "edgeproxy".to_owned(),
            version: version.to_owned(),
        },
        schema_url: CONVENTIONS.to_owned(),
    })
}

/// Adds the spans of a request.
#[allow(
    clippy::needless_pass_by_value,
    reason = "the exporter hands over what it has, and nobody else wants it"
)]
pub(super) fn spans(request: RequestSpan, spans: &mut Vec<Span>) {
    let method = Method::of(&request.method);
    let began = nanos(request.began);
    spans.push(Span {
        trace_id: request.trace.to_be_bytes().to_vec(),
        span_id: request.id.to_be_bytes().to_vec(),
        parent_span_id: request
            .parent
            .map(|parent| parent.to_be_bytes().to_vec())
            .unwrap_or_default(),
        name: name(&request, &method),
        kind: Kind::Server.into(),
        start_time_unix_nano: began,
        end_time_unix_nano: after(began, request.took),
        attributes: of_request(&request, &method),
        status: of_server(&request),
        flags: SAMPLED | HAS_IS_REMOTE | request.parent.map_or(0, |_| IS_REMOTE),
    });
    let mut before = None;
    for (number, attempt) in request.attempts.iter().enumerate() {
        let begun = after(began, attempt.after);
        spans.push(Span {
            trace_id: request.trace.to_be_bytes().to_vec(),
            span_id: attempt.id.to_be_bytes().to_vec(),
            parent_span_id: request.id.to_be_bytes().to_vec(),
            name: method.shown().to_owned(),
            kind: Kind::Client.into(),
            start_time_unix_nano: begun,
            end_time_unix_nano: after(begun, attempt.took),
            attributes: of_attempt(attempt, &method, number, before),
            status: of_client(attempt),
            flags: SAMPLED | HAS_IS_REMOTE,
        });
        before = attempt.failure;
    }
}

/// A method that is registered, or any other one: of those there are as many as clients like.
enum Method<'a> {
    Known(&'a str),
    Other(&'a str),
}

impl<'a> Method<'a> {
    fn of(method: &'a str) -> Self {
        match method {
            "GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "CONNECT" | "OPTIONS" | "TRACE" | "PATCH" => {
                Self::Known(method)
            }
            other => Self::Other(other),
        }
    }

    const fn shown(&self) -> &'a str {
        match self {
            Self::Known(method) => method,
            Self::Other(_) => "HTTP",
        }
    }

    fn describe(&self, attributes: &mut Vec<Attribute>) {
        match self {
            Self::Known(method) => attributes.push(Attribute::text("http.request.method", *method)),
            Self::Other(method) => {
                attributes.push(Attribute::text("http.request.method", "_OTHER"));
                attributes.push(Attribute::text("http.request.method_original", *method));
            }
        }
    }
}

/// What it is for: of apps there are few, of paths many.
fn name(request: &RequestSpan, method: &Method<'_>) -> String {
    match &request.app {
        Some(app) => format!("{} {app}", method.shown()),
        None => method.shown().to_owned(),
    }
}

fn of_request(request: &RequestSpan, method: &Method<'_>) -> Vec<Attribute> {
    let mut attributes = Vec::with_capacity(14);
    method.describe(&mut attributes);
    let scheme = if request.tls { "https" } else { "http" };
    attributes.push(Attribute::text("url.scheme", scheme));
    attributes.push(Attribute::text("url.path", &*request.path));
    if !request.host.is_empty() {
        attributes.push(Attribute::text("server.address", &*request.host));
    }
    attributes.push(Attribute::text("client.address", request.client.to_string()));
    if let Some(version) = request.protocol.strip_prefix("HTTP/") {
        attributes.push(Attribute::text("network.protocol.name", "http"));
        attributes.push(Attribute::text("network.protocol.version", version));
    }
    if let Some(status) = request.status {
        attributes.push(Attribute::number("http.response.status_code", status));
    }
    if let Some(app) = &request.app {
        attributes.push(Attribute::text("edgeproxy.app", app.as_str()));
    }
    attributes.push(Attribute::number("edgeproxy.attempts", request.attempts.len()));
    attributes.push(Attribute::number("edgeproxy.response.bytes", request.bytes));
    if let Some(failure) = request.failure {
        attributes.push(Attribute::text("edgeproxy.failure", failure));
    }
    if let Some(error) = error_of_server(request) {
        attributes.push(Attribute::text("error.type", error));
    }
    attributes
}

fn of_attempt(
    attempt: &AttemptSpan,
    method: &Method<'_>,
    number: usize,
    before: Option<&'static str>,
) -> Vec<Attribute> {
    let mut attributes = Vec::with_capacity(14);
    method.describe(&mut attributes);
    let addr = attempt.addr;
    attributes.push(Attribute::text("server.address", addr.ip().to_string()));
    attributes.push(Attribute::number("server.port", addr.port()));
    attributes.push(Attribute::text("network.peer.address", addr.ip().to_string()));
    attributes.push(Attribute::number("network.peer.port", addr.port()));
    let scheme = match attempt.protocol {
        Protocol::Https => "https",
        _ => "http",
    };
    attributes.push(Attribute::text("url.scheme", scheme));
    attributes.push(Attribute::text("edgeproxy.backend", attempt.backend.as_str()));
    attributes.push(Attribute::text(
        "edgeproxy.backend.region",
        attempt.region.as_str(),
    ));
    if let Some(status) = attempt.status {
        attributes.push(Attribute::number("http.response.status_code", status));
    }
    if number > 0 {
        attributes.push(Attribute::number("http.request.resend_count", number));
        if let Some(reason) = before {
            attributes.push(Attribute::text("edgeproxy.retry.reason", reason));
        }
    }
    // Without it, either a kept connection served, or it isn't known.
    if let Some(connect) = attempt.connect {
        attributes.push(Attribute::truth("edgeproxy.connection.new", true));
        attributes.push(Attribute::number("edgeproxy.connect_us", connect.as_micros()));
    }
    if let Some(error) = error_of_client(attempt) {
        attributes.push(Attribute::text("error.type", error));
    }
    attributes
}

/// The server's own fault, or what it passes on of a backend's. A client's is none of a server's (the conventions leave the
/// status of a 4xx unset).
fn error_of_server(request: &RequestSpan) -> Option<String> {
    match (request.status, request.failure) {
        (Some(status), Some(failure)) if status >= 500 => Some(failure.to_owned()),
        (_, Some(failure @ ("truncated" | "cut"))) => Some(failure.to_owned()),
        (Some(status), _) if status >= 500 => Some(status.to_string()),
        _ => None,
    }
}

/// To whoever asks, a 4xx is an error as well.
fn error_of_client(attempt: &AttemptSpan) -> Option<String> {
    match (attempt.failure, attempt.status) {
        // Not the backend's.
        (Some("client_left"), _) => None,
        (Some(failure), _) => Some(failure.to_owned()),
        (None, Some(status)) if status >= 400 => Some(status.to_string()),
        (None, _) => None,
    }
}

fn of_server(request: &RequestSpan) -> Option<Status> {
    error_of_server(request).map(error)
}

fn of_client(attempt: &AttemptSpan) -> Option<Status> {
    error_of_client(attempt).map(error)
}

fn error(message: String) -> Status {
    Status {
        message,
        code: Outcome::Error.into(),
    }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn after(nanos: u64, took: Duration) -> u64 {
    nanos.saturating_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX))
}
