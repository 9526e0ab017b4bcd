use edgeproxy_backend::Limits;

/// This registry's part of what backends take, where several send them requests.
///
/// ```
/// use edgeproxy_registry::Share;
///
/// // Ten for three: together they never make more.
/// let parts = [0, 1, 2].map(|rank| Share::new(rank, 3).part(10));
/// assert_eq!(parts, [4, 3, 3]);
/// // But each gets one, and no limit stays none.
/// assert_eq!(Share::new(2, 3).part(1), 1);
/// assert_eq!(Share::new(2, 3).part(0), 0);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    rank: u32,
    of: u32,
}

impl Share {
    /// All of it.
    pub const WHOLE: Self = Self { rank: 0, of: 1 };

    /// The part of number `rank`, from 0, of `of` in all. One of none is all of it, and a rank beyond the last is the last.
    #[must_use]
    pub fn new(rank: u32, of: u32) -> Self {
        let of = of.max(1);
        Self {
            rank: rank.min(of - 1),
            of,
        }
    }

    /// The part of a limit: what is left over goes to those with the lowest ranks, and each has one at the least. 0 is no
    /// limit.
    #[must_use]
    pub const fn part(self, limit: u32) -> u32 {
        let part = limit / self.of + if self.rank < limit % self.of { 1 } else { 0 };
        if part == 0 && limit > 0 { 1 } else { part }
    }

    /// A soft limit stays at or below its hard one, as larger limits have larger parts.
    pub(crate) fn of_limits(self, limits: Limits) -> Limits {
        Limits::new(self.part(limits.soft()), self.part(limits.hard())).unwrap_or(limits)
    }
}

impl Default for Share {
    fn default() -> Self {
        Self::WHOLE
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_add_up_to_the_limit_unless_each_needs_one_and_keep_their_order(
            hard in 0_u32..200, soft in 0_u32..200, of in 1_u32..12,
        ) {
            let parts = |limit| (0..of).map(move |rank| Share::new(rank, of).part(limit));
            let sum: u32 = parts(hard).sum();
            prop_assert_eq!(sum, if hard == 0 { 0 } else { hard.max(of) });
            if hard == 0 || soft <= hard {
                for rank in 0..of {
                    let share = Share::new(rank, of);
                    let limits = share.of_limits(Limits::new(soft, hard).unwrap());
                    prop_assert_eq!((limits.soft(), limits.hard()), (share.part(soft), share.part(hard)));
                }
            }
        }
    }
}
