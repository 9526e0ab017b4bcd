//! `cargo xtask bench peers`: what edgeproxy costs beside nginx, HAProxy and a relay that looks at nothing.
//!
//! What is compared is the processor time that the scheduler has booked for the proxy, divided by what it has
//! served, in rounds that take turns. Everything runs on loopback, and ends with this program however that
//! ends: each process is started by `edgeproxy-peers launch`, which asks the kernel for that.

mod case;
pub(super) mod load;
mod measure;
mod memory;
mod profile;
mod proxy;
mod report;
pub(super) mod stage;
mod system_calls;
pub(super) mod tools;
pub(super) mod usage;

use std::path::PathBuf;

use anyhow::Context as _;

use crate::bench::peers::case::CASES;
use crate::bench::peers::proxy::Proxy;
use crate::bench::peers::stage::{Cores, Stage};
use crate::cargo;
use crate::workspace::Workspace;

/// What is compared, and how long.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run this case; may be given several times. Without it, all that do not take a minute each.
    #[arg(long, value_name = "CASE", value_parser = case::names())]
    only: Vec<String>,
    /// Compare these alone.
    #[arg(long, value_name = "PROXY,…", value_delimiter = ',', value_enum)]
    proxies: Vec<Proxy>,
    /// How often each proxy has its turn: 5, or 3 with --quick.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Shorter rounds, and fewer.
    #[arg(long)]
    quick: bool,
    /// Measure this edgeproxy instead of building one.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Client, origin and proxy share one core, instead of the proxy having one to itself.
    #[arg(long)]
    shared_core: bool,
    /// Record where edgeproxy's time goes in the case http1-1k, by perf, and print the functions.
    #[arg(long, conflicts_with_all = ["only", "proxies", "rounds"])]
    profile: bool,
    /// List the cases and do nothing.
    #[arg(long)]
    list: bool,
}

/// Measures, prints a table for each case as it is done, and writes all of them to `bench/peers.md` in the
/// target folder.
///
/// # Errors
/// A tool is missing, something does not build or start, or the file can't be written. A case that fails for
/// one proxy is a line of its table.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> anyhow::Result<()> {
    if args.list {
        for case in CASES {
            println!("{:<12} {}", case.name, case.about);
        }
        return Ok(());
    }
    let proxies = chosen(&args.proxies);
    let cases = case::selected(&args.only);
    tools::require(&tools::needed(&proxies, &cases))?;
    let binary = match &args.binary {
        Some(path) => path
            .canonicalize()
            .with_context(|| format!("there is no edgeproxy at {}", path.display()))?,
        None if args.profile || proxies.contains(&Proxy::Edgeproxy) => build_product(workspace)?,
        None => PathBuf::new(),
    };
    let cores = if args.shared_core {
        Cores::shared()?
    } else {
        Cores::apart()?
    };
    let stage = Stage::set(
        &workspace.target.join("bench"),
        build_ends(workspace)?,
        binary,
        cores,
    )?;
    if args.profile {
        return profile::run(&stage, args.quick);
    }

    let effort = measure::Effort::new(args.quick, args.rounds);
    let file = workspace.target.join("bench/peers.md");
    let mut text = report::heading(&stage, &proxies, &effort)?;
    println!("{text}");
    for case in cases {
        let rows = measure::case(&stage, &case, &proxies, &effort);
        let table = report::table(&case, &rows);
        println!("{table}");
        text.push_str(&table);
        text.push('\n');
        // Each time, so that a run that is stopped leaves what it has.
        std::fs::write(&file, &text).with_context(|| format!("{} can't be written", file.display()))?;
    }
    println!("{}\nwritten to {}", tools::load_average()?, file.display());
    Ok(())
}

fn chosen(proxies: &[Proxy]) -> Vec<Proxy> {
    let all = [
        Proxy::Edgeproxy,
        Proxy::Watched,
        Proxy::Nginx,
        Proxy::Haproxy,
        Proxy::Relay,
        Proxy::Splice,
    ];
    all.into_iter()
        .filter(|proxy| proxies.is_empty() || proxies.contains(proxy))
        .collect()
}

/// The product as it is released.
pub(super) fn build_product(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    cargo::run_args(workspace, ["build", "--release", "--package", "edgeproxy"])?;
    Ok(workspace.target.join("release/edgeproxy"))
}

/// What stands before and behind the proxies. It is no member of the workspace, as all of `benches/` is not.
pub(super) fn build_ends(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let mut command = super::command(workspace, "build");
    command.args(["--release", "--quiet", "--package", "edgeproxy-peers"]);
    cargo::run(command)?;
    Ok(workspace.target.join("release/edgeproxy-peers"))
}
