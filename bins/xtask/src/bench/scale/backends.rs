//! A running proxy with as many backends as it takes by default.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::running::{CONTROL, Running, Told, WORKER, ask, client, follow, mebibytes, millis, told};
use super::table::Table;
use crate::bench::peers::load::{Amount, Load};
use crate::bench::peers::stage::Stage;
use crate::register;

/// The app that requests are for: without routes it is the host that names it.
const ORIGIN: &str = "127.0.0.1";
const FILE: &str = "# No routes.\n";

/// Connections that registrations come over: each waits for a table.
const REGISTERING: &str = "256";
const REGISTERING_LIMIT: Duration = Duration::from_secs(120);
/// Between two heartbeats of one backend.
const INTERVAL_SECS: f64 = 20.0;

const WRK: Load = Load::Wrk {
    path: "/1k",
    close: false,
};
const ROUND: Amount = Amount {
    secs: 3,
    megabytes: 0,
};

pub(super) fn measure(stage: &Stage, backends: u32, apps: u32, table: &mut Table) -> anyhow::Result<()> {
    let name = format!("backends-{apps}");
    let running = Running::start(stage, &name, FILE)?;
    let api = running.api.to_string();
    register::backend(running.api, ORIGIN, stage.http)?;
    told(
        stage,
        &["register", &api, "9", "1", "1", "1999990"],
        REGISTERING_LIMIT,
    )?;
    let before = running.resident()?;
    let few = requests(stage, &running)?;
    let one = fresh(stage, &running, "0")?;

    let control = running.used("")?;
    let all = told(
        stage,
        &[
            "register",
            &api,
            &backends.to_string(),
            REGISTERING,
            &apps.to_string(),
        ],
        REGISTERING_LIMIT,
    )?;
    let took = running.used("")? - control;
    table.row(
        &format!("{backends} registered through the API, {REGISTERING} connections"),
        &format!(
            "{:.1} s, {:.0} µs of processor time each; {}",
            all.seconds,
            took.as_secs_f64() * 1e6 / all.done,
            all.times()
        ),
    );
    let with = running.resident()?;
    table.row(
        "resident",
        &format!(
            "{:.1} MiB, {:.1} before: {} B each",
            mebibytes(with),
            mebibytes(before),
            with.saturating_sub(before) / u64::from(backends)
        ),
    );
    let many = requests(stage, &running)?;
    table.row("requests beside them, and beside 10", &format!("{many}; {few}"));
    heartbeats(stage, &running, backends, table)?;
    let same = changes(stage, &running, &apps.to_string(), &backends.to_string())?;
    table.row("one change of an app of theirs", &same);
    let other = fresh(stage, &running, "1000")?;
    table.row(
        "from a new app's registration to its first answered request, with them and without",
        &format!("{other}; {one}"),
    );
    looks(stage, &running, table)?;
    let folder = running.folder.clone();
    drop(running);
    ensure!(
        folder.join("data").exists(),
        "nothing was kept in {}",
        folder.display()
    );
    let again = Running::start(stage, &name, FILE)?;
    table.row(
        "a start with all of them restored",
        &format!(
            "ready after {:.0} ms, {:.1} MiB",
            millis(again.ready),
            mebibytes(again.resident()?)
        ),
    );
    Ok(())
}

fn requests(stage: &Stage, running: &Running) -> anyhow::Result<String> {
    let before = running.used(WORKER)?;
    let served = WRK.run(stage, &stage.cores.ends, running.http, ROUND)?;
    let used = running.used(WORKER)? - before;
    Ok(format!(
        "{:.0} a second, {:.1} µs of the worker's processor time each",
        served.units_per_sec,
        used.as_secs_f64() * 1e6 / served.units
    ))
}

