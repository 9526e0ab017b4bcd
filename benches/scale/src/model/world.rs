//! The fleet: every proxy a real state machine, one with its registry, and time that passes in steps.

use std::time::Duration;

use edgeproxy_backend::{BackendId, Incarnation, MonoTime};
use edgeproxy_registry::{Config, Keep, Leases, Record, Registry, Write};
use edgeproxy_store::ProxyName;
use edgeproxy_store::cluster::{Action, Answer, Cluster, ClusterPolicy, Owned};

use super::Happening;
use super::etcd::{Etcd, gone_bytes, registration_bytes};
use super::paper::Fleet;
use crate::fleet::{backend, id};
use crate::machine::{timed, used};

pub(crate) const TTL: Duration = Duration::from_secs(60);
pub(crate) const BEAT: Duration = Duration::from_secs(20);
/// In which time passes.
pub(crate) const STEP: Duration = Duration::from_millis(50);
/// Backends that all proxies which see everything see together.
const SEEN: u32 = 1_000_000;

pub(crate) fn name(n: u32) -> ProxyName {
    ProxyName::parse(&format!("edge-{n:04}")).expect("a valid name")
}

/// What has come of it.
#[derive(Default, Clone, Copy)]
pub(crate) struct Counted {
    pub(crate) transactions: u64,
    /// Events, times those who watch.
    pub(crate) delivered: u64,
    pub(crate) bytes: u64,
    /// That the first proxy asked for in its worst second.
    pub(crate) worst_probes: u64,
    /// Processor time of the first proxy's lease-keeping and registry.
    pub(crate) own: Duration,
}

/// A backend: whose lease it is, which life of it.
struct Backend {
    id: BackendId,
    owner: u32,
    incarnation: Incarnation,
}

pub(crate) struct World {
    fleet: Fleet,
    names: Vec<ProxyName>,
    proxies: Vec<Cluster>,
    /// The first so many see all that the watch tells.
    seeing: u32,
    alive: Vec<bool>,
    backends: Vec<Backend>,
    registry: Registry,
    etcd: Etcd,
    next_incarnation: Incarnation,
    now: MonoTime,
    random: fastrand::Rng,
    own: Duration,
    is_lost: bool,
}

impl World {
    pub(crate) fn new(fleet: Fleet) -> Self {
        let now = MonoTime::from_secs(1_000);
        let names: Vec<_> = (0..fleet.proxies).map(name).collect();
        let mut proxies: Vec<_> = names
            .iter()
            .map(|name| Cluster::new(name.clone(), ClusterPolicy::DEFAULT))
            .collect();
        let registry = Registry::new(
            Config {
                max_backends: 2_000_000,
                max_events: 16,
                leases: Leases::Elsewhere,
                keep: Keep::Registrations,
                ..Config::default()
            },
            now,
        );
        let mut next = Incarnation::FIRST;
        let backends: Vec<_> = (0..fleet.backends)
            .map(|n| {
                let incarnation = next;
                next = next.next();
                Backend {
                    id: id(n),
                    owner: n % fleet.proxies,
                    incarnation,
                }
            })
            .collect();
        let seeing = (SEEN / fleet.backends).clamp(1, fleet.proxies);
        for (at, proxy) in (0..).zip(&mut proxies) {
            let sees = |backend: &&Backend| at < seeing || backend.owner == at;
            let owned = backends
                .iter()
                .filter(sees)
                .map(|backend| owned(backend, &names))
                .collect();
            proxy.resync(owned, names.clone(), now);
        }
        let mut world = Self {
            fleet,
            names,
            proxies,
            seeing,
            alive: vec![true; fleet.proxies as usize],
            backends,
            registry,
            etcd: Etcd::default(),
            next_incarnation: next,
            now,
            random: fastrand::Rng::with_seed(7),
            own: Duration::ZERO,
            is_lost: false,
        };
        for n in 0..fleet.backends {
            world.tell_registry(n);
        }
        world.registry.poll_snapshot(now);
        world
    }

