//! Where registrations live, so that a restart forgets none: one trait, and the stores that keep its contract.
//!
//! # What is kept
//!
//! Of each backend its registration, its incarnation and the length of its lease; of each id what an operator has set
//! on it, whether a backend of that id is registered or not. Heartbeats, ledgers, meters and what is left of a lease
//! are not: a heartbeat writes nothing.
//!
//! # Who calls it
//!
//! One caller: it [loads](Store::load) once, before anything else, and then [commits](Store::commit) one batch after
//! the other. The next batch is gathered while one is written, so a storm of registrations shares its fsyncs. A batch
//! that failed is committed again, with what has changed since: writes tell what is, so that harms nothing.

//! # Which ones there are
//!
//! [`Memory`] for as long as the process lives, [`FileStore`] in a folder, and, behind the feature `etcd`, `Etcd` for several
//! proxies. A store of one's own has the contract's
//! tests at hand: the module `testing`, behind the feature of that name.

pub mod cluster;
mod contract;
#[cfg(feature = "etcd")]
mod etcd;
mod file;
mod form;
mod handed;
mod kept;
mod memory;
#[cfg(any(test, feature = "etcd", feature = "testing"))]
mod numbers;
mod proxy_name;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use contract::{CommitError, Finding, Held, LoadError, Loaded, Shared, Store, Task, Update};
#[cfg(feature = "etcd")]
pub use etcd::{Etcd, EtcdAddress, EtcdAddressError, EtcdPassword, EtcdSettings, EtcdUser, IfAway};
pub use file::FileStore;
pub use handed::HandedError;
pub use memory::Memory;
pub use proxy_name::{ProxyName, ProxyNameError};
