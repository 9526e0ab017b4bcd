use std::fmt;
use std::sync::Arc;

use edgeproxy_backend::{Expected, Limits, LoadFactor, Meter, MonoTime};

use crate::decide::{Decision, Serving, Telling};
use crate::explain::{self, Explanation};
use crate::ramp::STEPS;
use crate::sticky::kept_of;
use crate::tiers::Tiers;
use crate::{Client, Inner, Policy, Target};

/// One of those that a balancer is prepared for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate<T> {
    /// What may be picked.
    pub target: T,
    /// Picked only while every other one is out.
    pub fallback: bool,
    /// Why it must not be picked; `None`: it may be.
    pub excluded: Option<Barred>,
    /// It has been out for its health, and takes one request at a time until one succeeds: it may be picked, but
    /// counts as not yet well where it is asked whether enough are.
    pub on_trial: bool,
    /// When it joined, or came back from trial; [`MonoTime::NEVER`]: it is on trial; `None`: it has always been there. What a
    /// [slow start](Policy::slow_start) is counted from.
    pub since: Option<MonoTime>,
    /// What it reports of its load moves its weight by so much, where an algorithm goes by weights: not for
    /// `round_robin`, and not for `hash`, whose keys would move with it.
    pub load: LoadFactor,
}

impl<T> Candidate<T> {
    /// One that may be picked and is no fallback.
    pub const fn new(target: T) -> Self {
        Self {
            target,
            fallback: false,
            excluded: None,
            on_trial: false,
            since: None,
            load: LoadFactor::NONE,
        }
    }
}

/// Why a candidate must not be picked, in words for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Barred {
    /// Requests to it, or probes of it, have failed. Ignored once too few are well
    /// ([`Policy::panic_permille`](crate::Policy::panic_permille)).
    Unwell(Box<str>),
    /// Somebody wants it out, or it is leaving. Holds whatever happens.
    Firm(Box<str>),
}

impl Barred {
    /// The words.
    #[must_use]
    pub const fn reason(&self) -> &str {
        match self {
            Self::Unwell(reason) | Self::Firm(reason) => reason,
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

/// How a pick came to whom it got.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Grounds {
    /// The client was bound to it.
    Bound,
    /// The algorithm chose it among those of its tier that are below their soft limit.
    BelowSoft {
        /// 0 to 3 as in the specification; 0 where the algorithm has no tiers.
        tier: u8,
    },
    /// All of its tier were at their soft limit, and it was the least above.
    AboveSoft {
        /// 0 to 3 as in the specification; 0 where the algorithm has no tiers.
        tier: u8,
    },
}

/// Picks one of a fixed list of targets. Immutable but for the turns that its picks take, so any number of
/// threads may share it; a change of the list makes a new one by [`prepare`](Self::prepare).
pub struct Balancer<T> {
    pub(crate) policy: Policy,
    pub(crate) compared: Compared,
    pub(crate) entries: Box<[Entry<T>]>,
    pub(crate) tiers: Tiers,
    /// Identities of those that may be picked, as far as they are told apart, and their places. Sorted; empty
    /// where nobody comes bound.
    pub(crate) identities: Box<[(u64, u32)]>,
    pub(crate) routable: usize,
    pub(crate) panic: bool,
    /// What a weight of 1 is in [`Entry::share`].
    pub(crate) unit: u16,
    pub(crate) next_change: Option<MonoTime>,
    /// By place in the list; read by nobody but `explain`.
    pub(crate) excluded: Box<[Option<Barred>]>,
}

/// What members below their soft limit are compared by, where they are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Compared {
    Load,
    Latency,
    Own,
}

impl Compared {
    pub(crate) const fn by(policy: &Policy) -> Self {
        match (&policy.own, policy.algorithm.inner()) {
            (Some(_), _) => Self::Own,
            (None, Inner::Ewma) => Self::Latency,
            (None, _) => Self::Load,
        }
    }
}

/// What a pick reads of a candidate, close together: half a cache line where `T` is a pointer.
pub(crate) struct Entry<T> {
    pub(crate) target: T,
    /// The target's, so that its load is one step away and not two.
    pub(crate) meter: Option<Arc<Meter>>,
    /// In force: the soft limit ramps.
    pub(crate) limits: Limits,
    /// Its own.
    pub(crate) weight: u16,
    /// The weight that counts, in units of the balancer's.
    pub(crate) share: u16,
    /// Of a slow start, 1 to [`STEPS`].
    pub(crate) step: u8,
    /// Whether picks may propose it.
    pub(crate) routable: bool,
    /// What its own reports make of its weight.
    pub(crate) load: LoadFactor,
}

impl<T> Entry<T> {
    pub(crate) fn ramps(&self) -> bool {
        u16::from(self.step) < STEPS
    }
}

impl<T: Target> Entry<T> {
    #[inline]
    pub(crate) fn in_flight(&self) -> u32 {
        self.meter
            .as_ref()
            .map_or_else(|| self.target.in_flight(), |meter| meter.in_flight())
    }

