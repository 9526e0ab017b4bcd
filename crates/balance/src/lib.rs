//! Load balancing that picks a backend without a lock, an allocation, a clock or a random source, over any type that
//! implements [`Target`].
//!
//! # The key decision: decide early, pick fast
//!
//! There are many thousands of picks for each change of the membership, and changes happen off the request path. So
//! [`Balancer::prepare`] decides everything that can be decided before a pick: who may be picked at all, who is near to whom,
//! and, for algorithms that take turns, in which order. What is left for [`Balancer::pick`] is one shared counter, or two
//! loads to compare, whether there are three backends or ten thousand. Skipping unavailable backends during the pick would be
//! easier to write, and wrong: the next one in the order would get their share on top of its own.
//!
//! The balancer **proposes**, and a closure **decides**. Only the code that counts requests can take the last place on a
//! backend atomically. So a pick is given a `claim` that does this, and goes on to the next candidate if the claim refuses.
//! [`Balancer::explain`] runs the same code with a claim that only looks.
//!
//! # One mechanism
//!
//! Every algorithm is a list of **tiers** with an **inner algorithm** inside each; one without affinity has a single tier. In a
//! tier, members below their soft limit come first, then the one that is least above it, and never one at its hard limit.
//! [`Spill`] says when the next tier is asked. Which regions are near each other comes from the configuration or from
//! [`RoundTrips`].
//!
//! - **Load reports** move a member's weight ([`Candidate::load`]), and count where loads are compared ([`Target::elsewhere`]).
//! - **Slow start** ([`SlowStart`]) raises weights in steps. Each step is one more preparation, due at
//!   [`Balancer::next_change`], so a pick never works out anybody's age.
//! - **Stickiness**: a client comes bound to a member ([`Client::bound`]), by a cookie or by [`Bindings`], one bounded table
//!   for all threads. Why these two, and why `hash` is as it is, is in `docs/decisions/0009`.
//! - **Panic**: when fewer members are well than [`Policy::panic_permille`] asks for, those that are out for their health alone
//!   ([`Barred::Unwell`]) are proposed as well; [`Balancer::ignores_health`] tells the claim so.
//! - **An algorithm of your own** is a [`Cost`] in [`Policy::own`]: it says what one more request would cost on each member, and
//!   replaces the inner algorithm. All the rest holds around it.
//!
//! ```
//! use std::sync::Arc;
//! use edgeproxy_backend::{Admission, AppName, Backend, BackendAddr, BackendId, Country, Endpoint, Incarnation};
//! use edgeproxy_backend::{MonoTime, Refusal, Region};
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
//! let now = MonoTime::from_secs(1); // from the caller's clock
//! let balancer = Balancer::prepare(&policy, candidates, now, None);
//!
//! let client = Client { country: Some(Country::parse("BR")?), ..Client::default() };
//! let entropy = 42; // from the caller's generator
//! let in_flight = balancer.pick(&client, now, entropy, |endpoint: &Arc<Endpoint>| {
//!     match endpoint.admit(Admission::Regular) {
//!         Ok(in_flight) => Claim::Granted(in_flight),
//!         Err(Refusal::Full) => Claim::Full,
//!         Err(Refusal::Shut | Refusal::OnTrial) => Claim::Shut,
//!     }
//! })?;
//! assert_eq!(balancer.candidate(1).map(|endpoint| endpoint.meter.in_flight()), Some(1));
//! assert_eq!(balancer.explain(&client, now, entropy).tiers[0].scope.to_string(), "country BR");
//! # drop(in_flight);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A request that failed may be picked for again: [`retry`] has the rules and the budget, and [`Balancer::by_admission`] the
//! order in which a caller that counts by [`Endpoint`](edgeproxy_backend::Endpoint)s lets it in.
//!
//! # How exact it is
//!
//! | algorithm | holds for picks that nobody refuses, on any number of threads |
//! |---|---|
//! | `round_robin` | of `k·n` picks over `n` members each gets `k`; over joins and leaves no two that stay are ever more than one turn apart |
//! | `weighted` | of Σweight picks (divided by the gcd) each gets exactly its weight, at any place in the sequence and for any weights; at every moment each is within one turn of its ideal share while that sum is at most 65,536, within four above (measured: 3.6) |
//! | `weighted` over joins and leaves | each that stays is within two turns of its ideal share over the whole history |
//! | `least_connections` | up to 8 members the least loaded, compared exactly; above, the better of two drawn by weight |
//! | `ewma` | the better of two different ones drawn by weight: the lower `latency × penalty × (in_flight + 1) / weight`, to 256 ns |
//! | `hash` | a key's owner depends on the members' identities and weights alone; one that leaves or joins moves its own keys and no others. Nobody has more than `⌈5/4 · its share⌉` of the requests in flight, exactly up to 32 members one after the other; beyond, by a sum that is a few picks old |
//! | slow start | the weights and limits that count are tenths of the own ones, and all of the above holds for them; one that ramps has its turns besides where loads decide |
//!
//! # What it leaves to the caller
//!
//! - Counting requests and timing responses: [`Target::in_flight`] and [`Target::expected`] read, the claim writes.
//! - Time and randomness.
//! - Where the client is, and its [`Key`].
//! - Who is routable, and when to prepare again. Picks on a balancer whose successor has been prepared are not carried over:
//!   publish soon after preparing.

mod admissions;
mod balancer;
mod decide;
mod explain;
mod group;
mod key;
mod own;
mod plan;
mod policy;
mod prepare;
mod ramp;
mod rank;
pub mod retry;
mod roll;
mod rotation;
mod round_trips;
mod sampler;
mod slots;
mod sticky;
mod sync;
mod tally;
mod target;
mod tiers;

pub use admissions::LastResort;
pub use balancer::{Balancer, Barred, Candidate, Claim, Grounds, PickError};
pub use explain::{Considered, Excluded, Exclusion, Explanation, Tier, Verdict};
pub use key::{Key, Keyer};
pub use own::{Among, Asked, Cost, MAX_COST, Own};
pub use policy::{Algorithm, Bound, Client, Inner, NameError, Policy, Spill};
pub use ramp::{SlowStart, SlowStartError};
pub use round_trips::RoundTrips;
pub use sticky::Bindings;
pub use target::Target;
pub use tiers::Scope;

#[cfg(all(test, edgeproxy_loom))]
mod models;
#[cfg(test)]
mod tests;
