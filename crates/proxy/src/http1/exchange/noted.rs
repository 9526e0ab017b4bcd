//! What is counted of a request, what its backend's ledger hears, and what its client is told that got no response.

use edgeproxy_backend::{InFlight, Signal};

use super::attempt::Unanswered;
use super::{After, Exchange};
use crate::account::Account;
use crate::answer::Answer;
use crate::counts::place_of;
use crate::http1::body::BodyError;
use crate::http1::deliver::Broken;
use crate::retry::Failed;
use crate::socket::Socket;
use crate::{AppRoute, clock};

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

    /// Whether the app's budget has a retry left, which is spent then.
    #[cold]
    pub(super) fn may_retry(&self, app: &AppRoute) -> bool {
        let granted = app.retry_budget.withdraw(app.settings.allowance(), clock::now());
        self.worker.books().app(&app.name).retried(granted);
        granted
    }

    /// Tells a backend's ledger that it failed the request.
    pub(super) fn failed(&self, app: &AppRoute, place: &InFlight, failed: Failed) {
        tracing::debug!(backend = %place.endpoint().id, ?failed, "a backend failed a request");
        self.worker
            .tally(place.endpoint())
            .backend
            .failures
            .count(place_of(failed));
        if failed.is_the_backends() {
            self.tell(place, place.failed(app.settings.max_failures, clock::now()));
        }
    }

    pub(super) fn tell(&self, place: &InFlight, signal: Option<Signal>) {
        if let Some(signal) = signal {
            self.worker.report(place.report(signal));
        }
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
        Unanswered::Failed(Failed::Connect) => Answer::connect_failed(),
        Unanswered::Failed(Failed::Tls) => Answer::tls_failed(),
        Unanswered::Failed(Failed::ConnectTimeout) => Answer::connect_timeout(),
        Unanswered::Failed(Failed::ResponseTimeout) => Answer::response_timeout(),
        // An unhealthy one is passed on unless another backend was found for the request, and then that one's failure counts.
        Unanswered::Failed(Failed::Malformed | Failed::Unhealthy) => Answer::bad_response(),
        Unanswered::Failed(Failed::Refused) => Answer::refused(),
        Unanswered::Failed(Failed::OwnFault) => Answer::overloaded(),
        Unanswered::Failed(Failed::NotSent | Failed::Stale | Failed::GoneAway | Failed::NoResponse) => {
            Answer::no_response()
        }
        Unanswered::Body(BodyError::TooLong) => match max {
            Some(max) => Answer::body_too_large(max),
            None => Answer::bad_request("the request's body has a part that is too long"),
        },
        Unanswered::Body(BodyError::Truncated) => Answer::bad_request("the request's body broke off"),
        Unanswered::Body(BodyError::Chunk(error)) => Answer::bad_request(error.to_string()),
        Unanswered::Target => Answer::bad_request("the request's target has no form in HTTP/2"),
        Unanswered::Stalled => Answer::request_timeout("the request's body did not arrive in time"),
        Unanswered::Gone | Unanswered::Ended => return After::Ended,
    })
}
