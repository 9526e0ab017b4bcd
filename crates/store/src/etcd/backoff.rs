use std::time::Duration;

/// Pauses between attempts: each up to twice as long as the one before, by lot, so that proxies that lost the same
/// member together don't come back together.
#[derive(Debug)]
pub(super) struct Backoff {
    random: fastrand::Rng,
    ceiling: Duration,
}

const FIRST: Duration = Duration::from_millis(25);
const LONGEST: Duration = Duration::from_secs(1);

impl Backoff {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            ceiling: FIRST,
        }
    }

    /// The next pause: between half of the ceiling and all of it ("equal jitter"), so that nobody hurries.
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.ceiling.mul_f64(0.5 + self.random.f64() / 2.0);
        self.ceiling = (self.ceiling * 2).min(LONGEST);
        pause
    }

    /// It has worked.
    pub(super) fn reset(&mut self) {
        self.ceiling = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_ceiling_and_differ_by_seed() {
        let pauses = |seed| {
            let mut backoff = Backoff::new(seed);
            std::iter::repeat_with(|| backoff.next())
                .take(12)
                .collect::<Vec<_>>()
        };
        for (at, pause) in pauses(1).into_iter().enumerate() {
            let ceiling = (FIRST * 2_u32.pow(u32::try_from(at).unwrap())).min(LONGEST);
            assert!(pause >= ceiling / 2 && pause <= ceiling, "{at}: {pause:?}");
        }
        assert_ne!(pauses(1), pauses(2));
        let mut backoff = Backoff::new(1);
        let _ = (backoff.next(), backoff.next());
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
