use axum::extract::State;
use axum::response::{IntoResponse, Json, Response};
use edgeproxy_registry::LoadReport;
use serde_json::{Map, Value};

use crate::access::caller::Caller;
use crate::audit::Change;
use crate::dto::{RenewedView, heartbeat_interval_secs};
use crate::endpoint::register;
use crate::extract::fields::{Fields, flag, permille, whole_u32};
use crate::extract::if_match::IfMatch;
use crate::extract::{OptionalJson, PathId};
use crate::problem::Problem;
use crate::problem::refusal;
use crate::state::Shared;

/// The members that a load report has.
const MEMBERS: [&str; 4] = ["in_flight", "utilization", "draining", "weight"];

/// `POST /api/v1/heartbeat/{id}`.
pub(crate) async fn heartbeat(
    State(shared): State<Shared>,
    caller: Caller,
    PathId(id): PathId,
    if_match: IfMatch,
    OptionalJson(body): OptionalJson,
) -> Result<Response, Problem> {
    let (report, warnings) = match body {
        Some(fields) => report(fields).map_err(|problem| problem.with_id(&id))?,
        None => Default::default(),
    };
    let fence = caller.fence(&shared.handle, &id, &if_match, refusal::unknown_heartbeat)?;
    let renewed = shared
        .handle
        .heartbeat(&id, fence, &report)
        .map_err(|error| refusal::of_heartbeat(error, &id))?;
    let view = RenewedView {
        id: &id,
        renewed: renewed.ttl.is_some(),
        incarnation: renewed.endpoint.incarnation.get(),
        ttl_secs: renewed.ttl.map(|ttl| ttl.as_secs()),
        heartbeat_interval_secs: renewed.ttl.map(heartbeat_interval_secs),
        state: shared.handle.get(&id).map(|status| status.state.as_str()),
        warnings,
    };
    let mut response = Json(view).into_response();
    if let Some(fields) = changes(&report) {
        response.extensions_mut().insert(Change {
            id: id.clone(),
            app: renewed.endpoint.backend.app.clone(),
            incarnation: renewed.endpoint.incarnation,
            fields,
        });
    }
    Ok(response)
}

/// What of a report changes whom requests go to by its own word, and not by measure.
fn changes(report: &LoadReport) -> Option<Map<String, Value>> {
    let draining = report.draining.map(|draining| ("draining", draining.into()));
    let weight = report.weight.map(|weight| ("weight", weight.get().into()));
    let fields: Map<String, Value> = [draining, weight]
        .into_iter()
        .flatten()
        .map(|(field, value)| (field.to_owned(), value))
        .collect();
    (!fields.is_empty()).then_some(fields)
}

fn report(mut fields: Fields) -> Result<(LoadReport, Vec<String>), Problem> {
    let report = LoadReport {
        in_flight: fields.optional("in_flight", whole_u32),
        utilization_permille: fields.optional("utilization", permille),
        draining: fields.optional("draining", flag),
        weight: fields.optional("weight", register::weight),
    };
    if !fields.problems.is_empty() {
        return Err(Problem::unprocessable(fields.problems));
    }
    Ok((report, fields.warnings(&MEMBERS)))
}
