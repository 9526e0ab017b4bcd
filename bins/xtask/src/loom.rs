//! What threads share without a lock, in every interleaving: loom plays the models of the crates that have any.

use crate::cargo;
use crate::step::{Context, Verdict};

/// Those with models, each in a module of that name.
const PACKAGES: [&str; 3] = ["edgeproxy-backend", "edgeproxy-balance", "edgeproxy-proxy"];
const MODELS: &str = "models::";

/// How often a thread may be interrupted where it could have gone on. Most defects need one or two; without a bound it would be all
/// interleavings there are, and take hours.
const PREEMPTIONS: &str = "3";

/// A step of `cargo xtask nightly`.
pub(crate) fn check(context: &Context) -> anyhow::Result<Verdict> {
    let workspace = &context.workspace;
    let packages = PACKAGES.iter().flat_map(|package| ["--package", package]);
    let args = ["test", "--lib"].into_iter().chain(packages);
    let mut command = cargo::command(workspace, args);
    command.arg("--target-dir").arg(workspace.target.join("loom"));
    command.arg(MODELS);
    command.env("RUSTFLAGS", "--cfg edgeproxy_loom");
    command.env("LOOM_MAX_PREEMPTIONS", PREEMPTIONS);
    cargo::run(command)?;
    Ok(Verdict::Passed)
}