    /// Lets it happen, and counts.
    pub(crate) fn pass(&mut self, happening: Happening) -> Counted {
        let began = self.now;
        self.etcd = Etcd::default();
        self.own = Duration::ZERO;
        let mut watching = self.alive.iter().filter(|alive| **alive).count() as u64;
        if happening == Happening::Death {
            self.die();
            watching -= 1;
        }
        if happening == Happening::Outage {
            self.is_lost = true;
            // What one proxy does then all do, and only the first is looked at.
            let began = used();
            self.proxies[0].lost(self.now);
            self.own += used() - began;
        }
        let (mut second, mut probes, mut worst) = (self.now, 0, 0);
        let mut deployed = 0;
        while self.now.since(began) < happening.time() {
            self.beat(happening);
            self.now = self.now + STEP;
            if happening == Happening::Deploy {
                deployed = self.deploy(began, happening.time(), deployed);
            }
            probes += self.turn();
            if self.now.since(second) >= Duration::from_secs(1) {
                worst = worst.max(probes);
                (second, probes) = (self.now, 0);
            }
        }
        if happening == Happening::Outage {
            self.is_lost = false;
            self.proxies[0].restored(self.now);
            // What that brings belongs to nobody's count.
            self.turn();
        }
        Counted {
            transactions: self.etcd.transactions,
            delivered: self.etcd.events * watching,
            bytes: self.etcd.event_bytes * watching,
            worst_probes: worst,
            own: self.own,
        }
    }

    fn every(&mut self, mut call: impl FnMut(&mut Cluster)) {
        for (at, proxy) in self.proxies.iter_mut().enumerate() {
            if at == 0 {
                self.own += timed(|| call(proxy)).1;
            } else {
                call(proxy);
            }
        }
    }

    /// The heartbeats of one step.
    fn beat(&mut self, happening: Happening) {
        let steps = BEAT.as_millis() / STEP.as_millis();
        let step = self.now.as_micros() as u128 / STEP.as_micros() % steps;
        let share = |step: u128| (u128::from(self.fleet.backends) * step / steps) as u32;
        for n in share(step)..share(step + 1) {
            let owner = self.backends[n as usize].owner;
            let wanders = match happening {
                Happening::Wandering => self.random.u8(..10) == 0,
                Happening::Anycast => true,
                _ => false,
            };
            let at = if wanders || !self.alive[owner as usize] {
                self.somebody()
            } else {
                owner
            };
            self.hear(n, at);
        }
    }

    fn somebody(&mut self) -> u32 {
        loop {
            let at = self.random.u32(..self.fleet.proxies);
            if self.alive[at as usize] {
                return at;
            }
        }
    }

    /// A heartbeat comes to a proxy. One that doesn't see everything has been told of that backend by then.
    fn hear(&mut self, n: u32, at: u32) {
        let backend = &self.backends[n as usize];
        let proxy = &mut self.proxies[at as usize];
        if at >= self.seeing && proxy.knows(&backend.id) != Some(backend.incarnation) {
            proxy.put(owned(backend, &self.names), self.now);
        }
        if at == 0 {
            self.own += timed(|| proxy.heartbeat(&backend.id, self.now)).1;
        } else {
            proxy.heartbeat(&backend.id, self.now);
        }
    }

    /// A proxy dies, and with it nobody else. Not one of those that are looked at.
    fn die(&mut self) {
        let dead = self.fleet.proxies - 1;
        self.alive[dead as usize] = false;
        let (name, now) = (self.names[dead as usize].clone(), self.now);
        self.every(|proxy| proxy.parted(&name, now));
    }

    /// Those that are to be replaced by now.
    fn deploy(&mut self, began: MonoTime, time: Duration, deployed: u32) -> u32 {
        let all = self.fleet.backends / 100;
        let due = (f64::from(all) * self.now.since(began).as_secs_f64() / time.as_secs_f64()) as u32;
        let mut by_proxy = std::collections::BTreeMap::<u32, u64>::new();
        for k in deployed..due.min(all) {
            // Not its neighbours, which other proxies own in turn.
            let n = (u64::from(k) * 7_919 % u64::from(self.fleet.backends)) as u32;
            *by_proxy.entry(self.backends[n as usize].owner).or_default() += 1;
            self.replace(n);
        }
        let bytes = gone_bytes(self.backends[0].id.as_str());
        let registered = registration_bytes(self.backends[0].id.as_str(), self.names[0].as_str());
        for (owner, count) in by_proxy {
            let owner = self.names[owner as usize].clone();
            self.etcd.commit(count, bytes, &owner);
            self.etcd.commit(count, registered, &owner);
        }
        due.min(all)
    }

