//! What backends report of their load, and what becomes of it.
//!
//! A report is as old as the heartbeat that brought it, and every proxy gets it. Whoever followed it at once would send
//! everybody to whoever was idle then, and away again with the next one. So nothing follows it at once:
//!
//! - **Utilization** moves the weight, as what a backend gets is in proportion to it. Two reports in a row are compared
//!   with what those of its app and region report on average; what differs by more than [`Steering::SLACK`] is mended by
//!   three quarters, in steps; then two reports are passed over, since they tell of before. Averages are of logarithms, so
//!   that what some get more the others get less. What is left of the way between two steps is within the slack, so the
//!   same reports again and again come to an end of changes. Where those of a region have more than their weights all
//!   together, since somebody who had less has left, they step back together.
//! - **Requests in flight** that this proxy doesn't know of are somebody else's. They count where loads are compared, and
//!   half of the difference is believed with each report.

use std::collections::BTreeMap;

use edgeproxy_backend::{LoadFactor, Region};

/// What the utilization of one backend has made of its weight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Steering {
    /// The factor that is published.
    pub(crate) factor: LoadFactor,
    /// What the average counts it as, in [`UNIT`]; `None` if it isn't in it.
    counted: Option<i16>,
    /// How far it was off in the first of two reports, in [`UNIT`].
    first: Option<i16>,
    /// Reports to pass over.
    settling: u8,
}

/// Units in an octave.
const UNIT: f64 = 4_096.0;

impl Steering {
    pub(crate) const CLEAN: Self = Self {
        factor: LoadFactor::NONE,
        counted: None,
        first: None,
        settling: 0,
    };

    /// How far from the average is near enough, in octaves: three quarters of a step, which is more than a step can leave
    /// over, and enough for noise not to have the table made again and again.
    const SLACK: f64 = 0.75 / 4.0;
    /// How much of the difference is mended at once.
    const GAIN: f64 = 0.75;
    /// One step of a factor, in octaves.
    const STEP: f64 = 0.25;
    /// Reports that may still tell of before a change.
    const LATE: u8 = 2;

    /// What a utilization counts as. Below a tenth nobody is busy, and ratios say nothing.
    fn weighed(permille: u16) -> i16 {
        let octaves = f64::from(permille.clamp(100, 1_000)).log2();
        // At most ten.
        #[allow(clippy::cast_possible_truncation)]
        let units = ((octaves - LEAST_OCTAVES) * UNIT).round() as i16;
        units
    }

    /// A report was so far off the average, in units. `common` is what the factors of its region are on average, in steps.
    fn steer(&mut self, off: i16, common: i64) {
        if self.settling > 0 {
            self.settling -= 1;
            return;
        }
        let Some(first) = self.first.take() else {
            self.first = Some(off);
            return;
        };
        let octaves = (f64::from(first) + f64::from(off)) / 2.0 / UNIT;
        let before = self.factor;
        let steps = if octaves.abs() > Self::SLACK {
            let steps = (octaves * Self::GAIN / Self::STEP).round();
            // One at least, or else what is a little more than the slack would never be mended.
            steps.abs().max(1.0).copysign(octaves)
        } else {
            match (common.signum(), before.steps()) {
                (1, 1..) => -1.0,
                (-1, ..=-1) => 1.0,
                _ => return,
            }
        };
        self.factor = LoadFactor::of_octaves(before.octaves() + steps * Self::STEP);
        if self.factor != before {
            self.settling = Self::LATE;
        }
    }

    /// A heartbeat has come that says nothing: a step back to its own weight.
    fn wear_off(&mut self) {
        self.first = None;
        self.settling = 0;
        let octaves = self.factor.octaves();
        let step = Self::STEP.min(octaves.abs());
        self.factor = LoadFactor::of_octaves(octaves - step.copysign(octaves));
    }
}

/// The logarithm of the least utilization that counts, 100 permille.
const LEAST_OCTAVES: f64 = 6.643_856_189_774_724;

/// The utilization of an app's members, by region: clients near to one say nothing of the others.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Loads(BTreeMap<Region, Sum>);

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Sum {
    members: u32,
    units: i64,
    /// Of all factors together.
    steps: i64,
}

impl Sum {
    fn add(&mut self, counted: i16, factor: LoadFactor) {
        self.members += 1;
        self.units += i64::from(counted);
        self.steps += i64::from(factor.steps());
    }
}

impl Loads {
    /// Takes in what one reports with a heartbeat. `utilization` is in permille, and `None` if it reports none, or gets
    /// no requests that could tell anything.
    pub(crate) fn report(&mut self, region: Region, steering: &mut Steering, utilization: Option<u16>) {
        self.forget(region, steering);
        let Some(utilization) = utilization else {
            steering.wear_off();
            return;
        };
        let counted = Steering::weighed(utilization);
        let sum = self.0.entry(region).or_default();
        // One alone is the average.
        let members = i64::from(sum.members) + 1;
        let average = (sum.units + i64::from(counted)) / members;
        let common = (sum.steps + i64::from(steering.factor.steps())) / members;
        steering.steer(i16::try_from(average - i64::from(counted)).unwrap_or(0), common);
        steering.counted = Some(counted);
        sum.add(counted, steering.factor);
    }

    /// Takes one out of the average. Its factor stays as it is.
    pub(crate) fn forget(&mut self, region: Region, steering: &mut Steering) {
        let Some(counted) = steering.counted.take() else {
            return;
        };
        if let Some(sum) = self.0.get_mut(&region) {
            sum.members -= 1;
            sum.units -= i64::from(counted);
            sum.steps -= i64::from(steering.factor.steps());
            if sum.members == 0 {
                self.0.remove(&region);
            }
        }
    }

    /// What these would come to, for an audit.
    pub(crate) fn of(members: impl Iterator<Item = (Region, Steering)>) -> Self {
        let mut loads = Self::default();
        for (region, steering) in members {
            if let Some(counted) = steering.counted {
                loads.0.entry(region).or_default().add(counted, steering.factor);
            }
        }
        loads
    }
}

/// What a backend is now taken to have in flight for others: half of the way from what it was to what it is by its
/// report, of which `own` are this proxy's.
pub(crate) const fn elsewhere(before: u32, reported: Option<u32>, own: u32) -> u32 {
    let told = match reported {
        Some(reported) => reported.saturating_sub(own),
        None => 0,
    };
    // Rounded towards what was told, so that it gets there.
    if told > before {
        before + (told - before).div_ceil(2)
    } else {
        before - (before - told).div_ceil(2)
    }
}

#[cfg(test)]
mod tests;
