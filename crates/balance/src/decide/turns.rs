//! Whose turn it is.

use super::{Decision, WALK_MIN, Watch};
use crate::group::Group;
use crate::rank::{Draw, Room, drawn};
use crate::rotation::Rotation;
use crate::{Claim, Target};

impl<T, L, W, F> Decision<'_, T, W, F>
where
    T: Target,
    W: Watch,
    F: FnMut(u32, &T) -> Claim<L>,
{
    /// The member whose turn it is. Whoever is at its soft limit or refuses loses its turn; the next one that
    /// has room takes its own, only earlier, so it gets no more than any other.
    #[inline]
    pub(super) fn in_turn(&mut self, group: &Group, rotation: &Rotation) -> Option<L> {
        let turn = self.watch.turn(&rotation.cursor);
        let member = group.members[rotation.at(turn) as usize];
        if self.has_room(member, Room::BelowSoft)
            && let Some(granted) = self.offer(member)
        {
            return Some(granted);
        }
        self.walk(group, rotation, turn)
    }

    /// The one whose turn it is, if it ramps: where loads decide it would not begin before all others had many
    /// requests for each of its few. So it has its turns besides, which are its share and no more.
    #[cold]
    pub(super) fn ramping(&mut self, group: &Group, lifeline: &Rotation) -> Option<L> {
        let turn = self.watch.turn(&lifeline.cursor);
        let member = group.members[lifeline.at(turn) as usize];
        if self.entry(member).ramps() && self.has_room(member, Room::BelowSoft) {
            return self.offer(member);
        }
        None
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
                let weight = u64::from(self.entry(member).share);
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
}
