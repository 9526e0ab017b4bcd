//! What is shown: a table that refreshes in place on a terminal, and a line a second elsewhere.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Stdout, Write};
use std::time::Duration;

use crate::demo::backends::{REGIONS, VICTIM, members};
use crate::demo::traffic::{Phase, Tally};
use crate::demo::verdict::Evidence;

/// Standard output.
pub(crate) struct Screen {
    out: Stdout,
    in_place: bool,
    /// Lines of the live part that are on the screen.
    live: usize,
}

/// What a moment looks like.
pub(crate) struct Moment {
    pub(crate) at: Duration,
    pub(crate) caption: &'static str,
    pub(crate) rows: Vec<Row>,
    pub(crate) failed: u64,
}

/// A backend at a moment.
pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) region: &'static str,
    pub(crate) state: String,
    pub(crate) in_flight: u64,
    /// Requests answered so far.
    pub(crate) requests: u64,
    /// Requests answered in the last second.
    pub(crate) recent: u64,
}

impl Screen {
    pub(crate) fn on_stdout() -> Self {
        let out = io::stdout();
        let in_place = out.is_terminal();
        Self {
            out,
            in_place,
            live: 0,
        }
    }

    /// How often there is something to draw.
    pub(crate) const fn refresh(&self) -> Duration {
        Duration::from_millis(if self.in_place { 250 } else { 1_000 })
    }

    /// Writes below everything so far.
    pub(crate) fn print(&mut self, text: &str) -> io::Result<()> {
        self.live = 0;
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// Says what begins, where the table does not.
    pub(crate) fn announce(&mut self, at: Duration, caption: &str) -> io::Result<()> {
        if self.in_place {
            return Ok(());
        }
        self.print(&headline(at, caption))
    }

    /// Draws a moment, over the one before where that is possible.
    pub(crate) fn draw(&mut self, moment: &Moment) -> io::Result<()> {
        if !self.in_place {
            return self.print(&moment.line());
        }
        let table = moment.table();
        // Up to the first line of the last one, and clear from there: a terminal's own scrolling moves both.
        let back = if self.live > 0 {
            format!("\x1b[{}A\x1b[J", self.live)
        } else {
            String::new()
        };
        self.print(&format!("{back}{table}"))?;
        self.live = table.lines().count();
        Ok(())
    }
}

impl Moment {
    fn recent(&self) -> u64 {
        self.rows.iter().map(|row| row.recent).sum()
    }

    fn table(&self) -> String {
        const BAR: u64 = 20;
        let total = self.recent();
        let mut text = headline(self.at, self.caption);
        text.push_str("\nbackend  region  state      in flight  requests  last second\n");
        for row in &self.rows {
            let bar = "#".repeat(usize::try_from(BAR * row.recent / total.max(1)).unwrap_or(0));
            let line = format!(
                "{:<7}  {:<6}  {:<9}  {:>9}  {:>8}  {:>4}  {:>3} %  {bar}",
                row.id,
                row.region,
                row.state,
                row.in_flight,
                row.requests,
                row.recent,
                percent(row.recent, total),
            );
            text.push_str(line.trim_end());
            text.push('\n');
        }
        let in_flight: u64 = self.rows.iter().map(|row| row.in_flight).sum();
        let requests: u64 = self.rows.iter().map(|row| row.requests).sum();
        // Writing to a String can't fail.
        let _ = writeln!(
            text,
            "{:<26}  {in_flight:>9}  {requests:>8}  {total:>4}  failed: {}",
            "all", self.failed
        );
        text
    }

    fn line(&self) -> String {
        let total = self.recent();
        let mut text = format!("{:>5.1} s  {total:>5} requests/s ", self.at.as_secs_f64());
        for (region, _) in REGIONS {
            let recent = self
                .rows
                .iter()
                .filter(|row| row.region == region)
                .map(|row| row.recent)
                .sum();
            let _ = write!(text, "  {region} {:>3} %", percent(recent, total));
        }
        let victim = self.rows.iter().find(|row| row.id == VICTIM);
        let victim = victim.map_or("", |row| row.state.as_str());
        let _ = writeln!(text, "   {VICTIM} {victim:<9}  failed {}", self.failed);
        text
    }
}

fn headline(at: Duration, caption: &str) -> String {
    format!("{:>5.1} s  {caption}\n", at.as_secs_f64())
}

/// Who got what over the whole show.
pub(crate) fn summary(evidence: &Evidence) -> String {
    let Tally { served, .. } = &evidence.tally;
    let mut text = "\nbackend  region   quiet    rush  after the kill     all\n".to_owned();
    let mut totals = [0; Phase::ALL.len()];
    for (region, id) in members() {
        let phases = served.get(id).copied().unwrap_or_default();
        totals
            .iter_mut()
            .zip(phases)
            .for_each(|(total, count)| *total += count);
        text.push_str(&summary_line(id, region, phases));
        if id == VICTIM && evidence.kills > 0 {
            text.push_str("  killed");
        }
        text.push('\n');
    }
    text.push_str(&summary_line("all", "", totals));
    text.push_str("\n\n");
    text
}

fn summary_line(id: &str, region: &str, [quiet, rush, after]: [u64; Phase::ALL.len()]) -> String {
    format!(
        "{id:<7}  {region:<6}  {quiet:>6}  {rush:>6}  {after:>14}  {:>6}",
        quiet + rush + after
    )
}

/// Rounded to the nearest.
fn percent(part: u64, whole: u64) -> u64 {
    (part * 100 + whole / 2).checked_div(whole).unwrap_or(0)
}

#[cfg(test)]
mod tests;
