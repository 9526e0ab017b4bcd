//! The time that all workers tell the meters and the balancers.

use std::sync::LazyLock;

use edgeproxy_backend::MonoTime;
use tokio::time::Instant;

/// One for the process: what one worker tells a meter, another one's balancer compares with its own time.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A time as the meters know it.
pub(crate) fn at(instant: Instant) -> MonoTime {
    MonoTime::ZERO + instant.saturating_duration_since(*ORIGIN)
}

/// The time right now, as the meters know it.
pub(crate) fn now() -> MonoTime {
    // The origin first, so that it is not after.
    let origin = *ORIGIN;
    MonoTime::ZERO + Instant::now().saturating_duration_since(origin)
}
