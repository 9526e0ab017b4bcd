use std::time::Duration;

use edgeproxy_balance::Grounds;
use edgeproxy_registry::{Event, EventKind, State};

use crate::fleet::{Fleet, micros};
use crate::proxy::Proxy;
use crate::report::{
    BackendMoment, BackendReport, Failure, Imbalance, Moment, Report, TierReport, Told, Totals, TrafficReport,
};
use crate::{Histogram, algorithm_text};

/// Looks at everything in each moment of the series.
const LOOKS: u64 = 8;
/// Moments of a series, about.
const MOMENTS: u32 = 120;

/// Counts.
pub(crate) struct Record {
    report: Report,
    moments: Vec<Histogram>,
    resolution: u64,
    looks: u64,
    /// What the latest look has found, by machine: in flight, for which weight, and in which state.
    seen: Vec<Seen>,
    imbalance: (f64, u64),
}

#[derive(Clone, Copy, Default)]
struct Seen {
    in_flight: u32,
    weight: u32,
    state: Option<State>,
}

impl Record {
    pub(crate) fn new(fleet: &Fleet) -> Self {
        let resolution = resolution(fleet.duration);
        let moments = micros(fleet.duration).div_ceil(micros(resolution));
        let moments = usize::try_from(moments).unwrap_or(usize::MAX);
        let backends = fleet.machines.iter().map(|machine| BackendReport {
            id: machine.backend.id.clone(),
            region: machine.backend.region,
            weight: machine.backend.weight.get(),
            attempts: 0,
            failed: 0,
            fair: 0.0,
            most_in_flight: 0,
            out: Duration::ZERO,
            series: vec![BackendMoment::default(); moments],
        });
        let traffic = fleet.traffic.iter().map(|traffic| TrafficReport {
            name: traffic.name.clone(),
            arrivals: 0,
            answered: 0,
            bad: 0,
            latency: Histogram::default(),
        });
        Self {
            report: Report {
                algorithm: algorithm_text(fleet.app.policy.algorithm),
                seed: fleet.seed,
                duration: fleet.duration,
                resolution,
                totals: Totals::default(),
                latency: Histogram::default(),
                series: vec![Moment::default(); moments],
                backends: backends.collect(),
                traffic: traffic.collect(),
                tiers: [TierReport::default(); 4],
                bound: 0,
                imbalance: Imbalance::default(),
                events: Vec::new(),
                events_left_out: 0,
            },
            moments: vec![Histogram::default(); moments],
            resolution: micros(resolution),
            looks: 0,
            seen: vec![Seen::default(); fleet.machines.len()],
            imbalance: (0.0, 0),
        }
    }

    /// The time between two looks.
    pub(crate) const fn look_every(&self) -> u64 {
        self.resolution / LOOKS
    }

    fn at(&self, now: u64) -> usize {
        let at = usize::try_from(now / self.resolution).unwrap_or(usize::MAX);
        at.min(self.report.series.len().saturating_sub(1))
    }

    fn moment(&mut self, now: u64) -> Option<&mut Moment> {
        let at = self.at(now);
        self.report.series.get_mut(at)
    }

    pub(crate) fn arrived(&mut self, source: usize, now: u64) {
        self.report.totals.arrivals += 1;
        if let Some(traffic) = self.report.traffic.get_mut(source) {
            traffic.arrivals += 1;
        }
        if let Some(moment) = self.moment(now) {
            moment.arrivals += 1;
        }
    }

    pub(crate) const fn queued(&mut self) {
        self.report.totals.queued += 1;
    }

