//! The vocabulary that all crates of edgeproxy share: names, places, weights and limits that are valid by construction; the
//! [`Backend`] that they describe; and the [`Meter`] that counts what a backend is doing right now.
//!
//! # The key decision: one small crate
//!
//! The registry decides who may be routed to, the balancer picks, the data plane forwards. They meet in two types only: an
//! [`Endpoint`] (one incarnation of a backend, immutable) and the [`Meter`] inside it (atomics that outlive every snapshot of
//! the routing table). Everything else about each of them can change without the others noticing.
//!
//! ```
//! use std::sync::Arc;
//! use edgeproxy_backend::{Admission, AppName, Backend, BackendAddr, BackendId, Country, Endpoint, Incarnation};
//! use edgeproxy_backend::{Limits, MonoTime, Refusal, Region, Signal, Weight};
//!
//! let backend = Backend::new(
//!     BackendId::parse("backend-eu-1")?,
//!     AppName::parse("MyApp")?, // folded to lower case, like the DNS name that it is
//!     Region::parse("eu")?,
//!     Country::parse("DE")?,
//!     BackendAddr::parse("10.50.1.1", 8080)?,
//! );
//! assert_eq!(backend.app.as_str(), "myapp");
//! assert_eq!(backend.weight, Weight::DEFAULT);
//! assert_eq!(backend.limits, Limits::new(100, 150)?);
//!
//! // One life of it. A request takes a place, and holds it for as long as it lasts.
//! let endpoint = Arc::new(Endpoint::new(backend, Incarnation::FIRST));
//! let place = endpoint.admit(Admission::Regular).map_err(|refusal| format!("{refusal:?}"))?;
//! assert_eq!(endpoint.meter.in_flight(), 1);
//!
//! // No answer came, and one failure is as many as are borne: nobody else gets in from this instant on.
//! let (max_failures, now) = (1, MonoTime::from_secs(1));
//! assert_eq!(place.failed(max_failures, now), Some(Signal::StreakReached)); // for the registry
//! drop(place);
//! assert_eq!(endpoint.meter.in_flight(), 0);
//! assert_eq!(endpoint.admit(Admission::Regular).err(), Some(Refusal::Shut));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it leaves to the caller
//!
//! Policy: which regions exist and which networks may register is checked where that is known, and the time comes in as an
//! argument ([`MonoTime`]). So does reopening a gate: a [`Meter`] shuts its own gate after failures, and whoever keeps the
//! ledgers decides for how long.
//!
//! # Features
//!
//! `serde` (not by default): `Serialize` for the vocabulary, as the strings and numbers of the API.

mod addr;
pub mod ahead;
mod backend;
mod endpoint;
mod load;
mod metadata;
mod meter;
mod name;
mod numbers;
mod place;
mod sync;
mod time;

pub use addr::{AddrError, BackendAddr};
pub use backend::{Backend, Protocol};
pub use endpoint::{Endpoint, Incarnation};
pub use load::LoadFactor;
pub use metadata::{Metadata, MetadataError};
pub use meter::{Admission, Expected, Gate, InFlight, Meter, Refusal, Signal, TrafficReport};
pub use name::{AppName, BackendId, NameError};
pub use numbers::{Limits, LimitsError, Weight, WeightError};
pub use place::{Country, PlaceError, Region};
pub use time::MonoTime;
