//! The vocabulary that every other crate of edgeproxy speaks: names, places, weights and limits that are
//! valid by construction, the [`Backend`] they describe, and the [`Meter`] that counts what one is doing
//! right now.
//!
//! # Why one small crate
//!
//! The registry decides who may be routed to, the balancer picks, the data plane forwards. They meet in
//! two types only: an [`Endpoint`] (one incarnation of a backend, immutable) and the [`Meter`] inside it
//! (atomics that outlive every snapshot of the routing table). Everything else about them can change
//! without the others noticing.
//!
//! ```
//! use edgeproxy_backend::{AppName, Backend, BackendAddr, BackendId, Country, Limits, Region, Weight};
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
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it leaves to the caller
//!
//! Which regions exist, which networks may register, and what time it is: all of that is policy, and comes
//! in as an argument ([`MonoTime`]) or is checked where the policy is known.

mod addr;
mod backend;
mod endpoint;
mod load;
mod metadata;
mod meter;
mod name;
mod numbers;
mod place;
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
