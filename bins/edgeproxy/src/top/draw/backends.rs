//! The tables of apps and of backends.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::{Colours, Glyphs, Look, cell, faint, heading, number, put};
use crate::output::{Tone, tone_of_state, width};
use crate::top::figures::{latency, per_sec, whole};
use crate::top::fleet::Backend;
use crate::top::state::{Order, State, View, apps as apps_of, load, soft_mark};

/// One line for each app.
pub(super) fn apps(state: &State, look: Look, area: Rect, buffer: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    let columns = usize::from(area.width);
    let apps = apps_of(state.shown());
    let widest = apps.keys().map(|app| width(app)).fold(3, usize::max);
    // As wide as those of the other table, where there is room.
    let name = widest.min(columns.saturating_sub(45)).max(3);
    let plain = Style::new();
    let line = |cells: [&str; 6], styles: [Style; 6]| {
        let [app, taking, rate, errors, slow, in_flight] = cells;
        let [s0, s1, s2, s3, s4, s5] = styles;
        Line::from(vec![
            cell(app, name, s0, look),
            number(taking, 9, s1, look),
            number(rate, 8, s2, look),
            number(errors, 7, s3, look),
            number(slow, 9, s4, look),
            number(in_flight, 11, s5, look),
        ])
    };
    let titles = ["APP", "BACKENDS", "REQ/S", "ERR/S", "LATENCY", "IN FLIGHT"];
    ruled(line(titles, [heading(); 6]), columns, 0, area, buffer);
    let room = usize::from(area.height).saturating_sub(1);
    let shown = if apps.len() > room {
        room.saturating_sub(1)
    } else {
        room
    };
    for (nth, (app, figures)) in apps.iter().take(shown).enumerate() {
        let taking = format!("{}/{}", figures.taking, figures.backends);
        let is_short = figures.taking < figures.backends;
        let styles = [
            plain,
            if is_short { look.tone(Tone::Warning) } else { plain },
            plain,
            bad_if(figures.errors > 0.0, look),
            plain,
            plain,
        ];
        let cells = [
            *app,
            &taking,
            &per_sec(figures.rate),
            &per_sec(figures.errors),
            &latency(figures.latency()),
            &whole(figures.in_flight),
        ];
        put(&line(cells, styles), nth + 1, area, buffer);
    }
    if apps.len() > shown && room > 0 {
        let more = format!("and {} more", apps.len() - shown);
        put(&cell(&more, columns, faint(), look).into(), room, area, buffer);
    }
}

fn bad_if(is: bool, look: Look) -> Style {
    if is { look.tone(Tone::Bad) } else { Style::new() }
}

/// A heading, on a line from one side to the other.
fn ruled(mut line: Line<'static>, columns: usize, nth: usize, area: Rect, buffer: &mut Buffer) {
    let rest = columns.saturating_sub(line.width());
    line.push_span(Span::styled(" ".repeat(rest), heading()));
    put(&line, nth, area, buffer);
}

/// What a column of backends has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Id,
    App,
    Region,
    State,
    Bar,
    InFlight,
    Rate,
    Errors,
    Latency,
    Weight,
    Why,
}

/// The columns that there is room for, with their widths.
struct Columns(Vec<(What, usize)>);

/// Those that go first where there is no room.
const LEAST: [What; 8] = [
    What::Weight,
    What::Region,
    What::Errors,
    What::Bar,
    What::App,
    What::Latency,
    What::Rate,
    What::InFlight,
];
/// A reason that has less room is nobody's to read.
const READABLE: usize = 20;
const BAR: usize = 8;

impl Columns {
    fn of(rows: &[&Backend], several_apps: bool, columns: usize) -> Self {
        let widest = |of: fn(&Backend) -> usize, least: usize, most: usize| {
            rows.iter().map(|row| of(row)).fold(least, usize::max).min(most)
        };
        let mut wanted = vec![(What::Id, widest(|row| width(&row.view.id), 7, 24))];
        if several_apps {
            wanted.push((What::App, widest(|row| width(&row.view.app), 3, 14)));
        }
        wanted.extend([
            (What::Region, widest(|row| width(&row.view.region), 6, 10)),
            (What::State, 9),
            (What::Bar, BAR),
            (What::InFlight, widest(|row| width(&in_flight(row)), 9, 13)),
            (What::Rate, 6),
            (What::Errors, 5),
            (What::Latency, 8),
            (What::Weight, 6),
        ]);
        let used = |wanted: &[(What, usize)]| wanted.iter().map(|(_, width)| width + 1).sum::<usize>();
        for least in LEAST {
            if used(&wanted) <= columns + 1 {
                break;
            }
            wanted.retain(|(what, _)| *what != least);
        }
        let rest = columns.saturating_sub(used(&wanted));
        if rest >= READABLE {
            wanted.push((What::Why, rest));
        } else if let Some((_, id)) = wanted.first_mut() {
            // What is left shows more of the names.
            let longest = rows.iter().map(|row| width(&row.view.id)).fold(*id, usize::max);
            *id = (*id + rest + 1)
                .min(longest)
                .min(columns.saturating_sub(10).max(4));
        }
        Self(wanted)
    }

    fn has(&self, what: What) -> bool {
        self.0.iter().any(|(other, _)| *other == what)
    }
}

