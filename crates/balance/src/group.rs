//! Members that are equally near to some client, and all that their picks go by.

use std::collections::HashMap;
use std::sync::Arc;

use crate::balancer::Entry;
use crate::decide::SCAN_MAX;
use crate::ramp::STEPS;
use crate::rotation::{Rotation, Share};
use crate::sampler::Sampler;
use crate::slots::Slots;
use crate::sync::{AtomicBool, Ordering};
use crate::tally::Tally;
use crate::tiers::Scope;
use crate::{Among, Inner, Own, Policy, Spill, Target};

/// Members that are equally near to some client, in the order of registration. Never empty.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) scope: Scope,
    /// Places in the balancer's list.
    pub(crate) members: Box<[u32]>,
    pub(crate) picker: Picker,
    /// The sum of the weights that count.
    pub(crate) weights: u64,
    /// The sum of the soft limits; `None` where a member has none, or it makes no difference.
    pub(crate) soft: Option<u64>,
    pub(crate) tally: Tally,
    /// Whether its traffic goes to the next tier while that has room: a [`Spill::Soft`] that has begun and not
    /// ended.
    pub(crate) spilling: AtomicBool,
}

/// What a group's picks go by, besides the load of its members.
#[derive(Debug)]
pub(crate) enum Picker {
    /// Whose turn it is.
    Turns(Arc<Rotation>),
    /// Few enough to look at all of them.
    Scan,
    /// Two drawn at random, each member as likely as the others.
    Two,
    /// Two drawn at random by weight.
    TwoByWeight(Sampler),
    /// Two different ones drawn at random by weight.
    TwoDifferent(Sampler),
    /// Whose the key is.
    Slots(Arc<Slots>),
    /// Turns of those that ramp come first, where loads decide and might never let them begin.
    Ramping(Arc<Rotation>, Box<Self>),
}

impl Group {
    /// Its turns, if it takes turns.
    pub(crate) fn rotation(&self) -> Option<&Arc<Rotation>> {
        match &self.picker {
            Picker::Turns(rotation) => Some(rotation),
            _ => None,
        }
    }

    fn lifeline(&self) -> Option<&Arc<Rotation>> {
        match &self.picker {
            Picker::Ramping(lifeline, _) => Some(lifeline),
            _ => None,
        }
    }

    fn slots(&self) -> Option<&Arc<Slots>> {
        match &self.picker {
            Picker::Slots(slots) => Some(slots),
            _ => None,
        }
    }
}

/// Makes the groups of a balancer, and goes on from those of the one before.
pub(crate) struct Grouping<'a, T> {
    inner: Inner,
    own: Option<Among>,
    spill: Spill,
    entries: &'a [Entry<T>],
    before: HashMap<Scope, &'a Group>,
}

impl<'a, T: Target> Grouping<'a, T> {
    pub(crate) fn new(policy: &Policy, entries: &'a [Entry<T>], before: &'a [Group]) -> Self {
        Self {
            inner: policy.inner(),
            own: policy.own.as_ref().map(Own::among),
            spill: policy.spill,
            entries,
            before: before.iter().map(|group| (group.scope, group)).collect(),
        }
    }

    pub(crate) fn group(&self, scope: Scope, members: Vec<u32>) -> Group {
        let before = self.before.get(&scope).copied();
        let ramps = members.iter().any(|member| self.entry(*member).ramps());
        let mut picker = self.picker(&members, ramps, before);
        if ramps && matches!(self.inner, Inner::LeastConnections | Inner::Ewma) {
            let shares = self.shares(&members, |entry| entry.share);
            let lifeline = Rotation::planned(shares, before.and_then(Group::lifeline));
            picker = Picker::Ramping(lifeline, Box::new(picker));
        }
        let spills = self.spill == Spill::Soft && scope != Scope::All;
        let soft = |member: &u32| match self.entry(*member).limits.soft() {
            0 => None,
            soft => Some(u64::from(soft)),
        };
        let soft = if spills {
            members.iter().map(soft).sum()
        } else {
            None
        };
        let weights = members
            .iter()
            .map(|member| u64::from(self.entry(*member).share))
            .sum();
        let tally = if soft.is_some() || self.inner == Inner::Hash {
            Tally::new(members.iter().map(|member| self.entry(*member).in_flight()))
        } else {
            Tally::new(std::iter::empty())
        };
        let spilling = before.is_some_and(|group| group.spilling.load(Ordering::Relaxed));
        Group {
            scope,
            members: members.into(),
            picker,
            weights,
            soft,
            tally,
            spilling: AtomicBool::new(spilling && spills),
        }
    }

    fn picker(&self, members: &[u32], ramps: bool, before: Option<&Group>) -> Picker {
        let turns = || before.and_then(Group::rotation);
        match self.inner {
            Inner::RoundRobin if ramps => {
                let shares = self.shares(members, |entry| u16::from(entry.step));
                Picker::Turns(Rotation::planned(shares, turns()))
            }
            Inner::RoundRobin => Picker::Turns(Rotation::listed(self.shares(members, |_| STEPS), turns())),
            Inner::Weighted => Picker::Turns(Rotation::planned(
                self.shares(members, |entry| entry.share),
                turns(),
            )),
            Inner::LeastConnections if self.looks_at_all(members) => Picker::Scan,
            Inner::LeastConnections if self.are_alike(members) => Picker::Two,
            Inner::LeastConnections => Picker::TwoByWeight(self.sampler(members)),
            Inner::Ewma if members.len() == 1 => Picker::Scan,
            Inner::Ewma if self.are_alike(members) => Picker::Two,
            Inner::Ewma => Picker::TwoDifferent(self.sampler(members)),
            Inner::Hash => {
                let shares = members.iter().map(|member| {
                    let entry = self.entry(*member);
                    Share {
                        key: entry.target.identity(),
                        weight: entry.share,
                    }
                });
                Picker::Slots(Slots::new(shares.collect(), before.and_then(Group::slots)))
            }
        }
    }

    fn shares(&self, members: &[u32], weight: impl Fn(&Entry<T>) -> u16) -> Vec<Share> {
        let share = |member: &u32| {
            let entry = self.entry(*member);
            Share {
                key: entry.target.key(),
                weight: weight(entry),
            }
        };
        members.iter().map(share).collect()
    }

    fn looks_at_all(&self, members: &[u32]) -> bool {
        match self.own {
            None => members.len() <= SCAN_MAX,
            Some(Among::All) => true,
            Some(Among::TwoDrawn) => members.len() == 1,
        }
    }

    fn are_alike(&self, members: &[u32]) -> bool {
        let mut weights = members.iter().map(|member| self.entry(*member).share);
        let first = weights.next();
        weights.all(|weight| Some(weight) == first)
    }

    fn sampler(&self, members: &[u32]) -> Sampler {
        let weights: Vec<u16> = members.iter().map(|member| self.entry(*member).share).collect();
        Sampler::new(&weights)
    }

    fn entry(&self, member: u32) -> &Entry<T> {
        &self.entries[member as usize]
    }
}
