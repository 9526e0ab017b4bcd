use std::collections::VecDeque;
use std::sync::Arc;

use edgeproxy_backend::{
    AppName, Backend, BackendId, Endpoint, InFlight, Incarnation, MonoTime, TrafficReport,
};
use edgeproxy_balance::retry::RetryBudget;
use edgeproxy_balance::{
    Algorithm, Balancer, Bindings, Claim, Client, Grounds, PickError, Policy, RoundTrips,
};
use edgeproxy_health as health;
use edgeproxy_health::{Class, Monitor, Schedule, Start, Target, Ticket};
use edgeproxy_registry::{
    AppSnapshot, Change, Configuration, Event, Patch, Probe, Registration, Registry, State,
};
use hashbrown::HashMap;

use crate::fleet::{Fleet, FleetError, Requests, Site};
use crate::random::Random;
use crate::timeline::Attempt;
use crate::wiring;

/// The registry's clock when the simulation begins. Not at its origin, so that what happened "before" has a time, too.
const ORIGIN: MonoTime = MonoTime::from_secs(1_000);

/// The time on the clocks of the real crates.
pub(crate) fn clock(micros: u64) -> MonoTime {
    MonoTime::from_micros(ORIGIN.as_micros().saturating_add(micros))
}

fn unclock(time: MonoTime) -> u64 {
    time.as_micros().saturating_sub(ORIGIN.as_micros())
}

/// One proxy: its registry, its health checks, its balancer, and who waits.
pub(crate) struct Proxy {
    app: AppName,
    policy: Policy,
    registry: Registry,
    schedule: Schedule,
    monitor: Option<Arc<Monitor>>,
    suspects: Arc<Monitor>,
    balancer: Balancer<Arc<Endpoint>>,
    latest: Option<Arc<AppSnapshot>>,
    pub(crate) budget: RetryBudget,
    pub(crate) bindings: Option<Bindings>,
    /// Requests that wait for a place, the longest waiting first.
    pub(crate) queue: VecDeque<usize>,
    /// When one of them has waited too long, or earlier.
    pub(crate) queue_due: u64,
    /// When the oldest attempts are waited for no longer, the oldest first.
    pub(crate) deadlines: VecDeque<(u64, Attempt)>,
    pub(crate) random: Random,
    /// The machine of each incarnation.
    machines: HashMap<Incarnation, usize, foldhash::fast::FixedState>,
    by_id: HashMap<BackendId, usize, foldhash::fast::FixedState>,
    /// When it wants to be woken.
    pub(crate) due: u64,
    /// Whether it has something to see to at once.
    pub(crate) is_touched: bool,
}

impl Proxy {
    pub(crate) fn new(fleet: &Fleet, site: Site, number: u64) -> Result<Self, FleetError> {
        let app = &fleet.app;
        let mut policy = Policy {
            own_region: Some(site.region),
            ..app.policy.clone()
        };
        let goes_by_distance =
            matches!(policy.algorithm, Algorithm::RegionAffinity(_)) && policy.region_order.is_empty();
        if goes_by_distance {
            let ends = fleet.round_trips.iter().filter_map(|(one, other, long)| {
                let other = match site.region {
                    region if region == *one => *other,
                    region if region == *other => *one,
                    _ => return None,
                };
                Some((other, *long))
            });
            policy.region_order = RoundTrips::new(ends).nearest_first().to_vec();
        }
        let now = clock(0);
        let mut registry = Registry::new(
            edgeproxy_registry::Config {
                seed: fleet.seed ^ number,
                app: app.ledgers,
                ..app.registry.clone()
            },
            now,
        );
        let listed = fleet
            .machines
            .iter()
            .filter(|machine| machine.is_there && machine.membership == crate::Membership::Listed);
        let configuration = Configuration {
            others: app.ledgers,
            apps: Vec::new(),
            backends: listed.map(|machine| machine.backend.clone()).collect(),
        };
        registry
            .configure(configuration, now)
            .map_err(|error| FleetError::Backend {
                id: app.name.to_string(),
                reason: error.to_string(),
            })?;
        let requests: &Requests = &app.requests;
        let ids = fleet.machines.iter().map(|machine| machine.backend.id.clone());
        Ok(Self {
            app: app.name.clone(),
            balancer: Balancer::prepare(&policy, Vec::new(), now, None),
            policy,
            registry,
            schedule: Schedule::new(health::Config {
                seed: fleet.seed ^ number,
                ..health::Config::default()
            }),
            monitor: app.monitor.clone().map(Arc::new),
            suspects: Arc::new(Monitor::tcp()),
            latest: None,
            budget: RetryBudget::default(),
            bindings: requests
                .bindings
                .map(|(capacity, ttl)| Bindings::new(capacity, ttl)),
            queue: VecDeque::new(),
            queue_due: u64::MAX,
            deadlines: VecDeque::new(),
            random: Random::new(fleet.seed, number),
            machines: HashMap::default(),
            by_id: ids.zip(0..).collect(),
            due: 0,
            is_touched: true,
        })
    }

