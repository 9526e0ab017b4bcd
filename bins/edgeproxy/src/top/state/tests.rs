use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::json;

use super::*;
use crate::top::fixture::{event, fleet, hear, listed, press, stats, write};

const SIZE: (u16, u16) = (80, 24);

fn ids(state: &State) -> Vec<&str> {
    state.rows().iter().map(|row| row.view.id.as_str()).collect()
}

fn selected(state: &State) -> &str {
    state.view.selected.as_deref().unwrap_or_default()
}

#[test]
fn rows_are_sorted_by_trouble_name_requests_errors_latency_or_load() {
    let (mut state, _) = fleet(SIZE);
    assert_eq!(ids(&state), ["eu-2", "us-1", "eu-1", "eu-10", "search-1"]);
    for expected in [
        ["eu-1", "eu-2", "eu-10", "search-1", "us-1"],
        ["eu-1", "eu-10", "search-1", "eu-2", "us-1"],
        ["eu-2", "eu-1", "eu-10", "search-1", "us-1"],
        ["eu-2", "eu-1", "eu-10", "search-1", "us-1"],
        ["search-1", "eu-10", "eu-1", "us-1", "eu-2"],
    ] {
        press(&mut state, KeyCode::Char('s'));
        assert_eq!(ids(&state), expected, "{:?}", state.view.order);
    }
    press(&mut state, KeyCode::Char('r'));
    assert_eq!(ids(&state), ["eu-2", "us-1", "eu-1", "eu-10", "search-1"]);
    press(&mut state, KeyCode::Char('s'));
    press(&mut state, KeyCode::Char('S'));
    assert_eq!(state.view.order, Order::Load);
}

#[test]
fn the_filter_is_typed_kept_by_enter_and_taken_back_by_escape() {
    let (mut state, _) = fleet(SIZE);
    press(&mut state, KeyCode::Char('/'));
    write(&mut state, "shop US");
    // What is typed is no command.
    assert_eq!(
        (ids(&state), state.mode.clone()),
        (
            vec!["us-1"],
            Mode::Filter {
                before: String::new()
            }
        )
    );
    press(&mut state, KeyCode::Enter);
    assert_eq!((ids(&state), &state.mode), (vec!["us-1"], &Mode::Browse));
    press(&mut state, KeyCode::Char('/'));
    write(&mut state, "q");
    assert_eq!(ids(&state), [""; 0]);
    press(&mut state, KeyCode::Esc);
    assert_eq!(ids(&state), ["us-1"]);
    press(&mut state, KeyCode::Char('x'));
    assert_eq!(ids(&state).len(), 5);
}

#[test]
fn the_selection_stays_with_its_backend_and_moves_to_a_neighbour_when_that_goes() {
    let (mut state, now) = fleet(SIZE);
    press(&mut state, KeyCode::Down);
    press(&mut state, KeyCode::Down);
    assert_eq!(selected(&state), "eu-1");
    press(&mut state, KeyCode::Char('s'));
    assert_eq!(selected(&state), "eu-1");
    press(&mut state, KeyCode::Char('S'));
    hear(
        &mut state,
        Message::Event(event("09:14:00", "removed", "eu-1", None, "gone")),
        now,
    );
    assert_eq!(selected(&state), "eu-10");
    press(&mut state, KeyCode::Char('G'));
    assert_eq!(selected(&state), "search-1");
    hear(
        &mut state,
        Message::Event(event("09:14:01", "removed", "search-1", None, "gone")),
        now,
    );
    assert_eq!(selected(&state), "eu-10");
    hear(&mut state, Message::Listed(Vec::new()), now);
    assert_eq!((state.view.selected.as_deref(), ids(&state).len()), (None, 0));
    for key in [
        KeyCode::Enter,
        KeyCode::Down,
        KeyCode::Char('d'),
        KeyCode::PageDown,
    ] {
        assert!(press(&mut state, key).is_empty());
    }
}