    pub(crate) fn began(&mut self, machine: usize, grounds: Grounds, is_retry: bool, now: u64) {
        let at = self.at(now);
        let report = &mut self.report;
        report.totals.attempts += 1;
        report.totals.retries += u64::from(is_retry);
        let (tier, above) = match grounds {
            Grounds::Bound => {
                report.bound += 1;
                (None, false)
            }
            Grounds::BelowSoft { tier } => (Some(usize::from(tier)), false),
            Grounds::AboveSoft { tier } => (Some(usize::from(tier)), true),
        };
        if let Some(count) = tier.and_then(|tier| report.tiers.get_mut(tier)) {
            count.below_soft += u64::from(!above);
            count.above_soft += u64::from(above);
        }
        if let Some(moment) = report.series.get_mut(at) {
            moment.retries += u64::from(is_retry);
            if let Some(count) = tier.and_then(|tier| moment.tiers.get_mut(tier)) {
                *count += 1;
            }
        }
        if let Some(backend) = report.backends.get_mut(machine) {
            backend.attempts += 1;
            if let Some(moment) = backend.series.get_mut(at) {
                moment.attempts += 1;
            }
        }
    }

    /// An attempt failed, by the rules of the ledger.
    pub(crate) fn attempt_failed(&mut self, machine: usize, now: u64) {
        let at = self.at(now);
        if let Some(backend) = self.report.backends.get_mut(machine) {
            backend.failed += 1;
            if let Some(moment) = backend.series.get_mut(at) {
                moment.failed += 1;
            }
        }
    }

    pub(crate) const fn retry_refused(&mut self) {
        self.report.totals.retries_refused += 1;
    }

    pub(crate) fn answered(&mut self, source: usize, took: u64, now: u64) {
        self.report.totals.answered += 1;
        self.report.latency.record(took);
        if let Some(traffic) = self.report.traffic.get_mut(source) {
            traffic.answered += 1;
            traffic.latency.record(took);
        }
        let at = self.at(now);
        if let Some(histogram) = self.moments.get_mut(at) {
            histogram.record(took);
        }
        if let Some(moment) = self.moment(now) {
            moment.answered += 1;
        }
    }

    /// A request got an error: the proxy's for that reason, or the backend's own.
    pub(crate) fn refused(&mut self, source: usize, failure: Option<Failure>, now: u64) {
        match failure {
            None => self.report.totals.errors += 1,
            Some(failure) => {
                if let Some(count) = self.report.totals.failed.get_mut(failure as usize) {
                    *count += 1;
                }
            }
        }
        if let Some(traffic) = self.report.traffic.get_mut(source) {
            traffic.bad += 1;
        }
        if let Some(moment) = self.moment(now) {
            moment.bad += 1;
        }
    }

    pub(crate) fn told(&mut self, proxy: usize, event: &Event, at: u64) {
        if event.kind == EventKind::Renewed {
            return;
        }
        if self.report.events.len() >= Report::MAX_EVENTS {
            self.report.events_left_out += 1;
            return;
        }
        self.report.events.push(Told {
            at: Duration::from_micros(at),
            proxy,
            id: event.id.clone(),
            kind: event.kind,
            reason: event.reason.to_string(),
        });
    }

    /// Looks at everything, at the end of a part of a moment.
    pub(crate) fn look(&mut self, proxies: &[Proxy], now: u64) {
        self.seen.fill(Seen::default());
        for proxy in proxies {
            for (machine, endpoint) in proxy.members() {
                if let Some(seen) = self.seen.get_mut(machine) {
                    seen.in_flight += endpoint.meter.in_flight();
                    seen.weight = u32::from(endpoint.weight.get());
                }
            }
            for (machine, state) in proxy.states() {
                if let Some(seen) = self.seen.get_mut(machine) {
                    seen.state = worse(seen.state, state);
                }
            }
        }
        self.note_imbalance();
        // At its end it is still that moment.
        let at = self.at(now.saturating_sub(1));
        self.looks += 1;
        let every = Duration::from_micros(self.look_every());
        let mut all = 0;
        for (backend, seen) in self.report.backends.iter_mut().zip(&self.seen) {
            all += u64::from(seen.in_flight);
            backend.most_in_flight = backend.most_in_flight.max(seen.in_flight);
            if seen.state.is_some_and(|state| !is_fair(state)) {
                backend.out += every;
            }
            if let Some(moment) = backend.series.get_mut(at) {
                moment.in_flight_milli += u64::from(seen.in_flight) * 1_000 / LOOKS;
                moment.state = seen.state;
            }
        }
        if let Some(moment) = self.report.series.get_mut(at) {
            moment.in_flight_milli += all * 1_000 / LOOKS;
        }
        if self.looks.is_multiple_of(LOOKS) {
            self.share_fairly(at);
        }
    }

