//! What the workers see of clients.

use edgeproxy_metrics::{Exposition, Family, Unit};
use edgeproxy_proxy::{BREACHES, ListenerTraffic, REASONS, TURNED_AWAY, Traffic};

use super::Column;

const WORKER: &[&str] = &["worker"];
const LISTENER: &[&str] = &["worker", "listener"];

static ACCEPTED: Family = Family::counter(
    "edgeproxy_client_connections",
    LISTENER,
    "Connections of clients that were accepted.",
);
static OPEN: Family = Family::gauge(
    "edgeproxy_client_open_connections",
    LISTENER,
    "Connections of clients that are open.",
);
static TURNED: Family = Family::counter(
    "edgeproxy_client_connections_refused",
    &["worker", "listener", "reason"],
    "Connections of clients that were closed before they were served: the client has as many as it may, or a proxy did not \
     say for whom it connects.",
);
static HANDSHAKES: Family = Family::counter(
    "edgeproxy_client_tls_handshakes",
    &["worker", "listener", "outcome"],
    "TLS handshakes with clients that ended, by how they did.",
);
static SENT: Family = Family::counter(
    "edgeproxy_worker_sent_bytes",
    WORKER,
    "Bytes that a worker has written to backends.",
)
.in_unit(Unit::Bytes);
static RECEIVED: Family = Family::counter(
    "edgeproxy_worker_received_bytes",
    WORKER,
    "Bytes that a worker has read from backends.",
)
.in_unit(Unit::Bytes);
static REFUSED: Family = Family::counter(
    "edgeproxy_refused_requests",
    &["reason"],
    "Requests that were answered before it was known which app they are for, by the word in X-Edgeproxy-Error.",
);
static EXPELLED: Family = Family::counter(
    "edgeproxy_http2_clients_expelled",
    &["reason"],
    "HTTP/2 connections of clients that were closed for what they sent: too many resets, too many frames that ask for \
     nothing, or frames that are none.",
);

#[cfg(test)]
pub(super) const FAMILIES: &[&Family] = &[
    &ACCEPTED,
    &OPEN,
    &TURNED,
    &HANDSHAKES,
    &SENT,
    &RECEIVED,
    &REFUSED,
    &EXPELLED,
];

pub(super) fn write(out: &mut Exposition<'_>, traffic: &Traffic) {
    let each: Vec<(String, &ListenerTraffic)> = (0_u32..)
        .zip(&traffic.workers)
        .flat_map(|(number, worker)| worker.listeners.iter().map(move |one| (number.to_string(), one)))
        .collect();
    let counts: [Column<ListenerTraffic>; 2] = [(&ACCEPTED, |one| one.accepted), (&OPEN, |one| one.open)];
    for (family, count) in counts {
        let mut samples = out.family(family);
        for (worker, one) in &each {
            samples.value(&[worker, &one.name], count(one));
        }
    }
    let mut samples = out.family(&TURNED);
    for (worker, one) in &each {
        for (reason, count) in TURNED_AWAY.iter().zip(one.turned_away) {
            samples.value(&[worker, &one.name, reason], count);
        }
    }
    let mut samples = out.family(&HANDSHAKES);
    for (worker, one) in &each {
        samples.value(&[worker, &one.name, "succeeded"], one.handshakes);
        samples.value(&[worker, &one.name, "failed"], one.handshakes_failed);
    }
    let mut samples = out.family(&SENT);
    for (number, worker) in (0_u32..).zip(&traffic.workers) {
        samples.value(&[&number.to_string()], worker.sent_bytes);
    }
    let mut samples = out.family(&RECEIVED);
    for (number, worker) in (0_u32..).zip(&traffic.workers) {
        samples.value(&[&number.to_string()], worker.received_bytes);
    }
    let mut samples = out.family(&REFUSED);
    for (reason, count) in REASONS.iter().zip(traffic.refused) {
        samples.value(&[reason], count);
    }
    let mut samples = out.family(&EXPELLED);
    for (reason, count) in BREACHES.iter().zip(traffic.breaches) {
        samples.value(&[reason], count);
    }
}
