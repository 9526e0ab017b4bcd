//! The benchmarks: a package outside of the workspace, since they measure other people's crates beside ours.

use std::process::Command;

use anyhow::bail;

use crate::cargo;
use crate::step::{Context, Verdict};
use crate::workspace::Workspace;

/// Theirs; they are no member of the workspace.
pub(crate) const MANIFEST: &str = "benches/Cargo.toml";

/// Whether this tree has any.
pub(crate) fn exist(workspace: &Workspace) -> bool {
    workspace.root.join(MANIFEST).exists()
}

/// How long each figure is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Speed {
    Full,
    Quick,
}

/// Runs one bench target, or all of `benches/`.
///
/// # Errors
/// There is no such target, it does not compile, or it failed.
pub(crate) fn run(workspace: &Workspace, name: Option<&str>, speed: Speed) -> anyhow::Result<()> {
    if name == Some(BURST) {
        return burst(workspace);
    }
    if !exist(workspace) {
        bail!("there is no {MANIFEST} in {}", workspace.root.display());
    }
    let mut command = command(workspace, "bench");
    match name {
        Some(name) => command.args(["--bench", name]),
        // Not `--all-targets`: the harness of a library's unit tests knows none of criterion's options.
        None => command.arg("--benches"),
    };
    if speed == Speed::Quick {
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
    if !exist(&context.workspace) {
        return Ok(Verdict::NothingToCheck("there is no benches/Cargo.toml"));
    }
    let mut command = command(&context.workspace, "check");
    command.arg("--benches");
    cargo::run(command)?;
    Ok(Verdict::Passed)
}

fn command(workspace: &Workspace, subcommand: &str) -> Command {
    let mut command = cargo::command(workspace, [subcommand, "--manifest-path", MANIFEST]);
    // One folder for both, so that what they share is built once.
    command.arg("--target-dir").arg(&workspace.target);
    command
}
