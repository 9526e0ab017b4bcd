//! Whoever reads what the workers count.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use edgeproxy_backend::{AppName, BackendId};

use super::books::{Books, News};
use super::{
    AppCells, AppTotals, BREACHES, BackendCells, BackendTotals, Cells, Kinds, REASONS, TURNED_AWAY,
    WorkerCells,
};
use crate::Listener;

/// What the workers have counted since they began. Cheap to clone; a clone reads the same.
#[derive(Clone)]
pub struct Counted(Arc<Inner>);

struct Inner {
    workers: Box<[Arc<WorkerCells>]>,
    listeners: Box<[String]>,
    /// For readers alone: no worker takes it.
    shelves: Mutex<Shelves>,
}

struct Shelves {
    news: mpsc::Receiver<News>,
    backends: Shelf<BackendCells>,
    apps: Shelf<AppCells>,
    tidied: Instant,
}

/// All cells of one kind.
struct Shelf<C: Cells> {
    /// Those that a worker may write to.
    live: Vec<Arc<C>>,
    /// The sums of those that none does any more.
    past: HashMap<C::Key, Past<C::Totals>>,
}

struct Past<T> {
    totals: T,
    since: Instant,
}

/// For how long something is still told of that is gone, so that whoever asks every now and then has all of it.
const KEPT: Duration = Duration::from_secs(300);
/// How much that is gone is kept at most.
const MAX_KEPT: usize = 16_384;
/// A look at everything takes its time, and this is how often one is worth it.
const TIDY: Duration = Duration::from_secs(10);

/// What has been counted at about one moment.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// By app, in the order of names: those that had traffic since the workers began, and are still there or were five
    /// minutes ago.
    pub apps: Vec<AppTraffic>,
    /// By backend, in the order of apps and ids: those that had traffic since the workers began, and are still there or
    /// were five minutes ago.
    pub backends: Vec<BackendTraffic>,
    /// By worker.
    pub workers: Vec<WorkerTraffic>,
    /// Requests that were answered before it was known which app they are for, as [`REASONS`] has them.
    pub refused: [u64; REASONS.len()],
    /// HTTP/2 clients that were thrown out, as [`BREACHES`] has them.
    pub breaches: [u64; BREACHES.len()],
}

/// What has been counted of an app.
#[derive(Clone, Debug)]
pub struct AppTraffic {
    /// Which.
    pub app: AppName,
    /// What.
    pub totals: AppTotals,
}

/// What has been counted of a backend.
#[derive(Clone, Debug)]
pub struct BackendTraffic {
    /// Its app.
    pub app: AppName,
    /// Which.
    pub id: BackendId,
    /// What.
    pub totals: BackendTotals,
}

/// What one worker has counted of itself.
#[derive(Clone, Debug, Default)]
pub struct WorkerTraffic {
    /// Bytes that it has written to backends.
    pub sent_bytes: u64,
    /// Bytes that it has read from backends.
    pub received_bytes: u64,
    /// By listener, in their order.
    pub listeners: Vec<ListenerTraffic>,
}

/// What one worker has counted of one listener.
#[derive(Clone, Debug, Default)]
pub struct ListenerTraffic {
    /// Its name.
    pub name: String,
    /// Connections that were accepted.
    pub accepted: u64,
    /// Connections that are open.
    pub open: u64,
    /// Connections that were closed before they were served, as [`TURNED_AWAY`] has them.
    pub turned_away: [u64; TURNED_AWAY.len()],
    /// TLS handshakes that succeeded.
    pub handshakes: u64,
    /// TLS handshakes that failed, or took too long.
    pub handshakes_failed: u64,
}

impl Counted {
    /// For as many workers, and those listeners: what reads, and for each worker what it counts in, once it is there.
    pub(crate) fn new(workers: usize, listeners: &[Listener]) -> (Self, Vec<Unopened>) {
        let (sender, news) = mpsc::channel();
        let cells: Box<[_]> = (0..workers)
            .map(|_| Arc::new(WorkerCells::new(listeners.len())))
            .collect();
        let unopened = cells
            .iter()
            .map(|own| Unopened(Arc::clone(own), sender.clone()))
            .collect();
        let shelves = Shelves {
            news,
            backends: Shelf::default(),
            apps: Shelf::default(),
            tidied: Instant::now(),
        };
        let inner = Inner {
            workers: cells,
            listeners: listeners.iter().map(|listener| listener.name.clone()).collect(),
            shelves: Mutex::new(shelves),
        };
        (Self(Arc::new(inner)), unopened)
    }

