//! What is known of the backends: the listing, kept up to date by events, and the figures of the latest second. Sans IO:
//! what has to be asked for is in [`Fleet::due`] until somebody does.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::top::wire::{Event, Figures, Listed, Server, Stats, Totals};

/// Events that are kept.
const KEPT: usize = 500;
/// More changed ones than this at once are read as a listing.
const SINGLY: usize = 64;
/// Changes are gathered for so long before they are looked up.
const GATHER: Duration = Duration::from_millis(120);
/// A listing is read no more often than this.
const LISTING_PAUSE: Duration = Duration::from_millis(1_500);
/// What couldn't be looked up is looked up again after so long.
const AGAIN: Duration = Duration::from_secs(3);

/// Figures of backends that are not known yet: as many as the server tells of.
const EARLY: usize = 5_000;

/// Those events after which more than the state may be otherwise.
const LOOKED_UP: [&str; 9] = [
    "registered",
    "renewed",
    "changed",
    "readmitted",
    "draining",
    "suspected",
    "trial",
    "unhealthy",
    "ejected",
];

/// Everything that is shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fleet {
    backends: BTreeMap<String, Backend>,
    /// The oldest first.
    events: VecDeque<Event>,
    pub(crate) totals: Totals,
    pub(crate) server: Server,
    pub(crate) partial: bool,
    /// By id the incarnation of those that went: an answer that is under way may be of before. Emptied by a listing.
    gone: HashMap<String, u64>,
    /// The latest figures of those that are still to be looked up: they are told again only once they change.
    early: HashMap<String, Figures>,
    pending: BTreeSet<String>,
    /// Whether all of them are.
    all_pending: bool,
    /// When those that are pending are to be looked up.
    look_up: Option<Instant>,
    listed: Option<Instant>,
    asking: bool,
}

/// One of them.
#[derive(Debug, Clone)]
pub(crate) struct Backend {
    pub(crate) view: Listed,
    pub(crate) now: Figures,
    /// The id, with numbers that are compared as such.
    pub(crate) key: String,
    /// Whether figures under its id are another's by now, who is still to be looked up.
    is_succeeded: bool,
}

/// What has to be asked of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    /// All of them.
    Listing,
    /// These.
    Backends(Vec<String>),
}

