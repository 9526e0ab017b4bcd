//! The whole system in virtual time: the real registries, stores' rules, health schedules and picking of several proxies, in a
//! world of machines, agents, clients and a network that fail by seed.
//!
//! # What is real, and what is made up
//!
//! Each proxy is a [`Handle`](edgeproxy_control::Handle) and its [`Driver`](edgeproxy_control::Driver) as they are, on tokio's paused
//! clock, with the real `Schedule` of probes, the real `Balancer`, `Endpoint::admit` and what a failure is told by. Only the way
//! between the crates is this world's, by [`wiring`](edgeproxy_simulate::wiring), which a test holds to the server's own. Made up are
//! the store that several proxies share (the store's own model), machines, agents, operators, clients, and the network.
//!
//! # One seed, one history
//!
//! A run is one thread, one clock that stands still until everybody waits, and one source of random numbers. So a seed
//! is a history, and a violation is replayed by it:
//!
//! ```
//! use edgeproxy_whole::{Mix, simulate};
//!
//! let once = simulate(7, Mix::Everything).expect("what is promised holds");
//! assert_eq!(simulate(7, Mix::Everything).expect("as before"), once);
//! ```
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a world that can't be made, or a model that is wrong, fails its test"
)]

mod agents;
mod machine;
mod network;
mod process;
mod request;
mod retries;
mod rules;
mod timeline;
mod trace;
mod trouble;
mod truths;
mod world;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tokio::task::LocalSet;

use trace::B;
use world::World;

/// What may go wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mix {
    /// One proxy, and everything but what needs several.
    Alone,
    /// The network, in one direction and both, and the store's.
    Partitions,
    /// Proxies and machines are killed, frozen, and start again.
    Crashes,
    /// Everybody's clock jumps, or one process's does.
    Jumps,
    /// Machines come, move, leave, and register all at once.
    Churn,
    /// All of it.
    Everything,
}

impl Mix {
    /// Each of them.
    pub const ALL: [Self; 6] = [
        Self::Alone,
        Self::Partitions,
        Self::Crashes,
        Self::Jumps,
        Self::Churn,
        Self::Everything,
    ];

    /// Its name, as `EDGEPROXY_TEST_MIX` has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Partitions => "partitions",
            Self::Crashes => "crashes",
            Self::Jumps => "jumps",
            Self::Churn => "churn",
            Self::Everything => "everything",
        }
    }

    /// The mix of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mix| mix.as_str() == name)
    }

    fn proxies(self, random: &mut fastrand::Rng) -> usize {
        match self {
            Self::Alone => 1,
            _ => random.usize(2..=3),
        }
    }

    const fn shares_limits(self) -> bool {
        matches!(self, Self::Churn | Self::Everything)
    }

    /// Whether a machine's heartbeats come to another proxy each time.
    const fn wanders(self, seed: u64, machine: B) -> bool {
        matches!(self, Self::Everything | Self::Churn) && (seed + machine.0 as u64).is_multiple_of(4)
    }
}

/// What is promised.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Rule {
    /// One that failed too often gets nothing until its trial, and nobody is ejected who didn't.
    Ejected,
    /// What a registry has decided holds for the very next request.
    Excluded,
    /// A deregistered or disabled one gets nothing.
    Draining,
    /// One that is dead and silent is forgotten in time, and nobody before its time.
    Expired,
    /// Nobody has more in flight than its hard limit.
    HardLimit,
    /// One request at a time.
    Trial,
    /// What was acknowledged is there until it ends by right; who answers and is heard is not removed.
    Lost,
    /// Nobody who answers is removed because all agents fell silent.
    MassExpiry,
    /// A life is one backend at one address, and no earlier one follows it.
    Life,
    /// All proxies and the store know the same in the end.
    Agreement,
    /// Whoever answers gets requests again.
    Returns,
    /// A request goes to nobody who has had it, as long as somebody else is there.
    Repeated,
    /// A request that may be repeated is, as long as somebody else is there, and attempts and budget allow it.
    GivenUp,
    /// Nothing changes without a cause.
    Flapping,
    /// Counters come to zero.
    Zero,
    /// Nothing grows without end.
    Bounded,
    /// Nothing panics, and no task ends.
    Panic,
}

/// Something that was promised, and isn't so.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The run's.
    pub seed: u64,
    /// The run's.
    pub mix: Mix,
    /// When, in milliseconds.
    pub at: u64,
    /// What was promised.
    pub rule: Rule,
    /// What is so.
    pub what: String,
    trace: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            mix,
            at,
            rule,
            what,
            trace,
        } = self;
        let name = mix.as_str();
        writeln!(f, "{trace}")?;
        writeln!(
            f,
            "violation of {rule:?}, seed {seed}, mix {name}, at {at} ms: {what}"
        )?;
        write!(f, "again: cargo xtask simulate-whole --mix {name} --seed {seed}")
    }
}

/// What happened in a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Requests of clients.
    pub requests: u64,
    /// Of these answered.
    pub answered: u64,
    /// Of these failed, after their attempts.
    pub failed: u64,
    /// Attempts for which all were full.
    pub full: u64,
    /// Attempts for which nobody was there.
    pub nobody: u64,
    /// Requests that ended with their process, or with the drain of their backend.
    pub lost: u64,
    /// Things that happened.
    pub events: u64,
    /// The same for two runs in which the same things happened.
    pub digest: u64,
}

impl Summary {
    /// Both together. A digest is of one run alone.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.answered += other.answered;
        self.failed += other.failed;
        self.full += other.full;
        self.nobody += other.nobody;
        self.lost += other.lost;
        self.events += other.events;
        self.digest = 0;
    }
}

/// Lives through one history.
///
/// # Errors
/// When something that is promised isn't so.
pub fn simulate(seed: u64, mix: Mix) -> Result<Summary, Box<Violation>> {
    // The pauses of a store that fails are drawn from the thread's.
    fastrand::seed(seed);
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        LocalSet::new().block_on(&runtime, async {
            // The clock stands wherever between two of its timers' ticks the machine was when it was made. From the first tick
            // on every time is a whole number of them.
            tokio::time::sleep(Duration::from_millis(1)).await;
            World::new(seed, mix).await.run().await
        })
    }));
    match ran {
        Ok(ran) => ran.map_err(Box::new),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(Box::new(Violation {
                seed,
                mix,
                at: 0,
                rule: Rule::Panic,
                what: text.unwrap_or("a panic without words").to_owned(),
                trace: String::new(),
            }))
        }
    }
}