    /// It leaves, and another life of it comes, at the same proxy.
    fn replace(&mut self, n: u32) {
        let owner = self.backends[n as usize].owner as usize;
        let gone = self.backends[n as usize].incarnation;
        self.backends[n as usize].incarnation = self.next_incarnation;
        self.next_incarnation = self.next_incarnation.next();
        let backend = &self.backends[n as usize];
        self.proxies[owner].left(&backend.id);
        self.proxies[owner].registered(&backend.id, backend.incarnation, TTL, self.now);
        let told = owned(backend, &self.names);
        for at in (0..self.seeing).chain([owner as u32]) {
            let proxy = &mut self.proxies[at as usize];
            let took = timed(|| {
                proxy.deleted(&backend.id, gone);
                proxy.put(told.clone(), self.now);
            });
            if at == 0 {
                self.own += took.1;
            }
        }
        let began = used();
        let write = Write::Gone {
            id: backend.id.clone(),
            incarnation: gone,
        };
        self.registry.handle_foreign(write, self.now);
        self.tell_registry(n);
        self.own += used() - began;
    }

    fn tell_registry(&mut self, n: u32) {
        let known = &self.backends[n as usize];
        let record = Record {
            backend: backend(n, (self.fleet.backends / 100).clamp(1, 1_000)),
            incarnation: known.incarnation,
            ttl: TTL,
        };
        self.registry.handle_foreign(Write::Registered(record), self.now);
    }

    /// Everybody does what is due. How many probes the first proxy asked for.
    fn turn(&mut self) -> u64 {
        let now = self.now;
        let mut probes = 0;
        for at in 0..self.fleet.proxies {
            if !self.alive[at as usize] {
                continue;
            }
            let began = if at == 0 { used() } else { Duration::ZERO };
            let actions = self.due(at);
            if at == 0 {
                self.own += used() - began;
                probes += actions
                    .iter()
                    .filter(|action| matches!(action, Action::Probe { .. }))
                    .count() as u64;
            }
            self.follow(at, actions);
        }
        let began = used();
        self.registry.handle_timeout(now);
        while self.registry.poll_event().is_some() {}
        self.registry.poll_snapshot(now);
        self.own += used() - began;
        probes
    }

    fn due(&mut self, at: u32) -> Vec<Action> {
        let proxy = &mut self.proxies[at as usize];
        while proxy.poll_timeout().is_some_and(|due| due <= self.now) {
            proxy.tick(self.now);
        }
        std::iter::from_fn(|| proxy.poll_action()).collect()
    }

    /// What a proxy wants done is done, and everybody who sees it is told.
    fn follow(&mut self, at: u32, actions: Vec<Action>) {
        let mut adopted = std::collections::BTreeMap::new();
        for action in actions {
            match action {
                Action::Probe { id, incarnation } => {
                    self.proxies[at as usize].probed(&id, incarnation, Answer::Answers, self.now);
                }
                Action::Adopt { id, .. } => drop(adopted.insert(id, ())),
                Action::Tell { ids } => self.told(at, &ids),
                // Nobody here falls silent.
                Action::Expire { .. } | Action::Delete { .. } => {
                    unreachable!("somebody is to end who is there")
                }
                Action::Believe { .. } => {}
            }
        }
        if adopted.is_empty() || self.is_lost {
            return;
        }
        let bytes = registration_bytes(self.backends[0].id.as_str(), self.names[0].as_str());
        self.etcd
            .commit(adopted.len() as u64, bytes, &self.names[at as usize].clone());
        for id in adopted.into_keys() {
            let n = number(&id);
            let before = std::mem::replace(&mut self.backends[n as usize].owner, at);
            let told = owned(&self.backends[n as usize], &self.names);
            for sees in (0..self.seeing).chain([before, at]) {
                self.proxies[sees as usize].put(told.clone(), self.now);
            }
        }
    }

    fn told(&mut self, at: u32, ids: &[BackendId]) {
        let by = self.names[at as usize].clone();
        self.etcd
            .heard(ids.len() as u64, self.backends[0].id.as_str().len() as u64, &by);
        let now = self.now;
        let began = used();
        self.proxies[0].heard(ids, now);
        for id in ids {
            self.registry.handle_heard(id, now);
        }
        self.own += used() - began;
        for sees in 1..self.seeing {
            self.proxies[sees as usize].heard(ids, now);
        }
        for id in ids {
            let owner = self.backends[number(id) as usize].owner;
            if owner >= self.seeing {
                self.proxies[owner as usize].heard(std::slice::from_ref(id), now);
            }
        }
    }
}

fn owned(backend: &Backend, names: &[ProxyName]) -> Owned {
    Owned {
        id: backend.id.clone(),
        incarnation: backend.incarnation,
        ttl: TTL,
        owner: names[backend.owner as usize].clone(),
    }
}

/// Which one that is.
fn number(id: &BackendId) -> u32 {
    id.as_str()
        .rsplit('-')
        .next()
        .and_then(|digits| digits.parse().ok())
        .expect("an id of this fleet")
}
