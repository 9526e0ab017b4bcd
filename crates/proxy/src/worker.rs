//! One thread of the data plane: its listeners, its connections, its pools, what it counts. It shares nothing that is written to
//! with the others but the endpoints' meters and, where that is limited, the count of each client's connections.

pub(crate) mod clock;
pub(crate) mod news;
pub(crate) mod running;
pub(crate) mod scarcity;
pub(crate) mod timer;

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use edgeproxy_backend::{Endpoint, TrafficReport};
use edgeproxy_balance::Client as Whereabouts;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::headers::via::Pseudonym;
use crate::http1::request::{Client, Rules};
use crate::listen::accept::{accept_all, accept_queued};
use crate::listen::clients::Clients;
use crate::listen::inside;
use crate::listen::slots::Slots;
use crate::request::origin::{Introduced, Origins};
use crate::tcp::Supplies;
use crate::telemetry::access_log::{Asked, Asker, Entry, Gathered};
use crate::telemetry::counts::{Books, Counted, Tally, Unopened};
use crate::telemetry::traces::Sampling;
use crate::transport::buffer::Buffers;
use crate::upstream::attempt::mux::{Mux, Muxes};
use crate::upstream::pool::{Pool, Upstream};
use crate::upstream::wire::Wire;
use crate::worker::running::Told;
use crate::worker::timer::Timers;
use crate::{AppRoute, Config, Reporter, RouteTable, SharedTable};

/// What all workers have in common.
pub(crate) struct Shared {
    /// What held at the beginning, and holds with a table that brings no other.
    pub(crate) config: Arc<Config>,
    pub(crate) pseudonym: Pseudonym,
    pub(crate) table: SharedTable,
    pub(crate) reporter: Arc<dyn Reporter>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) counted: Counted,
    pub(crate) drain: CancellationToken,
    /// Somebody else accepts on the sockets, but for those of the listeners that are listed.
    pub(crate) departure: OnceLock<Box<[usize]>>,
    pub(crate) abort: CancellationToken,
}

/// A worker as its connections know it: with the configuration that was in force when they began, to which each
/// keeps to its end. Whoever holds it pays a pointer for both.
pub(crate) struct Worker {
    parts: Rc<Parts>,
    config: Arc<Config>,
}

/// The worker for those connections that begin now.
pub(crate) struct Latest {
    parts: Rc<Parts>,
    worker: RefCell<Rc<Worker>>,
}

/// What the connections of one worker have in common, whatever was in force when they began.
struct Parts {
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
    /// Its share of the connections.
    slots: Slots,
    books: Books,
    gathered: Rc<Gathered>,
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

impl Parts {
    fn new(shared: Arc<Shared>, number: usize, books: Books) -> Self {
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
            slots: Slots::new(config.connections_per_worker()),
            books,
            gathered: Rc::default(),
            shared,
        }
    }

    /// The table in force, to be held for as long as a request needs it.
    fn current_table(&self) -> Rc<Current> {
        let latest = self.shared.table.load();
        let mut table = self.table.borrow_mut();
        if !Arc::ptr_eq(&latest, &table.0) {
            *table = Rc::new(Current(Arc::clone(&latest)));
        }
        Rc::clone(&table)
    }

    /// Gives back what is only kept for later.
    fn let_go(&self) {
        self.wires.let_go();
        self.muxes.let_go();
        self.supplies.let_go();
    }

    /// Goes over to what `config` says of that which no connection has for itself.
    fn follow(&self, config: &Config) {
        self.wires.bound(config.pool_idle_timeout, config.pool_max_idle);
        self.muxes.bound(config.pool_idle_timeout);
        self.slots.resize(config.connections_per_worker());
    }
}

impl Latest {
    fn new(shared: &Arc<Shared>, number: usize, books: Books) -> Self {
        let parts = Rc::new(Parts::new(Arc::clone(shared), number, books));
        let worker = Rc::new(Worker {
            parts: Rc::clone(&parts),
            config: Arc::clone(&shared.config),
        });
        Self {
            parts,
            worker: RefCell::new(worker),
        }
    }

