use std::time::Duration;

use edgeproxy_registry::{EventKind, State};

use super::canvas::{Anchor, Canvas, Frame};
use super::{MOST_PANELS, SMALL_HEIGHT, short};
use crate::{BackendMoment, Report};

/// What the full height of each kind of panel stands for, the same in every report.
pub(super) struct Scales {
    /// Requests each second.
    rate: f64,
    in_flight: f64,
    /// Attempts each second, of a backend or of a region.
    share: f64,
    /// Powers of ten of a second.
    latency: (i32, i32),
}

impl Scales {
    pub(super) fn of(reports: &[Report]) -> Self {
        let moments = || {
            reports
                .iter()
                .flat_map(|report| report.series.iter().map(move |moment| (report, moment)))
        };
        let per_sec = |report: &Report, count: u64| count as f64 / report.resolution.as_secs_f64();
        let rate = moments().map(|(report, moment)| per_sec(report, moment.answered + moment.bad));
        let in_flight = moments().map(|(_, moment)| moment.in_flight_milli as f64 / 1e3);
        let shares = reports.iter().flat_map(rows).flat_map(|row| row.rates);
        let answered = || moments().filter(|(_, moment)| moment.answered > 0);
        let least = answered()
            .map(|(_, moment)| moment.median)
            .min()
            .unwrap_or(Duration::from_millis(1));
        let most = answered()
            .map(|(_, moment)| moment.p99)
            .max()
            .unwrap_or(Duration::from_secs(1));
        let (low, high) = (power(least, f64::floor), power(most, f64::ceil));
        Self {
            rate: round(rate.fold(0.0, f64::max)),
            in_flight: round(in_flight.fold(0.0, f64::max)),
            share: round(shares.fold(0.0, f64::max)),
            latency: (low, high.max(low + 1)),
        }
    }
}

// Between -6 and 9.
#[allow(clippy::cast_possible_truncation)]
fn power(time: Duration, whole: fn(f64) -> f64) -> i32 {
    whole(time.max(Duration::from_micros(1)).as_secs_f64().log10()) as i32
}

/// A round number that isn't less.
fn round(most: f64) -> f64 {
    let tens = 10_f64.powf(most.max(1.0).log10().floor());
    let steps = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    steps
        .into_iter()
        .map(|step| step * tens)
        .find(|round| *round >= most)
        .unwrap_or(10.0 * tens)
}

fn number(number: f64) -> String {
    if number >= 1_000.0 {
        format!("{:.1}k", number / 1e3).replace(".0k", "k")
    } else {
        format!("{number:.1}").trim_end_matches(".0").to_owned()
    }
}

/// What is the same in every large panel: its name, its frame, a scale and the time.
fn panel(canvas: &mut Canvas, frame: Frame, name: &str, most: &str, half: &str, report: &Report) {
    canvas.text(frame.left, frame.top - 6.0, Anchor::Start, "muted", name);
    canvas.box_(frame, "frame");
    canvas.horizontal(frame, 0.5, "grid");
    let right = frame.left - 6.0;
    canvas.text(right, frame.top + 9.0, Anchor::End, "tick", most);
    canvas.text(
        right,
        frame.top + frame.height / 2.0 + 4.0,
        Anchor::End,
        "tick",
        half,
    );
    times(canvas, frame, report);
}

fn times(canvas: &mut Canvas, frame: Frame, report: &Report) {
    let secs = report.duration.as_secs_f64();
    let y = frame.bottom() + 14.0;
    canvas.text(frame.left, y, Anchor::Start, "tick", "0");
    let end = match secs {
        ..=600.0 => format!("{secs:.0} s"),
        ..=36_000.0 => format!("{:.0} min", secs / 60.0),
        _ => format!("{:.0} h", secs / 3_600.0),
    };
    canvas.text(frame.left + frame.width, y, Anchor::End, "tick", &end);
}

pub(super) fn requests(canvas: &mut Canvas, frame: Frame, report: &Report, scales: &Scales) {
    let half = number(scales.rate / 2.0);
    panel(
        canvas,
        frame,
        "answers and errors each second",
        &number(scales.rate),
        &half,
        report,
    );
    let part = |count: u64| count as f64 / report.resolution.as_secs_f64() / scales.rate;
    let good: Vec<f64> = report.series.iter().map(|moment| part(moment.answered)).collect();
    let all: Vec<f64> = report
        .series
        .iter()
        .map(|moment| part(moment.answered + moment.bad))
        .collect();
    canvas.between(frame, &vec![0.0; good.len()], &good, "good");
    canvas.between(frame, &good, &all, "bad");
    let retries: Vec<Option<f64>> = report
        .series
        .iter()
        .map(|moment| (moment.retries > 0).then(|| part(moment.retries)))
        .collect();
    canvas.line(frame, &retries, "warm");
}

