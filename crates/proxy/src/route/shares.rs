//! How a route's requests are shared among its apps.

/// Things with shares, above 0 in sum.
#[derive(Debug)]
pub(super) enum Shares<T> {
    /// One gets everything, without a die.
    One(T),
    /// Each up to a number of `total`, the last one up to all of it.
    Many { total: u64, up_to: Box<[(u64, T)]> },
}

impl<T: Copy> Shares<T> {
    /// `None`: nobody has a share.
    pub(super) fn new(shares: impl IntoIterator<Item = (T, u32)>) -> Option<Self> {
        let mut total = 0;
        let mut up_to = Vec::new();
        for (of, share) in shares {
            if share > 0 {
                total += u64::from(share);
                up_to.push((total, of));
            }
        }
        match up_to.as_slice() {
            [] => None,
            [(_, only)] => Some(Self::One(*only)),
            _ => Some(Self::Many {
                total,
                up_to: up_to.into(),
            }),
        }
    }

    /// Whose turn it is; `random` gives 64 bits a call.
    pub(super) fn draw(&self, mut random: impl FnMut() -> u64) -> Option<T> {
        match self {
            Self::One(only) => Some(*only),
            Self::Many { total, up_to } => {
                // Lemire's reduction to a range; what it favours somebody by is below one in 2^30, for the most shares
                // that there can be.
                let drawn = (u128::from(random()) * u128::from(*total)) >> 64;
                let at = up_to.partition_point(|(up_to, _)| u128::from(*up_to) <= drawn);
                up_to.get(at).map(|(_, of)| *of)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gets_its_share_and_those_without_get_nothing() {
        let shares = Shares::new([('a', 90), ('b', 0), ('c', 10)]).unwrap();
        // Every hundredth of the range once.
        let drawn: Vec<char> = (0..100)
            .map(|part| shares.draw(|| u64::MAX / 100 * part + 1_000).unwrap())
            .collect();
        assert_eq!(drawn.iter().filter(|of| **of == 'a').count(), 90);
        assert_eq!(drawn.iter().filter(|of| **of == 'c').count(), 10);
        assert_eq!(shares.draw(|| 0), Some('a'));
        assert_eq!(shares.draw(|| u64::MAX), Some('c'));
    }

    #[test]
    fn the_only_one_needs_no_die_and_nobody_is_none() {
        let shares = Shares::new([('a', 0), ('b', 7)]).unwrap();
        assert_eq!(shares.draw(|| panic!("no die")), Some('b'));
        assert!(Shares::new([('a', 0)]).is_none());
    }
}
