//! Configurations and policies by lot.

use std::num::NonZeroU64;
use std::time::Duration;

use edgeproxy_backend::Incarnation;
use edgeproxy_registry::{AppPolicy, Config, Initial, Keep, LastBackend, Leases, Monitoring};
use fastrand::Rng;

use crate::shadow::SECOND;

/// Of several registries each gives the numbers that leave the same remainder.
pub const STRIDE: u64 = 16;

pub fn config(rng: &mut Rng) -> Config {
    let leases = if rng.u32(0..3) == 0 {
        Leases::Elsewhere
    } else {
        Leases::Here
    };
    let (stride, first) = match leases {
        Leases::Here => (1, rng.u64(1..100)),
        Leases::Elsewhere => (STRIDE, rng.u64(0..10) * STRIDE + 1),
    };
    Config {
        ttl: Duration::from_secs(10),
        ttl_max: Duration::from_secs(60),
        max_backends: if rng.u32(0..4) == 0 { rng.usize(1..9) } else { 100 },
        max_apps: if rng.u32(0..4) == 0 { rng.usize(1..3) } else { 10 },
        max_remembered: if rng.u32(0..4) == 0 { 0 } else { 100 },
        max_events: if rng.u32(0..4) == 0 {
            rng.usize(0..20)
        } else {
            100_000
        },
        drain_timeout: Duration::from_micros(rng.u64(0..5 * SECOND)),
        drain_max: Duration::from_secs(6),
        mass_expiry_guard: rng.u32(0..5) > 0,
        first_incarnation: Incarnation::new(first).unwrap(),
        stride: NonZeroU64::new(stride).unwrap(),
        leases,
        seed: rng.u64(..),
        keep: Keep::Registrations,
        app: policy(rng),
        ..Config::default()
    }
}

pub fn policy(rng: &mut Rng) -> AppPolicy {
    AppPolicy {
        max_failures: rng.u32(0..4),
        last_backend: if rng.u32(0..3) > 0 {
            LastBackend::Keep
        } else {
            LastBackend::Eject
        },
        max_ejection_percent: if rng.bool() { 100 } else { rng.u32(1..100) },
        fall: rng.bool().then(|| rng.u32(0..4)),
        rise: rng.u32(0..4),
        initial: if rng.u32(0..4) == 0 {
            Initial::ProbeFirst
        } else {
            Initial::Routable
        },
        monitoring: if rng.u32(0..4) == 0 {
            Monitoring::Off
        } else {
            Monitoring::On
        },
        ejection_base: Duration::from_micros(rng.u64(SECOND..4 * SECOND)),
        // The same for all: what has decayed by one policy would come back by another.
        ejection_max: Duration::from_secs(6),
    }
}
