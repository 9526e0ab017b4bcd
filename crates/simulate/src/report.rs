use std::time::Duration;

use edgeproxy_backend::{BackendId, Region};
use edgeproxy_registry::{EventKind, State};

use crate::Histogram;

/// What came of a simulation.
#[derive(Clone, PartialEq, Debug)]
pub struct Report {
    /// How backends were picked, such as `ewma`, or `region_affinity, least_connections inside`.
    pub algorithm: String,
    /// The seed.
    pub seed: u64,
    /// How long it ran, in its own time.
    pub duration: Duration,
    /// How long a moment of the series is.
    pub resolution: Duration,
    /// What became of all requests.
    pub totals: Totals,
    /// How long those took that were answered, from their arrival at the proxy to the answer there.
    pub latency: Histogram,
    /// What happened in each moment.
    pub series: Vec<Moment>,
    /// What each backend got, in the fleet's order.
    pub backends: Vec<BackendReport>,
    /// What each stream of requests was told, in the fleet's order.
    pub traffic: Vec<TrafficReport>,
    /// How attempts were picked for, by tier: 0 to 3 as in the documentation.
    pub tiers: [TierReport; 4],
    /// Attempts that went to the backend that their client is bound to.
    pub bound: u64,
    /// How far the busiest backend is above the mean, of those that are routable: requests in flight for their weight, the
    /// most over the mean. 1 is perfectly even.
    pub imbalance: Imbalance,
    /// What the registries told, in order; renewals are left out.
    pub events: Vec<Told>,
    /// How many more they told than [`Report::MAX_EVENTS`].
    pub events_left_out: u64,
}

impl Report {
    /// The most events that are told: 10,000.
    pub const MAX_EVENTS: usize = 10_000;

    /// How often backends were ejected for failed requests, at all proxies together.
    #[must_use]
    pub fn ejections(&self) -> usize {
        self.events
            .iter()
            .filter(|event| event.kind == EventKind::Ejected)
            .count()
    }

    /// The regions of backends, with what each got: attempts, those that failed, and the fair number.
    #[must_use]
    pub fn regions(&self) -> Vec<RegionReport> {
        let mut regions: Vec<RegionReport> = Vec::new();
        for backend in &self.backends {
            let region = match regions.iter_mut().find(|region| region.region == backend.region) {
                Some(region) => region,
                None => {
                    regions.push(RegionReport::new(backend.region));
                    let last = regions.len() - 1;
                    &mut regions[last]
                }
            };
            region.backends += 1;
            region.attempts += backend.attempts;
            region.failed += backend.failed;
            region.fair += backend.fair;
        }
        regions
    }
}

/// What became of all requests. `arrivals` are `answered`, `errors`, `failed` and `in_flight` together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Requests that came.
    pub arrivals: u64,
    /// Those that got a response.
    pub answered: u64,
    /// Those that got a backend's own error.
    pub errors: u64,
    /// Those that were told by the proxy that there is none, by [`Failure`].
    pub failed: [u64; Failure::ALL.len()],
    /// Those that were under way in the end, waiting ones included.
    pub in_flight: u64,
    /// Attempts, retries included.
    pub attempts: u64,
    /// Attempts after the first.
    pub retries: u64,
    /// Retries that the budget didn't allow.
    pub retries_refused: u64,
    /// Requests that had to wait for a place.
    pub queued: u64,
}

impl Totals {
    /// Requests that the proxy told that there is no answer.
    #[must_use]
    pub fn all_failed(&self) -> u64 {
        self.failed.iter().sum()
    }

    /// Of a million requests that are over, those that did not get what they came for.
    #[must_use]
    pub fn bad_ppm(&self) -> u64 {
        let bad = self.all_failed() + self.errors;
        (bad * 1_000_000).checked_div(bad + self.answered).unwrap_or(0)
    }
}

/// Why the proxy has no answer, by the word in `X-Edgeproxy-Error`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Failure {
    /// None is routable.
    NoBackend,
    /// All are at their hard limit, and so is the queue.
    BackendsFull,
    /// All are at their hard limit, and the time to wait is over.
    QueueTimeout,
    /// The backend refused the connection.
    ConnectFailed,
    /// The backend can't be reached.
    ConnectTimeout,
    /// The backend hung up.
    NoResponse,
    /// The backend didn't answer in time.
    ResponseTimeout,
}

