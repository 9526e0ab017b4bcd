//! What is noted of a request while it is under way, and told at its end, however it ends.

use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;

use crate::answer::Answer;
use crate::counts::{AppCells, Tally, class, reason};

/// One request of a client. Whoever drops it without a word before an answer has begun says that the client has left.
pub(crate) struct Account {
    began: Instant,
    stage: Stage,
}

enum Stage {
    /// Nobody knows yet whose request it is; what becomes of it is not an app's.
    Unrouted,
    /// No answer has begun.
    Asked(Arc<AppCells>),
    /// An answer of that status has begun, from there.
    Answered(u16, Rc<Tally>),
    /// It has been told.
    Told,
}

impl Account {
    /// A request whose head came at `began`.
    pub(crate) fn new(began: Instant) -> Self {
        Self {
            began,
            stage: Stage::Unrouted,
        }
    }

    /// It is for that app.
    pub(crate) fn routed(&mut self, app: Arc<AppCells>) {
        self.stage = Stage::Asked(app);
    }

    /// A backend's answer is what the client gets.
    #[inline]
    pub(crate) fn answered(&mut self, status: u16, tally: Rc<Tally>) {
        self.stage = Stage::Answered(status, tally);
    }

    /// The proxy's own answer is what the client gets, of a request for that app.
    #[cold]
    pub(crate) fn answered_by_us(&mut self, app: &AppCells, answer: &Answer) {
        self.answered_with(app, answer.status.as_u16(), answer.word);
    }

    /// The same, where it is told in other words.
    #[cold]
    pub(crate) fn answered_with(&mut self, app: &AppCells, status: u16, word: &str) {
        app.answers.count(class(status));
        app.own.count(reason(word));
        app.durations.record(self.began.elapsed());
        self.stage = Stage::Told;
    }

    /// The client has left before an answer began.
    #[cold]
    pub(crate) fn abandoned(&mut self, app: &AppCells) {
        app.abandoned.add(1);
        self.stage = Stage::Told;
    }

    /// The client has left before the end of the answer.
    #[cold]
    pub(crate) fn interrupted(&mut self) {
        if let Stage::Answered(_, tally) = &self.stage {
            tally.app.interrupted.add(1);
        }
    }

    /// The answer broke off before its end, and the backend is to blame.
    #[cold]
    pub(crate) fn truncated(&mut self) {
        if let Stage::Answered(_, tally) = &self.stage {
            tally.backend.failures.count(crate::counts::TRUNCATED);
        }
    }

    /// It has come to its end.
    #[inline]
    pub(crate) fn close(&mut self, now: Instant) {
        match std::mem::replace(&mut self.stage, Stage::Told) {
            Stage::Answered(status, tally) => {
                tally.app.answers.count(class(status));
                tally
                    .app
                    .durations
                    .record(now.saturating_duration_since(self.began));
            }
            Stage::Asked(app) => app.abandoned.add(1),
            Stage::Unrouted | Stage::Told => {}
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if !matches!(self.stage, Stage::Told) {
            self.close(Instant::now());
        }
    }
}
