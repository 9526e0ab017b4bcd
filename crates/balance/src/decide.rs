//! The one way in which a member is picked, whoever asks.

mod keyed;
mod least;
mod spill;
mod turns;

use edgeproxy_backend::MonoTime;

use crate::balancer::{Balancer, Claim, Compared, Entry, Grounds, PickError};
use crate::group::{Group, Picker};
use crate::rank::{Draw, Rank, Room, cost, costly_load, drawn, mixed};
use crate::rotation::Cursor;
use crate::sticky::kept_of;
use crate::sync::{AtomicBool, Ordering};
use crate::tally::Tally;
use crate::tiers::Step;
use crate::{Asked, Client, Spill, Target};
use least::{two_different, two_of};

pub(crate) use keyed::place_of;

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
    /// A member's load was compared with others', or, for a key, with its share.
    fn compared(&mut self, member: u32);
    /// What a member of a group, by its place there, has in flight.
    fn note(&mut self, tally: &Tally, place: u32, in_flight: u32);
    /// A group's traffic begins to spill over, or ends to.
    fn spill(&mut self, spilling: &AtomicBool, begins: bool);
    /// Somebody was granted.
    fn granted(&mut self, grounds: Grounds);
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

    #[inline]
    fn note(&mut self, tally: &Tally, place: u32, in_flight: u32) {
        tally.note(place, in_flight);
    }

    fn spill(&mut self, spilling: &AtomicBool, begins: bool) {
        spilling.store(begins, Ordering::Relaxed);
    }

    #[inline]
    fn granted(&mut self, _: Grounds) {}
}

/// Makes decisions, and remembers on what grounds.
#[derive(Default)]
pub(crate) struct Telling {
    pub(crate) grounds: Option<Grounds>,
}

impl Watch for Telling {
    fn turn(&mut self, cursor: &Cursor) -> u64 {
        Serving.turn(cursor)
    }

    fn advance(&mut self, cursor: &Cursor, from: u64, to: u64) -> bool {
        Serving.advance(cursor, from, to)
    }

    fn compared(&mut self, _: u32) {}

    fn note(&mut self, tally: &Tally, place: u32, in_flight: u32) {
        Serving.note(tally, place, in_flight);
    }

    fn spill(&mut self, spilling: &AtomicBool, begins: bool) {
        Serving.spill(spilling, begins);
    }

    fn granted(&mut self, grounds: Grounds) {
        self.grounds = Some(grounds);
    }
}

/// Whose members below soft are not asked, though they belong to a farther tier as well: their own tier spills over.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Avoided {
    /// The client's.
    country: bool,
    /// The client's.
    region: bool,
}

impl Avoided {
    const NOBODY: Self = Self {
        country: false,
        region: false,
    };
}

