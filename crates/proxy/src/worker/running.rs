use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};
use std::thread;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::listen::bind::Bound;
use crate::listen::inside::{ASKING, Asking};
use crate::telemetry::counts::Unopened;
use crate::worker::{self, Shared};
use crate::{Config, Counted, Outbound, PrepareError, Prepared, Reporter, SharedTable};

/// A worker could not be started; those that were have been stopped.
#[derive(Debug, thiserror::Error)]
#[error("can't start worker {worker}: {source}")]
pub struct SpawnError {
    /// Which, from 0.
    pub worker: usize,
    /// What the system said.
    pub source: io::Error,
}

/// The data plane at work. Dropping it ends it as [`Running::abort`] does.
pub struct Running {
    shared: Arc<Shared>,
    changed: watch::Sender<u64>,
    alive: watch::Receiver<usize>,
    /// Where each worker is asked for a connection from inside.
    asks: Vec<mpsc::Sender<Asking>>,
    /// Where each worker is asked whether it goes round.
    pulses: Vec<mpsc::Sender<oneshot::Sender<()>>>,
}

impl Bound {
    /// Starts the workers. `table` is read for every request; replace it at any time, and then call
    /// [`Running::table_changed`]. `reporter` is told what requests mean for a backend.
    ///
    /// # Errors
    /// When the system refuses a thread or an event queue.
    pub fn spawn(self, table: SharedTable, reporter: Arc<dyn Reporter>) -> Result<Running, SpawnError> {
        let Self {
            config,
            pseudonym,
            sockets,
            ..
        } = self;
        let (counted, unopened) = Counted::new(sockets.len(), &config.listeners);
        let shared = Arc::new(Shared {
            clients: Arc::default(),
            counted,
            config: Arc::new(config),
            pseudonym,
            table,
            reporter,
            drain: CancellationToken::new(),
            departure: OnceLock::new(),
            abort: CancellationToken::new(),
        });
        let (changed, _) = watch::channel(0);
        let (count, alive) = watch::channel(0);
        // From here on an error drops it, which stops the workers that have begun.
        let mut running = Running {
            shared,
            changed,
            alive,
            asks: Vec::with_capacity(sockets.len()),
            pulses: Vec::with_capacity(sockets.len()),
        };
        for (worker, (sockets, unopened)) in sockets.into_iter().zip(unopened).enumerate() {
            let (shared, changed) = (Arc::clone(&running.shared), running.changed.subscribe());
            let alive = Alive::new(count.clone());
            let (ask, asked) = mpsc::channel(ASKING);
            running.asks.push(ask);
            let (pulse, felt) = mpsc::channel(1);
            running.pulses.push(pulse);
            let (started, outcome) = std::sync::mpsc::sync_channel(1);
            thread::Builder::new()
                .name(format!("proxy-{worker}"))
                .spawn(move || {
                    let _alive = alive;
                    work(
                        shared,
                        (worker, unopened),
                        sockets,
                        (changed, asked, felt),
                        &started,
                    );
                })
                .map_err(|source| SpawnError { worker, source })?;
            match outcome.recv() {
                Ok(Ok(())) => {}
                Ok(Err(source)) => return Err(SpawnError { worker, source }),
                Err(_) => {
                    let source = io::Error::other("its thread ended at once");
                    return Err(SpawnError { worker, source });
                }
            }
        }
        Ok(running)
    }
}

/// What a worker hears of from outside: that the table has changed, who wants a connection, and who wants to know
/// whether it goes round.
pub(crate) type Told = (
    watch::Receiver<u64>,
    mpsc::Receiver<Asking>,
    mpsc::Receiver<oneshot::Sender<()>>,
);

fn work(
    shared: Arc<Shared>,
    worker: (usize, Unopened),
    sockets: Vec<(usize, std::net::TcpListener)>,
    told: Told,
    started: &std::sync::mpsc::SyncSender<io::Result<()>>,
) {
    let built = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default());
    // The runtime registers sockets only from within itself.
    let ready = built.and_then(|runtime| {
        let register = |(listener, socket)| Ok((listener, tokio::net::TcpListener::from_std(socket)?));
        let sockets =
            runtime.block_on(async { sockets.into_iter().map(register).collect::<io::Result<Vec<_>>>() })?;
        Ok((runtime, sockets))
    });
    match ready {
        Ok((runtime, sockets)) => {
            let _ = started.send(Ok(()));
            runtime.block_on(worker::run(shared, worker, sockets, told));
        }
        Err(error) => {
            let _ = started.send(Err(error));
        }
    }
}