/// One line for each backend that is in sight.
pub(super) fn table(state: &State, look: Look, area: Rect, buffer: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    let width = usize::from(area.width);
    let rows = state.rows();
    let apps = apps_of(state.shown()).len();
    let columns = Columns::of(&rows, apps > 1, width);
    let titles = columns
        .0
        .iter()
        .map(|(what, width)| title(*what, *width, &state.view, look));
    ruled(spaced(titles), width, 0, area, buffer);
    let height = usize::from(area.height).saturating_sub(1);
    if rows.is_empty() {
        let words = if state.view.filter.is_empty() {
            "no backend is registered"
        } else {
            "no backend is like that; x clears the filter"
        };
        put(&cell(words, width, faint(), look).into(), 1, area, buffer);
        return;
    }
    for (nth, backend) in rows.iter().skip(state.view.offset).take(height).enumerate() {
        let line = row(backend, &columns, width, look);
        put(&line, nth + 1, area, buffer);
        if state.view.selected.as_deref() == Some(&backend.view.id)
            && let Ok(nth) = u16::try_from(nth)
        {
            let line = Rect::new(area.x, area.y + 1 + nth, area.width, 1);
            buffer.set_style(line, Style::new().add_modifier(Modifier::REVERSED));
        }
    }
}

fn spaced(cells: impl Iterator<Item = Span<'static>>) -> Line<'static> {
    let mut spans = Vec::new();
    for cell in cells {
        if !spans.is_empty() {
            spans.push(Span::styled(" ", cell.style));
        }
        spans.push(cell);
    }
    Line::from(spans)
}

fn title(what: What, width: usize, view: &View, look: Look) -> Span<'static> {
    let (word, order, is_number) = match what {
        What::Id => ("BACKEND", Some(Order::Name), false),
        What::App => ("APP", None, false),
        What::Region => ("REGION", None, false),
        What::State => ("STATE", Some(Order::Trouble), false),
        What::Bar => ("LOAD", Some(Order::Load), false),
        What::InFlight => ("IN FLIGHT", None, true),
        What::Rate => ("REQ/S", Some(Order::Requests), true),
        What::Errors => ("ERR/S", Some(Order::Errors), true),
        What::Latency => ("LATENCY", Some(Order::Latency), true),
        What::Weight => ("WEIGHT", None, true),
        What::Why => ("WHY", None, false),
    };
    let style = if order == Some(view.order) {
        heading().add_modifier(Modifier::REVERSED)
    } else {
        heading()
    };
    if is_number {
        number(word, width, style, look)
    } else {
        cell(word, width, style, look)
    }
}

fn row(backend: &Backend, columns: &Columns, whole_width: usize, look: Look) -> Line<'static> {
    let Backend { view, now, .. } = backend;
    let tone = look.tone(tone_of_state(&view.state));
    let is_well = view.state == "routable";
    let plain = if view.takes_traffic() {
        Style::new()
    } else {
        faint()
    };
    let mut used = 0;
    let mut cells = Vec::new();
    for (what, width) in &columns.0 {
        let width = *width;
        // Figures of one that isn't well say less than why it isn't.
        if *what == What::Rate && !is_well && !columns.has(What::Why) {
            let style = look.tone(tone_of_state(&view.state));
            let rest = whole_width.saturating_sub(used);
            cells.push(cell(&view.reason, rest, style, look));
            break;
        }
        cells.push(match what {
            What::Id => cell(&view.id, width, plain, look),
            What::App => cell(&view.app, width, plain, look),
            What::Region => cell(&view.region, width, plain, look),
            What::State => cell(&view.state, width, tone, look),
            What::Bar => bar(backend, width, look),
            What::InFlight => number(&in_flight(backend), width, plain, look),
            What::Rate => number(&per_sec(now.0), width, plain, look),
            What::Errors => number(&per_sec(now.1), width, bad_if(now.1 > 0.0, look), look),
            What::Latency => number(&latency(now.2), width, plain, look),
            What::Weight => number(&weight(view.weight), width, plain, look),
            What::Why => cell(&view.reason, width, if is_well { faint() } else { tone }, look),
        });
        used += width + 1;
    }
    spaced(cells.into_iter())
}

/// In flight, and of how many at the most.
fn in_flight(Backend { view, now, .. }: &Backend) -> String {
    match view.hard_limit {
        0 => whole(now.3),
        hard => format!("{}/{}", whole(now.3), whole(hard)),
    }
}

pub(super) fn weight(weight: f64) -> String {
    let text = format!("{weight:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// How full it is, with a mark where the soft limit is.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "it is a length on the screen, of 0 to that width"
)]
pub(super) fn bar(backend: &Backend, width: usize, look: Look) -> Span<'static> {
    let (fill, mark, empty) = match look.glyphs {
        Glyphs::Unicode => ('█', '│', '·'),
        Glyphs::Ascii => ('#', '|', '.'),
    };
    let share = load(backend);
    let soft = soft_mark(backend);
    // One request is to be seen.
    let filled = ((share * width as f64).round() as usize).max(usize::from(backend.now.3 > 0));
    let marked = soft.map(|soft| (soft * width as f64).round() as usize);
    let text: String = (0..width)
        .map(|at| match at {
            at if at < filled => fill,
            at if Some(at) == marked => mark,
            _ => empty,
        })
        .collect();
    let style = match look.colours {
        Colours::None => Style::new(),
        Colours::Some if backend.view.hard_limit > 0 && share >= 1.0 => look.tone(Tone::Bad),
        Colours::Some if soft.is_some_and(|soft| share > soft) => look.tone(Tone::Warning),
        Colours::Some => Style::new().fg(ratatui::style::Color::Cyan),
    };
    Span::styled(text, style)
}
