//! Whose the key is.

use super::{Decision, Watch};
use crate::group::Group;
use crate::rank::{Draw, drawn, mixed};
use crate::slots::Slots;
use crate::{Claim, Client, Target};

/// So many owners of a key are asked one after the other. With 5/4 of the mean for each, at most four of five are
/// full, and so all of these in one of 1,262 picks at the worst.
const PROBES: u32 = 32;

/// A member may have 5/4 of its share of the requests in flight.
const BOUND: (u128, u128) = (5, 4);

impl<T, L, W, F> Decision<'_, T, W, F>
where
    T: Target,
    W: Watch,
    F: FnMut(u32, &T) -> Claim<L>,
{
    /// The owner of the key; if it has more than its share, the key's second owner, and so on.
    ///
    /// V. Mirrokni, M. Thorup and M. Zadimoghaddam, "Consistent hashing with bounded loads", SODA 2018. The next
    /// one comes from hashing again and not from a walk to the neighbour, so that an overload is spread over
    /// everyone: J. Chen, B. Coleman and A. Shrivastava, "Revisiting consistent hashing with bounded loads",
    /// AAAI 2021.
    #[inline(never)]
    pub(super) fn by_key(&mut self, group: &Group, slots: &Slots) -> Option<L> {
        let mut probe = first_probe(self.client, self.entropy);
        let (mut total, mut refused) = (None, None);
        for _ in 0..PROBES {
            let place = slots.at(probe);
            probe = mixed(probe);
            if refused == Some(place) {
                continue;
            }
            let member = group.members[place as usize];
            self.watch.compared(member);
            let entry = self.entry(member);
            let in_flight = entry.in_flight();
            self.watch.note(&group.tally, place, in_flight);
            if !self.is_below_soft(entry, in_flight) {
                continue;
            }
            if in_flight > 0 {
                let total = *total.get_or_insert_with(|| self.total(group));
                // Less than it is known to have itself would be out of date.
                let total = u128::from(total.max(u64::from(in_flight))) + 1;
                let (over, under) = BOUND;
                if u128::from(in_flight) * under * u128::from(group.weights)
                    >= over * total * u128::from(entry.share)
                {
                    continue;
                }
            }
            if let Some(granted) = self.offer(member) {
                return Some(granted);
            }
            refused = Some(place);
        }
        self.least_of_many(group)
    }
}

/// Where a client's key begins; without one, anywhere.
#[inline]
fn first_probe(client: &Client, entropy: u64) -> u64 {
    match client.key {
        Some(key) => mixed(key.bits()),
        None => drawn(entropy, Draw::Key, 0),
    }
}

/// Which owner of the key a member is, by its place in the group: 0 the first. `None` if it is none that is
/// asked.
pub(crate) fn place_of(place: u32, slots: &Slots, client: &Client, entropy: u64) -> Option<u32> {
    let mut probe = first_probe(client, entropy);
    (0..PROBES).find(|_| {
        let owner = slots.at(probe);
        probe = mixed(probe);
        owner == place
    })
}
