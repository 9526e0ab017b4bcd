//! One thread of the data plane: its listeners, its connections, its pools. It shares nothing that is written to
//! with the others but the endpoints' meters
//! and, where that is limited, the count of each client's connections.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use edgeproxy_backend::TrafficReport;
use edgeproxy_balance::Client as Whereabouts;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept::{accept_all, accept_queued};
use crate::attempt::mux::Muxes;
use crate::buffer::Buffers;
use crate::clients::Clients;
use crate::headers::via::Pseudonym;
use crate::http1::request::{Client, Rules};
use crate::inside::{self, Asking};
use crate::origin::{Introduced, Origins};
use crate::pool::Pool;
use crate::tcp::Supplies;
use crate::timer::Timers;
use crate::wire::Wire;
use crate::{AppRoute, Config, Reporter, RouteTable, SharedTable};

/// What all workers have in common.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) pseudonym: Pseudonym,
    pub(crate) table: SharedTable,
    pub(crate) reporter: Arc<dyn Reporter>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) drain: CancellationToken,
    pub(crate) abort: CancellationToken,
}

/// What the connections of one worker have in common.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    /// Which one it is, from 0.
    number: usize,
    wires: Pool<Wire>,
    muxes: Muxes,
    buffers: Rc<Buffers>,
    timers: Timers,
    /// The table that was in force when it was last asked for. What holds it counts no atomics.
    table: RefCell<Rc<Current>>,
    /// What `Date` says, and the second that it is for.
    date: Cell<(u64, [u8; 29])>,
    supplies: Supplies,
    random: RefCell<fastrand::Rng>,
    /// A worker's own, since every connection waits for it: the one of all workers would be a lock between them.
    draining: CancellationToken,
    is_draining: Cell<bool>,
}

/// A table as one worker's requests hold it. They count it for themselves: what every request of every worker
/// counted would be a cache line that all of them write to.
pub(crate) struct Current(Arc<RouteTable>);

impl std::ops::Deref for Current {
    type Target = RouteTable;

    fn deref(&self) -> &RouteTable {
        &self.0
    }
}

impl Worker {
    fn new(shared: Arc<Shared>, number: usize) -> Self {
        let config = &shared.config;
        let timers = Timers::new();
        Self {
            wires: Pool::new(config.pool_idle_timeout, config.pool_max_idle),
            muxes: Muxes::new(config.pool_idle_timeout, timers.clone()),
            buffers: Rc::default(),
            timers,
            table: RefCell::new(Rc::new(Current(shared.table.load_full()))),
            date: Cell::new((0, [b' '; 29])),
            supplies: Supplies::default(),
            random: RefCell::new(fastrand::Rng::new()),
            number,
            draining: CancellationToken::new(),
            is_draining: Cell::new(false),
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

    /// The table in force, to be held for as long as a request needs it.
    pub(crate) fn current_table(&self) -> Rc<Current> {
        let latest = self.shared.table.load();
        let mut table = self.table.borrow_mut();
        if !Arc::ptr_eq(&latest, &table.0) {
            *table = Rc::new(Current(Arc::clone(&latest)));
        }
        Rc::clone(&table)
    }

    pub(crate) fn wires(&self) -> &Pool<Wire> {
        &self.wires
    }

    pub(crate) fn muxes(&self) -> &Muxes {
        &self.muxes
    }

    pub(crate) fn buffers(&self) -> &Rc<Buffers> {
        &self.buffers
    }

    pub(crate) fn timers(&self) -> &Timers {
        &self.timers
    }

    /// What holds for the requests of a client, with `table` in force.
    pub(crate) fn rules<'a>(&'a self, client: Client, table: &'a RouteTable) -> Rules<'a> {
        let config = self.config();
        Rules {
            max_head_bytes: config.max_head_bytes,
            max_fields: config.max_fields,
            max_target_bytes: config.max_target_bytes,
            table,
            pseudonym: self.pseudonym(),
            client,
            origins: self.origins(client),
        }
    }

    /// How a client is read that may come for others.
    pub(crate) fn origins(&self, client: Client) -> Option<Origins<'_>> {
        let config = self.config();
        (client.trusted && config.locate.is_some()).then_some(Origins {
            trusted: &config.trusted_proxies,
            country: config.country_header.as_ref(),
        })
    }

    /// Where `address` is.
    pub(crate) fn locate(&self, address: IpAddr) -> Whereabouts {
        let locate = self.config().locate.as_ref();
        locate.map_or_else(Whereabouts::default, |locate| locate.address(address))
    }

    /// Where a request of `client` comes from.
    pub(crate) fn whereabouts(&self, client: Client, introduced: Option<Introduced>) -> Whereabouts {
        let (Some(locate), Some(introduced)) = (&self.config().locate, introduced) else {
            return client.whereabouts;
        };
        match introduced {
            Introduced {
                country: Some(country),
                ..
            } => locate.country(country),
            Introduced {
                address: Some(address),
                ..
            } => locate.address(address),
            Introduced { .. } => client.whereabouts,
        }
    }

    /// The value of `Date`, written once a second.
    pub(crate) fn date(&self) -> [u8; 29] {
        let now = SystemTime::now();
        let second = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let (written, date) = self.date.get();
        if written == second {
            return date;
        }
        let text = httpdate::HttpDate::from(now).to_string();
        let mut date = [b' '; 29];
        if text.len() == date.len() {
            date.copy_from_slice(text.as_bytes());
        }
        self.date.set((second, date));
        date
    }

    /// Whether connections are to end with their next answer.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.get()
    }

