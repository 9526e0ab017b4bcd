use std::time::Duration;

use http::StatusCode;

use super::BoxError;

/// Why a request of the program's own has no response.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboundError {
    /// No backend answered it. What a client would have been told.
    #[error("{message} ({word})")]
    Unanswered {
        /// Stable: one of the words of [the crate's table](crate#what-clients-are-told), such as `no_backend`.
        word: String,
        /// A sentence.
        message: String,
        /// What a client would have got.
        told: StatusCode,
        /// When it is worth to try again, where that is known.
        retry_after: Option<Duration>,
    },
    /// Its URI has no host, by which an app is found.
    #[error("the request's URI has no host; expected one that names an app, such as http://shop/")]
    NoHost,
    /// Its own body broke off.
    #[error("the request's body broke off: {0}")]
    Body(#[source] BoxError),
    /// The response, or the request, was broken off on its way.
    #[error("it was broken off: {reason}")]
    Broken {
        /// By what.
        reason: String,
    },
    /// The workers have ended, or are about to.
    #[error("the data plane has ended")]
    Ended,
}

/// Where the answer is missed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CalledFrom {
    /// In the middle of the caller's own work, as a service callout is.
    Flow,
    /// Where it would have been the answer itself, as of a target endpoint.
    Endpoint,
}

impl OutboundError {
    /// What to tell one's own client: 500 of a failed part of one's own work, 503 of a service that isn't there.
    #[must_use]
    pub const fn status(&self, from: CalledFrom) -> StatusCode {
        match from {
            CalledFrom::Flow => StatusCode::INTERNAL_SERVER_ERROR,
            CalledFrom::Endpoint => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    pub(super) fn of_h2(error: &h2::Error) -> Self {
        if error.is_io() {
            return Self::Ended;
        }
        Self::Broken {
            reason: error.to_string(),
        }
    }
}