    /// Adds it all up. It takes well below a microsecond for each backend and worker; no worker waits for it.
    #[must_use]
    pub fn read(&self) -> Traffic {
        let mut traffic = Traffic::default();
        {
            let mut shelves = self.shelves();
            shelves.tidy(Instant::now());
            let backends = shelves.backends.sums().into_iter();
            traffic.backends = backends
                .map(|((app, id), totals)| BackendTraffic { app, id, totals })
                .collect();
            let apps = shelves.apps.sums().into_iter();
            traffic.apps = apps.map(|(app, totals)| AppTraffic { app, totals }).collect();
        }
        for worker in &self.0.workers {
            worker.refused.add_to(&mut traffic.refused);
            worker.breaches.add_to(&mut traffic.breaches);
            traffic.workers.push(self.worker(worker));
        }
        traffic
    }

    fn worker(&self, cells: &WorkerCells) -> WorkerTraffic {
        let listeners = self.0.listeners.iter().zip(&cells.listeners);
        let listeners = listeners.map(|(name, cells)| ListenerTraffic {
            name: name.clone(),
            accepted: cells.accepted.get(),
            open: cells.open.get(),
            turned_away: sums(&cells.turned_away),
            handshakes: cells.handshakes.get(),
            handshakes_failed: cells.handshakes_failed.get(),
        });
        WorkerTraffic {
            sent_bytes: cells.sent.get(),
            received_bytes: cells.received.get(),
            listeners: listeners.collect(),
        }
    }

    /// Puts away what is no more, unless somebody is reading or it was done a moment ago. What comes and goes while nobody
    /// reads would grow without it.
    pub(crate) fn tidy(&self) {
        let now = Instant::now();
        if let Ok(mut shelves) = self.0.shelves.try_lock()
            && now.saturating_duration_since(shelves.tidied) >= TIDY
        {
            shelves.tidy(now);
        }
    }

    fn shelves(&self) -> MutexGuard<'_, Shelves> {
        // Sums that a panic has left are no worse than others.
        self.0.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A worker's cells, on their way to its thread.
pub(crate) struct Unopened(Arc<WorkerCells>, mpsc::Sender<News>);

impl Unopened {
    pub(crate) fn open(self) -> Books {
        Books::new(self.0, self.1)
    }
}

fn sums<const N: usize>(kinds: &Kinds<N>) -> [u64; N] {
    let mut sums = [0; N];
    kinds.add_to(&mut sums);
    sums
}

impl Shelves {
    fn tidy(&mut self, now: Instant) {
        self.tidied = now;
        for news in self.news.try_iter() {
            match news {
                News::Backend(cells) => self.backends.live.push(cells),
                News::App(cells) => self.apps.live.push(cells),
            }
        }
        self.backends.tidy(now);
        self.apps.tidy(now);
    }
}

impl<C: Cells> Default for Shelf<C> {
    fn default() -> Self {
        Self {
            live: Vec::new(),
            past: HashMap::new(),
        }
    }
}

impl<C: Cells> Shelf<C> {
    /// Adds to the past what no worker holds any more, and forgets what has been past for long enough.
    fn tidy(&mut self, now: Instant) {
        let past = &mut self.past;
        self.live.retain_mut(|cells| {
            // Alone with it, everything that was written to it can be seen.
            let Some(cells) = Arc::get_mut(cells) else {
                return true;
            };
            let past = past.entry(cells.key()).or_insert_with(|| Past {
                totals: C::Totals::default(),
                since: now,
            });
            past.since = now;
            cells.add_to(&mut past.totals);
            false
        });
        let is_due = |past: &Past<_>| now.saturating_duration_since(past.since) >= KEPT;
        if self.past.len() <= MAX_KEPT && !self.past.values().any(is_due) {
            return;
        }
        // What is back goes on from where it was: a sum that falls would be taken for one that began anew.
        let live: HashSet<_> = self.live.iter().map(|cells| cells.key()).collect();
        self.past.retain(|key, past| live.contains(key) || !is_due(past));
        if self.past.len() > MAX_KEPT {
            self.past.retain(|key, _| live.contains(key));
        }
    }

    fn sums(&self) -> Vec<(C::Key, C::Totals)> {
        let past = self
            .past
            .iter()
            .map(|(key, past)| (key.clone(), past.totals.clone()));
        let mut sums: HashMap<_, _> = past.collect();
        for cells in &self.live {
            cells.add_to(sums.entry(cells.key()).or_default());
        }
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        sums
    }
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counted")
            .field("workers", &self.0.workers.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
