//! What is noted of a request while it is under way, and told at its end, however it ends.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::Endpoint;
use tokio::time::Instant;

use crate::exchange::answer::Answer;
use crate::exchange::retry::Failed;
use crate::telemetry::access_log::Entry;
use crate::telemetry::counts::{AppCells, FAILURES, TRUNCATED, Tally, class, place_of, reason};

/// One request of a client. Whoever drops it without a word before an answer has begun says that the client has left.
pub(crate) struct Account {
    began: Instant,
    stage: Stage,
    /// Its line in the access log, if it gets one. In a box, since few have that.
    entry: Option<Box<Entry>>,
    /// Its answer began a session, which lasts as long as both sides like.
    switched: bool,
}

enum Stage {
    /// Nobody knows yet whose request it is; what becomes of it is not an app's.
    Unrouted,
    /// No answer has begun.
    Asked(Arc<AppCells>),
    /// An answer of that status has begun, from there.
    Answered(u16, Rc<Tally>),
    /// It has been counted.
    Counted,
}

impl Account {
    /// A request whose head came at `began`.
    pub(crate) fn new(began: Instant, entry: Option<Box<Entry>>) -> Self {
        Self {
            began,
            stage: Stage::Unrouted,
            entry,
            switched: false,
        }
    }

    /// It is for that app.
    pub(crate) fn routed(&mut self, app: Arc<AppCells>) {
        if let Some(entry) = &mut self.entry {
            entry.app = Some(app.name().clone());
        }
        self.stage = Stage::Asked(app);
    }

    /// Connections were made for the latest attempt, or could not be, and took so long together.
    #[inline]
    pub(crate) fn connected(&mut self, took: Option<Duration>) {
        if let (Some(took), Some(entry)) = (took, &mut self.entry) {
            entry.connected(took);
        }
    }

    /// It is tried on that backend. What that is to be told as its parent, of a request that is traced.
    #[inline]
    pub(crate) fn tries(&mut self, endpoint: &Endpoint, random: impl FnOnce() -> u64) -> Option<u64> {
        let entry = self.entry.as_deref_mut()?;
        entry.attempts += 1;
        let spans = entry.spans.as_deref_mut()?;
        Some(spans.begin(endpoint, self.began.elapsed(), random))
    }

    /// The latest attempt has failed, with that status if there was one.
    #[cold]
    pub(crate) fn attempt_failed(&mut self, failed: Failed, status: Option<u16>) {
        if let Some(entry) = &mut self.entry
            && let Some(spans) = &mut entry.spans
        {
            spans.end(
                self.began.elapsed(),
                status,
                FAILURES.get(place_of(failed)).copied(),
            );
        }
    }

    /// A backend's answer, whose head came at `now`, is what the client gets.
    #[inline]
    pub(crate) fn answered(&mut self, status: u16, tally: Rc<Tally>, now: Instant) {
        if let Some(entry) = &mut self.entry {
            entry.answered(status, now.saturating_duration_since(self.began), &tally);
        }
        self.stage = Stage::Answered(status, tally);
        self.switched = status == 101;
    }

    /// The answer that has begun is a session, though its status doesn't say so.
    pub(crate) fn switched(&mut self) {
        self.switched = true;
    }

    /// The proxy's own answer is what the client gets, of a request for that app.
    #[cold]
    pub(crate) fn answered_by_us(&mut self, app: &AppCells, answer: &Answer) {
        self.answered_with(app, answer.status.as_u16(), answer.word);
    }

    /// The same, where it is told in other words.
    #[cold]
    pub(crate) fn answered_with(&mut self, app: &AppCells, status: u16, word: &'static str) {
        app.answers.count(class(status));
        app.own.count(reason(word));
        app.durations.record(self.began.elapsed());
        self.stage = Stage::Counted;
        if let Some(entry) = &mut self.entry {
            entry.app = Some(app.name().clone());
            (entry.status, entry.failure) = (Some(status), Some(word));
        }
    }

    /// The proxy's own answer is what the client gets, of a request that goes to no app.
    #[cold]
    pub(crate) fn refused(&mut self, answer: &Answer) {
        self.stage = Stage::Counted;
        if let Some(entry) = &mut self.entry {
            (entry.status, entry.failure) = (Some(answer.status.as_u16()), Some(answer.word));
        }
    }

    /// It is answered, and nobody is to count it.
    #[cold]
    pub(crate) fn answered_as_last(&mut self, status: u16) {
        self.stage = Stage::Counted;
        if let Some(entry) = &mut self.entry {
            entry.status = Some(status);
        }
    }

    /// The client has left before an answer began.
    #[cold]
    pub(crate) fn abandoned(&mut self, app: &AppCells) {
        app.abandoned.add(1);
        self.stage = Stage::Counted;
        if let Some(entry) = &mut self.entry {
            entry.app = Some(app.name().clone());
            entry.failure = Some(CLIENT_LEFT);
        }
    }

    /// The client has left before the end of the answer; or else everything is cut, and it is not to blame.
    #[cold]
    pub(crate) fn interrupted(&mut self) {
        if let Stage::Answered(_, tally) = &self.stage {
            if tally.is_cut() {
                return self.failed(CUT);
            }
            tally.app.interrupted.add(1);
        }
        self.failed(CLIENT_LEFT);
    }

    /// The answer broke off before its end, and the backend is to blame.
    #[cold]
    pub(crate) fn truncated(&mut self) {
        if let Stage::Answered(_, tally) = &self.stage {
            tally.backend.failures.count(TRUNCATED);
        }
        self.failed("truncated");
    }

    fn failed(&mut self, failure: &'static str) {
        if let Some(entry) = &mut self.entry {
            entry.failure = Some(failure);
        }
    }

    /// Bytes of the answer went to the client.
    #[inline]
    pub(crate) fn passed(&mut self, bytes: u64) {
        if let Some(entry) = &mut self.entry {
            entry.bytes += bytes;
        }
    }

    /// It has come to its end. An answer of the proxy's own may still be on its way.
    #[inline]
    pub(crate) fn close(&mut self, now: Instant) {
        let took = now.saturating_duration_since(self.began);
        match std::mem::replace(&mut self.stage, Stage::Counted) {
            Stage::Answered(status, tally) => {
                tally.app.answers.count(class(status));
                if !self.switched {
                    tally.app.durations.record(took);
                }
            }
            Stage::Asked(app) => self.abandoned(&app),
            Stage::Counted => return,
            Stage::Unrouted => {}
        }
        self.write_down(now);
    }

    fn write_down(&mut self, now: Instant) {
        if let Some(entry) = self.entry.take() {
            entry.end(now.saturating_duration_since(self.began));
        }
    }
}

const CLIENT_LEFT: &str = "client_left";
const CUT: &str = "cut";

impl Drop for Account {
    fn drop(&mut self) {
        let is_open = !matches!(self.stage, Stage::Counted);
        if is_open || self.entry.is_some() {
            let now = Instant::now();
            // One that has come to its end is closed by whom it came through.
            if let (Stage::Answered(..), Some(entry)) = (&self.stage, &mut self.entry) {
                entry.failure.get_or_insert(CUT);
            }
            self.close(now);
            self.write_down(now);
        }
    }
}