pub(super) fn latency(canvas: &mut Canvas, frame: Frame, report: &Report, scales: &Scales) {
    canvas.text(
        frame.left,
        frame.top - 6.0,
        Anchor::Start,
        "muted",
        "time to an answer: p50 and p99, logarithmic",
    );
    canvas.box_(frame, "frame");
    let (low, high) = scales.latency;
    let span = f64::from(high - low);
    for tens in low..=high {
        let part = f64::from(tens - low) / span;
        if tens != low && tens != high {
            canvas.horizontal(frame, part, "grid");
        }
        let y = frame.bottom() - frame.height * part + if tens == low { 0.0 } else { 5.0 };
        let time = short(Duration::from_secs_f64(10_f64.powi(tens))).replace(".0", "");
        canvas.text(frame.left - 6.0, y, Anchor::End, "tick", &time);
    }
    let part =
        |time: Duration| (!time.is_zero()).then(|| (time.as_secs_f64().log10() - f64::from(low)) / span);
    let median: Vec<_> = report.series.iter().map(|moment| part(moment.median)).collect();
    let p99: Vec<_> = report.series.iter().map(|moment| part(moment.p99)).collect();
    canvas.line(frame, &p99, "warm");
    canvas.line(frame, &median, "line");
    times(canvas, frame, report);
}

pub(super) fn in_flight(canvas: &mut Canvas, frame: Frame, report: &Report, scales: &Scales) {
    let half = number(scales.in_flight / 2.0);
    panel(
        canvas,
        frame,
        "requests in flight",
        &number(scales.in_flight),
        &half,
        report,
    );
    let parts = report
        .series
        .iter()
        .map(|moment| moment.in_flight_milli as f64 / 1e3 / scales.in_flight);
    let parts: Vec<f64> = parts.collect();
    canvas.between(frame, &vec![0.0; parts.len()], &parts, "good");
}

/// What one of the small panels shows: a backend, or a region.
struct Row {
    name: String,
    attempts: u64,
    failed: u64,
    fair: f64,
    /// Attempts each second.
    rates: Vec<f64>,
    failures: Vec<f64>,
    /// Whether it is out, in each moment.
    out: Vec<bool>,
    /// When it was ejected, and why.
    ejected: Vec<(Duration, String)>,
}

fn rows(report: &Report) -> Vec<Row> {
    let secs = report.resolution.as_secs_f64();
    let is_out = |moment: &BackendMoment| {
        !matches!(
            moment.state,
            Some(State::Routable | State::Suspect | State::Trial)
        )
    };
    let each: Vec<Row> = report
        .backends
        .iter()
        .map(|backend| Row {
            name: backend.id.to_string(),
            attempts: backend.attempts,
            failed: backend.failed,
            fair: backend.fair,
            rates: backend
                .series
                .iter()
                .map(|moment| f64::from(moment.attempts) / secs)
                .collect(),
            failures: backend
                .series
                .iter()
                .map(|moment| f64::from(moment.failed) / secs)
                .collect(),
            out: backend.series.iter().map(is_out).collect(),
            ejected: report
                .events
                .iter()
                .filter(|event| event.kind == EventKind::Ejected && event.id == backend.id)
                .map(|event| (event.at, event.reason.clone()))
                .collect(),
        })
        .collect();
    if each.len() <= MOST_PANELS {
        return each;
    }
    let mut regions: Vec<(edgeproxy_backend::Region, usize, Row)> = Vec::new();
    for (backend, row) in report.backends.iter().zip(each) {
        match regions.iter_mut().find(|(region, ..)| *region == backend.region) {
            Some((_, count, sum)) => {
                *count += 1;
                sum.add(row);
            }
            None => regions.push((backend.region, 1, row)),
        }
    }
    let named = |(region, count, row)| Row {
        name: format!("{region}: {count} backends"),
        ..row
    };
    regions.into_iter().map(named).collect()
}

