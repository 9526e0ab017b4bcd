//! One start's work with etcd: what the calls, the watch and the lease share.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use edgeproxy_backend::Incarnation;
use prost::Message;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::client::{Client, path};
use super::encoding::Author;
use super::grpc::{Fault, code};
use super::keys::Keys;
use super::message::{Compare, KeyValue, Op, RangeRequest, RangeResponse, TxnRequest, TxnResponse};
use super::mirror::{Image, Mirror, Picture};
use super::sequence::Sequence;
use crate::ProxyName;

/// The low bits of an incarnation tell proxies apart: each has those of its start, counted in etcd. The high bits count
/// as Lamport's clocks do. Two have the same low bits only when one has been cut off while 65,536 others started.
pub(super) const STRIDE: NonZeroU64 = NonZeroU64::MIN.saturating_add((1 << 16) - 1);
/// How far beyond what it has used a proxy raises the number that the next one begins after: one write of the counter
/// is for a thousand registrations.
const AHEAD: u64 = 1024;
/// Keys for each answer. With the longest values that is some 25 MB.
const PAGE: i64 = 1_000;
/// Others raise the counters too.
const ROUNDS_MAX: usize = 32;

/// See the module.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) keys: Keys,
    pub(super) author: Author,
    mirror: Mutex<Mirror>,
    /// There may be news.
    pub(super) news: Notify,
    /// There may be room for more.
    pub(super) room: Notify,
    /// The number in etcd that is later than every incarnation.
    reserved: AtomicU64,
    displaced: AtomicBool,
    /// When etcd was last heard of by the watch.
    heard: Mutex<Instant>,
    /// One transaction goes out after the other.
    pub(super) sequence: tokio::sync::Mutex<Sequence>,
    /// Up to which revision the watch has told everything.
    pub(super) seen: watch::Sender<i64>,
    /// The lease of this proxy's membership; 0: there is none yet.
    pub(super) lease: AtomicI64,
    /// The membership has to be written again.
    pub(super) rejoin: Notify,
    /// At which revision it was written last.
    pub(super) joined: AtomicI64,
    /// Where what is heard is written next.
    pub(super) slot: AtomicUsize,
}

impl Session {
    /// # Errors
    /// When etcd can't be asked.
    pub(super) async fn begin(client: Client, name: &ProxyName, limit: Duration) -> Result<Self, Fault> {
        let keys = Keys::new(&client.settings().address.prefix);
        let start = raise(&client, keys.starts(), limit, |count| {
            Some(count.saturating_add(1))
        })
        .await?;
        let author = Author {
            name: name.clone(),
            start,
        };
        Ok(Self {
            mirror: Mutex::new(Mirror::new(keys.clone(), author.clone())),
            client,
            keys,
            author,
            news: Notify::new(),
            room: Notify::new(),
            reserved: AtomicU64::new(0),
            displaced: AtomicBool::new(false),
            heard: Mutex::new(Instant::now()),
            sequence: tokio::sync::Mutex::default(),
            seen: watch::Sender::new(0),
            lease: AtomicI64::new(0),
            rejoin: Notify::new(),
            joined: AtomicI64::new(0),
            slot: AtomicUsize::new(0),
        })
    }

