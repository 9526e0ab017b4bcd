//! `cargo xtask attacks`: the released binary under attack, while well-behaved clients go on.

use std::path::Path;
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
    let build = [
        "build",
        "--workspace",
        "--all-features",
        "--bin",
        "edgeproxy",
        "--bin",
        "attacks",
    ];
    let released = ["--release"].iter().take(usize::from(!args.quick));
    cargo::run_args(workspace, build.iter().chain(released))?;
    let folder = workspace
        .target
        .join(if args.quick { "debug" } else { "release" });
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

/// A step of `cargo xtask ci`.
pub(crate) fn check(context: &Context) -> anyhow::Result<Verdict> {
    let workspace = &context.workspace;
    // As the step of the tests has built them already.
    cargo::run_args(
        workspace,
        ["build", "--workspace", "--all-features", "--bins", "--tests"],
    )?;
    let status = attacks(&workspace.target.join("debug")).arg("--quick").status();
    let status = status.context("the attacks could not be started")?;
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
