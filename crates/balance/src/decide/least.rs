//! Who has the least load.

use super::{Decision, SHORTLIST, Watch};
use crate::group::Group;
use crate::rank::{Draw, Rank, Room, below, drawn, latency_units, mixed};
use crate::sampler::Sampler;
use crate::{Claim, Target};

impl<T, L, W, F> Decision<'_, T, W, F>
where
    T: Target,
    W: Watch,
    F: FnMut(u32, &T) -> Claim<L>,
{
    /// The less loaded of two drawn at random; a scan only where that leads to no room.
    ///
    /// M. Mitzenmacher, "The power of two choices in randomized load balancing", IEEE TPDS 12 (2001). Where
    /// weights differ the two are drawn by weight, since a heavy member drawn no more often than a light
    /// one could never get its share.
    #[inline]
    pub(super) fn of_two(&mut self, group: &Group, (first, second): (u32, u32)) -> Option<L> {
        let luck = self.luck();
        let (first, second) = (
            self.rank(first, Room::BelowSoft, luck),
            self.rank(second, Room::BelowSoft, luck),
        );
        let (better, other) = match (first, second) {
            (Some(first), Some(second)) if second < first => (second, Some(first)),
            (Some(first), second) => (first, second),
            (None, Some(second)) => (second, None),
            (None, None) => return self.least_of_many(group),
        };
        if let Some(granted) = self.offer(better.member) {
            return Some(granted);
        }
        if let Some(granted) = other.and_then(|other| self.offer(other.member)) {
            return Some(granted);
        }
        self.least_of_many(group)
    }

    #[cold]
    pub(super) fn least_of_many(&mut self, group: &Group) -> Option<L> {
        self.least(group, Room::BelowSoft)
    }

    /// The least loaded of those that have room, or, as they refuse, the next.
    #[inline]
    pub(super) fn least(&mut self, group: &Group, room: Room) -> Option<L> {
        if self.by_latency && room == Room::BelowSoft {
            self.unknown = self.quickest(group);
        }
        let luck = self.luck();
        let mut best: Option<Rank> = None;
        for &member in &group.members {
            if let Some(rank) = self.rank(member, room, luck)
                && best.is_none_or(|best| rank < best)
            {
                best = Some(rank);
            }
        }
        let best = best?;
        if let Some(granted) = self.offer(best.member) {
            return Some(granted);
        }
        self.after(group, room, best)
    }

    /// Goes on after one that refused: the next few in order, found in one more look at all of them, then
    /// whoever has room. A look for each refusal would be quadratic.
    #[cold]
    fn after(&mut self, group: &Group, room: Room, refused: Rank) -> Option<L> {
        let luck = self.luck();
        let mut next: [Option<Rank>; SHORTLIST] = [None; SHORTLIST];
        for &member in &group.members {
            let mut carried = self.rank(member, room, luck).filter(|rank| *rank > refused);
            for place in &mut next {
                let Some(rank) = carried else { break };
                if place.is_none_or(|held| rank < held) {
                    carried = place.replace(rank);
                }
            }
        }
        for rank in next.into_iter().flatten() {
            if let Some(granted) = self.offer(rank.member) {
                return Some(granted);
            }
        }
        if next.iter().all(Option::is_some) {
            self.anyone(group, room)
        } else {
            None
        }
    }

    /// Asks everyone who has room, beginning at random.
    #[cold]
    // The lower half of 64 bits, and a number of members, which are counted by u32.
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn anyone(&mut self, group: &Group, room: Room) -> Option<L> {
        let start = below(
            group.members.len() as u32,
            drawn(self.entropy, Draw::Start, 0) as u32,
        );
        let (before, from) = group.members.split_at(start as usize);
        for &member in from.iter().chain(before) {
            if self.has_room(member, room)
                && let Some(granted) = self.offer(member)
            {
                return Some(granted);
            }
        }
        None
    }

    /// Of two, the one that is expected to answer sooner. One that has never answered is taken to be as quick as
    /// the other: it gets what its share is until more is known, not everything and not nothing.
    #[inline(never)]
    pub(super) fn sooner_of_two(&mut self, group: &Group, (first, second): (u32, u32)) -> Option<L> {
        let known = |member| self.entry(member).expected(self.now).latency.map(latency_units);
        self.unknown = known(first).into_iter().chain(known(second)).min().unwrap_or(1);
        self.of_two(group, (first, second))
    }

    /// The lowest latency that is known in a group.
    #[cold]
    fn quickest(&self, group: &Group) -> u64 {
        let known = |member: &u32| self.entry(*member).expected(self.now).latency;
        let quickest = group.members.iter().filter_map(known).min();
        quickest.map_or(1, latency_units)
    }
}

/// Two different members, each pair as likely as the others.
#[inline]
// The halves of 64 bits, and a number of members, which are counted by u32.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn two_of(group: &Group, entropy: u64) -> (u32, u32) {
    let random = drawn(entropy, Draw::Two, 0);
    let members = group.members.len() as u32;
    let first = below(members, random as u32);
    let second = below(members - 1, (random >> 32) as u32);
    let second = second + u32::from(second >= first);
    (group.members[first as usize], group.members[second as usize])
}

/// Two different members, drawn by weight. Where the heaviest would be drawn twice, it is beside another.
#[inline]
// The upper half of 64 bits, and a number of members, which are counted by u32.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn two_different(group: &Group, sampler: &Sampler, entropy: u64) -> (u32, u32) {
    let random = drawn(entropy, Draw::Two, 0);
    let (first, random) = (sampler.draw(random), mixed(random));
    let mut second = sampler.draw(random);
    if first == second {
        let members = group.members.len() as u32;
        second = below(members - 1, (mixed(random) >> 32) as u32);
        second += u32::from(second >= first);
    }
    (group.members[first as usize], group.members[second as usize])
}
