//! What a client is told whose request got no response.

use edgeproxy_balance::PickError;

use super::Exchange;
use crate::exchange::answer::Answer;
use crate::exchange::retry::Failed;
use crate::exchange::upload::Broken;
use crate::upstream::attempt::Unanswered;

impl Exchange<'_> {
    /// What a client is told whose request no backend may take, or no other than the one that `failed`.
    pub(super) fn refusal(&self, error: PickError, failed: Option<Failed>) -> Answer {
        let (name, delay) = (self.app.name.as_str(), self.worker.config().retry_after);
        match (error, failed) {
            (PickError::AllFull, _) => Answer::backends_full(name, delay),
            (_, Some(failed)) => self.explain(failed.into()),
            (_, None) => Answer::no_backend(name, &self.app.summary, delay),
        }
    }

    /// What a client is told whose request got no response.
    pub(super) fn explain(&self, unanswered: Unanswered) -> Answer {
        match unanswered {
            Unanswered::Failed(failed) => Answer::of_failure(failed),
            Unanswered::Client(Broken::TooLarge) => Answer::body_too_large(self.max_body.unwrap_or(u64::MAX)),
            Unanswered::Client(Broken::Target) => {
                Answer::bad_request("the request's target has no form in HTTP/2")
            }
            Unanswered::Client(_) => Answer::bad_request("the request's body broke off"),
            Unanswered::ClientStalled => Answer::request_timeout("the request's body did not arrive in time"),
        }
    }
}
