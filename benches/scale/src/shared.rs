//! One proxy's view of everybody's backends: the state machine that shares leases among proxies, by itself.

use std::time::Duration;

use edgeproxy_backend::{BackendId, Incarnation, MonoTime};
use edgeproxy_store::ProxyName;
use edgeproxy_store::cluster::{Action, Answer, Cluster, ClusterPolicy, Owned};

use crate::fleet::id;
use crate::machine::{Calls, resident, row, shown, timed};

const TTL: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(10);

fn name(n: u32) -> ProxyName {
    ProxyName::parse(&format!("edge-{n:04}")).expect("a valid name")
}

/// What the store says of the backend of that number.
fn owned(n: u32, proxies: u32) -> Owned {
    Owned {
        id: id(n),
        incarnation: Incarnation::new(u64::from(n) + 1).expect("not 0"),
        ttl: TTL,
        owner: name(n % proxies),
    }
}

pub(crate) fn run(backends: u32, proxies: u32) -> anyhow::Result<()> {
    let mut now = MonoTime::from_secs(1);
    let before = resident()?;
    let mut cluster = Cluster::new(name(0), ClusterPolicy::DEFAULT);
    for n in 1..proxies {
        cluster.joined(name(n), now);
    }
    let names: Vec<_> = (0..proxies).map(name).collect();
    let mut puts = Calls::default();
    for n in 0..backends {
        let owned = Owned {
            owner: names[(n % proxies) as usize].clone(),
            ..owned(n, proxies)
        };
        puts.time(|| cluster.put(owned, now));
        if n % 1_000 == 0 {
            now = now + TICK;
        }
    }
    row(
        &format!("{backends} backends of {proxies} proxies, told one by one"),
        format!(
            "{:.0} ns each, longest {}",
            puts.each_nanos(),
            shown(puts.longest)
        ),
    );
    let each = (resident()? - before) / u64::from(backends);
    row("memory for each, beside the registry's", format!("{each} B"));

    let (mut ticks, mut actions) = (Calls::default(), Calls::default());
    let quiet = pass(
        &mut cluster,
        &mut now,
        TTL * 2,
        (&mut ticks, &mut actions),
        &mut |_| {},
    );
    row(
        "two leases without news: whose are not this proxy's to end",
        format!(
            "{} in all, longest call {}, {quiet} probes asked for",
            shown(ticks.sum),
            shown(ticks.longest)
        ),
    );

    // A proxy is gone with its backends.
    let ((), took) = timed(|| cluster.parted(&names[1], now));
    row("another proxy is gone: the call", shown(took));
    let mut ticks = Calls::default();
    pass(
        &mut cluster,
        &mut now,
        TTL + TICK * 200,
        (&mut ticks, &mut actions),
        &mut |_| {},
    );
    row(
        "and its orphans' leases run out",
        format!(
            "{} in all, longest call {}",
            shown(ticks.sum),
            shown(ticks.longest)
        ),
    );

    let ((), took) = timed(|| cluster.lost(now));
    row("the store is lost: the call", shown(took));
    let mut ticks = Calls::default();
    let mut worst = 0;
    let mut second = (now, 0);
    let asked = pass(
        &mut cluster,
        &mut now,
        TTL * 3,
        (&mut ticks, &mut actions),
        &mut |at| {
            if at.since(second.0) >= Duration::from_secs(1) {
                second = (at, 0);
            }
            second.1 += 1;
            worst = worst.max(second.1);
        },
    );
    row(
        "three leases without it",
        format!(
            "{asked} probes asked for, {worst} in the worst second; {} in all, longest call {}",
            shown(ticks.sum),
            shown(ticks.longest)
        ),
    );
    let ((), took) = timed(|| cluster.restored(now));
    row("it is back, nothing missed: the call", shown(took));
    let all: Vec<_> = (0..backends).map(|n| owned(n, proxies)).collect();
    let members = names.clone();
    let ((), took) = timed(|| cluster.resync(all, members, now));
    row("it is back, all is read again: the call", shown(took));
    Ok(())
}

/// Lets time pass, has every probe answered, and gives how many there were.
fn pass(
    cluster: &mut Cluster,
    now: &mut MonoTime,
    time: Duration,
    (ticks, actions): (&mut Calls, &mut Calls),
    probed: &mut dyn FnMut(MonoTime),
) -> u64 {
    let end = *now + time;
    let mut probes = 0;
    while *now < end {
        *now = *now + TICK;
        loop {
            ticks.time_used(|| cluster.tick(*now));
            let mut asked: Vec<(BackendId, Incarnation)> = Vec::new();
            while let Some(action) = cluster.poll_action() {
                if let Action::Probe { id, incarnation } = action {
                    asked.push((id, incarnation));
                }
            }
            for (id, incarnation) in asked {
                probes += 1;
                probed(*now);
                actions.time(|| cluster.probed(&id, incarnation, Answer::Answers, *now));
            }
            if cluster.poll_timeout().is_none_or(|at| at > *now) {
                break;
            }
        }
    }
    probes
}
