//! What may change while the API is served.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::host::Hosts;
use crate::rate::RateLimit;
use crate::{Access, Admission, Bounds};

/// Which backends may register, who may use the API, and how often: the part that can be replaced while it is served,
/// for the next request. Cheap to clone; a clone is the same.
#[derive(Clone)]
pub struct Terms(Arc<ArcSwap<InForce>>);

/// The terms, and what the router derives from them.
pub(crate) struct InForce {
    pub(crate) admission: Admission,
    pub(crate) access: Access,
    pub(crate) hosts: Hosts,
    pub(crate) rate: Arc<RateLimit>,
    limits: Limits,
}

/// What a rate limit is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Limits {
    requests_per_sec: NonZeroU32,
    burst: NonZeroU32,
    peers: usize,
}

impl Terms {
    /// Of `bounds` only what concerns the number of requests.
    #[must_use]
    pub fn new(admission: Admission, access: Access, bounds: Bounds) -> Self {
        let limits = Limits::of(bounds);
        let rate = Arc::new(limits.limit());
        Self(Arc::new(ArcSwap::from_pointee(InForce::new(
            admission, access, limits, rate,
        ))))
    }

    /// Puts others in force. What peers have used up of their number of requests is forgotten if that changes, and only
    /// then.
    pub fn replace(&self, admission: Admission, access: Access, bounds: Bounds) {
        let (limits, before) = (Limits::of(bounds), self.0.load());
        let rate = if limits == before.limits {
            Arc::clone(&before.rate)
        } else {
            Arc::new(limits.limit())
        };
        self.0
            .store(Arc::new(InForce::new(admission, access, limits, rate)));
    }

    pub(crate) fn in_force(&self) -> Arc<InForce> {
        self.0.load_full()
    }
}

impl InForce {
    fn new(admission: Admission, access: Access, limits: Limits, rate: Arc<RateLimit>) -> Self {
        let hosts = Hosts::new(&access.allowed_hosts);
        Self {
            admission,
            access,
            hosts,
            rate,
            limits,
        }
    }
}

impl Limits {
    fn of(bounds: Bounds) -> Self {
        let Bounds {
            requests_per_sec,
            burst,
            peers,
            ..
        } = bounds;
        Self {
            requests_per_sec,
            burst,
            peers,
        }
    }

    fn limit(self) -> RateLimit {
        RateLimit::new(self.requests_per_sec, self.burst, self.peers)
    }
}

impl Default for Terms {
    /// The built-in regions, closed to strangers, and the default bounds.
    fn default() -> Self {
        Self::new(Admission::default(), Access::default(), Bounds::default())
    }
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let InForce {
            admission,
            access,
            limits,
            ..
        } = &**self.0.load();
        f.debug_struct("Terms")
            .field("admission", admission)
            .field("access", access)
            .field("limits", limits)
            .finish_non_exhaustive()
    }
}
