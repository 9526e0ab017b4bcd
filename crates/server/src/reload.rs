//! From one configuration to the next while the server runs.

use std::cell::RefCell;
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use edgeproxy_api::{Access, Admission, Bounds, Granted, ReloadProblem, Terms};
use edgeproxy_config::{Changes, ConfigError, Frozen, Loaded, Settings};
use edgeproxy_control::{ControlError, Handle};
use edgeproxy_proxy as proxy;
use edgeproxy_proxy::{BackendTls, Prepared};
use edgeproxy_registry as registry;
use edgeproxy_registry::StaticError;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::BuildError;
use crate::geography::{Geography, Surveyed};
use crate::grants;
use crate::in_force::InForce;
use crate::logs::AccessLines;
use crate::plan::Plan;
use crate::publisher::Publisher;
use crate::tls::{Made, Tls};
use crate::traces::Traces;
use crate::translate;
use crate::watch::{Watched, Watchlist};

/// What asked for a reload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trigger {
    /// A signal.
    Signal,
    /// A change of the file.
    File,
}

impl Trigger {
    /// Its word in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::File => "file",
        }
    }
}

/// Why a configuration that was read is not in force. What was in force before is, all of it.
#[derive(Debug)]
pub enum ReloadError {
    /// It can't be read, or makes no sense.
    Config(ConfigError),
    /// There is no file any more.
    Gone {
        /// Where it was.
        path: PathBuf,
    },
    /// It would change what only a restart can. At least one.
    Restart(Vec<Frozen>),
    /// A part of the server can't be what it says.
    Build(BuildError),
    /// The workers can't.
    Workers(proxy::PrepareError),
    /// The backends of the file can't all be.
    Backends(StaticError),
    /// The server is stopping.
    Stopping,
}

impl ReloadError {
    /// Each thing that is wrong, in the API's words. At least one.
    #[must_use]
    pub fn problems(&self) -> Vec<ReloadProblem> {
        let without_place = |message: String, help: Option<&str>| {
            vec![ReloadProblem {
                place: None,
                message,
                help: help.map(str::to_owned),
            }]
        };
        match self {
            Self::Config(error) => error
                .problems
                .iter()
                .map(|problem| ReloadProblem {
                    place: Some(problem.place.to_string()),
                    message: problem.message.clone(),
                    help: problem.help.clone(),
                })
                .collect(),
            Self::Restart(frozen) => frozen
                .iter()
                .map(|frozen| ReloadProblem {
                    place: Some(frozen.place.to_string()),
                    message: frozen.message(),
                    help: Some("restart edgeproxy, or leave it as it is".to_owned()),
                })
                .collect(),
            Self::Gone { path } => vec![ReloadProblem {
                place: Some(path.display().to_string()),
                message: "the file is gone; what it said stays in force".to_owned(),
                help: Some("put it back; an empty file is all defaults".to_owned()),
            }],
            Self::Build(error) => without_place(error.to_string(), None),
            Self::Workers(error) => without_place(error.to_string(), None),
            Self::Backends(error) => without_place(error.to_string(), None),
            Self::Stopping => without_place("the server is stopping".to_owned(), None),
        }
    }
}

