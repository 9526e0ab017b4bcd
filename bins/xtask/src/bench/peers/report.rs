//! Markdown that a person pastes into docs/benchmarks.md.

use std::fmt::Write as _;
use std::process::Command;

use anyhow::Context as _;

use crate::bench::peers::case::{Case, Kind};
use crate::bench::peers::load::Load;
use crate::bench::peers::measure::{Effort, Outcome, Row, Sample};
use crate::bench::peers::memory;
use crate::bench::peers::proxy::Proxy;
use crate::bench::peers::stage::Stage;
use crate::bench::peers::tools::{self, Tool};

/// Where and with what the figures were taken.
///
/// # Errors
/// The system does not tell about itself.
pub(crate) fn heading(stage: &Stage, proxies: &[Proxy], effort: &Effort) -> anyhow::Result<String> {
    let read = |path: &str| std::fs::read_to_string(path).with_context(|| format!("{path} can't be read"));
    let processor = read("/proc/cpuinfo")?
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split(':').nth(1))
        .unwrap_or("unknown")
        .trim()
        .to_owned();
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease")?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut text = format!(
        "Taken {} by `cargo xtask {}`.\n\n- machine: {count} × {processor}; Linux {}; {} when it began\n",
        printed("date", &["-u", "+%Y-%m-%d %H:%M UTC"]).unwrap_or_default(),
        arguments.join(" "),
        kernel.trim(),
        tools::load_average()?,
    );
    let cores = &stage.cores;
    let _ = writeln!(
        text,
        "- cores: proxy on {}, client and origin on {}; one worker; rounds: {}, taking turns, a new process each, \
         {} s or {} MB",
        cores.proxy, cores.ends, effort.rounds, effort.amount.secs, effort.amount.megabytes,
    );
    text.push_str("- versions:");
    if proxies.contains(&Proxy::Edgeproxy) {
        let version = tools::first_line(&stage.edgeproxy, "--version").unwrap_or_default();
        let commit = printed("git", &["describe", "--always", "--dirty", "--abbrev=12"]).unwrap_or_default();
        let _ = write!(text, " {version} (tree {commit});");
    }
    let others = proxies.iter().filter_map(|proxy| proxy.tool());
    for tool in others.chain([Tool::WRK, Tool::H2LOAD]) {
        if let Some(line) = tool.first_line() {
            let _ = write!(text, " {};", short(&line));
        }
    }
    text.pop();
    text.push_str(
        "\n- each figure is the median of the rounds, with the least and the most; × is against the better of nginx \
         and HAProxy, round by round\n",
    );
    Ok(text)
}

/// A version without what follows it.
fn short(line: &str) -> &str {
    line.split(" - ")
        .next()
        .and_then(|line| line.split(" Copyright").next())
        .unwrap_or(line)
        .trim_start_matches("nginx version: ")
}

