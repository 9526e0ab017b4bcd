use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use edgeproxy_registry::Write;
use tokio::time::Instant;

use super::book::Book;
use super::{MEMBER_TTL, PATIENCE};
use crate::{Finding, Loaded, ProxyName, Update};

/// Everybody's connection to the book.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) book: Book,
    pub(super) latency: Duration,
    of: BTreeMap<ProxyName, Line>,
    /// Nobody reaches it.
    is_away: bool,
}

/// One proxy's.
#[derive(Debug, Default)]
struct Line {
    /// Of the process that has the name now; 0: none runs.
    start: u64,
    is_cut: bool,
    /// Since when it has not been heard of: it is cut off, or has ended.
    silent_since: Option<Instant>,
    /// How far it has been told.
    position: u64,
    must_resync: bool,
    /// Whether it has been told that the store is lost.
    is_lost: bool,
    /// Begun while the store was away: the first that it is told is that.
    is_new_and_lost: bool,
    lost_answers: u32,
    queue: VecDeque<Update>,
}

const fn is_override(write: &Write) -> bool {
    matches!(write, Write::Overridden(_))
}

const LOST: &str = "hub: the store has not been heard of";

impl Lines {
    fn line(&mut self, name: &ProxyName) -> &mut Line {
        self.of.entry(name.clone()).or_default()
    }

    fn is_reached(&self, name: &ProxyName) -> bool {
        !self.is_away && self.of.get(name).is_none_or(|line| !line.is_cut)
    }

