//! Whether a request that failed is picked for again, and whom: the rules, and the budget that bounds them.

mod budget;

pub use budget::{Allowance, RetryBudget};

/// What became of an attempt that got no response that counts. The backend's failure, unless it says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failed {
    /// No connection: refused, unreachable, reset while connecting.
    Connect,
    /// No connection in time.
    ConnectTimeout,
    /// Connected, and no TLS handshake: nothing of the request was sent.
    Tls,
    /// A kept connection turned out to be closed before any byte was written to it.
    NotSent,
    /// A kept connection was closed before the response's first byte.
    Stale,
    /// Closed or reset after the request was sent, or within the response's head.
    NoResponse,
    /// No response's head in time.
    ResponseTimeout,
    /// What came is not a response.
    Malformed,
    /// A response whose status is one of `unhealthy_responses`.
    Unhealthy,
    /// A shared connection was being closed, and the request was not looked at (RFC 9113 §8.7).
    GoneAway,
    /// The backend takes no such request now, and has not looked at it (RFC 9113 §8.7).
    Refused,
    /// Whoever asks had nothing left to make a connection with: no descriptor, memory or port. The backend has no
    /// part in it, so its ledger hears nothing.
    OwnFault,
}

impl Failed {
    /// Whether it speaks against the backend.
    #[must_use]
    pub const fn is_the_backends(self) -> bool {
        !matches!(self, Self::OwnFault)
    }
}

/// What is known of the request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// RFC 9110 §9.2.2, or `retry_non_idempotent`.
    pub idempotent: bool,
    /// Its body is empty, untouched, or kept.
    pub replayable: bool,
}

/// What is tried next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// The same backend, on a fresh connection. Free: it can't multiply an outage.
    FreshConnection,
    /// Another backend, if the budget allows it.
    OtherBackend,
    /// Nothing: the client is told.
    GiveUp,
}

/// What is tried after a failure: the table in `docs/behaviour`, under *Retries*.
///
/// It doesn't know how many attempts were made; the caller counts them.
#[must_use]
pub fn next(failed: Failed, request: Request) -> Next {
    let repeatable = request.idempotent && request.replayable;
    match failed {
        // Elsewhere there may be a connection that is kept.
        Failed::Connect | Failed::ConnectTimeout | Failed::Tls | Failed::Refused | Failed::OwnFault
            if request.replayable =>
        {
            Next::OtherBackend
        }
        Failed::NotSent | Failed::GoneAway if request.replayable => Next::FreshConnection,
        Failed::Stale if repeatable => Next::FreshConnection,
        Failed::NoResponse | Failed::ResponseTimeout | Failed::Malformed | Failed::Unhealthy
            if repeatable =>
        {
            Next::OtherBackend
        }
        _ => Next::GiveUp,
    }
}

#[cfg(test)]
mod tests;
