//! A store of several proxies in memory, with faults on command: for tests of what is joined by one.
//!
//! It keeps the contract that `Etcd` keeps, is deterministic under tokio's paused clock, and costs no time there:
//!
//! ```
//! use edgeproxy_store::testing::{Hub, registered};
//! use edgeproxy_store::{Store, Update};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
//! let hub = Hub::new();
//! let (a, b) = (hub.proxy("a"), hub.proxy("b"));
//! a.load().await?;
//! b.load().await?;
//! hub.cut("b");
//! a.commit(&[registered(1, 9)]).await?;
//! assert!(matches!(b.update().await, Update::Lost { .. }));
//! hub.heal("b");
//! assert_eq!(b.update().await, Update::Restored);
//! assert_eq!(b.update().await, Update::Changed(registered(1, 9)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

mod book;
mod line;

use std::num::NonZeroU64;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use edgeproxy_backend::{BackendId, Incarnation};
use edgeproxy_registry::Write;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

use crate::numbers::{self, STRIDE};
use crate::{CommitError, Held, LoadError, Loaded, ProxyName, Shared, Store, Task, Update};
use line::Lines;

/// How long a proxy's membership outlives its last sign.
pub const MEMBER_TTL: Duration = Duration::from_secs(10);
/// How long a cut is not noticed.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How long a call waits for a cut to end.
pub const CALL_LIMIT: Duration = Duration::from_secs(5);

/// What several proxies share. Clones share it as well.
#[derive(Clone, Debug, Default)]
pub struct Hub {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    lines: Mutex<Lines>,
    changed: Notify,
}

/// One proxy's store: of one start, which ends when it is dropped, as by a crash.
#[derive(Debug)]
pub struct HubStore {
    hub: Hub,
    me: ProxyName,
    /// 0 until it is loaded.
    start: AtomicU64,
}

impl Hub {
    /// One that holds nothing, in reach of everybody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The store of a proxy of that name.
    ///
    /// # Panics
    /// When it is no name of a proxy.
    #[must_use]
    pub fn proxy(&self, name: &str) -> HubStore {
        HubStore {
            hub: self.clone(),
            me: named(name),
            start: AtomicU64::new(0),
        }
    }

    /// That proxy can't reach the store any more, and isn't heard of. It notices after [`PATIENCE`]; the others after
    /// [`MEMBER_TTL`].
    ///
    /// # Panics
    /// When it is no name of a proxy.
    pub fn cut(&self, name: &str) {
        let name = named(name);
        self.change(|lines, now| lines.cut(&name, now));
    }

    /// It can again.
    ///
    /// # Panics
    /// When it is no name of a proxy.
    pub fn heal(&self, name: &str) {
        let name = named(name);
        self.change(|lines, now| lines.heal(&name, now));
    }

    /// Nobody can reach the store, and no time passes for it: no membership ends.
    pub fn cut_all(&self) {
        self.change(Lines::cut_all);
    }

    /// It is there again for all that are not cut off by themselves.
    pub fn heal_all(&self) {
        self.change(Lines::heal_all);
    }

    /// What has happened is forgotten: whoever can't be told it any more is told everything.
    pub fn compact(&self) {
        self.change(|lines, _| lines.compact());
    }

    /// That proxy is told everything in place of what it has yet to be told.
    ///
    /// # Panics
    /// When it is no name of a proxy.
    pub fn resync(&self, name: &str) {
        let name = named(name);
        self.change(|lines, _| lines.resync(&name));
    }

    /// So many of that proxy's next writes are done, and answered by an error.
    ///
    /// # Panics
    /// When it is no name of a proxy.
    pub fn lose_answers(&self, name: &str, count: u32) {
        let name = named(name);
        self.change(|lines, _| lines.lose_answers(&name, count));
    }

    /// From now on each call takes so long, half of it before anything is done.
    pub fn slow(&self, latency: Duration) {
        self.change(|lines, _| lines.latency = latency);
    }

    /// Which life of a backend is registered, and who holds its lease.
    #[must_use]
    pub fn owner(&self, id: &BackendId) -> Option<(Incarnation, ProxyName)> {
        self.lines().book.owner(id)
    }

    /// How many backends are registered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines().book.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn change<T>(&self, change: impl FnOnce(&mut Lines, Instant) -> T) -> T {
        let now = Instant::now();
        let mut lines = self.lines();
        lines.expire(now);
        let changed = change(&mut lines, now);
        drop(lines);
        self.inner.changed.notify_waiters();
        changed
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.inner.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until that is so, or the time has come.
    async fn wait<T>(&self, until: Instant, mut so: impl FnMut(&mut Lines) -> Option<T>) -> Option<T> {
        loop {
            let mut changed = pin!(self.inner.changed.notified());
            changed.as_mut().enable();
            let now = Instant::now();
            let next = {
                let mut lines = self.lines();
                lines.expire(now);
                if let Some(found) = so(&mut lines) {
                    return Some(found);
                }
                lines.next_expiry()
            };
            if now >= until {
                return None;
            }
            let wake = next.map_or(until, |next| next.min(until));
            // Either is a reason to look again.
            let _ = timeout_at(wake, changed).await;
        }
    }
}

