use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use edgeproxy_backend::{AppName, Backend, Country, Region, Weight};
use edgeproxy_balance::retry::Allowance;
use edgeproxy_balance::{LastResort, Policy};
use edgeproxy_health::Monitor;
use edgeproxy_registry as registry;

use crate::{Arrivals, Keys, Latency, Rate};

/// What is simulated: one app, its backends, its clients, and the proxies between them.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// The same seed and fleet give the same report, to the byte.
    pub seed: u64,
    /// How long it runs, in its own time. Up to [`Fleet::MAX_DURATION`].
    pub duration: Duration,
    /// The app.
    pub app: App,
    /// Its backends.
    pub machines: Vec<Machine>,
    /// Its clients.
    pub traffic: Vec<Traffic>,
    /// The proxies. Each has ledgers, health checks, meters and a retry budget of its own, and learns of the others'
    /// requests only by how long answers take.
    pub sites: Vec<Site>,
    /// How far regions are apart, both ways. Within a region, and where nothing is said, nothing is.
    pub round_trips: Vec<(Region, Region, Duration)>,
    /// What happens on the way.
    pub script: Vec<Step>,
}

/// The app, as a proxy's configuration has it.
#[derive(Clone, Debug)]
pub struct App {
    /// Its name. It is that of every backend.
    pub name: AppName,
    /// How a backend is picked. Which region a proxy is in is said by its [`Site`].
    pub policy: Policy,
    /// When the ledgers take one out.
    pub ledgers: registry::AppPolicy,
    /// How backends are probed; `None`: not at all.
    pub monitor: Option<Monitor>,
    /// What holds for every request.
    pub requests: Requests,
    /// Leases and the mass-expiry guard.
    pub registry: registry::Config,
}

impl App {
    /// An app with every default.
    #[must_use]
    pub fn new(name: AppName) -> Self {
        Self {
            name,
            policy: Policy::default(),
            ledgers: registry::AppPolicy {
                monitoring: registry::Monitoring::Off,
                ..registry::AppPolicy::default()
            },
            monitor: None,
            requests: Requests::default(),
            registry: registry::Config::default(),
        }
    }
}

/// What holds for every request, as the settings of the same names say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Requests {
    /// `max_failures`.
    pub max_failures: u32,
    /// `last_backend`.
    pub last_resort: LastResort,
    /// `unhealthy_responses`.
    pub unhealthy: Vec<RangeInclusive<u16>>,
    /// `retry_enabled`, and `max_attempts`: 1 where it is not.
    pub max_attempts: u32,
    /// `retry_non_idempotent`.
    pub retry_non_idempotent: bool,
    /// `retry_budget_percent` and `retry_budget_per_sec`.
    pub allowance: Allowance,
    /// `queue_max`.
    pub queue_max: usize,
    /// `queue_timeout`.
    pub queue_timeout: Duration,
    /// `connect_timeout`.
    pub connect_timeout: Duration,
    /// `response_header_timeout`.
    pub response_timeout: Duration,
    /// `binding_max` and `binding_ttl`, where clients stay with a backend.
    pub bindings: Option<(usize, Duration)>,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            max_failures: 0,
            last_resort: LastResort::Used,
            unhealthy: Vec::new(),
            max_attempts: 3,
            retry_non_idempotent: false,
            allowance: Allowance::default(),
            queue_max: 1_024,
            queue_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(60),
            bindings: None,
        }
    }
}

/// A backend, and how it behaves.
#[derive(Clone, Debug)]
pub struct Machine {
    /// What it registers as.
    pub backend: Backend,
    /// Whether it keeps itself registered.
    pub membership: Membership,
    /// Whether it is there when the simulation begins; else it comes with [`Action::Join`].
    pub is_there: bool,
    /// How long it takes to answer.
    pub latency: Latency,
    /// How many requests it works at, at a time; the others wait inside of it. 0: any number.
    pub parallel: u32,
    /// How long it takes to get to its full speed after a start on the way, and by how much it is slower then. Who is there
    /// in the beginning has long been.
    pub warm_up: Option<(Duration, f64)>,
    /// How many of 100,000 answers are errors, of [`status`](Self::status).
    pub errors_per_100k: u32,
    /// The status of its errors.
    pub status: u16,
    /// How many of 100,000 requests it closes the connection on, unanswered.
    pub resets_per_100k: u32,
}

