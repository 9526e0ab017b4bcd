use std::cell::Cell;
use std::time::Duration;

/// How long the connections took that were made for an attempt, or could not be. Shared, since attempts are made through
/// shared references.
#[derive(Default)]
pub(crate) struct Made(Cell<Option<Duration>>);

impl Made {
    /// Adds what one took. `None`: there was nothing to connect with.
    pub(crate) fn add(&self, took: Option<Duration>) {
        if let Some(took) = took {
            self.0.set(Some(self.0.get().unwrap_or_default() + took));
        }
    }

    /// All of them together, once. `None`: a kept one served.
    pub(crate) fn take(&self) -> Option<Duration> {
        self.0.take()
    }
}
