//! Proxies over one etcd, in virtual time: the real state machines that share leases, and one real registry, around an etcd
//! that is made up. Beside each count stands what the arithmetic of `paper` says.
//!
//! Every proxy is a real [`Cluster`](edgeproxy_store::cluster::Cluster). Some see all that a watch tells, as all do in
//! truth; the others are told only of the backends that they own or hear, which is all that their decisions go by: a million
//! backends at each of a thousand proxies would take 400 GiB. What the watch would have carried is counted for all of them.

mod etcd;
mod paper;
mod picture;
mod world;

use std::time::Duration;

use anyhow::Context as _;

use crate::machine::row;
use paper::Fleet;
use world::{Counted, World};

/// What happens, one after the other, in the same fleet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happening {
    /// Heartbeats at the proxies that own the leases.
    Quiet,
    /// A tenth of the heartbeats comes to a proxy by lot.
    Wandering,
    /// All of them do.
    Anycast,
    /// A hundredth of all backends is replaced.
    Deploy,
    /// A proxy dies; its backends go to others by lot.
    Death,
    /// The store can't be reached.
    Outage,
}

impl Happening {
    const ALL: [Self; 6] = [
        Self::Quiet,
        Self::Deploy,
        Self::Wandering,
        Self::Anycast,
        Self::Outage,
        Self::Death,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Quiet => "heartbeats at the owner",
            Self::Wandering => "a tenth of the heartbeats elsewhere",
            Self::Anycast => "every heartbeat at a proxy by lot",
            Self::Deploy => "1 % of the backends replaced within 60 s",
            Self::Death => "a proxy dies, its backends go elsewhere",
            Self::Outage => "etcd away for two TTLs",
        }
    }

    /// How long it is looked at.
    const fn time(self) -> Duration {
        Duration::from_secs(match self {
            Self::Quiet | Self::Wandering => 20,
            Self::Anycast => 10,
            Self::Deploy => 60,
            Self::Death => 30,
            Self::Outage => 130,
        })
    }
}

pub(crate) fn run(least: u32, most: u32, svg: Option<&str>) -> anyhow::Result<()> {
    let sizes = [
        (10, 1_000),
        (10, 10_000),
        (100, 10_000),
        (100, 100_000),
        (1_000, 100_000),
        (1_000, 1_000_000),
    ];
    let mut points = Vec::new();
    for (proxies, backends) in sizes
        .into_iter()
        .filter(|(_, backends)| (least..=most).contains(backends))
    {
        let fleet = Fleet { proxies, backends };
        let mut world = World::new(fleet);
        for happening in Happening::ALL {
            let counted = world.pass(happening);
            tell(fleet, happening, &counted);
            points.push((fleet, happening, counted));
        }
    }
    for line in paper::summary() {
        row(&line.0, line.1);
    }
    if let Some(path) = svg {
        std::fs::write(path, picture::draw(&points)).with_context(|| format!("{path} can't be written"))?;
    }
    Ok(())
}

fn tell(fleet: Fleet, happening: Happening, counted: &Counted) {
    let expected = paper::expected(fleet, happening);
    let secs = happening.time().as_secs_f64();
    let what = format!("{} × {}: {}", fleet.proxies, fleet.backends, happening.name());
    let per_sec = |count: u64| count as f64 / secs;
    row(
        &what,
        format!(
            "writes a second {} (paper {}), events to watchers {} ({}), MB a second {} ({}), probes at a proxy {} in the worst second ({}); {:.1} % of a core for it there",
            short(per_sec(counted.transactions)),
            short(expected.transactions),
            short(per_sec(counted.delivered)),
            short(expected.delivered),
            short(per_sec(counted.bytes) / 1e6),
            short(expected.bytes / 1e6),
            counted.worst_probes,
            short(expected.probes),
            counted.own.as_secs_f64() / secs * 100.0,
        ),
    );
}

/// Three digits.
pub(crate) fn short(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        v if v >= 1e9 => format!("{:.2} G", v / 1e9),
        v if v >= 1e6 => format!("{:.2} M", v / 1e6),
        v if v >= 1e4 => format!("{:.1} k", v / 1e3),
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 1.0 => format!("{v:.1}"),
        v => format!("{v:.3}"),
    }
}
