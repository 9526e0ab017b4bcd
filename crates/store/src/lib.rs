//! Where registrations live, so that a restart forgets none: one trait, and the stores that keep its contract.
//!
//! # What is kept
//!
//! Of each backend its registration, its incarnation and the length of its lease; of each id what an operator has set
//! on it, whether a backend of that id is registered or not. Heartbeats, ledgers, meters and what is left of a lease
//! are not: a heartbeat writes nothing.
//!
//! # The key decision: the caller keeps the truth, and the store its copy
//!
//! A write says what is, not what is to be changed, and names one life of a backend. So it can be committed twice, a batch can be tried
//! again whole, and what comes late harms nothing. No store has to answer a question while requests are served: it is read
//! once, and one that fails stops nobody.
//!
//! ```
//! use std::time::Duration;
//! use edgeproxy_backend::{AppName, Backend, BackendAddr, BackendId, Country, Incarnation, Region};
//! use edgeproxy_registry::{Record, Write};
//! use edgeproxy_store::{FileStore, Store as _};
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! # let folder = std::env::temp_dir().join(format!("edgeproxy-store-doc-{}", std::process::id()));
//! let store = FileStore::open(&folder); // does nothing yet
//! assert!(store.load().await?.records.is_empty());
//! let backend = Backend::new(
//!     BackendId::parse("backend-eu-1")?,
//!     AppName::parse("shop")?,
//!     Region::parse("eu")?,
//!     Country::parse("DE")?,
//!     BackendAddr::parse("10.50.1.1", 8080)?,
//! );
//! let record = Record { backend, incarnation: Incarnation::FIRST, ttl: Duration::from_secs(60) };
//! store.commit(&[Write::Registered(record.clone())]).await?; // on the disk once it resolves
//!
//! drop(store); // the process ends, and another one begins
//! let loaded = FileStore::open(&folder).load().await?;
//! assert_eq!((loaded.records, loaded.findings), (vec![record], vec![]));
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Who calls it
//!
//! One caller: it [loads](Store::load) once, before anything else, and then [commits](Store::commit) one batch after
//! the other. The next batch is gathered while one is written, so a storm of registrations shares its fsyncs. A batch
//! that failed is committed again, with what has changed since: writes tell what is, so that harms nothing.
//!
//! # Which ones there are
//!
//! [`Memory`] for as long as the process lives, [`FileStore`] in a folder, and, behind the feature `etcd`, `Etcd` for several
//! proxies. A store of one's own has the contract's
//! tests at hand: the module `testing`, behind the feature of that name.
//!
//! # What it leaves to the caller
//!
//! When to commit what, in which batches, and to try again; what to make of what was loaded (it may be older than the
//! configuration allows by now); to tell somebody of [findings](Loaded::findings).
//!
//! # Features
//!
//! | feature | default | |
//! |---|---|---|
//! | `etcd` | no | `Etcd`, over HTTP/2 and, with TLS, rustls |
//! | `testing` | no | the contract's tests, and a store of several proxies with faults on command |

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
