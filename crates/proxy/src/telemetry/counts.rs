//! What the workers count: each in cells of its own, which nobody else writes to.
//!
//! A request finds its backend's cells by what the worker holds of the backend anyway ([`Tally`] hangs on the upstream),
//! and its app's cells beside them, so that counting is a few loads and stores in lines that are this core's already.
//! Whoever reads ([`Counted`]) adds up what the workers have, and keeps the sum of what is gone for a while.

mod books;
mod counted;

use std::time::Duration;

use edgeproxy_backend::{AppName, BackendId};
use edgeproxy_metrics::{Buckets, Count, Histogram};

use crate::exchange::answer::{self, Answer};
use crate::exchange::retry::Failed;
pub(crate) use books::{Books, Entered, Open, Tally};
pub(crate) use counted::Unopened;
pub use counted::{AppTraffic, BackendTraffic, Counted, ListenerTraffic, Traffic, WorkerTraffic};

/// The classes of statuses, in the order in which they are counted.
pub const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// How a backend can fail a request, in the order in which it is counted; `own_fault` is the proxy's failure before it, and the
/// last one comes after its response has begun.
pub const FAILURES: [&str; 13] = [
    "connect",
    "connect_timeout",
    "tls",
    "closed_before_request",
    "closed_before_response",
    "no_response",
    "response_timeout",
    "malformed",
    "unhealthy_status",
    "going_away",
    "refused",
    "own_fault",
    "truncated",
];

/// Where in [`FAILURES`] a response is that broke off.
pub(crate) const TRUNCATED: usize = FAILURES.len() - 1;

/// Why a request was answered by the proxy itself, in the order in which it is counted: the words of
/// [the crate's table](crate#what-clients-are-told).
pub const REASONS: [&str; answer::WORDS.len()] = answer::WORDS;

/// Why a connection was closed before it was served, in the order in which it is counted.
pub const TURNED_AWAY: [&str; 2] = ["client_limit", "proxy_protocol"];

/// Where they are in there.
pub(crate) const BY_CLIENT_LIMIT: usize = 0;
pub(crate) const BY_INTRODUCTION: usize = 1;

/// For what an HTTP/2 client was thrown out, in the order in which it is counted.
pub const BREACHES: [&str; 3] = ["resets", "control", "malformed"];

/// Where a failure is in [`FAILURES`].
pub(crate) const fn place_of(failed: Failed) -> usize {
    match failed {
        Failed::Connect => 0,
        Failed::ConnectTimeout => 1,
        Failed::Tls => 2,
        Failed::NotSent => 3,
        Failed::Stale => 4,
        Failed::NoResponse => 5,
        Failed::ResponseTimeout => 6,
        Failed::Malformed => 7,
        Failed::Unhealthy => 8,
        Failed::GoneAway => 9,
        Failed::Refused => 10,
        Failed::OwnFault => 11,
    }
}

/// As many counts as there are kinds of something.
#[derive(Debug)]
pub(crate) struct Kinds<const N: usize>([Count; N]);

impl<const N: usize> Kinds<N> {
    /// Counts one of that kind.
    #[inline]
    pub(crate) fn count(&self, kind: usize) {
        if let Some(count) = self.0.get(kind) {
            count.add(1);
        }
    }

    fn add_to(&self, sums: &mut [u64; N]) {
        for (sum, count) in sums.iter_mut().zip(&self.0) {
            *sum = sum.wrapping_add(count.get());
        }
    }
}

impl<const N: usize> Default for Kinds<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Count::default()))
    }
}

/// Where a status is in [`CLASSES`].
#[inline]
pub(crate) fn class(status: u16) -> usize {
    // A status is from 100 to 599, or is not passed on; what is beyond is counted nowhere.
    usize::from(status / 100).wrapping_sub(1)
}

/// What one worker counts of one life of a backend. Two lines of a cache lie between those of two workers, since
/// processors fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct BackendCells {
    pub(crate) responses: Kinds<{ CLASSES.len() }>,
    /// Bytes that were written to it, and read from it, inside of TLS if there is any.
    pub(crate) sent: Count,
    pub(crate) received: Count,
    /// From a request's first byte to it, to its response's head; for TCP the time to connect.
    pub(crate) heads: Histogram,
    pub(crate) failures: Kinds<{ FAILURES.len() }>,
    /// Connections to it that were made, and that are open.
    pub(crate) connections: Count,
    pub(crate) open: Count,
    /// TCP connections that were passed on.
    pub(crate) sessions: Count,
    app: AppName,
    id: BackendId,
}

