//! `cargo xtask bench heartbeats`: what a fleet's heartbeats take, what they cost requests, and etcd beside them.
//!
//! Everything runs on loopback and for a bounded time, and ends with this program, as in `bench peers`.

mod beside_etcd;
mod fleet;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::bench::peers::stage::{Cores, Stage, free_address};
use crate::bench::peers::tools::{self, Tool};
use crate::bench::peers::usage::Usage;
use crate::bench::peers::{build_ends, build_product};
use crate::process::{Process, value};
use crate::workspace::Workspace;

/// How many, and how long.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run this part alone.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Backends that are registered, each with a heartbeat every 20 s.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    backends: u32,
    /// Leases and backends of the part with etcd.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    leases: u32,
    /// Rounds with and without heartbeats, and with edgeproxy and etcd, that take turns.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// Measure this edgeproxy instead of building one.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The fleet, and requests with and without its heartbeats.
    Fleet,
    /// Heartbeats as many as go, beside etcd's keep-alives.
    Etcd,
}

/// Measures, and prints what was found.
///
/// # Errors
/// A tool is missing, something does not build or start, or an answer is not a success.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> anyhow::Result<()> {
    let wanted = |part| args.only.is_none_or(|only| only == part);
    let mut needed = Vec::new();
    if wanted(Part::Fleet) {
        needed.extend([Tool::TASKSET, Tool::WRK]);
    }
    if wanted(Part::Etcd) {
        needed.push(Tool::ETCD);
    }
    tools::require(&needed)?;
    let binary = match &args.binary {
        Some(path) => path
            .canonicalize()
            .with_context(|| format!("there is no edgeproxy at {}", path.display()))?,
        None => build_product(workspace)?,
    };
    let ends = build_ends(workspace)?;
    let stage = Stage::set(&workspace.target.join("bench"), ends, binary, Cores::apart()?)?;
    println!("{}", tools::load_average()?);
    if wanted(Part::Fleet) {
        fleet::measure(&stage, args.backends, args.rounds)?;
    }
    if wanted(Part::Etcd) {
        beside_etcd::measure(&stage, args.leases, args.rounds)?;
    }
    println!("{}", tools::load_average()?);
    Ok(())
}

/// The app of the origin.
const ORIGIN: &str = "origin";

/// A running edgeproxy.
pub(super) struct Proxy {
    http: SocketAddr,
    api: SocketAddr,
    /// Where its registrations are kept.
    pub(super) folder: PathBuf,
    process: Process,
}

impl Proxy {
    pub(super) fn start(stage: &Stage, cores: &str) -> anyhow::Result<Self> {
        let (http, api) = (free_address()?, free_address()?);
        let folder = stage.folder.join(format!("data-{}", api.port()));
        let command = Self::command(stage, &stage.edgeproxy, cores, (http, api), &folder)?;
        let mut process = Process::start("edgeproxy", command, &stage.folder.join("edgeproxy.log"))?;
        process.accepts(api)?;
        Ok(Self {
            http,
            api,
            folder,
            process,
        })
    }

    /// One worker, the store in a file as by default, and leases that outlive a measurement unless a backend asks for
    /// others. All heartbeats come from one address here, so its rate is no limit.
    pub(super) fn command(
        stage: &Stage,
        binary: &Path,
        cores: &str,
        (http, api): (SocketAddr, SocketAddr),
        folder: &Path,
    ) -> anyhow::Result<Command> {
        // Of a hundred apps it is the origin's that requests are for.
        let file = stage.folder.join("edgeproxy.toml");
        std::fs::write(&file, format!("[[routes]]\napp = \"{ORIGIN}\"\n"))
            .with_context(|| format!("{} can't be written", file.display()))?;
        let mut command = stage.command(cores, binary);
        command
            .arg("run")
            .current_dir(&stage.folder)
            .env("EDGEPROXY_LISTEN_ADDR", http.to_string())
            .env("EDGEPROXY_API_ENABLED", "true")
            .env("EDGEPROXY_API_LISTEN_ADDR", api.to_string())
            .env("EDGEPROXY_API_RATE_PER_PEER", "1000000")
            .env("EDGEPROXY_MAX_BACKENDS", "2000000")
            .env("EDGEPROXY_DATA_DIR", folder)
            .env("EDGEPROXY_HEARTBEAT_TTL_SECS", "3600")
            .env("EDGEPROXY_WORKERS", "1");
        Ok(command)
    }
}

/// Connections that registrations come over: each waits for a table.
const REGISTERING: &str = "256";

/// Longest that all of them may take to register.
const PATIENCE: Duration = Duration::from_secs(240);

/// Registers so many backends of a hundred apps, with leases of a minute.
pub(super) fn register(stage: &Stage, proxy: &Proxy, backends: u32) -> anyhow::Result<()> {
    let before = Usage::of(&[proxy.process.id()])?;
    let part = [
        "register",
        &proxy.api.to_string(),
        &backends.to_string(),
        REGISTERING,
    ];
    let registered = told(stage, &part, PATIENCE)?;
    let used = Usage::of(&[proxy.process.id()])?.since(before);
    println!(
        "{backends} registered in {:.1} s over {REGISTERING} connections, {:.0} µs of the proxy's processor time each",
        registered.seconds,
        micros(used.nanos) / registered.done
    );
    Ok(())
}

/// What a client of `edgeproxy-peers` printed.
struct Told {
    done: f64,
    seconds: f64,
    /// Microseconds: the median, the 99th and 99.9th percentile, and the longest.
    times: [f64; 4],
}

impl Told {
    fn read(output: &str) -> anyhow::Result<Self> {
        let number =
            |key| value::<f64>(output, key).with_context(|| format!("the client printed no `{key}`"));
        let told = Self {
            done: number("done")?,
            seconds: number("seconds")?,
            times: [
                number("p50_us")?,
                number("p99_us")?,
                number("p999_us")?,
                number("max_us")?,
            ],
        };
        ensure!(told.done > 0.0, "nothing was answered");
        Ok(told)
    }

    fn rate(&self) -> f64 {
        self.done / self.seconds
    }
}

/// Beyond what a client was told to take.
const GRACE: Duration = Duration::from_secs(30);

/// Starts a client, pinned to the cores of the ends.
fn client(stage: &Stage, part: &[&str]) -> anyhow::Result<Process> {
    let mut command = stage.part(&stage.cores.ends);
    command.args(part);
    let name = part.first().copied().unwrap_or("client");
    Process::start(name, command, &stage.folder.join(format!("{name}.log")))
}

/// Runs a client to its end.
fn told(stage: &Stage, part: &[&str], limit: Duration) -> anyhow::Result<Told> {
    Told::read(&client(stage, part)?.finish(limit + GRACE)?)
}

/// The one in the middle, and in brackets the range.
pub(super) fn middle(values: &[f64], digits: usize) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.get(sorted.len() / 2), sorted.first(), sorted.last()) {
        (Some(middle), Some(first), Some(last)) => {
            format!("{middle:.digits$} ({first:.digits$}–{last:.digits$})")
        }
        _ => "–".to_owned(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}
