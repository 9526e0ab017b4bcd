//! What is counted and written down of a request, and what its backend's ledger hears.

use std::time::Duration;

use edgeproxy_backend::InFlight;
use http::Response;
use http::request::Parts;
use tokio::time::Instant;

use super::Exchange;
use crate::exchange::account::Account;
use crate::exchange::answer::Answer;
use crate::exchange::download::Arriving;
use crate::exchange::retry::Failed;
use crate::headers::trace;
use crate::http1::request;
use crate::telemetry::access_log::{Asked, Asker, trace_of};
use crate::telemetry::traces::Traced;
use crate::worker::Worker;

/// Opens the account of a request that has just come; and whether it is traced.
pub(super) fn account(worker: &Worker, client: request::Client, parts: &Parts) -> (Account, Option<Traced>) {
    let said = trace::traceparent(&parts.headers);
    let sampling = worker.sampling(client);
    let traced = sampling.and_then(|sampling| sampling.decide(said, || worker.random()));
    let introduced = || {
        let introduced = worker.origins(client)?.of_map(&parts.headers);
        introduced.address
    };
    let is_written = worker.config().access_log.is_some() || traced.is_some();
    let introduced = is_written.then(introduced).flatten();
    let from = Asker {
        client: introduced.unwrap_or(client.ip),
        tls: client.tls,
        traced,
    };
    let began = Instant::now();
    let entry = worker.entry(from, began, || Asked {
        protocol: "HTTP/2",
        method: parts.method.as_str().as_bytes(),
        host: parts.uri.host().unwrap_or_default().as_bytes(),
        target: parts
            .uri
            .path_and_query()
            .map_or("", |target| target.as_str())
            .as_bytes(),
        trace: said.filter(|said| trace::is_traceparent(said)).and_then(trace_of),
    });
    (Account::new(began, entry), traced)
}

/// Counts a request that goes to no app.
pub(super) fn refused(worker: &Worker, mut account: Account, answer: Answer) -> Answer {
    worker.books().own.refuse(&answer);
    account.refused(&answer);
    answer
}

impl Exchange<'_> {
    /// Has written down that it is tried on another backend, and that one told its place in the trace.
    pub(super) fn note_attempt(&mut self, place: &InFlight) {
        let worker = self.worker;
        if let Some(span) = self.account.tries(place.endpoint(), || worker.random()) {
            self.added.step(span);
        }
    }

    pub(super) fn responded(&self, place: &InFlight, response: &Response<Arriving>, latency: Duration) {
        let tally = self.worker.tally(place.endpoint());
        tally.backend.responded(response.status().as_u16(), latency);
    }

    /// Notes that an attempt failed.
    pub(super) fn failed(&mut self, place: &InFlight, failed: Failed) {
        self.worker.failed(&self.app, place, failed);
        self.standing.failed(failed, &self.whereabouts, place.endpoint());
    }
}
