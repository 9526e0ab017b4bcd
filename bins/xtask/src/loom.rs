//! What threads share without a lock, in every interleaving: loom plays the models of the crates that have any.

use crate::cargo::{self, Tool};
use crate::step::{Context, Verdict};

/// Those with models, each in a module of that name.
const PACKAGES: [&str; 3] = ["edgeproxy-backend", "edgeproxy-balance", "edgeproxy-proxy"];
const MODELS: &str = "test(/(^|::)models::/)";

/// How often a thread may be interrupted where it could have gone on. Most defects need one or two; without a bound it would be all
/// interleavings there are, and take hours.
const PREEMPTIONS: &str = "3";

/// A step of `cargo xtask nightly`.
pub(crate) fn check(context: &Context) -> anyhow::Result<Verdict> {
    let workspace = &context.workspace;
    if !Tool::NEXTEST.is_installed(workspace) {
        return Ok(Verdict::Missing(Tool::NEXTEST));
    }
    // One after the other: nextest fails where there is no test at all, and so where a package has lost its models.
    for package in PACKAGES {
        let args = ["nextest", "run", "--lib", "--package", package, "-E", MODELS];
        let mut command = cargo::command(workspace, args);
        command.arg("--target-dir").arg(workspace.target.join("loom"));
        command.env("RUSTFLAGS", "--cfg edgeproxy_loom");
        command.env("LOOM_MAX_PREEMPTIONS", PREEMPTIONS);
        cargo::run(command)?;
    }
    Ok(Verdict::Passed)
}
