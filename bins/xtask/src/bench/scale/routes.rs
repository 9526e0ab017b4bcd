//! A running proxy with as many routes as a file may have, beside one with ten.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::Signal;

use super::running::{Running, WORKER, ask, mebibytes, millis, told};
use super::table::Table;
use crate::bench::peers::stage::Stage;
use crate::process::PATIENCE;
use crate::register;

const FEW: u32 = 10;
/// Requests a second, evenly, of all hosts in turn.
const RATE: &str = "10000";
const TIME: Duration = Duration::from_secs(4);

pub(super) fn measure(stage: &Stage, routes: u32, table: &mut Table) -> anyhow::Result<()> {
    for count in [FEW, routes] {
        one(stage, count, table)?;
    }
    Ok(())
}

/// A host for each, and at every tenth a path as well. The host that is told of is the reload's.
fn file(count: u32, reloaded: bool) -> String {
    let mut file = String::new();
    for n in 0..count {
        // The last one's place is the reload's.
        let host = if reloaded && n == 0 {
            "reloaded.example".to_owned()
        } else {
            format!("host-{n}.example")
        };
        // Writing to a String can't fail.
        let _ = write!(file, "[[routes]]\napp = \"origin\"\nhost = \"{host}\"\n");
        if n % 10 == 0 {
            file.push_str("path_prefix = \"/1k\"\n");
        }
        file.push('\n');
    }
    file
}

fn one(stage: &Stage, count: u32, table: &mut Table) -> anyhow::Result<()> {
    let text = file(count, false);
    let running = Running::start(stage, &format!("routes-{count}"), &text)?;
    register::backend(running.api, "origin", stage.http)?;
    table.row(
        &format!("{count} routes, a file of {} KiB: a start", text.len() / 1024),
        &format!(
            "ready after {:.0} ms, {:.1} MiB",
            millis(running.ready),
            mebibytes(running.resident()?)
        ),
    );
    let (http, hosts, secs) = (
        running.http.to_string(),
        count.to_string(),
        TIME.as_secs().to_string(),
    );
    let part = ["hosts", &http, RATE, &secs, "64", &hosts];
    let before = running.used(WORKER)?;
    let asked = told(stage, &part, TIME)?;
    let used = running.used(WORKER)? - before;
    table.row(
        &format!("{RATE} requests a second, of {count} hosts"),
        &format!(
            "{:.2} µs of the worker's processor time each; {}",
            used.as_secs_f64() * 1e6 / asked.done,
            asked.times()
        ),
    );
    let path = running.folder.join("edgeproxy.toml");
    std::fs::write(&path, file(count, true))
        .with_context(|| format!("{} can't be written", path.display()))?;
    let control = running.used("")?;
    let began = Instant::now();
    running.signal(Signal::HUP)?;
    while !matches!(ask(running.http, "reloaded.example", "/1k"), Ok((200, _))) {
        ensure!(
            began.elapsed() < PATIENCE,
            "the reload was not in force within {PATIENCE:?}"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    let took = began.elapsed();
    let used = running.used("")? - control;
    table.row(
        "a reload",
        &format!(
            "in force after {:.0} ms, {:.0} ms of processor time, {:.1} MiB after it",
            millis(took),
            millis(used),
            mebibytes(running.resident()?)
        ),
    );
    drop(running);
    Ok(())
}
