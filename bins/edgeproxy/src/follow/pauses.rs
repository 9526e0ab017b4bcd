//! How long to wait before a connection is tried again.

use std::time::Duration;

/// The pauses between attempts: each twice as long as the one before, up to 15 seconds, and none as long as that of
/// anybody else, so that not all come back at once after a restart.
#[derive(Debug)]
pub(crate) struct Pauses {
    /// Before the attempt that is due; nothing before the first.
    due: Duration,
    /// What the next one is made of.
    step: Duration,
}

const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(15);
/// What a server may ask for at the least.
const LEAST: Duration = Duration::from_millis(150);

impl Default for Pauses {
    fn default() -> Self {
        Self {
            due: Duration::ZERO,
            step: SHORTEST,
        }
    }
}

impl Pauses {
    /// How long to wait before the next attempt.
    pub(crate) const fn due(&self) -> Duration {
        self.due
    }

    /// An attempt has failed, or a connection is lost: the pause that follows. `random` is in [0, 1).
    pub(crate) fn next(&mut self, random: f64) -> Duration {
        self.due = self.step.mul_f64(0.75 + random / 2.0);
        self.step = (self.step * 2).min(LONGEST);
        self.due
    }

    /// Something was heard: it begins anew, with half of what the server wants (`retry`), which the doubling makes up for.
    pub(crate) fn heard(&mut self, retry: Option<Duration>) {
        self.step = retry.map_or(SHORTEST, |retry| (retry / 2).clamp(LEAST, LONGEST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_attempt_waits_for_nothing_and_each_that_fails_about_twice_as_long() {
        let mut pauses = Pauses::default();
        assert_eq!(pauses.due(), Duration::ZERO);
        let middle: Vec<_> = (0..7).map(|_| pauses.next(0.5).as_millis()).collect();
        assert_eq!(middle, [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
        assert_eq!(pauses.next(0.0), Duration::from_millis(11_250));
        assert!(pauses.next(0.999) < Duration::from_millis(18_750));
    }

    #[test]
    fn what_is_heard_begins_them_anew_and_a_server_may_say_how_long() {
        let mut pauses = Pauses::default();
        for _ in 0..9 {
            pauses.next(0.5);
        }
        pauses.heard(None);
        assert_eq!(pauses.next(0.5), SHORTEST);
        pauses.heard(Some(Duration::from_secs(2)));
        assert_eq!(pauses.next(0.5), Duration::from_secs(1));
        pauses.heard(Some(Duration::ZERO));
        assert_eq!(pauses.next(0.5), LEAST);
        pauses.heard(Some(Duration::MAX));
        assert_eq!(pauses.next(0.5), LONGEST);
    }
}
