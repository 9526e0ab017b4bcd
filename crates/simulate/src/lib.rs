//! A fleet in virtual time: the real balancing, ledgers and health checks, with made-up backends and clients.
//!
//! # The key decision: it decides nothing by itself
//!
//! A simulation with decisions of its own would only show what its author believes. Here the code that serves decides:
//! [`edgeproxy_balance`] picks and retries, [`edgeproxy_registry`] keeps the ledgers and leases of every proxy,
//! [`edgeproxy_health`] schedules the probes, and [`edgeproxy_backend`]'s meters count. What is made up is around them: how
//! long a backend takes, when it fails, when requests come. What a server does to join these crates is repeated in
//! [`wiring`], and a test of the server compares the two.
//!
//! All of it is arithmetic on a number that stands for the time. There is no thread, socket or clock, and the only random
//! source is a seed. So an hour of a fleet takes seconds, and the same [`Fleet`] gives the same [`Report`], to the byte.
//!
//! ```
//! use std::time::Duration;
//! use edgeproxy_backend::{AppName, Backend, BackendAddr, BackendId, Country, Region};
//! use edgeproxy_balance::Algorithm;
//! use edgeproxy_simulate::{Action, App, Fleet, Latency, Machine, Site, Step, Traffic, simulate};
//!
//! let (app, region) = (AppName::parse("shop")?, Region::parse("eu")?);
//! let machine = |number: u16| {
//!     let id = BackendId::parse(&format!("shop-{number}"))?;
//!     let addr = BackendAddr::parse("10.50.1.1", 8_000 + number)?;
//!     let backend = Backend::new(id, app.clone(), region, Country::parse("DE")?, addr);
//!     Ok::<_, Box<dyn std::error::Error>>(Machine::new(backend, Latency::Exponential(Duration::from_millis(20))))
//! };
//! let mut shop = App::new(app.clone());
//! shop.policy.algorithm = Algorithm::LeastConnections;
//! shop.ledgers.max_failures = 3;
//! shop.requests.max_failures = 3;
//! let fleet = Fleet {
//!     seed: 1,
//!     duration: Duration::from_secs(20),
//!     app: shop,
//!     machines: vec![machine(1)?, machine(2)?, machine(3)?],
//!     traffic: vec![Traffic::steady(100.0)],
//!     sites: vec![Site { region }],
//!     round_trips: Vec::new(),
//!     script: vec![Step {
//!         at: Duration::from_secs(10),
//!         machines: vec![1],
//!         stagger: Duration::ZERO,
//!         action: Action::Crash,
//!         lasts: None,
//!     }],
//! };
//! let report = simulate(&fleet)?;
//! assert_eq!(report.ejections(), 1);
//! assert_eq!(report.totals.all_failed(), 0, "every request that met it was retried");
//! assert_eq!(simulate(&fleet)?, report);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it leaves out
//!
//! - Connections, bytes and processors: a proxy takes no time, so a request takes its backend's time and the way there.
//! - Delays of publishing: a table is in force in the instant in which it changes.
//! - The store: each of several proxies hears every heartbeat itself.
//! - Bodies: an answer is over when its head is there.
//!
//! [`svg`](fn@svg) draws reports. Reading fleets from files is up to the caller, as `edgeproxy simulate` does.

mod arrivals;
mod fleet;
mod histogram;
mod keys;
mod latency;
mod machine;
mod proxy;
mod random;
mod record;
mod report;
mod svg;
mod timeline;
pub mod wiring;
mod world;

pub use arrivals::{Arrivals, Rate};
pub use fleet::{Action, App, Fleet, FleetError, Machine, Membership, Requests, Site, Step, Traffic};
pub use histogram::Histogram;
pub use keys::Keys;
pub use latency::Latency;
pub use report::{
    BackendMoment, BackendReport, Failure, Imbalance, Moment, RegionReport, Report, TierReport, Told, Totals,
    TrafficReport,
};

pub use svg::{Caption, grouped, short, svg};

use edgeproxy_balance::Algorithm;

/// Runs a fleet to its end.
///
/// # Errors
/// When it can't be simulated.
pub fn simulate(fleet: &Fleet) -> Result<Report, FleetError> {
    fleet.check()?;
    world::World::new(fleet)?.run()
}

fn algorithm_text(algorithm: Algorithm) -> String {
    match algorithm {
        Algorithm::RegionAffinity(inner) => format!("{algorithm}, {inner} inside"),
        _ => algorithm.to_string(),
    }
}
