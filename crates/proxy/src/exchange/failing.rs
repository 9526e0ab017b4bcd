//! What it means that an attempt failed: for the backend's ledger, and for whether there is another.

use edgeproxy_backend::{InFlight, Signal};

use crate::AppRoute;
use crate::exchange::retry::Failed;
use crate::telemetry::counts::place_of;
use crate::worker::Worker;
use crate::worker::clock;

impl Worker {
    /// Counts an attempt that failed, and tells the backend's ledger if that is to blame.
    #[cold]
    pub(crate) fn failed(&self, app: &AppRoute, place: &InFlight, failed: Failed) {
        let endpoint = place.endpoint();
        tracing::debug!(backend = %endpoint.id, ?failed, "an attempt failed");
        self.tally(endpoint).backend.failures.count(place_of(failed));
        if failed.is_the_backends() {
            self.tell(place, place.failed(app.settings.max_failures, clock::now()));
        }
    }

    /// Whether there may be another attempt after one that failed so. It is paid for out of the app's budget then, unless this
    /// side was to blame: nothing of that attempt has reached a backend, so it multiplies nothing.
    #[cold]
    pub(crate) fn may_retry(&self, app: &AppRoute, failed: Failed) -> bool {
        let granted =
            !failed.is_the_backends() || app.retry_budget.withdraw(app.settings.allowance(), clock::now());
        self.books().app(&app.name).retried(granted);
        granted
    }

    /// Passes on what a ledger makes of an outcome, if anything.
    pub(crate) fn tell(&self, place: &InFlight, signal: Option<Signal>) {
        if let Some(signal) = signal {
            self.report(place.report(signal));
        }
    }
}