    /// A place for a request, and on what grounds.
    pub(crate) fn pick(
        &mut self,
        requests: &Requests,
        client: &Client,
        tried: &[Incarnation],
        now: u64,
    ) -> Result<(InFlight, Grounds), PickError> {
        let (balancer, random) = (&self.balancer, &mut self.random);
        balancer.by_admission(
            requests.last_resort,
            tried,
            |admission, skipped| {
                balancer.pick_told(client, clock(now), random.bits(), |endpoint| {
                    Claim::of(endpoint, skipped, || endpoint.admit(admission))
                })
            },
            |picked| picked.as_ref().err().copied(),
        )
    }

    /// Which machine an incarnation is a life of.
    pub(crate) fn machine(&self, incarnation: Incarnation) -> Option<usize> {
        self.machines.get(&incarnation).copied()
    }

    pub(crate) fn report(&mut self, report: &TrafficReport, now: u64) {
        self.registry.handle_traffic(report, clock(now));
        self.is_touched = true;
    }

    /// It registers, as a backend does that starts, or whose heartbeat is answered with 404.
    pub(crate) fn register(&mut self, backend: &Backend, now: u64) -> Result<(), FleetError> {
        self.is_touched = true;
        let registration = Registration {
            backend: backend.clone(),
            ttl: None,
        };
        let registered = self.registry.handle_register(registration, clock(now));
        registered.map(drop).map_err(|error| FleetError::Backend {
            id: backend.id.to_string(),
            reason: error.to_string(),
        })
    }

    /// A heartbeat came. Whether it is known.
    pub(crate) fn heartbeat(&mut self, id: &BackendId, now: u64) -> bool {
        self.is_touched = true;
        let report = edgeproxy_registry::LoadReport::default();
        self.registry
            .handle_heartbeat(id, None, &report, clock(now))
            .is_ok()
    }

    /// It leaves, and has so long to drain. One that is unknown has left.
    pub(crate) fn deregister(&mut self, id: &BackendId, now: u64) {
        self.is_touched = true;
        let drain = Some(self.registry.config().drain_timeout);
        let _ = self.registry.handle_deregister(id, None, drain, clock(now));
    }

    /// The configuration lists these from now on.
    pub(crate) fn list(&mut self, backends: Vec<Backend>, now: u64) -> Result<(), FleetError> {
        self.is_touched = true;
        let configuration = Configuration {
            others: self.registry.config().app,
            apps: Vec::new(),
            backends,
        };
        let result = self.registry.configure(configuration, clock(now));
        result.map(drop).map_err(|error| FleetError::Backend {
            id: self.app.to_string(),
            reason: error.to_string(),
        })
    }

    /// An operator changes it. One that is unknown stays as it is.
    pub(crate) fn patch(&mut self, id: &BackendId, patch: &Patch, now: u64) {
        self.is_touched = true;
        let _ = self.registry.handle_patch(id, None, patch, clock(now));
    }

