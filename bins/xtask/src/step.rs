//! Steps, what became of them, and the table at the end.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::cargo::Tool;
use crate::processor;
use crate::workspace::Workspace;

/// One thing to check.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// An error is a failed step, and its message goes into the table.
    pub(crate) run: fn(&Context) -> anyhow::Result<Verdict>,
}

/// The names of steps, which `--only` knows.
pub(crate) fn names(steps: &[Step]) -> Vec<&'static str> {
    steps.iter().map(|step| step.name).collect()
}

/// The steps of these names, in the usual order; all of them if none is named.
pub(crate) fn selected(steps: &[Step], names: &[String]) -> Vec<Step> {
    let wanted = |step: &&Step| names.is_empty() || names.iter().any(|name| name == step.name);
    steps.iter().filter(wanted).copied().collect()
}

/// Says what steps there are, a line each.
pub(crate) fn list(steps: &[Step]) {
    for step in steps {
        println!("{:<12} {}", step.name, step.about);
    }
}

/// What every step may look at.
pub(crate) struct Context {
    pub(crate) workspace: Workspace,
    pub(crate) on_missing: OnMissing,
    /// How much of what has no end of its own.
    pub(crate) effort: Effort,
}

/// How much is done of what could go on for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Effort {
    /// For what makes up its input.
    pub(crate) minutes: u32,
    /// Which of the mutants.
    pub(crate) shard: Shard,
}

/// One of so many equal parts, the first of which is 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shard {
    pub(crate) part: u32,
    pub(crate) of: u32,
}

impl std::str::FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').map(|(part, of)| (part.parse(), of.parse()));
        match numbers {
            Some((Ok(part), Ok(of))) if part < of => Ok(Self { part, of }),
            _ => Err("expected one of so many parts, such as 0/8 to 7/8".to_owned()),
        }
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.part, self.of)
    }
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
    /// By the clock.
    took: Duration,
    /// Of the processors, all of them together.
    busy: Duration,
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
    let before = processor::taken();
    let outcome = Outcome::of((step.run)(context), context.on_missing);
    let took = begun.elapsed();
    let busy = processor::taken().saturating_sub(before);
    if !outcome.note().is_empty() {
        println!("{}", outcome.note());
    }
    println!(
        "── {}: {} after {:.1} s, {:.1} s of processors",
        step.name,
        outcome.word(),
        took.as_secs_f64(),
        busy.as_secs_f64()
    );
    Row {
        name: step.name,
        outcome,
        took,
        busy,
    }
}

fn table(rows: &[Row]) -> String {
    let mut table = format!(
        "{:<12} {:<8} {:>8} {:>9}\n",
        "step", "result", "seconds", "processor"
    );
    for row in rows {
        // A note may be many lines long; they were printed when the step ended.
        let note = row.outcome.note().lines().next().unwrap_or_default();
        let line = format!(
            "{:<12} {:<8} {:>8.1} {:>9.1}  {note}",
            row.name,
            row.outcome.word(),
            row.took.as_secs_f64(),
            row.busy.as_secs_f64()
        );
        let _ = writeln!(table, "{}", line.trim_end());
    }
    let total: Duration = rows.iter().map(|row| row.took).sum();
    let busy: Duration = rows.iter().map(|row| row.busy).sum();
    let count = |word| rows.iter().filter(|row| row.outcome.word() == word).count();
    let _ = write!(
        table,
        "{} OK, {} FAILED, {} SKIPPED in {:.0} s, {:.0} s of processors",
        count("OK"),
        count("FAILED"),
        count("SKIPPED"),
        total.as_secs_f64(),
        busy.as_secs_f64()
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
                busy: Duration::from_millis(300),
            },
            Row {
                name: "test",
                outcome: Outcome::Failed("two\nlines".into()),
                took: Duration::from_secs(61),
                busy: Duration::from_secs(100),
            },
            Row {
                name: "deny",
                outcome: Outcome::Skipped("not installed".into()),
                took: Duration::ZERO,
                busy: Duration::ZERO,
            },
        ];
        let expected = "\
step         result    seconds processor
fmt          OK            0.4       0.3
test         FAILED       61.0     100.0  two
deny         SKIPPED       0.0       0.0  not installed
1 OK, 1 FAILED, 1 SKIPPED in 61 s, 100 s of processors";
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
    fn a_shard_is_one_of_its_parts() {
        assert_eq!("7/8".parse(), Ok(Shard { part: 7, of: 8 }));
        for text in ["8/8", "1", "0/0", "-1/8", "a/b"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
        assert_eq!(Shard { part: 0, of: 8 }.to_string(), "0/8");
    }

    #[test]
    fn nothing_to_check_does_not_fail_in_ci() {
        let verdict = Ok(Verdict::NothingToCheck("this machine has no mmdebstrap"));
        assert_eq!(Outcome::of(verdict, OnMissing::Fail).word(), "SKIPPED");
    }
}
