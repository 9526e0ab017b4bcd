//! What publishing one change costs in an app with very many backends: its members copied, and its balancer prepared.
//!
//! Backends lie in memory as they came, and are looked at through pointers: what it costs is cache misses.

use std::sync::Arc;

use edgeproxy_backend::{Endpoint, MonoTime};
use edgeproxy_balance::{Algorithm, Balancer, Candidate, Inner, Policy};
use edgeproxy_registry::{Config, Registry};

use crate::fleet::{id, registration};
use crate::machine::{Calls, row, shown};

const CHANGES: u32 = 40;

pub(crate) fn run(count: u32) -> anyhow::Result<()> {
    let now = MonoTime::from_secs(1);
    let config = Config {
        max_backends: 2_000_000,
        max_events: 16,
        ..Config::default()
    };
    let mut registry = Registry::new(config, now);
    // As after a day of registrations, not in the order of the memory.
    let mut order: Vec<u32> = (0..count).collect();
    fastrand::Rng::with_seed(1).shuffle(&mut order);
    for n in order {
        registry.handle_register(registration(n, 1), now)?;
    }
    let policy = Policy {
        algorithm: Algorithm::RegionAffinity(Inner::LeastConnections),
        ..Policy::default()
    };
    let (mut snapshots, mut prepared) = (Calls::default(), Calls::default());
    let mut held = registry.poll_snapshot(now);
    let mut balancer: Option<Balancer<Arc<Endpoint>>> = None;
    for n in 0..CHANGES {
        registry.handle_register(registration(count + n, 1), now)?;
        let snapshot = snapshots.time_used(|| registry.poll_snapshot(now));
        let members = snapshot.iter().flat_map(|snapshot| snapshot.apps.values());
        let endpoints: Vec<_> = members
            .flat_map(|app| &app.members)
            .map(|member| Arc::clone(&member.endpoint))
            .collect();
        let candidates: Vec<_> = endpoints.into_iter().map(Candidate::new).collect();
        let next = prepared.time_used(|| Balancer::prepare(&policy, candidates, now, balancer.as_ref()));
        balancer = Some(next);
        held = snapshot.or(held);
    }
    registry.handle_deregister(&id(0), None, None, now)?;
    row(
        &format!("one app with {count} backends: a change's snapshot"),
        format!(
            "{:.2} ms, longest {}",
            snapshots.each_nanos() / 1e6,
            shown(snapshots.longest)
        ),
    );
    row(
        "and its balancer, region affinity",
        format!(
            "{:.2} ms, longest {}",
            prepared.each_nanos() / 1e6,
            shown(prepared.longest)
        ),
    );
    drop(held);
    Ok(())
}
