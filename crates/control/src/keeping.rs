//! What is known about what is kept, and what callers are told of it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use edgeproxy_store::Store;

/// What a call achieved, and whether a restart would remember it.
#[derive(Clone, Debug)]
pub struct Acknowledged<T> {
    /// What the registry says.
    pub outcome: T,
    /// Why it may be forgotten; `None`: it is kept, or there is no store that was asked to.
    pub unkept: Option<Unkept>,
}

impl<T> Deref for Acknowledged<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.outcome
    }
}

/// Why a change may be forgotten by a restart. `Display` is a sentence for whoever made it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unkept {
    /// The store can't be written to. It is tried again until it can.
    Failing {
        /// What the store said.
        reason: Arc<str>,
    },
    /// The store is slow, and may still keep it.
    Slow {
        /// How long it was waited for.
        waited: Duration,
    },
}

impl fmt::Display for Unkept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failing { reason } => write!(
                f,
                "kept in memory only: the store cannot be written: {reason}; it is tried again until it can"
            ),
            Self::Slow { waited } => write!(
                f,
                "kept in memory only so far: the store has not answered for {} s",
                waited.as_secs()
            ),
        }
    }
}

/// How the store is, for people and metrics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreStatus {
    /// What it is called: `memory`, `file`, `etcd`.
    pub name: &'static str,
    /// What is wrong with it; `None`: nothing.
    pub degraded: Option<Degraded>,
    /// Ids that it doesn't know the latest of.
    pub pending: usize,
    /// How long the last commit that succeeded took.
    pub last_commit: Option<Duration>,
}

/// Since when a store can't be written to, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Degraded {
    /// For how long.
    pub lasting: Duration,
    /// In a sentence.
    pub reason: Arc<str>,
}

/// The store, and how far it has come.
pub(crate) struct Keeping {
    pub(crate) store: Arc<dyn Store>,
    /// Another process may have it.
    pub(crate) is_given: AtomicBool,
    /// Something is to be kept.
    pub(crate) wake: Notify,
    /// The store is to be asked for something about leases.
    pub(crate) share: Notify,
    /// Somebody waits for the end: no pause before the next attempt.
    pub(crate) hurry: Notify,
    pub(crate) progress: watch::Sender<Progress>,
}

/// How far a store has come.
#[derive(Clone, Default)]
pub(crate) struct Progress {
    /// The newest change that it has kept, with all before it.
    pub(crate) through: u64,
    pub(crate) degraded: Option<(Instant, Arc<str>)>,
    /// What others do there can't be heard.
    pub(crate) is_lost: bool,
    pub(crate) last_commit: Option<Duration>,
}

/// How long a caller waits for the store. A disk that takes longer is not waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The first pause after the store has failed.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(100);

impl Keeping {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            is_given: AtomicBool::new(false),
            wake: Notify::new(),
            share: Notify::new(),
            hurry: Notify::new(),
            progress: watch::Sender::default(),
        }
    }

    /// Waits until a change is kept, or can't be.
    pub(crate) async fn kept(&self, change: u64) -> Option<Unkept> {
        let mut progress = self.progress.subscribe();
        let decided = progress.wait_for(|progress| progress.through >= change || progress.degraded.is_some());
        match timeout(PATIENCE, decided).await {
            Ok(Ok(progress)) if progress.through < change => {
                let reason = progress.degraded.as_ref().map(|(_, reason)| Arc::clone(reason));
                reason.map(|reason| Unkept::Failing { reason })
            }
            Ok(_) => None,
            Err(_) => Some(Unkept::Slow { waited: PATIENCE }),
        }
    }
}
