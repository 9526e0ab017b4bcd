//! The pure crates in Miri, which finds data races, and undefined behaviour in the crates that they are made of.

use crate::cargo::{self, Tool};
use crate::step::{Context, Verdict};

/// Without features: `health` has a runtime with its own.
const PACKAGES: [&str; 5] = [
    "edgeproxy-backend",
    "edgeproxy-balance",
    "edgeproxy-registry",
    "edgeproxy-health",
    "edgeproxy-lines",
];

/// A step of `cargo xtask nightly`. Which tests are left out stands in `.config/nextest.toml`, in the profile that nextest takes
/// under Miri by itself.
pub(crate) fn check(context: &Context) -> anyhow::Result<Verdict> {
    let workspace = &context.workspace;
    for tool in [Tool::NEXTEST, Tool::MIRI] {
        if !tool.is_installed(workspace) {
            return Ok(Verdict::Missing(tool));
        }
    }
    let packages = PACKAGES.iter().flat_map(|package| ["--package", package]);
    let args = ["miri", "nextest", "run", "--lib"].into_iter().chain(packages);
    let mut command = cargo::nightly(workspace, args);
    command.arg("--target-dir").arg(workspace.target.join("miri"));
    // Tests read their cases, and proptest the findings of earlier runs, from files.
    command.env("MIRIFLAGS", "-Zmiri-disable-isolation");
    command.env("PROPTEST_CASES", "4");
    cargo::run(command)?;
    Ok(Verdict::Passed)
}
