//! What of a registry outlives the process.

use std::time::Duration;

use edgeproxy_backend::{AppName, Backend, BackendId, Incarnation};

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
    /// An operator has set this, whether a backend of that id is registered or not.
    Overridden(Overridden),
}

/// What an operator has set on a backend. It belongs to the id within the app: another app's backend that gets the id
/// later gets nothing of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Overridden {
    /// The id. One has no more than one of these, whatever the apps.
    pub id: BackendId,
    /// The app whose backend it was set on. `None` if nothing is set, or in what an earlier version kept: it holds for
    /// the app that registers the id first.
    pub app: Option<AppName>,
    /// All that is set; the default is nothing, and forgets it.
    pub overrides: Overrides,
}

impl Overridden {
    /// Nothing is set on the id.
    #[must_use]
    pub fn nothing(id: BackendId) -> Self {
        Self {
            id,
            app: None,
            overrides: Overrides::default(),
        }
    }

    /// What of it holds for a backend of that app.
    #[must_use]
    pub fn of(&self, app: &AppName) -> Overrides {
        match &self.app {
            Some(other) if other != app => Overrides::default(),
            Some(_) | None => self.overrides,
        }
    }

    /// Whether something is set.
    #[must_use]
    pub fn is_some(&self) -> bool {
        self.overrides != Overrides::default()
    }
}

impl Write {
    /// Whom it is about.
    #[must_use]
    pub const fn id(&self) -> &BackendId {
        match self {
            Self::Registered(record) => &record.backend.id,
            Self::Gone { id, .. } | Self::Overridden(Overridden { id, .. }) => id,
        }
    }
}

/// All that was kept.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Kept {
    /// The backends.
    pub records: Vec<Record>,
    /// What operators have set, on backends that are registered and on others. Of each id once.
    pub overrides: Vec<Overridden>,
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