    /// A probe has ended.
    pub(crate) fn probed(&mut self, ticket: Ticket, passed: bool, now: u64) {
        self.is_touched = true;
        let registry = &mut self.registry;
        self.schedule.handle_result(ticket, clock(now), |target| {
            let probe = match target.class {
                Class::Monitor => Probe::Monitor,
                Class::Suspect => Probe::Suspect,
            };
            match registry.handle_probe(&target.id, target.incarnation, probe, passed, clock(now)) {
                edgeproxy_registry::Pace::Settled => health::Pace::Settled,
                edgeproxy_registry::Pace::Changing => health::Pace::Changing,
            }
        });
    }

    /// Passes the time on.
    pub(crate) fn wake(&mut self, now: u64) {
        self.is_touched = true;
        self.registry.handle_timeout(clock(now));
        self.schedule.handle_timeout(clock(now));
    }

    /// An event that is to be told.
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.registry.poll_event()
    }

    /// Publishes what has changed. Whether there is another table.
    pub(crate) fn publish(&mut self, now: u64) -> bool {
        let snapshot = self.registry.poll_snapshot(clock(now));
        if let Some(snapshot) = &snapshot {
            self.latest = snapshot.apps.get(&self.app).cloned();
            self.follow(now);
        }
        let step = self.balancer.next_change().is_some_and(|due| due <= clock(now));
        if snapshot.is_none() && !step {
            return false;
        }
        let members = self.latest.iter().flat_map(|app| &app.members);
        let candidates = members.map(wiring::candidate).collect();
        self.balancer = Balancer::prepare(&self.policy, candidates, clock(now), Some(&self.balancer));
        true
    }

    /// Has the health checks follow the members.
    fn follow(&mut self, now: u64) {
        let Some(app) = &self.latest else {
            self.schedule.replace(Vec::new(), clock(now));
            return;
        };
        let mut targets = Vec::new();
        for member in &app.members {
            let endpoint = &member.endpoint;
            if let Some(machine) = self.by_id.get(&endpoint.id) {
                self.machines.insert(endpoint.incarnation, *machine);
            }
            for class in wiring::probed_for(member, self.monitor.is_some())
                .into_iter()
                .flatten()
            {
                let monitor = match class {
                    Class::Monitor => self.monitor.as_ref(),
                    Class::Suspect => Some(&self.suspects),
                };
                targets.extend(monitor.map(|monitor| Target {
                    id: endpoint.id.clone(),
                    incarnation: endpoint.incarnation,
                    class,
                    addr: endpoint.addr,
                    monitor: Arc::clone(monitor),
                    first: wiring::first_probe(member),
                }));
            }
        }
        self.schedule.replace(targets, clock(now));
    }

    /// A probe that is to begin, and the machine that it is of.
    pub(crate) fn poll_probe(&mut self, now: u64) -> Option<(Start, Option<usize>)> {
        while let Some(ticket) = self.schedule.poll_cancel() {
            self.schedule.handle_aborted(ticket, clock(now));
        }
        let start = self.schedule.poll_probe()?;
        let machine = self.by_id.get(&start.target.id).copied();
        Some((start, machine))
    }

    /// Works out when it wants to be woken.
    pub(crate) fn rest(&mut self) {
        self.is_touched = false;
        let wishes = [
            self.registry.poll_timeout(),
            self.schedule.poll_timeout(),
            self.balancer.next_change(),
        ];
        self.due = wishes
            .into_iter()
            .flatten()
            .map(unclock)
            .min()
            .unwrap_or(u64::MAX);
    }

    /// What a backend is doing here: its incarnation that is a member.
    pub(crate) fn members(&self) -> impl Iterator<Item = (usize, &Arc<Endpoint>)> {
        let members = self.latest.iter().flat_map(|app| &app.members);
        members.filter_map(|member| {
            let endpoint = &member.endpoint;
            Some((self.machine(endpoint.incarnation)?, endpoint))
        })
    }

    /// The state of each backend here.
    pub(crate) fn states(&self) -> impl Iterator<Item = (usize, State)> {
        let members = self.latest.iter().flat_map(|app| &app.members);
        members.filter_map(|member| Some((self.machine(member.endpoint.incarnation)?, member.state)))
    }
}

/// What an operator's switch is.
pub(crate) fn switch(enabled: Change<bool>) -> Patch {
    Patch {
        enabled,
        ..Patch::default()
    }
}
