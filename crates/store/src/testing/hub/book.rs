//! What the proxies of a [`Hub`](super::Hub) share: one order of changes, without a clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use edgeproxy_backend::{BackendId, Incarnation};
use edgeproxy_registry::{Overridden, Record, Write};

use crate::cluster::Owned;
use crate::{Held, Loaded, ProxyName, Update};

/// A registration, and who holds its lease.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Entry {
    record: Record,
    owner: ProxyName,
}

impl Entry {
    fn owned(&self) -> Owned {
        Owned {
            id: self.record.backend.id.clone(),
            incarnation: self.record.incarnation,
            ttl: self.record.ttl,
            owner: self.owner.clone(),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Event {
    Registered(Entry),
    Owned(Owned),
    Gone(BackendId, Incarnation),
    Overridden(Overridden),
    Heard(ProxyName, Vec<BackendId>),
    Joined(ProxyName),
    Parted(ProxyName),
}

impl Event {
    const fn id(&self) -> Option<&BackendId> {
        match self {
            Self::Registered(entry) => Some(&entry.record.backend.id),
            Self::Owned(owned) => Some(&owned.id),
            Self::Gone(id, _) | Self::Overridden(Overridden { id, .. }) => Some(id),
            Self::Heard(..) | Self::Joined(_) | Self::Parted(_) => None,
        }
    }

    /// What `reader` is told of it.
    pub(super) fn updates(self, reader: &ProxyName) -> Vec<Update> {
        match self {
            Self::Registered(entry) => {
                let owned = entry.owned();
                vec![
                    Update::Changed(Write::Registered(entry.record)),
                    Update::Owned(owned),
                ]
            }
            Self::Owned(owned) => vec![Update::Owned(owned)],
            Self::Gone(id, incarnation) => vec![Update::Changed(Write::Gone { id, incarnation })],
            Self::Overridden(overridden) => vec![Update::Changed(Write::Overridden(overridden))],
            Self::Heard(by, _) | Self::Joined(by) | Self::Parted(by) if by == *reader => Vec::new(),
            Self::Heard(_, ids) => vec![Update::Heard(ids)],
            Self::Joined(proxy) => vec![Update::Joined(proxy)],
            Self::Parted(proxy) => vec![Update::Parted(proxy)],
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Book {
    backends: BTreeMap<BackendId, Entry>,
    overrides: BTreeMap<BackendId, Overridden>,
    gone: BTreeMap<BackendId, Incarnation>,
    members: BTreeSet<ProxyName>,
    latest: u64,
    starts: u64,
    /// Each event with the start that committed it.
    log: VecDeque<(Option<u64>, Event)>,
    /// How many events have been forgotten.
    forgotten: u64,
    /// Where in the log a start's last commit of an id is; of overrides apart.
    committed: BTreeMap<(u64, bool, BackendId), u64>,
}

impl Book {
    pub(super) fn start(&mut self) -> u64 {
        self.starts += 1;
        self.starts
    }

    /// Later than every incarnation that was ever committed.
    pub(super) const fn latest(&self) -> u64 {
        self.latest
    }

    /// Where the log ends.
    pub(super) fn end(&self) -> u64 {
        self.forgotten + self.log.len() as u64
    }

    /// The event at that place that `reader`, which `start` is, is to be told. What it has committed itself is no news, and
    /// neither is what it has written over since.
    pub(super) fn read(&self, at: u64, start: u64) -> Option<Event> {
        let index = usize::try_from(at.checked_sub(self.forgotten)?).ok()?;
        let (by, event) = self.log.get(index)?;
        let last_own = event.id().and_then(|id| {
            let is_overridden = matches!(event, Event::Overridden(..));
            self.committed.get(&(start, is_overridden, id.clone()))
        });
        let is_void = *by == Some(start) || last_own.is_some_and(|last| *last > at);
        (!is_void).then(|| event.clone())
    }

    fn note(&mut self, by: Option<u64>, event: Event) {
        if let (Some(start), Some(id)) = (by, event.id()) {
            let is_overridden = matches!(event, Event::Overridden(..));
            let place = (start, is_overridden, id.clone());
            self.committed.insert(place, self.end());
        }
        self.log.push_back((by, event));
    }

    /// Nobody asks for what is before that.
    pub(super) fn forget(&mut self, before: u64) {
        while self.forgotten < before && self.log.pop_front().is_some() {
            self.forgotten += 1;
        }
    }

    /// All that is kept, as that proxy is told it.
    pub(super) fn loaded(&self, reader: &ProxyName) -> Loaded {
        let mut entries: Vec<&Entry> = self.backends.values().collect();
        entries.sort_unstable_by_key(|entry| entry.record.incarnation);
        Loaded {
            records: entries.iter().map(|entry| entry.record.clone()).collect(),
            owned: entries.iter().map(|entry| entry.owned()).collect(),
            overrides: self.overrides.values().cloned().collect(),
            members: self
                .members
                .iter()
                .filter(|name| *name != reader)
                .cloned()
                .collect(),
            ..Loaded::default()
        }
    }

    /// Puts in what there is of that id by now.
    pub(super) fn amend(&self, loaded: &mut Loaded, id: &BackendId) {
        loaded.records.retain(|record| record.backend.id != *id);
        loaded.owned.retain(|owned| owned.id != *id);
        loaded.overrides.retain(|known| known.id != *id);
        if let Some(entry) = self.backends.get(id) {
            loaded.records.push(entry.record.clone());
            loaded.records.sort_unstable_by_key(|record| record.incarnation);
            loaded.owned.push(entry.owned());
        }
        loaded.overrides.extend(self.overrides.get(id).cloned());
    }

    /// The updates that answer what is void in it.
    pub(super) fn commit(&mut self, owner: &ProxyName, start: u64, writes: &[Write]) -> Vec<Update> {
        let mut answers = Vec::new();
        for write in writes {
            match write {
                Write::Registered(record) => {
                    self.latest = self.latest.max(record.incarnation.get());
                    self.register(record, owner, start, &mut answers);
                }
                Write::Gone { id, incarnation } => {
                    self.latest = self.latest.max(incarnation.get());
                    match self.backends.get(id) {
                        Some(entry) if entry.record.incarnation > *incarnation => {
                            answers.push(Event::Registered(entry.clone()));
                        }
                        _ => self.remove(id, *incarnation, Some(start)),
                    }
                }
                Write::Overridden(overridden) => {
                    let id = overridden.id.clone();
                    if overridden.is_some() {
                        self.overrides.insert(id, overridden.clone());
                    } else {
                        self.overrides.remove(&id);
                    }
                    self.note(Some(start), Event::Overridden(overridden.clone()));
                }
            }
        }
        answers
            .into_iter()
            .flat_map(|event| event.updates(owner))
            .collect()
    }

    fn register(&mut self, record: &Record, owner: &ProxyName, start: u64, answers: &mut Vec<Event>) {
        let id = &record.backend.id;
        if let Some(entry) = self.backends.get(id)
            && entry.record.incarnation > record.incarnation
        {
            answers.push(Event::Registered(entry.clone()));
            return;
        }
        if let Some(last) = self.gone.get(id)
            && *last >= record.incarnation
            && !self.backends.contains_key(id)
        {
            answers.push(Event::Gone(id.clone(), *last));
            return;
        }
        let entry = Entry {
            record: record.clone(),
            owner: owner.clone(),
        };
        self.put(entry, Some(start));
    }

    fn put(&mut self, entry: Entry, by: Option<u64>) {
        let id = entry.record.backend.id.clone();
        let before = self.backends.insert(id, entry.clone());
        let event = match before {
            Some(before) if before.record == entry.record => Event::Owned(entry.owned()),
            _ => Event::Registered(entry),
        };
        self.note(by, event);
    }

    fn remove(&mut self, id: &BackendId, incarnation: Incarnation, by: Option<u64>) {
        let last = self.gone.entry(id.clone()).or_insert(incarnation);
        *last = incarnation.max(*last);
        if let Some(entry) = self.backends.remove(id) {
            let event = Event::Gone(id.clone(), entry.record.incarnation);
            self.note(by, event);
        }
    }

    pub(super) fn adopt(&mut self, by: &ProxyName, held: &[Held]) -> Vec<Update> {
        let mut answers = Vec::new();
        for held in held {
            if let Some(entry) = self.held(held, by, &mut answers) {
                let owner = by.clone();
                self.put(Entry { owner, ..entry }, None);
            }
        }
        answers
    }

    pub(super) fn finish(&mut self, by: &ProxyName, held: &[Held]) -> Vec<Update> {
        let mut answers = Vec::new();
        for held in held {
            if self.held(held, by, &mut answers).is_some() {
                self.remove(&held.id, held.incarnation, None);
            }
        }
        answers
    }

    /// The registration, if it is held so; else what is so is an answer.
    fn held(&self, held: &Held, by: &ProxyName, answers: &mut Vec<Update>) -> Option<Entry> {
        let Some(entry) = self.backends.get(&held.id) else {
            answers.extend(Event::Gone(held.id.clone(), held.incarnation).updates(by));
            return None;
        };
        if entry.record.incarnation != held.incarnation {
            answers.extend(Event::Registered(entry.clone()).updates(by));
            return None;
        }
        if entry.owner != held.owner {
            answers.push(Update::Owned(entry.owned()));
            return None;
        }
        Some(entry.clone())
    }

    pub(super) fn tell(&mut self, by: &ProxyName, ids: &[BackendId]) {
        self.note(None, Event::Heard(by.clone(), ids.to_vec()));
    }

    pub(super) fn join(&mut self, proxy: &ProxyName) {
        if self.members.insert(proxy.clone()) {
            self.note(None, Event::Joined(proxy.clone()));
        }
    }

    pub(super) fn part(&mut self, proxy: &ProxyName) {
        if self.members.remove(proxy) {
            self.note(None, Event::Parted(proxy.clone()));
        }
    }

    pub(super) fn is_member(&self, proxy: &ProxyName) -> bool {
        self.members.contains(proxy)
    }

    /// Who holds the lease of that life.
    pub(super) fn owner(&self, id: &BackendId) -> Option<(Incarnation, ProxyName)> {
        let entry = self.backends.get(id)?;
        Some((entry.record.incarnation, entry.owner.clone()))
    }

    /// How many registrations there are.
    pub(super) fn len(&self) -> usize {
        self.backends.len()
    }
}
