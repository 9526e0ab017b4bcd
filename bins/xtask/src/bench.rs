//! The benchmarks: a package outside of the workspace, since they measure other people's crates beside ours.

mod heartbeats;
mod peers;
mod scale;
mod start;

use std::process::Command;

use crate::cargo;
use crate::step::{Context, Verdict};
use crate::workspace::Workspace;

/// Their packages.
pub(crate) const PACKAGES: [&str; 3] = ["edgeproxy-benches", "edgeproxy-peers", "edgeproxy-scale"];

/// Theirs; they are no member of the workspace.
pub(crate) const MANIFEST: &str = "benches/Cargo.toml";

/// Which benchmark, and how thorough.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    /// One bench target; without it, all of them.
    name: Option<String>,
    /// Fewer samples: good enough to see a factor of two.
    #[arg(long)]
    quick: bool,
    #[command(subcommand)]
    whole: Option<Whole>,
}

/// What measures whole processes instead of functions.
#[derive(clap::Subcommand)]
enum Whole {
    /// Measure edgeproxy beside nginx, HAProxy and a bare relay.
    Peers(peers::Args),
    /// Measure a fleet's heartbeats, what they cost requests, and etcd's keep-alives beside them.
    Heartbeats(heartbeats::Args),
    /// Measure a start that restores a fleet.
    Start(start::Args),
    /// Measure a million leases, 100,000 backends, 10,000 routes and 50,000 connections, and model 1,000 proxies.
    Scale(scale::Args),
}

/// Runs one bench target, or all of `benches/`, or what measures whole processes.
///
/// # Errors
/// There is no such target, it does not compile, or it failed.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> anyhow::Result<()> {
    match &args.whole {
        Some(Whole::Peers(args)) => return peers::run(workspace, args),
        Some(Whole::Heartbeats(args)) => return heartbeats::run(workspace, args),
        Some(Whole::Start(args)) => return start::run(workspace, args),
        Some(Whole::Scale(args)) => return scale::run(workspace, args),
        None => {}
    }
    let name = args.name.as_deref();
    if name == Some(BURST) {
        return burst(workspace);
    }
    let mut command = command(workspace, "bench");
    match name {
        Some(name) => command.args(["--bench", name]),
        // Not `--all-targets`: the harness of a library's unit tests knows none of criterion's options.
        None => command.args(["--package", PACKAGES[0], "--benches"]),
    };
    if args.quick {
        command.args(["--", "--quick"]);
    }
    cargo::run(command)
}

/// The one that measures the real binary, by the means of the end-to-end tests.
const BURST: &str = "burst";

fn burst(workspace: &Workspace) -> anyhow::Result<()> {
    cargo::run_args(workspace, ["build", "--release", "--package", "edgeproxy"])?;
    cargo::run_args(
        workspace,
        ["bench", "--package", "edgeproxy-tests", "--bench", BURST],
    )
}

/// A step of `cargo xtask ci`: do they still compile?
pub(crate) fn check(context: &Context) -> anyhow::Result<Verdict> {
    let mut command = command(&context.workspace, "check");
    command.args(["--workspace", "--benches"]);
    cargo::run(command)?;
    Ok(Verdict::Passed)
}

fn command(workspace: &Workspace, subcommand: &str) -> Command {
    let mut command = cargo::command(workspace, [subcommand, "--manifest-path", MANIFEST]);
    // One folder for both, so that what they share is built once.
    command.arg("--target-dir").arg(&workspace.target);
    command
}