    /// The worker's share of the connections.
    pub(crate) fn slots(&self) -> &Slots {
        &self.parts.slots
    }

    /// What a connection gets that begins now.
    pub(crate) fn worker(&self) -> Rc<Worker> {
        let mut worker = self.worker.borrow_mut();
        if let Some(config) = worker.overtaken() {
            self.parts.follow(&config);
            let parts = Rc::clone(&self.parts);
            *worker = Rc::new(Worker { parts, config });
        }
        Rc::clone(&worker)
    }
}

impl Worker {
    /// The configuration in force, if that is another.
    fn overtaken(&self) -> Option<Arc<Config>> {
        let table = self.current_table();
        let latest = table.config().unwrap_or(&self.parts.shared.config);
        (!Arc::ptr_eq(latest, &self.config)).then(|| Arc::clone(latest))
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn pseudonym(&self) -> &Pseudonym {
        &self.parts.shared.pseudonym
    }

    pub(crate) fn table(&self) -> &SharedTable {
        &self.parts.shared.table
    }

    /// The table in force, to be held for as long as a request needs it.
    pub(crate) fn current_table(&self) -> Rc<Current> {
        self.parts.current_table()
    }

    pub(crate) fn wires(&self) -> &Pool<Wire> {
        &self.parts.wires
    }

    pub(crate) fn muxes(&self) -> &Muxes {
        &self.parts.muxes
    }

    /// What it holds of `endpoint`. Hold it for as long as a request is under way there, so that it can be cut.
    pub(crate) fn upstream(&self, endpoint: &Endpoint) -> Rc<Upstream<Wire>> {
        self.parts.wires.upstream(endpoint, || self.tally(endpoint))
    }

    /// What leads to `endpoint` by HTTP/2.
    pub(crate) fn mux(&self, endpoint: &Endpoint) -> Rc<Mux> {
        self.parts.muxes.mux(endpoint, || self.tally(endpoint))
    }

    /// Where `endpoint` is counted; the upstream of a request that is under way knows it as well.
    pub(crate) fn tally(&self, endpoint: &Endpoint) -> Rc<Tally> {
        self.parts.books.backend(endpoint)
    }

    /// What is to be written down, and told, of a request that has just come. `None`: nothing.
    #[inline]
    pub(crate) fn entry<'a>(
        &self,
        from: Asker,
        began: Instant,
        asked: impl FnOnce() -> Asked<'a>,
    ) -> Option<Box<Entry>> {
        if self.config.access_log.is_none() && from.traced.is_none() {
            return None;
        }
        let log = (&self.config, &self.parts.gathered);
        Entry::new(log, from, &asked(), began, || self.random())
    }

    /// Which requests of a client are told of. `None`: none.
    #[inline]
    pub(crate) fn sampling(&self, client: Client) -> Option<Sampling> {
        let tracing = self.config.tracing.as_ref()?;
        Some(tracing.sampling(client.trusted))
    }

    /// Where it counts.
    pub(crate) fn books(&self) -> &Books {
        &self.parts.books
    }

    pub(crate) fn buffers(&self) -> &Rc<Buffers> {
        &self.parts.buffers
    }

    pub(crate) fn timers(&self) -> &Timers {
        &self.parts.timers
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
            sampling: self.sampling(client),
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
        let (written, date) = self.parts.date.get();
        if written == second {
            return date;
        }
        let text = httpdate::HttpDate::from(now).to_string();
        let mut date = [b' '; 29];
        if text.len() == date.len() {
            date.copy_from_slice(text.as_bytes());
        }
        self.parts.date.set((second, date));
        date
    }

    /// Whether connections are to end with their next answer.
    pub(crate) fn is_draining(&self) -> bool {
        self.parts.is_draining.get()
    }

    /// How long a connection is waited for that has nothing under way when connections are to end. `None`: for as long
    /// as otherwise, since somebody else has the sockets, and nobody waits for the end.
    pub(crate) fn patience(&self, served: bool) -> Option<Duration> {
        if self.parts.shared.departure.get().is_some() {
            return None;
        }
        // What has been accepted may be about to ask; what has been served has had its turn.
        Some(if served {
            Duration::ZERO
        } else {
            self.config.drain_grace
        })
    }