/// What one worker counts of one app, as its clients see it.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct AppCells {
    /// Requests by the status that the client was told.
    pub(crate) answers: Kinds<{ CLASSES.len() }>,
    /// From a request's head to the end of its answer.
    pub(crate) durations: Histogram,
    /// Those that the proxy answered itself, by reason.
    pub(crate) own: Kinds<{ REASONS.len() }>,
    /// Requests whose client left before an answer began, and after.
    pub(crate) abandoned: Count,
    pub(crate) interrupted: Count,
    pub(crate) retries: Count,
    pub(crate) retries_denied: Count,
    /// Requests that had to wait for a place.
    pub(crate) queued: Count,
    /// TCP connections that were passed on, and that were not.
    pub(crate) sessions: Count,
    pub(crate) sessions_refused: Count,
    name: AppName,
}

/// What one worker counts of itself.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct WorkerCells {
    pub(crate) sent: Count,
    pub(crate) received: Count,
    /// Requests that were answered before it was known which app they are for.
    pub(crate) refused: Kinds<{ REASONS.len() }>,
    pub(crate) breaches: Kinds<{ BREACHES.len() }>,
    pub(crate) listeners: Box<[ListenerCells]>,
}

/// What one worker counts of one listener.
#[derive(Debug, Default)]
pub(crate) struct ListenerCells {
    pub(crate) accepted: Count,
    pub(crate) open: Count,
    pub(crate) turned_away: Kinds<{ TURNED_AWAY.len() }>,
    pub(crate) handshakes: Count,
    pub(crate) handshakes_failed: Count,
}

impl WorkerCells {
    pub(crate) fn new(listeners: usize) -> Self {
        Self {
            sent: Count::default(),
            received: Count::default(),
            refused: Kinds::default(),
            breaches: Kinds::default(),
            listeners: (0..listeners).map(|_| ListenerCells::default()).collect(),
        }
    }

    /// Counts a request that goes to no app.
    pub(crate) fn refuse(&self, answer: &Answer) {
        self.refused.count(reason(answer.word));
    }
}

impl AppCells {
    pub(crate) fn name(&self) -> &AppName {
        &self.name
    }

    /// Counts a retry that was `granted`, or not.
    #[cold]
    pub(crate) fn retried(&self, granted: bool) {
        if granted {
            self.retries.add(1);
        } else {
            self.retries_denied.add(1);
        }
    }

    fn new(name: AppName) -> Self {
        Self {
            answers: Kinds::default(),
            durations: Histogram::default(),
            own: Kinds::default(),
            abandoned: Count::default(),
            interrupted: Count::default(),
            retries: Count::default(),
            retries_denied: Count::default(),
            queued: Count::default(),
            sessions: Count::default(),
            sessions_refused: Count::default(),
            name,
        }
    }
}

impl BackendCells {
    /// Counts a response's head, which came so long after its request was sent.
    #[inline]
    pub(crate) fn responded(&self, status: u16, latency: Duration) {
        self.responses.count(class(status));
        self.heads.record(latency);
    }

    pub(crate) fn id(&self) -> &BackendId {
        &self.id
    }

    fn new(app: AppName, id: BackendId) -> Self {
        Self {
            responses: Kinds::default(),
            sent: Count::default(),
            received: Count::default(),
            heads: Histogram::default(),
            failures: Kinds::default(),
            connections: Count::default(),
            open: Count::default(),
            sessions: Count::default(),
            app,
            id,
        }
    }
}

/// Where a word is in [`REASONS`].
pub(crate) fn reason(word: &str) -> usize {
    REASONS.iter().position(|one| *one == word).unwrap_or(usize::MAX)
}

