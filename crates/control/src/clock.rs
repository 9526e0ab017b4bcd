use std::time::Duration;

use edgeproxy_backend::MonoTime;
use tokio::time::Instant;

/// Reads tokio's clock, so that a test can pause it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    pub(crate) fn now(self) -> MonoTime {
        MonoTime::ZERO + self.elapsed()
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.origin.elapsed()
    }

    pub(crate) fn instant(self, time: MonoTime) -> Instant {
        self.origin + time.since(MonoTime::ZERO)
    }
}