/// One pick under way.
pub(crate) struct Decision<'a, T, W, F> {
    balancer: &'a Balancer<T>,
    client: &'a Client,
    now: MonoTime,
    entropy: u64,
    /// Whether members below soft are compared by latency, too.
    by_latency: bool,
    /// Whether nothing but what is in flight, here and elsewhere, is compared, and nobody is avoided.
    by_load_alone: bool,
    /// The latency of those that have not answered yet.
    unknown: u64,
    avoided: Avoided,
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
    pub(crate) fn new(
        balancer: &'a Balancer<T>,
        client: &'a Client,
        now: MonoTime,
        entropy: u64,
        watch: W,
        claim: F,
    ) -> Self {
        Self {
            balancer,
            client,
            now,
            entropy,
            by_latency: balancer.compared == Compared::Latency,
            by_load_alone: balancer.compared == Compared::Load,
            unknown: 1,
            avoided: Avoided::NOBODY,
            watch,
            claim,
            full: false,
            skipped: false,
        }
    }

    /// Asks whom the client is bound to, then walks the tiers as the policy has it.
    #[inline]
    pub(crate) fn make(&mut self) -> Result<L, PickError> {
        if let Some(identity) = self.client.bound
            && let Some(granted) = self.bound(identity)
        {
            self.watch.granted(Grounds::Bound);
            return Ok(granted);
        }
        let granted = match self.balancer.policy.spill {
            Spill::Hard => self.spill_hard(),
            Spill::Soft => self.spill_soft(),
        };
        granted.ok_or_else(|| self.error())
    }

    /// The member that a client is bound to, unless it is at its hard limit or refuses.
    #[cold]
    fn bound(&mut self, identity: u64) -> Option<L> {
        let identities = &self.balancer.identities;
        let at = identities.partition_point(|(known, _)| *known < kept_of(identity));
        let (known, member) = *identities.get(at)?;
        if known == kept_of(identity) && self.has_room(member, Room::BelowHard) {
            return self.offer(member);
        }
        None
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
        let granted = self.picked_by(&group.picker, group);
        if granted.is_some() {
            self.watch.granted(Grounds::BelowSoft { tier: step.tier });
        }
        granted
    }

    #[inline]
    fn picked_by(&mut self, picker: &Picker, group: &Group) -> Option<L> {
        match picker {
            Picker::Turns(rotation) => self.in_turn(group, rotation),
            Picker::Scan => self.least(group, Room::BelowSoft),
            Picker::Two if self.by_latency => self.sooner_of_two(group, two_of(group, self.entropy)),
            Picker::Two => self.of_two(group, two_of(group, self.entropy)),
            Picker::TwoByWeight(sampler) => {
                let random = drawn(self.entropy, Draw::Two, 0);
                let member = |random| group.members[sampler.draw(random) as usize];
                self.of_two(group, (member(random), member(mixed(random))))
            }
            Picker::TwoDifferent(sampler) => {
                self.sooner_of_two(group, two_different(group, sampler, self.entropy))
            }
            Picker::Slots(slots) => self.by_key(group, slots),
            Picker::Ramping(lifeline, picker) => self
                .ramping(group, lifeline)
                .or_else(|| self.with_ramps(picker, group)),
        }
    }

    /// Nobody ramping had the turn.
    #[inline(never)]
    fn with_ramps(&mut self, picker: &Picker, group: &Group) -> Option<L> {
        self.picked_by(picker, group)
    }

    /// The one of a tier's members below hard that is least beyond its soft limit.
    #[cold]
    fn below_hard(&mut self, step: Step) -> Option<L> {
        let granted = self.least(self.balancer.tiers.group(step), Room::BelowHard);
        if granted.is_some() {
            self.watch.granted(Grounds::AboveSoft { tier: step.tier });
        }
        granted
    }

    #[inline]
    fn luck(&self) -> u64 {
        drawn(self.entropy, Draw::Tie, 0)
    }

    #[inline]
    fn has_room(&self, member: u32, room: Room) -> bool {
        let entry = self.entry(member);
        let in_flight = entry.in_flight();
        match room {
            Room::BelowSoft => self.is_below_soft(entry, in_flight),
            Room::BelowHard => entry.limits.below_hard(in_flight),
        }
    }

    /// Whether it may be picked before all of its tier are at soft.
    #[inline]
    fn is_below_soft(&self, entry: &Entry<T>, in_flight: u32) -> bool {
        entry.limits.below_soft(in_flight) && (self.avoided == Avoided::NOBODY || self.is_elsewhere(entry))
    }

    #[cold]
    fn is_elsewhere(&self, entry: &Entry<T>) -> bool {
        let is_in_country = self.avoided.country && self.client.country == Some(entry.target.country());
        let is_in_region = self.avoided.region && self.client.region == Some(entry.target.region());
        !is_in_country && !is_in_region
    }

    /// What is compared where that is not just what is in flight; `None` for those that are avoided.
    // Not inlined: what all algorithms share would spill registers for it.
    #[inline(never)]
    fn load(&self, entry: &Entry<T>, in_flight: u32, room: Room) -> Option<u64> {
        if room == Room::BelowHard {
            return Some(0);
        }
        if self.avoided != Avoided::NOBODY && !self.is_elsewhere(entry) {
            return None;
        }
        let everybodys = || in_flight.saturating_add(entry.elsewhere());
        Some(match self.balancer.compared {
            Compared::Load => u64::from(everybodys()) + 1,
            Compared::Latency => {
                let cost = cost(entry.expected(self.now), self.unknown);
                costly_load(cost, everybodys())
            }
            Compared::Own => self.own_cost(entry),
        })
    }

    fn own_cost(&self, entry: &Entry<T>) -> u64 {
        let asked = Asked {
            client: self.client,
            now: self.now,
            entropy: self.entropy,
        };
        let own = self.balancer.policy.own.as_ref();
        own.map_or(0, |own| own.cost(&entry.target, &asked))
    }

    #[inline]
    fn rank(&mut self, member: u32, room: Room, luck: u64) -> Option<Rank> {
        self.watch.compared(member);
        let entry = self.entry(member);
        let in_flight = entry.in_flight();
        let load = if self.by_load_alone {
            Some(u64::from(in_flight.saturating_add(entry.elsewhere())) + 1)
        } else {
            self.load(entry, in_flight, room)
        };
        let rank = room.rank(entry, in_flight, load?, member, luck);
        self.full |= rank.is_none() && room == Room::BelowHard;
        rank
    }

    #[inline]
    fn entry(&self, member: u32) -> &'a Entry<T> {
        &self.balancer.entries[member as usize]
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
