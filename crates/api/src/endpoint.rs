//! Every endpoint, what it takes to use it, and its description. The router is made of this list, so none can be without
//! either.

pub(crate) mod apps;
pub(crate) mod backends;
pub(crate) mod configuration;
pub(crate) mod explain;
pub(crate) mod health;
pub(crate) mod heartbeat;
pub(crate) mod metrics;
pub(crate) mod page;
pub(crate) mod patch;
pub(crate) mod readiness;
pub(crate) mod register;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, delete, get, patch, post};
use edgeproxy_access::Role;

use crate::access::caller::Caller;
use crate::openapi::{Operation, operations as described};
use crate::requests::AnsweredBy;
use crate::state::Shared;
use crate::{events, openapi};

/// What an endpoint takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Need {
    /// Nothing: whoever asks is answered.
    Nothing,
    /// That role, for the app that it is about; what is about several is about those of the caller.
    Role(Role),
    /// That role for all apps, since it is about all of them.
    Everywhere(Role),
}

/// One method of one path.
#[derive(Clone, Copy)]
pub(crate) struct Endpoint {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) need: Need,
    serve: fn() -> MethodRouter<Shared>,
    /// What it takes and answers, for the OpenAPI document.
    pub(crate) described: fn() -> Operation,
}

const fn endpoint(
    method: &'static str,
    path: &'static str,
    need: Need,
    serve: fn() -> MethodRouter<Shared>,
    described: fn() -> Operation,
) -> Endpoint {
    Endpoint {
        method,
        path,
        need,
        serve,
        described,
    }
}

const BACKEND: &str = "/api/v1/backends/{id}";
const READ: Need = Need::Role(Role::Read);
const REGISTER: Need = Need::Role(Role::Register);
const OPERATE: Need = Need::Role(Role::Operate);

impl Endpoint {
    pub(crate) const ALL: &'static [Self] = &[
        endpoint(
            "GET",
            "/health",
            Need::Nothing,
            || get(health::health),
            described::health,
        ),
        endpoint(
            "GET",
            "/ready",
            Need::Nothing,
            || get(health::ready),
            described::ready,
        ),
        endpoint(
            "POST",
            "/api/v1/register",
            REGISTER,
            || post(register::register),
            described::register,
        ),
        endpoint(
            "POST",
            "/api/v1/heartbeat/{id}",
            REGISTER,
            || post(heartbeat::heartbeat),
            described::heartbeat,
        ),
        endpoint(
            "GET",
            "/api/v1/backends",
            READ,
            || get(backends::list),
            described::list_backends,
        ),
        endpoint(
            "GET",
            BACKEND,
            READ,
            || get(backends::get),
            described::get_backend,
        ),
        endpoint(
            "DELETE",
            BACKEND,
            REGISTER,
            || delete(backends::delete),
            described::deregister,
        ),
        endpoint(
            "PATCH",
            BACKEND,
            OPERATE,
            || patch(patch::patch),
            described::patch_backend,
        ),
        endpoint(
            "GET",
            "/api/v1/apps",
            READ,
            || get(apps::list),
            described::list_apps,
        ),
        endpoint(
            "GET",
            "/api/v1/apps/{app}",
            READ,
            || get(apps::get),
            described::get_app,
        ),
        endpoint(
            "GET",
            "/api/v1/explain",
            OPERATE,
            || get(explain::explain),
            described::explain,
        ),
        endpoint(
            "GET",
            "/api/v1/events",
            READ,
            || get(events::follow),
            described::follow_events,
        ),
        endpoint(
            "GET",
            "/api/v1/config",
            Need::Everywhere(Role::Operate),
            || get(configuration::get),
            described::read_configuration,
        ),
        endpoint(
            "GET",
            metrics::PATH,
            Need::Everywhere(Role::Read),
            || get(metrics::get),
            described::read_metrics,
        ),
        endpoint(
            "GET",
            "/openapi.json",
            Need::Nothing,
            || get(openapi::get),
            described::read_openapi,
        ),
        endpoint("GET", "/docs", Need::Nothing, || get(page::docs), described::docs),
        endpoint(
            "GET",
            "/",
            Need::Nothing,
            || get(page::index),
            described::dashboard,
        ),
        endpoint(
            "GET",
            "/ui/{file}",
            Need::Nothing,
            || get(page::part_of),
            described::page_part,
        ),
    ];

    /// Whether strangers are answered at that path.
    pub(crate) fn is_open(path: &str) -> bool {
        let mut open = Self::ALL.iter().filter(|one| one.need == Need::Nothing);
        open.any(|one| one.path == path) || page::is_part(path)
    }

    fn routed(self) -> MethodRouter<Shared> {
        let check = move |request: Request, next: Next| async move {
            let mut response = match Caller::of(request.extensions()).check(self) {
                Ok(()) => next.run(request).await,
                Err(problem) => problem.into_response(),
            };
            response.extensions_mut().insert(AnsweredBy::from(self));
            response
        };
        (self.serve)().route_layer(from_fn(check))
    }
}

/// All of them, each behind the check of what it takes.
pub(crate) fn routes() -> Router<Shared> {
    Endpoint::ALL.iter().fold(Router::new(), |router, endpoint| {
        router.route(endpoint.path, endpoint.routed())
    })
}
