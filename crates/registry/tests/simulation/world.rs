//! What happens: backends that come, beat, fail and go; a data plane that sends requests; an operator;
//! a clock that is paused now and then.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::{
    Admission, AppName, Backend, BackendAddr, BackendId, Country, Endpoint, InFlight, Incarnation, Limits,
    Region, TrafficReport, Weight,
};
use edgeproxy_registry::{
    Change, Configuration, DeregisterError, FencedError, Leases, LoadReport, Patch, PatchError, Probe,
    RegisterError, RegisteredKind, Registration, Registry, Snapshot, StaticError,
};
use fastrand::Rng;

use crate::configs::{config, policy};
use crate::disk::Disk;
use crate::elsewhere::Others;
use crate::model::{Asking, Fenced, Model, Outcome, Refused};
use crate::shadow::{Micros, Phase, SECOND};

const IDS: usize = 8;

pub struct World {
    pub seed: u64,
    pub step: u32,
    pub rng: Rng,
    pub registry: Registry,
    pub model: Model,
    ids: Vec<BackendId>,
    apps: Vec<AppName>,
    pub requests: Vec<(Arc<Endpoint>, InFlight)>,
    pub reports: VecDeque<TrafficReport>,
    pub disk: Disk,
    pub others: Others,
    pub snapshot: Snapshot,
    pub last_sequence: u64,
    pub dropped: u64,
    /// How many ids' heartbeats don't get through.
    cut_off: usize,
    /// The app that each id belongs to, mostly.
    homes: [usize; IDS],
    /// How many ids there are, and how many of ten registrations come from the usual address.
    crowd: usize,
    steady: u32,
    pub doing: String,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let config = config(&mut rng);
        let homes = if rng.bool() {
            [0; IDS]
        } else {
            [0, 0, 0, 0, 0, 1, 1, 2]
        };
        let (crowd, steady) = if rng.u32(0..4) == 0 { (2, 1) } else { (IDS, 7) };
        let start = rng.u64(0..5 * SECOND);
        let model = Model::new(config.clone(), start);
        let registry = Registry::new(config, model.time());
        Self {
            seed,
            step: 0,
            rng,
            registry,
            model,
            ids: (0..IDS)
                .map(|n| BackendId::parse(&format!("b{n}")).unwrap())
                .collect(),
            apps: ["a", "b", "c"]
                .iter()
                .map(|name| AppName::parse(name).unwrap())
                .collect(),
            requests: Vec::new(),
            reports: VecDeque::new(),
            disk: Disk::default(),
            others: Others::default(),
            snapshot: Snapshot::default(),
            last_sequence: 0,
            dropped: 0,
            cut_off: 0,
            homes,
            crowd,
            steady,
            doing: String::new(),
        }
    }

    pub fn run(mut self, steps: u32) {
        for step in 0..steps {
            self.step = step;
            self.act();
            self.model.finish();
            self.others.settle(&self.model);
            self.compare();
        }
    }

    fn act(&mut self) {
        // Every step has a time of its own, so that no two deadlines fall together by design.
        let pass = match self.rng.u32(0..10) {
            0..4 => self.rng.u64(1..1_000),
            4..9 => self.rng.u64(1..SECOND / 2),
            _ => self.rng.u64(1..2 * SECOND),
        };
        let mut now = self.model.now + pass;
        match self.rng.u32(0..1_000) {
            0..4 => now += self.rng.u64(SECOND..60 * SECOND), // the process was paused
            4..10 => now = now.saturating_sub(self.rng.u64(1..10 * SECOND)), // a clock that goes backwards
            _ => {}
        }
        match self.rng.u32(0..100) {
            50..53 | 90..92 if self.model.config.leases == Leases::Elsewhere => self.elsewhere(now),
            0..8 => self.register(now),
            8..24 => self.heartbeat(now),
            24..27 => self.everybody_beats(now),
            27..30 => self.deregister(now),
            30..35 => self.patch(now),
            35..53 => self.request(),
            53..65 => self.outcome(),
            65..75 => self.report(now),
            75..84 => self.probe(now),
            84 => match self.rng.u32(0..6) {
                0..4 => self.configure(now),
                _ => self.set_policy(now),
            },
            85 => {
                self.cut_off = if self.rng.bool() {
                    0
                } else {
                    self.rng.usize(0..=IDS)
                }
            }
            86..89 => self.poll(),
            89 if self.rng.u32(0..10) == 0 => self.restart(now),
            89..95 => self.write(),
            _ => self.timeout(now),
        }
    }

    pub fn begin(&mut self, doing: String, now: Micros) -> edgeproxy_backend::MonoTime {
        self.doing = doing;
        self.model.advance(now);
        edgeproxy_backend::MonoTime::from_micros(now)
    }

    fn register(&mut self, now: Micros) {
        let asking = self.asking();
        let at = self.begin(
            format!("register {} in {} at {}", asking.id, asking.app, asking.addr),
            now,
        );
        let expected = self.model.foresee(&asking);
        let backend = backend(&asking);
        let ttl = asking.ttl.map(Duration::from_micros);
        let found = self.registry.handle_register(Registration { backend, ttl }, at);
        let outcome = match &found {
            Ok(registered) => match registered.kind {
                RegisteredKind::New => Outcome::New,
                RegisteredKind::Renewed => Outcome::Renewed,
                RegisteredKind::Superseded(incarnation) => Outcome::Superseded(incarnation),
            },
            Err(RegisterError::AppTaken { .. }) => Outcome::AppTaken,
            Err(RegisterError::Static(_)) => Outcome::Static,
            Err(RegisterError::Ttl { .. }) => Outcome::Ttl,
            Err(RegisterError::TooManyBackends { .. }) => Outcome::TooManyBackends,
            Err(RegisterError::TooManyApps { .. }) => Outcome::TooManyApps,
        };
        self.check(outcome == expected, || {
            format!("{outcome:?}, expected {expected:?}")
        });
        if let Ok(registered) = found {
            if outcome != Outcome::Renewed {
                self.check_number(registered.endpoint.incarnation);
            }
            self.model.register(asking, outcome, &registered.endpoint);
        }
    }

    pub fn asking(&mut self) -> Asking {
        let rng = &mut self.rng;
        let n = rng.usize(0..self.crowd);
        // Most of an id's registrations are for its own app and address.
        let app = if rng.u32(0..10) > 0 {
            self.homes[n]
        } else {
            rng.usize(0..3)
        };
        let port = if rng.u32(0..10) < self.steady {
            80
        } else {
            rng.u16(81..84)
        };
        let (soft, more) = (rng.u32(0..4), rng.u32(0..3));
        Asking {
            id: self.ids[n].clone(),
            app: self.apps[app].clone(),
            addr: BackendAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port).unwrap(),
            weight: if rng.u32(0..12) > 0 { rng.u16(1..5) } else { 0 },
            soft,
            hard: if rng.bool() { 0 } else { soft + more },
            fallback: n % 4 == 3,
            ttl: match rng.u32(0..10) {
                0 => Some(rng.u64(0..100 * SECOND)),
                1..4 => Some(rng.u64(5 * SECOND..15 * SECOND)),
                _ => None,
            },
        }
    }

    fn heartbeat(&mut self, now: Micros) {
        let (id, fence) = (self.any_id(), self.any_fence());
        let rng = &mut self.rng;
        let report = LoadReport {
            in_flight: rng.bool().then(|| rng.u32(0..9)),
            utilization_permille: rng.bool().then(|| rng.u16(0..1_000)),
            draining: (rng.u32(0..12) == 0).then(|| rng.u32(0..3) == 0),
            weight: (rng.u32(0..12) == 0).then(|| Weight::new(rng.u64(0..4)).unwrap()),
        };
        let at = self.begin(format!("heartbeat of {id}, fence {fence:?}, {report:?}"), now);
        let fence = fence.of(&self.model, &id);
        let expected = self.model.fence(&id, fence);
        let found = self.registry.handle_heartbeat(&id, fence, &report, at);
        self.check_fence(expected, found.as_ref().err());
        if let Fenced::Fine(i) = expected {
            self.model.heartbeat(i, &report);
        }
    }

    fn everybody_beats(&mut self, now: Micros) {
        for (id, late) in self.ids.clone().into_iter().skip(self.cut_off).zip(0..) {
            if let Fenced::Fine(i) = self.model.fence(&id, None) {
                let at = self.begin("everybody's heartbeat".to_owned(), now + late);
                let report = LoadReport::default();
                self.registry.handle_heartbeat(&id, None, &report, at).unwrap();
                self.model.heartbeat(i, &report);
            }
        }
    }

    fn deregister(&mut self, now: Micros) {
        let (id, fence) = (self.any_id(), self.any_fence());
        let drain = self.rng.bool().then(|| self.rng.u64(0..8 * SECOND));
        let at = self.begin(format!("deregister {id}, fence {fence:?}, drain {drain:?}"), now);
        let fence = fence.of(&self.model, &id);
        let expected = self.model.fence(&id, fence);
        let found = self
            .registry
            .handle_deregister(&id, fence, drain.map(Duration::from_micros), at);
        let Fenced::Fine(i) = expected else {
            let Err(DeregisterError::Fenced(error)) = found else {
                self.fail("not fenced")
            };
            self.check_fence(expected, Some(&error));
            return;
        };
        let in_flight = self.model.all[i].endpoint.meter.in_flight();
        let accepted = self.model.deregister(i, drain).is_some();
        let agrees = match &found {
            Ok(found) => accepted && (found.in_flight, found.draining) == (in_flight, drain.is_some()),
            Err(DeregisterError::Static(_)) => !accepted,
            Err(DeregisterError::Fenced(_)) => false,
        };
        self.check(agrees, || format!("accepted: {accepted}, but {found:?}"));
    }

    /// The configuration is read again.
    fn configure(&mut self, now: Micros) {
        let mut file = self.model.file.clone();
        file.retain(|_| self.rng.u32(0..4) > 0);
        for _ in 0..self.rng.u32(0..4) {
            let asking = Asking {
                ttl: None,
                ..self.asking()
            };
            // Once in a while the same id stands there twice.
            if self.rng.u32(0..20) > 0 {
                file.retain(|other| other.id != asking.id);
            }
            file.push(asking);
        }
        let others = policy(&mut self.rng);
        let mut policies = Vec::new();
        for app in &self.apps {
            if self.rng.bool() {
                policies.push((app.clone(), policy(&mut self.rng)));
            }
        }
        let at = self.begin(format!("{file:?} are in the file, {others:?}, {policies:?}"), now);
        let expected = self.model.foresee_file(&file);
        let configuration = Configuration {
            others,
            apps: policies.clone(),
            backends: file.iter().map(backend).collect(),
        };
        let found = self.registry.configure(configuration, at);
        match (expected, found) {
            (Ok(()), Ok(found)) => {
                let listed: Vec<_> = file.iter().map(|asking| asking.id.clone()).collect();
                let (registry, time) = (&self.registry, self.model.time());
                let endpoint = |id: &BackendId| registry.get(id, time).unwrap().endpoint;
                let expected = self.model.configure(others, &policies, file, endpoint);
                self.check(found == expected, || format!("{found:?}, expected {expected:?}"));
                // In the store others have it still.
                self.others.left_out.extend(listed);
            }
            (Err(Refused::Twice), Err(StaticError::Twice(_)))
            | (Err(Refused::TooManyBackends), Err(StaticError::TooManyBackends { .. }))
            | (Err(Refused::TooManyApps), Err(StaticError::TooManyApps { .. })) => {}
            (expected, found) => self.fail(&format!("{found:?}, expected {expected:?}")),
        }
    }

    fn patch(&mut self, now: Micros) {
        let (id, fence) = (self.any_id(), self.any_fence());
        let rng = &mut self.rng;
        let patch = Patch {
            enabled: change(rng, |rng| rng.u32(0..3) > 0),
            weight: change(rng, |rng| Weight::new(rng.u64(0..6)).unwrap()),
            soft_limit: change(rng, |rng| rng.u32(0..5)),
            hard_limit: change(rng, |rng| rng.u32(0..5)),
        };
        let at = self.begin(format!("{patch:?} of {id}, fence {fence:?}"), now);
        let fence = fence.of(&self.model, &id);
        let expected = self.model.fence(&id, fence);
        let found = self.registry.handle_patch(&id, fence, &patch, at);
        let Fenced::Fine(i) = expected else {
            let Err(PatchError::Fenced(error)) = found else {
                self.fail("not fenced")
            };
            self.check_fence(expected, Some(&error));
            return;
        };
        let accepted = self.model.patch(i, &patch).is_some();
        self.check(found.is_ok() == accepted, || {
            format!("accepted: {accepted}, but {found:?}")
        });
    }

    /// The data plane begins a request somewhere, even where it should not be let in.
    fn request(&mut self) {
        if self.requests.len() > 12 || self.model.all.is_empty() {
            return;
        }
        let i = self.rng.usize(0..self.model.all.len());
        let b = &self.model.all[i];
        let (state, excluded) = (b.state, b.excluded);
        let endpoint = Arc::clone(&b.endpoint);
        let last_resort = self.rng.u32(0..10) == 0;
        let admission = if last_resort {
            Admission::LastResort
        } else {
            Admission::Regular
        };
        self.doing = format!("request to {} {:?}", endpoint.id, endpoint.incarnation);
        let gate = endpoint.meter.gate();
        if let Ok(request) = endpoint.admit(admission) {
            let allowed = last_resort && gate == edgeproxy_backend::Gate::Excluded
                || state.takes_traffic() && !excluded && !request.is_trial()
                || state == edgeproxy_registry::State::Trial && !excluded;
            self.check(allowed, || {
                format!("admitted, though {state} and excluded: {excluded}")
            });
            self.requests.push((endpoint, request));
        }
    }

    /// A request ends.
    fn outcome(&mut self) {
        if self.requests.is_empty() {
            return;
        }
        let (endpoint, request) = self.requests.swap_remove(self.rng.usize(0..self.requests.len()));
        let policy = self.model.policy(&endpoint.app);
        let (signal, what) = match self.rng.u32(0..10) {
            0..6 => (request.failed(policy.max_failures, self.model.time()), "failed"),
            6..9 => (
                request.succeeded(Duration::from_millis(3), self.model.time()),
                "succeeded",
            ),
            _ => (None, "aborted"),
        };
        self.doing = format!(
            "request to {} {:?} {what}: {signal:?}",
            endpoint.id, endpoint.incarnation
        );
        if let Some(signal) = signal {
            if signal != edgeproxy_backend::Signal::TrialPassed
                && let Some(b) = self
                    .model
                    .all
                    .iter_mut()
                    .find(|b| b.incarnation == endpoint.incarnation)
            {
                b.excluded = true;
            }
            self.reports.push_back(request.report(signal));
        }
    }

    fn report(&mut self, now: Micros) {
        match self.rng.u32(0..20) {
            0 => {
                self.reports.clear();
            }
            1 => {
                let at = self.begin("lost reports".to_owned(), now);
                self.registry.handle_lost_reports(at);
                self.model.lost_reports();
            }
            choice => {
                let Some(report) = self.reports.pop_front() else {
                    return;
                };
                let at = self.begin(format!("{report:?}"), now);
                let known = self.model.listed(&report.id);
                let epoch = known.map(|i| self.model.all[i].endpoint.meter.epoch());
                self.registry.handle_traffic(&report, at);
                self.model.traffic(&report, epoch);
                if choice < 5 {
                    self.reports.push_back(report); // and once more, later
                }
            }
        }
    }

    fn probe(&mut self, now: Micros) {
        let (id, fence) = (self.any_id(), self.any_fence());
        let probe = if self.rng.u32(0..4) == 0 {
            Probe::Suspect
        } else {
            Probe::Monitor
        };
        let passed = self.rng.u32(0..5) < 3;
        let live = fence
            .of(&self.model, &id)
            .or_else(|| Fence::Right.of(&self.model, &id));
        let Some(incarnation) = live else { return };
        let at = self.begin(
            format!("{probe:?} probe of {id} {incarnation:?} passed: {passed}"),
            now,
        );
        let found = self.registry.handle_probe(&id, incarnation, probe, passed, at);
        let expected = self.model.probe(&id, incarnation, probe, passed);
        self.check(found == expected, || format!("{found:?}, expected {expected:?}"));
    }

    fn set_policy(&mut self, now: Micros) {
        let app = self.apps[self.rng.usize(0..self.apps.len())].clone();
        let policy = policy(&mut self.rng);
        let at = self.begin(format!("{policy:?} for {app}"), now);
        self.registry.set_app_policy(&app, policy, at);
        self.model.set_policy(&app, policy);
        self.check(self.registry.app_policy(&app) == policy, || {
            "another policy".to_owned()
        });
    }

    fn timeout(&mut self, now: Micros) {
        // At times exactly when it asked to be called, else whenever.
        let asked = self
            .registry
            .poll_timeout()
            .map(edgeproxy_backend::MonoTime::as_micros);
        let now = match asked {
            Some(asked) if self.rng.bool() => asked,
            _ => now,
        };
        let at = self.begin("timeout".to_owned(), now);
        self.registry.handle_timeout(at);
        self.model.timeout();
        let next = self.registry.poll_timeout();
        let late = next.is_some_and(|next| next <= self.model.time());
        self.check(!late, || {
            format!("asks to be called at {next:?} after a timeout at {at:?}")
        });
    }

    fn poll(&mut self) {
        self.doing = "poll".to_owned();
        if self.rng.bool() {
            self.poll_events();
        } else {
            self.poll_snapshot();
        }
    }

    pub fn any_id(&mut self) -> BackendId {
        self.ids[self.rng.usize(0..self.crowd)].clone()
    }

    pub fn ids(&self) -> Vec<BackendId> {
        self.ids.clone()
    }

    fn any_fence(&mut self) -> Fence {
        match self.rng.u32(0..10) {
            0..4 => Fence::None,
            4..8 => Fence::Right,
            8 => Fence::Past,
            _ => Fence::Never,
        }
    }

    fn check_fence(&self, expected: Fenced, found: Option<&FencedError>) {
        let agrees = matches!(
            (expected, found),
            (Fenced::Fine(_), None)
                | (Fenced::Unknown, Some(FencedError::Unknown(_)))
                | (Fenced::Dead, Some(FencedError::DeadIncarnation { .. }))
        );
        self.check(agrees, || format!("{found:?}, expected {expected:?}"));
    }
}

