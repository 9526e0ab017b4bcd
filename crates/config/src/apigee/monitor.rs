//! `HealthMonitor`: how a target's servers are probed.

use super::balancer::codes;
use super::element::Element;
use super::notes::{Known, Notes, shown};
use super::rules;
use super::toml_text::{line, pairs, string};
use crate::app::{OWN_HEADERS, keys};
use crate::paths::Headers;
use crate::value::{FromValue, Mismatch, Value};

/// The lines of `[apps.NAME.health]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Monitor {
    /// What it says of itself; it may yet do nothing, for want of `MaxFailures`.
    pub(super) enabled: bool,
    pub(super) lines: Vec<String>,
}

const KNOWN: Known = Known::once(&["IsEnabled", "IntervalInSec", "TCPMonitor", "HTTPMonitor"]);
const TCP: Known = Known::once(&["ConnectTimeoutInSec", "Port"]);
const REQUEST: &[&str] = &[
    "IsSSL",
    "TrustAllSSL",
    "UseTargetServerSSLInfo",
    "ConnectTimeoutInSec",
    "SocketReadTimeoutInSec",
    "Port",
    "Verb",
    "Path",
    "Payload",
    "IncludeHealthCheckIdHeader",
];
const LONGEST_SECS: u64 = 300;

impl Monitor {
    pub(super) fn read(notes: &mut Notes<'_>, element: &Element) -> Self {
        notes.only(element, &KNOWN);
        let enabled = notes.flag(element.child("IsEnabled")).unwrap_or(false);
        let mut lines = Vec::new();
        let interval = notes.whole(element.child("IntervalInSec"), 3_600);
        lines.extend(
            interval
                .filter(|secs| *secs > 0)
                .map(|secs| line("interval_secs", secs)),
        );
        match (element.child("HTTPMonitor"), element.child("TCPMonitor")) {
            (Some(http), tcp) => {
                if let Some(tcp) = tcp {
                    notes.tell(
                        rules::NO_COUNTERPART,
                        &tcp.at,
                        "there are a TCPMonitor and an HTTPMonitor: a backend is probed in one way, by HTTP",
                        "remove one of them",
                    );
                }
                lines.push(inline("http", &http_probe(notes, http)));
            }
            (None, Some(tcp)) => {
                notes.only(tcp, &TCP);
                let parts = [
                    seconds(notes, "connect_timeout_secs", tcp.child("ConnectTimeoutInSec")),
                    port(notes, tcp.child("Port")),
                ];
                lines.push(inline("tcp", &parts.into_iter().flatten().collect::<Vec<_>>()));
            }
            (None, None) => {
                notes.tell(
                    rules::BAD_VALUE,
                    &element.at,
                    "the health monitor has neither a TCPMonitor nor an HTTPMonitor; expected one; backends are connected \
                     to",
                    "write how they are to be probed",
                );
                lines.push(inline("tcp", &[]));
            }
        }
        Self { enabled, lines }
    }
}

