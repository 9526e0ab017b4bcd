//! Why a pick goes where it goes.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use edgeproxy_backend::{Limits, MonoTime};

use crate::balancer::{Balancer, Claim, Entry, PickError};
use crate::decide::{Decision, Watch, place_of};
use crate::group::{Group, Picker};
use crate::rotation::Cursor;
use crate::tally::Tally;
use crate::tiers::Scope;
use crate::{Algorithm, Client, Inner, Spill, Target};

/// A pick that was looked at and not made.
#[derive(Clone, PartialEq, Debug)]
pub struct Explanation {
    /// The policy's algorithm; the one inside a tier by [`Algorithm::inner`].
    pub algorithm: Algorithm,
    /// When a tier's traffic goes on to the next.
    pub spill: Spill,
    /// For whom.
    pub client: Client,
    /// The tiers of this client, nearest first. Tier 3 comes once for each region of the policy's order
    /// that has members, and once for all others.
    pub tiers: Vec<Tier>,
    /// Candidates that no pick proposes, in the order of the list.
    pub excluded: Vec<Excluded>,
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
    /// How many it takes right now: in a slow start only a part of its soft limit.
    pub limits: Limits,
    /// What the algorithm compares; the least is picked. By the weight that counts: for `least_connections`
    /// the load, `(in_flight + 1) / weight`; for `ewma` that times the expected latency in milliseconds and the
    /// penalty, `None` before the first response. For those that take turns the number of turns before its own;
    /// `None` if that is more than 65,536. For `hash` how many are asked for this key before it; `None` if it is
    /// not asked.
    pub score: Option<f64>,
    /// What became of it.
    pub verdict: Verdict,
}

/// What became of a member in a decision. `Display` is a phrase for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is picked.
    Picked,
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
    /// The key is another's.
    NotItsKey,
    /// It has more than 5/4 of its share of the requests in flight, and the key goes on to its next owner.
    AboveItsShare,
    /// It is in a slow start and has its part of its soft limit in flight.
    Ramping,
    /// Its tier is still spilling over: above 85 % of its soft limits together.
    Spilling,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Picked => "picked",
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

/// Looks at turns instead of taking them, and remembers who was compared.
struct Peeking {
    compared: Vec<bool>,
}

impl Watch for Peeking {
    fn turn(&mut self, cursor: &Cursor) -> u64 {
        cursor.peek()
    }

    fn advance(&mut self, _: &Cursor, _: u64, _: u64) -> bool {
        true
    }

    fn compared(&mut self, member: u32) {
        self.compared[member as usize] = true;
    }

    fn note(&mut self, _: &Tally, _: u32, _: u32) {}

    fn spill(&mut self, _: &AtomicBool, _: bool) {}
}

pub(crate) fn explain<T: Target>(
    balancer: &Balancer<T>,
    client: Client,
    now: MonoTime,
    entropy: u64,
    mut claim: impl FnMut(&T) -> Claim<()>,
) -> Explanation {
    let loads = balancer.entries.iter().map(Entry::in_flight).collect();
    let mut asked = vec![None; balancer.entries.len()];
    let watch = Peeking {
        compared: vec![false; balancer.entries.len()],
    };
    let mut decision = Decision::new(balancer, &client, now, entropy, watch, |member, target: &T| {
        let answer = claim(target);
        asked[member as usize] = Some(match answer {
            Claim::Granted(()) => Verdict::Picked,
            Claim::Full => Verdict::RefusedFull,
            Claim::Shut => Verdict::RefusedShut,
            Claim::Skip => Verdict::Skipped,
        });
        match answer {
            Claim::Granted(()) => Claim::Granted(member as usize),
            Claim::Full => Claim::Full,
            Claim::Shut => Claim::Shut,
            Claim::Skip => Claim::Skip,
        }
    });
    let outcome = decision.make();
    let compared = decision.watch.compared;
    let account = Account {
        balancer,
        client,
        now,
        entropy,
        loads,
        asked,
        compared,
    };
    Explanation {
        algorithm: balancer.policy().algorithm,
        spill: balancer.policy().spill,
        client,
        tiers: account.tiers(),
        excluded: account.excluded(),
        picked: outcome.ok(),
        error: outcome.err(),
    }
}

/// Turns that are looked at for whose they are.
const TURNS_SHOWN: u32 = 65_536;

/// What is known after the decision.
struct Account<'a, T> {
    balancer: &'a Balancer<T>,
    client: Client,
    now: MonoTime,
    entropy: u64,
    loads: Vec<u32>,
    asked: Vec<Option<Verdict>>,
    compared: Vec<bool>,
}

