//! The registry, running on tokio: a cloneable [`Handle`] for callers, and a [`Driver`] that gives the state machine the time
//! and the reports of traffic, and publishes what changes.
//!
//! # The key decision: a mutex, not a channel
//!
//! The registry answers in well under a microsecond and is called from the control thread alone, so nobody waits for its lock;
//! the request path doesn't know that it exists. A channel would add two hops and a copy to every heartbeat.
//!
//! # Publishing
//!
//! A change is published once the tasks that are ready have had their turn, so that a burst of changes shares one snapshot. The
//! next publication waits for at least as long as the last one took, so that publishing never takes more than half of the
//! thread, however large the table. [`Handle::register`] resolves once its endpoint has been published: whoever reads the reply
//! is already routed to.
//!
//! # Keeping
//!
//! With a store ([`kept_registry`]) a registration resolves only once it is stored as well. Changes are committed in one
//! batch, and what changes meanwhile goes into the next, so a storm of registrations shares its writes to the disk. A store
//! that fails stops nobody: callers learn of it by [`Acknowledged::unkept`], and the commit is retried until it succeeds.
//! Heartbeats never wait for the store.
//!
//! ```
//! use edgeproxy_backend::{AppName, Backend, BackendAddr, BackendId, Country, Region};
//! use edgeproxy_control::{registry, reports};
//! use edgeproxy_registry::{Config, Registration};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
//! let (handle, driver) = registry(Config::default());
//! let (_sender, reports) = reports(1_024);
//! tokio::spawn(driver.run(reports, |snapshot| println!("{} apps", snapshot.apps.len()), |_event| ()));
//!
//! let backend = Backend::new(
//!     BackendId::parse("backend-eu-1")?,
//!     AppName::parse("myapp")?,
//!     Region::parse("eu")?,
//!     Country::parse("DE")?,
//!     BackendAddr::parse("10.50.1.1", 8080)?,
//! );
//! let registered = handle.register(Registration { backend, ttl: None }).await?;
//! assert_eq!(registered.ttl.as_secs(), 60);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it leaves to the caller
//!
//! Parsing registrations and deciding whether to admit them, probing, and making something of the snapshots.

mod clock;
mod driver;
mod handle;
mod keeper;
mod keeping;
#[cfg(test)]
mod kept_tests;
mod leases;
mod reports;
#[cfg(test)]
mod shared_tests;
mod sharing;

pub use driver::Driver;
pub use handle::{ControlError, Handle, kept_registry, registry};
pub use keeping::{Acknowledged, Degraded, StoreStatus, Unkept};
pub use reports::{ReportSender, Reports, reports};
