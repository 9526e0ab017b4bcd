//! Every endpoint, and what it takes to use it. The router is made of this list, so none can be without its need.

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, delete, get, patch, post};
use edgeproxy_access::Role;

use crate::caller::Caller;
use crate::requests::AnsweredBy;
use crate::state::Shared;
use crate::{apps, backends, configuration, events, explain, health, heartbeat, metrics, page, register};

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
}

const fn endpoint(
    method: &'static str,
    path: &'static str,
    need: Need,
    serve: fn() -> MethodRouter<Shared>,
) -> Endpoint {
    Endpoint {
        method,
        path,
        need,
        serve,
    }
}

const BACKEND: &str = "/api/v1/backends/{id}";
const READ: Need = Need::Role(Role::Read);
const REGISTER: Need = Need::Role(Role::Register);
const OPERATE: Need = Need::Role(Role::Operate);

impl Endpoint {
    pub(crate) const ALL: &'static [Self] = &[
        endpoint("GET", "/health", Need::Nothing, || get(health::health)),
        endpoint("GET", "/ready", Need::Nothing, || get(health::ready)),
        endpoint("POST", "/api/v1/register", REGISTER, || post(register::register)),
        endpoint("POST", "/api/v1/heartbeat/{id}", REGISTER, || {
            post(heartbeat::heartbeat)
        }),
        endpoint("GET", "/api/v1/backends", READ, || get(backends::list)),
        endpoint("GET", BACKEND, READ, || get(backends::get)),
        endpoint("DELETE", BACKEND, REGISTER, || delete(backends::delete)),
        endpoint("PATCH", BACKEND, OPERATE, || patch(crate::patch::patch)),
        endpoint("GET", "/api/v1/apps", READ, || get(apps::list)),
        endpoint("GET", "/api/v1/apps/{app}", READ, || get(apps::get)),
        endpoint("GET", "/api/v1/explain", OPERATE, || get(explain::explain)),
        endpoint("GET", "/api/v1/events", READ, || get(events::follow)),
        endpoint("GET", "/api/v1/config", Need::Everywhere(Role::Operate), || {
            get(configuration::get)
        }),
        endpoint("GET", metrics::PATH, Need::Everywhere(Role::Read), || {
            get(metrics::get)
        }),
        endpoint("GET", "/", Need::Nothing, || get(page::index)),
        endpoint("GET", "/ui/{file}", Need::Nothing, || get(page::part_of)),
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
