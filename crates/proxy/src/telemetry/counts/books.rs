//! A worker's cells, and how its requests find them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Weak, mpsc};
use std::time::Duration;

use edgeproxy_backend::{AppName, Endpoint, Incarnation, Meter};
use hashbrown::HashMap;
use tokio::time::Instant;

use super::{AppCells, BackendCells, ListenerCells, WorkerCells};
use crate::RouteTable;

/// Every cell of one worker.
pub(crate) struct Books {
    pub(crate) own: Arc<WorkerCells>,
    backends: RefCell<HashMap<Incarnation, Known, foldhash::fast::RandomState>>,
    apps: RefCell<HashMap<AppName, Arc<AppCells>, foldhash::fast::RandomState>>,
    /// To whoever reads. It never blocks.
    news: mpsc::Sender<News>,
    swept: Cell<Instant>,
    /// Whether what is under way is cut now.
    cut: Rc<Cell<bool>>,
}

/// Cells that a worker has just made.
pub(super) enum News {
    Backend(Arc<BackendCells>),
    App(Arc<AppCells>),
}

struct Known {
    tally: Rc<Tally>,
    /// Dead once the registry, every table and every request have let the backend go.
    meter: Weak<Meter>,
}

/// Where a worker counts what is about a backend: for it, for its app, and for the worker.
pub(crate) struct Tally {
    pub(crate) backend: Arc<BackendCells>,
    pub(crate) app: Arc<AppCells>,
    worker: Arc<WorkerCells>,
    cut: Rc<Cell<bool>>,
}

impl Tally {
    /// Whether the worker has ended, and what is dropped is cut.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.get()
    }

    /// Bytes went to the backend.
    #[inline]
    pub(crate) fn sent(&self, bytes: u64) {
        self.backend.sent.add(bytes);
        self.worker.sent.add(bytes);
    }

    /// Bytes came from the backend.
    #[inline]
    pub(crate) fn received(&self, bytes: u64) {
        self.backend.received.add(bytes);
        self.worker.received.add(bytes);
    }
}

/// A connection to a backend, counted as open until it is dropped.
pub(crate) struct Open(Rc<Tally>);

impl Open {
    pub(crate) fn new(tally: Rc<Tally>) -> Self {
        tally.backend.connections.add(1);
        tally.backend.open.add(1);
        Self(tally)
    }
}

impl std::ops::Deref for Open {
    type Target = Tally;

    fn deref(&self) -> &Tally {
        &self.0
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.backend.open.take(1);
    }
}

/// A client's connection, counted as open until it is dropped.
pub(crate) struct Entered {
    worker: Arc<WorkerCells>,
    listener: usize,
}

impl Entered {
    pub(crate) fn new(worker: &Arc<WorkerCells>, listener: usize) -> Self {
        let entered = Self {
            worker: Arc::clone(worker),
            listener,
        };
        entered.with(|cells| {
            cells.accepted.add(1);
            cells.open.add(1);
        });
        entered
    }

    /// It was closed before it was served.
    pub(crate) fn turned_away(&self, reason: usize) {
        self.with(|cells| cells.turned_away.count(reason));
    }

    /// Its TLS handshake is over.
    pub(crate) fn shook_hands(&self, succeeded: bool) {
        self.with(|cells| {
            if succeeded {
                cells.handshakes.add(1);
            } else {
                cells.handshakes_failed.add(1);
            }
        });
    }

    fn with(&self, count: impl FnOnce(&ListenerCells)) {
        if let Some(cells) = self.worker.listeners.get(self.listener) {
            count(cells);
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.with(|cells| cells.open.take(1));
    }
}

impl Books {
    pub(super) fn new(own: Arc<WorkerCells>, news: mpsc::Sender<News>) -> Self {
        Self {
            own,
            backends: RefCell::default(),
            apps: RefCell::default(),
            news,
            swept: Cell::new(Instant::now()),
            cut: Rc::default(),
        }
    }

    /// The worker has ended: what is dropped from here on has not ended by itself.
    pub(crate) fn cut(&self) {
        self.cut.set(true);
    }

    /// Where `endpoint` is counted.
    pub(crate) fn backend(&self, endpoint: &Endpoint) -> Rc<Tally> {
        let mut backends = self.backends.borrow_mut();
        let known = backends.entry(endpoint.incarnation).or_insert_with(|| {
            let cells = Arc::new(BackendCells::new(endpoint.app.clone(), endpoint.id.clone()));
            self.tell(News::Backend(Arc::clone(&cells)));
            Known {
                tally: Rc::new(Tally {
                    backend: cells,
                    app: self.app(&endpoint.app),
                    worker: Arc::clone(&self.own),
                    cut: Rc::clone(&self.cut),
                }),
                meter: Arc::downgrade(&endpoint.meter),
            }
        });
        Rc::clone(&known.tally)
    }

    /// Where the app of that name is counted.
    pub(crate) fn app(&self, name: &AppName) -> Arc<AppCells> {
        let mut apps = self.apps.borrow_mut();
        if let Some(cells) = apps.get(name) {
            return Arc::clone(cells);
        }
        let cells = Arc::new(AppCells::new(name.clone()));
        self.tell(News::App(Arc::clone(&cells)));
        apps.insert(name.clone(), Arc::clone(&cells));
        cells
    }

    fn tell(&self, news: News) {
        // Nobody reads any more when the data plane is about to end.
        let _ = self.news.send(news);
    }

    /// Lets go what is no more, unless it has been a moment since it last did: it looks at everything.
    pub(crate) fn sweep(&self, table: &RouteTable) {
        let now = Instant::now();
        if now.saturating_duration_since(self.swept.get()) < SWEEP {
            return;
        }
        self.swept.set(now);
        self.let_go(table);
    }

    /// Lets go what is no more.
    pub(super) fn let_go(&self, table: &RouteTable) {
        let used = |known: &Known| known.meter.strong_count() > 0 || Rc::strong_count(&known.tally) > 1;
        self.backends.borrow_mut().retain(|_, known| used(known));
        // One is the map's, and one the reader's.
        let used =
            |name: &AppName, cells: &Arc<AppCells>| table.app(name).is_some() || Arc::strong_count(cells) > 2;
        self.apps.borrow_mut().retain(|name, cells| used(name, cells));
    }
}

const SWEEP: Duration = Duration::from_secs(10);
