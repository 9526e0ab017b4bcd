//! What this process knows of etcd, and what it has yet to tell its caller. No I/O.

use std::collections::{HashMap, HashSet, VecDeque};
use std::mem;

use bytes::Bytes;
use edgeproxy_backend::{BackendId, Incarnation};
use edgeproxy_registry::{Overridden, Record, Write};

use super::encoding::{self, Stored};
use super::keys::{Keys, Kind};
use super::message::KeyValue;
use crate::{Finding, Loaded, Update};

/// How many ids that are gone are remembered, each with its last life, so that a late write of that life brings
/// nobody back. About 10 MB at most.
const GONE_MAX: usize = 65_536;
/// How many updates wait for the caller before the watch does.
const QUEUE_MAX: usize = 4_096;
/// Findings of one load; what is wrong with thousands of keys is told by the first of them.
const FINDINGS_MAX: usize = 20;

/// The latest that is known of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Known {
    /// At which revision it was last changed.
    pub(super) revision: i64,
    /// The life in it; `None` for overrides, and where what is there can't be read.
    pub(super) incarnation: Option<Incarnation>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Mirror {
    keys: Keys,
    /// Which start of a proxy this is: what it wrote itself comes back by the watch, and is no news.
    start: u64,
    backends: HashMap<BackendId, Known>,
    overrides: HashMap<BackendId, Known>,
    gone: HashMap<BackendId, Incarnation>,
    gone_order: VecDeque<BackendId>,
    /// Keys that a transaction under way deletes: the watch may tell of it before the answer does.
    deleting: HashSet<Bytes>,
    queue: VecDeque<News>,
    /// Whether the caller has been told that etcd can't be reached.
    lost: bool,
}

#[derive(Debug)]
enum News {
    /// The revision is that of the change: what was written since is later, and the change no news any more.
    Changed(Write, i64),
    Other(Update),
}

/// What was read of etcd at one revision.
#[derive(Debug, Default)]
pub(super) struct Image {
    pub(super) revision: i64,
    pub(super) kvs: Vec<KeyValue>,
}

impl Mirror {
    pub(super) fn new(keys: Keys, start: u64) -> Self {
        Self {
            keys,
            start,
            backends: HashMap::new(),
            overrides: HashMap::new(),
            gone: HashMap::new(),
            gone_order: VecDeque::new(),
            deleting: HashSet::new(),
            queue: VecDeque::new(),
            lost: false,
        }
    }

    /// Knows what is in the image and nothing else, and returns it. `next_incarnation` is for the caller to fill in.
    pub(super) fn replace(&mut self, image: Image) -> Loaded {
        self.backends.clear();
        self.overrides.clear();
        // Whatever waits is older than the image.
        self.queue
            .retain(|news| matches!(news, News::Other(Update::Lost { .. } | Update::Restored)));
        let mut loaded = Loaded::default();
        let mut unread = 0_usize;
        for kv in image.kvs {
            let problem = match self.keys.kind(&kv.key) {
                Kind::Backend(id) => self.load_backend(id, &kv, &mut loaded).err(),
                Kind::Overrides(id) => self.load_overrides(id, &kv, &mut loaded).err(),
                Kind::Proxy(_) | Kind::Other => None,
            };
            if let Some(problem) = problem {
                unread += 1;
                if unread <= FINDINGS_MAX {
                    loaded.findings.push(unreadable(&kv.key, &problem));
                }
            }
        }
        if unread > FINDINGS_MAX {
            loaded.findings.push(Finding {
                message: format!(
                    "etcd: {} more keys can't be read and are left as they are",
                    unread - FINDINGS_MAX
                ),
                is_loss: true,
            });
        }
        loaded.records.sort_by_key(|record| record.incarnation);
        loaded
    }

    fn load_backend(&mut self, id: BackendId, kv: &KeyValue, loaded: &mut Loaded) -> Result<(), String> {
        let read = encoding::read_backend(&id, &kv.value);
        self.backends.insert(id, known_of(kv, read.as_ref().ok()));
        loaded.records.push(read?.record);
        Ok(())
    }

