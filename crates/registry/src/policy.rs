use std::num::NonZeroU64;
use std::time::Duration;

use edgeproxy_backend::Incarnation;

/// How a registry behaves. Fixed for its life, but for [`AppPolicy`], which can be set by app, and for [`Bounds`].
#[derive(Clone, Debug)]
pub struct Config {
    /// The lease of a backend that asks for none. 60 s.
    pub ttl: Duration,
    /// The shortest lease that a backend may ask for. 5 s.
    pub ttl_min: Duration,
    /// The longest lease that a backend may ask for. 3600 s.
    pub ttl_max: Duration,
    /// How many backends there may be, draining ones included. 100,000.
    pub max_backends: usize,
    /// How many apps there may be. 10,000.
    pub max_apps: usize,
    /// How many operator's changes are remembered for backends that are gone. 4,096.
    pub max_remembered: usize,
    /// How many events wait to be polled; beyond that the oldest is dropped and counted. 65,536.
    pub max_events: usize,
    /// How long a superseded incarnation may finish what it has in flight. 30 s.
    pub drain_timeout: Duration,
    /// The longest drain that can be asked for. 3600 s.
    pub drain_max: Duration,
    /// The owner calls at least this often while there are leases; a longer silence was a pause of the
    /// process, and extends every lease. 1 s.
    pub tick: Duration,
    /// How much later than a tick a call may come before it counts as a pause. 1 s.
    pub tick_tolerance: Duration,
    /// Whether a mass expiry is distrusted.
    pub mass_expiry_guard: bool,
    /// The number of the first incarnation. Beyond every one that there was before a restart.
    pub first_incarnation: Incarnation,
    /// How far the number of an incarnation is from the one before, so that several registries whose numbers begin
    /// apart never give the same. 1.
    pub stride: NonZeroU64,
    /// Whether anybody wants to know what is to be kept. Nobody.
    pub keep: Keep,
    /// Who ends the leases of backends that registered. The registry itself.
    pub leases: Leases,
    /// Seeds the jitter of ejection times and the hashes of names; the same seed and inputs give the same
    /// outputs. Draw it at random where others choose the ids, lest they choose ones that collide. 0.
    pub seed: u64,
    /// What holds for every app without a policy of its own.
    pub app: AppPolicy,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(60),
            ttl_min: Duration::from_secs(5),
            ttl_max: Duration::from_secs(3_600),
            max_backends: 100_000,
            max_apps: 10_000,
            max_remembered: 4_096,
            max_events: 65_536,
            drain_timeout: Duration::from_secs(30),
            drain_max: Duration::from_secs(3_600),
            tick: Duration::from_secs(1),
            tick_tolerance: Duration::from_secs(1),
            mass_expiry_guard: true,
            first_incarnation: Incarnation::FIRST,
            stride: NonZeroU64::MIN,
            keep: Keep::Nothing,
            leases: Leases::Here,
            seed: 0,
            app: AppPolicy::default(),
        }
    }
}

/// Whether a store is to be told of what changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Keep {
    /// Nobody asks, and nothing is noted.
    #[default]
    Nothing,
    /// What outlives the process is noted until it is [taken](crate::Registry::take_writes).
    Registrations,
}

/// Where it is decided that a lease has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Leases {
    /// Here, when the time has come.
    #[default]
    Here,
    /// Among several registries, which hear of the same backends: this one expires nobody. It is asked by
    /// [`Registry::handle_expiring`](crate::Registry::handle_expiring) whether the mass-expiry guard distrusts an end, told by [`Registry::handle_overdue`](crate::Registry::handle_overdue) who is to be probed,
    /// by [`handle_heard`](crate::Registry::handle_heard) who was heard elsewhere, and by
    /// [`handle_ended`](crate::Registry::handle_ended) or [`handle_foreign`](crate::Registry::handle_foreign) who is gone.
    /// What it tells of a lease is what it has heard itself.
    Elsewhere,
}

/// What of [`Config`] can change while the registry is in use. Each is as it is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// The lease of a backend that asks for none.
    pub ttl: Duration,
    /// How many backends there may be.
    pub max_backends: usize,
    /// How long a superseded incarnation may finish what it has in flight.
    pub drain_timeout: Duration,
    /// Whether a mass expiry is distrusted.
    pub mass_expiry_guard: bool,
}

impl Config {
    /// What of it can change.
    #[must_use]
    pub const fn bounds(&self) -> Bounds {
        Bounds {
            ttl: self.ttl,
            max_backends: self.max_backends,
            drain_timeout: self.drain_timeout,
            mass_expiry_guard: self.mass_expiry_guard,
        }
    }
}

/// The ledgers' thresholds for one app.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AppPolicy {
    /// Consecutive failed requests that eject a backend; 0, the default, never does. The data plane
    /// counts; the registry needs it for `fall`.
    pub max_failures: u32,
    /// Whether traffic failures may take the last routable backend.
    pub last_backend: LastBackend,
    /// The greatest share, in percent, of the backends that nothing else keeps out which failed requests may keep out at
    /// the same time, as Envoy's `max_ejection_percent`; one of them always. A failed trial ejects whatever the share. 100, no
    /// bound.
    pub max_ejection_percent: u32,
    /// Consecutive failed probes that take a backend out. `None`: `max_failures`, or 3 where that is 0.
    pub fall: Option<u32>,
    /// Consecutive passed probes that bring it back; 0 counts as 1. 1.
    pub rise: u32,
    /// Whether a new backend waits for its first passing probe.
    pub initial: Initial,
    /// Whether anybody probes.
    pub monitoring: Monitoring,
    /// The first ejection's length. 30 s.
    pub ejection_base: Duration,
    /// The longest ejection. 300 s.
    pub ejection_max: Duration,
}

impl Default for AppPolicy {
    fn default() -> Self {
        Self {
            max_failures: 0,
            last_backend: LastBackend::Keep,
            max_ejection_percent: 100,
            fall: None,
            rise: 1,
            initial: Initial::Routable,
            monitoring: Monitoring::On,
            ejection_base: Duration::from_secs(30),
            ejection_max: Duration::from_secs(300),
        }
    }
}

impl AppPolicy {
    /// The number of consecutive failed probes in force.
    #[must_use]
    pub fn fall_in_force(&self) -> u32 {
        match (self.fall, self.max_failures) {
            (Some(fall), _) => fall.max(1),
            (None, 0) => 3,
            (None, max_failures) => max_failures,
        }
    }
}

/// What happens when traffic failures would eject the last routable backend of an app.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LastBackend {
    /// It stays: its users see its own errors rather than a 503 that outlives the fault.
    #[default]
    Keep,
    /// It goes, as Apigee's rule has it.
    Eject,
}

/// Whether an app's backends are probed by a health monitor, which is not the registry's to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Monitoring {
    /// They are, and what is found counts.
    #[default]
    On,
    /// They are not. What probes found before is forgotten, and a result that comes late is void, lest a backend
    /// stay out that nobody would let back; nor does a new one wait for its first.
    Off,
}

/// When a new backend becomes routable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Initial {
    /// At once.
    #[default]
    Routable,
    /// After its first passing probe.
    ProbeFirst,
}
