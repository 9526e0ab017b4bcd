//! Steps, what became of them, and the table at the end.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::cargo::Tool;
use crate::workspace::Workspace;

/// One thing to check.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// An error is a failed step, and its message goes into the table.
    pub(crate) run: fn(&Context) -> anyhow::Result<Verdict>,
}

/// What every step may look at.
pub(crate) struct Context {
    pub(crate) workspace: Workspace,
    pub(crate) on_missing: OnMissing,
}

/// What a missing tool makes of its step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OnMissing {
    Skip,
    Fail,
}

impl OnMissing {
    /// A person may lack a tool, CI may not: there, `CI=true`.
    pub(crate) fn from_environment() -> Self {
        match std::env::var("CI").as_deref() {
            Ok("true" | "1") => Self::Fail,
            _ => Self::Skip,
        }
    }
}

/// What a step that did not fail has to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Passed,
    Missing(Tool),
    /// There is nothing to check in this tree.
    NothingToCheck(&'static str),
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Outcome {
    Ok,
    Failed(String),
    Skipped(String),
}

impl Outcome {
    fn of(verdict: anyhow::Result<Verdict>, on_missing: OnMissing) -> Self {
        match verdict {
            Ok(Verdict::Passed) => Self::Ok,
            Ok(Verdict::NothingToCheck(why)) => Self::Skipped(why.to_owned()),
            Ok(Verdict::Missing(tool)) => {
                let note = format!("{tool} is not installed; install it with: {}", tool.install);
                match on_missing {
                    OnMissing::Skip => Self::Skipped(note),
                    OnMissing::Fail => Self::Failed(note),
                }
            }
            Err(error) => Self::Failed(format!("{error:#}")),
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Failed(_) => "FAILED",
            Self::Skipped(_) => "SKIPPED",
        }
    }

    fn note(&self) -> &str {
        match self {
            Self::Ok => "",
            Self::Failed(note) | Self::Skipped(note) => note,
        }
    }
}

struct Row {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
}

/// Runs all of them, one after the other and whatever becomes of each, and prints a table.
pub(crate) fn run_all(steps: &[Step], context: &Context) -> ExitCode {
    let rows: Vec<Row> = steps.iter().map(|step| run_one(step, context)).collect();
    println!("\n{}", table(&rows));
    let failed = rows.iter().any(|row| matches!(row.outcome, Outcome::Failed(_)));
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn run_one(step: &Step, context: &Context) -> Row {
    println!("\n── {}: {}", step.name, step.about);
    let begun = Instant::now();
    let outcome = Outcome::of((step.run)(context), context.on_missing);
    let took = begun.elapsed();
    if !outcome.note().is_empty() {
        println!("{}", outcome.note());
    }
    println!(
        "── {}: {} after {:.1} s",
        step.name,
        outcome.word(),
        took.as_secs_f64()
    );
    Row {
        name: step.name,
        outcome,
        took,
    }
}

fn table(rows: &[Row]) -> String {
    let mut table = format!("{:<12} {:<8} {:>8}\n", "step", "result", "seconds");
    for row in rows {
        // A note may be many lines long; they were printed when the step ended.
        let note = row.outcome.note().lines().next().unwrap_or_default();
        let line = format!(
            "{:<12} {:<8} {:>8.1}  {note}",
            row.name,
            row.outcome.word(),
            row.took.as_secs_f64()
        );
        let _ = writeln!(table, "{}", line.trim_end());
    }
    let total: Duration = rows.iter().map(|row| row.took).sum();
    let count = |word| rows.iter().filter(|row| row.outcome.word() == word).count();
    let _ = write!(
        table,
        "{} OK, {} FAILED, {} SKIPPED in {:.0} s",
        count("OK"),
        count("FAILED"),
        count("SKIPPED"),
        total.as_secs_f64()
    );
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_for_every_step_and_a_sum() {
        let rows = [
            Row {
                name: "fmt",
                outcome: Outcome::Ok,
                took: Duration::from_millis(420),
            },
            Row {
                name: "test",
                outcome: Outcome::Failed("two\nlines".into()),
                took: Duration::from_secs(61),
            },
            Row {
                name: "deny",
                outcome: Outcome::Skipped("not installed".into()),
                took: Duration::ZERO,
            },
        ];
        let expected = "\
step         result    seconds
fmt          OK            0.4
test         FAILED       61.0  two
deny         SKIPPED       0.0  not installed
1 OK, 1 FAILED, 1 SKIPPED in 61 s";
        assert_eq!(table(&rows), expected);
    }

    #[test]
    fn a_missing_tool_is_skipped_by_a_person_and_failed_by_ci() {
        let missing = || Ok(Verdict::Missing(Tool::DENY));
        let note = "`cargo deny` is not installed; install it with: cargo install --locked cargo-deny";
        assert_eq!(
            Outcome::of(missing(), OnMissing::Skip),
            Outcome::Skipped(note.into())
        );
        assert_eq!(
            Outcome::of(missing(), OnMissing::Fail),
            Outcome::Failed(note.into())
        );
    }

    #[test]
    fn an_error_is_a_failed_step_with_its_whole_chain() {
        let error = anyhow::anyhow!("no such file").context("docs/x.md could not be read");
        let expected = Outcome::Failed("docs/x.md could not be read: no such file".into());
        assert_eq!(Outcome::of(Err(error), OnMissing::Skip), expected);
    }

    #[test]
    fn nothing_to_check_does_not_fail_in_ci() {
        let verdict = Ok(Verdict::NothingToCheck("there is no benches/ here"));
        assert_eq!(Outcome::of(verdict, OnMissing::Fail).word(), "SKIPPED");
    }
}
