use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Json, Response};
use edgeproxy_backend::{AppName, Backend, Region};
use edgeproxy_registry::{State as BackendState, Status};
use http::HeaderValue;
use http::header::ETAG;

use crate::access::caller::Caller;
use crate::audit::Change;
use crate::dto::{BackendView, DeregisteredView, OneView, PageView};
use crate::extract::PathId;
use crate::extract::fields::excerpt;
use crate::extract::if_match::IfMatch;
use crate::extract::query::Params;
use crate::problem::Problem;
use crate::problem::refusal;
use crate::state::Shared;

/// Backends in one reply, unless `limit` says otherwise.
pub(crate) const DEFAULT_LIMIT: usize = 1_000;
/// Backends in one reply at the most.
pub(crate) const MAX_LIMIT: usize = 10_000;

/// `GET /api/v1/backends`. Only those of the caller's apps are listed.
pub(crate) async fn list(
    State(shared): State<Shared>,
    caller: Caller,
    mut params: Params,
) -> Result<Response, Problem> {
    let app = params.optional("app", |text| {
        AppName::parse(text).map_err(|error| error.to_string())
    });
    let region = params.optional("region", |text| {
        Region::parse(text).map_err(|error| format!("is refused: {error}"))
    });
    let state = params.optional("state", |text| {
        BackendState::from_name(text).ok_or_else(|| {
            let known = BackendState::ALL.map(BackendState::as_str).join(", ");
            format!("is {:?}; expected one of {known}", excerpt(text))
        })
    });
    let limit = params.limit(DEFAULT_LIMIT, MAX_LIMIT);
    let cursor = params.optional("cursor", |text| {
        text.parse()
            .map_err(|_| "is not a next_cursor of this listing; begin again without it".to_owned())
    });
    params.finish()?;
    let matches = |backend: &Backend, found: BackendState| {
        caller.covers(&backend.app)
            && app.as_ref().is_none_or(|app| backend.app == *app)
            && region.is_none_or(|region| backend.region == region)
            && state.is_none_or(|state| found == state)
    };
    let page = shared.handle.list(cursor.unwrap_or(0), limit, matches);
    let view = PageView {
        backends: page.items.iter().map(BackendView::from).collect(),
        total: page.total,
        next_cursor: page.next.map(|cursor| cursor.to_string()),
    };
    Ok(Json(view).into_response())
}

/// `GET /api/v1/backends/{id}`.
pub(crate) async fn get(
    State(shared): State<Shared>,
    caller: Caller,
    PathId(id): PathId,
    params: Params,
) -> Result<Response, Problem> {
    params.finish()?;
    let status = shared.handle.get(&id).ok_or_else(|| refusal::unknown(&id))?;
    caller.check_backend(&id, &status.endpoint.backend.app)?;
    Ok(one(&status, Vec::new()))
}

/// `DELETE /api/v1/backends/{id}`.
pub(crate) async fn delete(
    State(shared): State<Shared>,
    caller: Caller,
    PathId(id): PathId,
    if_match: IfMatch,
    mut params: Params,
) -> Result<Response, Problem> {
    let longest = shared.handle.limits().drain_max;
    let drain = params.optional("drain", |text| drain(text, longest));
    params.finish().map_err(|problem| problem.with_id(&id))?;
    let fence = match caller.fence(&shared.handle, &id, &if_match, refusal::unknown) {
        Ok(fence) => fence,
        Err(problem) => {
            if shared.handle.get(&id).is_none() {
                // Whoever asks again takes a 404 for a deregistration that is kept.
                shared.handle.settled().await;
            }
            return Err(problem);
        }
    };
    let acknowledged = shared
        .handle
        .deregister(&id, fence, drain)
        .await
        .map_err(|error| refusal::of_deregister(error, &id))?;
    let deregistered = acknowledged.outcome;
    let view = DeregisteredView {
        id: &id,
        deregistered: true,
        message: "Backend deregistered successfully",
        incarnation: deregistered.endpoint.incarnation.get(),
        draining: deregistered.draining,
        in_flight: deregistered.in_flight,
        warnings: acknowledged.unkept.iter().map(ToString::to_string).collect(),
    };
    let mut response = Json(view).into_response();
    let drain = drain.map(|drain| ("drain_secs".to_owned(), drain.as_secs().into()));
    response.extensions_mut().insert(Change {
        id: id.clone(),
        app: deregistered.endpoint.backend.app.clone(),
        incarnation: deregistered.endpoint.incarnation,
        fields: drain.into_iter().collect(),
    });
    Ok(response)
}

pub(crate) fn drain(text: &str, longest: Duration) -> Result<Duration, String> {
    let drain = humantime::parse_duration(text).map_err(|_| {
        format!(
            "is {:?}; expected a duration with its unit, such as 30s or 2m",
            excerpt(text)
        )
    })?;
    if drain > longest {
        return Err(format!(
            "is {} s; at most {} s are allowed",
            drain.as_secs(),
            longest.as_secs()
        ));
    }
    Ok(drain)
}

/// One backend, its incarnation as the entity tag that `If-Match` takes.
pub(crate) fn one(status: &Status, warnings: Vec<String>) -> Response {
    let view = OneView {
        backend: BackendView::from(status),
        warnings,
    };
    let mut response = Json(view).into_response();
    // Digits and quotes: this can't fail.
    if let Ok(tag) = HeaderValue::try_from(format!("\"{}\"", status.endpoint.incarnation)) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}
