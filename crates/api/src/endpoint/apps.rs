use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Json, Response};
use edgeproxy_backend::{AppName, BackendId, Country, Region, Weight};
use edgeproxy_registry::{AppPolicy, Initial, LastBackend, Monitoring, Status};
use serde::Serialize;

use crate::access::caller::Caller;
use crate::endpoint::backends::{DEFAULT_LIMIT, MAX_LIMIT};
use crate::endpoint::explain::Balancing;
use crate::extract::PathApp;
use crate::extract::query::Params;
use crate::problem::{Kind, Problem};
use crate::state::Shared;

/// `GET /api/v1/apps`, sorted by name; the cursor is the last name of the page before.
/// Only the caller's are listed.
pub(crate) async fn list(
    State(shared): State<Shared>,
    caller: Caller,
    mut params: Params,
) -> Result<Response, Problem> {
    let limit = params.limit(DEFAULT_LIMIT, MAX_LIMIT);
    let after = params.optional("cursor", |text| {
        AppName::parse(text).map_err(|error| error.to_string())
    });
    params.finish()?;
    let mut names = shared.handle.apps();
    names.retain(|app| caller.covers(app));
    names.sort_unstable();
    let total = names.len();
    let begin = after.map_or(0, |after| names.partition_point(|name| *name <= after));
    let rest = names.get(begin..).unwrap_or_default();
    let page = rest.get(..limit).unwrap_or(rest);
    let next_cursor = (page.len() < rest.len()).then(|| page.last().cloned()).flatten();
    // One that vanished since its name was read is left out.
    let apps = page
        .iter()
        .filter_map(|app| Some(AppView::of(&shared, app, &shared.handle.app(app)?)))
        .collect();
    Ok(Json(AppsView {
        apps,
        total,
        next_cursor,
    })
    .into_response())
}

/// `GET /api/v1/apps/{app}`.
pub(crate) async fn get(
    State(shared): State<Shared>,
    caller: Caller,
    PathApp(app): PathApp,
    mut params: Params,
) -> Result<Response, Problem> {
    let limit = params.limit(DEFAULT_LIMIT, MAX_LIMIT);
    params.finish()?;
    caller.check_app(&app)?;
    let members = shared.handle.app(&app).ok_or_else(|| {
        Problem::new(
            Kind::UnknownApp,
            format!("no app {:?} has a backend", app.as_str()),
        )
    })?;
    let view = AppDetail {
        summary: AppView::of(&shared, &app, &members),
        backends: members.iter().take(limit).map(MemberView::from).collect(),
        truncated: members.len() > limit,
    };
    Ok(Json(view).into_response())
}

#[derive(Serialize)]
struct AppsView {
    apps: Vec<AppView>,
    total: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<AppName>,
}

#[derive(Serialize)]
struct AppView {
    app: AppName,
    policy: PolicyView,
    /// How many backends are in each state; states that none is in are left out.
    states: BTreeMap<&'static str, usize>,
    totals: Totals,
}

#[derive(Serialize)]
struct AppDetail<'a> {
    #[serde(flatten)]
    summary: AppView,
    backends: Vec<MemberView<'a>>,
    /// There are more backends than `limit`; `/api/v1/backends?app=` pages through all.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

#[derive(Serialize)]
struct PolicyView {
    #[serde(flatten)]
    balancing: Option<Balancing>,
    max_failures: u32,
    last_backend: &'static str,
    max_ejection_percent: u32,
    /// Whether a health monitor probes its backends, which is what the next three are for.
    probed: bool,
    fall: u32,
    rise: u32,
    initial: &'static str,
    ejection_base_secs: u64,
    ejection_max_secs: u64,
}

#[derive(Serialize, Default)]
struct Totals {
    backends: usize,
    /// Those that may get a request now.
    routable: usize,
    in_flight: u64,
    requests_total: u64,
    failures_total: u64,
}

#[derive(Serialize)]
struct MemberView<'a> {
    id: &'a BackendId,
    state: &'static str,
    reason: String,
    healthy: bool,
    region: Region,
    country: Country,
    weight: Weight,
    soft_limit: u32,
    hard_limit: u32,
    in_flight: u32,
    fallback: bool,
    incarnation: u64,
}

impl AppView {
    fn of(shared: &Shared, app: &AppName, members: &[Status]) -> Self {
        let mut states = BTreeMap::new();
        let mut totals = Totals {
            backends: members.len(),
            ..Totals::default()
        };
        for member in members {
            *states.entry(member.state.as_str()).or_insert(0) += 1;
            totals.add(member);
        }
        let policy = PolicyView::of(&shared.handle.app_policy(app), shared.explain.balancing(app));
        Self {
            app: app.clone(),
            policy,
            states,
            totals,
        }
    }
}

impl Totals {
    fn add(&mut self, member: &Status) {
        let meter = &member.endpoint.meter;
        let (requests, failures) = meter.totals();
        self.routable += usize::from(member.state.takes_traffic());
        self.in_flight += u64::from(meter.in_flight());
        self.requests_total = self.requests_total.saturating_add(requests);
        self.failures_total = self.failures_total.saturating_add(failures);
    }
}

impl PolicyView {
    fn of(policy: &AppPolicy, balancing: Option<Balancing>) -> Self {
        Self {
            balancing,
            max_failures: policy.max_failures,
            last_backend: match policy.last_backend {
                LastBackend::Keep => "keep",
                LastBackend::Eject => "eject",
            },
            max_ejection_percent: policy.max_ejection_percent,
            probed: policy.monitoring == Monitoring::On,
            fall: policy.fall_in_force(),
            rise: policy.rise,
            initial: match policy.initial {
                Initial::Routable => "routable",
                Initial::ProbeFirst => "probe_first",
            },
            ejection_base_secs: policy.ejection_base.as_secs(),
            ejection_max_secs: policy.ejection_max.as_secs(),
        }
    }
}

impl<'a> From<&'a Status> for MemberView<'a> {
    fn from(status: &'a Status) -> Self {
        let backend = &status.endpoint.backend;
        Self {
            id: &backend.id,
            state: status.state.as_str(),
            reason: status.reason.to_string(),
            healthy: status.state.takes_traffic(),
            region: backend.region,
            country: backend.country,
            weight: backend.weight,
            soft_limit: backend.limits.soft(),
            hard_limit: backend.limits.hard(),
            in_flight: status.endpoint.meter.in_flight(),
            fallback: backend.fallback,
            incarnation: status.endpoint.incarnation.get(),
        }
    }
}
