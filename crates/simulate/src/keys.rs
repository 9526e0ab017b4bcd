use edgeproxy_balance::Key;

use crate::latency::rounded;
use crate::random::Random;

/// The clients of a stream of requests, as `hash` and stickiness know them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keys {
    /// How many there are; 1 to [`Keys::MAX`].
    pub count: usize,
    /// How unevenly they ask, in thousandths: client `n` asks `1 / n^exponent` times as often as the first (Zipf's law). 0
    /// is evenly; the keys of caches and shops have 600 to 1,100.
    pub zipf_permille: u16,
}

impl Keys {
    /// The most: 1,000,000.
    pub const MAX: usize = 1_000_000;
}

/// Draws clients.
#[derive(Debug)]
pub(crate) struct Drawer {
    /// Up to which of 2⁵³ each client's share goes; empty where all ask equally often.
    bounds: Box<[u64]>,
    count: usize,
    stream: u64,
}

impl Drawer {
    pub(crate) fn new(keys: Keys, stream: u64) -> Self {
        let exponent = f64::from(keys.zipf_permille) / 1_000.0;
        let mut bounds = Vec::new();
        if keys.zipf_permille > 0 {
            let share = |n: usize| (n as f64).powf(-exponent);
            let total: f64 = (1..=keys.count).map(share).sum();
            let mut sum = 0.0;
            bounds.extend((1..=keys.count).map(|n| {
                sum += share(n);
                rounded(sum / total * (1_u64 << 53) as f64)
            }));
        }
        Self {
            bounds: bounds.into(),
            count: keys.count.max(1),
            stream,
        }
    }

    pub(crate) fn draw(&self, random: &mut Random) -> Key {
        let number = if self.bounds.is_empty() {
            random.below(self.count)
        } else {
            let drawn = random.bits() >> 11;
            self.bounds.partition_point(|bound| *bound <= drawn)
        };
        let [stream, number] = [self.stream, number as u64].map(u64::to_le_bytes);
        Key::of(&[stream, number].concat())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn with_zipf_s_law_and_an_exponent_of_1_the_second_client_asks_half_as_often_as_the_first() {
        let drawer = Drawer::new(
            Keys {
                count: 100,
                zipf_permille: 1_000,
            },
            0,
        );
        let mut random = Random::new(5, 0);
        let mut counts: HashMap<Key, u32> = HashMap::new();
        for _ in 0..100_000 {
            *counts.entry(drawer.draw(&mut random)).or_default() += 1;
        }
        let mut counts: Vec<u32> = counts.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let ratio = f64::from(counts[0]) / f64::from(counts[1]);
        assert!((1.8..2.2).contains(&ratio), "{ratio}");
    }

    #[test]
    fn without_an_exponent_all_ask_equally_often() {
        let drawer = Drawer::new(
            Keys {
                count: 10,
                zipf_permille: 0,
            },
            0,
        );
        let mut random = Random::new(5, 0);
        let mut counts: HashMap<Key, u32> = HashMap::new();
        for _ in 0..10_000 {
            *counts.entry(drawer.draw(&mut random)).or_default() += 1;
        }
        assert_eq!(counts.len(), 10);
        assert!(
            counts.values().all(|count| (850..1_150).contains(count)),
            "{counts:?}"
        );
    }
}
