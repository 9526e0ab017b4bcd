//! What keys do.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::top::draw::detail_height;

use super::{Act, Change, ChangeKind, Mode, State};

/// What each key is for, as the help shows it.
pub(crate) const HELP: [(&str, &str); 14] = [
    ("↑ ↓ j k", "select a backend; here: see more"),
    ("PgUp PgDn", "a page up or down; also Home, End, g, G"),
    ("Enter", "everything of the selected one, or back"),
    (
        "/",
        "filter by any word of id, app, region, state, address, metadata",
    ),
    ("s S", "sort by the next figure, by the one before"),
    ("r", "reverse the order"),
    ("p Space", "pause what is shown, or go on"),
    ("d", "drain: no new requests go to it; asks first"),
    ("e", "enable: take an operator's word back; asks first"),
    ("x", "clear the filter"),
    ("?", "this help"),
    ("Esc", "back; with nothing to go back from, quit"),
    ("q Ctrl-C", "quit"),
    ("LOAD", "in flight, of the hard limit; the mark is the soft one"),
];

/// Longer than what anybody looks for.
const LONGEST_FILTER: usize = 100;

impl State {
    pub(super) fn key(&mut self, key: KeyEvent) -> Option<Act> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        if is_control && matches!(key.code, KeyCode::Char('c' | 'C')) {
            return Some(Act::Quit);
        }
        match std::mem::replace(&mut self.mode, Mode::Browse) {
            Mode::Browse => self.browse(key.code, is_control),
            Mode::Help { from } => {
                let from = match key.code {
                    KeyCode::Char('q') => return Some(Act::Quit),
                    KeyCode::Down | KeyCode::Char('j') => from + 1,
                    KeyCode::Up | KeyCode::Char('k') => from.saturating_sub(1),
                    // Any other key goes back, and does nothing else.
                    _ => return None,
                };
                let from = from.min(HELP.len().saturating_sub(1));
                self.mode = Mode::Help { from };
                None
            }
            Mode::Filter { before } => {
                self.filter(key.code, is_control, before);
                None
            }
            Mode::Confirm(change) => match key.code {
                KeyCode::Char('y' | 'Y') => Some(Act::Change(change)),
                KeyCode::Char('n' | 'N' | 'q') | KeyCode::Esc | KeyCode::Enter => None,
                // A key that was meant for something else answers nothing.
                _ => {
                    self.mode = Mode::Confirm(change);
                    None
                }
            },
        }
    }

    fn browse(&mut self, code: KeyCode, is_control: bool) -> Option<Act> {
        let page = isize::try_from(self.areas().rows().max(2) - 1).unwrap_or(1);
        match code {
            // The detail hides the table.
            KeyCode::Down | KeyCode::Char('j') if self.areas().rows() == 0 => self.scroll(1),
            KeyCode::Up | KeyCode::Char('k') if self.areas().rows() == 0 => self.scroll(-1),
            KeyCode::Char('q') => return Some(Act::Quit),
            KeyCode::Esc if self.view.detail => self.view.detail = false,
            KeyCode::Esc if !self.view.filter.is_empty() => self.view.filter.clear(),
            KeyCode::Esc if self.is_paused() => self.held = None,
            KeyCode::Esc => return Some(Act::Quit),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::PageDown => self.step(page),
            KeyCode::PageUp => self.step(-page),
            KeyCode::Char('f') if is_control => self.step(page),
            KeyCode::Char('b') if is_control => self.step(-page),
            KeyCode::Home | KeyCode::Char('g') => self.step(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.step(isize::MAX),
            KeyCode::Enter => {
                self.view.detail = !self.view.detail && self.view.selected.is_some();
                self.view.detail_from = 0;
            }
            KeyCode::Char('/') => {
                let before = self.view.filter.clone();
                self.mode = Mode::Filter { before };
            }
            KeyCode::Char('x') => self.view.filter.clear(),
            KeyCode::Char('s') => self.view.order = self.view.order.next(),
            KeyCode::Char('S') => self.view.order = self.view.order.previous(),
            KeyCode::Char('r') => self.view.is_reversed = !self.view.is_reversed,
            KeyCode::Char('p' | ' ') => {
                self.held = match self.held.take() {
                    Some(_) => None,
                    None => Some(Box::new(self.fleet.clone())),
                };
            }
            KeyCode::Char('d') => self.ask(ChangeKind::Drain),
            KeyCode::Char('e') => self.ask(ChangeKind::Enable),
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.mode = Mode::Help { from: 0 },
            _ => {}
        }
        None
    }

    fn step(&mut self, by: isize) {
        let rows: Vec<String> = self.rows().iter().map(|row| row.view.id.clone()).collect();
        self.view.step(&rows, by);
    }

    fn scroll(&mut self, by: isize) {
        let below = self.areas().below;
        let Some(backend) = self.selected().filter(|_| self.view.detail) else {
            return;
        };
        let room = usize::from(below.height.saturating_sub(1));
        let most = detail_height(backend, below.width).saturating_sub(room);
        self.view.detail_from = self.view.detail_from.saturating_add_signed(by).min(most);
    }

    fn filter(&mut self, code: KeyCode, is_control: bool, before: String) {
        match code {
            KeyCode::Enter => return,
            KeyCode::Esc => {
                self.view.filter = before;
                return;
            }
            KeyCode::Backspace => {
                self.view.filter.pop();
            }
            KeyCode::Char('u') if is_control => self.view.filter.clear(),
            KeyCode::Char(c) if !is_control && self.view.filter.chars().count() < LONGEST_FILTER => {
                self.view.filter.push(c);
            }
            KeyCode::Down => self.step(1),
            KeyCode::Up => self.step(-1),
            _ => {}
        }
        self.mode = Mode::Filter { before };
    }

    /// Asks whether that is meant, or says why it can't be.
    fn ask(&mut self, kind: ChangeKind) {
        let Some(backend) = self.selected() else { return };
        let id = backend.view.id.clone();
        let until = self.now + super::TOLD_FOR;
        let refused = if !self.may_operate() {
            let role = match self.hello.role.as_str() {
                "" => "none that is known yet",
                role => role,
            };
            Some(format!(
                "that takes the role operate, and yours is {role}: name another token by --token-file"
            ))
        } else if kind == ChangeKind::Enable && !backend.view.is_switched_off() {
            Some(format!("no operator has drained {id}: {}", backend.view.reason))
        } else if kind == ChangeKind::Drain && backend.view.is_switched_off() {
            Some(format!("{id} is drained; e enables it"))
        } else {
            None
        };
        if let Some(why) = refused {
            self.told = Some((Err(why), until));
            return;
        }
        self.mode = Mode::Confirm(Change {
            id,
            incarnation: backend.view.incarnation,
            kind,
        });
    }
}