    fn load_overrides(&mut self, id: BackendId, kv: &KeyValue, loaded: &mut Loaded) -> Result<(), String> {
        let read = encoding::read_overrides(&id, &kv.value);
        self.overrides.insert(id, known_of(kv, None));
        loaded.overrides.push(read?.0);
        Ok(())
    }

    /// A key has been written.
    ///
    /// # Errors
    /// When the value can't be read; it is left as it is.
    pub(super) fn put(&mut self, kv: &KeyValue) -> Result<(), Finding> {
        match self.keys.kind(&kv.key) {
            Kind::Backend(id) => {
                if is_known(&self.backends, &id, kv.mod_revision) {
                    return Ok(());
                }
                let read = encoding::read_backend(&id, &kv.value);
                self.backends.insert(id, known_of(kv, read.as_ref().ok()));
                let stored = read.map_err(|problem| unreadable(&kv.key, &problem))?;
                if stored.author.start != self.start {
                    self.changed(Write::Registered(stored.record), kv.mod_revision);
                }
            }
            Kind::Overrides(id) => {
                if is_known(&self.overrides, &id, kv.mod_revision) {
                    return Ok(());
                }
                let read = encoding::read_overrides(&id, &kv.value);
                self.overrides.insert(id, known_of(kv, None));
                let (overridden, start) = read.map_err(|problem| unreadable(&kv.key, &problem))?;
                if start != self.start {
                    self.changed(Write::Overridden(overridden), kv.mod_revision);
                }
            }
            Kind::Proxy(_) | Kind::Other => {}
        }
        Ok(())
    }

    /// A key has been deleted at that revision; `before` is what was there.
    pub(super) fn deleted(&mut self, key: &[u8], revision: i64, before: Option<&KeyValue>) {
        let is_own = self.deleting.contains(key);
        match self.keys.kind(key) {
            Kind::Backend(id) => {
                // Not known: this process has deleted it itself, or never saw it.
                let Some(known) = self
                    .backends
                    .get(&id)
                    .copied()
                    .filter(|known| known.revision < revision)
                else {
                    return;
                };
                self.backends.remove(&id);
                let read = before.and_then(|kv| encoding::read_backend(&id, &kv.value).ok());
                let incarnation = read.map(|stored| stored.record.incarnation).or(known.incarnation);
                if let Some(incarnation) = incarnation {
                    self.bury(id.clone(), incarnation);
                    if !is_own {
                        self.changed(Write::Gone { id, incarnation }, revision);
                    }
                }
            }
            Kind::Overrides(id) => {
                if self
                    .overrides
                    .get(&id)
                    .is_some_and(|known| known.revision < revision)
                {
                    self.overrides.remove(&id);
                    if is_own {
                        return;
                    }
                    self.changed(Write::Overridden(Overridden::nothing(id)), revision);
                }
            }
            Kind::Proxy(_) | Kind::Other => {}
        }
    }

    pub(super) fn backend(&self, id: &BackendId) -> Option<Known> {
        self.backends.get(id).copied()
    }

    /// The last life of an id that is gone, as far as that is remembered.
    pub(super) fn last_life(&self, id: &BackendId) -> Option<Incarnation> {
        self.gone.get(id).copied()
    }

    /// This process has written the registration.
    pub(super) fn wrote(&mut self, record: &Record, revision: i64) {
        let id = &record.backend.id;
        if !is_older(&self.backends, id, revision) {
            let incarnation = Some(record.incarnation);
            self.backends.insert(
                id.clone(),
                Known {
                    revision,
                    incarnation,
                },
            );
        }
    }

    /// This process has deleted the registration, or found it deleted.
    pub(super) fn erased(&mut self, id: &BackendId, incarnation: Incarnation, revision: i64) {
        if !is_older(&self.backends, id, revision) {
            self.backends.remove(id);
        }
        self.bury(id.clone(), incarnation);
    }

    /// This process has set or cleared the overrides.
    pub(super) fn set(&mut self, overridden: &Overridden, revision: i64) {
        let id = &overridden.id;
        if is_older(&self.overrides, id, revision) {
            return;
        }
        if overridden.is_some() {
            let incarnation = None;
            self.overrides.insert(
                id.clone(),
                Known {
                    revision,
                    incarnation,
                },
            );
        } else {
            self.overrides.remove(id);
        }
    }