fn printed(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// One case.
pub(crate) fn table(case: &Case, rows: &[Row]) -> String {
    let mut text = format!("### {}\n\n{}\n\n", case.name, case.about);
    match case.kind {
        Kind::Cost(load) | Kind::Watched(load) => costs(&mut text, load, rows, false),
        Kind::Workers(load) => costs(&mut text, load, rows, true),
        Kind::Memory(_) => memories(&mut text, rows),
    }
    text
}

fn costs(text: &mut String, load: Load, rows: &[Row], workers: bool) {
    // Bulk is told in seconds, since it is that many.
    let (unit, scale) = match load {
        Load::Bulk { .. } => ("CPU-s/GB".to_owned(), 1e-6),
        _ => (format!("µs/{}", load.unit()), 1.0),
    };
    let against = if is_watched(rows) { "without" } else { "best peer" };
    let _ = writeln!(
        text,
        "| | {unit} | of that in user mode | × {against} | system calls/{0} | {0}s/s | RSS |\n|---|---|---|---|---|---|---|",
        load.unit()
    );
    for row in rows {
        let mut name = row.proxy.name().to_owned();
        if workers {
            let _ = write!(
                name,
                ", {} worker{}",
                row.workers,
                if row.workers == 1 { "" } else { "s" }
            );
        }
        let (samples, calls) = match &row.outcome {
            Outcome::Cost {
                samples,
                system_calls,
            } => (samples, system_calls),
            other => {
                failed(text, &name, other, 6);
                continue;
            }
        };
        let of = |what: fn(&Sample) -> f64| samples.iter().map(what).collect::<Vec<f64>>();
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {} | {} | {} | {:.1} MB |",
            spread(
                of(|sample| sample.cost_us)
                    .into_iter()
                    .map(|cost| cost * scale)
                    .collect()
            ),
            figure(scale * median(of(|sample| sample.cost_us * sample.user_share))),
            best_peer(rows, row.workers).map_or_else(|| "–".to_owned(), |peer| ratio(samples, peer)),
            calls.map_or_else(|| "–".to_owned(), |calls| format!("{calls:.1}")),
            rate(median(of(|sample| sample.units_per_sec))),
            median(of(|sample| megabytes(sample.resident))),
        );
    }
}

fn memories(text: &mut String, rows: &[Row]) {
    text.push_str("| | RSS before | with all | bytes per client | |\n|---|---|---|---|---|\n");
    for row in rows {
        let samples = match &row.outcome {
            Outcome::Memory(samples) => samples,
            other => {
                failed(text, row.proxy.name(), other, 4);
                continue;
            }
        };
        let of = |what: fn(&memory::Sample) -> f64| samples.iter().map(what).collect::<Vec<f64>>();
        let notes: Vec<&str> = samples.iter().map(|sample| sample.note.as_str()).collect();
        let _ = writeln!(
            text,
            "| {} | {:.1} MB | {:.1} MB | {:.0} | {} |",
            row.proxy.name(),
            median(of(|sample| megabytes(sample.before))),
            median(of(|sample| megabytes(sample.with))),
            median(of(|sample| f64::from(
                u32::try_from(sample.per_client()).unwrap_or(u32::MAX)
            ))),
            // They are whole sentences; the first turn's stands for all.
            notes.first().copied().unwrap_or_default(),
        );
    }
}

fn failed(text: &mut String, name: &str, outcome: &Outcome, columns: usize) {
    let note = match outcome {
        Outcome::Skipped(why) => format!("SKIPPED: {why}"),
        Outcome::Failed(why) => format!("FAILED: {why}"),
        Outcome::Cost { .. } | Outcome::Memory(_) => String::new(),
    };
    // A bar would end the cell, a line end the table.
    let note = note.replace('|', "/").replace('\n', " ");
    let _ = writeln!(
        text,
        "| {name} | {note} |{}",
        " |".repeat(columns.saturating_sub(1))
    );
}

fn is_watched(rows: &[Row]) -> bool {
    rows.iter().any(|row| row.proxy == Proxy::Watched)
}

/// The rounds of the cheapest peer with as many workers. The peer of one that is watched is the one that is not.
fn best_peer(rows: &[Row], workers: u32) -> Option<&[Sample]> {
    let is_peer = |row: &&Row| {
        if is_watched(rows) {
            row.proxy == Proxy::Edgeproxy
        } else {
            row.proxy.is_peer()
        }
    };
    rows.iter()
        .filter(is_peer)
        .filter(|row| row.workers == workers)
        .filter_map(|row| match &row.outcome {
            Outcome::Cost { samples, .. } => Some(samples.as_slice()),
            _ => None,
        })
        .min_by(|a, b| cost(a).total_cmp(&cost(b)))
}

fn cost(samples: &[Sample]) -> f64 {
    median(samples.iter().map(|sample| sample.cost_us).collect())
}

