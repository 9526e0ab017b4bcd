//! The registry by itself. Time is virtual, so that every deadline comes when it is wanted; what a call takes is real.
//!
//! The control thread does all of this, with a lock that heartbeats wait for: what counts beside the sum is the longest
//! single call.

use std::time::Duration;

use edgeproxy_backend::MonoTime;
use edgeproxy_registry::{Config, Kept, LoadReport, Record, Registry};

use crate::fleet::{backend, id, registration};
use crate::machine::{Calls, resident, row, shown, timed};

const APPS: u32 = 1_000;
const TTL: Duration = Duration::from_secs(60);
/// A third of a lease.
const BEAT: Duration = Duration::from_secs(20);
/// A registry that nobody ticks would take the silence for a pause of the process.
const TICK: Duration = Duration::from_millis(10);

fn config() -> Config {
    Config {
        max_backends: 2_000_000,
        max_events: 16,
        ..Config::default()
    }
}

pub(crate) fn run(count: u32) -> anyhow::Result<()> {
    let start = MonoTime::from_secs(1);
    let before = resident()?;
    let mut registry = Registry::new(config(), start);
    let mut registering = Calls::default();
    for n in 0..count {
        let registration = registration(n, APPS);
        registering
            .time(|| registry.handle_register(registration, start))
            .expect("there is room");
    }
    row(
        &format!("{count} leases, registered"),
        format!(
            "{} in all, {:.0} ns each, longest {}",
            shown(registering.sum),
            registering.each_nanos(),
            shown(registering.longest)
        ),
    );
    let each = (resident()? - before) / u64::from(count);
    row(
        "memory for each lease, endpoint and meter included",
        format!("{each} B"),
    );
    let (first, took) = timed(|| registry.poll_snapshot(start));
    drop(first);
    row(&format!("the first snapshot, all {APPS} apps"), shown(took));

    let mut now = start;
    changes(&mut registry, count, now);
    beats(&mut registry, count, now);
    looks(&mut registry, now);
    spread(&mut registry, count, &mut now);
    guarded(&mut registry, count, &mut now);
    drop(registry);
    at_once(count);
    restored(count);
    Ok(())
}

/// One change at a time, each with its snapshot.
fn changes(registry: &mut Registry, count: u32, now: MonoTime) {
    let mut snapshots = Calls::default();
    let mut held = None;
    for n in 0..200 {
        registry
            .handle_register(registration(count + n, APPS), now)
            .expect("there is room");
        // Who publishes holds the one before.
        held = snapshots.time_used(|| registry.poll_snapshot(now)).or(held);
    }
    for n in 0..200 {
        registry
            .handle_deregister(&id(count + n), None, None, now)
            .expect("it is registered");
    }
    registry.poll_snapshot(now);
    row(
        "a snapshot with one app changed",
        format!(
            "{:.0} µs, longest {}",
            snapshots.each_nanos() / 1e3,
            shown(snapshots.longest)
        ),
    );
}

fn beats(registry: &mut Registry, count: u32, now: MonoTime) {
    let mut random = fastrand::Rng::with_seed(1);
    let ids: Vec<_> = (0..1_000_000).map(|_| id(random.u32(..count))).collect();
    let ((), took) = timed(|| {
        for id in &ids {
            registry
                .handle_heartbeat(id, None, &LoadReport::default(), now)
                .expect("it is registered");
        }
    });
    row(
        "heartbeats of random backends on one core",
        format!("{:.0} a second", ids.len() as f64 / took.as_secs_f64()),
    );
}

/// What is asked of it by people and by what goes wrong.
fn looks(registry: &mut Registry, now: MonoTime) {
    let (page, took) = timed(|| registry.list(0, 1_000, |_, _| true, now));
    row(&format!("a page of 1,000 of {}", page.total), shown(took));
    let ((), took) = timed(|| registry.handle_lost_reports(now));
    row("lost reports: every gate compared with its ledger", shown(took));
}

