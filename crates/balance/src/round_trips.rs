//! How far the other regions are.

use std::collections::BTreeMap;
use std::time::Duration;

use edgeproxy_backend::Region;

/// Round-trip times to regions, configured or measured, and the order that they make for tier 3.
///
/// A configured time holds whatever is measured. A measured one is a moving average of which the newest sample
/// is an eighth, as TCP smooths its own (RFC 6298, section 2). Regions change places only when the nearer one
/// is nearer by more than a tenth, so that traffic doesn't swing between two that are equally far.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RoundTrips {
    configured: BTreeMap<Region, Duration>,
    measured: BTreeMap<Region, Duration>,
    order: Vec<Region>,
}

/// Measured regions remembered, at most; who asks for more is not told apart.
const MEASURED_MAX: usize = 256;

impl RoundTrips {
    /// With the times that the configuration has.
    pub fn new(configured: impl IntoIterator<Item = (Region, Duration)>) -> Self {
        let mut round_trips = Self {
            configured: configured.into_iter().collect(),
            ..Self::default()
        };
        round_trips.arrange();
        round_trips
    }

    /// Goes by other configured times; what was measured stays. Says whether the order has changed.
    pub fn configure(&mut self, configured: impl IntoIterator<Item = (Region, Duration)>) -> bool {
        let before = self.order.clone();
        self.configured = configured.into_iter().collect();
        let (configured, measured) = (&self.configured, &self.measured);
        self.order
            .retain(|region| configured.contains_key(region) || measured.contains_key(region));
        self.arrange();
        self.order != before
    }

    /// Takes a measurement into account. Says whether the order has changed, and with it the policy.
    pub fn measured(&mut self, region: Region, round_trip: Duration) -> bool {
        if !self.measured.contains_key(&region) && self.measured.len() >= MEASURED_MAX {
            return false;
        }
        self.measured
            .entry(region)
            .and_modify(|average| *average = *average - *average / 8 + round_trip / 8)
            .or_insert(round_trip);
        self.arrange()
    }

    /// The time to a region that counts.
    #[must_use]
    pub fn of(&self, region: Region) -> Option<Duration> {
        self.configured
            .get(&region)
            .or_else(|| self.measured.get(&region))
            .copied()
    }

    /// All regions whose time is known, nearest first, for
    /// [`Policy::region_order`](crate::Policy::region_order).
    #[must_use]
    pub fn nearest_first(&self) -> &[Region] {
        &self.order
    }

    fn arrange(&mut self) -> bool {
        let time = |region: &Region| self.of(*region).unwrap_or(Duration::MAX);
        let mut order: Vec<Region> = Vec::with_capacity(self.order.len() + 1);
        let new = self.configured.keys().chain(self.measured.keys());
        // The ones already in order come as they are; each is put before those that are farther by enough.
        let listed = self
            .order
            .iter()
            .chain(new.filter(|region| !self.order.contains(region)));
        for region in listed {
            if order.contains(region) {
                continue;
            }
            let known = self.order.contains(region);
            let nearer = |other: &Region| {
                let (mine, theirs) = (time(region), time(other));
                if known {
                    mine < theirs - theirs / 10
                } else {
                    mine < theirs
                }
            };
            let behind = order.iter().rposition(|other| !nearer(other));
            order.insert(behind.map_or(0, |at| at + 1), *region);
        }
        let changed = order != self.order;
        self.order = order;
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(name: &str) -> Region {
        Region::parse(name).unwrap()
    }

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn names(round_trips: &RoundTrips) -> Vec<&str> {
        round_trips.nearest_first().iter().map(Region::as_str).collect()
    }

    #[test]
    fn tier_3_is_ordered_by_configured_round_trip_time() {
        let times = [("ap", 250), ("us", 90), ("sa", 180)].map(|(name, time)| (region(name), ms(time)));
        assert_eq!(names(&RoundTrips::new(times)), ["us", "sa", "ap"]);
    }

    #[test]
    fn or_by_the_measured_one_where_none_is_configured() {
        let mut round_trips = RoundTrips::new([(region("us"), ms(90))]);
        assert!(round_trips.measured(region("ap"), ms(80)));
        assert!(round_trips.measured(region("sa"), ms(85)));
        assert_eq!(names(&round_trips), ["ap", "sa", "us"]);
        // What is configured holds.
        assert!(!round_trips.measured(region("us"), ms(1)));
        assert_eq!(round_trips.of(region("us")), Some(ms(90)));
        assert_eq!(round_trips.of(region("af")), None);
    }

    #[test]
    fn regions_that_are_nearly_equally_far_keep_their_places() {
        let mut round_trips = RoundTrips::default();
        round_trips.measured(region("us"), ms(100));
        round_trips.measured(region("eu"), ms(104));
        for jitter in [96, 108, 92, 104, 95, 107] {
            assert!(!round_trips.measured(region("eu"), ms(jitter)), "{jitter}");
        }
        let changes = (0..50)
            .filter(|_| round_trips.measured(region("eu"), ms(60)))
            .count();
        assert_eq!((changes, names(&round_trips)), (1, vec!["eu", "us"]));
    }

    #[test]
    fn one_measurement_moves_an_average_by_an_eighth() {
        let mut round_trips = RoundTrips::default();
        round_trips.measured(region("us"), ms(80));
        round_trips.measured(region("us"), ms(160));
        assert_eq!(round_trips.of(region("us")), Some(ms(90)));
    }

    #[test]
    fn other_configured_times_take_the_place_of_those_before_and_leave_what_was_measured() {
        let mut round_trips = RoundTrips::new([(region("us"), ms(90)), (region("ap"), ms(20))]);
        round_trips.measured(region("sa"), ms(50));
        round_trips.measured(region("us"), ms(30));
        assert_eq!(names(&round_trips), ["ap", "sa", "us"]);
        assert!(round_trips.configure([(region("sa"), ms(10))]));
        assert_eq!(names(&round_trips), ["sa", "us"]);
        assert!(!round_trips.configure([(region("sa"), ms(10))]));
    }

    #[test]
    fn what_is_remembered_has_a_limit() {
        let mut round_trips = RoundTrips::default();
        for number in 0..2_000 {
            round_trips.measured(region(&format!("r{number}")), ms(number));
        }
        assert_eq!(round_trips.nearest_first().len(), MEASURED_MAX);
    }
}