/// Made for a terminal, as [`ConfigError`] is.
impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Config(error) = self {
            return write!(f, "{error}");
        }
        for (index, problem) in self.problems().iter().enumerate() {
            let ReloadProblem { place, message, help } = problem;
            f.write_str(if index == 0 { "" } else { "\n" })?;
            if let Some(place) = place {
                write!(f, "{place}: ")?;
            }
            f.write_str(message)?;
            if let Some(help) = help {
                write!(f, "\n  help: {help}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ReloadError {}

/// What is put in force on the control thread, in one step.
pub(crate) struct Next {
    loaded: Arc<Loaded>,
    trigger: Trigger,
    changes: Vec<String>,
    plan: Arc<Plan>,
    config: Prepared,
    configuration: registry::Configuration,
    bounds: registry::Bounds,
    terms: (Admission, Access, Bounds),
    backend_tls: Demands,
    geography: Geography,
    applied: oneshot::Sender<Result<(), ControlError<StaticError>>>,
}

/// What is asked of backends that speak TLS.
enum Demands {
    /// What was asked so far, by files that may have changed.
    Same(BackendTls),
    /// Something else, so that nobody is sent a request of whom it hasn't been asked.
    Other(BackendTls),
}

/// What the control thread needs for it.
pub(crate) struct Applier {
    pub(crate) queue: mpsc::Receiver<Next>,
    pub(crate) handle: Handle,
    pub(crate) in_force: InForce,
    pub(crate) terms: Terms,
    pub(crate) backend_tls: BackendTls,
    pub(crate) geography: Arc<ArcSwap<Geography>>,
}

impl Applier {
    /// Puts one configuration after the other in force.
    pub(crate) async fn run(mut self, publisher: Rc<RefCell<Publisher>>) {
        while let Some(next) = self.queue.recv().await {
            self.apply(next, &publisher);
        }
    }

    fn apply(&self, next: Next, publisher: &RefCell<Publisher>) {
        let Next {
            plan,
            config,
            configuration,
            bounds,
            terms: (admission, access, api_bounds),
            ..
        } = next;
        let outcome = self.handle.reconfigure(configuration, bounds, |snapshot| {
            match &next.backend_tls {
                Demands::Same(tls) => self.backend_tls.follow(tls),
                Demands::Other(tls) => self.backend_tls.renew(tls),
            }
            publisher.borrow_mut().go_over(&plan, config, snapshot);
            self.geography.store(Arc::new(next.geography));
            self.terms.replace(admission, access, api_bounds);
            self.in_force
                .applied(&next.loaded, next.trigger.as_str(), next.changes);
        });
        let outcome = outcome.map(|(_, hold)| {
            let handle = self.handle.clone();
            tokio::task::spawn_local(async move {
                tokio::time::sleep(STRAGGLERS).await;
                handle.release(hold);
            });
        });
        // Whoever asked may have gone.
        let _ = next.applied.send(outcome);
    }
}

/// What reloads go by.
pub(crate) struct Reloads {
    pub(crate) standing: Mutex<Standing>,
    pub(crate) queue: mpsc::Sender<Next>,
    pub(crate) in_force: InForce,
    pub(crate) watchlist: Watchlist,
    pub(crate) workers: Arc<proxy::Running>,
    pub(crate) access_log: Option<AccessLines>,
    pub(crate) traces: Option<Traces>,
    /// Which addresses are the server's own, that no backend can have.
    pub(crate) own: translate::Own,
}

/// What is in force, for what the next one has in common with it.
pub(crate) struct Standing {
    pub(crate) loaded: Arc<Loaded>,
    pub(crate) tls: Tls,
    pub(crate) surveyed: Surveyed,
}

/// What was made of a configuration, and is not in force yet.
struct Prospect {
    plan: Arc<Plan>,
    config: Prepared,
    made: Made,
    surveyed: Surveyed,
    granted: Option<Granted>,
    tokens: Option<Watched>,
}

impl Reloads {
    /// Checks everything first; then puts all of it in force, or nothing.
    pub(crate) async fn reload(
        &self,
        read: Result<Loaded, ConfigError>,
        trigger: Trigger,
    ) -> Result<Changes, ReloadError> {
        // One after the other.
        let mut standing = self.standing.lock().await;
        let outcome = match read {
            Ok(loaded) => self.go_over(&mut standing, Arc::new(loaded), trigger).await,
            Err(error) => Err(ReloadError::Config(error)),
        };
        if let Err(error) = &outcome {
            self.in_force.refused(trigger.as_str(), error.problems());
        }
        outcome
    }

    async fn go_over(
        &self,
        standing: &mut Standing,
        loaded: Arc<Loaded>,
        trigger: Trigger,
    ) -> Result<Changes, ReloadError> {
        if let (Some(path), None) = (&standing.loaded.file, &loaded.file) {
            return Err(ReloadError::Gone { path: path.clone() });
        }
        let frozen = standing.loaded.frozen(&loaded);
        if !frozen.is_empty() {
            return Err(ReloadError::Restart(frozen));
        }
        // Files are read, which may take a while; nobody but the caller waits for it.
        let prospect = self.prepare(standing, &loaded)?;
        let changes = standing.loaded.changes(&loaded);
        let Prospect {
            plan,
            config,
            made,
            mut surveyed,
            granted,
            tokens,
        } = prospect;
        let (applied, outcome) = oneshot::channel();
        let settings = &loaded.settings;
        let next = Next {
            loaded: Arc::clone(&loaded),
            trigger,
            changes: changes.lines().take(MOST_TOLD).collect(),
            configuration: plan.registry(&loaded.topology),
            bounds: translate::registry(settings, plan.others().ledgers).bounds(),
            terms: translate::terms(settings, granted, &self.own),
            backend_tls: if asks(&standing.loaded.settings) == asks(settings) {
                Demands::Same(made.backends)
            } else {
                Demands::Other(made.backends)
            },
            geography: surveyed.geography.clone(),
            plan,
            config,
            applied,
        };
        self.queue.send(next).await.map_err(|_| ReloadError::Stopping)?;
        match outcome.await {
            Ok(Ok(())) => {}
            Ok(Err(ControlError::Refused(error))) => return Err(ReloadError::Backends(error)),
            Ok(Err(ControlError::Stopping)) | Err(_) => return Err(ReloadError::Stopping),
        }
        made.api.into_iter().for_each(|(tls, config)| tls.replace(config));
        let watched = made
            .watched
            .into_iter()
            .chain(surveyed.watched.take())
            .chain(tokens);
        self.watch(watched.collect()).await;
        *standing = Standing {
            loaded,
            tls: made.tls,
            surveyed,
        };
        Ok(changes)
    }

    fn prepare(&self, standing: &Standing, loaded: &Loaded) -> Result<Prospect, ReloadError> {
        let (settings, topology) = (&loaded.settings, &loaded.topology);
        let build = |error| ReloadError::Build(error);
        let plan = Plan::of(settings, topology).map_err(|error| build(error.into()))?;
        let made = Tls::load(settings, Some(&standing.tls)).map_err(|error| build(error.into()))?;
        let (granted, tokens) = grants::load(settings).map_err(|error| build(error.into()))?;
        let regions = translate::regions(&topology.geography);
        let surveyed = Geography::load(settings.geoip_path.as_deref(), regions, Some(&standing.surveyed))
            .map_err(|error| build(error.into()))?;
        let config = proxy::Config {
            locate: Some(Arc::new(surveyed.geography.clone())),
            access_log: self.access_log.as_ref().map(|access| access.log(settings)),
            tracing: self.traces.as_ref().map(|traces| traces.tracing(settings)),
            ..translate::proxy(settings, &made.tls)
        };
        Ok(Prospect {
            plan: Arc::new(plan),
            config: self.workers.prepare(config).map_err(ReloadError::Workers)?,
            made,
            surveyed,
            granted,
            tokens,
        })
    }

    async fn watch(&self, watched: Vec<Watched>) {
        let watchlist = self.watchlist.clone();
        // It may wait while a file is read.
        if let Err(error) = tokio::task::spawn_blocking(move || watchlist.replace(watched)).await {
            tracing::error!(%error, "the files that are watched are those of before");
        }
    }
}

/// What settings ask of backends that speak TLS, and show them.
fn asks(settings: &Settings) -> impl PartialEq {
    (
        settings.backend_tls_ca.clone(),
        settings.backend_tls_server_name.clone(),
        settings.backend_tls_insecure,
        settings.backend_tls_cert.clone(),
        settings.backend_tls_key.clone(),
    )
}

/// How long backends that the file no longer has are open to requests that were routed before: those take no time, but a
/// worker's thread may be kept waiting by the system in the middle of one.
const STRAGGLERS: Duration = Duration::from_millis(200);

/// Changes that are told of one by one.
const MOST_TOLD: usize = 100;
