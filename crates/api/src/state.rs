use std::fmt;
use std::num::NonZeroU32;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use edgeproxy_control::Handle;
use tokio::sync::Semaphore;

use crate::audit::Audit;
use crate::request_id::RequestIds;
use crate::{Configured, Events, Explain, Metrics, Readiness, Requests, Terms, Tls};

/// All that the API needs from the rest of the server.
#[derive(Clone)]
pub struct State {
    /// The running registry.
    pub handle: Handle,
    /// What `GET /ready` tells.
    pub readiness: Readiness,
    /// Who explains a pick.
    pub explain: Arc<dyn Explain>,
    /// Which backends may register, and who may use the API.
    pub terms: Terms,
    /// How much of it.
    pub bounds: Bounds,
    /// Who knows the configuration. `None`: there is none to show.
    pub configuration: Option<Arc<dyn Configured>>,
    /// What has happened to backends, for those who follow it; whoever runs the registry's driver tells it.
    pub events: Events,
    /// What it is served inside of. `None`: in the clear.
    pub tls: Option<Tls>,
    /// Where changes and refusals are written down. `None`: nowhere.
    pub audit: Option<Audit>,
    /// Who counts. `None`: nothing is told.
    pub metrics: Option<Arc<dyn Metrics>>,
    /// Where its own requests are counted.
    pub requests: Requests,
}

impl State {
    /// Starting, with the built-in regions, closed to strangers, and the default bounds.
    #[must_use]
    pub fn new(handle: Handle, explain: Arc<dyn Explain>) -> Self {
        Self {
            handle,
            readiness: Readiness::starting(),
            explain,
            terms: Terms::default(),
            bounds: Bounds::default(),
            configuration: None,
            events: Events::default(),
            tls: None,
            audit: None,
            metrics: None,
            requests: Requests::default(),
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("readiness", &self.readiness)
            .field("terms", &self.terms)
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

/// How much the API serves at once. Bodies end at 64 KiB, heads at 16 KiB and 100 fields; those are fixed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Requests that one peer may send per second, on average, of those that change something and of those that don't. 20,000.
    pub requests_per_sec: NonZeroU32,
    /// Requests that one peer may send at once. 40,000.
    pub burst: NonZeroU32,
    /// Wrong tokens that one peer may show in a minute. 60: a few agents that were given a wrong one don't lock out the
    /// others behind the same address, and a guess is hopeless at any rate.
    pub failures_per_min: NonZeroU32,
    /// Peers that are remembered for it; beyond that they share budgets. 16,384.
    pub peers: usize,
    /// Connections at once; the next waits in the listener's queue. One network that is neither private nor loopback gets a
    /// quarter of them, and further ones are closed. 1,024.
    pub connections: usize,
    /// TLS handshakes at once, which take no connection's place; one more ends the oldest, and one more of a network that has a
    /// quarter of them the oldest of that. 256.
    pub handshakes: usize,
    /// TLS handshakes that one network may begin per second, on average; loopback and private networks any number. 100.
    pub handshakes_per_sec: NonZeroU32,
    /// TLS handshakes that one network may begin at once. 400: as many agents behind one address come back after a restart.
    pub handshake_burst: NonZeroU32,
    /// The time for a TLS handshake. 10 s.
    pub handshake_timeout: Duration,
    /// The time for a request's head, from its first byte, or from the connection's beginning. 10 s.
    pub head_timeout: Duration,
    /// The time that a connection may be idle between two requests. Longer than heartbeats are apart, so
    /// that a backend with the usual lease keeps its connection. 75 s.
    pub idle_timeout: Duration,
    /// The time for a request's body. 10 s.
    pub body_timeout: Duration,
    /// The time for a whole answer, the body's included. 20 s.
    pub request_timeout: Duration,
    /// The time that a peer may take nothing of an answer that waits for it. 10 s.
    pub write_timeout: Duration,
    /// The time that requests under way get when the server stops. 5 s.
    pub drain_timeout: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            requests_per_sec: at_least_one(20_000),
            burst: at_least_one(40_000),
            failures_per_min: at_least_one(60),
            peers: 16_384,
            connections: 1_024,
            handshakes: 256,
            handshakes_per_sec: at_least_one(100),
            handshake_burst: at_least_one(400),
            handshake_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(20),
            write_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(5),
        }
    }
}

fn at_least_one(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

/// The [`State`], shared by every request.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Inner>);

struct Inner {
    state: State,
    request_ids: RequestIds,
    scraping: Arc<Semaphore>,
}

impl Shared {
    pub(crate) fn new(state: State) -> Self {
        Self(Arc::new(Inner {
            state,
            request_ids: RequestIds::new(),
            scraping: Arc::new(Semaphore::new(1)),
        }))
    }

    /// By what a request is called in the answer and in the audit log.
    pub(crate) fn next_request_id(&self) -> String {
        self.0.request_ids.next()
    }

    /// Whose turn it is to read the metrics.
    pub(crate) fn scraping(&self) -> &Arc<Semaphore> {
        &self.0.scraping
    }
}

impl Deref for Shared {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0.state
    }
}
