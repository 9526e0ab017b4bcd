//! Why a pick goes where it goes.

mod account;

use std::fmt;

use edgeproxy_backend::Limits;

use crate::balancer::PickError;
use crate::tiers::Scope;
use crate::{Algorithm, Client, Spill};
pub(crate) use account::explain;

/// A pick that was looked at and not made.
#[derive(Clone, PartialEq, Debug)]
pub struct Explanation {
    /// The policy's algorithm; the one inside a tier by [`Algorithm::inner`].
    pub algorithm: Algorithm,
    /// Whether it is one's [own](crate::Policy::own) that picks inside a tier.
    pub own: bool,
    /// When a tier's traffic goes on to the next.
    pub spill: Spill,
    /// For whom.
    pub client: Client,
    /// The tiers of this client, nearest first. Tier 3 comes once for each region of the policy's order
    /// that has members, and once for all others.
    pub tiers: Vec<Tier>,
    /// Candidates that no pick proposes, in the order of the list.
    pub excluded: Vec<Excluded>,
    /// Whether health is ignored, since too few are well.
    pub ignores_health: bool,
    /// Whom the pick would get: a place in the balancer's list.
    pub picked: Option<usize>,
    /// Why nobody, if nobody.
    pub error: Option<PickError>,
}

/// Members that are equally near to the client.
#[derive(Clone, PartialEq, Debug)]
pub struct Tier {
    /// 0 to 3 as in the specification; 0 where the algorithm has no tiers.
    pub number: u8,
    /// What its members have in common.
    pub scope: Scope,
    /// Its members, in the order of the list, but for those in a nearer tier.
    pub members: Vec<Considered>,
}

/// One member at the moment of the decision.
#[derive(Clone, PartialEq, Debug)]
pub struct Considered {
    /// Its place in the balancer's list.
    pub candidate: usize,
    /// The weight that it has.
    pub weight: u16,
    /// The weight that counts right now.
    pub effective_weight: f64,
    /// Requests under way.
    pub in_flight: u32,
    /// Requests that it has under way for others, by what it reports.
    pub elsewhere: u32,
    /// How many it takes right now: in a slow start only a part of its soft limit.
    pub limits: Limits,
    /// What the algorithm compares; the least is picked. By the weight that counts: for `least_connections`
    /// the load, `(in_flight + elsewhere + 1) / weight`; for `ewma` that times the expected latency in milliseconds and the
    /// penalty, `None` before the first response. For those that take turns the number of turns before its own;
    /// `None` if that is more than 65,536. For `hash` how many are asked for this key before it; `None` if it is
    /// not asked. For one's [own](crate::Cost) the cost.
    pub score: Option<f64>,
    /// What became of it.
    pub verdict: Verdict,
    /// Why it is not well, where its health is ignored.
    pub unwell: Option<Box<str>>,
}

/// What became of a member in a decision. `Display` is a phrase for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is picked.
    Picked,
    /// It is picked, since the client is bound to it.
    PickedAsBound,
    /// The client is bound to another one.
    NotBound,
    /// It was proposed, and the claim said full.
    RefusedFull,
    /// It was proposed, and the claim said shut.
    RefusedShut,
    /// It was proposed, and the claim skipped it.
    Skipped,
    /// It is at its hard limit.
    AtHardLimit,
    /// It is at its soft limit, and another one is not, or is less so.
    AtSoftLimit,
    /// A nearer tier had room.
    Farther,
    /// It is another's turn.
    NotItsTurn,
    /// Another one had less load, or the same and more luck.
    MoreLoaded,
    /// Two were drawn from many, and it was not among them.
    NotDrawn,
    /// Another one is expected to answer sooner.
    Slower,
    /// Another one costs less, by one's own algorithm.
    Costlier,
    /// The key is another's.
    NotItsKey,
    /// It has more than 5/4 of its share of the requests in flight, and the key goes on to its next owner.
    AboveItsShare,
    /// It is in a slow start and has its part of its soft limit in flight.
    Ramping,
    /// Its tier is still spilling over: above 85 % of its soft limits together.
    Spilling,
}

impl Verdict {
    /// Whether it is picked, for whatever reason.
    #[must_use]
    pub const fn is_picked(self) -> bool {
        matches!(self, Self::Picked | Self::PickedAsBound)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Picked => "picked",
            Self::PickedAsBound => "picked: the client is bound to it",
            Self::NotBound => "the client is bound to another",
            Self::RefusedFull => "refused: full",
            Self::RefusedShut => "refused: takes no requests",
            Self::Skipped => "skipped: tried already",
            Self::AtHardLimit => "at its hard limit",
            Self::AtSoftLimit => "at its soft limit",
            Self::Farther => "a nearer tier has room",
            Self::NotItsTurn => "not its turn",
            Self::MoreLoaded => "another has less load",
            Self::NotDrawn => "not one of the two drawn at random",
            Self::Slower => "another is expected to answer sooner",
            Self::Costlier => "another costs less",
            Self::NotItsKey => "the key is another's",
            Self::AboveItsShare => "above 5/4 of its share of the requests in flight",
            Self::Ramping => "in slow start, and at its part of its soft limit",
            Self::Spilling => "its tier spills over until it is below 85 % of its soft limits",
        })
    }
}

/// A candidate that no pick proposes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Excluded {
    /// Its place in the balancer's list.
    pub candidate: usize,
    /// Why.
    pub reason: Exclusion,
}

/// Why no pick proposes a candidate. `Display` is a phrase for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Exclusion {
    /// Whoever prepared the balancer said so, for this reason.
    Unroutable(Box<str>),
    /// Its weight is 0.
    WeightZero,
    /// It is a fallback, and another one is routable.
    IdleFallback,
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unroutable(reason) => reason,
            Self::WeightZero => "its weight is 0: it takes no new traffic",
            Self::IdleFallback => "a fallback: used only while nobody else is routable",
        })
    }
}
