//! Registrations in etcd, shared by all proxies that name the same one.
//!
//! What it promises, how to run it and what happens when etcd is away: `docs/distributed.md`. Why gRPC is spoken by
//! hand: `docs/decisions/0020-etcd-by-hand.md`.

mod address;
mod arrival;
mod backoff;
mod client;
mod commit;
mod encoding;
mod grpc;
mod held;
mod keys;
mod member;
mod message;
mod mirror;
mod sequence;
mod session;
mod user;
mod watch;

use std::fmt;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use edgeproxy_backend::BackendId;
use edgeproxy_registry::Write;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::rustls::ClientConfig;

pub use address::{EtcdAddress, EtcdAddressError};
pub use user::{EtcdPassword, EtcdUser};

use crate::{CommitError, Finding, Held, LoadError, Loaded, ProxyName, Shared, Store, Task, Update, numbers};
use grpc::Fault;
use held::Deed;
use session::Session;

/// What a load does when etcd can't be reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IfAway {
    /// It fails.
    Fail,
    /// It answers with nothing but a [finding](Loaded::findings), and an incarnation to begin with. etcd is looked for on, and
    /// once it is found everything is told, by [`Update::Restored`] and [`Update::Resync`].
    Begin,
}

/// How etcd is used.
#[derive(Clone)]
pub struct EtcdSettings {
    /// Where it is.
    pub address: EtcdAddress,
    /// What this proxy is called. Two that run never have the same name; the one that started first stops sharing.
    pub proxy: ProxyName,
    /// For connections inside TLS; `None`: in the clear. ALPN is set here.
    pub tls: Option<Arc<ClientConfig>>,
    /// For an etcd with authentication that doesn't go by client certificates.
    pub user: Option<EtcdUser>,
    /// How long a connection may take, with TLS and authentication; 2 s.
    pub connect_timeout: Duration,
    /// How long one member may take for an answer; 2 s.
    pub request_timeout: Duration,
    /// How long all members together may take for a commit, however many are tried; 5 s.
    pub total_timeout: Duration,
    /// How long a load may take; 15 s.
    pub load_timeout: Duration,
    /// What it does when etcd isn't reached by then; it fails. When etcd refuses this proxy, it always does.
    pub if_away: IfAway,
    /// How long etcd may be silent before it counts as lost; 5 s.
    pub patience: Duration,
    /// How long after its last sign the others take this proxy for gone; 10 s, in whole seconds, at least 2.
    pub member_ttl: Duration,
    /// For the jitter of what is tried again, and the member that is begun with.
    pub seed: u64,
}

impl EtcdSettings {
    /// The defaults, in the clear and without a user.
    #[must_use]
    pub const fn new(address: EtcdAddress, proxy: ProxyName, seed: u64) -> Self {
        Self {
            address,
            proxy,
            tls: None,
            user: None,
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(2),
            total_timeout: Duration::from_secs(5),
            load_timeout: Duration::from_secs(15),
            if_away: IfAway::Fail,
            patience: Duration::from_secs(5),
            member_ttl: Duration::from_secs(10),
            seed,
        }
    }
}

impl fmt::Debug for EtcdSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without what TLS is made of, which has a key in it.
        f.debug_struct("EtcdSettings")
            .field("address", &self.address)
            .field("proxy", &self.proxy)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Registrations in etcd. Its loading begins a watch and the keeping of a lease, which run on the runtime that it was
/// awaited on, until the store is dropped.
#[derive(Debug)]
pub struct Etcd {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: EtcdSettings,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
enum State {
    /// Nothing is shared.
    Idle,
    /// etcd is looked for.
    Away(Away),
    Running(Running),
}

#[derive(Debug)]
struct Away {
    reason: String,
    /// Whether the caller knows it.
    is_told: bool,
    _task: Aborted,
}

#[derive(Debug)]
struct Running {
    session: Arc<Session>,
    _tasks: [Aborted; 2],
}

/// A task that ends with whoever holds this.
#[derive(Debug)]
struct Aborted(JoinHandle<()>);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn session(&self) -> Option<Arc<Session>> {
        match &*self.lock() {
            State::Running(running) => Some(Arc::clone(&running.session)),
            State::Idle | State::Away(_) => None,
        }
    }

    fn share(session: Session, revision: i64) -> Running {
        session.hear();
        let session = Arc::new(session);
        let tasks = [
            tokio::spawn(watch::follow(Arc::clone(&session), revision)),
            tokio::spawn(member::keep(Arc::clone(&session))),
        ];
        Running {
            session,
            _tasks: tasks.map(Aborted),
        }
    }

    fn become_state(&self, state: State) {
        *self.lock() = state;
        self.changed.notify_waiters();
    }
}

impl Etcd {
    /// Connects to nobody before the first [load](Store::load).
    #[must_use]
    pub fn new(settings: EtcdSettings) -> Self {
        Self {
            inner: Arc::new(Inner {
                settings,
                state: Mutex::new(State::Idle),
                changed: Notify::new(),
            }),
        }
    }

