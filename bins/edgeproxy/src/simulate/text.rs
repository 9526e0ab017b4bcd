//! A report for people.

use std::fmt::Write as _;
use std::path::Path;

use edgeproxy_registry::EventKind;
use edgeproxy_simulate::{BackendReport, Failure, Fleet, Report, grouped, short};

use crate::table::plain;

/// As many events as are read.
const EVENTS: usize = 30;
/// As many backends.
const BACKENDS: usize = 40;

pub(super) fn of(path: &Path, fleet: &Fleet, reports: &[Report]) -> String {
    let mut text = format!(
        "{}: app {}, {}, {}, {}, seed {}\n\n",
        path.display(),
        fleet.app.name,
        counted(fleet.machines.len(), "backend", "backends"),
        counted(fleet.sites.len(), "proxy", "proxies"),
        humantime::format_duration(fleet.duration),
        fleet.seed
    );
    match reports {
        [report] => one(&mut text, report),
        several => compared(&mut text, several),
    }
    text
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn percent(part: f64, of: f64) -> String {
    if of > 0.0 {
        format!("{:.1} %", 100.0 * part / of)
    } else {
        "–".to_owned()
    }
}

/// With as many decimals as tell bad from none.
fn bad(report: &Report) -> String {
    match report.totals.bad_ppm() {
        0 if report.totals.all_failed() + report.totals.errors == 0 => "none".to_owned(),
        ppm => format!("{:.4} %", ppm as f64 / 10_000.0),
    }
}

fn one(text: &mut String, report: &Report) {
    let totals = &report.totals;
    let latency = |permille| short(report.latency.at_permille(permille));
    let reasons = reasons(report);
    let lines = [
        ("algorithm", report.algorithm.clone()),
        ("requests", grouped(totals.arrivals)),
        (
            "answered",
            format!(
                "{}, {} under way in the end",
                grouped(totals.answered),
                grouped(totals.in_flight)
            ),
        ),
        (
            "bad",
            if reasons.is_empty() {
                "none".to_owned()
            } else {
                format!("{}: {reasons}", bad(report))
            },
        ),
        (
            "attempts",
            format!(
                "{}, of which {} retries; {} retries more than the budget allowed; {} waited for a place",
                grouped(totals.attempts),
                grouped(totals.retries),
                grouped(totals.retries_refused),
                grouped(totals.queued)
            ),
        ),
        (
            "latency",
            format!(
                "mean {}, p50 {}, p90 {}, p99 {}, p99.9 {}",
                short(report.latency.mean()),
                latency(500),
                latency(900),
                latency(990),
                latency(999)
            ),
        ),
        (
            "imbalance",
            format!(
                "the busiest has {:.2} times the mean in flight, {:.2} at worst",
                report.imbalance.mean, report.imbalance.worst
            ),
        ),
        ("ejections", report.ejections().to_string()),
    ];
    for (name, value) in lines {
        // Writing to a text can't fail.
        let _ = writeln!(text, "{name:<10}  {value}");
    }
    backends(text, report);
    regions(text, report);
    tiers(text, report);
    traffic(text, report);
    events(text, report);
}

fn reasons(report: &Report) -> String {
    let failed = Failure::ALL.into_iter().zip(report.totals.failed);
    let named = failed.map(|(failure, count)| (failure.as_str(), count));
    let all = named.chain([("errors of backends", report.totals.errors)]);
    let told: Vec<String> = all
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{} {name}", grouped(count)))
        .collect();
    told.join(", ")
}

fn backends(text: &mut String, report: &Report) {
    let total = report.totals.attempts as f64;
    let row = |backend: &BackendReport| {
        vec![
            backend.id.to_string(),
            backend.region.to_string(),
            backend.weight.to_string(),
            grouped(backend.attempts),
            percent(backend.attempts as f64, total),
            percent(backend.fair, total),
            grouped(backend.failed),
            backend.most_in_flight.to_string(),
            if backend.out.is_zero() {
                String::new()
            } else {
                short(backend.out)
            },
        ]
    };
    let rows: Vec<Vec<String>> = report.backends.iter().take(BACKENDS).map(row).collect();
    let headings = [
        "backend",
        "region",
        "weight",
        "attempts",
        "share",
        "fair share",
        "failed",
        "most in flight",
        "out for",
    ];
    let _ = write!(text, "\n{}", plain(&headings, &rows));
    if let Some(more) = report
        .backends
        .len()
        .checked_sub(BACKENDS)
        .filter(|more| *more > 0)
    {
        let _ = writeln!(text, "and {more} more; --json has all of them");
    }
}

fn regions(text: &mut String, report: &Report) {
    let regions = report.regions();
    if regions.len() < 2 {
        return;
    }
    let total = report.totals.attempts as f64;
    let rows = regions.iter().map(|region| {
        vec![
            region.region.to_string(),
            region.backends.to_string(),
            grouped(region.attempts),
            percent(region.attempts as f64, total),
            percent(region.fair, total),
            grouped(region.failed),
        ]
    });
    let headings = ["region", "backends", "attempts", "share", "fair share", "failed"];
    let _ = write!(text, "\n{}", plain(&headings, &rows.collect::<Vec<_>>()));
}

fn tiers(text: &mut String, report: &Report) {
    if !report.algorithm.starts_with("region_affinity") {
        return;
    }
    const NAMES: [&str; 4] = [
        "0: the client's country",
        "1: its region",
        "2: the proxy's region",
        "3: elsewhere",
    ];
    let rows = NAMES.iter().zip(&report.tiers).map(|(name, tier)| {
        vec![
            (*name).to_owned(),
            grouped(tier.below_soft),
            grouped(tier.above_soft),
        ]
    });
    let headings = ["tier", "below soft limit", "above it"];
    let _ = write!(text, "\n{}", plain(&headings, &rows.collect::<Vec<_>>()));
}

fn traffic(text: &mut String, report: &Report) {
    if report.traffic.len() < 2 {
        return;
    }
    let rows = report.traffic.iter().map(|traffic| {
        vec![
            traffic.name.clone(),
            grouped(traffic.arrivals),
            percent(traffic.bad as f64, (traffic.bad + traffic.answered) as f64),
            short(traffic.latency.at_permille(500)),
            short(traffic.latency.at_permille(990)),
        ]
    });
    let headings = ["clients", "requests", "bad", "p50", "p99"];
    let _ = write!(text, "\n{}", plain(&headings, &rows.collect::<Vec<_>>()));
}

fn events(text: &mut String, report: &Report) {
    let news = report
        .events
        .iter()
        .filter(|event| event.kind != EventKind::Registered || !event.at.is_zero());
    let news: Vec<_> = news.collect();
    if news.is_empty() {
        return;
    }
    let rows = news.iter().take(EVENTS).map(|event| {
        vec![
            format!("{:.1} s", event.at.as_secs_f64()),
            (event.proxy + 1).to_string(),
            event.id.to_string(),
            event.kind.as_str().to_owned(),
            event.reason.clone(),
        ]
    });
    let headings = ["at", "proxy", "backend", "what", "why"];
    let _ = write!(text, "\n{}", plain(&headings, &rows.collect::<Vec<_>>()));
    if let Some(more) = news.len().checked_sub(EVENTS).filter(|more| *more > 0) {
        let _ = writeln!(text, "and {more} more; --json has them");
    }
}

fn compared(text: &mut String, reports: &[Report]) {
    let rows = reports.iter().map(|report| {
        let latency = |permille| short(report.latency.at_permille(permille));
        vec![
            report.algorithm.clone(),
            grouped(report.totals.answered),
            bad(report),
            short(report.latency.mean()),
            latency(500),
            latency(990),
            latency(999),
            grouped(report.totals.retries),
            report.ejections().to_string(),
            format!("{:.2}", report.imbalance.mean),
        ]
    });
    let headings = [
        "algorithm",
        "answered",
        "bad",
        "mean",
        "p50",
        "p99",
        "p99.9",
        "retries",
        "ejections",
        "imbalance",
    ];
    text.push_str(&plain(&headings, &rows.collect::<Vec<_>>()));
    let names: Vec<&str> = reports.iter().map(|report| report.algorithm.as_str()).collect();
    let headings: Vec<&str> = ["backend", "region", "fair share"]
        .into_iter()
        .chain(names)
        .collect();
    let Some(first) = reports.first() else {
        return;
    };
    let rows = first
        .backends
        .iter()
        .enumerate()
        .take(BACKENDS)
        .map(|(place, backend)| {
            let share = |report: &Report| {
                let found = report.backends.get(place).map_or(0, |backend| backend.attempts);
                percent(found as f64, report.totals.attempts as f64)
            };
            let fair = percent(backend.fair, first.totals.attempts as f64);
            let row = [backend.id.to_string(), backend.region.to_string(), fair];
            row.into_iter().chain(reports.iter().map(share)).collect()
        });
    let _ = write!(
        text,
        "\nshare of all attempts\n{}",
        plain(&headings, &rows.collect::<Vec<Vec<String>>>())
    );
}
