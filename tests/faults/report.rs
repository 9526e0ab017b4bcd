//! The table, for a terminal and for the documentation.

use std::fmt::Write as _;
use std::time::Duration;

use crate::row::{Row, Told, Verdict};

/// How many wrongs of a row are printed.
const SHOWN: usize = 10;

/// A row that was run.
pub(crate) struct Line {
    pub(crate) row: &'static Row,
    pub(crate) verdict: Verdict,
    pub(crate) took: Duration,
}

pub(crate) fn seconds(duration: Duration) -> String {
    match duration.as_secs_f64() {
        secs if secs < 0.0995 => format!("{:.0} ms", secs * 1_000.0),
        secs => format!("{secs:.1} s"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

impl Line {
    /// What one line of a terminal holds of it.
    pub(crate) fn text(&self) -> String {
        let name = self.row.name;
        let took = self.took.as_secs_f64();
        match &self.verdict {
            Verdict::Skipped(why) => format!("{name:<24} {}: {why}", self.verdict.word()),
            Verdict::Broke(why) => format!("{name:<24} FAILED after {took:.1} s: {why}"),
            Verdict::Ran(told) => {
                let figures = Figures::of(told);
                let mut text = format!(
                    "{name:<24} {:<12} {took:>5.1} s  sent {:>6}  failed {:<32} slowest {:<8} recovered {:<8} memory {:<22} descriptors {}",
                    self.verdict.word(),
                    figures.sent,
                    figures.failed,
                    figures.slowest,
                    figures.recovered,
                    figures.memory,
                    figures.descriptors,
                );
                for note in &told.notes {
                    let _ = write!(text, "\n{:<24} {note}", "");
                }
                let wrongs = told.wrongs();
                for wrong in wrongs.iter().take(SHOWN) {
                    let _ = write!(text, "\n{:<24} NOT ALLOWED: {wrong}", "");
                }
                if wrongs.len() > SHOWN {
                    let _ = write!(text, "\n{:<24} and {} more", "", wrongs.len() - SHOWN);
                }
                text
            }
        }
    }
}

/// The figures of a row in words.
struct Figures {
    sent: String,
    failed: String,
    slowest: String,
    recovered: String,
    memory: String,
    descriptors: String,
}

impl Figures {
    fn of(told: &Told) -> Self {
        let account = &told.account;
        let forms: Vec<_> = account
            .allowed
            .iter()
            .map(|(form, count)| format!("{count} {form}"))
            .collect();
        let failed = match (account.failed, forms.is_empty()) {
            (0, _) => "0".to_owned(),
            (count, true) => format!("{count}, none of them allowed"),
            (_, false) => forms.join(", "),
        };
        Self {
            sent: account.asked.to_string(),
            failed,
            slowest: seconds(account.slowest),
            recovered: told.recovered.map_or_else(|| "–".to_owned(), seconds),
            memory: format!(
                "{:.1}, {:.1} → {:.1}",
                mib(told.fresh.resident),
                mib(told.before.resident),
                mib(told.after.resident)
            ),
            descriptors: format!(
                "{}, {} → {}",
                told.fresh.descriptors, told.before.descriptors, told.after.descriptors
            ),
        }
    }
}

/// What is promised and what came of it, for `docs/reliability.md`.
pub(crate) fn markdown(lines: &[Line]) -> String {
    let mut text =
        String::from("| row | what is done | what is expected | promised in |\n|---|---|---|---|\n");
    for line in lines {
        let row = line.row;
        let page = row.rule.split(['.', '#']).next().unwrap_or_default();
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | [{page}]({}) |",
            row.name, row.fault, row.expects, row.rule
        );
    }
    text.push_str(
        "\n| row | requests sent | failed, all of them allowed | slowest answer | back after | memory, MiB | descriptors | verdict |\n|---|---|---|---|---|---|---|---|\n",
    );
    for line in lines {
        let word = line.verdict.word();
        let name = line.row.name;
        match &line.verdict {
            Verdict::Ran(told) => {
                let figures = Figures::of(told);
                let _ = writeln!(
                    text,
                    "| `{name}` | {} | {} | {} | {} | {} | {} | {word} |",
                    figures.sent,
                    figures.failed,
                    figures.slowest,
                    figures.recovered,
                    figures.memory,
                    figures.descriptors,
                );
            }
            Verdict::Broke(_) | Verdict::Skipped(_) => {
                let _ = writeln!(text, "| `{name}` | – | – | – | – | – | – | {word} |");
            }
        }
    }
    let notes: Vec<_> = lines
        .iter()
        .filter_map(|line| match &line.verdict {
            Verdict::Ran(told) if !told.notes.is_empty() => Some((line.row.name, told.notes.join("; "))),
            _ => None,
        })
        .collect();
    if !notes.is_empty() {
        text.push_str("\nBesides:\n\n");
        for (name, note) in notes {
            let _ = writeln!(text, "- `{name}`: {note}");
        }
    }
    text
}
