//! What is counted of a request, what its backend's ledger hears, and what its client is told that got no response.

use edgeproxy_backend::InFlight;

use super::attempt::Unanswered;
use super::{After, Exchange};
use crate::AppRoute;
use crate::exchange::account::Account;
use crate::exchange::answer::Answer;
use crate::exchange::retry::Failed;
use crate::http1::body::BodyError;
use crate::http1::deliver::Broken;
use crate::transport::socket::Socket;

impl<S: Socket> Exchange<'_, S> {
    /// Counts what comes of a request that no backend's response ends.
    #[cold]
    pub(super) fn note(&mut self, app: &AppRoute, after: &After) {
        let cells = || self.worker.books().app(&app.name);
        match after {
            After::Told(answer) => self.account.answered_by_us(&cells(), answer),
            After::Ended => self.account.abandoned(&cells()),
            _ => {}
        }
    }

    /// Notes that an attempt failed.
    #[cold]
    pub(super) fn failed(&mut self, app: &AppRoute, place: &InFlight, failed: Failed) {
        self.worker.failed(app, place, failed);
        self.standing.failed(failed, &self.whereabouts, place.endpoint());
    }
}

/// Counts how an answer ended.
pub(super) fn note_delivery<T>(account: &mut Account, delivered: &Result<T, Broken>) {
    match delivered {
        Ok(_) => {}
        Err(Broken::Backend) => account.truncated(),
        Err(Broken::Client | Broken::Upload) => account.interrupted(),
    }
}

/// What a client is told whose request got no response.
pub(super) fn explain(unanswered: &Unanswered, max: Option<u64>) -> After {
    After::Told(match unanswered {
        Unanswered::Failed(failed) => Answer::of_failure(*failed),
        Unanswered::Body(BodyError::TooLong) => match max {
            Some(max) => Answer::body_too_large(max),
            None => Answer::bad_request("the request's body has a part that is too long"),
        },
        Unanswered::Body(BodyError::Truncated) => Answer::bad_request("the request's body broke off"),
        Unanswered::Body(BodyError::Chunk(error)) => Answer::bad_request(error.to_string()),
        Unanswered::Target => Answer::bad_request("the request's target has no form in HTTP/2"),
        Unanswered::Stalled => Answer::request_timeout("the request's body did not arrive in time"),
        Unanswered::Gone => return After::Ended,
    })
}