    pub(crate) fn clients(&self) -> &Arc<Clients> {
        &self.shared.clients
    }

    /// What TCP connections borrow while bytes are under way.
    pub(crate) fn supplies(&self) -> &Supplies {
        &self.supplies
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

    /// Counts a request to `app`, of which a share may be retried.
    pub(crate) fn count_request(&self, app: &AppRoute) {
        app.retry_budget.count(self.number);
    }
}

/// Runs a worker until it has drained, or is aborted. `sockets` are in the order of the listeners.
///
/// `asked` brings those inside of the process who want to be served as well.
pub(crate) async fn run(
    shared: Arc<Shared>,
    number: usize,
    sockets: Vec<TcpListener>,
    changed: watch::Receiver<u64>,
    asked: mpsc::Receiver<Asking>,
) {
    let worker = Rc::new(Worker::new(Arc::clone(&shared), number));
    let inside = TaskTracker::new();
    tokio::task::spawn_local(keep_pool(Rc::clone(&worker), changed));
    tokio::task::spawn_local(worker.timers.run());
    tokio::task::spawn_local(inside::serve(Rc::clone(&worker), asked, inside.clone()));
    tokio::select! {
        () = serve(worker, sockets, inside) => {}
        () = shared.abort.cancelled() => {}
    }
}

/// Accepts until it drains, then waits for what is in flight.
async fn serve(worker: Rc<Worker>, sockets: Vec<TcpListener>, inside: TaskTracker) {
    let slots = worker.config().connections_per_worker().min(MAX_SLOTS);
    let free = Arc::new(Semaphore::new(slots as usize));
    tokio::select! {
        () = accept_all(&worker, &sockets, &free) => {}
        () = worker.shared.drain.cancelled() => {}
    }
    accept_queued(&worker, sockets, &free);
    worker.is_draining.set(true);
    worker.draining.cancel();
    worker.timers.wake_all();
    // Every slot is free again when every connection has ended.
    let ended = async {
        let _ = free.acquire_many(slots).await;
        inside.close();
        inside.wait().await;
    };
    if tokio::time::timeout(worker.config().drain_timeout, ended)
        .await
        .is_err()
    {
        tracing::warn!("the drain's time is over; what is still in flight is ended");
    }
}

/// As many as a semaphore can count.
const MAX_SLOTS: u32 = u32::MAX >> 3;

/// Prunes the pool when the table has changed, and every so often.
async fn keep_pool(worker: Rc<Worker>, mut changed: watch::Receiver<u64>) {
    let every = (worker.config().pool_idle_timeout / 2).max(Duration::from_millis(10));
    loop {
        tokio::select! {
            told = changed.changed() => if told.is_err() { return },
            () = tokio::time::sleep(every) => {}
        }
        // An idle worker would otherwise hold the table before.
        worker.current_table();
        worker.muxes.prune();
        if worker.wires.prune() {
            // Those whose request has been cut are among them.
            worker.timers.wake_all();
        }
    }
}
