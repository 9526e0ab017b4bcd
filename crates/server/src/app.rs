use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use edgeproxy_api as api;
use edgeproxy_config::{Changes, ConfigError, LimitsScope, Loaded};
use edgeproxy_control::Handle;
use edgeproxy_proxy as proxy;
use edgeproxy_proxy::SharedTable;
use tokio::sync::{Mutex, mpsc};

use crate::build_error::BuildError;
use crate::control::{Control, ControlRuntime, ControlThread};
use crate::explain::Explainer;
use crate::geography::{Geography, Surveyed};
use crate::grants;
use crate::in_force::InForce;
use crate::listening::{Listening, own_listeners};
use crate::logs::{Logs, Writers};
use crate::metrics::{Meters, Process, Published, Seen};
use crate::plan::Plan;
use crate::probe_tls::ProbeTls;
use crate::reload::{Applier, ReloadError, Reloads, Standing, Trigger};
use crate::reporter::QueueReporter;
use crate::sockets::{self, Brought, OpenSocket, Placed};
use crate::storage::Storage;
use crate::succession::{Predecessor, Successor};
use crate::table::TableBuilder;
use crate::tls::{Made, Tls};
use crate::traces::{Exporter, Traces};
use crate::translate;
use crate::watch::Watchlist;

/// A server whose listeners are bound and that serves nobody yet.
pub struct App {
    loaded: Arc<Loaded>,
    plan: Arc<Plan>,
    tls: Tls,
    surveyed: Surveyed,
    watchlist: Watchlist,
    proxy: proxy::Bound,
    api: Option<TcpListener>,
    untaken: Vec<usize>,
    usual_data_dir: Option<PathBuf>,
    granted: Option<api::Granted>,
    logs: Logs,
    traces: Option<Traces>,
    exporter: Exporter,
    /// What the process before had, if this one takes its place.
    state: Option<edgeproxy_store::Loaded>,
}

impl App {
    /// Reads certificates and binds every listener. From here on the ports are taken, and connections wait for
    /// [`App::spawn`].
    ///
    /// # Errors
    /// When an address can't be bound, a certificate can't be used, or a setting makes no sense to the part that it is for.
    pub fn build(loaded: Loaded) -> Result<Self, BuildError> {
        Self::build_with(loaded, Vec::new())
    }

    /// As [`App::build`], where some of the listeners are open already. Those that nobody brought are bound.
    ///
    /// # Errors
    /// As of [`App::build`], or a service manager brought a socket that is for no listener.
    pub fn build_with(loaded: Loaded, sockets: Vec<OpenSocket>) -> Result<Self, BuildError> {
        let (settings, topology) = (&loaded.settings, &loaded.topology);
        let plan = Arc::new(Plan::of(settings, topology)?);
        let Made { tls, mut watched, .. } = Tls::load(settings, None)?;
        let regions = translate::regions(&topology.geography);
        let (granted, tokens) = grants::load(settings)?;
        watched.extend(tokens);
        let mut surveyed = Geography::load(settings.geoip_path.as_deref(), regions, None)?;
        let locate = Arc::new(surveyed.geography.clone());
        let logs = Logs::open(settings)?;
        let (traces, exporter) = Traces::open(settings)?;
        let config = proxy::Config {
            locate: Some(locate),
            access_log: logs.access.as_ref().map(|access| access.log(settings)),
            tracing: traces.as_ref().map(|traces| traces.tracing(settings)),
            ..translate::proxy(settings, &tls)
        };
        let api_addr = settings.api_enabled.then_some(settings.api_listen_addr);
        let Placed {
            listeners,
            api,
            untaken,
        } = sockets::place(sockets, &config.listeners, api_addr)?;
        let proxy = proxy::bind_with(config, listeners)?;
        watched.extend(surveyed.watched.take());
        let watchlist = Watchlist::default();
        watchlist.replace(watched);
        let api = api_addr.map(|addr| bind_api(addr, api)).transpose()?;
        Ok(Self {
            loaded: Arc::new(loaded),
            plan,
            tls,
            surveyed,
            watchlist,
            proxy,
            api,
            untaken,
            usual_data_dir: None,
            granted,
            logs,
            traces,
            exporter,
            state: None,
        })
    }

    /// The listeners of the process before that this one doesn't have, by the numbers that came with their sockets.
    #[must_use]
    pub fn untaken(&self) -> &[usize] {
        &self.untaken
    }

