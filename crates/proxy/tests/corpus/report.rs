//! Which cases fail, and how.

use std::fmt::Write as _;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::arrival::Arrivals;
use crate::check::Checked;

/// What went wrong with one case.
#[derive(Debug)]
pub(crate) struct Failures {
    case: String,
    found: Vec<String>,
}

/// A case that fails at so many splits would fail at the others too.
const ENOUGH: usize = 3;

impl Failures {
    pub(crate) fn new(name: &str, section: &str) -> Self {
        Self {
            case: format!("{name} ({section})"),
            found: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, way: &str, checked: Checked) {
        if let Err(what) = checked {
            self.found.push(format!("{way}: {what}"));
        }
    }

    pub(crate) fn are_enough(&self) -> bool {
        self.found.len() >= ENOUGH
    }
}

/// Cases at a time. Each waits for the proxy most of the time.
const AT_A_TIME: usize = 32;

/// Plays every case; panics with the list of those that fail.
pub(crate) async fn play_all<C, F>(theme: &str, cases: Vec<C>, play: impl Fn(C, Arrivals) -> F)
where
    F: Future<Output = Failures> + Send + 'static,
{
    let arrivals = Arrivals::start();
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let mut tasks = JoinSet::new();
    let count = cases.len();
    for case in cases {
        let (places, played) = (Arc::clone(&places), play(case, arrivals.clone()));
        tasks.spawn(async move {
            let _place = places.acquire().await.unwrap();
            played.await
        });
    }
    let mut failed: Vec<Failures> = tasks.join_all().await;
    failed.retain(|failures| !failures.found.is_empty());
    failed.sort_by(|one, other| one.case.cmp(&other.case));
    let mut report = String::new();
    for failures in &failed {
        write!(report, "\n{}", failures.case).unwrap();
        for found in &failures.found {
            write!(report, "\n    {found}").unwrap();
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {count} cases of {theme} fail:{report}",
        failed.len()
    );
}
