//! What the screen shows, as a function of what was heard and pressed. Sans IO: [`State::handle`] takes a message and the
//! time and tells what is to be done; [`State::deadline`] says when it wants [`Message::Time`].

mod keys;
mod view;

use std::time::{Duration, Instant};

pub(crate) use self::keys::HELP;
pub(crate) use self::view::{Order, View, apps, load, soft_mark};
use crate::top::fleet::{Ask, Backend, Fleet};
use crate::top::layout::{Areas, Below};
use crate::top::wire::{Event, Hello, Listed, Stats};

/// Everything.
#[derive(Debug)]
pub(crate) struct State {
    /// The API's address, as it was named.
    pub(crate) api: String,
    fleet: Fleet,
    /// What stands on the screen while it is paused.
    held: Option<Box<Fleet>>,
    pub(crate) hello: Hello,
    pub(crate) line: Line,
    pub(crate) view: View,
    pub(crate) mode: Mode,
    /// What came of the latest change, and until when that is shown.
    told: Option<(Outcome, Instant)>,
    size: (u16, u16),
    /// Whether rows may have gone or moved since the selection was looked after.
    is_unsettled: bool,
    pub(crate) now: Instant,
}

/// Whether the server can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    Live,
    Lost {
        /// The time of day, in UTC.
        since: String,
        again: Instant,
        why: String,
    },
}

/// What keys mean, and what lies over the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    Browse,
    /// The filter is typed; what it was before comes back by Escape.
    Filter {
        before: String,
    },
    /// From that line on.
    Help {
        from: usize,
    },
    /// A question.
    Confirm(Change),
}

/// What an operator wants of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) id: String,
    /// The one that was looked at: a successor is not meant.
    pub(crate) incarnation: u64,
    pub(crate) kind: ChangeKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    /// No new requests, until it is enabled again.
    Drain,
    /// An operator's word is taken back.
    Enable,
}

/// Of a change: in words.
pub(crate) type Outcome = Result<String, String>;

/// What the state is a function of.
#[derive(Debug)]
pub(crate) enum Message {
    Key(ratatui::crossterm::event::KeyEvent),
    /// Columns and lines of the terminal.
    Resized(u16, u16),
    /// A connection is there.
    Begun,
    Hello(Hello),
    Stats(Stats),
    Event(Event),
    Lost {
        /// The time of day, in UTC.
        since: String,
        why: String,
        pause: Duration,
    },
    Listed(Vec<Listed>),
    LookedUp {
        found: Vec<Listed>,
        /// Those that the API has said nothing about.
        missed: Vec<String>,
    },
    NotLookedUp(Ask),
    Changed(Outcome),
    /// The time that was waited for has come.
    Time,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    Ask(Ask),
    Change(Change),
    Quit,
}

/// How long it is shown what came of a change.
const TOLD_FOR: Duration = Duration::from_secs(8);

impl State {
    /// Begins with what was read before, on a terminal of that size.
    pub(crate) fn new(
        api: String,
        listed: Vec<Listed>,
        events: Vec<Event>,
        size: (u16, u16),
        now: Instant,
    ) -> Self {
        let mut fleet = Fleet::default();
        fleet.list(listed, now);
        fleet.begin(events);
        let mut state = Self {
            api,
            fleet,
            held: None,
            hello: Hello::default(),
            line: Line::Live,
            view: View::default(),
            mode: Mode::Browse,
            told: None,
            size,
            is_unsettled: true,
            now,
        };
        state.settle();
        state
    }