    pub(crate) fn clients(&self) -> &Arc<Clients> {
        &self.parts.shared.clients
    }

    /// What TCP connections borrow while bytes are under way.
    pub(crate) fn supplies(&self) -> &Supplies {
        &self.parts.supplies
    }

    pub(crate) fn draining(&self) -> &CancellationToken {
        &self.parts.draining
    }

    pub(crate) fn random(&self) -> u64 {
        self.parts.random.borrow_mut().u64(..)
    }

    pub(crate) fn report(&self, report: TrafficReport) {
        self.parts.shared.reporter.report(report);
    }

    /// Counts a request to `app`, of which a share may be retried.
    pub(crate) fn count_request(&self, app: &AppRoute) {
        app.retry_budget.count(self.parts.number);
    }
}

/// Runs a worker until it has drained, or is aborted. `sockets` come with the numbers of their listeners.
pub(crate) async fn run(
    shared: Arc<Shared>,
    (number, unopened): (usize, Unopened),
    sockets: Vec<(usize, TcpListener)>,
    (changed, asked, pulses): Told,
) {
    let latest = Rc::new(Latest::new(&shared, number, unopened.open()));
    let timers = latest.parts.timers.run();
    let inside = TaskTracker::new();
    tokio::task::spawn_local(keep_up(Rc::clone(&latest), changed));
    tokio::task::spawn_local(timers);
    tokio::task::spawn_local(Rc::clone(&latest.parts.gathered).keep_flushing());
    tokio::task::spawn_local(answer(pulses));
    tokio::task::spawn_local(inside::serve(Rc::clone(&latest), asked, inside.clone()));
    tokio::select! {
        () = serve(&latest, sockets, &inside) => {}
        () = shared.abort.cancelled() => {}
    }
    // What is still under way is dropped now, and nobody else is to blame.
    latest.parts.books.cut();
}

/// Answers whoever wants to know whether the worker goes round.
async fn answer(mut pulses: mpsc::Receiver<oneshot::Sender<()>>) {
    while let Some(asked) = pulses.recv().await {
        // Whoever asked may have lost patience.
        let _ = asked.send(());
    }
}

/// Accepts until it drains, then waits for what is in flight.
async fn serve(latest: &Latest, mut sockets: Vec<(usize, TcpListener)>, inside: &TaskTracker) {
    tokio::select! {
        () = accept_all(latest, &sockets) => {}
        () = latest.parts.shared.drain.cancelled() => {}
    }
    if let Some(untaken) = latest.parts.shared.departure.get() {
        sockets.retain(|(listener, _)| untaken.contains(listener));
    }
    accept_queued(latest, sockets);
    latest.parts.is_draining.set(true);
    latest.parts.draining.cancel();
    latest.parts.timers.wake_all();
    let limit = latest.worker().config().drain_timeout;
    // Every slot is free again when every connection has ended.
    let ended = async {
        latest.slots().all().await;
        inside.close();
        inside.wait().await;
    };
    if tokio::time::timeout(limit, ended).await.is_err() {
        tracing::warn!("the drain's time is over; what is still in flight is ended");
    }
}

/// Goes over to what is in force and prunes the pools when the table has changed, and every so often. Empties them when
/// somebody lacks what they hold.
async fn keep_up(latest: Rc<Latest>, mut changed: watch::Receiver<u64>) {
    let mut calls = scarcity::calls();
    loop {
        let every = latest.worker().config().pool_idle_timeout / 2;
        tokio::select! {
            told = changed.changed() => if told.is_err() { return },
            _ = calls.changed() => latest.parts.let_go(),
            () = tokio::time::sleep(every.max(Duration::from_millis(10))) => {}
        }
        // An idle worker would otherwise hold the table before, and its configuration.
        let worker = latest.worker();
        worker.muxes().prune();
        worker.books().sweep(&worker.current_table());
        if worker.wires().prune() {
            // Those whose request has been cut are among them.
            worker.timers().wake_all();
        }
    }
}
