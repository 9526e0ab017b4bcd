//! A fleet that sends heartbeats evenly, and requests beside it.
//!
//! The worker has a core to itself. The control thread shares the other one with the clients and the origin: what a
//! request costs is the worker's processor time, since how many there are is a matter of the core that is shared. A client
//! that has less of its core asks for less at a time, though, and a worker that gets less at a time takes longer for each:
//! so requests are also made evenly, as many with heartbeats as without.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::{ORIGIN, Proxy, Told, client, micros, middle, told};
use crate::bench::peers::load::{Amount, Load};
use crate::bench::peers::stage::Stage;
use crate::bench::peers::tools::Tool;
use crate::bench::peers::usage::{Usage, resident, threads};
use crate::register;

/// Between two heartbeats of one backend.
const INTERVAL: Duration = Duration::from_secs(20);

/// How long heartbeats are measured by themselves: each backend's three.
const ALONE: Duration = Duration::from_secs(60);

/// Connections that the heartbeats come over.
const CONNECTIONS: &str = "64";

/// Requests a second where they come evenly, over as many connections.
const REQUESTS: u32 = 20_000;

const WRK: Load = Load::Wrk {
    path: "/1k",
    close: false,
};
const ROUND: Amount = Amount {
    secs: 5,
    megabytes: 0,
};

/// One round of requests.
struct Round {
    worker_us: f64,
    rate: f64,
    /// Where the client counts from the moment that a request should have been made.
    p99_ms: Option<f64>,
}

pub(super) fn measure(stage: &Stage, backends: u32, rounds: u32) -> anyhow::Result<()> {
    let proxy = Proxy::start(stage, &stage.cores.all)?;
    let id = proxy.process.id();
    register::backend(proxy.api, ORIGIN, stage.http)?;
    pin(stage, id)?;
    let before = resident(&[id])?;
    super::register(stage, &proxy, backends)?;
    let api = proxy.api.to_string();
    let rate = f64::from(backends) / INTERVAL.as_secs_f64();
    let began = Usage::of(&[id])?;
    let alone = beating(stage, &api, backends, rate, ALONE)?.finish(ALONE * 2)?;
    let used = Usage::of(&[id])?.since(began);
    let alone = Told::read(&alone)?;
    println!(
        "heartbeats alone, {ALONE:?}: {}, {:.1} µs of the proxy's processor time each, {:.1} % of a core, {:.0} % of it in user mode",
        said(&alone),
        micros(used.nanos) / alone.done,
        micros(used.nanos) / 1e4 / alone.seconds,
        used.user_share().unwrap_or_default() * 100.0
    );
    println!(
        "resident: {:.1} MiB before, {:.1} MiB with all of them",
        mebibytes(before),
        mebibytes(resident(&[id])?)
    );
    requests(stage, &proxy, backends, rate, rounds)
}

/// Requests without and with heartbeats, in turn: as many as a client has for, and evenly.
fn requests(stage: &Stage, proxy: &Proxy, backends: u32, rate: f64, rounds: u32) -> anyhow::Result<()> {
    let api = proxy.api.to_string();
    let mut without = Rounds::default();
    let mut with = Rounds::default();
    for _ in 0..rounds {
        without.busy.push(busy(stage, proxy)?);
        without.even.push(even(stage, proxy)?);
        // As long as every backend needs to have its turn, or leases would run out.
        let mut beating = beating(stage, &api, backends, rate, INTERVAL)?;
        with.busy.push(busy(stage, proxy)?);
        with.even.push(even(stage, proxy)?);
        let beats = Told::read(&beating.finish(INTERVAL * 2)?)?;
        println!("heartbeats beside requests: {}", said(&beats));
    }
    without.say("without");
    with.say("with");
    for (what, with, without) in [
        ("as many as go", &with.busy, &without.busy),
        ("evenly", &with.even, &without.even),
    ] {
        let pairs = with.iter().zip(without);
        let costs: Vec<f64> = pairs
            .map(|(with, without)| with.worker_us / without.worker_us)
            .collect();
        println!(
            "{what}: processor time with, by without, round by round: {}",
            middle(&costs, 3)
        );
    }
    Ok(())
}

