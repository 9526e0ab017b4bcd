use axum::extract::State;
use axum::response::Response;
use edgeproxy_registry::{Change, Patch};
use serde_json::{Map, Value};

use crate::access::caller::Caller;
use crate::audit;
use crate::endpoint::backends::one;
use crate::endpoint::register;
use crate::extract::fields::{Fields, did_you_mean, excerpt, flag, whole_u32};
use crate::extract::if_match::IfMatch;
use crate::extract::{MergePatch, PathId};
use crate::problem::Problem;
use crate::problem::refusal;
use crate::state::Shared;

/// The members that an operator can change.
const MEMBERS: [&str; 4] = ["enabled", "weight", "soft_limit", "hard_limit"];

/// `PATCH /api/v1/backends/{id}`.
pub(crate) async fn patch(
    State(shared): State<Shared>,
    caller: Caller,
    PathId(id): PathId,
    if_match: IfMatch,
    MergePatch(fields): MergePatch,
) -> Result<Response, Problem> {
    let patch = parse(fields).map_err(|problem| problem.with_id(&id))?;
    let fence = caller.fence(&shared.handle, &id, &if_match, refusal::unknown)?;
    let status = shared
        .handle
        .patch(&id, fence, &patch)
        .await
        .map_err(|error| refusal::of_patch(error, &id, contradicting(&patch)))?;
    let fields = changes(&patch);
    if !fields.is_empty() {
        let told = Value::from(fields.clone());
        tracing::info!(%id, changes = %told, "an operator changed a backend");
    }
    let warnings = status.unkept.iter().map(ToString::to_string).collect();
    let mut response = one(&status, warnings);
    response.extensions_mut().insert(audit::Change {
        id,
        app: status.endpoint.backend.app.clone(),
        incarnation: status.endpoint.incarnation,
        fields,
    });
    Ok(response)
}

/// What was changed, by its new value; `null` is cleared.
fn changes(patch: &Patch) -> Map<String, Value> {
    fn to<T: Copy + Into<Value>>(change: Change<T>) -> Option<Value> {
        match change {
            Change::Keep => None,
            Change::Clear => Some(Value::Null),
            Change::Set(value) => Some(value.into()),
        }
    }
    let weight = match patch.weight {
        Change::Keep => None,
        Change::Clear => Some(Value::Null),
        Change::Set(weight) => Some(weight.get().into()),
    };
    let changes = [
        to(patch.enabled),
        weight,
        to(patch.soft_limit),
        to(patch.hard_limit),
    ];
    let named = MEMBERS.into_iter().zip(changes);
    named
        .filter_map(|(member, value)| Some((member.to_owned(), value?)))
        .collect()
}

/// Unlike a registration, a patch with an unknown member is refused: an answer of 200 to `{"enable":false}`
/// would tell an operator that traffic has stopped.
fn parse(mut fields: Fields) -> Result<Patch, Problem> {
    let patch = Patch {
        enabled: change(fields.nullable("enabled", flag)),
        weight: change(fields.nullable("weight", register::weight)),
        soft_limit: change(fields.nullable("soft_limit", whole_u32)),
        hard_limit: change(fields.nullable("hard_limit", whole_u32)),
    };
    let refused: Vec<(String, String)> = fields
        .unknown(&MEMBERS)
        .take(MOST_UNKNOWN)
        .map(|name| (excerpt(name).to_owned(), did_you_mean(name, &MEMBERS)))
        .collect();
    for (name, near) in refused {
        fields.problems.refuse(
            name,
            format!("can't be patched; {} can{near}", MEMBERS.join(", ")),
        );
    }
    if fields.problems.is_empty() {
        Ok(patch)
    } else {
        Err(Problem::unprocessable(fields.problems))
    }
}

/// Unknown members that are named in one reply.
const MOST_UNKNOWN: usize = 32;

fn change<T>(member: Option<Option<T>>) -> Change<T> {
    match member {
        None => Change::Keep,
        Some(None) => Change::Clear,
        Some(Some(value)) => Change::Set(value),
    }
}

/// The field to blame when the limits don't agree: the one that this patch touches.
fn contradicting(patch: &Patch) -> &'static str {
    if patch.hard_limit == Change::Keep {
        "soft_limit"
    } else {
        "hard_limit"
    }
}
