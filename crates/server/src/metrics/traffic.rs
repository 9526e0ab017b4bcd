//! What requests come to, by app and by backend.

use edgeproxy_metrics::{Exposition, Family, Unit};
use edgeproxy_proxy::{AppTotals, BackendTotals, CLASSES, FAILURES, REASONS, Traffic};

use super::Column;
use super::backends::Shown;

const APP: &[&str] = &["app"];
const BACKEND: &[&str] = &["app", "backend"];

static APP_REQUESTS: Family = Family::counter(
    "edgeproxy_app_requests",
    &["app", "class"],
    "Requests of clients that were answered, by the class of the status that they were told. One that was tried on \
     several backends counts once. What the proxy answered itself is among them; a gRPC call counts as what would have \
     been told over HTTP.",
);
static APP_DURATION: Family = Family::histogram(
    "edgeproxy_app_request_duration_seconds",
    APP,
    "From the head of a request to the end of its answer, waiting and retries included: how long clients wait, and take. \
     Not of a WebSocket, nor of another protocol that a connection went over to: those last as long as both sides like.",
);
static APP_OWN: Family = Family::counter(
    "edgeproxy_app_own_answers",
    &["app", "reason"],
    "Requests that the proxy answered itself, by the word in X-Edgeproxy-Error. Among edgeproxy_app_requests_total as \
     well.",
);
static APP_ABANDONED: Family = Family::counter(
    "edgeproxy_app_abandoned_requests",
    APP,
    "Requests whose client left before an answer began. They are in no other count of the app.",
);
static APP_INTERRUPTED: Family = Family::counter(
    "edgeproxy_app_interrupted_requests",
    APP,
    "Requests whose client left, or broke off its body, after the answer had begun.",
);
static APP_RETRIES: Family = Family::counter(
    "edgeproxy_app_retries",
    APP,
    "Attempts after the first, on another backend.",
);
static APP_RETRIES_DENIED: Family = Family::counter(
    "edgeproxy_app_retries_denied",
    APP,
    "Attempts that the app's retry budget did not allow.",
);
static APP_QUEUED: Family = Family::counter(
    "edgeproxy_app_queued_requests",
    APP,
    "Requests, and TCP connections, that had to wait since every backend was at its hard limit.",
);
static APP_SESSIONS: Family = Family::counter(
    "edgeproxy_app_tcp_connections",
    &["app", "outcome"],
    "TCP connections of clients: passed on to a backend, or reset since none took it.",
);

static RESPONSES: Family = Family::counter(
    "edgeproxy_backend_responses",
    &["app", "backend", "class"],
    "Responses of a backend, by the class of their status. Every attempt counts, also one whose response was thrown away \
     for another backend's.",
);
static FAILED: Family = Family::counter(
    "edgeproxy_backend_failures",
    &["app", "backend", "kind"],
    "Attempts that a backend failed, by what went wrong. A kind that has not occurred is left out. own_fault speaks against \
     none: the proxy itself had no descriptor, memory or local port to connect with.",
);
static HEADS: Family = Family::histogram(
    "edgeproxy_backend_response_seconds",
    BACKEND,
    "From a request's first byte to a backend, to the head of its response: the backend's own time, with the network. For \
     TCP the time to connect.",
);
static SENT: Family = Family::counter(
    "edgeproxy_backend_sent_bytes",
    BACKEND,
    "Bytes that were written to a backend, heads included, before encryption.",
)
.in_unit(Unit::Bytes);
static RECEIVED: Family = Family::counter(
    "edgeproxy_backend_received_bytes",
    BACKEND,
    "Bytes that were read from a backend, heads included, after decryption.",
)
.in_unit(Unit::Bytes);
static CONNECTIONS: Family = Family::counter(
    "edgeproxy_backend_connections",
    BACKEND,
    "Connections to a backend that were made.",
);
static OPEN: Family = Family::gauge(
    "edgeproxy_backend_open_connections",
    BACKEND,
    "Connections to a backend that are open, those that wait for a request included.",
);
static SESSIONS: Family = Family::counter(
    "edgeproxy_backend_tcp_connections",
    BACKEND,
    "TCP connections of clients that were passed on to a backend.",
);

