//! In which order a fixed set of weighted members takes its turns.

mod build;

/// A period of turns in which every member has exactly its weight, spread out.
///
/// The first [`EXACT_MAX`] turns of a period could be stored, more could not: ten thousand weights of up to
/// 1,000 sum to ten million. So the period is made of *rounds* of at most that many slots. Up to
/// `EXACT_MAX` there is one round, and every slot is a member's. Above, the line of all weights is cut
/// into one piece a slot, equal but for one unit; a round visits each piece once, and the few units that a
/// piece has over go into one short round at the end. A piece that lies within one member is that
/// member's; one that a boundary runs through is a [`Fork`], which shares its visits in exact proportion.
/// Either way a turn is a division, a look-up and, rarely, a fork or two, whatever the weights.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    members: u32,
    /// Turns in a period: the sum of the weights, divided by their gcd.
    period: u64,
    /// The logarithm of the number of slots in a round.
    shift: u32,
    mask: u64,
    /// Full rounds in a period.
    rounds: u64,
    /// Who has each slot of a full round: a member, or, from `members` on, a fork.
    order: Box<[u32]>,
    /// Who has each slot of the short round.
    extra: Box<[u32]>,
    /// A fork's branches come after it.
    forks: Box<[Fork]>,
}

/// The longest period that is stored turn by turn: 256 KiB, and about 5 ms to prepare.
const EXACT_MAX: u64 = 65_536;

/// What a lag is counted in: 2⁻²⁴ of a turn. Fine enough to add up over millions of changes, coarse enough
/// to multiply by a period in 64 bits.
pub(crate) const TURN: i64 = 1 << 24;

/// Shares its visits between two, of which the left gets `left_weight` in `weight`, evenly spread: after
/// `v` visits the left one had `⌊(v · left_weight + offset) / weight⌋`, the sequence of Bresenham's line.
#[derive(Debug, PartialEq, Eq)]
struct Fork {
    left_weight: u64,
    weight: u64,
    offset: u64,
    left: u32,
    right: u32,
}

impl Fork {
    fn left_of(&self, visits: u64) -> u64 {
        (visits * self.left_weight + self.offset) / self.weight
    }
}

impl Plan {
    /// Turns in a period.
    pub(crate) fn period(&self) -> u64 {
        self.period
    }

    /// Whose turn it is: a member's place in the list that the plan was built from.
    #[inline]
    pub(crate) fn at(&self, turn: u64) -> u32 {
        let turn = turn % self.period;
        let round = turn >> self.shift;
        let lap = if round < self.rounds {
            &self.order
        } else {
            &self.extra
        };
        let entry = lap[slot(turn & self.mask)];
        if entry < self.members {
            entry
        } else {
            self.branch(entry, round)
        }
    }

    fn branch(&self, mut entry: u32, mut visit: u64) -> u32 {
        while entry >= self.members {
            let fork = &self.forks[(entry - self.members) as usize];
            let scaled = visit * fork.left_weight + fork.offset;
            let left = scaled / fork.weight;
            // The left one has this visit if the line crosses a whole number during it.
            if scaled % fork.weight + fork.left_weight >= fork.weight {
                (entry, visit) = (fork.left, left);
            } else {
                (entry, visit) = (fork.right, visit - left);
            }
        }
        entry
    }

    /// How many turns each member had in the first `turns` of a period.
    pub(crate) fn counts(&self, turns: u64) -> Vec<u64> {
        let members = self.members as usize;
        let (round, partial) = (turns >> self.shift, slot(turns & self.mask));
        let mut visits = vec![0; members + self.forks.len()];
        let full = round.min(self.rounds);
        for entry in &self.order {
            visits[*entry as usize] += full;
        }
        let lap = if round < self.rounds {
            &self.order
        } else {
            &self.extra
        };
        for entry in &lap[..partial] {
            visits[*entry as usize] += 1;
        }
        for (index, fork) in self.forks.iter().enumerate() {
            let total = visits[members + index];
            let left = fork.left_of(total);
            visits[fork.left as usize] += left;
            visits[fork.right as usize] += total - left;
        }
        visits.truncate(members);
        visits
    }
}

/// A slot's number as an index; it is below 65,536.
#[inline]
#[allow(clippy::cast_possible_truncation)]
const fn slot(number: u64) -> usize {
    number as usize
}

#[cfg(test)]
mod tests;
