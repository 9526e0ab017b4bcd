//! What requests have come to so far, as those who draw it need it.

use edgeproxy_backend::{AppName, BackendId};
use edgeproxy_metrics::{Buckets, Exposition};

/// Who counts: what the API is told of the data plane, and all metrics of the process.
pub trait Metrics: Send + Sync {
    /// What requests have come to since the process began, by app and in the order of names. Sums only grow, until
    /// something is gone for minutes: whoever wants a rate asks twice and takes the difference. It takes about a
    /// microsecond for each backend that had traffic, and nobody else waits for it.
    fn traffic(&self) -> Vec<AppFigures>;

    /// Writes every metric. It takes its time, so it is called on a thread that nobody waits for.
    fn write(&self, out: &mut Exposition<'_>);
}

/// What the requests of an app have come to, as its clients see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppFigures {
    /// The app.
    pub app: AppName,
    /// All of its requests. Their latency is from the request's head to the end of the answer.
    pub figures: Figures,
    /// Attempts after the first, on another backend.
    pub retries: u64,
    /// Its backends that had traffic, in the order of ids.
    pub backends: Vec<BackendFigures>,
}

/// What the attempts at a backend have come to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackendFigures {
    /// The backend.
    pub id: BackendId,
    /// All attempts. Their latency is from the request's first byte to the response's head.
    pub figures: Figures,
}

/// Sums since the process began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// Answers by the class of their status: 1xx, 2xx, 3xx, 4xx, 5xx.
    pub answers: [u64; 5],
    /// What failed: for an app, requests that the proxy answered itself; for a backend, attempts that it failed.
    pub failures: u64,
    /// How often it took how long. Between which bounds a bucket lies says
    /// [`BOUNDS_MICROS`](edgeproxy_metrics::BOUNDS_MICROS).
    pub latency: Buckets,
}