/// Round by round: what slowed one of a round slowed the other.
fn ratio(samples: &[Sample], peer: &[Sample]) -> String {
    let ratios = samples
        .iter()
        .zip(peer)
        .map(|(own, peer)| own.cost_us / peer.cost_us)
        .collect();
    spread(ratios)
}

/// `median (least–most)`.
fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    match (values.first(), values.last()) {
        (Some(least), Some(most)) if least < most => {
            format!(
                "{} ({}–{})",
                figure(median(values.clone())),
                figure(*least),
                figure(*most)
            )
        }
        _ => figure(median(values)),
    }
}

/// Of nothing: zero.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.len() % 2) {
        (Some(value), 1) => *value,
        (Some(value), _) => f64::midpoint(*value, values[middle - 1]),
        (None, _) => 0.0,
    }
}

/// Three digits.
fn figure(value: f64) -> String {
    match value {
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 99.95 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

/// Thousands apart; small ones with a fraction.
fn rate(value: f64) -> String {
    if value < 1000.0 {
        return figure(value);
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::peers::case;

    fn row(proxy: Proxy, costs: &[f64]) -> Row {
        let samples = costs
            .iter()
            .map(|&cost_us| Sample {
                cost_us,
                user_share: 0.5,
                units_per_sec: 54_321.0,
                resident: 12_000_000,
            })
            .collect();
        Row {
            proxy,
            workers: 1,
            outcome: Outcome::Cost {
                samples,
                system_calls: Some(4.04),
            },
        }
    }

    #[test]
    fn the_table_compares_round_by_round_with_the_best_peer() {
        let rows = [
            row(Proxy::Edgeproxy, &[10.0, 30.0, 15.0]),
            row(Proxy::Nginx, &[20.0, 20.0, 30.0]),
            row(Proxy::Haproxy, &[40.0, 40.0, 40.0]),
            Row {
                proxy: Proxy::Relay,
                workers: 1,
                outcome: Outcome::Failed("a|b\nc".into()),
            },
        ];
        let expected = "\
### http1-1k

HTTP/1.1, 64 kept-alive connections, answers of 1 KiB

| | µs/request | of that in user mode | × best peer | system calls/request | requests/s | RSS |
|---|---|---|---|---|---|---|
| edgeproxy | 15.0 (10.0–30.0) | 7.50 | 0.50 (0.50–1.50) | 4.0 | 54,321 | 12.0 MB |
| nginx | 20.0 (20.0–30.0) | 10.0 | 1.00 | 4.0 | 54,321 | 12.0 MB |
| HAProxy | 40.0 | 20.0 | 2.00 (1.33–2.00) | 4.0 | 54,321 | 12.0 MB |
| byte relay (floor) | FAILED: a/b c | | | | | |
";
        assert_eq!(table(&case::CASES[0], &rows), expected);
    }

    #[test]
    fn one_that_is_watched_is_compared_with_one_that_is_not() {
        let rows = [
            row(Proxy::Edgeproxy, &[10.0, 20.0]),
            row(Proxy::Watched, &[11.0, 21.0]),
        ];
        let text = table(&case::CASES[9], &rows);
        assert!(text.contains("| × without |"), "{text}");
        assert!(
            text.contains("| edgeproxy, watched | 16.0 (11.0–21.0) | 8.00 | 1.08 (1.05–1.10) |"),
            "{text}"
        );
    }

    #[test]
    fn without_a_peer_there_is_no_ratio() {
        let text = table(&case::CASES[0], &[row(Proxy::Edgeproxy, &[10.0])]);
        assert!(text.contains("| edgeproxy | 10.0 | 5.00 | – | 4.0 |"), "{text}");
    }

    #[test]
    fn figures_have_three_digits() {
        let figures = [0.324, 9.999, 13.46, 127.4].map(figure);
        assert_eq!(figures, ["0.32", "10.0", "13.5", "127"]);
        assert_eq!([999.4, 1_234_567.0].map(rate), ["999", "1,234,567"]);
    }
}
