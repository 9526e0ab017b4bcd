//! The example that is made with Pingora: a workspace of its own, since what Pingora pulls in stays out of the product's
//! lock file.

use crate::cargo;
use crate::step::{Context, Verdict};

pub(crate) const MANIFEST: &str = "examples/pingora/Cargo.toml";

/// A step of `cargo xtask ci`: it is built, and carries its requests.
pub(crate) fn check(context: &Context) -> anyhow::Result<Verdict> {
    let workspace = &context.workspace;
    let mut command = cargo::command(
        workspace,
        ["test", "--locked", "--quiet", "--manifest-path", MANIFEST],
    );
    // One folder for all, so that what they share is built once.
    command.arg("--target-dir").arg(&workspace.target);
    cargo::run(command)?;
    Ok(Verdict::Passed)
}
