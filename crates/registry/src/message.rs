//! What goes in and what comes out of the registry's calls.

use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::{AppName, Backend, BackendId, Endpoint, Incarnation, LimitsError, Weight};

use crate::AppPolicy;

/// A backend's request to be routed to.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The backend.
    pub backend: Backend,
    /// The lease that it asks for; `None` is the registry's default.
    pub ttl: Option<Duration>,
}

/// What became of a registration.
#[derive(Clone, Debug)]
pub struct Registered {
    /// The endpoint in force.
    pub endpoint: Arc<Endpoint>,
    /// Whether it is new.
    pub kind: RegisteredKind,
    /// The lease in force.
    pub ttl: Duration,
}

/// Whether a registration made something new.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RegisteredKind {
    /// The id was unknown.
    New,
    /// The same app, ip and port: its lease was renewed, its weight and limits applied.
    Renewed,
    /// Another address: a new incarnation; the one named here drains.
    Superseded(Incarnation),
}

/// Why a registration was refused. Nothing has changed then.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RegisterError {
    /// The id is alive in another app.
    #[error("backend {id} belongs to app {app}; deregister it there, or choose another id")]
    AppTaken {
        /// The id.
        id: BackendId,
        /// The app that it belongs to.
        app: AppName,
    },
    /// The lease asked for is out of bounds.
    #[error("ttl of {} s is not between {} and {} s", found.as_secs(), min.as_secs(), max.as_secs())]
    Ttl {
        /// The lease asked for.
        found: Duration,
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// The id is that of a backend in the configuration file.
    #[error("backend {0} stands in the proxy's configuration file; choose another id, or remove it there")]
    Static(BackendId),
    /// The registry holds as many backends as it may.
    #[error("the registry is full: {max} backends; raise max_backends, or deregister some")]
    TooManyBackends {
        /// The limit.
        max: usize,
    },
    /// The registry holds as many apps as it may.
    #[error("the registry is full: {max} apps")]
    TooManyApps {
        /// The limit.
        max: usize,
    },
}

/// Why a call about a registered backend was refused. Nothing has changed then.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FencedError {
    /// There is no such backend; on a heartbeat it means "register again".
    #[error("no backend {0} is registered")]
    Unknown(BackendId),
    /// The caller spoke for an incarnation that is dead.
    #[error("incarnation {found} of backend {id} is dead; the live one is {live}")]
    DeadIncarnation {
        /// The backend.
        id: BackendId,
        /// The incarnation that the caller named.
        found: Incarnation,
        /// The one that lives.
        live: Incarnation,
    },
}

/// Why a backend could not be taken out. Nothing has changed then.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DeregisterError {
    /// No such backend, or a dead incarnation.
    #[error(transparent)]
    Fenced(#[from] FencedError),
    /// It stands in the configuration file.
    #[error("backend {0} stands in the proxy's configuration file; remove it there, or disable it")]
    Static(BackendId),
}

/// Why the backends of a configuration file were refused. Nothing has changed then.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StaticError {
    /// Two have the same id.
    #[error("backend {0} is there twice; give each an id of its own")]
    Twice(BackendId),
    /// They don't fit beside those that have registered.
    #[error("the registry is full: {new} new backends would make it more than {max}; raise max_backends")]
    TooManyBackends {
        /// How many are new.
        new: usize,
        /// The limit.
        max: usize,
    },
    /// Their apps don't fit beside those of the backends that have registered.
    #[error("the registry is full: {new} new apps would make it more than {max}")]
    TooManyApps {
        /// How many are new.
        new: usize,
        /// The limit.
        max: usize,
    },
}

/// What a configuration says of apps and of backends.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    /// The policy of every app that isn't named.
    pub others: AppPolicy,
    /// The policies of the apps that are.
    pub apps: Vec<(AppName, AppPolicy)>,
    /// The backends that stand in it. They need no lease.
    pub backends: Vec<Backend>,
}

/// What a configuration has changed about the backends of the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reconciled {
    /// Backends and incarnations that are new.
    pub added: usize,
    /// Backends that are otherwise than before at the same address, or had registered there.
    pub changed: usize,
    /// Backends that the list doesn't have any more. They drain.
    pub removed: usize,
}

/// Gates that are held open; see [`Registry::configure_ahead`](crate::Registry::configure_ahead).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "gates stay open until it is released"]
pub struct Hold(pub(crate) u64);

/// Why an operator's change was refused. Nothing has changed then.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PatchError {
    /// No such backend, or a dead incarnation.
    #[error(transparent)]
    Fenced(#[from] FencedError),
    /// The limits that would result contradict each other.
    #[error(transparent)]
    Limits(#[from] LimitsError),
}

/// What a backend says about its own load with a heartbeat.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct LoadReport {
    /// Requests that it has under way, from whomever.
    pub in_flight: Option<u32>,
    /// How busy it is, 0.0–1.0, in permille: 0–1000.
    pub utilization_permille: Option<u16>,
    /// It wants no new requests (`true`), or wants them again (`false`).
    pub draining: Option<bool>,
    /// The weight that it wants from now on.
    pub weight: Option<Weight>,
}

/// What a heartbeat achieved.
#[derive(Clone, Debug)]
pub struct Renewed {
    /// The endpoint in force.
    pub endpoint: Arc<Endpoint>,
    /// The lease in force; `None` where there is none to renew, since the backend stands in the configuration
    /// file.
    pub ttl: Option<Duration>,
}

/// What a deregistration achieved.
#[derive(Clone, Debug)]
pub struct Deregistered {
    /// The endpoint that gets no new request from now on.
    pub endpoint: Arc<Endpoint>,
    /// Requests that it still has in flight.
    pub in_flight: u32,
    /// Whether it stays listed as draining until they are done.
    pub draining: bool,
}

/// One field of an operator's change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Change<T> {
    /// Leave it.
    #[default]
    Keep,
    /// Back to what the backend registered.
    Clear,
    /// From now on this, whatever the backend registers.
    Set(T),
}

/// An operator's change to a backend. It outlives renewals and later incarnations until it is cleared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Patch {
    /// Whether it may get requests at all.
    pub enabled: Change<bool>,
    /// Its share of traffic.
    pub weight: Change<Weight>,
    /// Its soft limit; 0 is none.
    pub soft_limit: Change<u32>,
    /// Its hard limit; 0 is none.
    pub hard_limit: Change<u32>,
}

/// What an operator has set on a backend; `None` is what the backend registered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Overrides {
    /// Whether it may get requests at all.
    pub enabled: Option<bool>,
    /// Its share of traffic.
    pub weight: Option<Weight>,
    /// Its soft limit; 0 is none.
    pub soft_limit: Option<u32>,
    /// Its hard limit; 0 is none.
    pub hard_limit: Option<u32>,
}

/// Which probe has a result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Probe {
    /// The app's health monitor: counts in the probe ledger.
    Monitor,
    /// The TCP probe of one that is in doubt, a suspect or one that was restored: decides whether it is still there.
    Suspect,
}

/// How often the next probe is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// Nothing is changing: the usual interval.
    Settled,
    /// A streak has begun but has not decided yet: a fifth of it.
    Changing,
}
