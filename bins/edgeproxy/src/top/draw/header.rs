//! The server itself, and the totals.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::{Look, cell, faint, joined, put};
use crate::output::{Tone, width};
use crate::top::figures::{lasting, latency, per_sec, whole};
use crate::top::state::{self, State};

/// Its name, version, age and store at the left, and at the right whether it can be reached.
pub(super) fn server(state: &State, look: Look, area: Rect, buffer: &mut Buffer) {
    let columns = usize::from(area.width);
    let (line, tone) = line(state);
    let line = cell(&line, width(&line).min(columns), tone_of(look, tone), look);
    let room = columns.saturating_sub(line.width() + 2);
    let server = &state.shown().server;
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut parts = vec![(
        format!("edgeproxy {}", state.hello.version).trim_end().to_owned(),
        bold,
    )];
    if !server.store.is_empty() {
        parts.push((
            format!("up {}", lasting(Duration::from_secs(server.uptime_secs))),
            Style::new(),
        ));
        parts.push((format!("store {}", server.store), Style::new()));
    }
    parts.push((state.api.clone(), faint()));
    let mut spans = if room < 9 {
        Vec::new()
    } else {
        joined(parts, "  ", room, look)
    };
    let used: usize = spans.iter().map(Span::width).sum();
    spans.push(Span::raw(" ".repeat(columns.saturating_sub(used + line.width()))));
    spans.push(line);
    put(&Line::from(spans), 0, area, buffer);
}

fn tone_of(look: Look, tone: Tone) -> Style {
    look.tone(tone).add_modifier(Modifier::BOLD)
}

fn line(state: &State) -> (String, Tone) {
    match &state.line {
        state::Line::Lost { since, again, .. } => {
            let left = again.saturating_duration_since(state.now);
            let words = if left.is_zero() {
                "trying again".to_owned()
            } else {
                let secs = left.as_secs() + u64::from(left.subsec_nanos() > 0);
                format!("retrying in {secs} s")
            };
            (format!("no connection since {since} UTC, {words}"), Tone::Bad)
        }
        state::Line::Live if state.is_paused() => ("paused".to_owned(), Tone::Warning),
        state::Line::Live => ("live".to_owned(), Tone::Good),
    }
}

/// Requests, failures, latency, requests in flight, and how many backends take traffic.
pub(super) fn totals(state: &State, look: Look, area: Rect, buffer: &mut Buffer) {
    let fleet = state.shown();
    let totals = &fleet.totals;
    let all = fleet.backends().count();
    let taking = fleet
        .backends()
        .filter(|backend| backend.view.takes_traffic())
        .count();
    let plain = Style::new();
    let bad_if = |is: bool| if is { look.tone(Tone::Bad) } else { plain };
    let mut parts = vec![
        (format!("{} req/s", per_sec(totals.requests_per_sec)), plain),
        (
            format!("{} err/s", per_sec(totals.failures_per_sec)),
            bad_if(totals.failures_per_sec > 0.0),
        ),
        (
            format!("{taking}/{all} take traffic"),
            if taking < all {
                look.tone(Tone::Warning)
            } else {
                plain
            },
        ),
    ];
    match (totals.p50_ms, totals.p99_ms) {
        (Some(p50), Some(p99)) => {
            parts.push((format!("{} median", latency(Some(p50))), plain));
            parts.push((format!("{} 99 %", latency(Some(p99))), plain));
        }
        _ => parts.push((format!("{} mean", latency(totals.latency_ms)), plain)),
    }
    parts.push((format!("{} in flight", whole(totals.in_flight)), plain));
    put(
        &Line::from(joined(parts, "  ", area.width.into(), look)),
        0,
        area,
        buffer,
    );
}

/// What is wrong with the server.
pub(super) fn alarm(state: &State, look: Look, area: Rect, buffer: &mut Buffer) {
    if let Some(alarm) = state.alarm() {
        let style = tone_of(look, Tone::Bad);
        put(
            &cell(&alarm, area.width.into(), style, look).into(),
            0,
            area,
            buffer,
        );
    }
}
