//! What the data plane, the probes and the clock tell the model.

use edgeproxy_backend::{AppName, BackendId, Incarnation, Signal, TrafficReport};
use edgeproxy_registry::{AppPolicy, EventKind, LastBackend, Monitoring, Pace, Probe, State};

use super::Model;
use crate::shadow::{Micros, Phase, Probed, Restored, SECOND, Shadow, Traffic};

pub const SWEEP: Micros = SECOND / 10;

impl Model {
    pub fn traffic(&mut self, report: &TrafficReport, epoch: Option<u32>) {
        let Some(i) = self.listed(&report.id) else { return };
        if self.all[i].incarnation != report.incarnation || epoch != Some(report.epoch) {
            return;
        }
        match report.signal {
            Signal::StreakReached | Signal::TrialFailed => self.judge(i),
            Signal::TrialPassed if self.all[i].state == State::Trial && !self.all[i].excluded => {
                self.readmit(i);
                self.settle_all(i);
            }
            Signal::TrialPassed => {}
        }
    }

    pub fn lost_reports(&mut self) {
        for i in 0..self.all.len() {
            if self.all[i].listed() {
                self.judge(i);
            }
        }
    }

    fn judge(&mut self, i: usize) {
        let app = self.all[i].app.clone();
        if !self.all[i].excluded {
            return;
        }
        let policy = self.policy(&app);
        let members = self.members(&app);
        let open = |j: &usize| matches!(self.all[*j].state, State::Routable | State::Suspect);
        let held = |j: &usize| matches!(self.all[*j].state, State::Ejected | State::Trial);
        let is_last = !members.iter().any(|j| *j != i && open(j));
        let out = members.iter().filter(|j| held(j)).count();
        let in_or_out = members.iter().filter(|j| open(j) || held(j)).count();
        let share = 100.0 * (out as f64 + 1.0) / in_or_out as f64;
        let beyond = open(&i) && out > 0 && share > f64::from(policy.max_ejection_percent) + 1e-9;
        if policy.last_backend == LastBackend::Keep && is_last || beyond {
            self.all[i].excluded = false;
            return;
        }
        self.eject(i);
        self.settle_all(i);
    }

    pub fn probe(&mut self, id: &BackendId, incarnation: Incarnation, probe: Probe, passed: bool) -> Pace {
        let Some(i) = self.listed(id) else {
            return Pace::Settled;
        };
        if self.all[i].incarnation != incarnation || self.all[i].phase != Phase::Live {
            return Pace::Settled;
        }
        if probe == Probe::Suspect {
            let now = self.now;
            let restored = self.all[i].restored;
            if matches!(restored, Restored::Overdue | Restored::Unreached) {
                if passed {
                    self.all[i].reached(now);
                } else {
                    self.all[i].restored = Restored::Unreached;
                }
                self.settle_all(i);
                return Pace::Changing;
            }
            if restored != Restored::Heard {
                if passed {
                    self.all[i].heard(now);
                } else {
                    self.all[i].restored = Restored::Absent;
                }
                self.settle_all(i);
                return if passed { Pace::Settled } else { Pace::Changing };
            }
            return match (self.all[i].suspect, passed) {
                (false, _) => Pace::Settled,
                (true, true) => Pace::Changing,
                (true, false) => {
                    self.remove(incarnation, EventKind::Expired);
                    Pace::Settled
                }
            };
        }
        let policy = self.policy(&self.all[i].app);
        if policy.monitoring == Monitoring::Off {
            return Pace::Settled;
        }
        if passed {
            let now = self.now;
            if matches!(self.all[i].restored, Restored::Unheard | Restored::Absent) {
                self.all[i].heard(now);
            }
            self.all[i].reached(now);
            self.probe_passed(i, &policy);
        } else {
            self.probe_failed(i, &policy);
        }
        let b = &self.all[i];
        let begun = if b.probed == Probed::Bad {
            b.passes > 0
        } else {
            b.fails > 0
        };
        let pace = if begun { Pace::Changing } else { Pace::Settled };
        self.settle_all(i);
        pace
    }