    #[inline]
    pub(crate) fn elsewhere(&self) -> u32 {
        self.meter
            .as_ref()
            .map_or_else(|| self.target.elsewhere(), |meter| meter.elsewhere())
    }

    #[inline]
    pub(crate) fn expected(&self, now: MonoTime) -> Expected {
        self.meter
            .as_ref()
            .map_or_else(|| self.target.expected(now), |meter| meter.expected(now))
    }
}

impl<T: Target> Balancer<T> {
    /// Picks a target for a client: proposes candidates, the best first, until `claim` grants one.
    ///
    /// One below its soft limit comes before one that isn't, and one at its hard limit is never proposed.
    /// `claim` has the last word, since only it can take a place in one step; it may be asked about the
    /// same target again. It is asked a bounded number of times: about twice for each member of each tier.
    ///
    /// `now` is the time on the clock that the targets' [expected latencies](Target::expected) go by; only
    /// `ewma` looks at it. `entropy` is the randomness of this pick; any 64 random bits. The same balancer, loads,
    /// turns, time and entropy make the same pick. Takes no lock, allocates nothing and reads no clock.
    ///
    /// # Errors
    /// Why nobody was granted.
    #[inline]
    pub fn pick<L>(
        &self,
        client: &Client,
        now: MonoTime,
        entropy: u64,
        mut claim: impl FnMut(&T) -> Claim<L>,
    ) -> Result<L, PickError> {
        Decision::new(self, client, now, entropy, Serving, |_, target: &T| claim(target)).make()
    }

    /// [`pick`](Self::pick), and how it came to whom it got.
    ///
    /// # Errors
    /// Why nobody was granted.
    pub fn pick_told<L>(
        &self,
        client: &Client,
        now: MonoTime,
        entropy: u64,
        mut claim: impl FnMut(&T) -> Claim<L>,
    ) -> Result<(L, Grounds), PickError> {
        let claim = |_, target: &T| claim(target);
        let mut decision = Decision::new(self, client, now, entropy, Telling::default(), claim);
        let granted = decision.make()?;
        // Whoever was granted was told of.
        let grounds = decision.watch.grounds.unwrap_or(Grounds::BelowSoft { tier: 0 });
        Ok((granted, grounds))
    }

    /// Says what [`pick`](Self::pick) would do with these arguments if the claim granted whatever is
    /// proposed, and why. It is the same code that picks, but takes nobody's turn.
    pub fn explain(&self, client: &Client, now: MonoTime, entropy: u64) -> Explanation {
        self.explain_with(client, now, entropy, |_| Claim::Granted(()))
    }

    /// [`explain`](Self::explain) for a claim that may refuse. `claim` should only look: nothing is going
    /// to happen.
    pub fn explain_with(
        &self,
        client: &Client,
        now: MonoTime,
        entropy: u64,
        claim: impl FnMut(&T) -> Claim<()>,
    ) -> Explanation {
        explain::explain(self, client, now, entropy, claim)
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

    /// Whether the health of its candidates is ignored, since fewer are well than
    /// [`Policy::panic_permille`] asks for: whoever claims has to let them in all the same.
    #[must_use]
    #[inline]
    pub const fn ignores_health(&self) -> bool {
        self.panic
    }

    /// When to [`prepare`](Self::prepare) it again though nothing has changed: somebody's
    /// [slow start](Policy::slow_start) comes to its next step. On the clock that it was prepared by.
    #[must_use]
    pub const fn next_change(&self) -> Option<MonoTime> {
        self.next_change
    }

    /// The candidate that a client is [bound](Client::bound) to by that identity, whether it may be picked or not.
    #[must_use]
    pub fn bound_to(&self, identity: u64) -> Option<&T>
    where
        T: Target,
    {
        self.candidates()
            .find(|target| kept_of(target.identity()) == kept_of(identity))
    }

    /// What it was prepared with.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
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
