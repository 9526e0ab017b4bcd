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
