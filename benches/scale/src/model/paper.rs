//! The same by arithmetic: `P` proxies, `B` backends, a heartbeat of each every 20 s, leases of 60 s.

use super::Happening;
use super::etcd::{EVENT_OVERHEAD, HEARD_FRAME, gone_bytes, heard_key, registration_bytes};
use super::short;
use super::world::{BEAT, TTL, name};
use crate::fleet::id;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fleet {
    pub(crate) proxies: u32,
    pub(crate) backends: u32,
}

/// By the second, over all that it lasts.
#[derive(Default)]
pub(crate) struct Expected {
    pub(crate) transactions: f64,
    pub(crate) delivered: f64,
    pub(crate) bytes: f64,
    /// That one proxy asks for in its worst second.
    pub(crate) probes: f64,
}

/// How long heartbeats of others' backends are gathered, and by which step the simulation looks.
const GATHER_SECS: f64 = 0.25;

pub(crate) fn expected(fleet: Fleet, happening: Happening) -> Expected {
    let (proxies, backends) = (f64::from(fleet.proxies), f64::from(fleet.backends));
    let secs = happening.time().as_secs_f64();
    let beats = backends / BEAT.as_secs_f64();
    let by = name(0);
    let registered = registration_bytes(id(0).as_str(), by.as_str()) as f64 + EVENT_OVERHEAD as f64;
    match happening {
        Happening::Quiet => Expected::default(),
        Happening::Wandering => tellings(proxies, beats * 0.1 * (1.0 - 1.0 / proxies)),
        Happening::Anycast => tellings(proxies, beats * (1.0 - 1.0 / proxies)),
        Happening::Deploy => {
            // One is gone and one comes: at most two transactions for each, fewer where several share one.
            let replaced = backends * 0.01 / secs;
            let gone = gone_bytes(id(0).as_str()) as f64 + EVENT_OVERHEAD as f64;
            let guard = 70.0;
            // What comes to one proxy within a step of the simulation is one batch.
            let steps = 1.0 / super::world::STEP.as_secs_f64();
            let each = replaced / proxies / steps;
            let transactions = 2.0 * proxies * steps * (1.0 - (-each).exp());
            Expected {
                transactions,
                delivered: (2.0 * replaced + transactions) * proxies,
                bytes: (replaced * (registered + gone) + transactions * guard) * proxies,
                probes: 0.0,
            }
        }
        Happening::Death => {
            // Adopted at the first heartbeat elsewhere, within a beat; nothing is left to be told then.
            let adopted = backends / proxies / secs;
            Expected {
                transactions: adopted,
                delivered: 2.0 * adopted * (proxies - 1.0),
                bytes: adopted * (registered + 70.0) * (proxies - 1.0),
                probes: 0.0,
            }
        }
        Happening::Outage => Expected {
            // Everybody's but one's own, a thousand a second and no more where there are many.
            probes: if fleet.backends < 1_000 * 5 {
                backends * (1.0 - 1.0 / proxies)
            } else {
                1_000.0
            },
            ..Expected::default()
        },
    }
}

/// `told` heartbeats a second at proxies that don't own the backend.
fn tellings(proxies: f64, told: f64) -> Expected {
    // A proxy writes a quarter of a second after the first that it has to tell, and then waits for the next.
    let each = told / proxies;
    let transactions = if each > 0.0 {
        proxies / (GATHER_SECS + 1.0 / each)
    } else {
        0.0
    };
    let by = name(0);
    let around = (heard_key(&by) + HEARD_FRAME + EVENT_OVERHEAD) as f64;
    let id_bytes = id(0).as_str().len() as f64 + 3.0;
    Expected {
        transactions,
        delivered: transactions * proxies,
        bytes: (transactions * around + told * id_bytes) * proxies,
        probes: 0.0,
    }
}

/// What is not simulated, since it needs no simulation.
pub(crate) fn summary() -> Vec<(String, String)> {
    let (proxies, backends) = (1_000.0, 1_000_000.0);
    let value = registration_bytes(id(0).as_str(), name(0).as_str()) as f64;
    let monitored = backends / 10.0;
    vec![
        (
            "paper: a registration in etcd, key and value".to_owned(),
            format!("{value:.0} B; a million {}B", short(value * backends)),
        ),
        (
            "paper: keep-alives of 1,000 proxies, each every third of 10 s".to_owned(),
            format!("{} a second", short(proxies * 3.0 / 10.0)),
        ),
        (
            "paper: all of it read again by one proxy, and by all".to_owned(),
            format!(
                "{}B, {}B",
                short(value * backends),
                short(value * backends * proxies)
            ),
        ),
        (
            "paper: probes every 10 s of a million by each of 1,000 proxies".to_owned(),
            format!(
                "{} a second at each, {} at each backend",
                short(monitored),
                short(proxies / 10.0)
            ),
        ),
        (
            "paper: heartbeats of a million at 1,000 proxies".to_owned(),
            format!(
                "{} a second, {} at each",
                short(backends / BEAT.as_secs_f64()),
                short(backends / BEAT.as_secs_f64() / proxies)
            ),
        ),
        (
            "paper: looks at others' leases at each proxy".to_owned(),
            format!("{} a second", short(backends / (TTL.as_secs_f64() * 0.75))),
        ),
    ]
}
