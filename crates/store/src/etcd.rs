//! Registrations in etcd, shared by all proxies that name the same one.
//!
//! What it promises, how to run it and what happens when etcd is away: `docs/distributed.md`. Why gRPC is spoken by
//! hand: `docs/decisions/0020-etcd-by-hand.md`.

mod address;
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
mod watch;

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use edgeproxy_backend::BackendId;
use edgeproxy_registry::Write;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::rustls::ClientConfig;

pub use address::{EtcdAddress, EtcdAddressError};
pub use client::EtcdUser;

use crate::{CommitError, Held, LoadError, Loaded, ProxyName, Shared, Store, Task, Update};
use client::Client;
use grpc::Fault;
use held::Deed;
use session::Session;

/// How etcd is used.
#[derive(Clone, Debug)]
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
            patience: Duration::from_secs(5),
            member_ttl: Duration::from_secs(10),
            seed,
        }
    }
}

/// Registrations in etcd. Its loading begins a watch and the keeping of a lease, which run on the runtime that it was
/// awaited on, until the store is dropped.
#[derive(Debug)]
pub struct Etcd {
    settings: EtcdSettings,
    running: Mutex<Option<Running>>,
    loaded: Notify,
}

#[derive(Debug)]
struct Running {
    session: Arc<Session>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Running {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Etcd {
    /// Connects to nobody before the first [load](Store::load).
    #[must_use]
    pub fn new(settings: EtcdSettings) -> Self {
        Self {
            settings,
            running: Mutex::default(),
            loaded: Notify::new(),
        }
    }

    async fn depart(&self) {
        let running = self.lock().take();
        if let Some(running) = running {
            for task in &running.tasks {
                task.abort();
            }
            // If it fails, they wait.
            let _ = member::leave(&running.session).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn session(&self) -> Option<Arc<Session>> {
        self.lock().as_ref().map(|running| Arc::clone(&running.session))
    }

    /// # Errors
    /// When nothing is shared.
    fn sharing(&self) -> Result<Arc<Session>, CommitError> {
        self.session().ok_or_else(|| CommitError {
            message: "etcd: nothing is shared, because it has not been loaded or has been left".to_owned(),
            source: None,
        })
    }

    async fn begin(&self) -> Result<Loaded, LoadError> {
        *self.lock() = None;
        let failed = |fault: Fault| LoadError {
            message: format!(
                "nothing could be read of etcd at {}: {fault}; see that it runs, and that this machine may connect to it",
                self.settings.address.members()
            ),
            source: None,
        };
        let client = Client::new(self.settings.clone());
        let limit = self.settings.load_timeout;
        let session = Session::begin(client, &self.settings.proxy, limit)
            .await
            .map_err(failed)?;
        let session = Arc::new(session);
        let picture = session.load(limit).await.map_err(failed)?;
        session.hear();
        let tasks = [
            tokio::spawn(watch::follow(Arc::clone(&session), picture.revision)),
            tokio::spawn(member::keep(Arc::clone(&session))),
        ];
        *self.lock() = Some(Running { session, tasks });
        self.loaded.notify_waiters();
        Ok(picture.into_loaded())
    }

    async fn news(&self) -> Update {
        let session = loop {
            let loaded = self.loaded.notified();
            if let Some(session) = self.session() {
                break session;
            }
            loaded.await;
        };
        loop {
            let update = session.mirror().next();
            if let Some(update) = update {
                session.room.notify_one();
                return update;
            }
            session.news.notified().await;
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
        *self.lock() = None;
        Box::pin(std::future::ready(()))
    }

    fn update(&self) -> Task<'_, Update> {
        Box::pin(self.news())
    }

    fn stride(&self) -> NonZeroU64 {
        session::STRIDE
    }

    fn shared(&self) -> Option<&dyn Shared> {
        Some(self)
    }
}

impl Shared for Etcd {
    fn me(&self) -> &ProxyName {
        &self.settings.proxy
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
