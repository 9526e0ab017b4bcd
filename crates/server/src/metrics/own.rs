//! What the control side knows of itself: the registry, its store, probes, the API, the configuration.

use edgeproxy_metrics::{Exposition, Family, Number, Unit};

use super::Meters;
use crate::logs::AccessLines;
use crate::traces::Traces;

static BACKENDS: Family = Family::gauge(
    "edgeproxy_registry_backends",
    &[],
    "Backends that are listed, in any state.",
);
static APPS: Family = Family::gauge("edgeproxy_registry_apps", &[], "Apps with at least one backend.");
static REGISTRATIONS: Family = Family::counter(
    "edgeproxy_registrations",
    &["kind"],
    "Registrations that were accepted: of a backend that is new or has moved, or that renew the one there is.",
);
static HEARTBEATS: Family = Family::counter("edgeproxy_heartbeats", &[], "Heartbeats that were accepted.");
static EXPIRIES: Family = Family::counter("edgeproxy_lease_expiries", &[], "Leases that ran out.");
static SUSPECTED: Family = Family::counter(
    "edgeproxy_guarded_backends",
    &[],
    "Backends that the mass-expiry guard has kept although their leases ran out.",
);
static LEFT_OUT: Family = Family::counter(
    "edgeproxy_left_out_registrations",
    &[],
    "Registrations of other proxies that this one had no room for, each time that it was told of one.",
);
static EJECTIONS: Family = Family::counter(
    "edgeproxy_ejections",
    &[],
    "Backends that were taken out since requests failed, each time.",
);
static EJECTIONS_REFUSED: Family = Family::counter(
    "edgeproxy_ejections_refused",
    &[],
    "Backends that were kept although requests failed, since they were the app's last or enough were out already.",
);
static PAUSES: Family = Family::counter(
    "edgeproxy_process_pauses",
    &[],
    "Pauses of the whole process, which extended every lease.",
);
static EVENTS: Family = Family::counter(
    "edgeproxy_registry_events",
    &["kind"],
    "What happened to backends, by the event's name in the API: ejected, unhealthy, expired, readmitted and so on.",
);
static EVENTS_DROPPED: Family = Family::counter(
    "edgeproxy_registry_events_dropped",
    &[],
    "Events that were dropped unread, since more came than are kept.",
);
static PROBES: Family = Family::counter(
    "edgeproxy_probes",
    &["class", "result"],
    "Probes that ended: of monitors, and of backends in doubt.",
);
static STORE: Family = Family::info(
    "edgeproxy_store",
    &["name"],
    "Which store registrations are kept in.",
);
static DEGRADED: Family = Family::gauge(
    "edgeproxy_store_degraded",
    &[],
    "1 while the store cannot be written to.",
);
static DEGRADED_FOR: Family = Family::gauge(
    "edgeproxy_store_degraded_seconds",
    &[],
    "For how long the store could not be written to by now; 0 if it can.",
)
.in_unit(Unit::Seconds);
static PENDING: Family = Family::gauge(
    "edgeproxy_store_pending_writes",
    &[],
    "Backends that the store does not know the latest of.",
);
static COMMIT: Family = Family::gauge(
    "edgeproxy_store_last_commit_seconds",
    &[],
    "How long the last commit that succeeded took; 0 before the first.",
)
.in_unit(Unit::Seconds);
static API_REQUESTS: Family = Family::counter(
    "edgeproxy_api_requests",
    &["method", "path", "status"],
    "Requests to the API, by endpoint and status; other is what is no endpoint, or was refused before: 429 are the rate \
     limit's.",
);
static AUDIT_LOST: Family = Family::counter(
    "edgeproxy_audit_lines_lost",
    &[],
    "Lines of the audit log that could not be written.",
);
static ACCESS_DROPPED: Family = Family::counter(
    "edgeproxy_access_log_dropped",
    &[],
    "Lines of the access log that could not be written: the disk is slower than requests come, or full.",
);
static SPANS_SENT: Family = Family::counter(
    "edgeproxy_traces_sent",
    &[],
    "Spans that the collector has taken.",
);
static SPANS_DROPPED: Family = Family::counter(
    "edgeproxy_traces_dropped",
    &[],
    "Spans that the collector will never get: it was slower than they came, away for too long, or refused them.",
);
static RELOADS: Family = Family::counter("edgeproxy_config_reloads", &[], "Reloads that were asked for.");
static RELOADED: Family = Family::gauge(
    "edgeproxy_config_last_reload_succeeded",
    &[],
    "1 if the last reload was applied, or there was none.",
);
static CONFIG_VERSION: Family = Family::gauge(
    "edgeproxy_config_version",
    &[],
    "1 at the start, and one more with each reload that was applied.",
);
static READY: Family = Family::gauge(
    "edgeproxy_ready",
    &[],
    "1 while the process takes traffic: neither starting nor draining.",
);