impl Fleet {
    pub(crate) fn backends(&self) -> impl Iterator<Item = &Backend> {
        self.backends.values()
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Backend> {
        self.backends.get(id)
    }

    /// The oldest first.
    pub(crate) fn events(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.events.iter()
    }

    /// Takes a listing in.
    pub(crate) fn list(&mut self, listed: Vec<Listed>, now: Instant) {
        let mut before = std::mem::take(&mut self.backends);
        for view in listed {
            let known = before.remove(&view.id);
            self.put(view, known);
        }
        // What was asked before it is taken in before it.
        self.gone.clear();
        self.listed = Some(now);
        self.asking = false;
    }

    /// Takes in what is known of those that were asked for.
    pub(crate) fn looked_up(&mut self, found: Vec<Listed>) {
        self.asking = false;
        for view in found {
            let known = self.backends.remove(&view.id);
            self.put(view, known);
        }
        if self.pending.is_empty() {
            self.gone.clear();
        }
    }

    /// Has everything asked for anew.
    pub(crate) fn relist(&mut self, now: Instant) {
        // Who goes while events are missed takes none of its figures along.
        self.early.clear();
        self.all_pending = true;
        self.look_up = Some(now);
    }

    /// What was asked for couldn't be had: it is asked for again.
    pub(crate) fn not_looked_up(&mut self, asked: Ask, now: Instant) {
        self.asking = false;
        match asked {
            Ask::Backends(ids) => self.pending.extend(ids),
            Ask::Listing => self.all_pending = true,
        }
        self.look_up = Some(now + AGAIN);
    }

    fn put(&mut self, view: Listed, known: Option<Backend>) {
        if self
            .gone
            .get(&view.id)
            .is_some_and(|gone| view.incarnation <= *gone)
        {
            return;
        }
        let known = match known {
            Some(known) if known.view.incarnation > view.incarnation => known,
            Some(known) if known.view.incarnation == view.incarnation => Backend { view, ..known },
            _ => Backend {
                now: self.early.remove(&view.id).unwrap_or(Figures(
                    0.0,
                    0.0,
                    view.latency_ms,
                    view.in_flight,
                )),
                key: natural(&view.id),
                is_succeeded: false,
                view,
            },
        };
        self.backends.insert(known.view.id.clone(), known);
    }

    /// Takes in what had happened before.
    pub(crate) fn begin(&mut self, events: Vec<Event>) {
        self.events = events.into();
        self.trim();
    }

    fn trim(&mut self) {
        let over = self.events.len().saturating_sub(KEPT);
        self.events.drain(..over);
    }

    /// Takes an event in.
    pub(crate) fn note(&mut self, event: Event, now: Instant) {
        let known = self.backends.get_mut(&event.backend);
        // What is told of an incarnation that has been taken over from is not about the one that is here.
        let is_news = known
            .as_ref()
            .is_none_or(|known| event.incarnation >= known.view.incarnation);
        if is_news && !event.backend.is_empty() {
            match &event.state {
                None => {
                    self.backends.remove(&event.backend);
                    self.early.remove(&event.backend);
                    if self.asking {
                        self.gone.insert(event.backend.clone(), event.incarnation);
                    }
                }
                Some(state) => {
                    match known {
                        Some(known) if known.view.incarnation == event.incarnation => {
                            known.view.state.clone_from(state);
                            known.view.reason.clone_from(&event.reason);
                        }
                        Some(known) => known.is_succeeded = true,
                        None => {}
                    }
                    if LOOKED_UP.contains(&event.r#type.as_str()) {
                        self.pending.insert(event.backend.clone());
                        self.look_up.get_or_insert(now + GATHER);
                    }
                }
            }
        }
        self.events.push_back(event);
        self.trim();
    }

    /// Takes the figures of a second in.
    pub(crate) fn count(&mut self, stats: Stats) {
        // Who goes as its figures are told leaves some behind. What came with the latest ones may be told of just now.
        if self.pending.is_empty() && !self.all_pending && !self.asking {
            self.early.clear();
        }
        for (id, figures) in stats.backends {
            match self.backends.get_mut(&id).filter(|known| !known.is_succeeded) {
                Some(known) => known.now = figures,
                None if self.early.len() < EARLY || self.early.contains_key(&id) => {
                    self.early.insert(id, figures);
                }
                None => {}
            }
        }
        self.totals = stats.totals;
        self.server = stats.server;
        self.partial = stats.partial;
    }

    /// When there will be something to ask for.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let due = self.look_up.filter(|_| !self.asking)?;
        // A listing waits for its pause.
        let may_list = self.listed.map(|listed| listed + LISTING_PAUSE);
        Some(
            match may_list.filter(|_| self.pending.len() > SINGLY && !self.all_pending) {
                Some(may_list) => due.max(may_list),
                None => due,
            },
        )
    }

    /// What has to be asked for now, if anything. The answer goes to [`list`](Self::list), [`looked_up`](Self::looked_up) or
    /// [`not_looked_up`](Self::not_looked_up).
    pub(crate) fn due(&mut self, now: Instant) -> Option<Ask> {
        self.deadline().filter(|due| *due <= now)?;
        self.look_up = None;
        self.asking = true;
        let pending = std::mem::take(&mut self.pending);
        Some(
            if std::mem::take(&mut self.all_pending) || pending.len() > SINGLY {
                Ask::Listing
            } else {
                Ask::Backends(pending.into_iter().collect())
            },
        )
    }
}

/// A name of which numbers are compared as such.
fn natural(id: &str) -> String {
    /// More digits than a number has.
    const DIGITS: usize = 20;
    let mut key = String::with_capacity(id.len() + DIGITS);
    let mut digits = String::new();
    for c in id.chars().map(Some).chain([None]) {
        match c {
            Some(c) if c.is_ascii_digit() => digits.push(c),
            _ => {
                if !digits.is_empty() {
                    key.push_str(&format!("{digits:0>DIGITS$}"));
                    digits.clear();
                }
                key.extend(c);
            }
        }
    }
    key
}

#[cfg(test)]
mod tests;
