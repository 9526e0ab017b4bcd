//! The driver: probes over real sockets, on tokio.

mod connect;
mod exchange;
mod grpc;
mod http2;
mod outcome;
mod probe;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::pending;
use std::sync::{Arc, Weak};
use std::time::Duration;

use edgeproxy_backend::{Incarnation, MonoTime};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinError, JoinSet, yield_now};
use tokio::time::{Instant, sleep_until};

pub use outcome::{Failure, Outcome};
use probe::{OwnFault, Prober};
pub use tls::{TlsClient, TlsClients};

use crate::{Class, Config, Pace, Schedule, Start, Target, Ticket};

/// Where results go. Called on the driver's task, so it must not block.
pub trait Sink {
    /// A probe of a current target has ended. The answer decides how soon the next one is due.
    fn report(&self, probe: &Target, outcome: &Outcome) -> Pace;
}

impl<F: Fn(&Target, &Outcome) -> Pace> Sink for F {
    fn report(&self, probe: &Target, outcome: &Outcome) -> Pace {
        self(probe, outcome)
    }
}

/// Tells a [`Driver`] whom to probe. Cheap to clone; when the last one is dropped, the driver stops.
#[derive(Clone)]
pub struct Handle {
    slot: Arc<Slot>,
}

/// What the driver hasn't taken yet.
type Slot = watch::Sender<Pending>;

#[derive(Debug, Default)]
struct Pending {
    /// The newest set. An older one that wasn't taken is of no interest.
    set: Option<Vec<Target>>,
    /// What has changed since then.
    changes: Vec<Change>,
}

/// What is probed from now on, and what no longer.
#[derive(Clone, Debug)]
pub enum Change {
    /// This one is: as it is known, if it hasn't changed, and anew otherwise.
    Probe(Target),
    /// This one isn't.
    Leave(Incarnation, Class),
}

/// Changes that are taken in at a time, between which others have their turn: less than a millisecond of them.
const STEP: usize = 1_024;

impl Handle {
    /// Probes exactly these from now on: unchanged ones go on undisturbed, others' probes are cancelled,
    /// new ones begin. Never waits; of several sets in a row only the last may be looked at.
    pub fn set_targets(&self, targets: impl IntoIterator<Item = Target>) {
        self.slot.send_replace(Pending {
            set: Some(targets.into_iter().collect()),
            changes: Vec::new(),
        });
    }

