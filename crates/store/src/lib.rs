//! Where registrations live, so that a restart forgets none: one trait, [`Store`], and the stores that keep its contract.
//!
//! # What is stored
//!
//! For each backend: its registration, its incarnation and the length of its lease. For each id: what an operator has set on
//! it, whether or not a backend of that id is registered. Not stored are heartbeats, ledgers, meters, and what is left of a
//! lease: a heartbeat writes nothing.
//!
//! # The key decision: the caller holds the truth, the store a copy
//!
//! A write says what *is*, not what is to be changed, and names one incarnation of a backend. So it can be committed twice, a
//! whole batch can be tried again, and a late write harms nothing. A store is read once, at the start; after that no request
//! depends on it, and one that fails stops nobody.
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
//! One caller. It [loads](Store::load) once, before anything else, and then [commits](Store::commit) one batch after the
//! other. The next batch is gathered while one is written, so a storm of registrations shares its fsyncs. A batch that failed
//! is committed again, together with what has changed since.
//!
//! # Which stores there are
//!
//! [`Memory`] for as long as the process lives; [`FileStore`] in a folder; and `Etcd`, behind the feature `etcd`, for several
//! proxies. If you write one of your own, the module `testing`, behind the feature of that name, has the tests of the contract.
//!
//! # What it leaves to the caller
//!
//! - When to commit what, in which batches, and trying again.
//! - What to make of what was loaded: the configuration may no longer allow it.
//! - Reporting the [findings](Loaded::findings).
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
