use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use edgeproxy_backend::{Limits, Meter};

use crate::decide::{Decision, SCAN_MAX, Serving};
use crate::explain::{self, Explanation};
use crate::rotation::{Rotation, Share};
use crate::sampler::Sampler;
use crate::tiers::{Picker, Place, Scope, Tiers};
use crate::{Client, Inner, Policy, Target};

/// One of those that a balancer is prepared for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate<T> {
    /// What may be picked.
    pub target: T,
    /// Picked only while every other one is out.
    pub fallback: bool,
    /// Why it must not be picked, for people; `None`: it may be.
    pub excluded: Option<Box<str>>,
}

impl<T> Candidate<T> {
    /// One that may be picked and is no fallback.
    pub const fn new(target: T) -> Self {
        Self {
            target,
            fallback: false,
            excluded: None,
        }
    }
}

/// What became of a target that a pick proposed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim<L> {
    /// It is the caller's, with whatever proves it.
    Granted(L),
    /// It has no place left.
    Full,
    /// It takes nobody, for another reason.
    Shut,
    /// The caller doesn't want it, for instance since it has tried it already.
    Skip,
}

/// Why a pick found nobody.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PickError {
    /// There is nobody, or everybody was [`Shut`](Claim::Shut).
    #[error("no backend is routable")]
    NoneRoutable,
    /// At least one was at its hard limit, or refused as [`Full`](Claim::Full): waiting may help.
    #[error("every routable backend is at its hard limit")]
    AllFull,
    /// At least one was [`Skip`](Claim::Skip)ped, and none was full.
    #[error("every routable backend has been tried")]
    Exhausted,
}

/// Picks one of a fixed list of targets. Immutable but for the turns that its picks take, so any number of
/// threads may share it; a change of the list makes a new one by [`prepare`](Self::prepare).
pub struct Balancer<T> {
    policy: Policy,
    pub(crate) entries: Box<[Entry<T>]>,
    pub(crate) tiers: Tiers,
    routable: usize,
    /// By place in the list; read by nobody but `explain`.
    pub(crate) excluded: Box<[Option<Box<str>>]>,
}

/// What a pick reads of a candidate, close together: half a cache line where `T` is a pointer.
pub(crate) struct Entry<T> {
    pub(crate) target: T,
    /// The target's, so that its load is one step away and not two.
    meter: Option<Arc<Meter>>,
    pub(crate) limits: Limits,
    pub(crate) weight: u16,
    /// Whether picks may propose it.
    pub(crate) routable: bool,
}

impl<T: Target> Entry<T> {
    #[inline]
    pub(crate) fn in_flight(&self) -> u32 {
        self.meter
            .as_ref()
            .map_or_else(|| self.target.in_flight(), |meter| meter.in_flight())
    }
}

