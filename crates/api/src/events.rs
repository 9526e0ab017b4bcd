//! What has happened to backends, for whoever wants to follow it: `GET /api/v1/events`.
//!
//! There is one ring of the latest events, and every reader has a place in it. Nothing is queued for anybody: a reader
//! that is slow costs a number, and once the ring has gone on without it, it is told so (`reset`) and reads the listing
//! anew. So a reader can neither miss something without knowing nor make the process grow.

mod endpoint;
mod feed;
mod filter;
mod id;
mod licence;
mod quantile;
mod ring;
mod sample;
mod view;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use edgeproxy_registry::Event;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use crate::state::Shared;
pub(crate) use endpoint::{PAGE, follow};
use id::{EventId, Run};
use ring::{Read, Ring, Told};
use sample::Sample;
#[cfg(test)]
pub(crate) use view::tests;

/// Whether that is what an event could be called.
#[cfg(test)]
pub(crate) fn is_id(text: &str) -> bool {
    text.parse::<EventId>().is_ok()
}

/// The latest events. Cheap to clone; a clone is the same.
#[derive(Clone)]
pub struct Events(Arc<Inner>);

struct Inner {
    run: Run,
    ring: Mutex<Ring>,
    progress: watch::Sender<Progress>,
    places: Arc<Semaphore>,
    /// The latest look. Whoever holds it looks, and the others wait for that look.
    sample: tokio::sync::Mutex<Arc<Sample>>,
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
struct Progress {
    /// The number of the newest event.
    newest: u64,
    /// Nothing follows: the process is about to end, or another one goes on.
    ended: bool,
}

impl Default for Events {
    fn default() -> Self {
        Self::new(Self::KEPT, Self::READERS)
    }
}

impl Events {
    /// Events that are kept for those who come back: of a fleet of 1,000 that is deployed anew, all of it.
    pub const KEPT: usize = 4_096;
    /// Who can follow at once. Each holds a connection; an eighth of those that there are by default.
    pub const READERS: usize = 128;

    /// With room for so many events, for so many readers at once.
    #[must_use]
    pub fn new(kept: usize, readers: usize) -> Self {
        Self(Arc::new(Inner {
            run: Run::begun(SystemTime::now()),
            ring: Mutex::new(Ring::new(kept)),
            progress: watch::Sender::new(Progress {
                newest: 0,
                ended: false,
            }),
            places: Arc::new(Semaphore::new(readers.min(Semaphore::MAX_PERMITS))),
            sample: tokio::sync::Mutex::default(),
        }))
    }

    /// Takes in what has just happened, in the order in which the registry tells it. A renewal that changed nothing is
    /// left out: a fleet that registers again every few seconds would leave no room for anything else, and wake everybody
    /// who follows for nothing.
    pub fn tell(&self, event: &Event) {
        let newest = self.ring().push(event, SystemTime::now());
        self.0
            .progress
            .send_if_modified(|progress| std::mem::replace(&mut progress.newest, newest) != newest);
    }

    /// Ends what everybody follows, since the process ends or another one goes on. Whoever follows is told when to come
    /// back; whoever comes to this process before it has ended is refused.
    pub(crate) fn end(&self) {
        self.0.progress.send_modify(|progress| progress.ended = true);
    }

    fn has_ended(&self) -> bool {
        self.0.progress.borrow().ended
    }

    fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.places).try_acquire_owned().ok()
    }

    /// Who follows now.
    #[cfg(test)]
    pub(crate) fn readers(&self) -> usize {
        Self::READERS - self.0.places.available_permits()
    }

    fn id(&self, number: u64) -> EventId {
        EventId {
            run: self.0.run,
            number,
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A look at the meters that isn't old. One is taken at a time, on a thread of its own: thousands of backends take longer
    /// than a heartbeat may wait.
    async fn sample(&self, shared: &Shared, now: Instant) -> Arc<Sample> {
        let mut latest = self.0.sample.lock().await;
        if !latest.is_fresh(now) {
            let (before, shared) = (Arc::clone(&latest), shared.clone());
            let look = move || before.next(&shared.handle, shared.metrics.as_deref(), now);
            // It fails while the process ends; then the one before is as good.
            if let Ok(next) = tokio::task::spawn_blocking(look).await {
                *latest = Arc::new(next);
            }
        }
        Arc::clone(&latest)
    }

    /// Where whoever has seen that one goes on; `None` where what follows it isn't known here any more, or never was.
    fn resume(&self, id: EventId) -> Option<u64> {
        (id.run == self.0.run && self.ring().holds_what_follows(id.number)).then_some(id.number)
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("progress", &*self.0.progress.borrow())
            .finish_non_exhaustive()
    }
}
