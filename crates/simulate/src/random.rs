/// A stream of random numbers: xoshiro256++ (D. Blackman and S. Vigna, ACM TOMS 47, 2021), seeded by SplitMix64 as its
/// authors advise. Written out here, so that a seed means the same fleet in every version.
#[derive(Clone, Debug)]
pub(crate) struct Random([u64; 4]);

impl Random {
    /// The stream of that number. Those of a seed are independent of each other, so that a change of one part of a fleet
    /// leaves what the others draw as it is.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut state = seed ^ stream.wrapping_mul(0xd134_2543_de82_ef95);
        Self(std::array::from_fn(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }))
    }

    pub(crate) fn bits(&mut self) -> u64 {
        let Self([a, b, c, d]) = self;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// Evenly from 0 up to, and without, 1.
    pub(crate) fn unit(&mut self) -> f64 {
        // 53 bits, which a float holds exactly.
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Exponentially distributed with a mean of 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    /// Normally distributed with a mean of 0 and a deviation of 1 (G. Box and M. Muller, 1958).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (2.0 * self.exponential()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// One of `count`.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        let product = u128::from(self.bits()) * count as u128;
        // Less than `count`.
        usize::try_from(product >> 64).unwrap_or(0)
    }

    /// True so many times of 100,000.
    pub(crate) fn per_100k(&mut self, share: u32) -> bool {
        share > 0 && self.below(100_000) < share as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_numbers_in_every_version() {
        let mut random = Random::new(1, 2);
        let drawn: Vec<u64> = (0..3).map(|_| random.bits()).collect();
        assert_eq!(
            drawn,
            [
                6_144_454_253_271_056_774,
                2_748_275_668_371_798_451,
                6_758_506_790_529_015_382
            ]
        );
    }

    #[test]
    fn the_means_and_deviations_are_as_they_should_be() {
        let mut random = Random::new(7, 0);
        let n = 200_000;
        let mean = |draw: &mut dyn FnMut() -> f64| (0..n).map(|_| draw()).sum::<f64>() / f64::from(n);
        assert!((mean(&mut || random.unit()) - 0.5).abs() < 0.01);
        assert!((mean(&mut || random.exponential()) - 1.0).abs() < 0.02);
        assert!(mean(&mut || random.normal()).abs() < 0.02);
        assert!((mean(&mut || random.normal().powi(2)) - 1.0).abs() < 0.02);
        assert!((mean(&mut || if random.per_100k(5_000) { 1.0 } else { 0.0 }) - 0.05).abs() < 0.005);
    }
}
