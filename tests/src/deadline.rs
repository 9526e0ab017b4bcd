use std::future::Future;
use std::time::{Duration, Instant};

/// How long anything is waited for that has no promised time of its own.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How often a condition is looked at that only asking can tell.
const POLL: Duration = Duration::from_millis(5);

/// The future's output, which has to come in time.
///
/// # Panics
/// With `what` if it doesn't.
pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what}: not within {limit:?}"),
    }
}

/// Asks until the condition holds, and says how long that took.
///
/// # Panics
/// With `what` and the last thing found, if it doesn't hold in time. `Ok` ends the wait, `Err` says what was
/// found instead.
pub async fn eventually<T>(
    limit: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> Result<T, String>,
) -> (T, Duration) {
    let begun = Instant::now();
    loop {
        match condition().await {
            Ok(output) => return (output, begun.elapsed()),
            Err(found) if begun.elapsed() >= limit => {
                panic!("{what}: not within {limit:?}; last found: {found}")
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}