    fn probe_passed(&mut self, i: usize, policy: &AppPolicy) {
        let now = self.now;
        let b = &mut self.all[i];
        b.passes += 1;
        let back = match b.probed {
            Probed::Fine => false,
            Probed::First => true,
            Probed::Bad => b.passes >= policy.rise,
        };
        if back {
            b.probed = Probed::Fine;
            b.well_since = Some(now);
            b.since = now;
        }
        if b.probed == Probed::Fine {
            (b.fails, b.passes) = (0, 0);
            if let Traffic::Out(_) = b.traffic {
                b.traffic = Traffic::Trial;
            }
        }
    }

    fn probe_failed(&mut self, i: usize, policy: &AppPolicy) {
        let b = &mut self.all[i];
        b.fails += 1;
        b.passes = 0;
        let fall = policy
            .fall
            .unwrap_or(if policy.max_failures == 0 {
                3
            } else {
                policy.max_failures
            })
            .max(1);
        if b.probed != Probed::Bad && b.fails >= fall {
            b.probed = Probed::Bad;
            self.decay(i);
            self.all[i].well_since = None;
        }
    }

    fn unprobed(&mut self, app: &AppName) {
        let now = self.now;
        for i in self.members(app) {
            let b = &mut self.all[i];
            if b.probed != Probed::Fine {
                b.well_since = Some(now);
                b.since = now;
            }
            b.probed = Probed::Fine;
            (b.fails, b.passes) = (0, 0);
            self.settle_and_tell(i);
        }
    }

    pub fn policy_changed(&mut self, app: &AppName) {
        if self.policy(app).monitoring == Monitoring::Off {
            self.unprobed(app);
        }
        self.rescue(app);
    }

    pub fn set_policy(&mut self, app: &AppName, policy: AppPolicy) {
        self.policies.retain(|(name, _)| name != app);
        self.policies.push((app.clone(), policy));
        self.policy_changed(app);
    }

    pub fn timeout(&mut self) {
        self.sweep();
        while let Some(i) = (0..self.all.len()).min_by_key(|i| self.all[*i].due()) {
            if self.all[i].due() > self.now {
                return;
            }
            self.expire(i);
        }
    }

    fn sweep(&mut self) {
        if self.next_sweep.is_none_or(|at| at > self.now) {
            return;
        }
        let done = |b: &&Shadow| b.phase != Phase::Live && b.endpoint.meter.in_flight() == 0;
        let done: Vec<_> = self.all.iter().filter(done).map(|b| b.incarnation).collect();
        for incarnation in done {
            self.remove(incarnation, EventKind::Removed);
        }
        if self.next_sweep.is_some() {
            self.next_sweep = Some(self.now + SWEEP);
        }
    }

    fn expire(&mut self, i: usize) {
        let b = &self.all[i];
        let incarnation = b.incarnation;
        if b.phase != Phase::Live {
            self.cut(incarnation);
        } else if b.traffic == Traffic::Out(b.due()) {
            self.all[i].traffic = Traffic::Trial;
            self.settle_all(i);
        } else if self.distrusts(i, |_| true) {
            self.all[i].suspect = true;
            self.emit(EventKind::Suspected, incarnation);
            self.settle(i);
        } else {
            self.remove(incarnation, EventKind::Expired);
        }
    }

    pub(super) fn distrusts(&mut self, i: usize, counts: impl Fn(&BackendId) -> bool) -> bool {
        let b = &self.all[i];
        if !self.config.mass_expiry_guard || b.suspect || !b.seasoned() {
            return false;
        }
        let (app, window) = (b.app.clone(), b.ttl / 3);
        if self
            .distrust
            .iter()
            .any(|(name, until)| *name == app && self.now <= *until)
        {
            return true;
        }
        let seasoned: Vec<usize> = self
            .members(&app)
            .into_iter()
            .filter(|i| self.all[*i].seasoned() && counts(&self.all[*i].id))
            .collect();
        let silent = |i: &&usize| {
            let b = &self.all[**i];
            b.suspect || b.deadline <= self.now + b.ttl / 3
        };
        let missing = seasoned.iter().filter(silent).count();
        if missing < 3 || missing * 2 <= seasoned.len() {
            return false;
        }
        self.distrust.retain(|(name, _)| *name != app);
        self.distrust.push((app, self.now + window));
        true
    }
}