    pub(super) fn mirror(&self) -> Noticed<'_> {
        Noticed {
            session: self,
            guard: self.mirror.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    pub(super) async fn ask<Q, A>(&self, path: &'static str, question: &Q) -> Result<A, Fault>
    where
        Q: Message,
        A: Message + Default,
    {
        self.ask_counted(path, question).await.map(|(answer, _)| answer)
    }

    /// As [`ask`](Self::ask), with how many times it was sent.
    pub(super) async fn ask_counted<Q, A>(&self, path: &'static str, question: &Q) -> Result<(A, u32), Fault>
    where
        Q: Message,
        A: Message + Default,
    {
        let limit = self.client.settings().total_timeout;
        self.client.ask_counted(path, question, limit).await
    }

    /// All that is kept, at one revision, which the watch goes on from.
    pub(super) async fn load(&self, limit: Duration) -> Result<Picture, Fault> {
        let deadline = Instant::now() + limit;
        self.mirror().begin_load();
        let mut image = self.image(deadline).await;
        // Between two pages etcd may forget the revision that the first one was of.
        while let Err(Fault::Refused {
            code: code::OUT_OF_RANGE,
            ..
        }) = image
        {
            image = self.image(deadline).await;
        }
        let image = image.inspect_err(|_| self.mirror().give_up_load())?;
        let counter = self.keys.incarnation();
        let counter = image.kvs.iter().find(|kv| kv.key == counter);
        let reserved = counter.map_or(0, |kv| number(&kv.value));
        self.reserved.fetch_max(reserved, Ordering::Relaxed);
        let mut picture = self.mirror().replace(image);
        let latest = picture.latest().map_or(0, Incarnation::get);
        picture.next_incarnation = first_after(reserved.max(latest), self.author.start);
        self.saw(picture.revision);
        Ok(picture)
    }

    /// The watch has told everything up to that revision.
    pub(super) fn saw(&self, revision: i64) {
        self.seen.send_if_modified(|seen| {
            let is_later = revision > *seen;
            *seen = revision.max(*seen);
            is_later
        });
    }

    async fn image(&self, deadline: Instant) -> Result<Image, Fault> {
        let (mut key, range_end) = self.keys.all();
        let mut image = Image::default();
        loop {
            let question = RangeRequest {
                key,
                range_end: range_end.clone(),
                limit: PAGE,
                revision: image.revision,
            };
            let limit = deadline.saturating_duration_since(Instant::now());
            let answer: RangeResponse = self.client.ask(path::RANGE, &question, limit).await?;
            if image.revision == 0 {
                image.revision = answer.header.as_ref().map_or(0, |header| header.revision);
            }
            image.kvs.extend(answer.kvs);
            match image.kvs.last() {
                Some(last) if answer.more => {
                    // The first key after it.
                    key = [&last.key[..], &[0]].concat().into();
                }
                _ => return Ok(image),
            }
        }
    }

    /// Sees to it that whoever starts from now on begins after that incarnation.
    pub(super) async fn reserve(&self, incarnation: Incarnation) -> Result<(), Fault> {
        let used = incarnation.get();
        if used < self.reserved.load(Ordering::Relaxed) {
            return Ok(());
        }
        let ahead = used.saturating_add(AHEAD.saturating_mul(STRIDE.get()));
        let limit = self.client.settings().total_timeout;
        let next = |reserved| (reserved <= used && used < u64::MAX).then_some(ahead);
        let reserved = raise(&self.client, self.keys.incarnation(), limit, next).await?;
        self.reserved.fetch_max(reserved, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn is_displaced(&self) -> bool {
        self.displaced.load(Ordering::Relaxed)
    }

    /// Another proxy has taken this one's name.
    pub(super) fn displace(&self) {
        self.displaced.store(true, Ordering::Relaxed);
        let reason = super::commit::displaced(self.author.name.as_str());
        self.mirror().lose(reason);
    }

    pub(super) fn hear(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(super) fn heard(&self) -> Instant {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The mirror, while it is locked. Whoever waits for news is woken when it is given back.
pub(super) struct Noticed<'a> {
    session: &'a Session,
    guard: MutexGuard<'a, Mirror>,
}

impl std::ops::Deref for Noticed<'_> {
    type Target = Mirror;

    fn deref(&self) -> &Mirror {
        &self.guard
    }
}

impl std::ops::DerefMut for Noticed<'_> {
    fn deref_mut(&mut self) -> &mut Mirror {
        &mut self.guard
    }
}

impl Drop for Noticed<'_> {
    fn drop(&mut self) {
        if self.guard.has_news() {
            self.session.news.notify_one();
        }
    }
}

/// Changes a counter by a rule that is told its value, 0 if there is none, and returns what it is then. A rule that
/// wants no change says `None`.
async fn raise(
    client: &Client,
    key: Bytes,
    limit: Duration,
    rule: impl Fn(u64) -> Option<u64>,
) -> Result<u64, Fault> {
    // The first comparison is with a revision that no key has: it reads.
    let mut revision = i64::MAX;
    let mut value = 0;
    for _ in 0..ROUNDS_MAX {
        let question = TxnRequest {
            compare: vec![Compare::unchanged(key.clone(), revision)],
            success: vec![Op::put(key.clone(), value.to_string().into(), 0)],
            failure: vec![Op::read(key.clone())],
        };
        let answer: TxnResponse = client.ask(path::TXN, &question, limit).await?;
        if answer.succeeded {
            return Ok(value);
        }
        let found: Option<&KeyValue> = answer
            .responses
            .first()
            .and_then(|r| r.range.as_ref()?.kvs.first());
        revision = found.map_or(0, |kv| kv.mod_revision);
        let current = found.map_or(0, |kv| number(&kv.value));
        match rule(current) {
            Some(next) => value = next,
            None => return Ok(current),
        }
    }
    Err(Fault::Unreachable(format!(
        "others changed a counter {ROUNDS_MAX} times meanwhile"
    )))
}

/// Something else than a number is as good as none: what is written next is a number.
fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

/// The first incarnation after all those that are told, with the low bits of that start.
fn first_after(latest: u64, start: u64) -> Option<Incarnation> {
    let count = latest / STRIDE.get() + 1;
    let high = count.checked_mul(STRIDE.get())?;
    high.checked_add(start % STRIDE.get()).and_then(Incarnation::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incarnations_of_two_starts_never_meet_and_the_later_one_is_higher() {
        let first = first_after(0, 1).unwrap().get();
        let other = first_after(first, 2).unwrap().get();
        assert_eq!(STRIDE.get(), 65_536);
        assert_eq!((first, other), (65_537, 131_074));
        for n in 0..1000 {
            assert_ne!((first + n * STRIDE.get()) % STRIDE.get(), other % STRIDE.get());
        }
        assert_eq!(first_after(other, 65_536 + 2).unwrap().get(), 3 * 65_536 + 2);
        assert_eq!(first_after(u64::MAX, 1), None);
    }

    #[test]
    fn a_counter_that_is_no_number_counts_as_none() {
        assert_eq!(number(b"12\n"), 12);
        assert_eq!(number(b"-1"), 0);
        assert_eq!(number(b"\xff"), 0);
    }
}
