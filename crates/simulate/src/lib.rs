//! A fleet in virtual time.

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
