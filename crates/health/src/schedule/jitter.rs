use std::time::Duration;

/// A stream of delays that is the same for the same seed: SplitMix64 (Steele, Lea and Flood, "Fast
/// splittable pseudorandom number generators", OOPSLA 2014). Eight bytes of state and every seed is good,
/// which is all that spreading probes asks for.
#[derive(Debug)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// `duration`, give or take up to a tenth.
    pub(super) fn around(&mut self, duration: Duration) -> Duration {
        let tenth = duration / 10;
        duration - tenth + self.below(tenth * 2 + Duration::from_micros(1))
    }

    /// Less than `bound`, in whole microseconds.
    pub(super) fn below(&mut self, bound: Duration) -> Duration {
        let bound = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX).max(1);
        // The bias towards low values is below 2^-32 for any bound up to an hour.
        Duration::from_micros(self.next() % bound)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
