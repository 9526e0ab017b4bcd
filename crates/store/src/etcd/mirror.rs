//! What this process knows of etcd, and what it has yet to tell its caller. No I/O.
//!
//! # What is news
//!
//! What others write, and what this process writes by [`adopted`](Mirror::adopted) and [`ended`](Mirror::ended). What it
//! commits is none: neither when the answer tells that it was done, nor when the watch does, however early or late. A key
//! that a commit is about is [under way](Mirror::begin) until its outcome is known; the watch tells it before that.
//!
//! A piece of news carries the revision that it is of. By the time that it is asked for something later may be known of
//! the same id, and then it is passed over: whatever is told is later than what was told before.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::mem;

use bytes::Bytes;
use edgeproxy_backend::{BackendId, Incarnation};
use edgeproxy_registry::{Overridden, Write};

use super::encoding::{self, Author, Stored};
use super::keys::{Keys, Kind};
use super::message::KeyValue;
use crate::cluster::Owned;
use crate::{Finding, ProxyName, Update};
use picture::{Own, unreadable};

pub(super) use picture::Picture;

mod picture;

/// How many ids that are gone are remembered, each with its last life, so that a late write of that life brings
/// nobody back. About 10 MB at most.
const GONE_MAX: usize = 65_536;
/// How many updates wait for the caller before the watch does.
const QUEUE_MAX: usize = 4_096;

/// The latest that is known of a registration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Known {
    /// At which revision it was last changed.
    pub(super) revision: i64,
    /// At which revision all of it was last told, or written here; what has changed since is only the owner.
    told: i64,
    /// The life in it and who holds its lease; `None` where what is there can't be read.
    pub(super) life: Option<(Incarnation, ProxyName)>,
}

/// Of an id that is gone: its last life, and at which revision it was ended.
#[derive(Clone, Copy, Debug)]
struct Grave {
    incarnation: Incarnation,
    revision: i64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Mirror {
    keys: Keys,
    me: Author,
    backends: HashMap<BackendId, Known>,
    /// At which revision they were last changed.
    overrides: HashMap<BackendId, i64>,
    gone: HashMap<BackendId, Grave>,
    gone_order: VecDeque<BackendId>,
    /// The other proxies.
    members: BTreeMap<ProxyName, i64>,
    /// Keys that a commit under way is about.
    under_way: HashSet<Bytes>,
    /// What was written here since a load began, with the revision of that.
    since_load: Option<Vec<(i64, Own)>>,
    queue: VecDeque<News>,
    /// What is told when it is the turn of [`News::Resync`].
    picture: Option<Picture>,
    /// Whether the caller has been told that etcd can't be reached.
    lost: bool,
}

/// What the caller is to be told, with the revision that it is of.
#[derive(Debug)]
enum News {
    Registered(Stored, i64),
    Owned(Owned, i64),
    Gone(BackendId, Incarnation, i64),
    Overridden(Overridden, i64),
    Resync,
    Other(Update),
}

/// What was read of etcd at one revision.
#[derive(Debug, Default)]
pub(super) struct Image {
    pub(super) revision: i64,
    pub(super) kvs: Vec<KeyValue>,
}

impl Mirror {
    pub(super) fn new(keys: Keys, me: Author) -> Self {
        Self {
            keys,
            me,
            backends: HashMap::new(),
            overrides: HashMap::new(),
            gone: HashMap::new(),
            gone_order: VecDeque::new(),
            members: BTreeMap::new(),
            under_way: HashSet::new(),
            since_load: None,
            queue: VecDeque::new(),
            picture: None,
            lost: false,
        }
    }

    /// From now on everything is read. What is written here meanwhile may be in it or not.
    pub(super) fn begin_load(&mut self) {
        self.since_load = Some(Vec::new());
    }

    /// It has failed.
    pub(super) fn give_up_load(&mut self) {
        self.since_load = None;
    }

    /// Knows what is in the image, and what was written here after it was taken, and nothing else; that is returned.
    /// What others have written after it is to be told by the watch.
    pub(super) fn replace(&mut self, image: Image) -> Picture {
        self.backends.clear();
        self.overrides.clear();
        self.members.clear();
        self.picture = None;
        // Whatever waits is in the image, or comes by the watch.
        self.queue
            .retain(|news| matches!(news, News::Other(Update::Lost { .. } | Update::Restored)));
        let mut picture = Picture {
            revision: image.revision,
            ..Picture::default()
        };
        for kv in &image.kvs {
            if let Err(problem) = self.load(kv, &mut picture) {
                picture.could_not_read(&kv.key, &problem);
            }
        }
        for (revision, own) in self.since_load.take().unwrap_or_default() {
            if revision > image.revision {
                self.know(&own, revision);
                picture.amend(own);
            }
        }
        picture
    }

