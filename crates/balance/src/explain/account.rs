//! The decision as it was made, told member by member.

use edgeproxy_backend::MonoTime;

use super::{Considered, Excluded, Exclusion, Explanation, Tier, Verdict};
use crate::balancer::{Balancer, Claim, Entry, Grounds};
use crate::decide::{Decision, Watch, place_of};
use crate::group::{Group, Picker};
use crate::rotation::Cursor;
use crate::sync::{AtomicBool, Ordering};
use crate::tally::Tally;
use crate::{Asked, Client, Inner, Target};

/// Looks at turns instead of taking them, and remembers who was compared.
struct Peeking {
    compared: Vec<bool>,
    grounds: Option<Grounds>,
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

    fn granted(&mut self, grounds: Grounds) {
        self.grounds = Some(grounds);
    }
}

pub(crate) fn explain<T: Target>(
    balancer: &Balancer<T>,
    client: &Client,
    now: MonoTime,
    entropy: u64,
    mut claim: impl FnMut(&T) -> Claim<()>,
) -> Explanation {
    let loads = balancer.entries.iter().map(Entry::in_flight).collect();
    let elsewhere = balancer.entries.iter().map(Entry::elsewhere).collect();
    let mut asked = vec![None; balancer.entries.len()];
    let watch = Peeking {
        compared: vec![false; balancer.entries.len()],
        grounds: None,
    };
    let mut decision = Decision::new(balancer, client, now, entropy, watch, |member, target: &T| {
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
    let Peeking { compared, grounds } = decision.watch;
    let account = Account {
        balancer,
        client,
        now,
        entropy,
        loads,
        elsewhere,
        asked,
        compared,
        as_bound: grounds == Some(Grounds::Bound),
    };
    Explanation {
        algorithm: balancer.policy().algorithm,
        own: balancer.policy().own.is_some(),
        spill: balancer.policy().spill,
        client: *client,
        tiers: account.tiers(),
        excluded: account.excluded(),
        ignores_health: balancer.panic,
        picked: outcome.ok(),
        error: outcome.err(),
    }
}

/// Turns that are looked at for whose they are.
const TURNS_SHOWN: u32 = 65_536;

/// What is known after the decision.
struct Account<'a, T> {
    balancer: &'a Balancer<T>,
    client: &'a Client,
    now: MonoTime,
    entropy: u64,
    loads: Vec<u32>,
    elsewhere: Vec<u32>,
    asked: Vec<Option<Verdict>>,
    compared: Vec<bool>,
    /// The client was bound to whoever was picked.
    as_bound: bool,
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
                        elsewhere: self.elsewhere[at],
                        limits: entry.limits,
                        score: self.score(group, place, at, &turns),
                        verdict: self.verdict(group, at, passed),
                        unwell: self.balancer.excluded[at]
                            .as_ref()
                            .map(|barred| barred.reason().into()),
                    });
                }
            }
            passed |= members.iter().any(|member| member.verdict.is_picked());
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
        let in_flight = f64::from(self.loads[candidate]) + f64::from(self.elsewhere[candidate]);
        let load = (in_flight + 1.0) / self.effective(entry);
        if let Some(own) = &self.balancer.policy().own {
            let asked = Asked {
                client: self.client,
                now: self.now,
                entropy: self.entropy,
            };
            // 48 bits, which a double holds exactly.
            #[allow(clippy::cast_precision_loss)]
            return Some(own.cost(&entry.target, &asked) as f64 / self.effective(entry));
        }
        match self.inner() {
            Inner::RoundRobin | Inner::Weighted => turns[place as usize].map(f64::from),
            Inner::LeastConnections => Some(load),
            Inner::Ewma => {
                let expected = entry.expected(self.now);
                let millis = expected.latency?.as_secs_f64() * 1_000.0;
                Some(load * millis * f64::from(expected.penalty))
            }
            Inner::Hash => match &group.picker {
                Picker::Slots(slots) => place_of(place, slots, self.client, self.entropy).map(f64::from),
                _ => None,
            },
        }
    }

    fn verdict(&self, group: &Group, candidate: usize, farther: bool) -> Verdict {
        let (entry, in_flight) = (&self.balancer.entries[candidate], self.loads[candidate]);
        match self.asked[candidate] {
            Some(Verdict::Picked) if self.as_bound => return Verdict::PickedAsBound,
            Some(answer) => return answer,
            None if self.as_bound && entry.limits.below_hard(in_flight) => return Verdict::NotBound,
            None => {}
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
            _ if compared && self.balancer.policy().own.is_some() => Verdict::Costlier,
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
                    Some(barred) => Exclusion::Unroutable(barred.reason().into()),
                    None if entry.weight == 0 => Exclusion::WeightZero,
                    None => Exclusion::IdleFallback,
                };
                Excluded { candidate, reason }
            })
            .collect()
    }

    fn inner(&self) -> Inner {
        self.balancer.policy().inner()
    }
}