    /// Has registrations kept in that folder where the settings ask for a file, and name no folder. One that can't be
    /// used is done without.
    #[must_use]
    pub fn usually_kept_in(mut self, folder: Option<PathBuf>) -> Self {
        self.usual_data_dir = folder;
        self
    }

    /// Goes on from the state of the process before, which [`Running::give_state`] tells. That one may still have requests
    /// under way, so no backend that drains is done before its deadline until the [predecessor](Running::predecessor) is
    /// said to be done with it, or to be gone.
    ///
    /// # Errors
    /// When it can't be read. It is never guessed at.
    pub fn going_on_from(mut self, state: &str) -> Result<Self, BuildError> {
        let state = edgeproxy_store::Loaded::from_json(state)
            .map_err(|error| BuildError::State(error.to_string()))?;
        self.state = Some(state);
        Ok(self)
    }

    /// Starts the workers and the control thread.
    ///
    /// # Errors
    /// When a thread can't be started, the registry has no room for the backends of the file, or the folder that the
    /// settings name for registrations can't be used.
    pub fn spawn(self) -> Result<Running, BuildError> {
        let Self {
            loaded,
            plan,
            tls,
            surveyed,
            watchlist,
            proxy: mut bound,
            api: api_listener,
            untaken: _,
            usual_data_dir,
            granted,
            logs,
            traces,
            exporter,
            state,
        } = self;
        let sockets = open_sockets(&mut bound, api_listener.as_ref(), loaded.settings.api_listen_addr)?;
        let listening: Vec<Listening> = bound.listeners().map(Listening::of).collect();
        let api_addr = api_listener.as_ref().map(TcpListener::local_addr).transpose()?;
        let settings = &loaded.settings;
        let own = bound.local_addrs().iter().copied().chain(api_addr).collect();
        let own: translate::Own = Arc::new(own_listeners(own));
        let (admission, access, bounds) = translate::terms(settings, granted, &own);
        let runtime = ControlRuntime::new()?;
        let is_preceded = state.is_some();
        // Of one machine only one process listens there.
        let port = api_addr.or(listening.first().map(|listening| listening.addr));
        let port = port.map_or(0, |addr| addr.port());
        let storage = Storage::open(settings, usual_data_dir.as_deref(), state, (port, &runtime))?;
        let data_dir = storage.folder.clone();
        let config = translate::registry(settings, plan.others().ledgers);
        let (handle, mut driver) = storage.begin(config, &admission, |handle| {
            handle.configure(plan.registry(&loaded.topology)).map(|_| ())
        })?;
        if is_preceded {
            // Before anybody can ask for a drain.
            handle.begin_preceded();
        }
        if loaded.settings.limits == LimitsScope::Shared {
            handle.share_limits();
        }
        let (sender, reports) = edgeproxy_control::reports(REPORT_QUEUE);
        // Before the first connection is accepted, so that no request misses a backend of the file.
        let first = driver.first();
        let mut builder = TableBuilder::new(Arc::clone(&plan));
        let table = builder.build(&first.clone().unwrap_or_default(), handle.now());
        let table: SharedTable = Arc::new(ArcSwap::from_pointee(table));
        let readiness = api::Readiness::starting();
        let workers = bound.spawn(Arc::clone(&table), Arc::new(QueueReporter::new(sender)))?;
        let workers = Arc::new(workers);
        let terms = api::Terms::new(admission, access, bounds);
        let geography = Arc::new(ArcSwap::from_pointee(surveyed.geography.clone()));
        let in_force = InForce::new(&loaded);
        let (queue, reloads) = mpsc::channel(1);
        let applier = Applier {
            queue: reloads,
            handle: handle.clone(),
            in_force: in_force.clone(),
            terms: terms.clone(),
            backend_tls: tls.backends.clone(),
            geography: Arc::clone(&geography),
        };
        let Logs {
            audit,
            access: access_log,
            writers,
        } = logs;
        let published = Published::default();
        let seen = Seen::default();
        let api = api_listener.map(|listener| {
            let requests = api::Requests::default();
            let meters = Meters {
                counted: workers.counted().clone(),
                published: Arc::clone(&published),
                handle: handle.clone(),
                seen: seen.clone(),
                requests: requests.clone(),
                audit: audit.clone(),
                access_log: access_log.clone(),
                traces: traces.clone(),
                readiness: readiness.clone(),
                in_force: in_force.clone(),
                process: Process::begin(),
                max_backends: settings.metrics_max_backends,
            };
            let state = api::State {
                handle: handle.clone(),
                readiness: readiness.clone(),
                explain: Arc::new(Explainer::new(Arc::clone(&table), handle.clone(), geography)),
                terms,
                bounds,
                configuration: Some(Arc::new(in_force.clone())),
                events: api::Events::default(),
                tls: tls.api.clone(),
                audit,
                metrics: Some(Arc::new(meters)),
                requests,
            };
            (listener, state)
        });
        let control = ControlThread::spawn(
            runtime,
            Control {
                handle: handle.clone(),
                driver,
                reports,
                plan,
                builder,
                first,
                table: Arc::clone(&table),
                workers: Arc::clone(&workers),
                watchlist: watchlist.clone(),
                applier,
                max_concurrent_probes: settings.max_concurrent_probes,
                probe_tls: ProbeTls::new(tls.backends.clone()),
                published,
                seen,
                api,
            },
        )?;
        readiness.ready();
        Ok(Running {
            listening,
            api_addr,
            data_dir,
            handle,
            reloads: Reloads {
                standing: Mutex::new(Standing {
                    loaded,
                    tls,
                    surveyed,
                }),
                queue,
                in_force,
                watchlist,
                workers: Arc::clone(&workers),
                access_log,
                traces,
                own,
            },
            workers,
            readiness,
            control,
            writers,
            exporter,
            sockets,
        })
    }
}