    pub(super) fn begin_deletions(&mut self, keys: &[Bytes]) {
        self.deleting.extend(keys.iter().cloned());
    }

    pub(super) fn end_deletions(&mut self, keys: &[Bytes]) {
        for key in keys {
            self.deleting.remove(key);
        }
    }

    /// What was found under the id's key, by a transaction that expected otherwise; `None`: nothing.
    pub(super) fn found(&mut self, id: &BackendId, kv: Option<&KeyValue>) -> Option<Stored> {
        let Some(kv) = kv else {
            self.backends.remove(id);
            return None;
        };
        let read = encoding::read_backend(id, &kv.value).ok();
        self.backends.insert(id.clone(), known_of(kv, read.as_ref()));
        read
    }

    /// The caller has written what was void: this is what holds.
    pub(super) fn answer(&mut self, write: Write) {
        self.push(News::Other(Update::Changed(write)));
    }

    fn changed(&mut self, write: Write, revision: i64) {
        self.push(News::Changed(write, revision));
    }

    fn bury(&mut self, id: BackendId, incarnation: Incarnation) {
        match self.gone.get_mut(&id) {
            Some(last) => *last = incarnation.max(*last),
            None => {
                self.gone.insert(id.clone(), incarnation);
                self.gone_order.push_back(id);
                if self.gone_order.len() > GONE_MAX
                    && let Some(oldest) = self.gone_order.pop_front()
                {
                    self.gone.remove(&oldest);
                }
            }
        }
    }

    fn push(&mut self, news: News) {
        self.queue.push_back(news);
    }

    /// Whether the watch may go on reading.
    pub(super) fn has_room(&self) -> bool {
        self.queue.len() < QUEUE_MAX
    }

    pub(super) fn has_news(&self) -> bool {
        !self.queue.is_empty()
    }

    pub(super) fn resync(&mut self, loaded: Loaded) {
        self.push(News::Other(Update::Resync(loaded)));
    }

    /// etcd can't be reached. Told once.
    pub(super) fn lose(&mut self, reason: String) {
        if !mem::replace(&mut self.lost, true) {
            self.push(News::Other(Update::Lost { reason }));
        }
    }

    /// etcd can be reached. Told once after each loss.
    pub(super) fn regain(&mut self) {
        if mem::take(&mut self.lost) {
            self.push(News::Other(Update::Restored));
        }
    }

    /// What the caller is told next.
    pub(super) fn next(&mut self) -> Option<Update> {
        loop {
            match self.queue.pop_front()? {
                News::Other(update) => return Some(update),
                News::Changed(write, revision) => {
                    let known = match &write {
                        Write::Overridden(overridden) => self.overrides.get(&overridden.id),
                        Write::Registered(_) | Write::Gone { .. } => self.backends.get(write.id()),
                    };
                    if known.is_none_or(|known| known.revision <= revision) {
                        return Some(Update::Changed(write));
                    }
                }
            }
        }
    }
}

/// Whether this or something later is known of it: a watch that begins again tells its first revision twice.
fn is_known(known: &HashMap<BackendId, Known>, id: &BackendId, revision: i64) -> bool {
    known.get(id).is_some_and(|known| known.revision >= revision)
}

fn is_older(known: &HashMap<BackendId, Known>, id: &BackendId, revision: i64) -> bool {
    known.get(id).is_some_and(|known| known.revision > revision)
}

fn known_of(kv: &KeyValue, stored: Option<&Stored>) -> Known {
    Known {
        revision: kv.mod_revision,
        incarnation: stored.map(|stored| stored.record.incarnation),
    }
}

fn unreadable(key: &Bytes, problem: &str) -> Finding {
    Finding {
        message: format!(
            "etcd: the value of {} {problem}; it is left as it is, and counts as missing until its backend registers again",
            String::from_utf8_lossy(key)
        ),
        is_loss: true,
    }
}

#[cfg(test)]
mod tests;
