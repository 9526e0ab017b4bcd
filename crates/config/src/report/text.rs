//! For people.

use std::fmt::Write;

use super::Report;
use crate::finding::{Finding, Severity};
use crate::problem::Problem;

/// Whether a terminal is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// Plain text.
    Plain,
    /// With colours, by escape sequences of ECMA-48.
    Colours,
}

#[derive(Clone, Copy)]
enum Ink {
    Bold,
    Red,
    Yellow,
    Cyan,
    Faint,
}

impl Paint {
    fn ink(self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Bold => "1",
            Ink::Red => "1;31",
            Ink::Yellow => "1;33",
            Ink::Cyan => "36",
            Ink::Faint => "2",
        };
        match self {
            Self::Plain => text.to_owned(),
            Self::Colours => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        }
    }

    fn severity(self, severity: Severity) -> String {
        match severity {
            Severity::Error => self.ink(Ink::Red, "error"),
            Severity::Warning => self.ink(Ink::Yellow, "warning"),
        }
    }
}

impl Report {
    /// Each problem and finding with its place, what is wrong and what to write instead, and a blank line after it.
    /// Nothing where there is nothing to tell.
    #[must_use]
    pub fn text(&self, paint: Paint) -> String {
        let problems = self.problems.iter().map(|problem| of_problem(problem, paint));
        let findings = self.findings.iter().map(|finding| of_finding(finding, paint));
        problems.chain(findings).map(|told| told + "\n\n").collect()
    }
}

fn of_problem(problem: &Problem, paint: Paint) -> String {
    let mut text = format!(
        "{}: {}: {}",
        paint.ink(Ink::Bold, &problem.place.to_string()),
        paint.severity(Severity::Error),
        problem.message
    );
    // Writing to a text never fails.
    if let Some((number, line, mark)) = problem.marked_line() {
        let margin = " ".repeat(number.len());
        let _ = write!(
            text,
            "\n  {} {line}\n  {} {}",
            paint.ink(Ink::Faint, &format!("{number} |")),
            paint.ink(Ink::Faint, &format!("{margin} |")),
            paint.ink(Ink::Red, &mark)
        );
    }
    if let Some(help) = &problem.help {
        let _ = write!(text, "\n  {}: {help}", paint.ink(Ink::Cyan, "help"));
    }
    text
}

fn of_finding(finding: &Finding, paint: Paint) -> String {
    let place = match &finding.place {
        Some(place) => format!("{}: ", paint.ink(Ink::Bold, &place.to_string())),
        None => String::new(),
    };
    format!(
        "{place}{}: {} {}\n  {}: {}",
        paint.severity(finding.severity),
        finding.message,
        paint.ink(Ink::Faint, &format!("({})", finding.rule)),
        paint.ink(Ink::Cyan, "help"),
        finding.advice
    )
}