#[cfg(test)]
pub(super) const FAMILIES: &[&Family] = &[
    &APP_REQUESTS,
    &APP_DURATION,
    &APP_OWN,
    &APP_ABANDONED,
    &APP_INTERRUPTED,
    &APP_RETRIES,
    &APP_RETRIES_DENIED,
    &APP_QUEUED,
    &APP_SESSIONS,
    &RESPONSES,
    &FAILED,
    &HEADS,
    &SENT,
    &RECEIVED,
    &CONNECTIONS,
    &OPEN,
    &SESSIONS,
];

pub(super) fn write(out: &mut Exposition<'_>, traffic: &Traffic, shown: &Shown<'_>) {
    write_apps(out, traffic);
    write_backends(out, shown);
}

fn write_apps(out: &mut Exposition<'_>, traffic: &Traffic) {
    let mut samples = out.family(&APP_REQUESTS);
    for one in &traffic.apps {
        for (class, count) in CLASSES.iter().zip(one.totals.answers) {
            samples.value(&[one.app.as_str(), class], count);
        }
    }
    let mut samples = out.family(&APP_DURATION);
    for one in &traffic.apps {
        samples.histogram(&[one.app.as_str()], &one.totals.durations);
    }
    let mut samples = out.family(&APP_OWN);
    for one in &traffic.apps {
        for (reason, count) in occurred(&REASONS, &one.totals.own_answers) {
            samples.value(&[one.app.as_str(), reason], count);
        }
    }
    let counts: [Column<AppTotals>; 5] = [
        (&APP_ABANDONED, |totals| totals.abandoned),
        (&APP_INTERRUPTED, |totals| totals.interrupted),
        (&APP_RETRIES, |totals| totals.retries),
        (&APP_RETRIES_DENIED, |totals| totals.retries_denied),
        (&APP_QUEUED, |totals| totals.queued),
    ];
    for (family, count) in counts {
        let mut samples = out.family(family);
        for one in &traffic.apps {
            samples.value(&[one.app.as_str()], count(&one.totals));
        }
    }
    let mut samples = out.family(&APP_SESSIONS);
    for one in &traffic.apps {
        samples.value(&[one.app.as_str(), "passed"], one.totals.sessions);
        samples.value(&[one.app.as_str(), "refused"], one.totals.sessions_refused);
    }
}

fn write_backends(out: &mut Exposition<'_>, shown: &Shown<'_>) {
    let mut samples = out.family(&RESPONSES);
    for (labels, totals) in shown.traffic() {
        for (class, count) in CLASSES.iter().zip(totals.responses) {
            samples.value(&[labels[0], labels[1], class], count);
        }
    }
    let mut samples = out.family(&FAILED);
    for (labels, totals) in shown.traffic() {
        for (kind, count) in occurred(&FAILURES, &totals.failures) {
            samples.value(&[labels[0], labels[1], kind], count);
        }
    }
    let mut samples = out.family(&HEADS);
    for (labels, totals) in shown.traffic() {
        samples.histogram(&labels, &totals.heads);
    }
    let counts: [Column<BackendTotals>; 5] = [
        (&SENT, |totals| totals.sent_bytes),
        (&RECEIVED, |totals| totals.received_bytes),
        (&CONNECTIONS, |totals| totals.connections),
        (&OPEN, |totals| totals.open_connections),
        (&SESSIONS, |totals| totals.sessions),
    ];
    for (family, count) in counts {
        let mut samples = out.family(family);
        for (labels, totals) in shown.traffic() {
            samples.value(&labels, count(totals));
        }
    }
}

/// Of many kinds few ever occur, and each would be a series for each backend.
fn occurred<'n, const N: usize>(
    names: &'n [&'static str; N],
    counts: &'n [u64; N],
) -> impl Iterator<Item = (&'static str, u64)> + 'n {
    let all = names.iter().copied().zip(counts.iter().copied());
    all.filter(|(_, count)| *count > 0)
}