/// Counts a worker's thread for as long as it runs, however it ends.
struct Alive(watch::Sender<usize>);

impl Alive {
    fn new(count: watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Running {
    /// Checks another configuration for those workers, to be put in force by [a table](crate::RouteTable::with_config).
    ///
    /// Their number and the addresses of the listeners can't change, which may be in another order; the backlog and the
    /// pseudonym are those of the beginning, whatever it says.
    ///
    /// # Errors
    /// What can't change would, or a limit is beyond what is possible.
    pub fn prepare(&self, config: Config) -> Result<Prepared, PrepareError> {
        Prepared::new(&self.shared.config, config)
    }

    /// Tells every worker that the table or a gate has changed: idle connections to backends that take no
    /// requests any more are closed, and what is in flight on one that is [cut](edgeproxy_backend::Gate::Cut)
    /// is ended, visibly truncated. Never blocks.
    ///
    /// A request looks at the table by itself; without this call connections would only linger.
    pub fn table_changed(&self) {
        // There may be room where there was none.
        for app in self.shared.table.load().apps() {
            app.queue.wake_all();
        }
        self.changed
            .send_modify(|version| *version = version.wrapping_add(1));
        self.shared.counted.tidy();
    }

    /// What the workers count.
    #[must_use]
    pub fn counted(&self) -> &Counted {
        &self.shared.counted
    }

    /// Resolves once every worker has answered between two turns of its event loop. One that hangs never does, nor does
    /// one that has ended, so a time-out is the caller's.
    pub async fn pulse(&self) {
        let mut answers = Vec::with_capacity(self.pulses.len());
        for pulse in &self.pulses {
            let (sender, answer) = oneshot::channel();
            if pulse.send(sender).await.is_err() {
                return std::future::pending().await;
            }
            answers.push(answer);
        }
        for answer in answers {
            if answer.await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// A client of these workers from inside of the process. It needs no listener; see
    /// [`without_listeners`](crate::without_listeners).
    #[must_use]
    pub fn outbound(&self) -> Outbound {
        Outbound::new(&self.asks, self.shared.config.idle_timeout)
    }

    /// Stops accepting. What has been accepted is still answered: HTTP/2 clients get GOAWAY, HTTP/1.1 answers
    /// carry `Connection: close`. What is in flight goes on until it ends, or until
    /// [`drain_timeout`](crate::Config::drain_timeout) is over. Never blocks; a second call does nothing.
    pub fn drain(&self) {
        self.shared.drain.cancel();
    }

    /// Leaves the sockets to somebody else who accepts on them already: as [`drain`](Self::drain), but clients without a
    /// request under way are waited for. They are told with their next answer, in the same time that they may be idle
    /// for; to close on one that is about to send would be a failed request. What the system has accepted is left to
    /// the other one as well, but for the listeners of these numbers, which nobody has taken.
    pub fn leave(&self, untaken: &[usize]) {
        // Once.
        let _ = self.shared.departure.set(untaken.into());
        self.drain();
    }

    /// Connections closed so far because their client had as many as
    /// [`max_connections_per_client`](crate::Config::max_connections_per_client) allows.
    #[must_use]
    pub fn refused_by_client(&self) -> u64 {
        self.shared.clients.refused()
    }

    /// Ends everything now.
    pub fn abort(&self) {
        self.shared.abort.cancel();
    }

    /// Resolves when every worker has ended, after [`Running::drain`] or [`Running::abort`].
    pub async fn stopped(&self) {
        // The senders are the workers' own: when all are gone, so are the workers.
        let _ = self.alive.clone().wait_for(|count| *count == 0).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.abort();
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("workers", &*self.alive.borrow())
            .field("draining", &self.shared.drain.is_cancelled())
            .finish()
    }
}