/// Who says that a backend is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Membership {
    /// It registers itself at every proxy, and sends heartbeats, three in the time of a lease.
    #[default]
    Registers,
    /// The configuration does, and it needs no heartbeat.
    Listed,
}

impl Machine {
    /// One that answers any number of requests at a time after `latency`, and never fails.
    #[must_use]
    pub const fn new(backend: Backend, latency: Latency) -> Self {
        Self {
            backend,
            membership: Membership::Registers,
            is_there: true,
            latency,
            parallel: 0,
            warm_up: None,
            errors_per_100k: 0,
            status: 503,
            resets_per_100k: 0,
        }
    }
}

/// A stream of requests.
#[derive(Clone, PartialEq, Debug)]
pub struct Traffic {
    /// What it is called in the report.
    pub name: String,
    /// How many come.
    pub rate: Rate,
    /// When.
    pub arrivals: Arrivals,
    /// Where its clients are, as far as a proxy knows.
    pub region: Option<Region>,
    /// Where its clients are, as far as a proxy knows.
    pub country: Option<Country>,
    /// Who its clients are, as far as a proxy knows.
    pub keys: Option<Keys>,
    /// Whether its requests may be repeated (RFC 9110 §9.2.2).
    pub idempotent: bool,
}

impl Traffic {
    /// So many requests each second, at random, from anywhere.
    #[must_use]
    pub fn steady(per_sec: f64) -> Self {
        Self {
            name: "clients".to_owned(),
            rate: Rate::steady(per_sec),
            arrivals: Arrivals::Poisson,
            region: None,
            country: None,
            keys: None,
            idempotent: true,
        }
    }
}

/// Where a proxy runs. Clients come to one in their region at random, or to any where there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Site {
    /// Its region.
    pub region: Region,
}

/// Something that happens.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    /// When, since the beginning.
    pub at: Duration,
    /// To which of [`Fleet::machines`], in this order.
    pub machines: Vec<usize>,
    /// How long after one it happens to the next.
    pub stagger: Duration,
    /// What.
    pub action: Action,
    /// After how long it is over; `None`: never. What isn't a state has no end.
    pub lasts: Option<Duration>,
}

/// What can happen to a backend.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Action {
    /// Its process dies: connections are reset, new ones refused, and its heartbeats stop. Over: it starts again, and
    /// registers.
    Crash,
    /// It accepts and never answers. Its heartbeats go on.
    Hang,
    /// No packet reaches it.
    Unreachable,
    /// It takes so many times as long. Over: as ever.
    Slow(f64),
    /// So many of 100,000 answers are errors. Over: as ever.
    Errors(u32),
    /// So many of 100,000 requests are closed unanswered. Over: as ever.
    Resets(u32),
    /// Its heartbeats get lost.
    Silent,
    /// It leaves, drains, ends, and starts again after so long: what a deployment does.
    Restart(Duration),
    /// It starts, and registers. Over: it leaves.
    Join,
    /// It deregisters, and drains. Over: it registers again.
    Leave,
    /// An operator switches it off. Over: on.
    Disable,
    /// An operator sets its weight. Over: its own.
    Weigh(Weight),
}

/// Why a fleet can't be simulated.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum FleetError {
    /// It runs for too long, or not at all.
    #[error("it is to run for {} s; expected 1 s to {} s", found.as_secs_f64(), Fleet::MAX_DURATION.as_secs())]
    Duration {
        /// The time found.
        found: Duration,
    },
    /// More than can be waited for.
    #[error(
        "about {requests} requests, and {upkeep} probes and heartbeats, would come; expected at most {max} of all together: \
         lower the rates, have fewer backends or proxies, lengthen the interval of probes or the lease, or shorten the duration"
    )]
    Events {
        /// How many requests would come.
        requests: u64,
        /// How many probes and heartbeats, at all proxies.
        upkeep: u64,
        /// The limit.
        max: u64,
    },
    /// Too many, or none, of something.
    #[error("there are {found} {what}; expected 1 to {max}")]
    Number {
        /// Of what.
        what: &'static str,
        /// How many.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// A step is for a machine that there isn't.
    #[error("a step is for machine {found}; there are {machines}, and the first is 0")]
    NoMachine {
        /// The number found.
        found: usize,
        /// How many there are.
        machines: usize,
    },
    /// Two backends have the same id, or another app, or there is no room for one.
    #[error("backend {id}: {reason}")]
    Backend {
        /// The backend.
        id: String,
        /// Why the registry refuses it.
        reason: String,
    },
}

