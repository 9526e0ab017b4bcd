//! Connections to backends that wait for their next request. One pool for each worker, without a lock.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::{Endpoint, Gate, Incarnation, Meter};
use hashbrown::HashMap;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::telemetry::counts::Tally;
use crate::upstream::dialing::Dialing;
use crate::worker::scarcity;

/// A connection that can be kept for the next request. Dropping it closes it.
pub(crate) trait Keep {
    /// Whether it can take a request now: the backend has neither closed it nor said anything unasked.
    fn is_ready(&mut self) -> bool;
}

/// What one worker holds of one incarnation of a backend.
pub(crate) struct Upstream<C> {
    meter: Arc<Meter>,
    tally: Rc<Tally>,
    idle: RefCell<Vec<Idle<C>>>,
    cut: CancellationToken,
    is_cut: Cell<bool>,
    bounds: Rc<Cell<Bounds>>,
}

struct Idle<C> {
    conn: C,
    since: Instant,
}

/// The connections of one worker. Last in, first out: the latest used is the least likely to have been closed,
/// and the others get old enough to be dropped.
pub(crate) struct Pool<C> {
    upstreams: RefCell<HashMap<Incarnation, Rc<Upstream<C>>, foldhash::fast::RandomState>>,
    bounds: Rc<Cell<Bounds>>,
}

/// How long an idle connection is kept, and how many of one upstream.
#[derive(Clone, Copy)]
struct Bounds {
    idle_timeout: Duration,
    max_idle: usize,
}

impl<C: Keep> Pool<C> {
    pub(crate) fn new(idle_timeout: Duration, max_idle: usize) -> Self {
        Self {
            upstreams: RefCell::default(),
            bounds: Rc::new(Cell::new(Bounds {
                idle_timeout,
                max_idle,
            })),
        }
    }

    /// Keeps what is idle within other bounds from now on.
    pub(crate) fn bound(&self, idle_timeout: Duration, max_idle: usize) {
        self.bounds.set(Bounds {
            idle_timeout,
            max_idle,
        });
    }

    /// What is held of `endpoint`, which `tally` says where to count. Hold it for as long as a request is under way
    /// there, so that it can be cut.
    pub(crate) fn upstream(&self, endpoint: &Endpoint, tally: impl FnOnce() -> Rc<Tally>) -> Rc<Upstream<C>> {
        let mut upstreams = self.upstreams.borrow_mut();
        let upstream = upstreams.entry(endpoint.incarnation).or_insert_with(|| {
            Rc::new(Upstream {
                meter: Arc::clone(&endpoint.meter),
                tally: tally(),
                idle: RefCell::default(),
                cut: CancellationToken::new(),
                is_cut: Cell::new(false),
                bounds: Rc::clone(&self.bounds),
            })
        });
        Rc::clone(upstream)
    }

    /// Takes the latest used connection that is still open; `now` is the present.
    pub(crate) fn take(&self, upstream: &Upstream<C>, now: Instant) -> Option<C> {
        let mut idle = upstream.idle.borrow_mut();
        let latest = loop {
            let mut latest = idle.pop()?;
            if latest.conn.is_ready() {
                break latest;
            }
        };
        if now.saturating_duration_since(latest.since) >= self.bounds.get().idle_timeout {
            // Those below are older still.
            idle.clear();
            return None;
        }
        Some(latest.conn)
    }

    /// The same for who makes a connection and waits for something to make it with, in place of that.
    #[inline]
    pub(crate) fn take_instead(&self, upstream: &Upstream<C>, dialing: &Dialing) -> Option<C> {
        if dialing.is_waiting() {
            self.take(upstream, Instant::now())
        } else {
            None
        }
    }

    /// Drops what is too old, closed, or leads to a backend that takes no requests; ends what is in flight
    /// where the gate says so. Whether anything in flight was told to end.
    pub(crate) fn prune(&self) -> bool {
        let (now, mut cuts) = (Instant::now(), false);
        let Bounds {
            idle_timeout,
            max_idle,
        } = self.bounds.get();
        self.upstreams.borrow_mut().retain(|_, upstream| {
            let gate = upstream.meter.gate();
            if gate == Gate::Cut {
                upstream.is_cut.set(true);
                upstream.cut.cancel();
                cuts = true;
                return false;
            }
            let open = is_open(gate);
            let mut idle = upstream.idle.borrow_mut();
            idle.retain_mut(|idle| open && now - idle.since < idle_timeout && idle.conn.is_ready());
            // The oldest are in front.
            let surplus = idle.len().saturating_sub(max_idle);
            idle.drain(..surplus);
            // Without a request under way nothing would be lost: it is made again when it is needed.
            !idle.is_empty() || Rc::strong_count(upstream) > 1
        });
        cuts
    }

    /// Closes all that is kept.
    pub(crate) fn let_go(&self) {
        for upstream in self.upstreams.borrow().values() {
            upstream.idle.borrow_mut().clear();
        }
    }
}

impl<C> Upstream<C> {
    /// Keeps a connection for the next request, unless there are enough, the backend takes no more, or somebody waits for
    /// its descriptor; `now` is the present.
    pub(crate) fn keep(&self, conn: C, now: Instant) {
        if !is_open(self.meter.gate()) || scarcity::is_on(now) {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.bounds.get().max_idle {
            idle.push(Idle { conn, since: now });
        }
    }

    /// Where it is counted.
    pub(crate) fn tally(&self) -> &Rc<Tally> {
        &self.tally
    }

    /// Told when every connection shall end, with what is in flight on it.
    pub(crate) fn cut(&self) -> &CancellationToken {
        &self.cut
    }

    /// Whether every connection shall end.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut.get()
    }
}

fn is_open(gate: Gate) -> bool {
    matches!(gate, Gate::Open | Gate::Trial | Gate::TrialBusy)
}
