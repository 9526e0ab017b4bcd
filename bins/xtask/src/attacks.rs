//! `cargo xtask attacks`: the released binary under attack, while well-behaved clients go on.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, ensure};

use crate::step::{Context, Verdict};
use crate::workspace::Workspace;
use crate::{cargo, source};

const DOCUMENT: &str = "docs/security.md";
const BEGIN: &str = "<!-- made by `cargo xtask attacks --write` -->\n";
const END: &str = "<!-- end -->\n";

/// Which of them.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run this one alone; may be given several times.
    #[arg(long, value_name = "ROW", conflicts_with = "quick")]
    only: Vec<String>,
    /// List them and do nothing.
    #[arg(long)]
    list: bool,
    /// Only those that run on each change, against a development build.
    #[arg(long)]
    quick: bool,
    /// Write the table into docs/security.md if all of them were held off.
    #[arg(long, conflicts_with_all = ["only", "quick", "list"])]
    write: bool,
}

/// Builds both, and runs them.
///
/// # Errors
/// They do not build or start, or the document has no place for the table.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> anyhow::Result<ExitCode> {
    let folder = if args.quick || args.list {
        build_for_development(workspace)?
    } else {
        build_released(workspace)?
    };
    let table = workspace.target.join("attacks.md");
    let mut attacks = attacks(&folder);
    for row in &args.only {
        attacks.args(["--only", row]);
    }
    for (is, flag) in [(args.list, "--list"), (args.quick, "--quick")] {
        if is {
            attacks.arg(flag);
        }
    }
    if args.write {
        attacks.arg("--markdown").arg(&table);
    }
    let status = attacks.status().context("the attacks could not be started")?;
    if !status.success() {
        return Ok(ExitCode::FAILURE);
    }
    if args.write {
        let path = workspace.root.join(DOCUMENT);
        let document = replaced(&source::text(&path)?, &source::text(&table)?)?;
        std::fs::write(&path, document)
            .with_context(|| format!("{} could not be written", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// As the step of the tests has built them already.
fn build_for_development(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let bins = ["--bin", "edgeproxy", "--bin", "attacks"];
    cargo::run_args(
        workspace,
        ["build", "--workspace", "--all-features"].iter().chain(&bins),
    )?;
    Ok(workspace.target.join("debug"))
}

/// The binary as it is released: with its own features, and not with those of the tests.
fn build_released(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    cargo::run_args(workspace, ["build", "--release", "--package", "edgeproxy"])?;
    let suite = ["--package", "edgeproxy-tests", "--bin", "attacks"];
    cargo::run_args(workspace, ["build", "--release"].iter().chain(&suite))?;
    Ok(workspace.target.join("release"))
}

/// The quick ones, as a step of `cargo xtask ci`.
pub(crate) fn check(context: &Context) -> anyhow::Result<Verdict> {
    let folder = build_for_development(&context.workspace)?;
    of_step(attacks(&folder).arg("--quick"))
}

/// All of them, as a step of `cargo xtask nightly`.
pub(crate) fn check_all(context: &Context) -> anyhow::Result<Verdict> {
    let folder = build_released(&context.workspace)?;
    of_step(&mut attacks(&folder))
}

fn of_step(attacks: &mut Command) -> anyhow::Result<Verdict> {
    let status = attacks.status().context("the attacks could not be started")?;
    ensure!(
        status.success(),
        "an attack was not held off; once more: cargo xtask attacks --only ROW"
    );
    Ok(Verdict::Passed)
}

/// The program, which finds edgeproxy beside itself.
fn attacks(folder: &Path) -> Command {
    let mut command = Command::new(folder.join("attacks"));
    command.env_remove("EDGEPROXY_BIN");
    command
}

/// The document with that table in it.
fn replaced(document: &str, table: &str) -> anyhow::Result<String> {
    let places = document.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some(format!("{before}{BEGIN}{table}{END}{after}"))
    });
    places.with_context(|| format!("{DOCUMENT} has no place for the table: {BEGIN:?} and {END:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_takes_the_place_of_the_one_before() {
        let document = format!("a\n{BEGIN}old\n{END}b\n");
        assert_eq!(
            replaced(&document, "new\n").unwrap(),
            format!("a\n{BEGIN}new\n{END}b\n")
        );
        assert!(replaced("a\nb\n", "new\n").is_err());
    }
}