    async fn depart(&self) {
        let state = std::mem::replace(&mut *self.inner.lock(), State::Idle);
        if let State::Running(Running { session, _tasks }) = state {
            drop(_tasks);
            // If it fails, they wait.
            let _ = member::leave(&session).await;
        }
    }

    /// # Errors
    /// When nothing is shared.
    fn sharing(&self) -> Result<Arc<Session>, CommitError> {
        let message = match &*self.inner.lock() {
            State::Running(running) => return Ok(Arc::clone(&running.session)),
            State::Away(away) => format!("{} since this proxy has started", away.reason),
            State::Idle => {
                "etcd: nothing is shared, because it has not been loaded or has been left".to_owned()
            }
        };
        Err(CommitError {
            message,
            source: None,
        })
    }

    async fn begin(&self) -> Result<Loaded, LoadError> {
        let settings = &self.inner.settings;
        self.inner.become_state(State::Idle);
        match arrival::begin(settings).await {
            Ok((session, picture)) => {
                let running = Inner::share(session, picture.revision);
                self.inner.become_state(State::Running(running));
                Ok(picture.into_loaded())
            }
            Err(fault) if settings.if_away == IfAway::Begin && matches!(fault, Fault::Unreachable(_)) => {
                Ok(self.begin_alone(&fault))
            }
            Err(fault) => Err(LoadError {
                message: format!(
                    "nothing could be read of etcd at {}: {fault}; see that it runs, and that this machine may connect to it",
                    settings.address.members()
                ),
                source: None,
            }),
        }
    }

    fn begin_alone(&self, fault: &Fault) -> Loaded {
        let reason = format!(
            "etcd at {} can't be reached: {fault}",
            self.inner.settings.address.members()
        );
        let task = tokio::spawn(arrival::arrive(Arc::downgrade(&self.inner)));
        self.inner.become_state(State::Away(Away {
            reason: reason.clone(),
            is_told: false,
            _task: Aborted(task),
        }));
        let since_1970 = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Loaded {
            next_incarnation: Some(numbers::without_store(since_1970, fastrand::u64(..))),
            findings: vec![Finding {
                message: format!(
                    "{reason}; this proxy begins with what registers with it, and shares it once etcd is there"
                ),
                is_loss: false,
            }],
            ..Loaded::default()
        }
    }

    /// That etcd is away, if that is to be told.
    fn loss(&self) -> Option<Update> {
        let mut state = self.inner.lock();
        let State::Away(away) = &mut *state else {
            return None;
        };
        let reason = away.reason.clone();
        let was_told = std::mem::replace(&mut away.is_told, true);
        (!was_told).then_some(Update::Lost { reason })
    }

    async fn news(&self) -> Update {
        loop {
            // Before it is looked, so that nothing comes between.
            let mut changed = std::pin::pin!(self.inner.changed.notified());
            changed.as_mut().enable();
            if let Some(update) = self.loss() {
                return update;
            }
            let Some(session) = self.inner.session() else {
                changed.await;
                continue;
            };
            let update = session.mirror().next();
            if let Some(update) = update {
                session.room.notify_one();
                return update;
            }
            // A load begins another session.
            tokio::select! {
                () = session.news.notified() => {}
                () = changed => {}
            }
        }
    }
}

impl Store for Etcd {
    fn name(&self) -> &'static str {
        "etcd"
    }

    fn load(&self) -> Task<'_, Result<Loaded, LoadError>> {
        Box::pin(self.begin())
    }

    fn commit<'a>(&'a self, writes: &'a [Write]) -> Task<'a, Result<(), CommitError>> {
        Box::pin(async move { self.sharing()?.commit(writes).await })
    }

    /// The lease stays, for whoever takes this proxy's place.
    fn release(&self) -> Task<'_, ()> {
        self.inner.become_state(State::Idle);
        Box::pin(std::future::ready(()))
    }

    fn update(&self) -> Task<'_, Update> {
        Box::pin(self.news())
    }

    fn stride(&self) -> NonZeroU64 {
        numbers::STRIDE
    }

    fn shared(&self) -> Option<&dyn Shared> {
        Some(self)
    }
}

impl Shared for Etcd {
    fn me(&self) -> &ProxyName {
        &self.inner.settings.proxy
    }

    fn adopt<'a>(&'a self, held: &'a [Held]) -> Task<'a, Result<(), CommitError>> {
        Box::pin(async move { self.sharing()?.change_held(held, Deed::Adopt).await })
    }

    fn end<'a>(&'a self, held: &'a [Held]) -> Task<'a, Result<(), CommitError>> {
        Box::pin(async move { self.sharing()?.change_held(held, Deed::End).await })
    }

    fn tell<'a>(&'a self, ids: &'a [BackendId]) -> Task<'a, Result<(), CommitError>> {
        Box::pin(async move { self.sharing()?.tell(ids).await })
    }

    fn leave(&self) -> Task<'_, ()> {
        Box::pin(self.depart())
    }
}
