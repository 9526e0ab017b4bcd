//! What is counted and written down of a request, and what its backend's ledger hears.

use std::time::Duration;

use edgeproxy_backend::{InFlight, Incarnation, Signal};
use http::Response;
use http::header::HeaderValue;
use http::request::Parts;
use tokio::time::Instant;

use super::Exchange;
use crate::access_log::Asked;
use crate::account::Account;
use crate::answer::Answer;
use crate::clock;
use crate::counts::place_of;
use crate::download::Arriving;
use crate::http1::request;
use crate::retry::Failed;
use crate::worker::Worker;

/// Opens the account of a request that has just come.
pub(super) fn account(worker: &Worker, client: request::Client, parts: &Parts) -> Account {
    let from = || {
        let introduced = worker.origins(client)?.of_map(&parts.headers);
        introduced.address
    };
    let is_written = worker.config().access_log.is_some();
    let from = is_written.then(from).flatten();
    let entry = worker.entry(from.unwrap_or(client.ip), || Asked {
        protocol: "HTTP/2",
        method: parts.method.as_str().as_bytes(),
        host: parts.uri.host().unwrap_or_default().as_bytes(),
        target: parts
            .uri
            .path_and_query()
            .map_or("", |target| target.as_str())
            .as_bytes(),
        traceparent: parts
            .headers
            .get("traceparent")
            .map(HeaderValue::as_bytes)
            .unwrap_or_default(),
    });
    Account::new(Instant::now(), entry)
}

/// Counts a request that goes to no app.
pub(super) fn refused(worker: &Worker, mut account: Account, answer: Answer) -> Answer {
    worker.books().own.refuse(&answer);
    account.refused(&answer);
    answer
}

impl Exchange<'_> {
    /// Has written down how often it was tried.
    pub(super) fn note_attempts(&self, account: &mut Account, latest: Option<Incarnation>) {
        if let Some(entry) = account.entry() {
            // The one whose response the client gets is among them only if it counts as a failure.
            let is_new = latest.is_some() && self.tried.last() != latest.as_ref();
            let attempts = self.tried.len() + usize::from(is_new);
            entry.attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
        }
    }

    /// Whether the app's budget has a retry left, which is spent then.
    pub(super) fn may_retry(&self) -> bool {
        let granted = self
            .app
            .retry_budget
            .withdraw(self.app.settings.allowance(), clock::now());
        self.worker.books().app(&self.app.name).retried(granted);
        granted
    }

    pub(super) fn responded(&self, place: &InFlight, response: &Response<Arriving>, latency: Duration) {
        let tally = self.worker.tally(place.endpoint());
        tally.backend.responded(response.status().as_u16(), latency);
    }

    /// Tells a backend's ledger that it failed the request.
    pub(super) fn failed(&self, place: &InFlight, failed: Failed) {
        tracing::debug!(backend = %place.endpoint().id, ?failed, "a backend failed a request");
        self.worker
            .tally(place.endpoint())
            .backend
            .failures
            .count(place_of(failed));
        self.tell(place, place.failed(self.app.settings.max_failures, clock::now()));
    }

    pub(super) fn tell(&self, place: &InFlight, signal: Option<Signal>) {
        if let Some(signal) = signal {
            self.worker.report(place.report(signal));
        }
    }
}
