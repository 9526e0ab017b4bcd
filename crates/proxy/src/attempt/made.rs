use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// How long the connections took that were made for an attempt, or could not be. Shared, since attempts are made through
/// shared references.
#[derive(Default)]
pub(crate) struct Made(Cell<Option<Duration>>);

impl Made {
    /// Notes how long it takes until there is a connection.
    pub(crate) async fn time<T>(&self, making: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let made = making.await;
        self.0
            .set(Some(self.0.get().unwrap_or_default() + begun.elapsed()));
        made
    }

    /// All of them together, once. `None`: a kept one served.
    pub(crate) fn take(&self) -> Option<Duration> {
        self.0.take()
    }
}
