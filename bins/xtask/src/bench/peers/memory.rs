//! What clients cost that do little or nothing.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::{Resource, getrlimit};

use crate::bench::peers::measure::Outcome;
use crate::bench::peers::proxy::{Front, NotStarted, Proxy, Started};
use crate::bench::peers::stage::Stage;
use crate::process::{Process, value};

/// Clients that are there all at once.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Crowd {
    /// Each has made one request.
    Idle { clients: u32 },
    /// Each sends a header line every five seconds, until it is ended.
    Slow { clients: u32 },
    /// Each has asked for 256 KiB and reads nothing.
    Stalled { clients: u32 },
}

/// One turn of one proxy.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) clients: u32,
    /// Resident memory before they came, bytes.
    pub(crate) before: u64,
    /// With all of them; the most that was seen.
    pub(crate) with: u64,
    /// What else there is to say.
    pub(crate) note: String,
}

impl Sample {
    /// Bytes.
    pub(crate) fn per_client(&self) -> u64 {
        self.with.saturating_sub(self.before) / u64::from(self.clients.max(1))
    }
}

/// How long a crowd may take to come together.
const GATHERING: Duration = Duration::from_secs(60);

/// How long slow clients are kept up; every proxy is told to end them after ten seconds.
const SLOW_SECS: u32 = 45;

/// Memory counts once it has not grown for so long.
const STEADY: Duration = Duration::from_secs(1);
const STEADY_LIMIT: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(100);

pub(crate) fn measure(stage: &Stage, proxy: Proxy, front: Front, crowd: Crowd, rounds: u32) -> Outcome {
    if let Some(why) = too_few_files(crowd.clients(), getrlimit(Resource::Nofile).maximum) {
        return Outcome::Skipped(why);
    }
    let mut samples = Vec::new();
    for _ in 0..rounds {
        match one(stage, proxy, front, crowd) {
            Ok(sample) => samples.push(sample),
            Err(NotStarted::Unable(why)) => return Outcome::Skipped(why),
            Err(NotStarted::Failed(error)) => return Outcome::Failed(format!("{error:#}")),
        }
    }
    Outcome::Memory(samples)
}

/// Clients and proxies hold a file for each client, and some more.
fn too_few_files(clients: u32, allowed: Option<u64>) -> Option<String> {
    let needed = u64::from(clients) + 2_000;
    let allowed = allowed.filter(|allowed| *allowed < needed)?;
    Some(format!(
        "at most {allowed} files can be open, expected {needed}: raise the hard limit (`ulimit -Hn`)"
    ))
}

fn one(stage: &Stage, proxy: Proxy, front: Front, crowd: Crowd) -> Result<Sample, NotStarted> {
    let started = proxy.start(stage, front, 1, &stage.cores.proxy)?;
    // What the first client costs is not what a client costs.
    let first = Process::start(
        "the first client",
        crowd_command(stage, &started, Crowd::Idle { clients: 1 }),
        &stage.folder.join("first.log"),
    );
    let mut first = first?;
    first.says("ready", GATHERING)?;
    let before = steady(&started)?;
    drop(first);

    let command = crowd_command(stage, &started, crowd);
    let mut clients = Process::start("the crowd", command, &stage.folder.join("crowd.log"))?;
    clients.says("ready", GATHERING)?;
    let (with, note) = match crowd {
        Crowd::Idle { .. } | Crowd::Stalled { .. } => (steady(&started)?, String::new()),
        Crowd::Slow { .. } => until_ended(&started, &mut clients)?,
    };
    Ok(Sample {
        clients: crowd.clients(),
        before,
        with,
        note,
    })
}

fn crowd_command(stage: &Stage, started: &Started, crowd: Crowd) -> Command {
    let to = started.addr.to_string();
    let mut command = stage.part(&stage.cores.ends);
    match crowd {
        Crowd::Idle { clients } => command.args(["idle", &to, &clients.to_string()]),
        Crowd::Stalled { clients } => command.args(["stalled", &to, &clients.to_string()]),
        Crowd::Slow { clients } => command.args(["slow", &to, &clients.to_string(), &SLOW_SECS.to_string()]),
    };
    command
}

impl Crowd {
    fn clients(self) -> u32 {
        match self {
            Self::Idle { clients } | Self::Slow { clients } | Self::Stalled { clients } => clients,
        }
    }
}

/// Resident memory once it grows no more.
fn steady(started: &Started) -> anyhow::Result<u64> {
    let begun = Instant::now();
    let mut most = started.resident()?;
    let mut since = Instant::now();
    while since.elapsed() < STEADY {
        ensure!(
            begun.elapsed() < STEADY_LIMIT,
            "its memory still grew after {STEADY_LIMIT:?}"
        );
        std::thread::sleep(LOOK);
        let now = started.resident()?;
        if now > most {
            most = now;
            since = Instant::now();
        }
    }
    Ok(most)
}

/// The most memory until the slow clients are done, and what became of them.
fn until_ended(started: &Started, clients: &mut Process) -> anyhow::Result<(u64, String)> {
    let limit = Duration::from_secs(SLOW_SECS.into()) + GATHERING;
    let begun = Instant::now();
    let mut most = started.resident()?;
    while clients.ended()?.is_none() && begun.elapsed() < limit {
        std::thread::sleep(LOOK);
        most = most.max(started.resident()?);
    }
    let output = clients.finish(Duration::ZERO)?;
    Ok((most, ends(&output)?))
}

fn ends(output: &str) -> anyhow::Result<String> {
    let number = |key: &str| -> anyhow::Result<f64> {
        value(output, key).with_context(|| format!("the crowd printed no `{key}`"))
    };
    let mut note = format!(
        "{} ended with 408, {} without, {} never, all within {:.0} s; good clients: p50 {:.2} ms, p99 {:.2} ms, alone before {:.2} and {:.2} ms",
        number("with_408")?,
        number("otherwise")?,
        number("left")?,
        number("seconds")?,
        number("crowded_p50_us")? / 1e3,
        number("crowded_p99_us")? / 1e3,
        number("alone_p50_us")? / 1e3,
        number("alone_p99_us")? / 1e3,
    );
    let failed = number("good_failed")?;
    if failed > 0.0 {
        note.push_str(&format!(", {failed} of them failed"));
    }
    Ok(note)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_open_files_name_the_number_needed() {
        assert_eq!(too_few_files(10_000, None), None);
        assert_eq!(too_few_files(10_000, Some(20_000)), None);
        let why = too_few_files(10_000, Some(4_096)).unwrap();
        assert!(why.contains("at most 4096") && why.contains("12000"), "{why}");
    }

    #[test]
    fn memory_that_shrank_is_no_cost() {
        let sample = Sample {
            clients: 10,
            before: 100,
            with: 90,
            note: String::new(),
        };
        assert_eq!(sample.per_client(), 0);
    }
}