#[derive(Clone, Copy, Debug)]
enum Fence {
    None,
    Right,
    Past,
    Never,
}

impl Fence {
    fn of(self, model: &Model, id: &BackendId) -> Option<Incarnation> {
        let listed = model.all.iter().find(|b| b.listed() && b.id == *id);
        let past = model
            .all
            .iter()
            .find(|b| b.phase == Phase::Superseded && b.id == *id);
        match self {
            Self::None => None,
            Self::Right => listed.map(|b| b.incarnation),
            Self::Past => past.or(listed).map(|b| b.incarnation),
            Self::Never => Incarnation::new(u64::MAX),
        }
    }
}

pub fn backend(asking: &Asking) -> Backend {
    Backend {
        weight: Weight::new(u64::from(asking.weight)).unwrap(),
        limits: Limits::new(asking.soft, asking.hard).unwrap(),
        fallback: asking.fallback,
        ..Backend::new(
            asking.id.clone(),
            asking.app.clone(),
            Region::parse("eu").unwrap(),
            Country::parse("DE").unwrap(),
            asking.addr,
        )
    }
}

fn change<T>(rng: &mut Rng, value: impl Fn(&mut Rng) -> T) -> Change<T> {
    match rng.u32(0..10) {
        0 | 1 => Change::Set(value(rng)),
        2..5 => Change::Clear,
        _ => Change::Keep,
    }
}