    /// Takes a message in. Every call may have changed what is to be drawn; before it is, [`settle`](Self::settle) is called.
    pub(crate) fn handle(&mut self, message: Message, now: Instant) -> Vec<Act> {
        self.now = now;
        let mut acts = Vec::new();
        match message {
            Message::Key(key) => {
                // A key is about what is there now.
                self.settle();
                acts.extend(self.key(key));
            }
            Message::Resized(columns, lines) => self.size = (columns, lines),
            Message::Begun => self.line = Line::Live,
            Message::Hello(hello) => self.hello = hello,
            Message::Stats(stats) => self.fleet.count(stats),
            Message::Event(event) => {
                let is_reset = event.r#type == "reset";
                self.fleet.note(event, now);
                if is_reset {
                    // What was missed is in the listing.
                    self.fleet.relist(now);
                }
            }
            Message::Lost { since, why, pause } => {
                let again = now + pause;
                self.line = Line::Lost { since, again, why };
            }
            Message::Listed(listed) => self.fleet.list(listed, now),
            Message::LookedUp { found, missed } => {
                self.fleet.looked_up(found);
                if !missed.is_empty() {
                    self.fleet.not_looked_up(Ask::Backends(missed), now);
                }
            }
            Message::NotLookedUp(asked) => self.fleet.not_looked_up(asked, now),
            Message::Changed(outcome) => self.told = Some((outcome, now + TOLD_FOR)),
            Message::Time => {}
        }
        if self.told.as_ref().is_some_and(|(_, until)| *until <= now) {
            self.told = None;
        }
        acts.extend(self.fleet.due(now).map(Act::Ask));
        self.is_unsettled = true;
        acts
    }

    /// When something has to be done or shown anew, if nothing else happens before.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let counted_down = match &self.line {
            // The seconds that are left.
            Line::Lost { again, .. } if *again > self.now => {
                let left = *again - self.now;
                let part = Duration::from_nanos(left.subsec_nanos().into());
                Some(
                    self.now
                        + if part.is_zero() {
                            Duration::from_secs(1)
                        } else {
                            part
                        },
                )
            }
            _ => None,
        };
        let forgotten = self.told.as_ref().map(|(_, until)| *until);
        [self.fleet.deadline(), counted_down, forgotten]
            .into_iter()
            .flatten()
            .min()
    }

    /// What stands on the screen.
    pub(crate) fn shown(&self) -> &Fleet {
        self.held.as_deref().unwrap_or(&self.fleet)
    }

    /// Those that are asked for, in their order.
    pub(crate) fn rows(&self) -> Vec<&Backend> {
        self.view.rows(self.shown())
    }

    /// The one that is selected.
    pub(crate) fn selected(&self) -> Option<&Backend> {
        self.shown().get(self.view.selected.as_deref()?)
    }

    pub(crate) const fn is_paused(&self) -> bool {
        self.held.is_some()
    }

    /// What came of the latest change.
    pub(crate) fn told(&self) -> Option<&Outcome> {
        self.told.as_ref().map(|(outcome, _)| outcome)
    }

    /// Where what stands.
    pub(crate) fn areas(&self) -> Areas {
        let below = if self.view.detail && self.selected().is_some() {
            Below::Detail
        } else {
            Below::Events
        };
        let apps = apps(self.shown()).len();
        Areas::of(self.size, apps, self.alarm().is_some(), below)
    }

    /// What is wrong with the server, in a sentence.
    pub(crate) fn alarm(&self) -> Option<String> {
        let fleet = self.shown();
        let store = &fleet.server.store;
        if !fleet.server.degraded.is_null() {
            let why = fleet.server.degraded.as_str();
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            return Some(format!("the store ({store}) can't be written to{why}"));
        }
        if fleet.server.phase == "draining" {
            return Some("the server is draining: nothing new is taken".to_owned());
        }
        fleet
            .partial
            .then(|| "there are more backends than have figures here".to_owned())
    }

    /// Whether the caller may drain and enable.
    pub(crate) fn may_operate(&self) -> bool {
        self.hello.role == "operate"
    }

    /// Keeps the selection on something that is there, and in sight. It sorts all rows: once for all the messages that have
    /// come together.
    pub(crate) fn settle(&mut self) {
        if !std::mem::take(&mut self.is_unsettled) {
            return;
        }
        let ids: Vec<String> = self.rows().iter().map(|row| row.view.id.clone()).collect();
        let height = usize::from(self.areas().rows());
        self.view.settle(&ids, height);
    }
}

#[cfg(test)]
mod tests;
