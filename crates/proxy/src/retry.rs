//! Whether a request that failed is tried again, and on what: rules and budget, without any I/O.

use edgeproxy_backend::MonoTime;
use http::Method;

/// What became of an attempt that got no response. The backend's failure, unless it says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Failed {
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
    /// A shared connection was being closed, and the request was not looked at (RFC 9113 §8.7).
    GoneAway,
    /// The backend takes no such request now, and has not looked at it (RFC 9113 §8.7).
    Refused,
}

/// What is known of the request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Request {
    /// RFC 9110 §9.2.2, or `retry_non_idempotent`.
    pub(crate) idempotent: bool,
    /// Its body is empty, untouched, or kept.
    pub(crate) replayable: bool,
}

/// What is tried next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// The same backend, on a fresh connection. Free: it can't multiply an outage.
    FreshConnection,
    /// Another backend, if the budget allows it.
    OtherBackend,
    /// Nothing: the client is told.
    GiveUp,
}

/// The rule. It doesn't know how many attempts were made; the caller counts them.
pub(crate) fn next(failed: Failed, request: Request) -> Next {
    let repeatable = request.idempotent && request.replayable;
    match failed {
        Failed::Connect | Failed::ConnectTimeout | Failed::Tls | Failed::Refused if request.replayable => {
            Next::OtherBackend
        }
        Failed::NotSent | Failed::GoneAway if request.replayable => Next::FreshConnection,
        Failed::Stale if repeatable => Next::FreshConnection,
        Failed::NoResponse | Failed::ResponseTimeout | Failed::Malformed if repeatable => Next::OtherBackend,
        _ => Next::GiveUp,
    }
}

/// RFC 9110 §9.2.2. An unknown method promises nothing.
pub(crate) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// How many retries there may be: a share of the requests and some each second, so that retries can't
/// multiply an outage. A token bucket; the idea is Finagle's `RetryBudget`.
///
/// It begins full and holds what ten seconds without requests would bring, or one token at least.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    /// In thousandths, so that a share of a request is a whole number.
    milli: u64,
    milli_max: u64,
    milli_per_request: u64,
    per_sec: u64,
    refilled: MonoTime,
}

const TOKEN: u64 = 1_000;
const HELD_SECS: u64 = 10;

impl Budget {
    pub(crate) fn new(percent: u32, per_sec: u32, now: MonoTime) -> Self {
        let milli_max = (u64::from(per_sec) * HELD_SECS * TOKEN).max(TOKEN);
        Self {
            milli: milli_max,
            milli_max,
            milli_per_request: u64::from(percent) * TOKEN / 100,
            per_sec: u64::from(per_sec),
            refilled: now,
        }
    }

    /// A request came.
    pub(crate) fn deposit(&mut self) {
        self.add(self.milli_per_request);
    }

    /// Whether a retry may be made now; it is paid for then.
    pub(crate) fn withdraw(&mut self, now: MonoTime) -> bool {
        // Per second, a microsecond brings a millionth of a token, which is a thousandth of what is counted.
        let micros = u64::try_from(now.since(self.refilled).as_micros()).unwrap_or(u64::MAX);
        let earned = micros.saturating_mul(self.per_sec) / 1_000;
        // Time that was too short to earn anything is kept.
        if earned > 0 {
            self.refilled = now;
            self.add(earned);
        }
        if self.milli < TOKEN {
            return false;
        }
        self.milli -= TOKEN;
        true
    }

    fn add(&mut self, milli: u64) {
        self.milli = self.milli.saturating_add(milli).min(self.milli_max);
    }
}

#[cfg(test)]
mod tests;
