//! Consecutive failed requests.

use std::time::Duration;

use crate::AppPolicy;
use crate::clock::Active;

/// The traffic ledger of one backend.
///
/// `ejections` counts ejections in a row and lengthens the next one. It goes down by one for every
/// `ejection_max` of health, which is to say of [`Standing::Well`] while the probes don't object; failed
/// probes begin the current step anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Traffic {
    standing: Standing,
    ejections: u8,
    healthy_since: Active,
}

/// What the traffic ledger says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// Nothing against it.
    Well,
    /// Out until then, after so many failures in a row.
    Ejected { until: Active, streak: u32 },
    /// One request at a time.
    Trial,
}

/// 2^31 times any base is beyond every sensible `ejection_max`.
const MAX_DOUBLINGS: u8 = 31;

impl Traffic {
    pub(crate) const CLEAN: Self = Self {
        standing: Standing::Well,
        ejections: 0,
        healthy_since: Active::ZERO,
    };

    pub(crate) const fn standing(&self) -> Standing {
        self.standing
    }

    /// When an ejection ends.
    pub(crate) const fn ends(&self) -> Option<Active> {
        match self.standing {
            Standing::Ejected { until, .. } => Some(until),
            Standing::Well | Standing::Trial => None,
        }
    }

    /// Puts it out for `min(base × 2^n, max)`, which `jitter` spreads, given n.
    pub(crate) fn eject(
        &mut self,
        streak: u32,
        policy: &AppPolicy,
        jitter: impl FnOnce(Duration, u8) -> Duration,
        now: Active,
    ) {
        self.fold_decay(policy, now);
        let length = policy
            .ejection_base
            .saturating_mul(1 << self.ejections.min(MAX_DOUBLINGS))
            .min(policy.ejection_max);
        let length = jitter(length, self.ejections);
        self.ejections = self.ejections.saturating_add(1);
        self.standing = Standing::Ejected {
            until: now + length,
            streak,
        };
    }

    /// From an ejection to its trial; anything else stays as it is.
    pub(crate) fn begin_trial(&mut self) {
        if let Standing::Ejected { .. } = self.standing {
            self.standing = Standing::Trial;
        }
    }

    /// All is well again. The number of ejections in a row stays, and decays from now on.
    pub(crate) fn readmit(&mut self, now: Active) {
        self.standing = Standing::Well;
        self.healthy_since = now;
    }

    /// The probes took it out: no decay until they let it back.
    pub(crate) fn halt_decay(&mut self, policy: &AppPolicy, now: Active) {
        self.fold_decay(policy, now);
        self.healthy_since = Active::NEVER;
    }

    /// The probes let it back.
    pub(crate) fn resume_decay(&mut self, now: Active) {
        self.healthy_since = now;
    }

    /// Whether there is nothing to remember. Not before the last ejection has decayed.
    pub(crate) fn is_clean(&self, policy: &AppPolicy, now: Active) -> bool {
        self.standing == Standing::Well && self.ejections_left(policy, now) == 0
    }

    fn fold_decay(&mut self, policy: &AppPolicy, now: Active) {
        self.ejections = self.ejections_left(policy, now);
    }

    fn ejections_left(&self, policy: &AppPolicy, now: Active) -> u8 {
        if self.standing != Standing::Well {
            return self.ejections;
        }
        let healthy = now.since(self.healthy_since);
        let step = policy.ejection_max.max(Duration::from_micros(1));
        let steps = healthy.as_micros() / step.as_micros();
        self.ejections
            .saturating_sub(u8::try_from(steps).unwrap_or(u8::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Active {
        Active::ZERO + Duration::from_secs(secs)
    }

    fn exact(length: Duration, _: u8) -> Duration {
        length
    }

    fn length(traffic: &Traffic, now: Active) -> u64 {
        traffic.ends().unwrap().since(now).as_secs()
    }

    #[test]
    fn each_ejection_in_a_row_doubles_until_the_maximum() {
        let (policy, mut traffic) = (AppPolicy::default(), Traffic::CLEAN);
        for expected in [30, 60, 120, 240, 300] {
            traffic.eject(5, &policy, exact, at(0));
            assert_eq!(length(&traffic, at(0)), expected);
            traffic.begin_trial();
        }
        for _ in 0..300 {
            traffic.eject(5, &policy, exact, at(0));
            assert_eq!(length(&traffic, at(0)), 300);
        }
    }

    #[test]
    fn health_takes_one_ejection_back_for_each_ejection_max() {
        let (policy, mut traffic) = (AppPolicy::default(), Traffic::CLEAN);
        for _ in 0..3 {
            traffic.eject(5, &policy, exact, at(0));
        }
        traffic.readmit(at(1_000));
        assert!(!traffic.is_clean(&policy, at(1_899)));
        assert!(traffic.is_clean(&policy, at(1_900)));
        traffic.eject(5, &policy, exact, at(1_600)); // 3 - 2
        assert_eq!(length(&traffic, at(1_600)), 60);
    }

    #[test]
    fn failed_probes_are_no_health() {
        let (policy, mut traffic) = (AppPolicy::default(), Traffic::CLEAN);
        traffic.eject(5, &policy, exact, at(0));
        traffic.readmit(at(0));
        traffic.halt_decay(&policy, at(299));
        assert!(!traffic.is_clean(&policy, at(10_000)));
        traffic.resume_decay(at(10_000));
        assert!(!traffic.is_clean(&policy, at(10_299)));
        assert!(traffic.is_clean(&policy, at(10_300)));
    }
}