/// All of the sockets once more, as they can be handed on.
fn open_sockets(
    bound: &mut proxy::Bound,
    api: Option<&TcpListener>,
    api_asked: SocketAddr,
) -> std::io::Result<Vec<OpenSocket>> {
    let listeners: Vec<_> = bound.listeners().map(|(listener, _)| listener.clone()).collect();
    let api_number = listeners.len();
    let of_each = listeners.into_iter().zip(bound.take_sockets());
    let mut sockets = Vec::new();
    for (number, (listener, own)) in of_each.enumerate() {
        sockets.extend(own.into_iter().map(|socket| OpenSocket {
            name: listener.name.clone(),
            brought: Brought::ByPredecessor {
                asked: listener.addr,
                listener: number,
            },
            socket,
        }));
    }
    if let Some(socket) = api {
        sockets.push(OpenSocket {
            name: sockets::API_SETTING.to_owned(),
            brought: Brought::ByPredecessor {
                asked: api_asked,
                listener: api_number,
            },
            socket: socket.try_clone()?,
        });
    }
    Ok(sockets)
}

/// Reports of the data plane that may wait. Only changes of a backend's fate are reported, so thousands at
/// once mean that everything is failing; what doesn't fit is found by comparison.
const REPORT_QUEUE: usize = 4_096;

