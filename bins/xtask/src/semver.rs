//! Whether the libraries still have all that an earlier revision had, as cargo-semver-checks sees it. A task for a
//! release, not a step of CI: see docs/decisions/0030.

use anyhow::bail;

use crate::cargo::{self, Tool};
use crate::workspace::Workspace;

/// Against what.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A tag, a branch or a commit: the latest release.
    baseline: String,
    /// Libraries to look at; without one, all of them.
    packages: Vec<String>,
}

/// Compares each library with what it was.
///
/// # Errors
/// cargo-semver-checks is not installed, something does not compile, or something is gone that the version promises.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> anyhow::Result<()> {
    if !Tool::SEMVER_CHECKS.is_installed(workspace) {
        bail!(
            "{} is not installed; install it with: {}",
            Tool::SEMVER_CHECKS,
            Tool::SEMVER_CHECKS.install
        );
    }
    let mut command = cargo::command(workspace, ["semver-checks", "--all-features"]);
    command.args(["--baseline-rev", &args.baseline]);
    let libraries = workspace
        .packages
        .iter()
        .filter(|package| package.is_for_embedders());
    let chosen =
        libraries.filter(|package| args.packages.is_empty() || args.packages.contains(&package.name));
    for package in chosen {
        command.args(["--package", &package.name]);
    }
    cargo::run(command)
}
