//! `cargo xtask simulate-whole`: the whole system in virtual time, by the thousand; and with a rule of it broken.

pub(crate) mod mutants;
mod planted;

use std::process::ExitCode;

use crate::cargo;
use crate::step::{Context, Verdict};
use crate::workspace::Workspace;

/// Which histories.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many, of all mixes in turn.
    #[arg(long, default_value_t = 10_000, value_name = "COUNT")]
    seeds: u64,
    /// Beginning with that one.
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    from: u64,
    /// That one again, as a violation told it, with a mix.
    #[arg(long, value_name = "NUMBER", requires = "mix")]
    seed: Option<u64>,
    /// One mix of trouble in place of all.
    #[arg(long, value_name = "NAME")]
    mix: Option<String>,
    /// Break each of a list of rules in a copy of the source, and see that it is noticed.
    #[arg(long, conflicts_with_all = ["seed", "mix", "from"])]
    mutants: bool,
    /// Of these, the ones alone whose rule has these words.
    #[arg(long, value_name = "WORDS", requires = "mutants")]
    only: Option<String>,
}

/// Ten thousand seeds, as a step of the nightly tier.
///
/// # Errors
/// As [`run`].
pub(crate) fn check(context: &Context) -> anyhow::Result<Verdict> {
    cargo::run_args(&context.workspace, RUN.iter().chain(&["--seeds", "10000"]))?;
    Ok(Verdict::Passed)
}

const RUN: [&str; 6] = [
    "run",
    "--profile",
    "simulate",
    "--package",
    "edgeproxy-whole",
    "--",
];

/// Builds it, and runs it.
///
/// # Errors
/// It does not build, or a rule is broken.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> anyhow::Result<ExitCode> {
    if args.mutants {
        mutants::run(workspace, args.only.as_deref())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut wish = match args.seed {
        Some(seed) => vec!["--seed".to_owned(), seed.to_string()],
        None => vec![
            "--seeds".to_owned(),
            args.seeds.to_string(),
            "--from".to_owned(),
            args.from.to_string(),
        ],
    };
    if let Some(mix) = &args.mix {
        wish.extend(["--mix".to_owned(), mix.clone()]);
    }
    let build = RUN.map(str::to_owned);
    cargo::run_args(workspace, build.iter().chain(&wish))?;
    Ok(ExitCode::SUCCESS)
}