#[test]
fn of_a_thousand_the_selected_one_is_always_in_sight() {
    let (mut state, now) = fleet(SIZE);
    let thousand = (0..1_000).map(|n| listed(&format!("b-{n}"), "shop", "eu", "routable", ""));
    hear(&mut state, Message::Listed(thousand.collect()), now);
    press(&mut state, KeyCode::Char('g'));
    let rows = usize::from(state.areas().rows());
    let check = |state: &State| {
        let at = ids(state).iter().position(|id| *id == selected(state)).unwrap();
        let rows = usize::from(state.areas().rows());
        assert!(
            (state.view.offset..state.view.offset + rows).contains(&at),
            "{at} {:?}",
            state.view
        );
        at
    };
    assert_eq!(check(&state), 0);
    press(&mut state, KeyCode::PageDown);
    assert_eq!(check(&state), rows - 1);
    press(&mut state, KeyCode::PageDown);
    assert_eq!(check(&state), 2 * (rows - 1));
    press(&mut state, KeyCode::End);
    assert_eq!((check(&state), state.view.offset), (999, 1_000 - rows));
    // However small the terminal gets, and with a detail below.
    for lines in (0..24).rev() {
        hear(&mut state, Message::Resized(40, lines), now);
        if state.areas().rows() > 0 {
            check(&state);
        }
    }
    hear(&mut state, Message::Resized(80, 24), now);
    press(&mut state, KeyCode::Enter);
    assert_eq!(check(&state), 999);
}

#[test]
fn paused_the_screen_stands_still_and_then_has_everything() {
    let (mut state, now) = fleet(SIZE);
    press(&mut state, KeyCode::Char('p'));
    hear(
        &mut state,
        Message::Event(event("09:14:00", "removed", "eu-1", None, "gone")),
        now,
    );
    assert!(state.is_paused() && ids(&state).contains(&"eu-1"));
    press(&mut state, KeyCode::Char('p'));
    assert!(!state.is_paused() && !ids(&state).contains(&"eu-1"));
}

#[test]
fn drain_and_enable_are_asked_before_they_are_done() {
    let (mut state, now) = fleet(SIZE);
    press(&mut state, KeyCode::Char('d'));
    assert!(matches!(&state.mode, Mode::Confirm(change) if change.id == "eu-2"));
    // A slip of a key is no answer, and no is one.
    assert!(press(&mut state, KeyCode::Char('d')).is_empty());
    assert!(matches!(state.mode, Mode::Confirm(_)));
    assert!(press(&mut state, KeyCode::Char('n')).is_empty());
    assert_eq!(state.mode, Mode::Browse);
    press(&mut state, KeyCode::Char('d'));
    let change = Change {
        id: "eu-2".to_owned(),
        incarnation: 1,
        kind: ChangeKind::Drain,
    };
    assert_eq!(press(&mut state, KeyCode::Char('y')), [Act::Change(change)]);
    hear(
        &mut state,
        Message::Changed(Ok("eu-2 gets no new requests".to_owned())),
        now,
    );
    assert_eq!(state.told(), Some(&Ok("eu-2 gets no new requests".to_owned())));
    // For a while.
    let until = state.deadline().unwrap();
    assert_eq!(until, now + TOLD_FOR);
    hear(&mut state, Message::Time, until);
    assert_eq!(state.told(), None);
    // What nobody has drained isn't there to be enabled, and the other way round.
    press(&mut state, KeyCode::Char('e'));
    assert!(matches!(state.told(), Some(Err(why)) if why.starts_with("no operator has drained eu-2")));
    press(&mut state, KeyCode::Down);
    press(&mut state, KeyCode::Char('d'));
    assert!(matches!(state.told(), Some(Err(why)) if why.contains("e enables it")));
    press(&mut state, KeyCode::Char('e'));
    assert!(matches!(&state.mode, Mode::Confirm(change) if change.kind == ChangeKind::Enable));
}

#[test]
fn without_the_role_operate_nothing_is_asked_and_the_reason_is_told() {
    let (mut state, now) = fleet(SIZE);
    let hello = serde_json::from_value(json!({"version": "0.1.0", "role": "read"})).unwrap();
    hear(&mut state, Message::Hello(hello), now);
    assert!(press(&mut state, KeyCode::Char('d')).is_empty());
    assert_eq!(state.mode, Mode::Browse);
    assert!(
        matches!(state.told(), Some(Err(why)) if why.contains("yours is read") && why.contains("--token-file"))
    );
}

#[test]
fn a_lost_connection_is_told_with_its_seconds_until_there_is_another() {
    let (mut state, now) = fleet(SIZE);
    assert_eq!(state.deadline(), None);
    let lost = Message::Lost {
        since: "09:14:00".to_owned(),
        why: "no connection".to_owned(),
        pause: Duration::from_millis(2_500),
    };
    hear(&mut state, lost, now);
    // When the second that is shown changes.
    let mut times = Vec::new();
    while let Some(next) = state.deadline() {
        times.push((next - now).as_millis());
        hear(&mut state, Message::Time, next);
    }
    assert_eq!(times, [500, 1_500, 2_500]);
    hear(&mut state, Message::Begun, now);
    assert_eq!(state.line, Line::Live);
}