    /// The memberships of those that have been silent for too long end.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.is_away {
            return;
        }
        let due: Vec<_> = self
            .silent()
            .filter(|(_, at)| *at <= now)
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            self.book.part(&name);
        }
    }

    /// When the next one ends.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.silent().map(|(_, at)| at).min().filter(|_| !self.is_away)
    }

    fn silent(&self) -> impl Iterator<Item = (&ProxyName, Instant)> {
        self.of.iter().filter_map(|(name, line)| {
            let since = line.silent_since?;
            self.book.is_member(name).then(|| (name, since + MEMBER_TTL))
        })
    }

    pub(super) fn cut(&mut self, name: &ProxyName, now: Instant) {
        let line = self.line(name);
        line.is_cut = true;
        line.silent_since.get_or_insert(now);
    }

    pub(super) fn heal(&mut self, name: &ProxyName, _now: Instant) {
        self.line(name).is_cut = false;
        self.reach(name);
    }

    pub(super) fn cut_all(&mut self, now: Instant) {
        self.is_away = true;
        for line in self.of.values_mut() {
            line.silent_since.get_or_insert(now);
        }
    }

    pub(super) fn heal_all(&mut self, now: Instant) {
        self.is_away = false;
        let names: Vec<_> = self.of.keys().cloned().collect();
        for name in names {
            // Leases begin anew, as etcd's do.
            if let Some(since) = &mut self.line(&name).silent_since {
                *since = now;
            }
            if self.is_reached(&name) {
                self.reach(&name);
            }
        }
    }

    /// It is heard of again, if it runs.
    fn reach(&mut self, name: &ProxyName) {
        if !self.is_reached(name) || self.line(name).start == 0 {
            return;
        }
        self.book.join(name);
        let line = self.line(name);
        line.silent_since = None;
        line.is_new_and_lost = false;
        if std::mem::take(&mut line.is_lost) {
            line.queue.push_back(Update::Restored);
        }
    }

    pub(super) fn compact(&mut self) {
        let names: Vec<_> = self.of.keys().cloned().collect();
        for name in names {
            if !self.is_reached(&name) {
                self.line(&name).must_resync = true;
            }
        }
    }

    pub(super) fn resync(&mut self, name: &ProxyName) {
        self.line(name).must_resync = true;
    }

    pub(super) fn lose_answers(&mut self, name: &ProxyName, count: u32) {
        self.line(name).lost_answers = count;
    }

    /// Whether its write is answered.
    pub(super) fn is_answered(&mut self, name: &ProxyName) -> bool {
        let line = self.line(name);
        let is_answered = line.lost_answers == 0;
        line.lost_answers = line.lost_answers.saturating_sub(1);
        is_answered
    }

    /// A process begins with that name. Its start, what there is, and the latest incarnation.
    pub(super) fn load(&mut self, name: &ProxyName, now: Instant) -> (u64, Loaded, u64) {
        let start = self.book.start();
        let is_reached = self.is_reached(name);
        let end = self.book.end();
        let line = self.line(name);
        *line = Line {
            start,
            is_cut: line.is_cut,
            silent_since: (!is_reached).then(|| line.silent_since.unwrap_or(now)),
            position: end,
            must_resync: !is_reached,
            is_lost: !is_reached,
            is_new_and_lost: !is_reached,
            lost_answers: line.lost_answers,
            queue: VecDeque::new(),
        };
        if !is_reached {
            let finding = Finding {
                message: LOST.to_owned(),
                is_loss: false,
            };
            let loaded = Loaded {
                findings: vec![finding],
                ..Loaded::default()
            };
            return (start, loaded, self.book.latest());
        }
        let loaded = self.book.loaded(name);
        self.book.join(name);
        self.line(name).position = self.book.end();
        (start, loaded, self.book.latest())
    }

    /// Whether it can write now.
    ///
    /// # Errors
    /// Why it never can again.
    pub(super) fn is_ready(&self, name: &ProxyName, start: u64) -> Result<bool, &'static str> {
        match self.of.get(name) {
            Some(line) if start != 0 && line.start == start => Ok(self.is_reached(name)),
            Some(line) if start != 0 && line.start > start => {
                Err("another proxy with this one's name has started")
            }
            _ => Err("nothing is shared, because it has not been loaded or has been left"),
        }
    }

    pub(super) fn answer(&mut self, name: &ProxyName, answers: Vec<Update>) {
        // After what happened before.
        self.read(name);
        self.line(name).queue.extend(answers);
    }

    /// It has written these: whatever it has yet to be told of them is older, and a picture that waits has them as they are.
    pub(super) fn written(&mut self, name: &ProxyName, writes: &[Write]) {
        let Some(line) = self.of.get_mut(name) else { return };
        line.queue.retain(|update| {
            !writes.iter().any(|write| match update {
                Update::Changed(Write::Overridden(known)) => {
                    matches!(write, Write::Overridden(written) if written.id == known.id)
                }
                Update::Changed(known) => !is_override(write) && write.id() == known.id(),
                Update::Owned(owned) => !is_override(write) && *write.id() == owned.id,
                _ => false,
            })
        });
        for update in &mut line.queue {
            if let Update::Resync(loaded) = update {
                writes
                    .iter()
                    .for_each(|write| self.book.amend(loaded, write.id()));
            }
        }
    }

    /// Its process has ended, and nobody has told the others.
    pub(super) fn crash(&mut self, name: &ProxyName, start: u64, now: Instant) {
        let line = self.line(name);
        if line.start == start {
            line.start = 0;
            line.silent_since.get_or_insert(now);
        }
    }

    pub(super) fn leave(&mut self, name: &ProxyName, start: u64) {
        if self.line(name).start == start {
            self.line(name).start = 0;
            if self.is_reached(name) {
                self.book.part(name);
            }
        }
    }

    /// When it notices that the store is lost.
    pub(super) fn notices_at(&self, name: &ProxyName) -> Option<Instant> {
        let line = self.of.get(name)?;
        line.silent_since
            .filter(|_| !line.is_lost)
            .map(|since| since + PATIENCE)
    }

    /// What it is told next.
    pub(super) fn next(&mut self, name: &ProxyName, start: u64, now: Instant) -> Option<Update> {
        if start == 0 {
            return None;
        }
        let displaced = self.line(name).start > start;
        if displaced {
            return None;
        }
        if self.is_reached(name) {
            self.read(name);
        }
        let is_noticed = self.notices_at(name).is_some_and(|at| at <= now);
        let line = self.line(name);
        if let Some(update) = line.queue.pop_front() {
            return Some(update);
        }
        if is_noticed || std::mem::take(&mut line.is_new_and_lost) {
            line.is_lost = true;
            let reason = LOST.to_owned();
            return Some(Update::Lost { reason });
        }
        None
    }

    /// What has happened is put before it.
    fn read(&mut self, name: &ProxyName) {
        let end = self.book.end();
        if std::mem::take(&mut self.line(name).must_resync) {
            let mut loaded = self.book.loaded(name);
            let start = self.line(name).start;
            loaded.next_incarnation = crate::numbers::first_after(self.book.latest(), start);
            let line = self.line(name);
            line.position = end;
            line.queue.push_back(Update::Resync(loaded));
        }
        let (mut position, start) = (self.line(name).position, self.line(name).start);
        while position < end {
            if let Some(event) = self.book.read(position, start) {
                self.line(name).queue.extend(event.updates(name));
            }
            position += 1;
        }
        self.line(name).position = end;
        let running = self.of.values().filter(|line| line.start != 0);
        let slowest = running.map(|line| line.position).min().unwrap_or(end);
        self.book.forget(slowest);
    }
}
