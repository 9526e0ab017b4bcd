//! As many connections as there may be open files.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::{Resource, Signal, getrlimit};

use super::running::{Running, Told, client, mebibytes, millis, told};
use super::table::Table;
use crate::bench::peers::stage::Stage;
use crate::process::{Process, value};
use crate::register;

const FILE: &str = "[[routes]]\napp = \"origin\"\n";
/// Files that a process has open besides.
const BESIDES: u64 = 500;
const GATHERING: Duration = Duration::from_secs(60);
const DRAINED: Duration = Duration::from_secs(30);
/// A live client: requests a second over connections of its own.
const LIVE: [&str; 2] = ["1000", "16"];

pub(super) fn measure(stage: &Stage, wanted: u32, table: &mut Table) -> anyhow::Result<()> {
    let files = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let room = u32::try_from(files.saturating_sub(BESIDES)).unwrap_or(u32::MAX);
    ensure!(
        room > 100,
        "at most {files} files can be open: raise the hard limit (`ulimit -Hn`)"
    );
    for (kind, each) in [("idle", 1), ("websocket", 2)] {
        // A WebSocket has a connection to the backend as well.
        let count = (wanted / each).min(room / each);
        if count < wanted / each {
            table.row(
                &format!("{kind}: {} wanted", wanted / each),
                &format!("{count} had: {files} files can be open (`ulimit -Hn`)"),
            );
        }
        one(stage, kind, count, table)?;
    }
    Ok(())
}

fn one(stage: &Stage, kind: &str, count: u32, table: &mut Table) -> anyhow::Result<()> {
    let mut running = Running::start(stage, kind, FILE)?;
    register::backend(running.api, "origin", stage.http)?;
    let http = running.http.to_string();
    let alone = live(stage, &http, 3)?.finish_told()?;
    let before = running.resident()?;
    let used = running.used("")?;
    let mut meanwhile = live(stage, &http, 4)?;
    let mut crowd = client(stage, &["held", &http, &count.to_string(), kind])?;
    crowd.says("ready", GATHERING)?;
    let secs: f64 = value(&crowd.output(), "seconds").context("the crowd did not say how long it took")?;
    let meanwhile = meanwhile.finish_told()?;
    let used = running.used("")? - used;
    table.row(
        &format!("{count} {kind}: made"),
        &format!(
            "{:.0} a second, {:.0} µs of processor time each with what the live client takes",
            f64::from(count) / secs,
            used.as_secs_f64() * 1e6 / f64::from(count)
        ),
    );
    std::thread::sleep(Duration::from_secs(1));
    let with = running.resident()?;
    table.row(
        "memory",
        &format!(
            "{:.1} MiB, {:.1} before: {} B each",
            mebibytes(with),
            mebibytes(before),
            with.saturating_sub(before) / u64::from(count)
        ),
    );
    let beside = told(stage, &["requests", &http, LIVE[0], "3", LIVE[1]], GATHERING)?;
    table.row(
        &format!(
            "{} requests a second, before they came, meanwhile, beside them",
            LIVE[0]
        ),
        &format!("{}; {}; {}", alone.times(), meanwhile.times(), beside.times()),
    );
    let began = Instant::now();
    running.signal(Signal::TERM)?;
    running.process.ends(DRAINED)?;
    table.row(
        "SIGTERM, with a drain time-out of 5 s: until all are closed",
        &format!("{:.0} ms", millis(began.elapsed())),
    );
    Ok(())
}

fn live(stage: &Stage, http: &str, secs: u32) -> anyhow::Result<Process> {
    client(stage, &["requests", http, LIVE[0], &secs.to_string(), LIVE[1]])
}

trait Finish {
    fn finish_told(&mut self) -> anyhow::Result<Told>;
}

impl Finish for Process {
    fn finish_told(&mut self) -> anyhow::Result<Told> {
        Told::read(&self.finish(GATHERING)?)
    }
}