impl<T: Target> Balancer<T> {
    /// Decides all that can be decided before a pick: who may be picked, who is in which tier, and, for
    /// the algorithms that take turns, in which order.
    ///
    /// Excluded candidates and those of weight 0 are never proposed, fallbacks only while nobody else is
    /// left. Pass the balancer before as `previous`, and nobody's turn is lost: what hasn't changed is
    /// shared with it, what has goes on from there.
    ///
    /// Costs a few microseconds for a handful of candidates and some milliseconds for 10,000.
    pub fn prepare(policy: &Policy, candidates: Vec<Candidate<T>>, previous: Option<&Self>) -> Self {
        let ready = |candidate: &Candidate<T>| candidate.excluded.is_none() && candidate.target.weight() > 0;
        let only_fallbacks = !candidates
            .iter()
            .any(|candidate| ready(candidate) && !candidate.fallback);
        let mut entries = Vec::with_capacity(candidates.len());
        let mut excluded = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            let routable = ready(&candidate) && candidate.fallback == only_fallbacks;
            let Candidate {
                target,
                excluded: reason,
                ..
            } = candidate;
            let (limits, weight) = (target.limits(), target.weight());
            let meter = target.meter().cloned();
            entries.push(Entry {
                target,
                meter,
                limits,
                weight,
                routable,
            });
            excluded.push(reason);
        }
        let members = || (0..).zip(&entries).filter(|(_, entry)| entry.routable);
        let places: Vec<Place> = members()
            .map(|(member, Entry { target, .. })| Place {
                member,
                country: target.country(),
                region: target.region(),
            })
            .collect();
        let before: HashMap<Scope, &Arc<Rotation>> = previous
            .iter()
            .flat_map(|previous| previous.tiers.groups())
            .filter_map(|group| Some((group.scope, group.rotation()?)))
            .collect();
        let inner = policy.algorithm.inner();
        let tiers = Tiers::new(policy, &places, |scope, members| {
            let shares = members.iter().map(|member| {
                let entry: &Entry<T> = &entries[*member as usize];
                Share {
                    key: entry.target.key(),
                    weight: entry.weight,
                }
            });
            picker(inner, shares.collect(), before.get(&scope).copied())
        });
        let routable = places.len();
        Self {
            policy: policy.clone(),
            entries: entries.into(),
            tiers,
            routable,
            excluded: excluded.into(),
        }
    }

    /// Picks a target for a client: proposes candidates, the best first, until `claim` grants one.
    ///
    /// One below its soft limit comes before one that isn't, and one at its hard limit is never proposed.
    /// `claim` has the last word, since only it can take a place in one step; it may be asked about the
    /// same target again. It is asked a bounded number of times: about twice for each member of each tier.
    ///
    /// `entropy` is the randomness of this pick; any 64 random bits. The same balancer, loads, turns and
    /// entropy make the same pick. Takes no lock, allocates nothing and reads no clock.
    ///
    /// # Errors
    /// Why nobody was granted.
    #[inline]
    pub fn pick<L>(
        &self,
        client: Client,
        entropy: u64,
        mut claim: impl FnMut(&T) -> Claim<L>,
    ) -> Result<L, PickError> {
        Decision::new(self, entropy, Serving, |_, target: &T| claim(target)).make(client)
    }

    /// Says what [`pick`](Self::pick) would do with these arguments if the claim granted whatever is
    /// proposed, and why. It is the same code that picks, but takes nobody's turn.
    pub fn explain(&self, client: Client, entropy: u64) -> Explanation {
        self.explain_with(client, entropy, |_| Claim::Granted(()))
    }

    /// [`explain`](Self::explain) for a claim that may refuse. `claim` should only look: nothing is going
    /// to happen.
    pub fn explain_with(
        &self,
        client: Client,
        entropy: u64,
        claim: impl FnMut(&T) -> Claim<()>,
    ) -> Explanation {
        explain::explain(self, client, entropy, claim)
    }
}

impl<T> Balancer<T> {
    /// Every candidate that it was prepared for, in their order; an [`Explanation`] refers to their places.
    pub fn candidates(&self) -> impl ExactSizeIterator<Item = &T> {
        self.entries.iter().map(|entry| &entry.target)
    }

    /// The candidate at a place in the list.
    #[must_use]
    pub fn candidate(&self, place: usize) -> Option<&T> {
        self.entries.get(place).map(|entry| &entry.target)
    }

    /// How many candidates a pick may propose: fallbacks only where there is nobody else.
    #[must_use]
    pub const fn routable(&self) -> usize {
        self.routable
    }

    /// What it was prepared with.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }
}

/// What a group's picks go by.
fn picker(inner: Inner, shares: Vec<Share>, previous: Option<&Arc<Rotation>>) -> Picker {
    match inner {
        Inner::RoundRobin => Picker::Turns(Rotation::listed(shares, previous)),
        Inner::Weighted => Picker::Turns(Rotation::planned(shares, previous)),
        Inner::LeastConnections if shares.len() <= SCAN_MAX => Picker::Scan,
        Inner::LeastConnections => {
            let weights: Vec<u16> = shares.iter().map(|share| share.weight).collect();
            let equal = weights.iter().all(|weight| *weight == weights[0]);
            if equal {
                Picker::Two
            } else {
                Picker::TwoByWeight(Sampler::new(&weights))
            }
        }
    }
}

impl<T> fmt::Debug for Balancer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balancer")
            .field("policy", &self.policy)
            .field("candidates", &self.entries.len())
            .field("routable", &self.routable)
            .finish_non_exhaustive()
    }
}
