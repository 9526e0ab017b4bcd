//! Health checks: a schedule that says when to probe which backend and, behind the feature `driver`, a tokio driver that does
//! it, with TCP, HTTP and gRPC probes.
//!
//! # The key decision: the schedule holds no socket
//!
//! The hard part of health checks is not connecting but scheduling: spread a hundred thousand backends evenly, keep at most so
//! many probes under way, let a slow one delay nobody, ignore a result whose backend has left, and all of that while the set
//! of backends changes. [`Schedule`] decides this as a state machine that is told the time and the results. So a test runs a
//! day in a millisecond, and a property test finds the order of events that breaks it. `Driver` only does what the schedule
//! says; with another runtime, write your own in its place. Without the feature the dependency tree holds neither a runtime
//! nor an HTTP engine, and CI checks that.
//!
//! ```
//! use std::sync::Arc;
//! use edgeproxy_backend::{BackendAddr, BackendId, Incarnation, MonoTime};
//! use edgeproxy_health::{Class, Config, First, Monitor, Pace, Schedule, Start, Target};
//!
//! let mut schedule = Schedule::new(Config { seed: 7, ..Config::default() });
//! let mut now = MonoTime::ZERO;
//! schedule.upsert(
//!     Target {
//!         id: BackendId::parse("backend-eu-1")?,
//!         incarnation: Incarnation::FIRST,
//!         class: Class::Monitor,
//!         addr: BackendAddr::parse("10.50.1.1", 8080)?,
//!         monitor: Arc::new(Monitor::http("/health")?),
//!         first: First::AtOnce,
//!     },
//!     now,
//! );
//! let mut failures = 0;
//! for _ in 0..3 {
//!     while let Some(Start { ticket, target }) = schedule.poll_probe() {
//!         // … probe `target`; here it fails, whereupon the next probe comes within 1.1 s …
//!         schedule.handle_result(ticket, now, |_| {
//!             failures += 1;
//!             Pace::Changing
//!         });
//!     }
//!     now = schedule.poll_timeout().unwrap_or(now);
//!     schedule.handle_timeout(now);
//! }
//! assert_eq!(failures, 3);
//! assert!(now <= MonoTime::from_micros(3_300_000));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it leaves to the caller
//!
//! - What a result means: how many failures take a backend out, and how many successes bring it back. The caller counts,
//!   and answers with a [`Pace`].
//! - How many backends there may be: the schedule holds one entry for each that it is given.
//! - The clock and the seed of the schedule and, for probes that speak TLS, whom to trust.
//!
//! # Features
//!
//! `driver` (not by default): `Driver` on tokio, with TCP, HTTP (hyper) and gRPC (h2) probes, in the clear and inside TLS.
//! Without it there are the schedule, and the settings of probes, which are checked when they are made.

#[cfg(feature = "driver")]
mod driver;
mod monitor;
mod schedule;
mod target;

#[cfg(feature = "driver")]
pub use driver::{Change, Driver, Failure, Handle, Outcome, Sink, TlsClient, TlsClients};
pub use monitor::{
    Encryption, GrpcProbe, Header, HttpProbe, Kind, Monitor, Problem, SettingError, StatusCodes, TcpProbe,
    Version,
};
pub use schedule::{Config, Schedule, Start, Ticket, Verdict};
pub use target::{Class, First, Pace, Target};