#[cfg(test)]
pub(super) const FAMILIES: &[&Family] = &[
    &BACKENDS,
    &APPS,
    &REGISTRATIONS,
    &HEARTBEATS,
    &EXPIRIES,
    &SUSPECTED,
    &LEFT_OUT,
    &EJECTIONS,
    &EJECTIONS_REFUSED,
    &PAUSES,
    &EVENTS_DROPPED,
    &EVENTS,
    &PROBES,
    &STORE,
    &DEGRADED,
    &DEGRADED_FOR,
    &PENDING,
    &COMMIT,
    &API_REQUESTS,
    &AUDIT_LOST,
    &ACCESS_DROPPED,
    &SPANS_SENT,
    &SPANS_DROPPED,
    &RELOADS,
    &RELOADED,
    &CONFIG_VERSION,
    &READY,
];

pub(super) fn write(out: &mut Exposition<'_>, meters: &Meters) {
    write_registry(out, meters);
    write_store(out, meters);
    write_api(out, meters);
    let configuration = edgeproxy_api::Configured::configuration(&meters.in_force);
    out.family(&RELOADS).value(&[], configuration.reloads);
    let last = configuration.last_reload.as_ref();
    out.family(&RELOADED)
        .value(&[], last.is_none_or(|last| last.applied));
    out.family(&CONFIG_VERSION).value(&[], configuration.version);
    let ready = meters.readiness.phase() == edgeproxy_api::Phase::Ready;
    out.family(&READY).value(&[], ready);
}

fn write_registry(out: &mut Exposition<'_>, meters: &Meters) {
    let stats = meters.handle.stats();
    out.family(&BACKENDS).value(&[], stats.backends);
    out.family(&APPS).value(&[], stats.apps);
    let mut registrations = out.family(&REGISTRATIONS);
    registrations.value(&["new"], stats.registrations);
    registrations.value(&["renewal"], stats.renewals);
    let counts: [(&'static Family, u64); 8] = [
        (&HEARTBEATS, stats.heartbeats),
        (&EXPIRIES, stats.expiries),
        (&SUSPECTED, stats.suspected),
        (&LEFT_OUT, stats.left_out),
        (&EJECTIONS, stats.ejections),
        (&EJECTIONS_REFUSED, stats.ejections_refused),
        (&PAUSES, stats.pauses),
        (&EVENTS_DROPPED, stats.events_dropped),
    ];
    for (family, count) in counts {
        out.family(family).value(&[], count);
    }
    let (events, probes) = {
        let seen = meters.seen.counts();
        (seen.events.clone(), seen.probes.clone())
    };
    let mut samples = out.family(&EVENTS);
    for (kind, count) in events {
        samples.value(&[kind], count);
    }
    let mut samples = out.family(&PROBES);
    for ((class, result), count) in probes {
        samples.value(&[class, result], count);
    }
}

fn write_store(out: &mut Exposition<'_>, meters: &Meters) {
    let store = meters.handle.store_status();
    out.family(&STORE).value(&[store.name], 1_u64);
    let degraded = store.degraded.map(|degraded| degraded.lasting);
    out.family(&DEGRADED).value(&[], degraded.is_some());
    let seconds =
        |duration: Option<std::time::Duration>| Number::from(duration.unwrap_or_default().as_secs_f64());
    out.family(&DEGRADED_FOR).value(&[], seconds(degraded));
    out.family(&PENDING).value(&[], store.pending);
    out.family(&COMMIT).value(&[], seconds(store.last_commit));
}

fn write_api(out: &mut Exposition<'_>, meters: &Meters) {
    let mut samples = out.family(&API_REQUESTS);
    for (answered, count) in meters.requests.read() {
        let status = answered.status.to_string();
        samples.value(&[answered.method, answered.path, &status], count);
    }
    let lost = meters.audit.as_ref().map_or(0, edgeproxy_api::Audit::lost);
    out.family(&AUDIT_LOST).value(&[], lost);
    let dropped = meters.access_log.as_ref().map_or(0, AccessLines::dropped);
    out.family(&ACCESS_DROPPED).value(&[], dropped);
    let (sent, dropped) = meters.traces.as_ref().map_or((0, 0), Traces::counts);
    out.family(&SPANS_SENT).value(&[], sent);
    out.family(&SPANS_DROPPED).value(&[], dropped);
}