#[derive(Default)]
struct Rounds {
    busy: Vec<Round>,
    even: Vec<Round>,
}

impl Rounds {
    fn say(&self, what: &str) {
        for (how, rounds) in [("as many as go", &self.busy), ("evenly", &self.even)] {
            let of = |part: fn(&Round) -> f64| rounds.iter().map(part).collect::<Vec<_>>();
            println!(
                "requests {what} heartbeats, {how}: {} µs of the worker's processor time each, {} a second",
                middle(&of(|round| round.worker_us), 2),
                middle(&of(|round| round.rate), 0),
            );
            let p99s: Vec<f64> = rounds.iter().filter_map(|round| round.p99_ms).collect();
            if !p99s.is_empty() {
                println!("  p99 {} ms", middle(&p99s, 2));
            }
        }
    }
}

fn busy(stage: &Stage, proxy: &Proxy) -> anyhow::Result<Round> {
    let before = Usage::of_threads(proxy.process.id(), WORKER)?;
    let served = WRK.run(stage, &stage.cores.ends, proxy.http, ROUND)?;
    let used = Usage::of_threads(proxy.process.id(), WORKER)? - before;
    Ok(Round {
        worker_us: micros(used) / served.units,
        rate: served.units_per_sec,
        p99_ms: None,
    })
}

fn even(stage: &Stage, proxy: &Proxy) -> anyhow::Result<Round> {
    let time = Duration::from_secs(ROUND.secs.into());
    let (to, rate, secs) = (
        proxy.http.to_string(),
        REQUESTS.to_string(),
        ROUND.secs.to_string(),
    );
    let before = Usage::of_threads(proxy.process.id(), WORKER)?;
    let told = told(stage, &["requests", &to, &rate, &secs, CONNECTIONS], time)?;
    let used = Usage::of_threads(proxy.process.id(), WORKER)? - before;
    let [_, p99, ..] = told.times;
    Ok(Round {
        worker_us: micros(used) / told.done,
        rate: told.rate(),
        p99_ms: Some(p99 / 1e3),
    })
}

fn beating(
    stage: &Stage,
    api: &str,
    backends: u32,
    rate: f64,
    time: Duration,
) -> anyhow::Result<crate::process::Process> {
    let secs = time.as_secs().to_string();
    let part = [
        "heartbeats",
        api,
        &backends.to_string(),
        &rate.to_string(),
        &secs,
        CONNECTIONS,
    ];
    client(stage, &part)
}

/// What the workers' threads are called.
const WORKER: &str = "proxy-";

/// The workers to the proxy's core, and all other threads to the one of the ends.
fn pin(stage: &Stage, id: u32) -> anyhow::Result<()> {
    let workers = threads(id, WORKER)?;
    ensure!(!workers.is_empty(), "process {id} has no thread {WORKER}*");
    for thread in threads(id, "")? {
        let core = if workers.contains(&thread) {
            &stage.cores.proxy
        } else {
            &stage.cores.ends
        };
        let output = Command::new(Tool::TASKSET.command())
            .args(["-pc", core, &thread.to_string()])
            .output()
            .context("taskset can't be started")?;
        ensure!(
            output.status.success(),
            "thread {thread} can't be pinned to {core}"
        );
    }
    Ok(())
}

fn said(told: &Told) -> String {
    let [p50, p99, p999, longest] = told.times.map(|micros| micros / 1_000.0);
    format!(
        "{:.0} a second, p50 {p50:.2} ms, p99 {p99:.2}, p99.9 {p999:.2}, longest {longest:.1}",
        told.rate()
    )
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
