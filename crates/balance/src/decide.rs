//! The one way in which a member is picked, whoever asks.

use crate::balancer::{Balancer, Claim, PickError};
use crate::rank::{Draw, Rank, Room, below, drawn, mixed};
use crate::rotation::{Cursor, Rotation};
use crate::tiers::{Group, Picker, Step};
use crate::{Client, Spill, Target};

/// Up to so many members, the least loaded is found by looking at all of them; above, two are drawn.
///
/// Measured with `Endpoint::admit` as the claim, everyone idle, the most ties: a scan of 4 costs 66 ns, of 8
/// 86, of 12 109, of 16 127, and two draws 59 at any size (a core of a Xeon of 2023, model 207). Eight is
/// where exactness still fits into 100 ns; `least_connections-by-size` in `benches/picker.rs` repeats it.
pub(crate) const SCAN_MAX: usize = 8;

/// Turns looked at, at least, before a group is searched otherwise: a heavy member that is full has many
/// turns in a row.
const WALK_MIN: usize = 32;

/// How many refused ones are followed by the next best, before order stops to matter.
const SHORTLIST: usize = 8;

/// Whether a decision is made or only looked at.
pub(crate) trait Watch {
    /// The next turn.
    fn turn(&mut self, cursor: &Cursor) -> u64;
    /// Takes the turns from `from` up to `to`, if nobody has taken `from`.
    fn advance(&mut self, cursor: &Cursor, from: u64, to: u64) -> bool;
    /// A member's load was compared with others'.
    fn compared(&mut self, member: u32);
}

/// Makes decisions.
pub(crate) struct Serving;

impl Watch for Serving {
    #[inline]
    fn turn(&mut self, cursor: &Cursor) -> u64 {
        cursor.take()
    }

    fn advance(&mut self, cursor: &Cursor, from: u64, to: u64) -> bool {
        cursor.advance(from, to)
    }

    #[inline]
    fn compared(&mut self, _: u32) {}
}

/// One pick under way.
pub(crate) struct Decision<'a, T, W, F> {
    balancer: &'a Balancer<T>,
    entropy: u64,
    pub(crate) watch: W,
    claim: F,
    full: bool,
    skipped: bool,
}