/// What all workers have counted of a backend, over all of its lives since the series began.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BackendTotals {
    /// Responses by the class of their status, as [`CLASSES`] has them. Each attempt counts.
    pub responses: [u64; CLASSES.len()],
    /// What went wrong, as [`FAILURES`] has it. Each attempt counts.
    pub failures: [u64; FAILURES.len()],
    /// Bytes that were written to it.
    pub sent_bytes: u64,
    /// Bytes that were read from it.
    pub received_bytes: u64,
    /// From a request's first byte to it, to its response's head.
    pub heads: Buckets,
    /// Connections to it that were made.
    pub connections: u64,
    /// Connections to it that are open, idle ones included.
    pub open_connections: u64,
    /// TCP connections that were passed on to it.
    pub sessions: u64,
}

/// What all workers have counted of an app, as its clients see it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AppTotals {
    /// Requests by the class of the status that the client was told, as [`CLASSES`] has them.
    pub answers: [u64; CLASSES.len()],
    /// From a request's head to the end of its answer.
    pub durations: Buckets,
    /// Those that the proxy answered itself, as [`REASONS`] has them.
    pub own_answers: [u64; REASONS.len()],
    /// Requests whose client left before an answer began.
    pub abandoned: u64,
    /// Requests whose client left before the answer's end.
    pub interrupted: u64,
    /// Attempts after the first, on another backend.
    pub retries: u64,
    /// Attempts that the app's budget did not allow.
    pub retries_denied: u64,
    /// Requests that had to wait for a place.
    pub queued: u64,
    /// TCP connections that were passed on.
    pub sessions: u64,
    /// TCP connections that were reset, since no backend took them.
    pub sessions_refused: u64,
}

/// Cells as they are added up and kept.
trait Cells {
    type Key: Clone + Eq + std::hash::Hash + Ord;
    type Totals: Clone + Default;

    fn key(&self) -> Self::Key;
    fn add_to(&self, totals: &mut Self::Totals);
}

impl Cells for BackendCells {
    type Key = (AppName, BackendId);
    type Totals = BackendTotals;

    fn key(&self) -> Self::Key {
        (self.app.clone(), self.id.clone())
    }

    fn add_to(&self, totals: &mut BackendTotals) {
        self.responses.add_to(&mut totals.responses);
        self.failures.add_to(&mut totals.failures);
        totals.heads.add(&self.heads.read());
        for (sum, count) in [
            (&mut totals.sent_bytes, &self.sent),
            (&mut totals.received_bytes, &self.received),
            (&mut totals.connections, &self.connections),
            (&mut totals.open_connections, &self.open),
            (&mut totals.sessions, &self.sessions),
        ] {
            *sum = sum.wrapping_add(count.get());
        }
    }
}

impl Cells for AppCells {
    type Key = AppName;
    type Totals = AppTotals;

    fn key(&self) -> AppName {
        self.name.clone()
    }

    fn add_to(&self, totals: &mut AppTotals) {
        self.answers.add_to(&mut totals.answers);
        self.own.add_to(&mut totals.own_answers);
        totals.durations.add(&self.durations.read());
        for (sum, count) in [
            (&mut totals.abandoned, &self.abandoned),
            (&mut totals.interrupted, &self.interrupted),
            (&mut totals.retries, &self.retries),
            (&mut totals.retries_denied, &self.retries_denied),
            (&mut totals.queued, &self.queued),
            (&mut totals.sessions, &self.sessions),
            (&mut totals.sessions_refused, &self.sessions_refused),
        ] {
            *sum = sum.wrapping_add(count.get());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_its_class() {
        for (status, expected) in [
            (101, "1xx"),
            (200, "2xx"),
            (304, "3xx"),
            (499, "4xx"),
            (599, "5xx"),
        ] {
            assert_eq!(CLASSES[class(status)], expected);
        }
        assert!(CLASSES.get(class(0)).is_none() && CLASSES.get(class(600)).is_none());
    }

    #[test]
    fn every_failure_has_a_place_of_its_own() {
        use Failed::*;
        let all = [
            Connect,
            ConnectTimeout,
            Tls,
            NotSent,
            Stale,
            NoResponse,
            ResponseTimeout,
            Malformed,
            Unhealthy,
            GoneAway,
            Refused,
            OwnFault,
        ];
        let places: Vec<_> = all.map(place_of).into();
        assert_eq!(places, (0..TRUNCATED).collect::<Vec<_>>());
    }
}
