//! What clients asked, what failed, and whether it may.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Whom a request goes to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum App {
    /// The one that the fault befalls.
    Shop,
    /// Its neighbour, whom nothing befalls.
    Other,
}

impl App {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Shop => "shop",
            Self::Other => "other",
        }
    }
}

/// What a client saw in place of an answer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Form {
    /// An answer of another status, with the proxy's word for it.
    Status(u16, String),
    /// The connection ended before an answer began.
    NoAnswer,
    /// What had begun broke off, and could be seen to.
    Cut,
    /// A body that has no end.
    Endless,
    /// Not the answer to this request.
    Wrong(String),
    /// It took too long.
    Late,
    /// The proxy did not accept.
    Unreachable,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status, word) => write!(f, "{status} {word}"),
            Self::NoAnswer => f.write_str("no answer"),
            Self::Cut => f.write_str("cut short"),
            Self::Endless => f.write_str("endless"),
            Self::Wrong(what) => write!(f, "another's answer: {what}"),
            Self::Late => f.write_str("too late"),
            Self::Unreachable => f.write_str("not accepted"),
        }
    }
}

/// A request that failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) app: App,
    /// Whether its method says that it may be sent again.
    pub(crate) is_repeatable: bool,
    pub(crate) form: Form,
    begun: Duration,
    ended: Duration,
}

impl Failure {
    /// From the question to its failure.
    pub(crate) fn took(&self) -> Duration {
        self.ended.saturating_sub(self.begun)
    }

    /// Whether it is this answer of the proxy's own.
    pub(crate) fn is(&self, status: u16, words: &[&str]) -> bool {
        matches!(&self.form, Form::Status(found, word) if *found == status && words.contains(&word.as_str()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_repeatable { "GET" } else { "POST" };
        let (begun, ended) = (self.begun.as_secs_f64(), self.ended.as_secs_f64());
        let app = self.app.name();
        write!(f, "{kind} to {app}, {begun:.3} s to {ended:.3} s: {}", self.form)
    }
}

/// Which failures the specification allows while a fault lasts.
pub(crate) type Allows = fn(&Failure) -> bool;

struct Window {
    begun: Duration,
    /// `None`: not yet over.
    over: Option<Duration>,
    allows: Allows,
}

/// How long after its end a fault may still be felt: what was on its way.
const AFTERMATH: Duration = Duration::from_millis(500);

/// Kept by all clients together.
#[derive(Clone)]
pub(crate) struct Ledger {
    start: Instant,
    book: Arc<Mutex<Book>>,
}

#[derive(Default)]
struct Book {
    asked: u64,
    failures: Vec<Failure>,
    slowest: Duration,
    /// How often each client had an answer.
    answered: BTreeMap<usize, u64>,
    /// Answers by the backend that gave them.
    by_backend: BTreeMap<String, u64>,
    windows: Vec<Window>,
}

/// The outcome of all of it.
pub(crate) struct Account {
    pub(crate) asked: u64,
    pub(crate) failed: u64,
    /// The failures that the specification allows, by what clients saw.
    pub(crate) allowed: BTreeMap<String, u64>,
    /// Those that it doesn't.
    pub(crate) wrongs: Vec<String>,
    /// The longest that an answer took.
    pub(crate) slowest: Duration,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            book: Arc::default(),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub(crate) fn answered(&self, client: usize, begun: Duration, backend: String) {
        let took = self.now().saturating_sub(begun);
        let mut book = self.book();
        book.asked += 1;
        book.slowest = book.slowest.max(took);
        *book.answered.entry(client).or_default() += 1;
        *book.by_backend.entry(backend).or_default() += 1;
    }

    pub(crate) fn failed(&self, app: App, is_repeatable: bool, begun: Duration, form: Form) {
        let ended = self.now();
        let mut book = self.book();
        book.asked += 1;
        book.failures.push(Failure {
            app,
            is_repeatable,
            form,
            begun,
            ended,
        });
    }

    /// A fault begins.
    pub(crate) fn begins(&self, allows: Allows) {
        let begun = self.now();
        self.book().windows.push(Window {
            begun,
            over: None,
            allows,
        });
    }

    /// All faults are over.
    pub(crate) fn is_over(&self) {
        let now = self.now();
        for window in &mut self.book().windows {
            window.over.get_or_insert(now);
        }
    }

    /// Answers of that backend so far.
    pub(crate) fn answers_of(&self, backend: &str) -> u64 {
        self.book().by_backend.get(backend).copied().unwrap_or_default()
    }

    /// How often each of so many clients had an answer.
    pub(crate) fn answers(&self, clients: usize) -> Vec<u64> {
        let book = self.book();
        let count = |client| book.answered.get(&client).copied().unwrap_or_default();
        (0..clients).map(count).collect()
    }

    /// Failures so far.
    pub(crate) fn failures(&self) -> usize {
        self.book().failures.len()
    }

    pub(crate) fn settle(&self) -> Account {
        let book = self.book();
        let mut account = Account {
            asked: book.asked,
            failed: book.failures.len() as u64,
            allowed: BTreeMap::new(),
            wrongs: Vec::new(),
            slowest: book.slowest,
        };
        for failure in &book.failures {
            let explains = |window: &Window| {
                let over = window.over.map_or(Duration::MAX, |over| over + AFTERMATH);
                failure.begun <= over && failure.ended >= window.begun && (window.allows)(failure)
            };
            if book.windows.iter().any(explains) {
                *account.allowed.entry(failure.form.to_string()).or_default() += 1;
            } else {
                account.wrongs.push(failure.to_string());
            }
        }
        account
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