    fn load(&mut self, kv: &KeyValue, picture: &mut Picture) -> Result<(), String> {
        match self.keys.kind(&kv.key) {
            Kind::Backend(id) => {
                let read = encoding::read_backend(&id, &kv.value);
                self.backends.insert(id.clone(), known_of(kv, read.as_ref().ok()));
                picture.backends.insert(id, read?);
            }
            Kind::Overrides(id) => {
                self.overrides.insert(id.clone(), kv.mod_revision);
                let (overridden, _) = encoding::read_overrides(&id, &kv.value)?;
                picture.overrides.insert(id, overridden);
            }
            Kind::Proxy(name) if name != self.me.name => {
                self.members.insert(name.clone(), kv.mod_revision);
                picture.members.push(name);
            }
            Kind::Proxy(_) | Kind::Heard(_) | Kind::Commits(_) | Kind::Other => {}
        }
        Ok(())
    }

    /// A key has been written; `before` is what was there.
    ///
    /// # Errors
    /// When the value can't be read; it is left as it is.
    pub(super) fn put(&mut self, kv: &KeyValue, before: Option<&KeyValue>) -> Result<(), Finding> {
        let revision = kv.mod_revision;
        match self.keys.kind(&kv.key) {
            Kind::Backend(id) if self.latest(&id) < revision => {
                let read = encoding::read_backend(&id, &kv.value);
                let known = self.backends.insert(id.clone(), known_of(kv, read.as_ref().ok()));
                let stored = read.map_err(|problem| unreadable(&kv.key, &problem))?;
                if stored.author.start == self.me.start && self.under_way.contains(&kv.key) {
                    return Ok(());
                }
                // What this process knows is what was there: then it can be seen what has changed.
                let known = known.filter(|known| {
                    known.life.is_some() && before.is_some_and(|kv| kv.mod_revision == known.revision)
                });
                let before = before.and_then(|kv| encoding::read_backend(&id, &kv.value).ok());
                match (known, before) {
                    (Some(known), Some(before)) if before.record == stored.record => {
                        self.told_before(&id, known.told);
                        self.queue.push_back(News::Owned(stored.owned(), revision));
                    }
                    _ => self.queue.push_back(News::Registered(stored, revision)),
                }
            }
            Kind::Overrides(id) if self.overrides.get(&id).is_none_or(|known| *known < revision) => {
                self.overrides.insert(id.clone(), revision);
                let read = encoding::read_overrides(&id, &kv.value);
                let (overridden, start) = read.map_err(|problem| unreadable(&kv.key, &problem))?;
                if start != self.me.start {
                    self.queue.push_back(News::Overridden(overridden, revision));
                }
            }
            Kind::Proxy(name) if name != self.me.name => {
                if self.members.insert(name.clone(), revision).is_none() {
                    self.queue.push_back(News::Other(Update::Joined(name)));
                }
            }
            Kind::Heard(name) if name != self.me.name => {
                let ids = encoding::read_heard(&kv.value);
                if !ids.is_empty() {
                    self.queue.push_back(News::Other(Update::Heard(ids)));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A key has been deleted at that revision; `before` is what was there.
    pub(super) fn deleted(&mut self, key: &[u8], revision: i64, before: Option<&KeyValue>) {
        let is_own = self.under_way.contains(key);
        match self.keys.kind(key) {
            Kind::Backend(id) => {
                // Not known: this process has deleted it itself, or never saw it.
                if self
                    .backends
                    .get(&id)
                    .is_none_or(|known| known.revision >= revision)
                {
                    return;
                }
                let known = self.backends.remove(&id).and_then(|known| known.life);
                let read = before.and_then(|kv| encoding::read_backend(&id, &kv.value).ok());
                let last = read.map(|stored| stored.record.incarnation);
                if let Some(incarnation) = last.or(known.map(|(incarnation, _)| incarnation)) {
                    self.bury(id.clone(), incarnation, revision);
                    if !is_own {
                        self.queue.push_back(News::Gone(id, incarnation, revision));
                    }
                }
            }
            Kind::Overrides(id) if self.overrides.get(&id).is_some_and(|known| *known < revision) => {
                self.overrides.remove(&id);
                if !is_own {
                    self.queue
                        .push_back(News::Overridden(Overridden::nothing(id), revision));
                }
            }
            Kind::Proxy(name) => {
                if self.members.get(&name).is_some_and(|known| *known < revision) {
                    self.members.remove(&name);
                    self.queue.push_back(News::Other(Update::Parted(name)));
                }
            }
            _ => {}
        }
    }

    pub(super) fn backend(&self, id: &BackendId) -> Option<&Known> {
        self.backends.get(id)
    }

    /// The last life of an id that is gone, as far as that is remembered.
    pub(super) fn last_life(&self, id: &BackendId) -> Option<Incarnation> {
        self.gone.get(id).map(|grave| grave.incarnation)
    }

    /// This process has committed the registration.
    pub(super) fn wrote(&mut self, stored: Stored, revision: i64) {
        self.note(
            Own::Backend(stored.record.backend.id.clone(), Some(stored)),
            revision,
        );
    }

    /// This process has committed the deletion of the registration.
    pub(super) fn erased(&mut self, id: &BackendId, incarnation: Incarnation, revision: i64) {
        self.note(Own::Backend(id.clone(), None), revision);
        self.bury(id.clone(), incarnation, revision);
    }

    /// This process has set or cleared the overrides.
    pub(super) fn set(&mut self, overridden: &Overridden, revision: i64) {
        self.note(Own::Overrides(overridden.clone()), revision);
        // An operator's change, so seldom that what waits can be looked through.
        self.queue.retain(
            |news| !matches!(news, News::Overridden(other, before) if other.id == overridden.id && *before < revision),
        );
    }

    /// This process holds the lease now.
    pub(super) fn adopted(&mut self, stored: Stored, revision: i64) {
        let id = stored.record.backend.id.clone();
        // Unless the watch has told it.
        if self.latest(&id) < revision {
            self.queue.push_back(News::Owned(stored.owned(), revision));
        }
        let told = self.backends.get(&id).map(|known| known.told);
        self.wrote(stored, revision);
        if let Some(told) = told {
            self.told_before(&id, told);
        }
    }

    fn told_before(&mut self, id: &BackendId, revision: i64) {
        if let Some(known) = self.backends.get_mut(id) {
            known.told = known.told.min(revision);
        }
    }

    /// This process has ended the registration.
    pub(super) fn ended(&mut self, id: &BackendId, incarnation: Incarnation, revision: i64) {
        // Unless the watch has told it.
        if self.backends.contains_key(id) {
            self.queue
                .push_back(News::Gone(id.clone(), incarnation, revision));
        }
        self.erased(id, incarnation, revision);
    }

    fn note(&mut self, own: Own, revision: i64) {
        if let Some(since) = &mut self.since_load {
            since.push((revision, own.clone()));
        }
        self.know(&own, revision);
        if let Some(picture) = self
            .picture
            .as_mut()
            .filter(|picture| picture.revision < revision)
        {
            picture.amend(own);
        }
    }

    fn know(&mut self, own: &Own, revision: i64) {
        match own {
            Own::Backend(id, _) if self.latest(id) > revision => {}
            Own::Backend(id, Some(stored)) => {
                let life = Some((stored.record.incarnation, stored.author.name.clone()));
                let told = revision;
                self.backends.insert(id.clone(), Known { revision, told, life });
            }
            Own::Backend(id, None) => {
                self.backends.remove(id);
            }
            Own::Overrides(overridden)
                if self
                    .overrides
                    .get(&overridden.id)
                    .is_some_and(|known| *known > revision) => {}
            Own::Overrides(overridden) if !overridden.is_some() => {
                self.overrides.remove(&overridden.id);
            }
            Own::Overrides(overridden) => {
                self.overrides.insert(overridden.id.clone(), revision);
            }
        }
    }

    /// A commit is about these keys.
    pub(super) fn begin(&mut self, keys: &[Bytes]) {
        self.under_way.extend(keys.iter().cloned());
    }

    /// It has ended, or nobody waits for it any more.
    pub(super) fn end(&mut self, keys: &[Bytes]) {
        for key in keys {
            self.under_way.remove(key);
        }
    }

    /// What was found under the id's key at that revision, by a commit that expected otherwise; `None`: nothing.
    pub(super) fn found(&mut self, id: &BackendId, kv: Option<&KeyValue>, revision: i64) -> Option<Stored> {
        let Some(kv) = kv else {
            if self.latest(id) <= revision {
                self.backends.remove(id);
            }
            return None;
        };
        let read = encoding::read_backend(id, &kv.value).ok();
        if self.latest(id) < kv.mod_revision {
            self.backends.insert(id.clone(), known_of(kv, read.as_ref()));
        }
        read
    }

    /// The caller has asked for what is void, since this is what holds.
    pub(super) fn answer(&mut self, stored: Stored, revision: i64) {
        self.queue.push_back(News::Registered(stored, revision));
    }

    /// The caller has asked for what is void, since somebody has ended that life by that revision.
    pub(super) fn answer_gone(&mut self, id: &BackendId, incarnation: Incarnation, revision: i64) {
        if self.latest(id) <= revision {
            self.backends.remove(id);
        }
        self.bury(id.clone(), incarnation, revision);
        self.queue
            .push_back(News::Gone(id.clone(), incarnation, revision));
    }

    /// What the caller thought of the lease is not so: this is.
    pub(super) fn answer_owned(&mut self, owned: Owned, revision: i64) {
        self.queue.push_back(News::Owned(owned, revision));
    }

    /// That life has ended, as has been known since that revision.
    pub(super) fn answer_buried(&mut self, id: &BackendId) {
        if let Some(Grave {
            incarnation,
            revision,
        }) = self.gone.get(id).copied()
        {
            self.queue
                .push_back(News::Gone(id.clone(), incarnation, revision));
        }
    }

    fn bury(&mut self, id: BackendId, incarnation: Incarnation, revision: i64) {
        if let Some(grave) = self.gone.get_mut(&id) {
            grave.incarnation = grave.incarnation.max(incarnation);
            grave.revision = grave.revision.max(revision);
            return;
        }
        self.gone.insert(
            id.clone(),
            Grave {
                incarnation,
                revision,
            },
        );
        self.gone_order.push_back(id);
        if self.gone_order.len() > GONE_MAX
            && let Some(oldest) = self.gone_order.pop_front()
        {
            self.gone.remove(&oldest);
        }
    }

    /// The latest revision at which the registration is known to have been written or deleted; 0: none.
    fn latest(&self, id: &BackendId) -> i64 {
        let known = self.backends.get(id).map_or(0, |known| known.revision);
        self.gone.get(id).map_or(known, |grave| known.max(grave.revision))
    }

    /// Whether the watch may go on reading.
    pub(super) fn has_room(&self) -> bool {
        self.queue.len() < QUEUE_MAX
    }

    pub(super) fn has_news(&self) -> bool {
        !self.queue.is_empty()
    }

    pub(super) fn resync(&mut self, picture: Picture) {
        self.picture = Some(picture);
        self.queue.push_back(News::Resync);
    }

    /// etcd can't be reached. Told once.
    pub(super) fn lose(&mut self, reason: String) {
        if !mem::replace(&mut self.lost, true) {
            self.queue.push_back(News::Other(Update::Lost { reason }));
        }
    }

    /// etcd can be reached. Told once after each loss.
    pub(super) fn regain(&mut self) {
        if mem::take(&mut self.lost) {
            self.queue.push_back(News::Other(Update::Restored));
        }
    }

    /// What the caller is told next.
    pub(super) fn next(&mut self) -> Option<Update> {
        loop {
            let news = self.queue.pop_front()?;
            if !self.is_outdated(&news) {
                match news {
                    News::Registered(stored, revision) => {
                        self.queue.push_front(News::Owned(stored.owned(), revision));
                        return Some(Update::Changed(Write::Registered(stored.record)));
                    }
                    News::Owned(owned, _) => return Some(Update::Owned(owned)),
                    News::Gone(id, incarnation, _) => {
                        return Some(Update::Changed(Write::Gone { id, incarnation }));
                    }
                    News::Overridden(overridden, _) => {
                        return Some(Update::Changed(Write::Overridden(overridden)));
                    }
                    News::Resync => {
                        if let Some(picture) = self.picture.take() {
                            return Some(Update::Resync(picture.into_loaded()));
                        }
                    }
                    News::Other(update) => return Some(update),
                }
            }
        }
    }

    fn is_outdated(&self, news: &News) -> bool {
        match news {
            News::Registered(stored, revision) => {
                let id = &stored.record.backend.id;
                let known = self.backends.get(id).is_some_and(|known| known.told > *revision);
                known || self.gone.get(id).is_some_and(|grave| grave.revision > *revision)
            }
            News::Owned(owned, revision) => self.latest(&owned.id) > *revision,
            // Gone is gone, whenever that was.
            News::Gone(id, _, revision) => self
                .backends
                .get(id)
                .is_some_and(|known| known.revision > *revision),
            News::Overridden(Overridden { id, .. }, revision) => {
                self.overrides.get(id).is_some_and(|known| known > revision)
            }
            News::Resync | News::Other(_) => false,
        }
    }
}

fn known_of(kv: &KeyValue, stored: Option<&Stored>) -> Known {
    Known {
        revision: kv.mod_revision,
        told: kv.mod_revision,
        life: stored.map(|stored| (stored.record.incarnation, stored.author.name.clone())),
    }
}

#[cfg(test)]
mod tests;
