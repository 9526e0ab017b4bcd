use std::fmt;
use std::num::NonZeroU64;
use std::ops::Deref;
use std::sync::Arc;

use crate::{Admission, Backend, InFlight, Meter, Refusal};

/// One life of a backend at one address. A later incarnation has a greater number, over all backends of a
/// registry; a number is never used twice, so it
/// identifies an [`Endpoint`] for as long as the process runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Incarnation(NonZeroU64);

impl Incarnation {
    /// The first.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// The incarnation of that number; 0 is none.
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        match NonZeroU64::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// The one after.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// One incarnation of a backend as it is routed to: what it registered, with an operator's changes laid
/// over it, and the meter that outlives every change. Immutable; a change makes a new one that shares the
/// meter.
// In this order, so that what every request needs of it lies beside the reference count, which every request
// writes anyway.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Endpoint {
    /// What it is doing right now; shared by every `Endpoint` of this incarnation.
    pub meter: Arc<Meter>,
    /// The backend. Weight and limits are those in force, an operator's change included.
    pub backend: Backend,
    /// Which of its lives.
    pub incarnation: Incarnation,
}

impl Endpoint {
    /// A new incarnation, with a meter of its own.
    #[must_use]
    pub fn new(backend: Backend, incarnation: Incarnation) -> Self {
        Self {
            meter: Arc::default(),
            backend,
            incarnation,
        }
    }

    /// Begins a request, if the gate and the hard limit allow it. The returned handle counts until it is
    /// dropped, so hold it to the end of the response's body.
    ///
    /// The hard limit is never exceeded, whatever the number of threads.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    #[inline]
    pub fn admit(self: &Arc<Self>, admission: Admission) -> Result<InFlight, Refusal> {
        let (epoch, trial) = self.meter.begin(self.limits, admission)?;
        Ok(InFlight::new(Arc::clone(self), epoch, trial))
    }

    /// What [`admit`](Self::admit) would answer at this instant, without beginning anything.
    ///
    /// # Errors
    /// Why it would not.
    pub fn would_admit(&self, admission: Admission) -> Result<(), Refusal> {
        self.meter.would_begin(self.limits, admission)
    }
}

impl Deref for Endpoint {
    type Target = Backend;

    fn deref(&self) -> &Backend {
        &self.backend
    }
}