#[test]
fn what_was_missed_is_read_as_a_listing() {
    let (mut state, now) = fleet(SIZE);
    let reset =
        serde_json::from_value(json!({"type": "reset", "time": "2026-11-27T09:15:00.000Z", "reason": "r"}));
    let acts = hear(&mut state, Message::Event(reset.unwrap()), now);
    assert_eq!(acts, [Act::Ask(Ask::Listing)]);
    // One that can't be had is asked for again, once there is a connection.
    hear(&mut state, Message::NotLookedUp(Ask::Listing), now);
    let due = state.deadline().unwrap();
    assert_eq!(hear(&mut state, Message::Time, due), [Act::Ask(Ask::Listing)]);
    hear(
        &mut state,
        Message::Listed(vec![listed("new", "shop", "eu", "routable", "")]),
        due,
    );
    assert_eq!(ids(&state), ["new"]);
}

#[test]
fn q_ctrl_c_and_an_escape_that_goes_back_from_nothing_quit() {
    let (mut state, now) = fleet(SIZE);
    press(&mut state, KeyCode::Enter);
    assert!(state.view.detail);
    assert!(press(&mut state, KeyCode::Esc).is_empty());
    assert!(!state.view.detail);
    press(&mut state, KeyCode::Char('?'));
    assert!(press(&mut state, KeyCode::Esc).is_empty());
    assert_eq!(state.mode, Mode::Browse);
    assert_eq!(press(&mut state, KeyCode::Esc), [Act::Quit]);
    assert_eq!(press(&mut state, KeyCode::Char('q')), [Act::Quit]);
    // Also in the middle of something.
    press(&mut state, KeyCode::Char('/'));
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(hear(&mut state, Message::Key(control_c), now), [Act::Quit]);
}

#[test]
fn figures_change_no_selection() {
    let (mut state, now) = fleet(SIZE);
    press(&mut state, KeyCode::Down);
    let before = selected(&state).to_owned();
    hear(&mut state, stats(), now);
    assert_eq!(selected(&state), before);
}

#[test]
fn a_detail_without_room_is_scrolled() {
    let (mut state, now) = fleet((40, 10));
    press(&mut state, KeyCode::Enter);
    assert_eq!(state.areas().rows(), 0);
    let before = selected(&state).to_owned();
    press(&mut state, KeyCode::Down);
    assert_eq!((state.view.detail_from, selected(&state)), (1, before.as_str()));
    for _ in 0..100 {
        press(&mut state, KeyCode::Down);
    }
    let most = state.view.detail_from;
    press(&mut state, KeyCode::Up);
    assert_eq!(state.view.detail_from, most - 1);
    // With room, other backends are gone to.
    hear(&mut state, Message::Resized(80, 24), now);
    press(&mut state, KeyCode::Down);
    assert_ne!(selected(&state), before);
}

#[test]
fn messages_that_come_together_are_sorted_once_and_a_key_is_about_what_is_there() {
    let (mut state, now) = fleet(SIZE);
    press(&mut state, KeyCode::Down);
    press(&mut state, KeyCode::Down);
    for gone in ["eu-1", "eu-10"] {
        let event = event("09:14:00", "removed", gone, None, "gone");
        state.handle(Message::Event(event), now);
        assert_eq!(selected(&state), "eu-1");
    }
    press(&mut state, KeyCode::Char('d'));
    assert!(matches!(&state.mode, Mode::Confirm(change) if change.id == "search-1"));
}

#[test]
fn of_those_that_were_asked_for_only_what_was_missed_is_asked_for_again() {
    let (mut state, now) = fleet(SIZE);
    let message = Message::LookedUp {
        found: vec![listed("new", "shop", "eu", "routable", "")],
        missed: vec!["other".to_owned()],
    };
    assert_eq!(hear(&mut state, message, now), []);
    assert!(ids(&state).contains(&"new"));
    let due = state.deadline().unwrap();
    assert!(due > now);
    let again = Ask::Backends(vec!["other".to_owned()]);
    assert_eq!(hear(&mut state, Message::Time, due), [Act::Ask(again)]);
}
