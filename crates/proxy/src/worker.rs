//! One thread of the data plane: its listener, its connections, its pool. It shares nothing that is written to
//! with the others but the endpoints' meters.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::{MonoTime, TrafficReport};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::front;
use crate::headers::via::Pseudonym;
use crate::pool::Pool;
use crate::retry::Budget;
use crate::{Config, Reporter, SharedTable};

/// What all workers have in common.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) pseudonym: Pseudonym,
    pub(crate) table: SharedTable,
    pub(crate) reporter: Arc<dyn Reporter>,
    pub(crate) drain: CancellationToken,
    pub(crate) abort: CancellationToken,
}

/// What the connections of one worker have in common.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    pool: Pool,
    budget: RefCell<Budget>,
    random: RefCell<fastrand::Rng>,
    started: Instant,
    /// A worker's own, since every connection waits for it: the one of all workers would be a lock between them.
    draining: CancellationToken,
}

impl Worker {
    fn new(shared: Arc<Shared>) -> Self {
        let config = &shared.config;
        let budget = Budget::new(
            config.retry_budget_percent,
            config.retry_budget_per_sec,
            MonoTime::ZERO,
        );
        Self {
            pool: Pool::new(config.pool_idle_timeout, config.pool_max_idle),
            budget: RefCell::new(budget),
            random: RefCell::new(fastrand::Rng::new()),
            started: Instant::now(),
            draining: CancellationToken::new(),
            shared,
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.shared.config
    }

    pub(crate) fn pseudonym(&self) -> &Pseudonym {
        &self.shared.pseudonym
    }

    pub(crate) fn table(&self) -> &SharedTable {
        &self.shared.table
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(crate) fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    pub(crate) fn random(&self) -> u64 {
        self.random.borrow_mut().u64(..)
    }

    pub(crate) fn report(&self, report: TrafficReport) {
        self.shared.reporter.report(report);
    }

    /// Counts a request, of which a share may be retried.
    pub(crate) fn count_request(&self) {
        self.budget.borrow_mut().deposit();
    }

    /// Whether the budget allows a retry now; it is spent then.
    pub(crate) fn may_retry(&self) -> bool {
        self.budget
            .borrow_mut()
            .withdraw(MonoTime::ZERO + self.started.elapsed())
    }
}

/// Runs a worker until it has drained, or is aborted.
pub(crate) async fn run(shared: Arc<Shared>, listener: TcpListener, changed: watch::Receiver<u64>) {
    let worker = Rc::new(Worker::new(Arc::clone(&shared)));
    tokio::task::spawn_local(keep_pool(Rc::clone(&worker), changed));
    tokio::select! {
        () = serve(worker, listener) => {}
        () = shared.abort.cancelled() => {}
    }
}

/// Accepts until it drains, then waits for what is in flight.
async fn serve(worker: Rc<Worker>, listener: TcpListener) {
    let slots = worker.config().connections_per_worker().min(MAX_SLOTS);
    let free = Arc::new(Semaphore::new(slots as usize));
    tokio::select! {
        () = accept_all(&worker, &listener, &free) => {}
        () = worker.shared.drain.cancelled() => {}
    }
    accept_queued(&worker, listener, &free);
    worker.draining.cancel();
    // Every slot is free again when every connection has ended.
    let ended = free.acquire_many(slots);
    if tokio::time::timeout(worker.config().drain_timeout, ended)
        .await
        .is_err()
    {
        tracing::warn!("the drain's time is over; what is still in flight is ended");
    }
}

/// As many as a semaphore can count.
const MAX_SLOTS: u32 = u32::MAX >> 3;

async fn accept_all(worker: &Rc<Worker>, listener: &TcpListener, free: &Arc<Semaphore>) {
    let mut pause = PAUSE_MIN;
    loop {
        // Never closed, so there is always a slot to come.
        let Ok(slot) = Arc::clone(free).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                pause = PAUSE_MIN;
                begin(worker, stream, slot);
            }
            Err(error) if is_of_the_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, ?pause, "no connection can be accepted; trying again after a pause");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// Out of descriptors or memory, accepting fails at once, again and again.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The client left before it was accepted; the next one is not concerned.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// What the system has accepted for a listener is lost when that is closed, so it is taken first.
fn accept_queued(worker: &Rc<Worker>, listener: TcpListener, free: &Arc<Semaphore>) {
    let Ok(listener) = listener.into_std() else { return };
    while let Ok(slot) = Arc::clone(free).try_acquire_owned() {
        // It doesn't block: an empty queue is an error too.
        match listener.accept().and_then(|(stream, _)| {
            stream.set_nonblocking(true)?;
            TcpStream::from_std(stream)
        }) {
            Ok(stream) => begin(worker, stream, slot),
            Err(error) if is_of_the_connection(&error) => {}
            Err(_) => return,
        }
    }
}

fn begin(worker: &Rc<Worker>, stream: TcpStream, slot: OwnedSemaphorePermit) {
    let worker = Rc::clone(worker);
    // A panic in there ends with the task: the connection is closed, the slot free.
    tokio::task::spawn_local(async move {
        let _slot = slot;
        if let Ok(peer) = stream.peer_addr()
            && stream.set_nodelay(true).is_ok()
        {
            front::serve(worker, stream, peer).await;
        }
    });
}

/// Prunes the pool when the table has changed, and every so often.
async fn keep_pool(worker: Rc<Worker>, mut changed: watch::Receiver<u64>) {
    let every = (worker.config().pool_idle_timeout / 2).max(Duration::from_millis(10));
    loop {
        tokio::select! {
            told = changed.changed() => if told.is_err() { return },
            () = tokio::time::sleep(every) => {}
        }
        worker.pool.prune();
    }
}