    /// Changes some of what is probed, in this order, and leaves the rest as it is. Never waits. The driver takes in a
    /// thousand at a time, so that a hundred thousand hold nobody up on its thread.
    pub fn change(&self, changes: impl IntoIterator<Item = Change>) {
        self.slot.send_if_modified(|pending| {
            let before = pending.changes.len();
            pending.changes.extend(changes);
            pending.changes.len() > before
        });
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

/// Runs a [`Schedule`] against the network.
///
/// One task drives the schedule and reports; every probe is a task of its own, so none waits for another.
/// It is at home on a current-thread runtime, and needs one with I/O and time enabled.
///
/// A probe that can't be made for a fault of this process or host (no file descriptor, memory or local
/// port left) says nothing about the backend: it is logged and repeated, never reported. Otherwise a
/// proxy short of descriptors would take all of its backends out.
///
/// ```
/// use std::sync::Arc;
/// use edgeproxy_backend::{BackendAddr, BackendId, Incarnation};
/// use edgeproxy_health::{Class, Config, Driver, First, Monitor, Outcome, Pace, Target};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let addr = listener.local_addr()?;
///
/// let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
/// let (handle, driver) = Driver::new(Config::default(), move |probe: &Target, outcome: &Outcome| {
///     let _ = tell.send(format!("{}: {outcome}", probe.id));
///     Pace::Settled
/// });
/// tokio::spawn(driver.run());
/// handle.set_targets([Target {
///     id: BackendId::parse("backend-eu-1")?,
///     incarnation: Incarnation::FIRST,
///     class: Class::Monitor,
///     addr: BackendAddr::new(addr.ip(), addr.port())?,
///     monitor: Arc::new(Monitor::tcp()),
///     first: First::AtOnce,
/// }]);
/// assert!(told.recv().await.is_some_and(|told| told.starts_with("backend-eu-1: passed in ")));
/// # Ok(())
/// # }
/// ```
pub struct Driver<S> {
    schedule: Schedule,
    sink: S,
    slot: Weak<Slot>,
    pending: watch::Receiver<Pending>,
    /// Changes that were taken, and not yet taken in.
    changes: VecDeque<Change>,
    probes: JoinSet<Ended>,
    running: BTreeMap<Ticket, AbortHandle>,
    /// What `MonoTime::ZERO` is on tokio's clock.
    origin: Instant,
    prober: Prober,
    /// When a fault of our own was last logged.
    complained: Option<Instant>,
}

/// The least time between two warnings that probes can't be made.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

type Ended = (Ticket, Result<Outcome, OwnFault>);

impl<S: Sink> Driver<S> {
    /// A driver without targets, and the handle that gives it some. Nothing happens before
    /// [`run`](Self::run).
    pub fn new(config: Config, sink: S) -> (Handle, Self) {
        let (slot, pending) = watch::channel(Pending::default());
        let slot = Arc::new(slot);
        let driver = Self {
            schedule: Schedule::new(config),
            sink,
            slot: Arc::downgrade(&slot),
            pending,
            changes: VecDeque::new(),
            probes: JoinSet::new(),
            running: BTreeMap::new(),
            origin: Instant::now(),
            prober: Prober {
                instance: config.seed,
                tls: None,
            },
            complained: None,
        };
        (Handle { slot }, driver)
    }

    /// Takes the TLS of probes from there. Without it a probe that speaks TLS can't be made, which says nothing about
    /// its backend.
    #[must_use]
    pub fn with_tls(mut self, tls: Arc<dyn TlsClients>) -> Self {
        self.prober.tls = Some(tls);
        self
    }

    /// Probes until the last [`Handle`] is dropped. Running probes are cancelled then, as they are when
    /// this future is dropped.
    pub async fn run(mut self) {
        loop {
            self.act();
            let due = self.schedule.poll_timeout().and_then(|due| self.instant(due));
            tokio::select! {
                changed = self.pending.changed() => match changed {
                    Ok(()) => self.take_targets(),
                    Err(_) => break,
                },
                () = yield_now(), if !self.changes.is_empty() => self.take_in(),
                Some(ended) = self.probes.join_next() => self.handle_end(ended),
                () = until(due) => self.schedule.handle_timeout(self.now()),
            }
        }
        self.probes.shutdown().await;
    }

    /// Does what the schedule asks for.
    fn act(&mut self) {
        while let Some(ticket) = self.schedule.poll_cancel() {
            if let Some(probe) = self.running.get(&ticket) {
                probe.abort();
            }
        }
        while let Some(Start { ticket, target }) = self.schedule.poll_probe() {
            let prober = self.prober.clone();
            let task = self
                .probes
                .spawn(async move { (ticket, prober.run(&target, ticket).await) });
            self.running.insert(ticket, task);
        }
    }

    fn take_targets(&mut self) {
        // With the last handle gone the next turn of the loop is the end.
        let Some(slot) = self.slot.upgrade() else { return };
        let mut newest = Pending::default();
        slot.send_if_modified(|pending| {
            newest = std::mem::take(pending);
            false // it's no news to ourselves
        });
        if let Some(targets) = newest.set {
            self.changes.clear();
            self.schedule.replace(targets, self.now());
        }
        self.changes.extend(newest.changes);
        self.take_in();
    }

    fn take_in(&mut self) {
        let now = self.now();
        for change in self.changes.drain(..STEP.min(self.changes.len())) {
            match change {
                Change::Probe(target) => self.schedule.upsert(target, now),
                Change::Leave(incarnation, class) => {
                    self.schedule.remove(incarnation, class, now);
                }
            }
        }
    }

    fn handle_end(&mut self, ended: Result<Ended, JoinError>) {
        let now = self.now();
        match ended {
            Ok((ticket, Ok(outcome))) => {
                self.running.remove(&ticket);
                self.schedule.handle_result(ticket, now, |target| {
                    tracing::debug!(
                        backend = %target.id, addr = %target.addr, class = ?target.class, "probe: {outcome}"
                    );
                    self.sink.report(target, &outcome)
                });
            }
            Ok((ticket, Err(fault))) => {
                self.complain(&fault);
                self.running.remove(&ticket);
                self.schedule.handle_aborted(ticket, now);
            }
            Err(error) => {
                if error.is_panic() {
                    tracing::error!("a health check broke off, which is a fault of edgeproxy: {error}");
                }
                // At most `max_concurrent` to look through, and only after a cancellation.
                let ended = self.running.extract_if(.., |_, task| task.id() == error.id());
                for (ticket, _) in ended {
                    self.schedule.handle_aborted(ticket, now);
                }
            }
        }
    }

    /// Logs a fault of our own, but not for each of a thousand probes a second.
    fn complain(&mut self, fault: &OwnFault) {
        if self
            .complained
            .is_some_and(|last| last.elapsed() < COMPLAINT_INTERVAL)
        {
            return;
        }
        self.complained = Some(Instant::now());
        tracing::warn!("a health check can't be made, and its backend keeps the state it has: {fault}");
    }

    fn now(&self) -> MonoTime {
        MonoTime::ZERO + self.origin.elapsed()
    }

    fn instant(&self, time: MonoTime) -> Option<Instant> {
        self.origin.checked_add(Duration::from_micros(time.as_micros()))
    }
}

impl<S> fmt::Debug for Driver<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("schedule", &self.schedule)
            .finish_non_exhaustive()
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
