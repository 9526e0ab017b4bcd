//! The wire types of replies. They borrow from the registry's and never leak into it.

use std::net::IpAddr;
use std::time::Duration;

use edgeproxy_backend::{AppName, BackendId, Country, Metadata, Region, Weight};
use edgeproxy_registry::{Lease, LoadReport, Overrides, Status};
use serde::Serialize;

/// A backend as listed.
#[derive(Serialize)]
pub(crate) struct BackendView<'a> {
    id: &'a BackendId,
    app: &'a AppName,
    region: Region,
    country: Country,
    ip: IpAddr,
    port: u16,
    weight: Weight,
    soft_limit: u32,
    hard_limit: u32,
    fallback: bool,
    protocol: &'static str,
    /// Its lease, and below what is left of it; `null` for one of the configuration file, which has none.
    ttl_secs: Option<u64>,
    metadata: &'a Metadata,
    source: &'static str,
    state: &'static str,
    reason: String,
    healthy: bool,
    in_flight: u32,
    last_heartbeat_secs: Option<u64>,
    registered_secs: u64,
    expires_in_secs: Option<u64>,
    incarnation: u64,
    requests_total: u64,
    failures_total: u64,
    /// The average time to a response's head; `null` before the first.
    latency_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    overrides: Option<OverridesView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reported: Option<ReportView>,
}

impl<'a> From<&'a Status> for BackendView<'a> {
    fn from(status: &'a Status) -> Self {
        let backend = &status.endpoint.backend;
        let meter = &status.endpoint.meter;
        let (requests_total, failures_total) = meter.totals();
        let in_secs = |part: fn(Lease) -> Duration| status.lease.map(|lease| part(lease).as_secs());
        Self {
            id: &backend.id,
            app: &backend.app,
            region: backend.region,
            country: backend.country,
            ip: backend.addr.ip(),
            port: backend.addr.port(),
            weight: backend.weight,
            soft_limit: backend.limits.soft(),
            hard_limit: backend.limits.hard(),
            fallback: backend.fallback,
            protocol: backend.protocol.as_str(),
            ttl_secs: in_secs(|lease| lease.ttl),
            metadata: &backend.metadata,
            source: status.source.as_str(),
            state: status.state.as_str(),
            reason: status.reason.to_string(),
            healthy: status.state.takes_traffic(),
            in_flight: meter.in_flight(),
            last_heartbeat_secs: in_secs(|lease| lease.last_heartbeat),
            registered_secs: status.registered.as_secs(),
            expires_in_secs: status.lease.map(|lease| whole_secs_up(lease.expires_in)),
            incarnation: status.endpoint.incarnation.get(),
            requests_total,
            failures_total,
            latency_ms: latency_ms(meter.latency()),
            overrides: OverridesView::of(status.overrides),
            reported: ReportView::of(status.reported),
        }
    }
}

/// One backend, with what its reader should know besides.
#[derive(Serialize)]
pub(crate) struct OneView<'a> {
    #[serde(flatten)]
    pub(crate) backend: BackendView<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<String>,
}

/// What is left of a lease is rounded up, so that 0 means that it is over.
fn whole_secs_up(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_add(u64::from(duration.subsec_nanos() > 0))
}

/// In milliseconds, to the microsecond.
pub(crate) fn latency_ms(latency: Duration) -> Option<f64> {
    (!latency.is_zero()).then(|| (latency.as_secs_f64() * 1_000_000.0).round() / 1_000.0)
}

/// What an operator has set.
#[derive(Serialize)]
struct OverridesView {
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<Weight>,
    #[serde(skip_serializing_if = "Option::is_none")]
    soft_limit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hard_limit: Option<u32>,
}

impl OverridesView {
    fn of(overrides: Overrides) -> Option<Self> {
        let Overrides {
            enabled,
            weight,
            soft_limit,
            hard_limit,
        } = overrides;
        (overrides != Overrides::default()).then_some(Self {
            enabled,
            weight,
            soft_limit,
            hard_limit,
        })
    }
}

/// What the backend last said about itself.
#[derive(Serialize)]
struct ReportView {
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    utilization: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    draining: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<Weight>,
}

impl ReportView {
    fn of(report: LoadReport) -> Option<Self> {
        let LoadReport {
            in_flight,
            utilization_permille,
            draining,
            weight,
        } = report;
        let utilization = utilization_permille.map(|permille| f64::from(permille) / 1_000.0);
        (report != LoadReport::default()).then_some(Self {
            in_flight,
            utilization,
            draining,
            weight,
        })
    }
}

/// The reply to a registration.
#[derive(Serialize)]
pub(crate) struct RegisteredView<'a> {
    pub(crate) id: &'a BackendId,
    pub(crate) registered: bool,
    pub(crate) message: &'static str,
    pub(crate) incarnation: u64,
    pub(crate) ttl_secs: u64,
    pub(crate) heartbeat_interval_secs: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<String>,
}

/// The reply to a heartbeat.
#[derive(Serialize)]
pub(crate) struct RenewedView<'a> {
    pub(crate) id: &'a BackendId,
    /// Whether there was a lease to renew. A backend of the configuration file has none, and is heard all the same.
    pub(crate) renewed: bool,
    pub(crate) incarnation: u64,
    pub(crate) ttl_secs: Option<u64>,
    pub(crate) heartbeat_interval_secs: Option<u64>,
    /// Missing only if it was removed in this very moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<String>,
}

/// A third of the lease: two heartbeats may be lost.
pub(crate) fn heartbeat_interval_secs(ttl: Duration) -> u64 {
    (ttl.as_secs() / 3).max(1)
}

/// The reply to a deregistration.
#[derive(Serialize)]
pub(crate) struct DeregisteredView<'a> {
    pub(crate) id: &'a BackendId,
    pub(crate) deregistered: bool,
    pub(crate) message: &'static str,
    pub(crate) incarnation: u64,
    pub(crate) draining: bool,
    pub(crate) in_flight: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<String>,
}

/// A page of backends.
#[derive(Serialize)]
pub(crate) struct PageView<'a> {
    pub(crate) backends: Vec<BackendView<'a>>,
    pub(crate) total: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_cursor: Option<String>,
}
