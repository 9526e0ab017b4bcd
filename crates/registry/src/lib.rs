//! Which backends exist, and which of them may be routed to: leases, ledgers, incarnations and snapshots.
//!
//! # The key decision: a state machine without a clock
//!
//! The [`Registry`] is *sans-IO*: inputs go in by `handle_*`, with the time at which they arrived, and what follows from them
//! comes out by `poll_*`. It holds no clock, lock, thread or random source. Such a component goes wrong around expiry: when a
//! deadline meets a renewal, in the second after a laptop wakes, when half a site falls silent. Here all of these are
//! arguments, so a test runs a day in a millisecond, a million times over, from a seed that can be replayed.
//!
//! Four *ledgers* can keep a backend out of rotation: its lease, its traffic, its probes and its operator. Each has rules of
//! its own, and good news in one never erases bad news in another. One function derives the [`State`] from all four and moves
//! the gate of the backend's [`Meter`](edgeproxy_backend::Meter). So the two can't disagree, and a backend that is taken out
//! gets no request from that instant on, before any table is published.
//!
//! Backends from a configuration file have the same ledgers except the lease: they need no heartbeat, and stay until the file
//! says otherwise.
//!
//! A heartbeat is O(1): it changes a number in the backend's entry and touches no timer. A timer that fires too early is set
//! again; a million leases of 60 s cost 17,000 such looks a second, and no scan. A pause of the process extends every deadline
//! by one addition.
//!
//! ```
//! use edgeproxy_backend::{AppName, Backend, BackendAddr, BackendId, Country, MonoTime, Region};
//! use edgeproxy_registry::{Config, EventKind, LoadReport, Registration, Registry};
//! use std::time::Duration;
//!
//! let start = MonoTime::from_secs(0);
//! let mut registry = Registry::new(Config::default(), start);
//! let backend = Backend::new(
//!     BackendId::parse("backend-eu-1")?,
//!     AppName::parse("myapp")?,
//!     Region::parse("eu")?,
//!     Country::parse("DE")?,
//!     BackendAddr::parse("10.50.1.1", 8080)?,
//! );
//! let registered = registry.handle_register(Registration { backend, ttl: None }, start)?;
//! let id = registered.endpoint.id.clone();
//! assert_eq!(registry.poll_snapshot(start).unwrap().apps.len(), 1);
//!
//! // A driver calls when it is asked to: every second, and at each deadline.
//! let mut now = start;
//! registry.handle_heartbeat(&id, None, &LoadReport::default(), now)?;
//! while let Some(next) = registry.poll_timeout() {
//!     now = next;
//!     registry.handle_timeout(now);
//! }
//! assert_eq!(now, start + Duration::from_secs(60)); // nothing more was heard of it
//! assert_eq!(registry.poll_event().unwrap().kind, EventKind::Registered);
//! assert_eq!(registry.poll_event().unwrap().kind, EventKind::Expired);
//! assert!(registry.poll_snapshot(now).unwrap().apps.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it leaves to the caller
//!
//! - Time, and calling in time: an expiry is as late as the caller.
//! - Sending probes, and reporting their results.
//! - Counting failed requests, which the data plane does in the meter.
//! - Deciding which addresses may register, and who may ask.
//! - Storing what [`take_writes`](Registry::take_writes) yields, so that it survives a restart.
//! - Turning a [`Snapshot`] into a routing table.

mod apps;
mod clock;
mod entry;
mod event;
mod events;
mod index;
mod jitter;
mod ledger;
mod load;
mod message;
mod policy;
mod record;
mod registry;
mod remembered;
mod share;
mod slots;
mod snapshot;
mod source;
mod state;
mod timers;
mod unwritten;

pub use event::{Event, EventKind};
pub use message::{
    Change, Configuration, DeregisterError, Deregistered, FencedError, Hold, LoadReport, Overrides, Pace,
    Patch, PatchError, Probe, Reconciled, RegisterError, Registered, RegisteredKind, Registration, Renewed,
    StaticError,
};
pub use policy::{AppPolicy, Bounds, Config, Initial, Keep, LastBackend, Leases, Monitoring};
pub use record::{Kept, Leaving, Overridden, Record, Unrestored, Write};
pub use registry::Registry;
pub use share::Share;
pub use snapshot::{AppSnapshot, Lease, Member, Page, Snapshot, Stats, Status};
pub use source::Source;
pub use state::{Cause, Reason, State};
