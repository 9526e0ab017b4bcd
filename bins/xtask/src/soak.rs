//! `cargo xtask soak`: the released binary under mixed traffic while its backends come, go, fail and return.

use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};

use crate::cargo;
use crate::step::{Context, Verdict};
use crate::workspace::Workspace;

/// How long, and which trouble.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long the traffic lasts.
    #[arg(long, default_value_t = 10.0, value_parser = minutes)]
    minutes: f64,
    /// The same trouble as a run that printed this seed; without it, another each time.
    #[arg(long)]
    seed: Option<u64>,
}

fn minutes(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|minutes| (0.1..=100_000.0).contains(minutes))
        .ok_or_else(|| "expected minutes, from 0.1 to 100000".to_owned())
}

/// Builds both, and runs them.
///
/// # Errors
/// They do not build or start.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> anyhow::Result<ExitCode> {
    Ok(if soak(workspace, args)? {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What a night has of it, in minutes, unless it is to be shorter.
const OF_A_NIGHT: u32 = 20;

/// A step of `cargo xtask nightly`.
pub(crate) fn check(context: &Context) -> anyhow::Result<Verdict> {
    let args = Args {
        minutes: f64::from(context.effort.minutes.clamp(1, OF_A_NIGHT)),
        seed: None,
    };
    ensure!(
        soak(&context.workspace, &args)?,
        "something failed without a fault, or is left; the line above says how to have the same trouble again"
    );
    Ok(Verdict::Passed)
}

/// Whether all was well.
fn soak(workspace: &Workspace, args: &Args) -> anyhow::Result<bool> {
    let build = ["build", "--release"];
    cargo::run_args(workspace, build.iter().chain(&["--package", "edgeproxy"]))?;
    let soak = ["--package", "edgeproxy-tests", "--bin", "soak"];
    cargo::run_args(workspace, build.iter().chain(&soak))?;
    let seed = args.seed.unwrap_or_else(some_seed);
    println!(
        "soaking for {} minutes; the same trouble again: cargo xtask soak --minutes {} --seed {seed}",
        args.minutes, args.minutes
    );
    let status = Command::new(workspace.target.join("release/soak"))
        .args([args.minutes.to_string(), seed.to_string()])
        .env_remove("EDGEPROXY_BIN")
        .status()
        .context("the soak could not be started")?;
    Ok(status.success())
}

/// Short enough to be typed.
fn some_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(now.subsec_nanos()) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_have_bounds() {
        assert_eq!(minutes("0.5"), Ok(0.5));
        for text in ["0", "-1", "NaN", "ten", "1e9"] {
            assert!(minutes(text).is_err(), "{text}");
        }
    }
}
