//! Consecutive health checks.

use crate::{AppPolicy, Pace};

/// The probe ledger of one backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ProbeLedger {
    verdict: Verdict,
    /// Failed probes since the last one that counted as health.
    failed: u32,
    /// Passed probes in a row, while it is out.
    passed: u32,
}

/// What the probe ledger says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Nothing against it.
    Healthy,
    /// Not probed yet, and it must be.
    AwaitsFirst,
    /// Out.
    Unhealthy,
}

/// A probe that changed the verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Turn {
    /// To unhealthy.
    Out,
    /// To healthy.
    Back,
}

impl ProbeLedger {
    pub(crate) const CLEAN: Self = Self {
        verdict: Verdict::Healthy,
        failed: 0,
        passed: 0,
    };
    pub(crate) const AWAITS_FIRST: Self = Self {
        verdict: Verdict::AwaitsFirst,
        failed: 0,
        passed: 0,
    };

    pub(crate) const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Failed probes that speak against it.
    pub(crate) const fn failed(&self) -> u32 {
        self.failed
    }

    pub(crate) fn pass(&mut self, policy: &AppPolicy) -> Option<Turn> {
        match self.verdict {
            Verdict::Healthy => {
                *self = Self::CLEAN;
                None
            }
            Verdict::AwaitsFirst => {
                *self = Self::CLEAN;
                Some(Turn::Back)
            }
            Verdict::Unhealthy => {
                self.passed = self.passed.saturating_add(1);
                if self.passed < policy.rise {
                    return None;
                }
                *self = Self::CLEAN;
                Some(Turn::Back)
            }
        }
    }

    pub(crate) fn fail(&mut self, policy: &AppPolicy) -> Option<Turn> {
        self.failed = self.failed.saturating_add(1);
        self.passed = 0;
        if self.verdict == Verdict::Unhealthy || self.failed < policy.fall_in_force() {
            return None;
        }
        self.verdict = Verdict::Unhealthy;
        Some(Turn::Out)
    }

    /// Whether a streak has begun that hasn't decided yet.
    pub(crate) const fn pace(&self) -> Pace {
        let undecided = match self.verdict {
            Verdict::Healthy | Verdict::AwaitsFirst => self.failed > 0,
            Verdict::Unhealthy => self.passed > 0,
        };
        if undecided { Pace::Changing } else { Pace::Settled }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fall_failures_in_a_row_take_it_out_and_rise_passes_bring_it_back() {
        let policy = AppPolicy {
            fall: Some(3),
            rise: 2,
            ..AppPolicy::default()
        };
        let mut ledger = ProbeLedger::CLEAN;
        assert_eq!((ledger.fail(&policy), ledger.fail(&policy)), (None, None));
        assert_eq!(ledger.pace(), Pace::Changing);
        assert_eq!((ledger.pass(&policy), ledger.pace()), (None, Pace::Settled));
        let turns: Vec<_> = (0..4).map(|_| ledger.fail(&policy)).collect();
        assert_eq!(turns, [None, None, Some(Turn::Out), None]);
        assert_eq!((ledger.failed(), ledger.pace()), (4, Pace::Settled));
        assert_eq!((ledger.pass(&policy), ledger.pace()), (None, Pace::Changing));
        assert_eq!(
            (ledger.fail(&policy), ledger.pass(&policy)),
            (None, None),
            "the passes must be in a row"
        );
        assert_eq!(
            (ledger.pass(&policy), ledger),
            (Some(Turn::Back), ProbeLedger::CLEAN)
        );
    }

    #[test]
    fn the_first_probe_needs_no_second() {
        let policy = AppPolicy {
            rise: 5,
            fall: Some(1),
            ..AppPolicy::default()
        };
        let mut ledger = ProbeLedger::AWAITS_FIRST;
        assert_eq!(ledger.pass(&policy), Some(Turn::Back));
        let mut ledger = ProbeLedger::AWAITS_FIRST;
        assert_eq!(
            (ledger.fail(&policy), ledger.verdict()),
            (Some(Turn::Out), Verdict::Unhealthy)
        );
    }
}
