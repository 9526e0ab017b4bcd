//! The shadow model: the same rules as the registry's, written down a second time as simply as possible.
//! Every backend in one `Vec`, every question a scan, every deadline a plain number that a pause moves.

mod elsewhere;
mod feedback;
mod file;
mod restart;

use std::sync::Arc;

use edgeproxy_backend::{AppName, BackendAddr, BackendId, Endpoint, Gate, Incarnation, MonoTime};
use edgeproxy_registry::{
    AppPolicy, Change, Config, EventKind, Initial, LastBackend, Leases, LoadReport, Monitoring, Overridden,
    Overrides, Patch, State,
};

use crate::shadow::{Micros, Phase, Probed, Restored, Shadow, Traffic, micros};
use feedback::SWEEP;
pub use file::Refused;
pub use restart::agrees;

pub struct Model {
    pub config: Config,
    pub now: Micros,
    pub pauses: u64,
    /// In the order of registration.
    pub all: Vec<Shadow>,
    pub policies: Vec<(AppName, AppPolicy)>,
    pub remembered: Vec<Overridden>,
    /// What stands in the file.
    pub file: Vec<Asking>,
    pub distrust: Vec<(AppName, Micros)>,
    pub next_sweep: Option<Micros>,
    pub next_incarnation: u64,
    pub events: Vec<(EventKind, Incarnation)>,
    pub total_events: u64,
    /// The last that were removed, with the gate that they must keep.
    pub gone: Vec<(Arc<Endpoint>, Gate)>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Outcome {
    New,
    Renewed,
    Superseded(Incarnation),
    AppTaken,
    Static,
    Ttl,
    TooManyBackends,
    TooManyApps,
}

/// Whether a backend that joins has a lease.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Leased,
    Fixed,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fenced {
    Fine(usize),
    Unknown,
    Dead,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Asking {
    pub id: BackendId,
    pub app: AppName,
    pub addr: BackendAddr,
    pub weight: u16,
    pub soft: u32,
    pub hard: u32,
    pub fallback: bool,
    pub ttl: Option<Micros>,
}

impl Model {
    pub fn new(config: Config, now: Micros) -> Self {
        let next_incarnation = config.first_incarnation.get();
        Self {
            config,
            now,
            pauses: 0,
            all: Vec::new(),
            policies: Vec::new(),
            remembered: Vec::new(),
            file: Vec::new(),
            distrust: Vec::new(),
            next_sweep: None,
            next_incarnation,
            events: Vec::new(),
            total_events: 0,
            gone: Vec::new(),
        }
    }

    pub fn time(&self) -> MonoTime {
        MonoTime::from_micros(self.now)
    }

    pub fn policy(&self, app: &AppName) -> AppPolicy {
        self.policies
            .iter()
            .find(|(name, _)| name == app)
            .map_or(self.config.app, |(_, policy)| *policy)
    }

    pub fn listed(&self, id: &BackendId) -> Option<usize> {
        self.all.iter().position(|b| b.listed() && b.id == *id)
    }

    pub fn members(&self, app: &AppName) -> Vec<usize> {
        (0..self.all.len())
            .filter(|i| self.all[*i].listed() && self.all[*i].app == *app)
            .collect()
    }

    pub fn apps(&self) -> Vec<AppName> {
        let mut apps: Vec<_> = self
            .all
            .iter()
            .filter(|b| b.listed())
            .map(|b| b.app.clone())
            .collect();
        apps.sort();
        apps.dedup();
        apps
    }

    /// Before every call.
    pub fn advance(&mut self, now: Micros) {
        let gap = now.saturating_sub(self.now);
        let patience = micros(self.config.tick + self.config.tick_tolerance);
        if !self.all.is_empty() && gap > patience {
            self.pauses += 1;
            self.shift(gap);
        }
        self.now = self.now.max(now);
    }

    fn shift(&mut self, gap: Micros) {
        for b in &mut self.all {
            b.deadline += gap;
            b.drain_until += gap;
            if let Traffic::Out(until) = &mut b.traffic {
                *until += gap;
            }
            if let Some(since) = &mut b.well_since {
                *since += gap;
            }
        }
        for (_, until) in &mut self.distrust {
            *until += gap;
        }
        if let Some(sweep) = &mut self.next_sweep {
            *sweep += gap;
        }
    }

    /// After every call: an app without members is forgotten.
    pub fn finish(&mut self) {
        let apps = self.apps();
        self.distrust.retain(|(app, _)| apps.contains(app));
    }

    fn emit(&mut self, kind: EventKind, incarnation: Incarnation) {
        self.events.push((kind, incarnation));
        self.total_events += 1;
    }

    // ── settling ─────────────────────────────────────────────────────────────────────────────────────

    fn settle(&mut self, i: usize) -> Option<(State, State)> {
        let (before, after) = (self.all[i].state, self.all[i].wanted());
        if self.all[i].excluded && !after.takes_traffic() && after != State::Ejected {
            self.eject(i); // what the data plane knows isn't lost
        }
        self.all[i].state = after;
        (before != after).then_some((before, after))
    }

    fn settle_and_tell(&mut self, i: usize) {
        if let Some((before, after)) = self.settle(i) {
            let kind = match after {
                State::Ejected => EventKind::Ejected,
                State::Trial => EventKind::TrialStarted,
                State::Unhealthy => EventKind::Unhealthy,
                State::Draining => EventKind::Draining,
                State::Disabled => EventKind::Changed,
                State::Routable | State::Suspect if before == State::Disabled => EventKind::Changed,
                State::Routable | State::Suspect => EventKind::Readmitted,
            };
            let incarnation = self.all[i].incarnation;
            self.emit(kind, incarnation);
        }
    }

    fn eject(&mut self, i: usize) {
        let policy = self.policy(&self.all[i].app);
        self.decay(i);
        let now = self.now;
        let seed = self.config.seed;
        let b = &mut self.all[i];
        let base = micros(policy.ejection_base).saturating_mul(1 << b.ejections.min(20));
        let length = base.min(micros(policy.ejection_max));
        let length = jittered(length, seed, b.incarnation, b.ejections);
        b.traffic = Traffic::Out(now + length);
        b.ejections = (b.ejections + 1).min(255);
        b.excluded = false;
    }

    fn decay(&mut self, i: usize) {
        let max = micros(self.policy(&self.all[i].app).ejection_max);
        let now = self.now;
        let b = &mut self.all[i];
        if let (Traffic::Well, Some(since)) = (b.traffic, b.well_since) {
            let steps = u32::try_from((now - since) / max).unwrap();
            b.ejections = b.ejections.saturating_sub(steps);
        }
    }

    fn rescue(&mut self, app: &AppName) {
        if self.policy(app).last_backend != LastBackend::Keep {
            return;
        }
        let members = self.members(app);
        let open = |i: &usize| matches!(self.all[*i].state, State::Routable | State::Suspect);
        if members.iter().any(open) {
            return;
        }
        let mut best: Option<(bool, Micros, usize)> = None;
        for i in members {
            let b = &self.all[i];
            let until = match (b.state, b.traffic) {
                (State::Trial, _) => 0,
                (State::Ejected, Traffic::Out(until)) => until,
                _ => continue,
            };
            if best.is_none_or(|(fallback, other, _)| (b.fallback, until) < (fallback, other)) {
                best = Some((b.fallback, until, i));
            }
        }
        if let Some((_, _, i)) = best {
            self.readmit(i);
            self.settle_and_tell(i);
        }
    }

    fn readmit(&mut self, i: usize) {
        let now = self.now;
        let b = &mut self.all[i];
        b.traffic = Traffic::Well;
        b.well_since = Some(now);
        b.since = now;
        b.excluded = false;
    }

    fn settle_all(&mut self, i: usize) {
        self.settle_and_tell(i);
        let app = self.all[i].app.clone();
        self.rescue(&app);
    }

    // ── registration ─────────────────────────────────────────────────────────────────────────────────

    pub fn foresee(&self, asking: &Asking) -> Outcome {
        if let Some(ttl) = asking.ttl
            && (ttl < micros(self.config.ttl_min) || ttl > micros(self.config.ttl_max))
        {
            return Outcome::Ttl;
        }
        let no_app = !self.apps().contains(&asking.app) && self.apps().len() >= self.config.max_apps;
        let found = self.listed(&asking.id).map(|i| &self.all[i]);
        match found {
            None if self.all.len() >= self.config.max_backends => Outcome::TooManyBackends,
            None if no_app => Outcome::TooManyApps,
            None => Outcome::New,
            Some(b) if b.phase == Phase::Live && b.fixed => Outcome::Static,
            Some(b) if b.app != asking.app => Outcome::AppTaken,
            Some(b) if b.phase == Phase::Live && b.addr == asking.addr => Outcome::Renewed,
            Some(b) => Outcome::Superseded(b.incarnation),
        }
    }

    pub fn register(&mut self, asking: Asking, outcome: Outcome, endpoint: &Arc<Endpoint>) {
        match outcome {
            Outcome::New => {
                let overrides = self.recall(&asking);
                self.insert(asking, overrides, endpoint, Kind::Leased);
            }
            Outcome::Superseded(_) => {
                let old = self.listed(&asking.id).unwrap();
                let overrides = self.all[old].overrides;
                let full = self.all.len() >= self.config.max_backends;
                self.insert(asking, overrides, endpoint, Kind::Leased);
                self.supersede(old, full);
            }
            Outcome::Renewed => {
                let i = self.listed(&asking.id).unwrap();
                let ttl = asking.ttl.unwrap_or(micros(self.config.ttl));
                let now = self.now;
                let b = &mut self.all[i];
                b.ttl = ttl;
                b.deadline = now + ttl;
                b.renewals += 1;
                b.suspect = false;
                b.heard(now);
                b.self_draining = false;
                (b.weight, b.soft, b.hard, b.fallback) =
                    (asking.weight, asking.soft, asking.hard, asking.fallback);
                let incarnation = b.incarnation;
                self.emit(EventKind::Renewed, incarnation);
                self.settle_all(i);
            }
            refused => panic!("{refused:?} has no endpoint"),
        }
    }

    /// What was set on the id, if it was the same app's. Another's is forgotten.
    fn recall(&mut self, asking: &Asking) -> Overrides {
        let at = self.remembered.iter().position(|known| known.id == asking.id);
        let known = at.map(|at| self.remembered.remove(at));
        known.map(|known| known.of(&asking.app)).unwrap_or_default()
    }

    fn insert(&mut self, asking: Asking, overrides: Overrides, endpoint: &Arc<Endpoint>, kind: Kind) {
        let incarnation = Incarnation::new(self.next_incarnation).unwrap();
        self.next_incarnation += self.config.stride.get();
        let ttl = asking.ttl.unwrap_or(micros(self.config.ttl));
        let policy = self.policy(&asking.app);
        let first = policy.initial == Initial::ProbeFirst && policy.monitoring == Monitoring::On;
        let mut shadow = Shadow {
            id: asking.id,
            app: asking.app,
            addr: asking.addr,
            incarnation,
            endpoint: Arc::clone(endpoint),
            phase: Phase::Live,
            state: State::Routable,
            fixed: kind == Kind::Fixed,
            endless: self.config.leases == Leases::Elsewhere,
            since: self.now,
            deadline: self.now + ttl,
            ttl,
            renewals: 0,
            suspect: false,
            restored: Restored::Heard,
            drain_until: 0,
            self_draining: false,
            weight: asking.weight,
            soft: asking.soft,
            hard: asking.hard,
            fallback: asking.fallback,
            overrides,
            traffic: Traffic::Well,
            ejections: 0,
            well_since: Some(self.now),
            probed: if first { Probed::First } else { Probed::Fine },
            fails: 0,
            passes: 0,
            excluded: false,
        };
        shadow.state = shadow.wanted();
        self.all.push(shadow);
        self.emit(EventKind::Registered, incarnation);
    }

    fn supersede(&mut self, old: usize, full: bool) {
        let now = self.now;
        let b = &mut self.all[old];
        let (app, id, incarnation, was) = (b.app.clone(), b.id.clone(), b.incarnation, b.phase);
        b.phase = Phase::Superseded;
        b.excluded = false;
        b.restored = Restored::Heard;
        b.state = State::Draining;
        b.overrides = Overrides::default();
        if was == Phase::Live {
            b.drain_until = now + micros(self.config.drain_timeout);
            self.next_sweep.get_or_insert(now + SWEEP);
            self.emit(EventKind::Draining, incarnation);
        }
        self.rescue(&app);
        let is_past = |b: &&Shadow| b.phase == Phase::Superseded && b.id == id;
        if self.all.iter().filter(is_past).count() > 4 {
            // The one that has been superseded longest: successors are superseded in order.
            let oldest = self.all.iter().find(is_past).unwrap().incarnation;
            self.cut(oldest);
        }
        if full && self.all.iter().any(|b| b.incarnation == incarnation) {
            self.remove(incarnation, EventKind::Removed);
        }
    }

    pub fn remove(&mut self, incarnation: Incarnation, kind: EventKind) {
        self.remove_with(incarnation, kind, Gate::Closed);
    }

    fn cut(&mut self, incarnation: Incarnation) {
        self.remove_with(incarnation, EventKind::Removed, Gate::Cut);
    }

    fn remove_with(&mut self, incarnation: Incarnation, kind: EventKind, gate: Gate) {
        let i = self
            .all
            .iter()
            .position(|b| b.incarnation == incarnation)
            .unwrap();
        let b = self.all.remove(i);
        self.gone.push((Arc::clone(&b.endpoint), gate));
        if self.gone.len() > 8 {
            self.gone.remove(0);
        }
        self.emit(kind, incarnation);
        if !self.all.iter().any(|b| b.phase != Phase::Live) {
            self.next_sweep = None;
        }
        if b.listed() {
            if b.overrides != Overrides::default() && self.config.max_remembered > 0 {
                self.remembered.push(b.overridden());
            }
            self.rescue(&b.app);
        }
    }

    // ── calls about one that is known ────────────────────────────────────────────────────────────────

    pub fn fence(&self, id: &BackendId, fence: Option<Incarnation>) -> Fenced {
        match self.listed(id) {
            None => Fenced::Unknown,
            Some(i) if fence.is_some_and(|fence| fence != self.all[i].incarnation) => Fenced::Dead,
            Some(i) => Fenced::Fine(i),
        }
    }

    pub fn heartbeat(&mut self, i: usize, report: &LoadReport) {
        let now = self.now;
        let b = &mut self.all[i];
        if !b.fixed {
            b.deadline = now + b.ttl;
            b.renewals += 1;
            b.suspect = false;
            b.heard(now);
        }
        if let Some(draining) = report.draining {
            b.self_draining = draining;
        }
        if let Some(weight) = report.weight {
            b.weight = weight.get();
        }
        self.settle_all(i);
    }

    /// `None` if it is refused.
    pub fn deregister(&mut self, i: usize, drain: Option<Micros>) -> Option<()> {
        if self.all[i].fixed && self.all[i].phase == Phase::Live {
            return None;
        }
        self.leave(i, drain);
        Some(())
    }

    fn leave(&mut self, i: usize, drain: Option<Micros>) {
        let incarnation = self.all[i].incarnation;
        let Some(drain) = drain else {
            self.remove(incarnation, EventKind::Removed);
            return;
        };
        self.leave_within(i, drain.min(micros(self.config.drain_max)));
    }

    fn leave_within(&mut self, i: usize, drain: Micros) {
        let incarnation = self.all[i].incarnation;
        let until = self.now + drain;
        let b = &mut self.all[i];
        if b.phase == Phase::Leaving {
            b.drain_until = b.drain_until.min(until);
            return;
        }
        b.phase = Phase::Leaving;
        b.suspect = false;
        b.restored = Restored::Heard;
        b.drain_until = until;
        let first = self.now + SWEEP;
        self.next_sweep.get_or_insert(first);
        self.settle(i);
        self.emit(EventKind::Draining, incarnation);
        let app = self.all[i].app.clone();
        self.rescue(&app);
    }

    /// `None` if the patch is refused.
    pub fn patch(&mut self, i: usize, patch: &Patch) -> Option<()> {
        let b = &self.all[i];
        let mut next = b.overrides;
        set(&mut next.enabled, patch.enabled);
        set(&mut next.weight, patch.weight);
        set(&mut next.soft_limit, patch.soft_limit);
        set(&mut next.hard_limit, patch.hard_limit);
        if patch.soft_limit != Change::Keep || patch.hard_limit != Change::Keep {
            let (soft, hard) = (
                next.soft_limit.unwrap_or(b.soft),
                next.hard_limit.unwrap_or(b.hard),
            );
            if hard != 0 && hard < soft {
                return None;
            }
        }
        if next != b.overrides {
            let incarnation = b.incarnation;
            self.all[i].overrides = next;
            self.settle(i);
            self.emit(EventKind::Changed, incarnation);
            let app = self.all[i].app.clone();
            self.rescue(&app);
        }
        Some(())
    }
}

fn set<T>(value: &mut Option<T>, change: Change<T>) {
    match change {
        Change::Keep => {}
        Change::Clear => *value = None,
        Change::Set(new) => *value = Some(new),
    }
}

fn jittered(length: Micros, seed: u64, incarnation: Incarnation, ejections: u32) -> Micros {
    let permille = 900 + mix(seed ^ mix(incarnation.get()) ^ u64::from(ejections)) % 201;
    length * permille / 1_000
}

fn mix(value: u64) -> u64 {
    let z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