impl Failure {
    /// Every failure, in the order of [`Totals::failed`].
    pub const ALL: [Self; 7] = [
        Self::NoBackend,
        Self::BackendsFull,
        Self::QueueTimeout,
        Self::ConnectFailed,
        Self::ConnectTimeout,
        Self::NoResponse,
        Self::ResponseTimeout,
    ];

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoBackend => "no_backend",
            Self::BackendsFull => "backends_full",
            Self::QueueTimeout => "queue_timeout",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::NoResponse => "no_response",
            Self::ResponseTimeout => "response_timeout",
        }
    }
}

/// What happened in one moment of the series.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Moment {
    /// Requests that came.
    pub arrivals: u64,
    /// Requests that got a response.
    pub answered: u64,
    /// Requests that got an error, a backend's or the proxy's.
    pub bad: u64,
    /// Attempts after the first.
    pub retries: u64,
    /// How long those took that got a response: half of them, and 99 of a hundred.
    pub median: Duration,
    /// As above.
    pub p99: Duration,
    /// Requests under way at backends: the mean of a few looks, in thousandths.
    pub in_flight_milli: u64,
    /// Attempts by tier.
    pub tiers: [u64; 4],
}

/// What a backend got.
#[derive(Clone, PartialEq, Debug)]
pub struct BackendReport {
    /// Who.
    pub id: BackendId,
    /// Where.
    pub region: Region,
    /// The weight that it comes with.
    pub weight: u16,
    /// Attempts that were sent to it.
    pub attempts: u64,
    /// Those that failed, by the rules of the traffic ledger.
    pub failed: u64,
    /// How many attempts it would have got if all had gone by weight to those that were routable at the time.
    pub fair: f64,
    /// The most requests in flight there, at all proxies together, of a few looks in each moment.
    pub most_in_flight: u32,
    /// How long it was a member and not routable, at any proxy.
    pub out: Duration,
    /// What happened in each moment.
    pub series: Vec<BackendMoment>,
}

/// What a backend got in one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BackendMoment {
    /// Attempts that were sent to it.
    pub attempts: u32,
    /// Those that failed.
    pub failed: u32,
    /// Requests in flight: the mean of a few looks, in thousandths.
    pub in_flight_milli: u64,
    /// Its state at the end of the moment, where it is worst; `None`: it is no member anywhere.
    pub state: Option<State>,
}

/// What a region's backends got.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RegionReport {
    /// Which.
    pub region: Region,
    /// How many backends.
    pub backends: usize,
    /// As of [`BackendReport`].
    pub attempts: u64,
    /// As of [`BackendReport`].
    pub failed: u64,
    /// As of [`BackendReport`].
    pub fair: f64,
}

impl RegionReport {
    const fn new(region: Region) -> Self {
        Self {
            region,
            backends: 0,
            attempts: 0,
            failed: 0,
            fair: 0.0,
        }
    }
}

/// What a stream of requests was told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrafficReport {
    /// Its name.
    pub name: String,
    /// Requests that came.
    pub arrivals: u64,
    /// Those that got a response.
    pub answered: u64,
    /// Those that got an error, a backend's or the proxy's.
    pub bad: u64,
    /// How long those took that got a response.
    pub latency: Histogram,
}

/// How attempts of a tier were picked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TierReport {
    /// By the algorithm, among those below their soft limit.
    pub below_soft: u64,
    /// The least above it, since all were.
    pub above_soft: u64,
}

/// How uneven it was.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Imbalance {
    /// The mean of all looks.
    pub mean: f64,
    /// The worst.
    pub worst: f64,
}

/// Something that a registry told.
#[derive(Clone, PartialEq, Debug)]
pub struct Told {
    /// When, since the beginning.
    pub at: Duration,
    /// Which proxy's, by its place in the fleet.
    pub proxy: usize,
    /// Of whom.
    pub id: BackendId,
    /// What.
    pub kind: EventKind,
    /// Why, in words for people.
    pub reason: String,
}
