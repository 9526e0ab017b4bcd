//! Reports as a picture: what happened over time, one column for each report, everything to the same scale.
//!
//! It has no script, names no other resource, and brings colours for light and dark.

mod canvas;
mod panels;

use std::time::Duration;

use crate::Report;
use canvas::{Anchor, Canvas, Frame};

/// What a picture is called, for those who see it and for those who don't.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caption<'a> {
    /// A line above it.
    pub title: &'a str,
    /// What is to be seen, for whoever can't see it.
    pub description: &'a str,
}

/// Backends that have a panel of their own; of more, each region has one.
const MOST_PANELS: usize = 16;

const MARGIN: f64 = 16.0;
const GUTTER: f64 = 28.0;
/// Where the numbers of an axis stand.
const AXIS: f64 = 44.0;
const SMALL_HEIGHT: f64 = 34.0;

/// Draws reports beside each other. Up to four are legible.
#[must_use]
pub fn svg(reports: &[Report], caption: Caption<'_>) -> String {
    let columns = reports.len().max(1) as f64;
    let column = match reports.len() {
        0 | 1 => 760.0,
        2 => 440.0,
        _ => 350.0,
    };
    let width = 2.0 * MARGIN + columns * (AXIS + column) + (columns - 1.0) * GUTTER;
    let scales = panels::Scales::of(reports);
    let mut canvas = Canvas::new(width);
    canvas.text(MARGIN, 28.0, Anchor::Start, "title", caption.title);
    let mut bottom: f64 = 0.0;
    for (number, report) in reports.iter().enumerate() {
        let left = MARGIN + AXIS + number as f64 * (AXIS + column + GUTTER);
        let mut top = 56.0;
        canvas.text(left, top, Anchor::Start, "head", &report.algorithm);
        top += 18.0;
        for line in summary(report) {
            canvas.text(left, top, Anchor::Start, "muted", &line);
            top += 16.0;
        }
        top += 20.0;
        let mut next = |height: f64| {
            let frame = Frame {
                left,
                top,
                width: column,
                height,
            };
            top += height + 40.0;
            frame
        };
        panels::requests(&mut canvas, next(84.0), report, &scales);
        panels::latency(&mut canvas, next(84.0), report, &scales);
        panels::in_flight(&mut canvas, next(60.0), report, &scales);
        bottom = bottom.max(panels::backends(&mut canvas, left, top, column, report, &scales));
    }
    let key = bottom + 12.0;
    panels::key(&mut canvas, MARGIN + AXIS, key);
    canvas.finish(key + 24.0, caption)
}

fn summary(report: &Report) -> [String; 2] {
    let totals = &report.totals;
    let bad = totals.bad_ppm() as f64 / 10_000.0;
    let over = |permille| short(report.latency.at_permille(permille));
    [
        format!(
            "{} requests · {bad:.2} % bad · {} retries",
            grouped(totals.arrivals),
            grouped(totals.retries)
        ),
        format!(
            "p50 {} · p99 {} · imbalance {:.2}",
            over(500),
            over(990),
            report.imbalance.mean
        ),
    ]
}

/// A time in few characters.
#[must_use]
pub fn short(time: Duration) -> String {
    let micros = time.as_micros();
    match micros {
        0 => "–".to_owned(),
        1..1_000 => format!("{micros} µs"),
        1_000..10_000 => format!("{:.1} ms", micros as f64 / 1e3),
        10_000..1_000_000 => format!("{:.0} ms", micros as f64 / 1e3),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}

/// A number with its thousands apart.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_numbers_are_short() {
        let times =
            [0, 999, 1_500, 42_000, 999_499, 2_340_000].map(|micros| short(Duration::from_micros(micros)));
        assert_eq!(times, ["–", "999 µs", "1.5 ms", "42 ms", "999 ms", "2.3 s"]);
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
    }
}
