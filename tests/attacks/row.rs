//! One attack: what is sent, what has to come of it, and how it is run.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use edgeproxy_tests::Setup;

use crate::report::{Line, Verdict};
use crate::stage::{self, Stage};

/// What an attack came to.
pub(crate) struct Did {
    /// How many of what it sends were sent.
    pub(crate) sent: u64,
    /// What the product did, in the words of the table.
    pub(crate) did: String,
    /// Why it could not be sent.
    pub(crate) skipped: Option<&'static str>,
}

impl Did {
    pub(crate) fn new(sent: u64, did: impl Into<String>) -> Self {
        Self {
            sent,
            did: did.into(),
            skipped: None,
        }
    }

    /// Nothing was sent, since a program of other people's isn't there.
    pub(crate) fn skipped(why: &'static str) -> Self {
        Self {
            skipped: Some(why),
            ..Self::new(0, "")
        }
    }
}

type Attack = for<'a> fn(&'a Stage) -> Pin<Box<dyn Future<Output = Result<Did>> + 'a>>;

/// A row of the table.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// What is sent, in the words of the table.
    pub(crate) about: &'static str,
    pub(crate) is_quick: bool,
    /// What the proxy is set to besides.
    pub(crate) setup: fn(Setup) -> Setup,
    /// Whether the API takes tokens.
    pub(crate) has_tokens: bool,
    /// How much memory it may take meanwhile, MiB.
    pub(crate) peak_mib: u64,
    /// How much of it may be left beyond a tenth of what was there before, MiB: for what the attack has registered, and is
    /// there still.
    pub(crate) keeps_mib: u64,
    /// Whether what is left of memory is that of a third time, held to the second.
    is_again: bool,
    attack: Attack,
}

/// What everything that is open and under way may hold at once, where a row says nothing else.
const PEAK_MIB: u64 = 64;

/// Longer than any of them takes.
const LIMIT: Duration = Duration::from_secs(240);

impl Row {
    pub(crate) const fn new(name: &'static str, about: &'static str, attack: Attack) -> Self {
        Self {
            name,
            about,
            is_quick: false,
            setup: |setup| setup,
            has_tokens: false,
            peak_mib: PEAK_MIB,
            keeps_mib: 0,
            is_again: false,
            attack,
        }
    }

    /// One of those that run on each change.
    pub(crate) const fn quick(mut self) -> Self {
        self.is_quick = true;
        self
    }

    pub(crate) const fn with(mut self, setup: fn(Setup) -> Setup) -> Self {
        self.setup = setup;
        self
    }

    pub(crate) const fn tokens(mut self) -> Self {
        self.has_tokens = true;
        self
    }

    /// The attack comes three times. An allocator keeps some of what it had to have for the first, and for the second where
    /// threads took turns in another way; a third one that takes more is a leak.
    pub(crate) const fn again(mut self) -> Self {
        self.is_again = true;
        self
    }

    pub(crate) const fn keeps(mut self, mib: u64) -> Self {
        self.keeps_mib = mib;
        self
    }

    pub(crate) const fn peak(mut self, mib: u64) -> Self {
        self.peak_mib = mib;
        self
    }
}

/// Runs one, on a runtime of its own, so that nothing of it is left for the next.
pub(crate) fn run(row: &'static Row) -> Line {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let begun = Instant::now();
    // A panic of what the tests share is a failure of this row alone.
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(play(row))));
    let mut line = ended.unwrap_or_else(|panic| Line {
        verdict: Verdict::of(vec![words(&*panic)]),
        ..Line::of(row)
    });
    line.took = begun.elapsed();
    line
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

async fn play(row: &'static Row) -> Line {
    let (mut stage, crowd) = stage::set(row).await;
    let mut outcome = once(row, &stage).await;
    if row.is_again && outcome.is_ok() {
        outcome = once(row, &stage).await;
    }
    if row.is_again && outcome.is_ok() {
        stage.is_warm().await;
        outcome = once(row, &stage).await;
    }
    stage::judge(row, stage, crowd, outcome).await
}

async fn once(row: &Row, stage: &Stage) -> Result<Did> {
    let attack = tokio::time::timeout(LIMIT, (row.attack)(stage)).await;
    attack.unwrap_or_else(|_| Err(anyhow!("it was not over within {LIMIT:?}")))
}
