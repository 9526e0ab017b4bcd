//! The screen of a state.

mod backends;
mod below;
mod header;
mod over;

pub(crate) use self::below::detail_height;
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use crate::output::{Tone, fitted, width};
use crate::top::state::{Mode, State};

/// What the terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) colours: Colours,
    pub(crate) glyphs: Glyphs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colours {
    Some,
    /// Bold, dim and reversed alone.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Glyphs {
    Unicode,
    Ascii,
}

/// Draws it.
pub(crate) fn draw(state: &State, look: Look, frame: &mut Frame<'_>) {
    let areas = state.areas();
    let whole = frame.area();
    let buffer = frame.buffer_mut();
    header::server(state, look, areas.server.intersection(whole), buffer);
    header::totals(state, look, areas.totals.intersection(whole), buffer);
    header::alarm(state, look, areas.alarm.intersection(whole), buffer);
    backends::apps(state, look, areas.apps.intersection(whole), buffer);
    backends::table(state, look, areas.backends.intersection(whole), buffer);
    let below = areas.below.intersection(whole);
    match state.selected().filter(|_| state.view.detail) {
        Some(backend) => below::detail(state, backend, look, below, buffer),
        None => below::events(state, look, below, buffer),
    }
    over::keys(state, look, areas.keys.intersection(whole), buffer);
    if let Mode::Help { from } = state.mode {
        over::help(from, look, whole, buffer);
    }
    if let Some(column) = over::cursor(state) {
        let keys = areas.keys.intersection(whole);
        if keys.height > 0 {
            frame.set_cursor_position((column.min(keys.width.saturating_sub(1)), keys.y));
        }
    }
}

impl Look {
    fn tone(self, tone: Tone) -> Style {
        match (self.colours, tone) {
            (Colours::Some, Tone::Good) => Style::new().fg(Color::Green),
            (Colours::Some, Tone::Warning) => Style::new().fg(Color::Yellow),
            (Colours::Some, Tone::Bad) => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
            (Colours::None, Tone::Good | Tone::Warning) => Style::new(),
            (Colours::None, Tone::Bad) => Style::new().add_modifier(Modifier::BOLD),
            (_, Tone::Off) => faint(),
        }
    }

    /// Text that is in Unicode as it is, and in ASCII with what is closest.
    fn text(self, text: &str) -> String {
        match self.glyphs {
            Glyphs::Unicode => text.to_owned(),
            Glyphs::Ascii => text
                .chars()
                .map(|c| match c {
                    '–' => '-',
                    '…' => '~',
                    'µ' => 'u',
                    '·' => '|',
                    c if c.is_ascii() => c,
                    _ => '?',
                })
                .collect(),
        }
    }
}

fn faint() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

/// The heading of a table: bold, on a line.
fn heading() -> Style {
    Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED)
}

/// Puts a line somewhere, cut where the part ends.
fn put(line: &Line<'_>, nth: usize, area: Rect, buffer: &mut Buffer) {
    let Ok(nth) = u16::try_from(nth) else { return };
    if nth < area.height {
        buffer.set_line(area.x, area.y + nth, line, area.width);
    }
}

/// A text of just so many columns.
fn cell(text: &str, columns: usize, style: Style, look: Look) -> Span<'static> {
    Span::styled(look.text(&fitted(text, columns)), style)
}

/// The same at the right.
fn number(text: &str, columns: usize, style: Style, look: Look) -> Span<'static> {
    let has = width(text);
    let text = format!(
        "{}{}",
        " ".repeat(columns.saturating_sub(has)),
        fitted(text, has.min(columns))
    );
    Span::styled(look.text(&text), style)
}

/// Those parts that there is room for, the first ones first.
fn joined(parts: Vec<(String, Style)>, between: &str, columns: usize, look: Look) -> Vec<Span<'static>> {
    let mut spans = Vec::new();
    let mut used = 0;
    for (text, style) in parts {
        let gap = if spans.is_empty() { 0 } else { width(between) };
        if used + gap + width(&text) > columns {
            // The first one is cut, and of the others none that comes after one without room is shown.
            if spans.is_empty() {
                spans.push(cell(&text, columns, style, look));
            }
            break;
        }
        if gap > 0 {
            spans.push(Span::raw(between.to_owned()));
        }
        used += gap + width(&text);
        spans.push(Span::styled(look.text(&crate::output::shown(&text)), style));
    }
    spans
}

#[cfg(test)]
mod tests;