    fn note_imbalance(&mut self) {
        let takers = || {
            self.seen
                .iter()
                .filter(|seen| seen.state == Some(State::Routable) && seen.weight > 0)
                .map(|seen| f64::from(seen.in_flight) / f64::from(seen.weight))
        };
        let (count, sum) = takers().fold((0_u32, 0.0), |(count, sum), load| (count + 1, sum + load));
        let most = takers().fold(0.0, f64::max);
        if sum > 0.0 {
            let uneven = most * f64::from(count) / sum;
            self.imbalance = (self.imbalance.0 + uneven, self.imbalance.1 + 1);
            self.report.imbalance.worst = self.report.imbalance.worst.max(uneven);
        }
    }

    /// What everybody would have got in that moment if all had gone by weight to whoever is routable.
    fn share_fairly(&mut self, at: usize) {
        let weight = |seen: &Seen| {
            if seen.state.is_some_and(is_fair) {
                f64::from(seen.weight)
            } else {
                0.0
            }
        };
        let total: f64 = self.seen.iter().map(weight).sum();
        let attempts: u64 = self
            .report
            .backends
            .iter()
            .filter_map(|backend| backend.series.get(at))
            .map(|moment| u64::from(moment.attempts))
            .sum();
        if total > 0.0 {
            for (backend, seen) in self.report.backends.iter_mut().zip(&self.seen) {
                backend.fair += attempts as f64 * weight(seen) / total;
            }
        }
    }

    pub(crate) fn finish(mut self, in_flight: u64) -> Report {
        self.report.totals.in_flight = in_flight;
        for (moment, histogram) in self.report.series.iter_mut().zip(&self.moments) {
            moment.median = histogram.at_permille(500);
            moment.p99 = histogram.at_permille(990);
        }
        let (sum, count) = self.imbalance;
        if count > 0 {
            self.report.imbalance.mean = sum / count as f64;
        }
        self.report
    }
}

/// Whether one in that state is to get its share.
const fn is_fair(state: State) -> bool {
    matches!(state, State::Routable | State::Suspect)
}

/// The worse of two proxies' opinions.
fn worse(one: Option<State>, other: State) -> Option<State> {
    let rank = |state: State| match state {
        State::Routable => 0,
        State::Suspect => 1,
        State::Trial => 2,
        State::Draining => 3,
        State::Disabled => 4,
        State::Unhealthy => 5,
        State::Ejected => 6,
    };
    match one {
        Some(one) if rank(one) >= rank(other) => Some(one),
        _ => Some(other),
    }
}

/// The length of a moment: a round number, so that there are at most that many.
fn resolution(duration: Duration) -> Duration {
    const ROUND_MILLIS: [u64; 14] = [
        100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 900_000,
        1_800_000,
    ];
    let least = duration / MOMENTS;
    let round = ROUND_MILLIS.map(Duration::from_millis);
    round
        .into_iter()
        .find(|round| *round >= least)
        .unwrap_or(Duration::from_hours(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_has_at_most_120_moments_of_a_round_length() {
        for (secs, millis) in [
            (1, 100),
            (12, 100),
            (13, 200),
            (60, 500),
            (120, 1_000),
            (3_600, 30_000),
        ] {
            assert_eq!(
                resolution(Duration::from_secs(secs)),
                Duration::from_millis(millis),
                "{secs}"
            );
        }
        assert!(Fleet::MAX_DURATION.as_secs() / resolution(Fleet::MAX_DURATION).as_secs() <= 120);
    }
}
