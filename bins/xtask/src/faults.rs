//! `cargo xtask faults`: the released binary under load, and one fault after the other.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};

use crate::cargo;
use crate::step::{self, Verdict};
use crate::workspace::Workspace;

/// Which faults, and where the table goes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Commit this one alone; may be given several times.
    #[arg(long, value_name = "ROW")]
    only: Vec<String>,
    /// List the rows and do nothing.
    #[arg(long, conflicts_with_all = ["only", "write"])]
    list: bool,
    /// Only the quick ones, with a development build.
    #[arg(long, conflicts_with = "write")]
    quick: bool,
    /// Write the table into docs/reliability.md, if every row was run and is as expected.
    #[arg(long, conflicts_with = "only")]
    write: bool,
    /// How many rows run beside each other.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    at_once: u8,
}

/// The page that has the table, and the lines between which it is.
const PAGE: &str = "docs/reliability.md";
const BEGIN: &str = "<!-- begin: cargo xtask faults --write -->\n";
const END: &str = "<!-- end -->\n";

/// Builds both, and runs them.
///
/// # Errors
/// They do not build or start, or the page can't be written.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> anyhow::Result<ExitCode> {
    let program = build(
        workspace,
        if args.quick || args.list {
            Build::Development
        } else {
            Build::Release
        },
    )?;
    let mut command = Command::new(program);
    command.env_remove("EDGEPROXY_BIN");
    command.args(args.only.iter().flat_map(|row| ["--only", row]));
    command.args(["--at-once", &args.at_once.to_string()]);
    command.args(args.list.then_some("--list"));
    command.args(args.quick.then_some("--quick"));
    let table = workspace.target.join("faults.md");
    if args.write {
        command.arg("--markdown").arg(&table);
    }
    let status = command.status().context("the faults could not be started")?;
    if args.write && !status.success() {
        bail!("{PAGE} stays as it is: not every row is as expected, or one was skipped");
    }
    if args.write {
        let table = std::fs::read_to_string(&table)
            .with_context(|| format!("{} was not written", table.display()))?;
        let page = workspace.root.join(PAGE);
        let text = std::fs::read_to_string(&page).with_context(|| format!("{PAGE} can't be read"))?;
        std::fs::write(&page, between_marks(&text, &table)?)
            .with_context(|| format!("{PAGE} can't be written"))?;
    }
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The quick ones, as a step of CI.
///
/// # Errors
/// They do not build, or a row is not as it has to be.
pub(crate) fn check(context: &step::Context) -> anyhow::Result<Verdict> {
    of_step(context, Build::Development, &["--quick"])
}

/// All of them, as a step of a longer run.
///
/// # Errors
/// As [`check`].
pub(crate) fn check_all(context: &step::Context) -> anyhow::Result<Verdict> {
    of_step(context, Build::Release, &[])
}

fn of_step(context: &step::Context, with: Build, args: &[&str]) -> anyhow::Result<Verdict> {
    let program = build(&context.workspace, with)?;
    let status = Command::new(program)
        .env_remove("EDGEPROXY_BIN")
        .args(args)
        .status();
    if !status.context("the faults could not be started")?.success() {
        bail!("a row of the fault table is not as it has to be");
    }
    Ok(Verdict::Passed)
}

/// How both are built.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Build {
    /// As the tests are, so that nothing is built twice.
    Development,
    Release,
}

/// The suite, beside the binary that it is for.
fn build(workspace: &Workspace, with: Build) -> anyhow::Result<std::path::PathBuf> {
    if with == Build::Development {
        let bins = ["--bin", "edgeproxy", "--bin", "faults"];
        cargo::run_args(
            workspace,
            ["build", "--workspace", "--all-features"].iter().chain(&bins),
        )?;
        return Ok(workspace.target.join("debug/faults"));
    }
    // As it is released: with its own features, and not with those of the tests.
    cargo::run_args(workspace, ["build", "--release", "--package", "edgeproxy"])?;
    let suite = ["--package", "edgeproxy-tests", "--bin", "faults"];
    cargo::run_args(workspace, ["build", "--release"].iter().chain(&suite))?;
    Ok(workspace.target.join("release/faults"))
}

/// The page with that table in place of the one that is there.
fn between_marks(page: &str, table: &str) -> anyhow::Result<String> {
    let parts = page
        .split_once(BEGIN)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let Some((before, after)) = parts else {
        bail!("{PAGE} has no `{}` with `{}` behind it", BEGIN.trim(), END.trim());
    };
    Ok(format!("{before}{BEGIN}\n{table}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_takes_the_place_of_the_one_before() {
        let page = format!("# Title\n\n{BEGIN}\nold\n\n{END}\nmore\n");
        let written = between_marks(&page, "| new |\n").unwrap();
        assert_eq!(written, format!("# Title\n\n{BEGIN}\n| new |\n\n{END}\nmore\n"));
        assert_eq!(between_marks(&written, "| new |\n").unwrap(), written);
        assert!(between_marks("# Title\n", "").is_err());
    }
}
