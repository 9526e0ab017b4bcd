use axum::extract::State;
use axum::response::{IntoResponse, Json, Response};
use edgeproxy_control::StoreStatus;
use serde::Serialize;

use crate::access::caller::Caller;
use crate::endpoint::readiness::Phase;
use crate::problem::{Kind, Problem};
use crate::state::Shared;

#[derive(Serialize)]
struct Health {
    status: &'static str,
    version: &'static str,
    backends: usize,
    uptime_secs: u64,
    /// Only while something is wrong: the documentation's first example has four members.
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<Store>,
}

/// Where registrations are kept, and what is wrong with that.
#[derive(Serialize)]
struct Store {
    name: &'static str,
    degraded: Degraded,
}

#[derive(Serialize)]
struct Degraded {
    for_secs: u64,
    reason: String,
}

fn store(status: StoreStatus) -> Option<Store> {
    let degraded = status.degraded?;
    Some(Store {
        name: status.name,
        degraded: Degraded {
            for_secs: degraded.lasting.as_secs(),
            reason: degraded.reason.to_string(),
        },
    })
}

/// `GET /health`: the process answers. A stranger, where there are tokens, learns no more than that.
pub(crate) async fn health(State(shared): State<Shared>, caller: Caller) -> Response {
    if matches!(caller, Caller::Stranger) {
        return Json(Alive { status: "ok" }).into_response();
    }
    Json(Health {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
        backends: shared.handle.stats().backends,
        uptime_secs: shared.handle.uptime().as_secs(),
        store: store(shared.handle.store_status()),
    })
    .into_response()
}

#[derive(Serialize)]
struct Alive {
    status: &'static str,
}

#[derive(Serialize)]
struct Ready {
    status: &'static str,
}

/// `GET /ready`: send traffic here.
pub(crate) async fn ready(State(shared): State<Shared>) -> Result<Response, Problem> {
    match shared.readiness.phase() {
        Phase::Ready => Ok(Json(Ready { status: "ready" }).into_response()),
        Phase::Starting => Err(Problem::for_now(
            Kind::Starting,
            "starting: listeners or registrations are not there yet",
            1,
        )),
        Phase::Draining => Err(Problem::for_now(
            Kind::Draining,
            "draining: what is in flight ends, nothing new is taken",
            5,
        )),
    }
}
