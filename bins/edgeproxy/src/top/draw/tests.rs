use std::path::Path;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::KeyCode;
use serde_json::json;

use super::*;
use crate::top::fixture::{event, fleet, hear, listed, press, write};
use crate::top::state::Message;

const PLAIN: Look = Look {
    colours: Colours::None,
    glyphs: Glyphs::Unicode,
};

fn drawn(state: &State, look: Look, (columns, lines): (u16, u16)) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
    terminal.draw(|frame| draw(state, look, frame)).unwrap();
    terminal.backend().buffer().clone()
}

/// The screen as text, without what is empty at the ends of its lines.
fn text(state: &State, look: Look, size: (u16, u16)) -> String {
    let buffer = drawn(state, look, size);
    let mut text = String::new();
    for y in 0..size.1 {
        let mut line = String::new();
        let mut x = 0;
        while x < size.0 {
            let symbol = buffer[(x, y)].symbol();
            line.push_str(symbol);
            // What takes two columns hides the second one.
            x += u16::try_from(width(symbol)).unwrap().max(1);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The screen has to be that of `tests/top/NAME.txt`; `UPDATE_EXPECTED=1` writes it.
fn assert_screen(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/top/{name}.txt"));
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == found,
        "not as in {}; UPDATE_EXPECTED=1 writes it anew:\n{found}",
        path.display()
    );
}

#[test]
fn a_usual_terminal_shows_server_totals_apps_backends_events_and_keys() {
    let (state, _) = fleet((80, 24));
    assert_screen("80x24", &text(&state, PLAIN, (80, 24)));
}

#[test]
fn a_small_one_shows_the_backends_with_their_states() {
    let (state, _) = fleet((40, 10));
    assert_screen("40x10", &text(&state, PLAIN, (40, 10)));
}

#[test]
fn a_wide_one_has_everything_and_the_reason_beside_it() {
    let (state, _) = fleet((160, 40));
    assert_screen("160x40", &text(&state, PLAIN, (160, 40)));
}

#[test]
fn one_in_detail_has_its_own_events() {
    let (mut state, _) = fleet((80, 24));
    press(&mut state, KeyCode::Enter);
    assert_screen("detail", &text(&state, PLAIN, (80, 24)));
    let (mut state, _) = fleet((40, 10));
    press(&mut state, KeyCode::Enter);
    assert_screen("detail-small", &text(&state, PLAIN, (40, 10)));
}

#[test]
fn help_filter_question_and_outcome_are_on_the_screen() {
    let (mut state, now) = fleet((80, 24));
    press(&mut state, KeyCode::Char('?'));
    assert_screen("help", &text(&state, PLAIN, (80, 24)));
    press(&mut state, KeyCode::Esc);
    press(&mut state, KeyCode::Char('/'));
    write(&mut state, "us");
    let last = |state: &State| text(state, PLAIN, (80, 24)).lines().last().unwrap().to_owned();
    assert_eq!(last(&state), "/us");
    press(&mut state, KeyCode::Enter);
    assert!(last(&state).contains("/us (1)"), "{}", last(&state));
    press(&mut state, KeyCode::Char('x'));
    press(&mut state, KeyCode::Char('g'));
    press(&mut state, KeyCode::Char('d'));
    assert_eq!(
        last(&state),
        "drain eu-2? no new request goes to it until it is enabled  y yes  n no"
    );
    press(&mut state, KeyCode::Char('n'));
    hear(&mut state, Message::Changed(Err("not done: 409".to_owned())), now);
    assert_eq!(last(&state), "not done: 409");
}

#[test]
fn a_lost_connection_says_since_when_and_when_it_is_tried_again() {
    let (mut state, now) = fleet((80, 24));
    let lost = Message::Lost {
        since: "09:14:00".to_owned(),
        why: "http://127.0.0.1:8081 can't be asked".to_owned(),
        pause: Duration::from_millis(2_400),
    };
    hear(&mut state, lost, now);
    let shown = text(&state, PLAIN, (80, 24));
    assert!(
        shown
            .lines()
            .next()
            .unwrap()
            .ends_with("no connection since 09:14:00 UTC, retrying in 3 s"),
        "{shown}"
    );
    assert!(
        shown.ends_with("http://127.0.0.1:8081 can't be asked\n"),
        "{shown}"
    );
    // What was last known is still there.
    assert!(shown.contains("search-1"), "{shown}");
}

#[test]
fn a_store_that_can_not_be_written_to_is_an_alarm() {
    let (mut state, now) = fleet((80, 24));
    let stats = json!({"server": {"store": "file", "phase": "ready", "degraded": "no space is left"}});
    hear(
        &mut state,
        Message::Stats(serde_json::from_value(stats).unwrap()),
        now,
    );
    let shown = text(&state, PLAIN, (80, 24));
    let alarm = shown.lines().nth(2).unwrap();
    assert_eq!(alarm, "the store (file) can't be written to: no space is left");
}

#[test]
fn wide_characters_and_what_would_move_the_cursor_stay_in_their_columns() {
    let (mut state, now) = fleet((80, 24));
    let mut strange = vec![
        listed("\u{1b}[2Jx", "shop", "eu", "routable", "takes traffic"),
        listed(
            "日本語日本語日本語日本語",
            "shop",
            "eu",
            "ejected",
            "壊れている\u{202e}\n\r",
        ),
        listed("👩‍👩‍👧‍👦é", "shop", "eu", "routable", "takes traffic"),
    ];
    strange.extend((0..40).map(|n| listed(&format!("b-{n}"), "shop", "eu", "routable", "")));
    hear(&mut state, Message::Listed(strange), now);
    for columns in [80, 40, 33, 20, 7, 1] {
        hear(&mut state, Message::Resized(columns, 24), now);
        let buffer = drawn(&state, PLAIN, (columns, 24));
        for cell in buffer.content() {
            assert!(
                !cell.symbol().chars().any(char::is_control),
                "{:?}",
                cell.symbol()
            );
        }
    }
    hear(&mut state, Message::Resized(80, 24), now);
    let shown = text(&state, PLAIN, (80, 24));
    let row = |part: &str| shown.lines().find(|line| line.contains(part)).unwrap().to_owned();
    let place = |line: &str, part: &str| width(line.split_once(part).unwrap().0);
    assert_eq!(
        place(&row("日本"), "ejected"),
        place(&row("b-0"), "routable"),
        "{shown}"
    );
}

#[test]
fn every_size_from_nothing_up_is_drawn() {
    for columns in [0, 1, 7, 24, 40, 80, 200] {
        for lines in (0..16).chain([24, 50]) {
            let (mut state, _) = fleet((columns, lines));
            let _ = drawn(&state, PLAIN, (columns, lines));
            for key in ["\n", "?", "d"] {
                match key {
                    "\n" => drop(press(&mut state, KeyCode::Enter)),
                    key => write(&mut state, key),
                }
                let _ = drawn(&state, PLAIN, (columns, lines));
                press(&mut state, KeyCode::Esc);
            }
        }
    }
}

#[test]
fn a_terminal_of_another_size_than_was_told_is_drawn_as_well() {
    let (state, _) = fleet((80, 24));
    for size in [(40, 10), (1, 1), (200, 50)] {
        let _ = drawn(&state, PLAIN, size);
    }
}

#[test]
fn with_no_color_there_is_none_and_without_unicode_all_is_ascii() {
    let (state, _) = fleet((80, 24));
    let buffer = drawn(&state, PLAIN, (80, 24));
    for cell in buffer.content() {
        assert_eq!((cell.fg, cell.bg), (Color::Reset, Color::Reset));
    }
    let coloured = drawn(
        &state,
        Look {
            colours: Colours::Some,
            ..PLAIN
        },
        (80, 24),
    );
    assert!(coloured.content().iter().any(|cell| cell.fg == Color::Red));
    let ascii = Look {
        glyphs: Glyphs::Ascii,
        ..PLAIN
    };
    let (mut state, now) = fleet((160, 40));
    hear(
        &mut state,
        Message::Event(event("09:14:00", "trial", "eu-2", Some("trial"), "…é")),
        now,
    );
    let shown = text(&state, ascii, (160, 40));
    assert!(shown.is_ascii(), "{shown}");
}

#[test]
fn a_thousand_backends_are_drawn_from_the_one_that_is_in_sight() {
    let (mut state, now) = fleet((80, 24));
    let thousand = (0..1_000).map(|n| listed(&format!("b-{n}"), "shop", "eu", "routable", ""));
    hear(&mut state, Message::Listed(thousand.collect()), now);
    press(&mut state, KeyCode::End);
    let shown = text(&state, PLAIN, (80, 24));
    assert!(shown.contains("\nb-999 ") && !shown.contains("\nb-0 "), "{shown}");
}
