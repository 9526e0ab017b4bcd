use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Gate, Meter, Signal, TrafficReport};
use crate::{Endpoint, MonoTime};

/// One request under way on an endpoint. It counts until it is dropped, so it can't leak; tell it the
/// outcome before. Dropped without one, as when the client went away, it counts for neither side.
#[must_use = "dropping it ends the request"]
pub struct InFlight {
    endpoint: Arc<Endpoint>,
    epoch: u32,
    trial: bool,
}

impl InFlight {
    pub(crate) const fn new(endpoint: Arc<Endpoint>, epoch: u32, trial: bool) -> Self {
        Self {
            endpoint,
            epoch,
            trial,
        }
    }

    /// The endpoint that it is under way on.
    #[must_use]
    pub const fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    fn meter(&self) -> &Meter {
        &self.endpoint.meter
    }

    /// Whether it is the one request of a trial.
    #[must_use]
    pub const fn is_trial(&self) -> bool {
        self.trial
    }

    /// A response arrived at `now`, `latency` after the request was sent. Ends the streak of failures. The
    /// common case, no streak to end, costs one relaxed load besides the counters and averages.
    ///
    /// All times that one meter is told must be of one clock, give or take what workers read it apart.
    #[inline]
    pub fn succeeded(&self, latency: Duration, now: MonoTime) -> Option<Signal> {
        self.meter().record_latency(latency, now);
        if self.meter().word().is_clean(self.epoch) {
            return None;
        }
        self.end_streak()
    }

    #[cold]
    fn end_streak(&self) -> Option<Signal> {
        let mut word = self.meter().word();
        loop {
            if word.epoch() != self.epoch {
                return None;
            }
            match word.gate() {
                Gate::Open if word.streak() > 0 => match self.meter().swap(word, word.with_streak(0)) {
                    Ok(()) => return None,
                    Err(found) => word = found,
                },
                Gate::TrialBusy if self.trial => return Some(Signal::TrialPassed),
                _ => return None,
            }
        }
    }

    /// No response arrived up to `now`. After `max_failures` in a row (0: never), or on trial, the gate closes here
    /// and now.
    #[cold]
    pub fn failed(&self, max_failures: u32, now: MonoTime) -> Option<Signal> {
        self.meter().record_failure(now);
        let mut word = self.meter().word();
        loop {
            if word.epoch() != self.epoch {
                return None;
            }
            let streak = word.streak().saturating_add(1);
            let (next, signal) = match word.gate() {
                Gate::Open if max_failures != 0 && streak >= max_failures => (
                    word.next_epoch().with_gate(Gate::Excluded),
                    Some(Signal::StreakReached),
                ),
                Gate::Open => (word, None),
                Gate::TrialBusy if self.trial => (
                    word.next_epoch().with_gate(Gate::Excluded),
                    Some(Signal::TrialFailed),
                ),
                _ => return None,
            };
            match self.meter().swap(word, next.with_streak(streak)) {
                Ok(()) => return signal,
                Err(found) => word = found,
            }
        }
    }

    /// Wraps a signal of this request for its way to the registry.
    #[must_use]
    pub fn report(&self, signal: Signal) -> TrafficReport {
        let epoch = match signal {
            Signal::TrialPassed => self.epoch,
            Signal::StreakReached | Signal::TrialFailed => self.epoch.wrapping_add(1),
        };
        TrafficReport {
            id: self.endpoint.id.clone(),
            incarnation: self.endpoint.incarnation,
            signal,
            epoch,
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.trial {
            self.meter().end_trial(self.epoch);
        }
        self.meter().leave();
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight")
            .field("epoch", &self.epoch)
            .field("trial", &self.trial)
            .finish()
    }
}