fn http_probe(notes: &mut Notes<'_>, element: &Element) -> Vec<String> {
    // The documentation has it in either place.
    const HTTP: Known = Known {
        once: &[
            "Request",
            "SuccessResponse",
            "UseTargetServerSSLInfo",
            "ConnectTimeoutInSec",
            "SocketReadTimeoutInSec",
        ],
        often: &[],
        attributes: &[],
    };
    const IN_REQUEST: Known = Known {
        once: REQUEST,
        often: &["Header"],
        attributes: &[],
    };
    const IN_RESPONSE: Known = Known {
        once: &[],
        often: &["ResponseCode", "Header"],
        attributes: &[],
    };
    notes.only(element, &HTTP);
    let mut parts = Vec::new();
    let request = element.child("Request");
    if let Some(request) = request {
        notes.only(request, &IN_REQUEST);
    }
    let asked = |name: &str| {
        request
            .and_then(|request| request.child(name))
            .or_else(|| element.child(name))
    };
    parts.extend(valid::<keys::Method>(notes, "method", asked("Verb")));
    parts.extend(valid::<keys::ProbePath>(notes, "path", asked("Path")));
    let headers = request.map(|request| headers(notes, request)).unwrap_or_default();
    parts.extend((!headers.is_empty()).then(|| line("headers", pairs(&headers))));
    parts.extend(valid::<keys::Body>(notes, "body", asked("Payload")));
    parts.extend(port(notes, asked("Port")));
    parts.extend(seconds(
        notes,
        "connect_timeout_secs",
        asked("ConnectTimeoutInSec"),
    ));
    parts.extend(seconds(
        notes,
        "read_timeout_secs",
        asked("SocketReadTimeoutInSec"),
    ));
    let as_traffic = notes.flag(asked("UseTargetServerSSLInfo")) == Some(true);
    let tls = notes.flag(asked("IsSSL")) == Some(true);
    let insecure = notes.flag(asked("TrustAllSSL")) == Some(true);
    if as_traffic {
        parts.push(line("use_backend_tls", true));
    } else if tls {
        parts.push(line("tls", true));
        if insecure {
            parts.push(line("tls_insecure", true));
            notes.tell(
                rules::TLS_UNVERIFIED,
                &asked("TrustAllSSL").unwrap_or(element).at,
                "the probe takes any certificate: a backend may pass that clients' requests would not reach",
                "write use_backend_tls = true in place of tls and tls_insecure",
            );
        }
    }
    if let Some(response) = element.child("SuccessResponse") {
        notes.only(response, &IN_RESPONSE);
        let codes: Vec<String> = codes(notes, response).iter().map(u16::to_string).collect();
        parts.extend((!codes.is_empty()).then(|| format!("success_codes = [{}]", codes.join(", "))));
        let headers = self::headers(notes, response);
        parts.extend((!headers.is_empty()).then(|| line("success_headers", pairs(&headers))));
    }
    if notes.flag(asked("IncludeHealthCheckIdHeader")) == Some(true) {
        parts.push(line("health_check_id_header", true));
    }
    parts
}

/// The fields that the configuration takes.
fn headers(notes: &mut Notes<'_>, element: &Element) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = Vec::new();
    for header in element.children("Header") {
        let name = header.attribute("name").unwrap_or_default().to_owned();
        let Some(value) = notes.text(header) else { continue };
        let refused = if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            Some("a field that is not the probe's own".to_owned())
        } else {
            headers.push((name.clone(), value.to_owned()));
            let taken = Headers::from_value(&Value::Pairs(headers.clone()));
            taken
                .err()
                .map(|mismatch| expected("a name and a value", &mismatch))
        };
        if let Some(expected) = refused {
            headers.retain(|(other, _)| *other != name);
            let found = format!("{}: {}", shown(&name), shown(value));
            notes.bad(header, &found, &expected, None);
        }
    }
    headers
}

fn expected(what: &str, mismatch: &Mismatch) -> String {
    match &mismatch.help {
        Some(help) => format!("{what} ({help})"),
        None => what.to_owned(),
    }
}

/// A text that its key takes.
fn valid<T: FromValue>(
    notes: &mut Notes<'_>,
    key: &'static str,
    element: Option<&Element>,
) -> Option<String> {
    let element = element?;
    let text = notes.text(element)?;
    match T::from_value(&Value::Text(text.to_owned())) {
        Ok(_) => Some(line(key, string(text))),
        Err(mismatch) => {
            let expected = expected(&format!("a value that {key} takes"), &mismatch);
            notes.bad(element, &mismatch.found, &expected, None);
            None
        }
    }
}

/// 0 stands for the default.
fn seconds(notes: &mut Notes<'_>, key: &'static str, element: Option<&Element>) -> Option<String> {
    let secs = notes.whole(element, LONGEST_SECS)?;
    (secs > 0).then(|| line(key, secs))
}

/// 0 stands for the backend's own.
fn port(notes: &mut Notes<'_>, element: Option<&Element>) -> Option<String> {
    let port = notes.whole(element, u64::from(u16::MAX))?;
    (port > 0).then(|| line("port", port))
}

fn inline(key: &str, parts: &[String]) -> String {
    match parts {
        [] => format!("{key} = {{}}"),
        parts => format!("{key} = {{ {} }}", parts.join(", ")),
    }
}
