use std::time::Duration;

use edgeproxy_backend::{BackendId, Incarnation};

use crate::ProxyName;

/// A registration as all proxies see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owned {
    /// The backend.
    pub id: BackendId,
    /// Which life of it.
    pub incarnation: Incarnation,
    /// The length of its lease.
    pub ttl: Duration,
    /// Who holds the lease.
    pub owner: ProxyName,
}

/// What is to be done. Writes are fenced by the incarnation: what the store knows a later life of is left alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Ask whether the backend's port takes connections, and tell it by [`Cluster::probed`](super::Cluster::probed). One that refuses is not routed
    /// to, whatever becomes of its registration.
    Probe {
        /// The backend.
        id: BackendId,
        /// Which life of it.
        incarnation: Incarnation,
    },
    /// Nothing speaks against it any more, as far as this proxy has to know.
    Believe {
        /// The backend.
        id: BackendId,
        /// Which life of it.
        incarnation: Incarnation,
    },
    /// Write the registration with this proxy as its owner.
    Adopt {
        /// The backend.
        id: BackendId,
        /// Which life of it.
        incarnation: Incarnation,
        /// Whose it was. Somebody else's by now is left alone.
        owner: ProxyName,
    },
    /// Delete the registration, unless there is reason to distrust that the backend is gone: nobody has heard it, but
    /// no probe was refused either. Then it is [`Cluster::keep`](super::Cluster::keep) instead, once.
    Expire {
        /// The backend.
        id: BackendId,
        /// Which life of it.
        incarnation: Incarnation,
        /// Whose it was. Somebody else's by now is left alone.
        owner: ProxyName,
    },
    /// Delete the registration.
    Delete {
        /// The backend.
        id: BackendId,
        /// Which life of it.
        incarnation: Incarnation,
        /// Whose it was. Somebody else's by now is left alone.
        owner: ProxyName,
    },
    /// Tell the owners that these have been heard. If that fails, [`Cluster::not_told`](super::Cluster::not_told).
    Tell {
        /// At most [`ClusterPolicy::told_max`](super::ClusterPolicy::told_max).
        ids: Vec<BackendId>,
    },
}

/// What a probe found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It takes connections.
    Answers,
    /// It doesn't.
    Refuses,
}

/// What a heartbeat did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// Its lease lives on.
    Renewed,
    /// Nobody of that id is registered.
    Unknown,
}
