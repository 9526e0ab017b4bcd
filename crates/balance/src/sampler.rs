use crate::rank::below;

/// Draws a member at random, in proportion to weight, at the cost of one look: every slot is as likely as
/// the others and holds one member, and what that one doesn't fill belongs to a second.
///
/// A. J. Walker, "An efficient method for generating discrete random variables with general distributions",
/// ACM TOMS 3 (1977), built as by M. Vose, IEEE TSE 17 (1991): in time linear in the members, so that it can
/// be made anew with every table.
#[derive(Debug)]
pub(crate) struct Sampler {
    slots: Box<[Slot]>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The part of the slot that is its own member's, of 2³².
    own: u32,
    other: u32,
}

const WHOLE: u64 = 1 << 32;

impl Sampler {
    /// A sampler over members of these weights, none of them 0.
    pub(crate) fn new(weights: &[u16]) -> Self {
        let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        let members = weights.len() as u64;
        // What each has to place, in units of which every slot holds `total`.
        let mut left: Vec<u64> = weights
            .iter()
            .map(|weight| u64::from(*weight) * members)
            .collect();
        let (mut light, mut heavy) = (Vec::new(), Vec::new());
        for (member, left) in (0_u32..).zip(&left) {
            if *left < total {
                light.push(member);
            } else {
                heavy.push(member);
            }
        }
        let mut slots: Vec<Slot> = (0..)
            .zip(weights)
            .map(|(member, _)| Slot {
                own: u32::MAX,
                other: member,
            })
            .collect();
        while let (Some(&filler), Some(lighter)) = (heavy.last(), light.pop()) {
            let (at, filler_at) = (lighter as usize, filler as usize);
            let own = u128::from(left[at]) * u128::from(WHOLE) / u128::from(total);
            slots[at] = Slot {
                own: u32::try_from(own).unwrap_or(u32::MAX),
                other: filler,
            };
            left[filler_at] -= total - left[at];
            if left[filler_at] < total {
                heavy.pop();
                light.push(filler);
            }
        }
        Self { slots: slots.into() }
    }

    /// The member that 64 random bits stand for.
    #[inline]
    // The halves of 64 bits, and a number of members, which are counted by u32.
    #[allow(clippy::cast_possible_truncation)]
    pub(crate) fn draw(&self, random: u64) -> u32 {
        let place = below(self.slots.len() as u32, (random >> 32) as u32);
        let slot = self.slots[place as usize];
        if (random as u32) < slot.own {
            place
        } else {
            slot.other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_all_slots_add_up_to_the_weights() {
        let mut random = fastrand::Rng::with_seed(5);
        for members in [1, 2, 3, 17, 500] {
            let weights: Vec<u16> = (0..members).map(|_| random.u16(1..=u16::MAX)).collect();
            let sampler = Sampler::new(&weights);
            let mut parts = vec![0.0; members];
            for (member, slot) in sampler.slots.iter().enumerate() {
                let own = f64::from(slot.own) / WHOLE as f64;
                parts[member] += own;
                parts[slot.other as usize] += 1.0 - own;
            }
            let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            for (part, weight) in parts.iter().zip(&weights) {
                assert!((part / members as f64 - f64::from(*weight) / total).abs() < 1e-8);
            }
        }
    }
}
