//! The example that is made with Pingora: a workspace of its own, since what Pingora pulls in stays out of the product's
//! lock file.

use std::process::Command;

use anyhow::ensure;

use crate::step::{Context, Verdict};
use crate::workspace::Workspace;
use crate::{cargo, purity};

pub(crate) const MANIFEST: &str = "examples/pingora/Cargo.toml";

/// Who takes the example for a beginning gets no second TLS library, and no build that needs more than a C compiler.
const FORBIDDEN_PACKAGES: [&str; 6] = ["ring", "openssl", "openssl-sys", "boring", "boring-sys", "cmake"];

/// A step of `cargo xtask ci`: it brings none of those along, and compiles.
pub(crate) fn check(context: &Context) -> anyhow::Result<Verdict> {
    let workspace = &context.workspace;
    let args = [
        "tree",
        "--locked",
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--manifest-path",
        MANIFEST,
    ];
    let tree = cargo::output(cargo::command(workspace, args))?;
    let brought: Vec<_> = purity::packages_of(&tree)
        .into_iter()
        .filter(|package| FORBIDDEN_PACKAGES.contains(package))
        .collect();
    ensure!(
        brought.is_empty(),
        "{MANIFEST} brings along {}",
        brought.join(", ")
    );
    cargo::run(command(workspace, &["check", "--tests"]))?;
    Ok(Verdict::Passed)
}

/// A step of `cargo xtask nightly`: it carries its requests. To build all of Pingora takes longer than a change waits, whose part in it are
/// the types that the other step looks at.
pub(crate) fn test(context: &Context) -> anyhow::Result<Verdict> {
    cargo::run(command(&context.workspace, &["test"]))?;
    Ok(Verdict::Passed)
}

fn command(workspace: &Workspace, subcommand: &[&str]) -> Command {
    let mut command = cargo::command(workspace, subcommand);
    command.args(["--locked", "--quiet", "--manifest-path", MANIFEST]);
    // One folder for all, so that what they share is built once.
    command.arg("--target-dir").arg(&workspace.target);
    command
}
