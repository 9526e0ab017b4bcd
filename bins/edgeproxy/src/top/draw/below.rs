//! What stands below the tables: events, or everything of one backend.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use serde_json::{Map, Value};

use super::backends::{bar, weight};
use super::{Colours, Glyphs, Look, cell, faint, heading, put};
use crate::events::tone;
use crate::output::{tone_of_state, width};
use crate::table::wrapped;
use crate::top::figures::{clock, lasting, latency, per_sec, whole};
use crate::top::fleet::Backend;
use crate::top::state::State;
use crate::top::wire::Event;

/// The latest ones, the newest last.
pub(super) fn events(state: &State, look: Look, area: Rect, buffer: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    title("EVENTS (UTC)", area, look, buffer);
    latest(&state.shown().events().collect::<Vec<_>>(), 1, area, look, buffer);
}

/// As many of the latest as there is room for, from that line on.
fn latest(events: &[&Event], from: usize, area: Rect, look: Look, buffer: &mut Buffer) {
    let room = usize::from(area.height).saturating_sub(from);
    if events.is_empty() {
        put(
            &cell("nothing has happened yet", area.width.into(), faint(), look).into(),
            from,
            area,
            buffer,
        );
        return;
    }
    let skipped = events.len().saturating_sub(room);
    let shown = events.get(skipped..).unwrap_or_default();
    let name = shown
        .iter()
        .map(|event| width(&event.backend))
        .fold(0, usize::max)
        .min(20);
    for (nth, event) in shown.iter().enumerate() {
        let used = 8 + 1 + 10 + 1 + name + 1;
        let rest = usize::from(area.width).saturating_sub(used);
        let line = Line::from(vec![
            cell(clock(&event.time), 8, faint(), look),
            Span::raw(" "),
            cell(&event.r#type, 10, look.tone(tone(&event.r#type)), look),
            Span::raw(" "),
            cell(&event.backend, name, Style::new(), look),
            Span::raw(" "),
            cell(&event.reason, rest, faint(), look),
        ]);
        put(&line, from + nth, area, buffer);
    }
}

fn title(text: &str, area: Rect, look: Look, buffer: &mut Buffer) {
    put(
        &cell(text, area.width.into(), heading(), look).into(),
        0,
        area,
        buffer,
    );
}

/// Everything of it, in pairs, and its own events below. Where there is no room for all of it, from a line on.
pub(super) fn detail(state: &State, backend: &Backend, look: Look, area: Rect, buffer: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    title(
        &format!("{} (Esc goes back)", backend.view.id),
        area,
        look,
        buffer,
    );
    let lines = detail_lines(backend, usize::from(area.width), look);
    let room = usize::from(area.height) - 1;
    let from = state.view.detail_from.min(lines.len().saturating_sub(room));
    for (nth, line) in lines.iter().skip(from).enumerate() {
        put(line, nth + 1, area, buffer);
    }
    let under = lines.len() + 1;
    let events = state.shown().events();
    let own: Vec<&Event> = events.filter(|event| event.backend == backend.view.id).collect();
    if under < usize::from(area.height) && !own.is_empty() {
        latest(&own, under, area, look, buffer);
    }
}

/// How many lines there are of one.
pub(crate) fn detail_height(backend: &Backend, columns: u16) -> usize {
    let look = Look {
        colours: Colours::None,
        glyphs: Glyphs::Unicode,
    };
    detail_lines(backend, columns.into(), look).len()
}

fn detail_lines(backend: &Backend, columns: usize, look: Look) -> Vec<Line<'static>> {
    let tone = look.tone(tone_of_state(&backend.view.state));
    let why = wrapped(
        &format!("{}: {}", backend.view.state, backend.view.reason),
        columns.max(1),
    );
    let mut lines: Vec<Line<'static>> = why
        .iter()
        .map(|part| cell(part, columns, tone, look).into())
        .collect();
    let bar_width = 20.min(columns / 3);
    lines.push(Line::from(vec![
        cell("in flight", KEY, faint(), look),
        bar(backend, bar_width, look),
        Span::raw(" "),
        cell(
            &limits(backend),
            columns.saturating_sub(KEY + bar_width + 1),
            Style::new(),
            look,
        ),
    ]));
    lines.extend(in_pairs(&pairs(backend), columns, look));
    lines
}

/// Columns of what a pair is called.
const KEY: usize = 12;
/// Columns of a pair, where there are two beside each other.
const PAIR: usize = 40;

/// Two beside each other where there is room.
fn in_pairs(pairs: &[(&'static str, String)], columns: usize, look: Look) -> Vec<Line<'static>> {
    let shown: Vec<&(&str, String)> = pairs.iter().filter(|(_, value)| !value.is_empty()).collect();
    let beside = (columns / PAIR).clamp(1, 3);
    let mut lines: Vec<Line<'static>> = Vec::new();
    let mut waiting: Vec<Span<'static>> = Vec::new();
    let each = columns / beside;
    for (key, value) in shown {
        let is_long = width(value) + KEY >= each;
        if is_long && !waiting.is_empty() {
            lines.push(Line::from(std::mem::take(&mut waiting)));
        }
        let room = if is_long { columns } else { each };
        waiting.push(cell(key, KEY, faint(), look));
        waiting.push(cell(value, room.saturating_sub(KEY), Style::new(), look));
        if is_long || waiting.len() >= 2 * beside {
            lines.push(Line::from(std::mem::take(&mut waiting)));
        }
    }
    if !waiting.is_empty() {
        lines.push(Line::from(waiting));
    }
    lines
}

fn limits(Backend { view, now, .. }: &Backend) -> String {
    let limit = |limit: u64| {
        if limit == 0 {
            "none".to_owned()
        } else {
            whole(limit)
        }
    };
    format!(
        "{}, soft {}, hard {}",
        whole(now.3),
        limit(view.soft_limit),
        limit(view.hard_limit)
    )
}

fn pairs(Backend { view, now, .. }: &Backend) -> Vec<(&'static str, String)> {
    let since = lasting(std::time::Duration::from_secs(view.registered_secs));
    let lease = view.ttl_secs.map_or_else(
        || "none: it stands in the file".to_owned(),
        |ttl| format!("{ttl} s"),
    );
    let fallback = if view.fallback { ", fallback" } else { "" };
    vec![
        ("app", view.app.clone()),
        ("address", format!("{} {}", view.address(), view.protocol)),
        (
            "region",
            format!("{} {}", view.region, view.country).trim_end().to_owned(),
        ),
        ("weight", format!("{}{fallback}", weight(view.weight))),
        (
            "requests",
            format!("{}/s, {} in all", per_sec(now.0), whole(view.requests_total)),
        ),
        (
            "failures",
            format!("{}/s, {} in all", per_sec(now.1), whole(view.failures_total)),
        ),
        ("latency", latency(now.2)),
        ("lease", lease),
        ("registered", format!("{since} ago, {}", view.source)),
        ("incarnation", view.incarnation.to_string()),
        ("operator", listed(&view.overrides)),
        ("reports", listed(&view.reported)),
        ("metadata", listed(&view.metadata)),
    ]
}

fn listed(members: &Map<String, Value>) -> String {
    let told = members.iter().map(|(key, value)| {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), ToOwned::to_owned);
        format!("{key} {value}")
    });
    told.collect::<Vec<_>>().join(", ")
}
