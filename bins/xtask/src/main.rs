//! The project's own tasks. `cargo xtask ci` is what CI runs and what a person runs: one name for both.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a task runner talks to a person"
)]

mod alone;
mod attacks;
mod behaviour;
mod bench;
mod book;
mod boundaries;
mod cargo;
mod ci;
mod conformance;
mod coverage;
mod deb;
mod dependencies;
mod faults;
mod fuzz;
mod lengths;
mod links;
mod loom;
mod miri;
mod mutants;
mod nightly;
mod pingora;
mod process;
mod processor;
mod purity;
mod register;
mod seeds;
mod semver;
mod soak;
mod source;
mod step;
mod suite;
mod whole;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::step::{Context, OnMissing};
use crate::workspace::Workspace;

/// The project's own tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the binaries that the end-to-end tests start, then run every test and doc test.
    Test,
    /// Check everything that a change must pass, and print one table at the end.
    ///
    /// A tool that is missing makes its step SKIPPED; with CI=true in the environment it makes it FAILED.
    Ci {
        /// Run this step alone; may be given several times.
        #[arg(long, value_name = "STEP", value_parser = step::names(&ci::STEPS))]
        only: Vec<String>,
        /// List the steps and do nothing.
        #[arg(long, conflicts_with = "only")]
        list: bool,
    },
    /// Check what takes longer than a change can wait for, and print one table at the end.
    ///
    /// A tool that is missing makes its step SKIPPED; with CI=true in the environment it makes it FAILED.
    Nightly(nightly::Args),
    /// Run the benchmarks in benches/.
    Bench(bench::Args),
    /// Run the released binary under mixed traffic while backends come, go and fail, and see that nothing leaks and
    /// that no request fails without a fault.
    Soak(soak::Args),
    /// Run the released binary under attack, and see that well-behaved clients don't notice.
    Attacks(attacks::Args),
    /// Commit one fault after the other on the released binary under load, and see that what is promised comes of each.
    Faults(faults::Args),
    /// Live through many histories of the whole system in virtual time, by seed, and see that what is promised holds.
    SimulateWhole(whole::Args),
    /// Let libFuzzer make up what strangers send to the data plane.
    Fuzz(fuzz::Args),
    /// Build a Debian package of both binaries: target/deb/edgeproxy_VERSION_ARCHITECTURE.deb.
    Deb(deb::Args),
    /// Write the list of what is promised and of the tests that hold it to that, docs/behaviour/README.md.
    Behaviour,
    /// Write how many crates each library brings along into docs/embedding.md.
    Dependencies,
    /// Compare the libraries with an earlier revision: what is gone or has changed breaks somebody's program.
    Semver(semver::Args),
    /// Hold the HTTP/1 codec against hyper, with many messages.
    Differential(fuzz::Differential),
}

fn main() -> ExitCode {
    run(Cli::parse().task).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(task: Task) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::load()?;
    match task {
        Task::Test => {
            // Without cargo-nextest the same tests run under `cargo test`, so nothing is missing here.
            let context = Context {
                workspace,
                on_missing: OnMissing::Skip,
                effort: nightly::USUAL,
            };
            Ok(step::run_all(&suite::STEPS, &context))
        }
        Task::Ci { list: true, .. } => {
            step::list(&ci::STEPS);
            Ok(ExitCode::SUCCESS)
        }
        Task::Ci { only, list: false } => {
            let context = Context {
                workspace,
                on_missing: OnMissing::from_environment(),
                effort: nightly::USUAL,
            };
            Ok(step::run_all(&step::selected(&ci::STEPS, &only), &context))
        }
        Task::Nightly(args) => Ok(nightly::run(workspace, &args)),
        Task::Fuzz(args) => {
            fuzz::run(&workspace, &args)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Behaviour => {
            behaviour::write(&workspace)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Dependencies => {
            dependencies::write(&workspace)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Semver(args) => {
            semver::run(&workspace, &args)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Differential(args) => {
            fuzz::differential(&workspace, &args)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Bench(args) => {
            bench::run(&workspace, &args)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Faults(args) => faults::run(&workspace, &args),
        Task::SimulateWhole(args) => whole::run(&workspace, &args),
        Task::Soak(args) => soak::run(&workspace, &args),
        Task::Attacks(args) => attacks::run(&workspace, &args),
        Task::Deb(args) => deb::run(&workspace, &args),
    }
}