impl<'a, T, L, W, F> Decision<'a, T, W, F>
where
    T: Target,
    W: Watch,
    F: FnMut(u32, &T) -> Claim<L>,
{
    #[inline]
    pub(crate) fn new(balancer: &'a Balancer<T>, entropy: u64, watch: W, claim: F) -> Self {
        Self {
            balancer,
            entropy,
            watch,
            claim,
            full: false,
            skipped: false,
        }
    }

    /// Walks the tiers as the policy has it.
    #[inline]
    pub(crate) fn make(&mut self, client: Client) -> Result<L, PickError> {
        let tiers = &self.balancer.tiers;
        match self.balancer.policy().spill {
            Spill::Hard => {
                for step in tiers.steps(client) {
                    if let Some(granted) = self.below_soft(step) {
                        return Ok(granted);
                    }
                    if let Some(granted) = self.below_hard(step) {
                        return Ok(granted);
                    }
                }
            }
            Spill::Soft => {
                for step in tiers.steps(client) {
                    if let Some(granted) = self.below_soft(step) {
                        return Ok(granted);
                    }
                }
                for step in tiers.steps(client) {
                    if let Some(granted) = self.below_hard(step) {
                        return Ok(granted);
                    }
                }
            }
        }
        Err(self.error())
    }

    fn error(&self) -> PickError {
        match (self.full, self.skipped) {
            (true, _) => PickError::AllFull,
            (false, true) => PickError::Exhausted,
            (false, false) => PickError::NoneRoutable,
        }
    }

    /// One of a tier's members below soft, by the inner algorithm.
    #[inline]
    fn below_soft(&mut self, step: Step) -> Option<L> {
        let group = self.balancer.tiers.group(step);
        match &group.picker {
            Picker::Turns(rotation) => self.in_turn(group, rotation),
            Picker::Scan => self.least(group, Room::BelowSoft),
            Picker::Two => self.of_two(group, two_of(group, self.entropy)),
            Picker::TwoByWeight(sampler) => {
                let random = drawn(self.entropy, Draw::Two, 0);
                let member = |random| group.members[sampler.draw(random) as usize];
                self.of_two(group, (member(random), member(mixed(random))))
            }
        }
    }

    /// The one of a tier's members below hard that is least beyond its soft limit.
    #[cold]
    fn below_hard(&mut self, step: Step) -> Option<L> {
        self.least(self.balancer.tiers.group(step), Room::BelowHard)
    }

    /// The member whose turn it is. Whoever is at its soft limit or refuses loses its turn; the next one that
    /// has room takes its own, only earlier, so it gets no more than any other.
    #[inline]
    fn in_turn(&mut self, group: &Group, rotation: &Rotation) -> Option<L> {
        let turn = self.watch.turn(&rotation.cursor);
        let member = group.members[rotation.at(turn) as usize];
        if self.has_room(member, Room::BelowSoft)
            && let Some(granted) = self.offer(member)
        {
            return Some(granted);
        }
        self.walk(group, rotation, turn)
    }

    /// Goes on from a turn that was not used. The turns passed over are taken together with the one that is
    /// used, in one step, and only if nobody took one of them meanwhile: several workers at a run of full
    /// members would otherwise all land on the one behind it.
    #[cold]
    fn walk(&mut self, group: &Group, rotation: &Rotation, turn: u64) -> Option<L> {
        let mut taken = turn + 1;
        let mut turn = taken;
        let mut alone = true;
        for _ in 0..group.members.len().max(WALK_MIN) {
            let member = group.members[rotation.at(turn) as usize];
            if self.has_room(member, Room::BelowSoft) {
                if turn >= taken {
                    if !self.watch.advance(&rotation.cursor, taken, turn + 1) {
                        // Others are taking turns too: go on with the one after theirs.
                        alone = false;
                        turn = self.watch.turn(&rotation.cursor);
                        taken = turn + 1;
                        continue;
                    }
                    taken = turn + 1;
                }
                if let Some(granted) = self.offer(member) {
                    return Some(granted);
                }
            }
            turn += 1;
        }
        if alone && rotation.visits_all() {
            None
        } else {
            self.drawn(group)
        }
    }

    /// One of all that have room, drawn by weight: exact turns have led nowhere.
    fn drawn(&mut self, group: &Group) -> Option<L> {
        let (mut total, mut chosen) = (0, None);
        for &member in &group.members {
            if self.has_room(member, Room::BelowSoft) {
                let weight = u64::from(self.balancer.entries[member as usize].weight);
                total += weight;
                // Each takes the place of those before it with its share of the weight up to here.
                if drawn(self.entropy, Draw::Weighted, member) % total < weight {
                    chosen = Some(member);
                }
            }
        }
        self.offer(chosen?)
            .or_else(|| self.anyone(group, Room::BelowSoft))
    }

    /// The less loaded of two drawn at random; a scan only where that leads to no room.
    ///
    /// M. Mitzenmacher, "The power of two choices in randomized load balancing", IEEE TPDS 12 (2001). Where
    /// weights differ the two are drawn by weight, since a heavy member drawn no more often than a light
    /// one could never get its share.
    #[inline]
    fn of_two(&mut self, group: &Group, (first, second): (u32, u32)) -> Option<L> {
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
    fn least_of_many(&mut self, group: &Group) -> Option<L> {
        self.least(group, Room::BelowSoft)
    }

    /// The least loaded of those that have room, or, as they refuse, the next.
    #[inline]
    fn least(&mut self, group: &Group, room: Room) -> Option<L> {
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
    fn anyone(&mut self, group: &Group, room: Room) -> Option<L> {
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

    #[inline]
    fn luck(&self) -> u64 {
        drawn(self.entropy, Draw::Tie, 0)
    }

    #[inline]
    fn has_room(&self, member: u32, room: Room) -> bool {
        let entry = &self.balancer.entries[member as usize];
        let in_flight = entry.in_flight();
        match room {
            Room::BelowSoft => entry.limits.below_soft(in_flight),
            Room::BelowHard => entry.limits.below_hard(in_flight),
        }
    }

    #[inline]
    fn rank(&mut self, member: u32, room: Room, luck: u64) -> Option<Rank> {
        self.watch.compared(member);
        let entry = &self.balancer.entries[member as usize];
        let rank = room.rank(entry, entry.in_flight(), member, luck);
        self.full |= rank.is_none() && room == Room::BelowHard;
        rank
    }

    #[inline]
    fn offer(&mut self, member: u32) -> Option<L> {
        match (self.claim)(member, &self.balancer.entries[member as usize].target) {
            Claim::Granted(granted) => return Some(granted),
            Claim::Full => self.full = true,
            Claim::Skip => self.skipped = true,
            Claim::Shut => {}
        }
        None
    }
}

/// Two different members, each pair as likely as the others.
#[inline]
// The halves of 64 bits, and a number of members, which are counted by u32.
#[allow(clippy::cast_possible_truncation)]
fn two_of(group: &Group, entropy: u64) -> (u32, u32) {
    let random = drawn(entropy, Draw::Two, 0);
    let members = group.members.len() as u32;
    let first = below(members, random as u32);
    let second = below(members - 1, (random >> 32) as u32);
    let second = second + u32::from(second >= first);
    (group.members[first as usize], group.members[second as usize])
}
