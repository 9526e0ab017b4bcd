//! Times that don't fit each other.

use std::time::Duration;

use super::Found;
use crate::layers::Loaded;

pub(super) fn interval_below_timeout(loaded: &Loaded) -> Vec<Found> {
    let found = loaded.topology.apps.iter().filter_map(|app| {
        let health = app.health.as_ref()?;
        // The defaults are nobody's mistake.
        let place = app.says("health.timeout_secs").or(app.says("health.interval_secs"))?;
        let (interval, longest) = (health.interval.as_secs(), health.probe.longest().as_secs());
        (interval < longest).then(|| {
            Found::at(
                Some(place),
                format!(
                    "app {} is probed every {interval} s and a probe may take {longest} s: a backend that hangs is noticed {longest} s late, however short the interval is",
                    app.name
                ),
                "write time-outs that add up to the interval or less: a healthy backend answers within a second",
            )
        })
    });
    found.collect()
}

/// A lost packet is sent again after 1 s and after 3 s (RFC 6298 §2, §5.5): less between two heartbeats than that,
/// and what delays one delays all three.
const HEARTBEAT_MIN: Duration = Duration::from_secs(5);

pub(super) fn ttl_below_three_heartbeats(loaded: &Loaded) -> Vec<Found> {
    let ttl = loaded.settings.heartbeat_ttl;
    (loaded.settings.api_enabled && ttl < HEARTBEAT_MIN * 3)
        .then(|| {
            Found::at(
                loaded.place("heartbeat_ttl_secs"),
                format!(
                    "heartbeat_ttl_secs is {}: it holds less than three heartbeats of 5 s, so a few lost packets deregister a healthy backend",
                    ttl.as_secs()
                ),
                "write heartbeat_ttl_secs = 15 or more; a health monitor notices a dead backend sooner than a short lease does",
            )
        })
        .into_iter()
        .collect()
}
