use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Whether the server takes traffic; what `GET /ready` answers. Cheap to clone, every clone tells the same.
///
/// It only ever goes forward: starting, ready, draining.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<AtomicU8>);

/// Where a server is in its life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// Listeners are being bound, registrations restored.
    Starting,
    /// It takes traffic.
    Ready,
    /// It ends what is in flight and takes nothing new.
    Draining,
}

impl Phase {
    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

impl Readiness {
    /// Not ready yet.
    #[must_use]
    pub fn starting() -> Self {
        Self(Arc::new(AtomicU8::new(Phase::Starting as u8)))
    }

    /// From now on ready, unless it is draining already.
    pub fn ready(&self) {
        self.advance(Phase::Ready);
    }

    /// From now on draining.
    pub fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Where it is now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }

    fn advance(&self, to: Phase) {
        self.0.fetch_max(to as u8, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_only_goes_forward() {
        let readiness = Readiness::starting();
        assert_eq!(readiness.phase(), Phase::Starting);
        readiness.ready();
        assert_eq!(readiness.clone().phase(), Phase::Ready);
        readiness.drain();
        readiness.ready();
        assert_eq!(readiness.phase(), Phase::Draining);
    }
}
