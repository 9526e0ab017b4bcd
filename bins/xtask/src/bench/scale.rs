//! `cargo xtask bench scale`: what becomes of it where there is a thousand times as much as usual.
//!
//! | part | what is measured |
//! |---|---|
//! | `leases` | the registry with a million leases, and one proxy's view of a million backends of 1,000 proxies |
//! | `backends` | the running proxy with 100,000 backends, of one app and of 1,000 |
//! | `routes` | the running proxy with 10,000 routes, beside 10 |
//! | `connections` | idle clients and WebSockets, up to 50,000, as far as open files go |
//! | `model` | proxies over a modelled etcd, 10 to 1,000 of them, beside the arithmetic |
//!
//! Everything runs on loopback and for a bounded time, and ends with this program, as in `bench peers`.

mod backends;
mod connections;
mod routes;
mod running;
mod table;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use crate::bench::peers::stage::{Cores, Stage};
use crate::bench::peers::tools::{self, Tool};
use crate::bench::peers::{build_ends, build_product};
use crate::cargo;
use crate::process::Process;
use crate::workspace::Workspace;
use table::Table;

/// Which parts, and how much of each.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run this part; may be given several times. Without it, all of them.
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Leases, and backends that one proxy knows of.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(10_000..=2_000_000))]
    leases: u32,
    /// Backends of the running proxy.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    backends: u32,
    /// Routes.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=10_000))]
    routes: u32,
    /// Connections that are wanted.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(100..=200_000))]
    connections: u32,
    /// Backends of the largest fleet that is modelled.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(10_000..=1_000_000))]
    modelled: u32,
    /// Write the model's picture here.
    #[arg(long, value_name = "PATH")]
    svg: Option<PathBuf>,
    /// Measure this edgeproxy instead of building one.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Leases,
    Backends,
    Routes,
    Connections,
    Model,
}

/// Measures, and prints one table. A part that fails is a line of it, and an error in the end.
///
/// # Errors
/// A tool is missing, something does not build, or a part failed.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> anyhow::Result<()> {
    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    let in_memory = wanted(Part::Leases) || wanted(Part::Model);
    let running = wanted(Part::Backends) || wanted(Part::Routes) || wanted(Part::Connections);
    if running {
        tools::require(&[Tool::WRK])?;
    }
    let program = in_memory.then(|| build_program(workspace)).transpose()?;
    let stage = running.then(|| stage(workspace, args)).transpose()?;
    let mut table = Table::begin()?;
    if let Some(program) = &program {
        if wanted(Part::Leases) {
            let (leases, proxies) = (args.leases.to_string(), MODELLED_PROXIES.to_string());
            table.part("leases", |table| {
                by(program, &["leases", &leases], workspace, table)
            });
            let backends = args.backends.to_string();
            table.part("publishing", |table| {
                by(program, &["publishing", &backends], workspace, table)
            });
            table.part("shared", |table| {
                by(program, &["shared", &leases, &proxies], workspace, table)
            });
        }
        if wanted(Part::Model) {
            let backends = args.modelled.to_string();
            let svg = args.svg.as_ref().and_then(|path| path.to_str());
            let mut part = vec!["model", "0", &backends];
            part.extend(svg);
            table.part("model", |table| by(program, &part, workspace, table));
        }
    }
    if let Some(stage) = &stage {
        if wanted(Part::Backends) {
            for apps in [1_000, 1] {
                let name = format!("backends, {apps} app{}", if apps == 1 { "" } else { "s" });
                table.part(&name, |table| {
                    backends::measure(stage, args.backends, apps, table)
                });
            }
        }
        if wanted(Part::Routes) {
            table.part("routes", |table| routes::measure(stage, args.routes, table));
        }
        if wanted(Part::Connections) {
            table.part("connections", |table| {
                connections::measure(stage, args.connections, table)
            });
        }
    }
    table.end()
}

/// Proxies whose backends one of them knows.
const MODELLED_PROXIES: u32 = 1_000;

/// Longest that one part in memory may take.
const PATIENCE: Duration = Duration::from_secs(240);

fn stage(workspace: &Workspace, args: &Args) -> anyhow::Result<Stage> {
    let binary = match &args.binary {
        Some(path) => path
            .canonicalize()
            .with_context(|| format!("there is no edgeproxy at {}", path.display()))?,
        None => build_product(workspace)?,
    };
    let ends = build_ends(workspace)?;
    Stage::set(&workspace.target.join("bench"), ends, binary, Cores::apart()?)
}

/// What is in memory only. It is no member of the workspace, as all of `benches/` is not.
fn build_program(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let mut command = super::command(workspace, "build");
    command.args(["--release", "--quiet", "--package", "edgeproxy-scale"]);
    cargo::run(command)?;
    Ok(workspace.target.join("release/edgeproxy-scale"))
}

/// Runs a part of it, and takes its rows over.
fn by(program: &Path, part: &[&str], workspace: &Workspace, table: &mut Table) -> anyhow::Result<()> {
    let folder = workspace.target.join("bench");
    std::fs::create_dir_all(&folder).with_context(|| format!("{} can't be made", folder.display()))?;
    let mut command = Command::new(program);
    command.args(part);
    let name = part.first().copied().unwrap_or("part");
    let mut process = Process::start(name, command, &folder.join(format!("scale-{name}.log")))?;
    for line in process.finish(PATIENCE)?.lines() {
        if let Some((what, figure)) = line.strip_prefix("row ").and_then(|row| row.split_once('\t')) {
            table.row(what, figure);
        }
    }
    Ok(())
}
