//! The last line: keys, a question, what is typed, or what came of a change; and the help.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Widget as _};

use super::{Glyphs, Look, cell, heading, joined, put};
use crate::output::{Tone, width};
use crate::top::state::{self, ChangeKind, HELP, Mode, State};

/// The last line.
pub(super) fn keys(state: &State, look: Look, area: Rect, buffer: &mut Buffer) {
    let columns = usize::from(area.width);
    let reversed = Style::new().add_modifier(Modifier::REVERSED);
    let line = match (&state.mode, state.told(), &state.line) {
        (Mode::Confirm(change), ..) => {
            let id = &change.id;
            let question = match change.kind {
                ChangeKind::Drain => format!("drain {id}? no new request goes to it until it is enabled"),
                ChangeKind::Enable => format!("enable {id}?"),
            };
            let answer = "  y yes  n no ";
            let room = columns.saturating_sub(width(answer));
            let question = cell(&question, width(&question).min(room), reversed, look);
            Line::from(vec![question, Span::styled(answer, reversed)])
        }
        (Mode::Filter { .. }, ..) => Line::from(vec![
            Span::raw("/"),
            cell(
                &tail(&state.view.filter, columns.saturating_sub(2)),
                columns,
                Style::new(),
                look,
            ),
        ]),
        (_, Some(Ok(told)), _) => cell(told, columns, look.tone(Tone::Good), look).into(),
        (_, Some(Err(told)), _) => cell(told, columns, look.tone(Tone::Bad), look).into(),
        (_, None, state::Line::Lost { why, .. }) => cell(why, columns, look.tone(Tone::Bad), look).into(),
        (_, None, state::Line::Live) => Line::from(joined(hints(state), "  ", columns, look)),
    };
    put(&line, 0, area, buffer);
}

/// What of a text fits, with its end.
fn tail(text: &str, columns: usize) -> String {
    let mut begin = 0;
    while width(text.get(begin..).unwrap_or_default()) > columns {
        begin += text
            .get(begin..)
            .and_then(|rest| rest.chars().next())
            .map_or(1, char::len_utf8);
    }
    text.get(begin..).unwrap_or_default().to_owned()
}

/// Where somebody types.
pub(super) fn cursor(state: &State) -> Option<u16> {
    match state.mode {
        Mode::Filter { .. } => u16::try_from(1 + width(&state.view.filter)).ok(),
        _ => None,
    }
}

fn hints(state: &State) -> Vec<(String, Style)> {
    let view = &state.view;
    let plain = Style::new();
    let mut hints = vec![("q quit".to_owned(), plain), ("? help".to_owned(), plain)];
    if view.filter.is_empty() {
        hints.push(("/ filter".to_owned(), plain));
    } else {
        let bold = plain.add_modifier(Modifier::BOLD);
        hints.push((format!("/{} ({})", view.filter, state.rows().len()), bold));
    }
    let reversed = if view.is_reversed { ", reversed" } else { "" };
    hints.push((format!("s sort: {}{reversed}", view.order.name()), plain));
    hints.push((
        if state.is_paused() { "p go on" } else { "p pause" }.to_owned(),
        plain,
    ));
    hints.push(("Enter detail".to_owned(), plain));
    if state.may_operate() {
        hints.push(("d drain".to_owned(), plain));
        hints.push(("e enable".to_owned(), plain));
    }
    hints
}

/// What each key is for, from that line on, over everything else.
pub(super) fn help(from: usize, look: Look, area: Rect, buffer: &mut Buffer) {
    let columns = usize::from(area.width);
    Clear.render(area, buffer);
    put(
        &cell("HELP (Esc goes back)", columns, heading(), look).into(),
        0,
        area,
        buffer,
    );
    let key = HELP.iter().map(|(keys, _)| width(keys)).fold(0, usize::max) + 2;
    for (nth, (keys, words)) in HELP.iter().skip(from).enumerate() {
        let keys = match look.glyphs {
            Glyphs::Unicode => (*keys).to_owned(),
            Glyphs::Ascii => keys.replace('↑', "Up").replace('↓', "Down"),
        };
        let line = Line::from(vec![
            cell(&keys, key, Style::new().add_modifier(Modifier::BOLD), look),
            cell(words, columns.saturating_sub(key), Style::new(), look),
        ]);
        put(&line, nth + 1, area, buffer);
    }
}
