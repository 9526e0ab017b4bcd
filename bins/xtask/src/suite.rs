//! The tests: what `cargo xtask test` runs, and a part of `cargo xtask ci`.

use std::num::NonZero;
use std::thread;

use crate::cargo::{self, Tool};
use crate::step::{Context, OnMissing, Step, Verdict};

const TEST: Step = Step {
    name: "test",
    about: "unit, integration and end-to-end tests",
    run: test,
};
const DOCTEST: Step = Step {
    name: "doctest",
    about: "the examples in the documentation",
    run: doctest,
};

/// Every test there is.
pub(crate) const STEPS: [Step; 2] = [TEST, DOCTEST];

/// Tests for each core at once. Many wait most of the time: for a heartbeat to be due, a lease to run out, an election.
const PER_CORE: usize = 2;

fn test(context: &Context) -> anyhow::Result<Verdict> {
    let workspace = &context.workspace;
    if Tool::NEXTEST.is_installed(workspace) {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let threads = (cores * PER_CORE).to_string();
        let args = [
            "nextest",
            "run",
            "--workspace",
            "--all-features",
            "--test-threads",
        ];
        cargo::run_args(workspace, args.iter().chain(&[threads.as_str()]))?;
        return Ok(Verdict::Passed);
    }
    if context.on_missing == OnMissing::Fail {
        return Ok(Verdict::Missing(Tool::NEXTEST));
    }
    println!("cargo-nextest is not installed; running the same tests, more slowly, with `cargo test`.");
    println!("To install it: {}", Tool::NEXTEST.install);
    let targets = ["--lib", "--bins", "--tests"];
    let args = ["test", "--workspace", "--all-features", "--no-fail-fast"];
    cargo::run_args(workspace, args.iter().chain(&targets))?;
    Ok(Verdict::Passed)
}

fn doctest(context: &Context) -> anyhow::Result<Verdict> {
    cargo::run_args(
        &context.workspace,
        ["test", "--doc", "--workspace", "--all-features"],
    )?;
    Ok(Verdict::Passed)
}