impl<T: Target> Account<'_, T> {
    fn tiers(&self) -> Vec<Tier> {
        let mut listed = vec![false; self.balancer.entries.len()];
        let mut passed = false;
        let mut tiers = Vec::new();
        for step in self.balancer.tiers.steps(self.client) {
            let group = self.balancer.tiers.group(step);
            let turns = self.turns(group);
            let mut members = Vec::new();
            for (place, &member) in (0..).zip(&group.members) {
                let at = member as usize;
                if !std::mem::replace(&mut listed[at], true) {
                    let entry = &self.balancer.entries[at];
                    members.push(Considered {
                        candidate: at,
                        weight: entry.weight,
                        effective_weight: self.effective(entry),
                        in_flight: self.loads[at],
                        limits: entry.limits,
                        score: self.score(group, place, at, &turns),
                        verdict: self.verdict(group, at, passed),
                    });
                }
            }
            passed |= members.iter().any(|member| member.verdict == Verdict::Picked);
            tiers.push(Tier {
                number: step.tier,
                scope: group.scope,
                members,
            });
        }
        tiers
    }

    /// For each member of a group that takes turns, how many turns come before its own.
    fn turns(&self, group: &Group) -> Vec<Option<u32>> {
        let mut turns = vec![None; group.members.len()];
        if let Some(rotation) = group.rotation() {
            let next = rotation.cursor.peek();
            for (ahead, turn) in (0..TURNS_SHOWN)
                .zip(next..)
                .take_while(|(ahead, _)| u64::from(*ahead) < rotation.period())
            {
                let first: &mut Option<u32> = &mut turns[rotation.at(turn) as usize];
                first.get_or_insert(ahead);
            }
        }
        turns
    }

    fn effective(&self, entry: &Entry<T>) -> f64 {
        f64::from(entry.share) / f64::from(self.balancer.unit)
    }

    fn score(&self, group: &Group, place: u32, candidate: usize, turns: &[Option<u32>]) -> Option<f64> {
        let entry = &self.balancer.entries[candidate];
        let load = (f64::from(self.loads[candidate]) + 1.0) / self.effective(entry);
        match self.inner() {
            Inner::RoundRobin | Inner::Weighted => turns[place as usize].map(f64::from),
            Inner::LeastConnections => Some(load),
            Inner::Ewma => {
                let expected = entry.expected(self.now);
                let millis = expected.latency?.as_secs_f64() * 1_000.0;
                Some(load * millis * f64::from(expected.penalty))
            }
            Inner::Hash => match &group.picker {
                Picker::Slots(slots) => place_of(place, slots, &self.client, self.entropy).map(f64::from),
                _ => None,
            },
        }
    }

    fn verdict(&self, group: &Group, candidate: usize, farther: bool) -> Verdict {
        let (entry, in_flight) = (&self.balancer.entries[candidate], self.loads[candidate]);
        if let Some(answer) = self.asked[candidate] {
            return answer;
        }
        if !entry.limits.below_hard(in_flight) {
            return Verdict::AtHardLimit;
        }
        if farther {
            return Verdict::Farther;
        }
        if !entry.limits.below_soft(in_flight) {
            return if entry.ramps() {
                Verdict::Ramping
            } else {
                Verdict::AtSoftLimit
            };
        }
        let compared = self.compared[candidate];
        if !compared && group.spilling.load(Ordering::Relaxed) {
            return Verdict::Spilling;
        }
        match self.inner() {
            Inner::RoundRobin | Inner::Weighted => Verdict::NotItsTurn,
            Inner::LeastConnections if compared => Verdict::MoreLoaded,
            Inner::Ewma if compared => Verdict::Slower,
            Inner::LeastConnections | Inner::Ewma => Verdict::NotDrawn,
            Inner::Hash if compared => Verdict::AboveItsShare,
            Inner::Hash => Verdict::NotItsKey,
        }
    }

    fn excluded(&self) -> Vec<Excluded> {
        let all = self
            .balancer
            .entries
            .iter()
            .zip(&self.balancer.excluded)
            .enumerate();
        all.filter(|(_, (entry, _))| !entry.routable)
            .map(|(candidate, (entry, reason))| {
                let reason = match reason {
                    Some(reason) => Exclusion::Unroutable(reason.clone()),
                    None if entry.weight == 0 => Exclusion::WeightZero,
                    None => Exclusion::IdleFallback,
                };
                Excluded { candidate, reason }
            })
            .collect()
    }

    fn inner(&self) -> Inner {
        self.balancer.policy().algorithm.inner()
    }
}
