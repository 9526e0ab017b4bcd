mod parse;

use axum::extract::State;
use axum::response::{IntoResponse, Json, Response};
use edgeproxy_registry::RegisteredKind;
use http::StatusCode;
use http::header::LOCATION;

use crate::dto::{RegisteredView, heartbeat_interval_secs};
use crate::problem::Problem;
use crate::state::Shared;
use crate::{extract, refusal};
pub(crate) use parse::weight;

/// `POST /api/v1/register`. Resolves once the backend is routed to, so that whoever reads the reply may
/// rely on it.
pub(crate) async fn register(
    State(shared): State<Shared>,
    extract::Json(fields): extract::Json,
) -> Result<Response, Problem> {
    let parsed = parse::registration(fields, &shared.terms.in_force().admission, shared.handle.limits())?;
    let id = parsed.registration.backend.id.clone();
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
    Ok(match registered.kind {
        RegisteredKind::New | RegisteredKind::Superseded(_) => {
            let location = [(LOCATION, format!("/api/v1/backends/{id}"))];
            (StatusCode::CREATED, location, Json(view)).into_response()
        }
        RegisteredKind::Renewed => Json(view).into_response(),
    })
}
