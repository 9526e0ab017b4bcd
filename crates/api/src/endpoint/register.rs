mod parse;

use axum::extract::State;
use axum::response::{IntoResponse, Json, Response};
use edgeproxy_registry::{RegisteredKind, Registration};
use http::StatusCode;
use http::header::LOCATION;
use serde_json::{Map, Value};

use crate::access::caller::{Caller, Peer};
use crate::audit::Change;
use crate::dto::{RegisteredView, heartbeat_interval_secs};
use crate::extract;
use crate::problem::Problem;
use crate::problem::refusal;
use crate::state::Shared;
pub(crate) use parse::weight;

/// `POST /api/v1/register`. Resolves once the backend is routed to, so that whoever reads the reply may
/// rely on it.
pub(crate) async fn register(
    State(shared): State<Shared>,
    caller: Caller,
    peer: Peer,
    extract::Json(fields): extract::Json,
) -> Result<Response, Problem> {
    let terms = shared.terms.in_force();
    let parsed = parse::registration(fields, &terms.admission, shared.handle.limits())?;
    let backend = &parsed.registration.backend;
    let id = backend.id.clone();
    caller
        .check_app(&backend.app)
        .and_then(|()| terms.admission.check_source(backend.addr, peer))
        .map_err(|problem| problem.with_id(&id))?;
    let fields = told(&parsed.registration);
    let acknowledged = shared
        .handle
        .register(parsed.registration)
        .await
        .map_err(|error| refusal::of_register(error, &id))?;
    let mut warnings = parsed.warnings;
    warnings.extend(acknowledged.unkept.as_ref().map(ToString::to_string));
    let registered = acknowledged.outcome;
    let view = RegisteredView {
        id: &id,
        registered: true,
        message: "Backend registered successfully",
        incarnation: registered.endpoint.incarnation.get(),
        ttl_secs: registered.ttl.as_secs(),
        heartbeat_interval_secs: heartbeat_interval_secs(registered.ttl),
        warnings,
    };
    let mut response = match registered.kind {
        RegisteredKind::New | RegisteredKind::Superseded(_) => {
            let location = [(LOCATION, format!("/api/v1/backends/{id}"))];
            (StatusCode::CREATED, location, Json(view)).into_response()
        }
        RegisteredKind::Renewed => Json(view).into_response(),
    };
    response.extensions_mut().insert(Change {
        id: id.clone(),
        app: registered.endpoint.backend.app.clone(),
        incarnation: registered.endpoint.incarnation,
        fields,
    });
    Ok(response)
}

/// What was registered, without its metadata: those are the backend's own affair, and may be secret.
fn told(registration: &Registration) -> Map<String, Value> {
    let Registration { backend, ttl } = registration;
    let mut fields = Map::new();
    let mut tell = |field: &str, value: Value| fields.insert(field.to_owned(), value);
    tell("ip", backend.addr.ip().to_string().into());
    tell("port", backend.addr.port().into());
    tell("region", backend.region.as_str().into());
    tell("weight", backend.weight.get().into());
    tell("soft_limit", backend.limits.soft().into());
    tell("hard_limit", backend.limits.hard().into());
    tell("fallback", backend.fallback.into());
    tell("protocol", backend.protocol.as_str().into());
    if let Some(ttl) = ttl {
        tell("ttl_secs", ttl.as_secs().into());
    }
    fields
}
