//! What of a registry outlives the process.

use std::time::Duration;

use edgeproxy_backend::{Backend, BackendId, Incarnation};

use crate::Overrides;

/// A registration as a store keeps it: what the backend asked for, without an operator's changes, which are kept
/// apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The backend as it registered itself.
    pub backend: Backend,
    /// Which life of it this is.
    pub incarnation: Incarnation,
    /// The length of its lease. How much of it is left is not kept: whoever is restored begins a fresh one.
    pub ttl: Duration,
}

/// Something that a store is to keep. It tells what is, not what happened: writing it twice is writing it once, and
/// the latest of several for one id is all that matters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Write {
    /// This backend is registered.
    Registered(Record),
    /// No backend of that id is registered any more.
    Gone {
        /// The id.
        id: BackendId,
        /// The last life that it had. A store that knows a later one keeps that.
        incarnation: Incarnation,
    },
    /// An operator has set this on the id, whether it is registered or not.
    Overridden {
        /// The id.
        id: BackendId,
        /// All that is set; the default is nothing, and forgets it.
        overrides: Overrides,
    },
}

impl Write {
    /// Whom it is about.
    #[must_use]
    pub const fn id(&self) -> &BackendId {
        match self {
            Self::Registered(record) => &record.backend.id,
            Self::Gone { id, .. } | Self::Overridden { id, .. } => id,
        }
    }
}

/// All that was kept.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Kept {
    /// The backends.
    pub records: Vec<Record>,
    /// What operators have set, by id, whether it is registered or not.
    pub overrides: Vec<(BackendId, Overrides)>,
}

/// Why a backend that was kept is not there after a restart. A store is told to forget it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unrestored {
    /// The configuration file has a backend of that id.
    #[error("backend {0} is not restored: the configuration file has one of that id, which counts")]
    Static(BackendId),
    /// It may not register any more.
    #[error("backend {id} is not restored: {why}")]
    Refused {
        /// The backend.
        id: BackendId,
        /// Why, as it would be told.
        why: String,
    },
    /// There is no room for it any more.
    #[error(
        "backend {id} is not restored: the registry is full: {max} backends; raise max_backends, and have it register again"
    )]
    TooManyBackends {
        /// The backend.
        id: BackendId,
        /// The limit.
        max: usize,
    },
    /// There is no room for its app any more.
    #[error("backend {id} is not restored: the registry is full: {max} apps")]
    TooManyApps {
        /// The backend.
        id: BackendId,
        /// The limit.
        max: usize,
    },
    /// Its number has been given again, or it was kept twice.
    #[error(
        "backend {id} is not restored: incarnation {found} of it is not the only one of that number or id"
    )]
    Twice {
        /// The backend.
        id: BackendId,
        /// The number that was kept.
        found: Incarnation,
    },
}
