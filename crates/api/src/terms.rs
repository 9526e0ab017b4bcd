//! What may change while the API is served.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::access::failures::Failures;
use crate::guard::host::Hosts;
use crate::guard::rate::Rates;
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
    pub(crate) counted: Arc<Counted>,
    limits: Limits,
}

/// What peers have used up.
pub(crate) struct Counted {
    pub(crate) rates: Rates,
    pub(crate) failures: Failures,
}

/// What limits by peer are made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Limits {
    requests_per_sec: NonZeroU32,
    burst: NonZeroU32,
    failures_per_min: NonZeroU32,
    peers: usize,
}

impl Terms {
    /// Of `bounds` only what concerns the number of requests.
    #[must_use]
    pub fn new(admission: Admission, access: Access, bounds: Bounds) -> Self {
        let limits = Limits::of(bounds);
        let counted = Arc::new(limits.counted());
        Self(Arc::new(ArcSwap::from_pointee(InForce::new(
            admission, access, limits, counted,
        ))))
    }

    /// Puts others in force. What peers have used up of their number of requests is forgotten if that changes, and only
    /// then.
    pub fn replace(&self, admission: Admission, access: Access, bounds: Bounds) {
        let (limits, before) = (Limits::of(bounds), self.0.load());
        let counted = if limits == before.limits {
            Arc::clone(&before.counted)
        } else {
            Arc::new(limits.counted())
        };
        self.0
            .store(Arc::new(InForce::new(admission, access, limits, counted)));
    }

    pub(crate) fn in_force(&self) -> Arc<InForce> {
        self.0.load_full()
    }
}

impl InForce {
    fn new(admission: Admission, access: Access, limits: Limits, counted: Arc<Counted>) -> Self {
        let hosts = Hosts::new(&access.allowed_hosts);
        Self {
            admission,
            access,
            hosts,
            counted,
            limits,
        }
    }
}

impl Limits {
    fn of(bounds: Bounds) -> Self {
        let Bounds {
            requests_per_sec,
            burst,
            failures_per_min,
            peers,
            ..
        } = bounds;
        Self {
            requests_per_sec,
            burst,
            failures_per_min,
            peers,
        }
    }

    fn counted(self) -> Counted {
        Counted {
            rates: Rates::new(self.requests_per_sec, self.burst, self.peers),
            failures: Failures::new(self.failures_per_min, self.peers),
        }
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
