//! When a tier's traffic goes on to the next.

use super::{Avoided, Decision, Watch};
use crate::balancer::Compared;
use crate::group::Group;
use crate::rank::{Draw, below, drawn};
use crate::sync::Ordering;
use crate::tiers::{Scope, Step};
use crate::{Claim, Target};

/// A spill ends at so many percent of a tier's soft limits together; it begins at all of them.
const ENDS_AT_PERCENT: u64 = 85;

/// Members by chance that are looked at again for each sum that is asked for, where it is kept.
const REFRESHED: u32 = 2;

impl<T, L, W, F> Decision<'_, T, W, F>
where
    T: Target,
    W: Watch,
    F: FnMut(u32, &T) -> Claim<L>,
{
    /// The nearest tier that has room up to hard.
    #[inline]
    pub(super) fn spill_hard(&mut self) -> Option<L> {
        for step in self.balancer.tiers.steps(self.client) {
            if let Some(granted) = self.below_soft(step) {
                return Some(granted);
            }
            if let Some(granted) = self.below_hard(step) {
                return Some(granted);
            }
        }
        None
    }

    /// The nearest tier that has room up to soft and isn't spilling over; then the nearest of those that are;
    /// then back to the nearest that has room up to hard.
    #[inline(never)]
    pub(super) fn spill_soft(&mut self) -> Option<L> {
        let steps = || self.balancer.tiers.steps(self.client);
        let (mut passed_over, mut region_spills) = (false, false);
        for step in steps() {
            if self.spills(step) {
                passed_over = true;
                match step.tier {
                    0 => self.avoided.country = true,
                    1 => region_spills = true,
                    _ => {}
                }
                self.by_load_alone &= self.avoided == Avoided::NOBODY;
                continue;
            }
            // Of the tiers behind a region only this one may hold its members.
            if region_spills && self.balancer.tiers.group(step).scope == Scope::Elsewhere {
                self.avoided.region = true;
                self.by_load_alone = false;
            }
            if let Some(granted) = self.below_soft(step) {
                return Some(granted);
            }
            self.begin_spill(step);
        }
        self.avoided = Avoided::NOBODY;
        self.by_load_alone = self.balancer.compared == Compared::Load;
        if passed_over {
            for step in steps() {
                if self.balancer.tiers.group(step).spilling.load(Ordering::Relaxed)
                    && let Some(granted) = self.below_soft(step)
                {
                    return Some(granted);
                }
            }
        }
        for step in steps() {
            if let Some(granted) = self.below_hard(step) {
                return Some(granted);
            }
        }
        None
    }

    /// Whether a tier's traffic goes on to the next. Ends that if the tier has come down.
    #[inline]
    fn spills(&mut self, step: Step) -> bool {
        let group = self.balancer.tiers.group(step);
        group.spilling.load(Ordering::Relaxed) && self.still_spills(group)
    }

    #[cold]
    fn still_spills(&mut self, group: &Group) -> bool {
        let still = group
            .soft
            .is_some_and(|soft| self.total(group) * 100 > soft * ENDS_AT_PERCENT);
        if !still {
            self.watch.spill(&group.spilling, false);
        }
        still
    }

    /// Nobody of a tier took the request: it spills over from now on, if it is because all are at soft and not
    /// because they refused.
    #[cold]
    fn begin_spill(&mut self, step: Step) {
        let group = self.balancer.tiers.group(step);
        if group.soft.is_some_and(|soft| self.added_up(group) >= soft) {
            self.watch.spill(&group.spilling, true);
        }
    }

    /// What a group has in flight altogether, as far as is known at little cost.
    // The halves of 64 bits, and a number of members, which are counted by u32.
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn total(&mut self, group: &Group) -> u64 {
        if !group.tally.is_kept() {
            return self.added_up(group);
        }
        let members = group.members.len() as u32;
        for draw in 0..REFRESHED {
            let place = below(members, drawn(self.entropy, Draw::Refresh, draw) as u32);
            let in_flight = self.entry(group.members[place as usize]).in_flight();
            self.watch.note(&group.tally, place, in_flight);
        }
        group.tally.kept()
    }

    fn added_up(&self, group: &Group) -> u64 {
        let in_flight = |member: &u32| u64::from(self.entry(*member).in_flight());
        group.members.iter().map(in_flight).sum()
    }
}
