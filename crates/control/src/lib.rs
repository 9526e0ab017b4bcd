//! The running registry: one cloneable [`Handle`], and the [`Driver`] that feeds the state machine time
//! and reports, and publishes what changes.
//!
//! # The key decision: a mutex and not a channel
//!
//! The registry answers in well under a microsecond and is called from the control thread alone, so its
//! lock is never waited for; the request path doesn't know that it exists. A channel would add two hops
//! and a copy to every heartbeat, and an answer that arrives later than the question.
//!
//! # Publishing
//!
//! A change is published as soon as the tasks that are ready have had their turn, so that a burst shares
//! one snapshot; and no sooner after the last publication than that one took, so that publishing never
//! takes more than half of the thread, however large the table. [`Handle::register`] resolves once its
//! endpoint has been published: whoever reads the reply may rely on being routed to.
//!
//! # Keeping
//!
//! With a store ([`kept_registry`]) a registration also resolves only once it is kept: what has changed is committed in
//! one batch, and what changes meanwhile is the next one, so a storm shares its writes to the disk. A store that fails
//! stops nobody: callers are told by [`Acknowledged::unkept`], and it is tried again until it can be written. A heartbeat
//! waits for no store.
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
//! Parsing and admission of registrations, probing, and what a snapshot is turned into.

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
