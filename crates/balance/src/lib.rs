//! Load-balancing algorithms that pick a backend without a lock, an allocation, a clock or a random source.
//!
//! # Decide early, pick blindly
//!
//! Picks outnumber changes of the membership by many thousands to one, and a change happens off the request
//! path. So [`Balancer::prepare`] decides all that can be decided before a pick: who may be picked at all,
//! who is near to whom, and, for the algorithms that take turns, in which order. What is left for
//! [`Balancer::pick`] is one shared counter or two loads to compare, whether there are three backends or
//! ten thousand. Filtering while picking would be easier to write and wrong: whoever comes after an
//! unavailable backend would get its share, too.
//!
//! All algorithms are one mechanism: **tiers**, and **inside a tier an inner algorithm**. An algorithm
//! without affinity has one tier. In each, those below their soft limit come first; then the one least beyond
//! it; nobody at the hard limit. [`Spill`] says when the next tier is asked.
//!
//! The balancer **proposes**, and a closure **decides**. Only whoever counts requests can take the last place
//! on a backend in one step, so a pick takes a `claim` that does so, and goes on to the next candidate if it
//! refuses. [`Balancer::explain`] runs the same code with a claim that only looks.
//!
//! ```
//! use std::sync::Arc;
//! use edgeproxy_backend::{Admission, AppName, Backend, BackendAddr, BackendId, Country, Endpoint, Incarnation};
//! use edgeproxy_backend::{Refusal, Region};
//! use edgeproxy_balance::{Algorithm, Balancer, Candidate, Claim, Client, Policy};
//!
//! let endpoint = |number: u64, region: &str, country: &str| {
//!     let id = BackendId::parse(&format!("backend-{number}"))?;
//!     let addr = BackendAddr::parse("10.50.1.1", 8080)?;
//!     let (region, country) = (Region::parse(region)?, Country::parse(country)?);
//!     let backend = Backend::new(id, AppName::parse("shop")?, region, country, addr);
//!     let incarnation = Incarnation::new(number).ok_or("0 is no incarnation")?;
//!     Ok::<_, Box<dyn std::error::Error>>(Arc::new(Endpoint::new(backend, incarnation)))
//! };
//! let candidates = vec![Candidate::new(endpoint(1, "eu", "DE")?), Candidate::new(endpoint(2, "sa", "BR")?)];
//! let policy = Policy { own_region: Some(Region::parse("eu")?), ..Policy::default() };
//! let balancer = Balancer::prepare(&policy, candidates, None);
//!
//! let client = Client { country: Some(Country::parse("BR")?), region: None };
//! let entropy = 42; // from the caller's generator
//! let in_flight = balancer.pick(client, entropy, |endpoint: &Arc<Endpoint>| {
//!     match endpoint.admit(Admission::Regular) {
//!         Ok(in_flight) => Claim::Granted(in_flight),
//!         Err(Refusal::Full) => Claim::Full,
//!         Err(Refusal::Shut | Refusal::OnTrial) => Claim::Shut,
//!     }
//! })?;
//! assert_eq!(balancer.candidate(1).map(|endpoint| endpoint.meter.in_flight()), Some(1));
//! assert_eq!(balancer.explain(client, entropy).tiers[0].scope.to_string(), "country BR");
//! # drop(in_flight);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How exact it is
//!
//! | algorithm | holds for picks that nobody refuses, on any number of threads |
//! |---|---|
//! | `round_robin` | of `k·n` picks over `n` members each gets `k`; over joins and leaves no two that stay are ever more than one turn apart |
//! | `weighted` | of Σweight picks (divided by the gcd) each gets exactly its weight, at any place in the sequence and for any weights; at every moment each is within one turn of its ideal share while that sum is at most 65,536, within four above (measured: 3.6) |
//! | `weighted` over joins and leaves | each that stays is within two turns of its ideal share over the whole history |
//! | `least_connections` | up to 8 members the least loaded, compared exactly; above, the better of two drawn by weight |
//!
//! # What it leaves to the caller
//!
//! Counting requests ([`Target::in_flight`] reads, the claim writes), randomness, the client's place in the
//! world, and who is routable. Picks that are made on a balancer after its successor was prepared are not
//! carried over: publish soon after preparing.

mod balancer;
mod decide;
mod explain;
mod plan;
mod policy;
mod rank;
mod rotation;
mod sampler;
mod target;
mod tiers;

pub use balancer::{Balancer, Candidate, Claim, PickError};
pub use explain::{Considered, Excluded, Exclusion, Explanation, Tier, Verdict};
pub use policy::{Algorithm, Client, Inner, NameError, Policy, Spill};
pub use target::Target;
pub use tiers::Scope;

#[cfg(test)]
mod tests;