impl Row {
    fn add(&mut self, other: Self) {
        self.attempts += other.attempts;
        self.failed += other.failed;
        self.fair += other.fair;
        self.rates
            .iter_mut()
            .zip(&other.rates)
            .for_each(|(sum, rate)| *sum += rate);
        self.failures
            .iter_mut()
            .zip(&other.failures)
            .for_each(|(sum, rate)| *sum += rate);
        self.out
            .iter_mut()
            .zip(&other.out)
            .for_each(|(all, out)| *all &= out);
        self.ejected.extend(other.ejected);
    }
}

/// The small panels, in two columns, and where they end.
pub(super) fn backends(
    canvas: &mut Canvas,
    left: f64,
    mut top: f64,
    width: f64,
    report: &Report,
    scales: &Scales,
) -> f64 {
    let name = format!(
        "attempts each second, by backend; full height {}",
        number(scales.share)
    );
    canvas.text(left, top - 6.0, Anchor::Start, "muted", &name);
    top += 18.0;
    let rows = rows(report);
    let total: u64 = rows.iter().map(|row| row.attempts).sum();
    let percent = |count: f64| 100.0 * count / total.max(1) as f64;
    let columns = if width > 600.0 && rows.len() > 3 { 2 } else { 1 };
    let gap = 24.0;
    let each = (width - gap * f64::from(columns - 1)) / f64::from(columns);
    let below = rows.len().div_ceil(columns as usize);
    let mut bottom = top;
    for (number, row) in rows.iter().enumerate() {
        let frame = Frame {
            left: left + (number / below.max(1)) as f64 * (each + gap),
            top: top + (number % below.max(1)) as f64 * (SMALL_HEIGHT + 24.0),
            width: each,
            height: SMALL_HEIGHT,
        };
        canvas.text(frame.left, frame.top - 5.0, Anchor::Start, "text", &row.name);
        let failed = if row.failed > 0 {
            format!(" · {} failed", super::grouped(row.failed))
        } else {
            String::new()
        };
        let share = format!(
            "{:.1} % (fair {:.1} %){failed}",
            percent(row.attempts as f64),
            percent(row.fair)
        );
        canvas.text(frame.left + each, frame.top - 5.0, Anchor::End, "muted", &share);
        small(canvas, frame, row, report, scales);
        bottom = bottom.max(frame.bottom() + 24.0);
    }
    bottom
}

fn small(canvas: &mut Canvas, frame: Frame, row: &Row, report: &Report, scales: &Scales) {
    let of = row.out.len();
    let mut from = None;
    for (at, out) in row.out.iter().copied().chain([false]).enumerate() {
        match (from, out) {
            (None, true) => from = Some(at),
            (Some(begin), false) => {
                canvas.span(frame, (begin, at), of, "out");
                from = None;
            }
            _ => {}
        }
    }
    canvas.box_(frame, "frame");
    let parts = |rates: &[f64]| rates.iter().map(|rate| rate / scales.share).collect::<Vec<f64>>();
    let nothing = vec![0.0; of];
    canvas.between(frame, &nothing, &parts(&row.rates), "good");
    canvas.between(frame, &nothing, &parts(&row.failures), "bad");
    for (at, reason) in &row.ejected {
        let part = at.as_secs_f64() / report.duration.as_secs_f64();
        canvas.vertical(
            frame,
            part,
            "mark",
            &format!("ejected after {}: {reason}", short(*at)),
        );
    }
}

/// What the colours mean.
pub(super) fn key(canvas: &mut Canvas, mut left: f64, top: f64) {
    let swatch = |left: f64| Frame {
        left,
        top: top - 9.0,
        width: 14.0,
        height: 10.0,
    };
    for (class, text, width) in [
        ("good", "answers, attempts", 128.0),
        ("bad", "errors", 64.0),
        ("out", "out of rotation", 112.0),
    ] {
        canvas.box_(swatch(left), class);
        canvas.text(left + 20.0, top, Anchor::Start, "muted", text);
        left += width + 20.0;
    }
    for (class, text, width) in [
        ("line", "p50", 32.0),
        ("warm", "p99, retries", 90.0),
        ("mark", "ejected", 60.0),
    ] {
        canvas.horizontal(swatch(left), 0.5, class);
        canvas.text(left + 20.0, top, Anchor::Start, "muted", text);
        left += width + 20.0;
    }
}