fn named(name: &str) -> ProxyName {
    ProxyName::parse(name).expect("a proxy's name")
}

impl HubStore {
    fn start(&self) -> u64 {
        self.start.load(Ordering::Relaxed)
    }

    fn failed(&self, what: &str) -> CommitError {
        CommitError {
            message: format!("hub: {}: {what}", self.me),
            source: None,
        }
    }

    /// A call that writes.
    async fn call(&self, deed: impl FnOnce(&mut Lines)) -> Result<(), CommitError> {
        let start = self.start();
        let latency = self.hub.lines().latency;
        if !latency.is_zero() {
            sleep(latency / 2).await;
        }
        let me = &self.me;
        let until = Instant::now() + CALL_LIMIT;
        let ready = self.hub.wait(until, |lines| match lines.is_ready(me, start) {
            Ok(true) => Some(Ok(())),
            Ok(false) => None,
            Err(why) => Some(Err(why)),
        });
        match ready.await {
            Some(Ok(())) => {}
            Some(Err(why)) => return Err(self.failed(why)),
            None => return Err(self.failed("the store can't be reached")),
        }
        let is_answered = self.hub.change(|lines, _| {
            deed(lines);
            lines.is_answered(me)
        });
        if !latency.is_zero() {
            sleep(latency / 2).await;
        }
        if is_answered {
            Ok(())
        } else {
            Err(self.failed("the answer was lost"))
        }
    }
}

impl Drop for HubStore {
    fn drop(&mut self) {
        let (me, start) = (self.me.clone(), self.start());
        if start != 0 {
            self.hub.change(|lines, now| lines.crash(&me, start, now));
        }
    }
}

impl Store for HubStore {
    fn name(&self) -> &'static str {
        "hub"
    }

    /// While it is cut off it begins with nothing, as a proxy does that starts while etcd is away.
    fn load(&self) -> Task<'_, Result<Loaded, LoadError>> {
        Box::pin(async move {
            let (start, mut loaded, latest) = self.hub.change(|lines, now| lines.load(&self.me, now));
            self.start.store(start, Ordering::Relaxed);
            loaded.next_incarnation = numbers::first_after(latest, start);
            Ok(loaded)
        })
    }

    fn commit<'a>(&'a self, writes: &'a [Write]) -> Task<'a, Result<(), CommitError>> {
        let start = self.start();
        Box::pin(self.call(move |lines| {
            let answers = lines.book.commit(&self.me, start, writes);
            lines.written(&self.me, writes);
            lines.answer(&self.me, answers);
        }))
    }

    fn release(&self) -> Task<'_, ()> {
        let start = self.start.swap(0, Ordering::Relaxed);
        self.hub.change(|lines, now| lines.crash(&self.me, start, now));
        Box::pin(std::future::ready(()))
    }

    fn update(&self) -> Task<'_, Update> {
        Box::pin(async move {
            loop {
                let so = |lines: &mut Lines| lines.next(&self.me, self.start(), Instant::now());
                let until = self.hub.lines().notices_at(&self.me);
                // One that is cut off meanwhile notices it no sooner than that.
                let until = until.unwrap_or_else(|| Instant::now() + PATIENCE);
                if let Some(update) = self.hub.wait(until, so).await {
                    return update;
                }
            }
        })
    }

    fn stride(&self) -> NonZeroU64 {
        STRIDE
    }

    fn shared(&self) -> Option<&dyn Shared> {
        Some(self)
    }
}

impl Shared for HubStore {
    fn me(&self) -> &ProxyName {
        &self.me
    }

    fn adopt<'a>(&'a self, held: &'a [Held]) -> Task<'a, Result<(), CommitError>> {
        Box::pin(self.call(move |lines| {
            let answers = lines.book.adopt(&self.me, held);
            lines.answer(&self.me, answers);
        }))
    }

    fn end<'a>(&'a self, held: &'a [Held]) -> Task<'a, Result<(), CommitError>> {
        Box::pin(self.call(move |lines| {
            let answers = lines.book.finish(&self.me, held);
            lines.answer(&self.me, answers);
        }))
    }

    fn tell<'a>(&'a self, ids: &'a [BackendId]) -> Task<'a, Result<(), CommitError>> {
        Box::pin(self.call(move |lines| lines.book.tell(&self.me, ids)))
    }

    fn leave(&self) -> Task<'_, ()> {
        let start = self.start.swap(0, Ordering::Relaxed);
        self.hub.change(|lines, _| lines.leave(&self.me, start));
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests;