/// Everybody's heartbeats for two leases, evenly, and the timers that surface meanwhile.
fn spread(registry: &mut Registry, count: u32, now: &mut MonoTime) {
    let mut ticks = Calls::default();
    let steps = u32::try_from(BEAT.as_millis() / TICK.as_millis()).expect("a few thousand");
    for _ in 0..6 {
        for step in 0..steps {
            *now = *now + TICK;
            let mine = |step: u32| u64::from(count) * u64::from(step) / u64::from(steps);
            for n in mine(step)..mine(step + 1) {
                let id = id(u32::try_from(n).expect("below count"));
                registry
                    .handle_heartbeat(&id, None, &LoadReport::default(), *now)
                    .expect("it is registered");
            }
            due(registry, *now, &mut ticks);
        }
    }
    row(
        "timers while all send heartbeats evenly, two leases",
        format!(
            "{} of {} s, longest call {}",
            shown(ticks.sum),
            (BEAT * 6).as_secs(),
            shown(ticks.longest)
        ),
    );
}

/// Calls until nothing is due any more.
fn due(registry: &mut Registry, now: MonoTime, ticks: &mut Calls) {
    loop {
        ticks.time_used(|| registry.handle_timeout(now));
        if registry.poll_timeout().is_none_or(|next| next > now) {
            return;
        }
    }
}

/// All fall silent after they have renewed: the guard distrusts that, keeps them for three leases, and lets them go.
fn guarded(registry: &mut Registry, count: u32, now: &mut MonoTime) {
    let mut ticks = Calls::default();
    let began = *now;
    while registry.stats().backends > 0 {
        *now = *now + TICK;
        due(registry, *now, &mut ticks);
        while registry.poll_event().is_some() {}
        assert!(now.since(began) < TTL * 10, "somebody stays for ever");
    }
    let stats = registry.stats();
    row(
        &format!(
            "{count} fall silent over {} s, {} distrusted, all gone in the end",
            BEAT.as_secs(),
            stats.suspected
        ),
        format!(
            "{} in all, longest call {}",
            shown(ticks.sum),
            shown(ticks.longest)
        ),
    );
}

/// All register in one instant and never renew: they expire in one.
fn at_once(count: u32) {
    let start = MonoTime::from_secs(1);
    let mut registry = Registry::new(config(), start);
    for n in 0..count {
        registry
            .handle_register(registration(n, APPS), start)
            .expect("there is room");
    }
    registry.poll_snapshot(start);
    let mut now = start;
    while now < start + TTL - TICK {
        now = now + TICK;
        registry.handle_timeout(now);
    }
    now = start + TTL;
    let (mut ticks, mut snapshots) = (Calls::default(), Calls::default());
    while registry.stats().backends > 0 {
        ticks.time_used(|| registry.handle_timeout(now));
        while registry.poll_event().is_some() {}
        if ticks.count % 64 == 0 {
            snapshots.time_used(|| registry.poll_snapshot(now));
        }
    }
    row(
        &format!("{count} expire in one instant"),
        format!(
            "{} in {} calls, longest {}; a snapshot every 64 calls, longest {}",
            shown(ticks.sum),
            ticks.count,
            shown(ticks.longest),
            shown(snapshots.longest)
        ),
    );
}

fn restored(count: u32) {
    let start = MonoTime::from_secs(1);
    let kept = Kept {
        records: (0..count)
            .map(|n| Record {
                backend: backend(n, APPS),
                incarnation: edgeproxy_backend::Incarnation::new(u64::from(n) + 1).expect("not 0"),
                ttl: TTL,
            })
            .collect(),
        ..Kept::default()
    };
    let mut registry = Registry::new(config(), start);
    let (left_out, took) = timed(|| registry.restore(kept, |_| Ok(()), start));
    assert!(left_out.is_empty(), "nobody is left out");
    row(&format!("{count} restored at a start"), shown(took));
}