impl Fleet {
    /// The longest simulation: a week.
    pub const MAX_DURATION: Duration = Duration::from_secs(7 * 24 * 3_600);
    /// The most requests, probes and heartbeats together: 50,000,000.
    pub const MAX_EVENTS: u64 = 50_000_000;
    /// The most backends.
    pub const MAX_MACHINES: usize = 2_000;
    /// The most proxies.
    pub const MAX_SITES: usize = 100;
    /// The most streams of requests.
    pub const MAX_TRAFFIC: usize = 1_000;

    /// How many requests are to be expected.
    #[must_use]
    pub fn expected_requests(&self) -> f64 {
        self.traffic
            .iter()
            .map(|traffic| traffic.rate.expected(self.duration))
            .sum()
    }

    /// How many probes and heartbeats are to be expected, at all proxies, of backends that are there all the time.
    #[must_use]
    pub fn expected_upkeep(&self) -> f64 {
        let all = self.machines.len() as f64;
        let registering = self.machines.iter();
        let registering = registering
            .filter(|machine| machine.membership == Membership::Registers)
            .count() as f64;
        let monitor = self.app.monitor.as_ref();
        let probes = monitor.map_or(0.0, |monitor| all / monitor.interval().as_secs_f64());
        // As often as they are sent: never twice in a microsecond.
        let heartbeats = registering / (self.heartbeat_every() as f64 / 1e6);
        (probes + heartbeats) * self.sites.len() as f64 * self.duration.as_secs_f64()
    }

    /// Three in the time of a lease, in microseconds.
    pub(crate) fn heartbeat_every(&self) -> u64 {
        (micros(self.app.registry.ttl) / 3).max(1)
    }

    pub(crate) fn check(&self) -> Result<(), FleetError> {
        let long = Duration::from_secs(1)..=Self::MAX_DURATION;
        if !long.contains(&self.duration) {
            return Err(FleetError::Duration { found: self.duration });
        }
        let numbers = [
            ("backends", self.machines.len(), Self::MAX_MACHINES),
            ("proxies", self.sites.len(), Self::MAX_SITES),
            ("streams of traffic", self.traffic.len(), Self::MAX_TRAFFIC),
        ];
        for (what, found, max) in numbers {
            if !(1..=max).contains(&found) {
                return Err(FleetError::Number { what, found, max });
            }
        }
        let mut ids = HashSet::new();
        if let Some(twice) = self
            .machines
            .iter()
            .find(|machine| !ids.insert(&machine.backend.id))
        {
            return Err(FleetError::Backend {
                id: twice.backend.id.to_string(),
                reason: "is there twice; give each an id of its own".to_owned(),
            });
        }
        let mut keys = self.traffic.iter().filter_map(|traffic| traffic.keys);
        if let Some(keys) = keys.find(|keys| !(1..=Keys::MAX).contains(&keys.count)) {
            return Err(FleetError::Number {
                what: "clients with keys in a stream of traffic",
                found: keys.count,
                max: Keys::MAX,
            });
        }
        let [requests, upkeep] =
            [self.expected_requests(), self.expected_upkeep()].map(crate::latency::rounded);
        if requests.saturating_add(upkeep) > Self::MAX_EVENTS {
            return Err(FleetError::Events {
                requests,
                upkeep,
                max: Self::MAX_EVENTS,
            });
        }
        let named = self.script.iter().flat_map(|step| &step.machines);
        match named.copied().find(|machine| *machine >= self.machines.len()) {
            Some(found) => Err(FleetError::NoMachine {
                found,
                machines: self.machines.len(),
            }),
            None => Ok(()),
        }
    }

    /// How long a packet takes from one region to another and back, in microseconds.
    pub(crate) fn round_trip(&self, one: Region, other: Region) -> u64 {
        let between =
            |(a, b, _): &&(Region, Region, Duration)| (*a, *b) == (one, other) || (*a, *b) == (other, one);
        let known = self.round_trips.iter().find(between).filter(|_| one != other);
        known.map_or(0, |(_, _, long)| micros(*long))
    }
}

/// In microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
