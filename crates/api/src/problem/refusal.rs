//! What the registry refuses, as the API says it.

use edgeproxy_backend::BackendId;
use edgeproxy_control::ControlError;
use edgeproxy_registry::{DeregisterError, FencedError, PatchError, RegisterError};

use crate::problem::{Kind, Problem, Problems};

/// Places become free when leases run out; the shortest common lease is a minute.
const FULL_RETRY_SECS: u64 = 30;

pub(crate) fn of_register(error: ControlError<RegisterError>, id: &BackendId) -> Problem {
    let error = match error {
        ControlError::Stopping => return Problem::stopping(),
        ControlError::Refused(error) => error,
    };
    let sentence = error.to_string();
    let problem = match error {
        RegisterError::AppTaken { .. } => Problem::new(Kind::AppTaken, sentence),
        RegisterError::Static(_) => Problem::new(Kind::InTheFile, sentence),
        RegisterError::Ttl { .. } => {
            let mut problems = Problems::default();
            problems.refuse("ttl_secs", sentence);
            Problem::unprocessable(problems)
        }
        RegisterError::TooManyBackends { .. } | RegisterError::TooManyApps { .. } => {
            Problem::for_now(Kind::RegistryFull, sentence, FULL_RETRY_SECS)
        }
    };
    problem.with_id(id)
}

pub(crate) fn of_deregister(error: ControlError<DeregisterError>, id: &BackendId) -> Problem {
    match error {
        ControlError::Stopping => Problem::stopping().with_id(id),
        ControlError::Refused(DeregisterError::Fenced(error)) => fenced(&error, id),
        ControlError::Refused(error @ DeregisterError::Static(_)) => {
            let sentence = format!("{error} by PATCH with {{\"enabled\":false}}");
            Problem::new(Kind::InTheFile, sentence).with_id(id)
        }
    }
}

pub(crate) fn of_fenced(error: ControlError<FencedError>, id: &BackendId) -> Problem {
    match error {
        ControlError::Stopping => Problem::stopping().with_id(id),
        ControlError::Refused(error) => fenced(&error, id),
    }
}

pub(crate) fn of_heartbeat(error: ControlError<FencedError>, id: &BackendId) -> Problem {
    match error {
        ControlError::Refused(FencedError::Unknown(_)) => unknown_heartbeat(id),
        error => of_fenced(error, id),
    }
}

pub(crate) fn of_patch(error: ControlError<PatchError>, id: &BackendId, field: &str) -> Problem {
    match error {
        ControlError::Stopping => Problem::stopping().with_id(id),
        ControlError::Refused(PatchError::Fenced(error)) => fenced(&error, id),
        ControlError::Refused(PatchError::Limits(error)) => {
            let mut problems = Problems::default();
            problems.refuse(
                field,
                format!("is refused: the limits that would result don't agree: {error}"),
            );
            Problem::unprocessable(problems).with_id(id)
        }
    }
}

/// 404: there is no such backend.
pub(crate) fn unknown(id: &BackendId) -> Problem {
    fenced(&FencedError::Unknown(id.clone()), id)
}

/// 404 to a heartbeat: it means one thing, and says so.
pub(crate) fn unknown_heartbeat(id: &BackendId) -> Problem {
    let error = format!("{}; register it again", FencedError::Unknown(id.clone()));
    Problem::new(Kind::UnknownBackend, error).with_id(id)
}

fn fenced(error: &FencedError, id: &BackendId) -> Problem {
    let kind = match error {
        FencedError::Unknown(_) => Kind::UnknownBackend,
        FencedError::DeadIncarnation { .. } => Kind::DeadIncarnation,
    };
    Problem::new(kind, error.to_string()).with_id(id)
}