fn heartbeats(stage: &Stage, running: &Running, backends: u32, table: &mut Table) -> anyhow::Result<()> {
    const TIME: Duration = Duration::from_secs(8);
    let before = running.used("")?;
    let rate = f64::from(backends) / INTERVAL_SECS;
    let part = [
        "heartbeats",
        &running.api.to_string(),
        &backends.to_string(),
        &rate.to_string(),
        &TIME.as_secs().to_string(),
        "64",
    ];
    let beats = told(stage, &part, TIME)?;
    let used = running.used("")? - before;
    table.row(
        &format!("{rate:.0} heartbeats a second"),
        &format!(
            "{}; {:.1} µs of processor time each",
            beats.times(),
            used.as_secs_f64() * 1e6 / beats.done
        ),
    );
    Ok(())
}

/// One registration after the other, each a change that is published before it is answered.
fn changes(stage: &Stage, running: &Running, apps: &str, first: &str) -> anyhow::Result<String> {
    let before = running.used(CONTROL)?;
    let part = ["register", &running.api.to_string(), "100", "1", apps, first];
    let changed = told(stage, &part, REGISTERING_LIMIT)?;
    let used = running.used(CONTROL)? - before;
    Ok(format!(
        "{}, {:.2} ms of the control thread",
        changed.times(),
        millis(used) / changed.done
    ))
}

/// One app after the other with one backend, each asked for as soon as its registration is answered.
fn fresh(stage: &Stage, running: &Running, first: &str) -> anyhow::Result<String> {
    let before = running.used(CONTROL)?;
    let (api, http) = (running.api.to_string(), running.http.to_string());
    let part = ["fresh", &api, &http, first, "200", &stage.http.to_string()];
    let fresh = told(stage, &part, REGISTERING_LIMIT)?;
    let used = running.used(CONTROL)? - before;
    Ok(format!(
        "{}, {:.2} ms of the control thread",
        fresh.times(),
        millis(used) / fresh.done
    ))
}

/// What people and their tools ask for, while heartbeats come: the longest of those is how long the control thread stood.
fn looks(stage: &Stage, running: &Running, table: &mut Table) -> anyhow::Result<()> {
    let alone = beside(stage, running, || Ok(()))?;
    table.row("1,000 heartbeats a second, nothing else", &alone.times());
    for path in [
        "/metrics",
        "/api/v1/backends",
        "/api/v1/backends?limit=10000",
        "/api/v1/backends?state=draining",
        "/api/v1/apps",
        "/",
    ] {
        let (mut longest, mut size) = (Duration::ZERO, 0);
        let beats = beside(stage, running, || {
            for _ in 0..5 {
                let began = Instant::now();
                let (status, bytes) = ask(running.api, "edgeproxy", path)?;
                ensure!(status == 200, "{path} was answered by {status}");
                longest = longest.max(began.elapsed());
                size = bytes;
            }
            Ok(())
        })?;
        table.row(
            &format!("GET {path}, 5 times beside heartbeats"),
            &format!(
                "longest {:.1} ms, {} KiB; heartbeats: {}",
                millis(longest),
                size / 1024,
                beats.times()
            ),
        );
    }
    let mut bytes = 0;
    let beats = beside(stage, running, || {
        bytes = follow(running.api, "/api/v1/events?stats=true", BESIDE)?;
        Ok(())
    })?;
    table.row(
        "the dashboard's stream, followed beside heartbeats",
        &format!("{} KiB a second; heartbeats: {}", bytes / 1024 / 3, beats.times()),
    );
    Ok(())
}

const BESIDE: Duration = Duration::from_secs(3);

fn beside(
    stage: &Stage,
    running: &Running,
    look: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Told> {
    let secs = BESIDE.as_secs().to_string();
    let part = [
        "heartbeats",
        &running.api.to_string(),
        "1000",
        "1000",
        &secs,
        "16",
    ];
    let mut beating = client(stage, &part)?;
    std::thread::sleep(Duration::from_millis(200));
    look()?;
    Told::read(&beating.finish(BESIDE * 10)?)
}