fn bind_api(addr: SocketAddr, open: Option<TcpListener>) -> Result<TcpListener, BuildError> {
    let bind = || {
        let listener = open.map_or_else(|| TcpListener::bind(addr), Ok)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bind().map_err(|source| BuildError::Listen {
        setting: "api_listen_addr".to_owned(),
        addr,
        source,
    })
}

/// The state can't be given to another process.
#[derive(Debug, thiserror::Error)]
#[error("the store could not keep what has changed last, and the new process would not know of it")]
pub struct StateError;

/// A server at work.
pub struct Running {
    listening: Vec<Listening>,
    api_addr: Option<SocketAddr>,
    data_dir: Option<PathBuf>,
    handle: Handle,
    workers: Arc<proxy::Running>,
    readiness: api::Readiness,
    control: ControlThread,
    reloads: Reloads,
    writers: Writers,
    exporter: Exporter,
    sockets: Vec<OpenSocket>,
}

impl Running {
    /// Where clients connect: every listener, at least one.
    #[must_use]
    pub fn listening(&self) -> &[Listening] {
        &self.listening
    }

    /// A client of the data plane from inside of the process, for requests of the program's own.
    #[must_use]
    pub fn outbound(&self) -> proxy::Outbound {
        self.workers.outbound()
    }

    /// Where the first listener is, which is that of `listen_addr` unless it is off.
    #[must_use]
    pub fn proxy_addr(&self) -> SocketAddr {
        self.listening
            .first()
            .map_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)), |listener| listener.addr)
    }

    /// Where the API listens, if it is enabled.
    #[must_use]
    pub fn api_addr(&self) -> Option<SocketAddr> {
        self.api_addr
    }

    /// The folder that registrations are kept in; `None`: they are kept in memory.
    #[must_use]
    pub fn data_dir(&self) -> Option<&Path> {
        self.data_dir.as_deref()
    }

    /// The registry.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Goes over to a configuration that has been read again, or notes that it couldn't be; says what has changed.
    ///
    /// Everything is checked first. Then all of it is in force at once, for the next request, or where it is about a
    /// client's connection for the next connection; nothing that is under way is cut. Needs a tokio runtime, and reads
    /// certificates on its thread. One reload waits for the other. Dropped halfway it may be in force all the same, and the
    /// next one is compared with the one before.
    ///
    /// # Errors
    /// Every problem of what was read, or what of it only a restart can change. Nothing has changed then.
    pub async fn reload(
        &self,
        read: Result<Loaded, ConfigError>,
        trigger: Trigger,
    ) -> Result<Changes, ReloadError> {
        self.reloads.reload(read, trigger).await
    }

    /// Every socket that it listens on, for the process that is to take its place.
    #[must_use]
    pub fn sockets(&self) -> &[OpenSocket] {
        &self.sockets
    }

    /// What another process is to go on from: what is registered, and what operators have set. From now on none of that
    /// changes any more, and the store is the other one's, until [`resume`](Self::resume). Ledgers and latencies are not
    /// in it, nor is what is left of a lease: each begins anew.
    ///
    /// # Errors
    /// When the store couldn't keep what has changed last, so that it would be forgotten.
    pub async fn give_state(&self) -> Result<String, StateError> {
        self.handle.pause();
        if !self.handle.flush(FLUSH).await {
            return Err(StateError);
        }
        let state = self.handle.kept().to_json();
        self.handle.give_store().await;
        Ok(state)
    }

    /// Goes on after [`give_state`](Self::give_state), when nobody took it over.
    pub fn resume(&self) {
        self.handle.resume();
    }

    /// For a process that has [gone on from the state](App::going_on_from) of another one: what that is to be asked, and told,
    /// as long as it has requests under way.
    #[must_use]
    pub fn predecessor(&self) -> Predecessor {
        Predecessor(self.handle.clone())
    }

    /// For a process that [leaves](Self::leave) to another one: what it answers that one.
    #[must_use]
    pub fn successor(&self) -> Successor {
        Successor::new(self.handle.clone())
    }

    /// Resolves once every worker and the control thread have answered that they go round. One that hangs never does, so
    /// a time-out is the caller's.
    pub async fn pulse(&self) {
        tokio::join!(self.workers.pulse(), self.control.pulse());
    }

    /// Leaves to another process that accepts on the same sockets. As [`drain`](Self::drain), but clients without a
    /// request under way are waited for, so that none is closed on while it sends; what they ask then is routed by the
    /// last table. `untaken` are the numbers of the listeners that the other one doesn't have.
    pub async fn leave(self, untaken: &[usize]) {
        self.readiness.drain();
        self.handle.stop();
        drop(self.sockets);
        self.control.leave_api();
        self.workers.leave(untaken);
        // Whoever has connected to the API a moment before may be about to ask.
        tokio::join!(self.workers.stopped(), tokio::time::sleep(LAST_CALL));
        self.control.stop(API_GRACE).await;
        tokio::join!(self.writers.finish(), self.exporter.finish());
    }

    /// Stops accepting, lets what is in flight end within the drain time-out, then stops everything.
    /// Resolves when nothing runs any more.
    pub async fn drain(self) {
        self.readiness.drain();
        // Nobody is to connect to what the workers don't serve.
        drop(self.sockets);
        self.handle.stop();
        self.workers.drain();
        let handle = &self.handle;
        // So that others needn't wait until it is missed, nor until its last request has ended: it renews no lease any more.
        let left = async {
            let is_kept = handle.flush(FLUSH).await;
            if is_kept {
                handle.leave_store(LEAVE).await;
            }
            is_kept
        };
        let ((), has_left) = tokio::join!(self.workers.stopped(), left);
        // Whatever could not be kept at the beginning has had until now.
        if !handle.flush(FLUSH).await {
            tracing::error!("what was registered last could not be kept, and is forgotten");
        }
        if !has_left {
            handle.leave_store(LEAVE).await;
        }
        // Only now: whoever watches `/ready` sees the draining to its end.
        self.control.stop(API_GRACE).await;
        tokio::join!(self.writers.finish(), self.exporter.finish());
    }
}

/// How long the store may take for what has changed last.
const FLUSH: Duration = Duration::from_secs(5);

/// How long it may take to tell other proxies that this one ends.
const LEAVE: Duration = Duration::from_secs(2);

/// How long the API listens at least to those who connected before another process took over.
const LAST_CALL: Duration = Duration::from_millis(500);

/// How long the API may finish the replies that it has begun.
const API_GRACE: Duration = Duration::from_secs(1);
