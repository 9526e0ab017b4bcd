//! `cargo xtask bench start`: how long a start takes that restores a fleet, from the start of the process to the first
//! `/ready` that says yes.
//!
//! The file that it reads is one that the store itself has written, for backends that registered through the API.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::heartbeats::{Proxy, middle, register};
use crate::bench::peers::stage::{Cores, Stage, free_address};
use crate::bench::peers::usage::{Usage, resident};
use crate::bench::peers::{build_ends, build_product, tools};
use crate::process::{PATIENCE, Process};
use crate::workspace::Workspace;

/// How many backends, and how often.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Backends that are restored.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    backends: u32,
    /// Starts of each binary.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Measure this edgeproxy instead of building one.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Another one, which takes turns with it.
    #[arg(long, value_name = "PATH")]
    beside: Option<PathBuf>,
}

/// What was found of one binary.
struct Found {
    binary: PathBuf,
    ready_ms: Vec<f64>,
    cpu_ms: Vec<f64>,
    resident_mib: Vec<f64>,
}

/// Measures, and prints what was found.
///
/// # Errors
/// Something does not build or start, or a start does not come to an end.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> anyhow::Result<()> {
    let there = |path: &PathBuf| {
        path.canonicalize()
            .with_context(|| format!("there is no edgeproxy at {}", path.display()))
    };
    let binary = match &args.binary {
        Some(path) => there(path)?,
        None => build_product(workspace)?,
    };
    let mut found = vec![Found::of(binary.clone())];
    if let Some(beside) = &args.beside {
        found.push(Found::of(there(beside)?));
    }
    let bench = workspace.target.join("bench");
    let stage = Stage::set(&bench, build_ends(workspace)?, binary, Cores::apart()?)?;
    println!("{}", tools::load_average()?);
    let proxy = Proxy::start(&stage, &stage.cores.all)?;
    register(&stage, &proxy, args.backends)?;
    let folder = proxy.folder.clone();
    drop(proxy);
    for _ in 0..args.rounds {
        for one in &mut found {
            one.turn(&stage, &folder)?;
        }
    }
    for one in &found {
        println!(
            "{}: {} backends, ready after {} ms, {} ms of processor time until then, {} MiB resident",
            one.binary.display(),
            args.backends,
            middle(&one.ready_ms, 0),
            middle(&one.cpu_ms, 0),
            middle(&one.resident_mib, 1),
        );
    }
    println!("{}", tools::load_average()?);
    Ok(())
}

impl Found {
    const fn of(binary: PathBuf) -> Self {
        Self {
            binary,
            ready_ms: Vec::new(),
            cpu_ms: Vec::new(),
            resident_mib: Vec::new(),
        }
    }

    /// One start, on all cores, as it is by default.
    fn turn(&mut self, stage: &Stage, folder: &Path) -> anyhow::Result<()> {
        const LOG: &str = "registrations.log";
        let own = stage.folder.join("restored");
        std::fs::create_dir_all(&own)?;
        std::fs::copy(folder.join(LOG), own.join(LOG))
            .with_context(|| format!("{} can't be copied", folder.display()))?;
        let api = free_address()?;
        let command = Proxy::command(
            stage,
            &self.binary,
            &stage.cores.all,
            (free_address()?, api),
            &own,
        )?;
        let began = Instant::now();
        let process = Process::start("edgeproxy", command, &stage.folder.join("restored.log"))?;
        ready(api)?;
        self.ready_ms.push(began.elapsed().as_secs_f64() * 1e3);
        let id = process.id();
        let used = Duration::from_nanos(Usage::of(&[id])?.nanos);
        self.cpu_ms.push(used.as_secs_f64() * 1e3);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let mebibytes = resident(&[id])? as f64 / f64::from(1 << 20);
        self.resident_mib.push(mebibytes);
        Ok(())
    }
}

/// Waits until it says that it is ready.
fn ready(api: SocketAddr) -> anyhow::Result<()> {
    /// Between two looks: short against what is measured.
    const LOOK: Duration = Duration::from_micros(500);
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        match asked(api) {
            Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => return Ok(()),
            _ => std::thread::sleep(LOOK),
        }
    }
    bail!("edgeproxy was not ready within {PATIENCE:?}");
}

fn asked(api: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(api)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream
        .write_all(format!("GET /ready HTTP/1.1\r\nHost: {api}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
