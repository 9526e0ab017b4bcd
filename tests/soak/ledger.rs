//! What was asked, what failed, and which fault each failure is put down to.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::fault::{App, Fault, Kind};

/// How many failures are kept word by word.
const KEPT: usize = 100_000;

/// What a client saw in place of what it asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// An answer of the proxy's own, by its word.
    Status(u16, String),
    /// The connection ended before an answer began.
    NoAnswer,
    /// What had begun broke off.
    Cut,
    /// Bytes other than those sent.
    Wrong,
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
            Self::Wrong => f.write_str("wrong bytes"),
            Self::Late => f.write_str("too late"),
            Self::Unreachable => f.write_str("not accepted"),
        }
    }
}

/// A failure as a client tells it.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) form: Form,
    pub(crate) detail: String,
}

impl Problem {
    pub(crate) fn new(form: Form, detail: impl fmt::Display) -> Self {
        Self {
            form,
            detail: detail.to_string(),
        }
    }
}

struct Failure {
    traffic: &'static str,
    app: App,
    begun: Duration,
    ended: Duration,
    problem: Problem,
}

/// Kept by everybody together.
#[derive(Clone)]
pub(crate) struct Ledger {
    start: Instant,
    book: Arc<Mutex<Book>>,
}

#[derive(Default)]
struct Book {
    asked: BTreeMap<&'static str, u64>,
    bytes: u64,
    failures: Vec<Failure>,
    faults: Vec<Fault>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            book: Arc::default(),
        }
    }

    /// Since the beginning.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Writes down how something ended that began then.
    pub(crate) fn note(
        &self,
        traffic: &'static str,
        app: App,
        begun: Duration,
        outcome: Result<usize, Problem>,
    ) {
        let ended = self.now();
        let mut book = self.book();
        *book.asked.entry(traffic).or_default() += 1;
        match outcome {
            Ok(bytes) => book.bytes += bytes as u64,
            Err(problem) if book.failures.len() < KEPT => book.failures.push(Failure {
                traffic,
                app,
                begun,
                ended,
                problem,
            }),
            Err(_) => {}
        }
    }

    /// A fault is about to be committed.
    pub(crate) fn commits(&self, kind: Kind, app: App, backend: &str) -> usize {
        let mut book = self.book();
        book.faults.push(Fault {
            kind,
            app,
            backend: backend.to_owned(),
            begun: self.now(),
            over: None,
        });
        book.faults.len() - 1
    }

    /// That fault is mended.
    pub(crate) fn mended(&self, fault: usize) {
        let now = self.now();
        if let Some(fault) = self.book().faults.get_mut(fault) {
            fault.over = Some(now);
        }
    }

    /// Puts each failure down to a fault, if there is one that explains it.
    pub(crate) fn settle(&self) -> Account {
        let book = self.book();
        let mut account = Account {
            asked: book.asked.clone(),
            bytes: book.bytes,
            faults: BTreeMap::new(),
            unexplained: Vec::new(),
        };
        for fault in &book.faults {
            account.faults.entry(fault.kind).or_default().committed += 1;
        }
        for failure in &book.failures {
            let cause = book.faults.iter().find(|fault| {
                fault.explains(failure.app, failure.begun, failure.ended, &failure.problem.form)
            });
            match cause {
                Some(fault) => {
                    let caused = account.faults.entry(fault.kind).or_default();
                    *caused.failures.entry(failure.traffic).or_default() += 1;
                    *caused.forms.entry(failure.problem.form.to_string()).or_default() += 1;
                }
                None => account.unexplained.push(format!(
                    "{} at {:.3} s, after {:.3} s: {}: {}",
                    failure.traffic,
                    failure.ended.as_secs_f64(),
                    (failure.ended - failure.begun).as_secs_f64(),
                    failure.problem.form,
                    failure.problem.detail
                )),
            }
        }
        account
    }

    /// What happened around that time, for whoever looks for the reason.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.book().faults.iter().map(ToString::to_string).collect()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came of everything.
pub(crate) struct Account {
    pub(crate) asked: BTreeMap<&'static str, u64>,
    pub(crate) bytes: u64,
    pub(crate) faults: BTreeMap<Kind, Caused>,
    pub(crate) unexplained: Vec<String>,
}

/// What one kind of fault did.
#[derive(Default)]
pub(crate) struct Caused {
    pub(crate) committed: u64,
    /// By the traffic that failed.
    pub(crate) failures: BTreeMap<&'static str, u64>,
    /// By what the client saw.
    pub(crate) forms: BTreeMap<String, u64>,
}

impl Account {
    pub(crate) fn total(&self) -> u64 {
        self.asked.values().sum()
    }
}
