//! What is printed: a line for each attack, and the table of all.

use std::fmt;
use std::time::Duration;

use crate::row::Row;

/// A bystander may wait for so long, in all but one of a hundred requests. Attackers and clients are on the machine's
/// processors as well, so this is far above what the proxy itself takes.
const P99: Duration = Duration::from_secs(1);

const MIB: u64 = 1 << 20;

/// Above the lines as they are printed: memory in MiB, at most and left; descriptors left; seconds.
pub(crate) const HEADINGS: &str = "attack                      sent others bad  p99 ms   peak   left  fd     s verdict, and what the product did";

#[derive(Debug)]
pub(crate) enum Verdict {
    Held,
    /// What it takes isn't there.
    Skipped(&'static str),
    Failed(Vec<String>),
}

impl Verdict {
    pub(crate) fn of(wrong: Vec<String>) -> Self {
        if wrong.is_empty() {
            Self::Held
        } else {
            Self::Failed(wrong)
        }
    }
}

/// What came of one attack.
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) sent: u64,
    pub(crate) did: String,
    /// Requests of others meanwhile.
    pub(crate) bystanders: u64,
    pub(crate) failed: u64,
    pub(crate) p99: Duration,
    /// Bytes of memory, at most, beyond those before.
    pub(crate) peak: u64,
    pub(crate) before: u64,
    pub(crate) after: u64,
    /// Beyond those before.
    pub(crate) descriptors: usize,
    pub(crate) took: Duration,
    pub(crate) verdict: Verdict,
}

impl Line {
    pub(crate) fn of(row: &Row) -> Self {
        Self {
            name: row.name,
            about: row.about,
            sent: 0,
            did: String::new(),
            bystanders: 0,
            failed: 0,
            p99: Duration::ZERO,
            peak: 0,
            before: 0,
            after: 0,
            descriptors: 0,
            took: Duration::ZERO,
            verdict: Verdict::Held,
        }
    }

    /// What the attack did to others that it must not.
    pub(crate) fn harm(&self, row: &Row) -> Vec<String> {
        let mut harm = Vec::new();
        let mut is = |harmful: bool, what: String| {
            if harmful {
                harm.push(what);
            }
        };
        is(
            self.bystanders < 20,
            format!("only {} requests of bystanders", self.bystanders),
        );
        is(
            self.failed > 0,
            format!(
                "{} of {} requests of bystanders failed",
                self.failed, self.bystanders
            ),
        );
        is(self.p99 > P99, format!("bystanders waited {:?} (p99)", self.p99));
        is(
            self.peak > row.peak_mib * MIB,
            format!(
                "{} MiB more memory, at most {} are expected",
                self.peak / MIB,
                row.peak_mib
            ),
        );
        is(
            self.after > self.before + self.before / 10 + row.keeps_mib * MIB,
            format!(
                "{} MiB are resident, {} were before",
                self.after / MIB,
                self.before / MIB
            ),
        );
        harm
    }

    fn kept(&self) -> u64 {
        self.after.saturating_sub(self.before)
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB as f64
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of some seconds")]
fn ms(time: Duration) -> f64 {
    time.as_micros() as f64 / 1_000.0
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.verdict {
            Verdict::Held => "held",
            Verdict::Skipped(_) => "skip",
            Verdict::Failed(_) => "FAILED",
        };
        write!(
            f,
            "{:<24} {:>7} {:>6} {:>3} {:>7.1} {:>6.1} {:>6.1} {:>3} {:>5.1} {word:<6} {}",
            self.name,
            self.sent,
            self.bystanders,
            self.failed,
            ms(self.p99),
            mib(self.peak),
            mib(self.kept()),
            self.descriptors,
            self.took.as_secs_f64(),
            self.did
        )?;
        match &self.verdict {
            Verdict::Held => Ok(()),
            Verdict::Skipped(why) => write!(f, "{why}"),
            Verdict::Failed(wrong) => wrong.iter().try_for_each(|wrong| write!(f, "\n    {wrong}")),
        }
    }
}

/// All of them.
#[derive(Default)]
pub(crate) struct Report {
    lines: Vec<Line>,
}

impl Report {
    pub(crate) fn add(&mut self, line: Line) {
        self.lines.push(line);
    }

    /// Every attack was played, and none came through: what the documentation may say.
    pub(crate) fn is_whole(&self) -> bool {
        !self.lines.is_empty()
            && self
                .lines
                .iter()
                .all(|line| matches!(line.verdict, Verdict::Held))
    }

    /// No attack came through. In CI, where all that is needed is installed, none is skipped either.
    pub(crate) fn is_good(&self) -> bool {
        let in_ci = matches!(std::env::var("CI").as_deref(), Ok("true" | "1"));
        let is_good = |line: &Line| match line.verdict {
            Verdict::Held => true,
            Verdict::Skipped(_) => !in_ci,
            Verdict::Failed(_) => false,
        };
        !self.lines.is_empty() && self.lines.iter().all(is_good)
    }

    /// The table of `docs/security.md`.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from(
            "| attack | what is sent | sent | what the product does | others: requests, failed, p99 | memory: at most, left | descriptors left | |\n\
             |---|---|---:|---|---|---|---:|---|\n",
        );
        for line in &self.lines {
            let verdict = match line.verdict {
                Verdict::Held => "held",
                Verdict::Skipped(_) => "not run",
                Verdict::Failed(_) => "**failed**",
            };
            text.push_str(&format!(
                "| `{}` | {} | {} | {} | {}, {}, {:.1} ms | {:.0} MiB, {:.0} MiB | {} | {verdict} |\n",
                line.name,
                line.about,
                line.sent,
                line.did,
                line.bystanders,
                line.failed,
                ms(line.p99),
                mib(line.peak),
                mib(line.kept()),
                line.descriptors,
            ));
        }
        let (sent, asked, failed) = self.sums();
        text.push_str(&format!(
            "\n{} attacks, {sent} messages of theirs; {asked} requests of others meanwhile, {failed} of which failed. Taken with a \
             {} build.\n",
            self.lines.len(),
            if cfg!(debug_assertions) { "development" } else { "release" }
        ));
        text
    }

    fn sums(&self) -> (u64, u64, u64) {
        let sum = |of: fn(&Line) -> u64| self.lines.iter().map(of).sum();
        (
            sum(|line| line.sent),
            sum(|line| line.bystanders),
            sum(|line| line.failed),
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self
            .lines
            .iter()
            .filter(|line| matches!(line.verdict, Verdict::Held))
            .count();
        let (sent, asked, failed) = self.sums();
        let took: f64 = self.lines.iter().map(|line| line.took.as_secs_f64()).sum();
        write!(
            f,
            "{held} of {} attacks were held off, in {took:.0} s: {sent} messages of theirs, {asked} requests of others, \
             {failed} of those failed",
            self.lines.len()
        )
    }
}
