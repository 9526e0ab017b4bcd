//! What there is, and one thing after the other that happens to it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::{
    AppName, Backend, BackendAddr, BackendId, Country, Incarnation, Limits, Meter, Region,
};
use edgeproxy_balance::{Algorithm, Inner, Policy};
use edgeproxy_health::{HttpProbe, Monitor, TcpProbe};
use edgeproxy_registry::{AppPolicy, Config, LastBackend};
use edgeproxy_store::testing::Hub;
use edgeproxy_store::{Memory, Store};
use slab::Slab;
use tokio::time::{Instant, sleep_until};

use crate::machine::{Machine, Power, Truth};
use crate::network::Network;
use crate::process::{Inbox, Plan, Process};
use crate::request::Request;
use crate::retries::Budget;
use crate::rules::View;
use crate::timeline::{Due, Timeline};
use crate::trace::{B, P, Trace, What};
use crate::{Mix, Rule, Summary, Violation};

/// How long things go wrong.
pub(crate) const TROUBLE: u64 = 90_000;
/// By then everything has to be well again: the longest ejection, and the longest that a machine which is gone may stay
/// registered among several proxies (see `rules`).
pub(crate) const SETTLED: u64 = 70_000;
/// For so long nothing may happen then.
pub(crate) const STILL: u64 = 15_000;
/// More that happens in one instant never ends.
const STANDING_MAX: u32 = 2_000;
/// How long a call to a store takes that is well.
pub(crate) const LATENCY: u64 = 2;
/// The last answers come within that.
const LAST: u64 = 5_000;

pub(crate) enum Keeps {
    /// One proxy: what a process has kept its successor reads.
    Memory(Memory),
    /// What several share.
    Hub(Hub),
}

/// A place where a process of a proxy runs, or doesn't.
pub(crate) struct Proxy {
    pub(crate) process: Option<Process>,
    pub(crate) starts: u32,
    pub(crate) is_frozen: bool,
    /// What came meanwhile.
    pub(crate) late: Vec<Due>,
    pub(crate) is_cut: bool,
    /// Since when it runs and reaches the store, without a break.
    pub(crate) current_since: Option<u64>,
    /// When it was started, resumed or woken.
    pub(crate) awake_since: u64,
    pub(crate) views: BTreeMap<Incarnation, View>,
    /// Of this process, for retries.
    pub(crate) budget: Budget,
    /// Every meter of this process, to see that they come to zero.
    pub(crate) meters: BTreeMap<Incarnation, Arc<Meter>>,
}

pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) mix: Mix,
    pub(crate) now: u64,
    pub(crate) random: fastrand::Rng,
    origin: Instant,
    pub(crate) timeline: Timeline,
    pub(crate) network: Network,
    pub(crate) keeps: Keeps,
    pub(crate) is_store_away: bool,
    /// How long a call to the store takes.
    pub(crate) latency: u64,
    pub(crate) plan: Plan,
    pub(crate) ttl: u64,
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) machines: Vec<Machine>,
    pub(crate) requests: Slab<Request>,
    pub(crate) attempts: u64,
    pub(crate) inbox: Inbox,
    pub(crate) trace: Trace,
    pub(crate) summary: Summary,
    pub(crate) violation: Option<Violation>,
    /// Every life that was ever acknowledged, and whose it is, at which port.
    pub(crate) lives: BTreeMap<Incarnation, (B, u16)>,
    /// Time that everybody slept through.
    pub(crate) slept: u64,
    pub(crate) woke_at: u64,
    /// When something last went wrong with the network, the store or a proxy.
    pub(crate) disturbed_at: u64,
    /// Agents are heard by nobody, though all is well else: since when, and who must not be removed for it.
    pub(crate) silence: Option<(u64, Vec<B>)>,
    /// Looks at what has happened since time last passed.
    standing: u32,
    /// Clients send many requests until then.
    pub(crate) burst_until: u64,
    pub(crate) phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Phase {
    Trouble,
    Quiet,
    Still,
    Last,
}

impl World {
    pub(crate) async fn new(seed: u64, mix: Mix) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let proxies = mix.proxies(&mut random);
        let machines = random.usize(4..=7);
        let ttl = [5_000, 6_000, 9_000][random.usize(..3)];
        let plan = plan(seed, mix, &mut random);
        let keeps = if proxies == 1 && random.bool() {
            Keeps::Memory(Memory::new())
        } else {
            Keeps::Hub(Hub::new())
        };
        let machine = |at: usize, random: &mut fastrand::Rng| Machine {
            backend: backend(at, random),
            power: Power::Up,
            boot: 1,
            planned: 0,
            has_agent: true,
            series: 1,
            home: P(random.usize(..proxies)),
            waits_for: 0,
            calls: 0,
            life: None,
            is_leaving: false,
            truth: Truth {
                heard_by: vec![0; proxies],
                heard_before: vec![0; proxies],
                ..Truth::default()
            },
        };
        let mut world = Self {
            seed,
            mix,
            now: 0,
            origin: Instant::now(),
            timeline: Timeline::default(),
            network: Network::new(machines, proxies),
            keeps,
            is_store_away: false,
            latency: LATENCY,
            plan,
            ttl,
            proxies: (0..proxies).map(|_| Proxy::nobody()).collect(),
            machines: (0..machines).map(|at| machine(at, &mut random)).collect(),
            random,
            requests: Slab::new(),
            attempts: 0,
            inbox: Inbox::default(),
            trace: Trace::default(),
            summary: Summary::default(),
            violation: None,
            lives: BTreeMap::new(),
            slept: 0,
            woke_at: 0,
            disturbed_at: 0,
            silence: None,
            standing: 0,
            burst_until: 0,
            phase: Phase::Trouble,
        };
        world.slow_store(LATENCY);
        for proxy in 0..proxies {
            world.start(P(proxy)).await;
            let first = world.random.u64(1_000..1_200);
            world.timeline.push(first, Due::Request(P(proxy)));
        }
        for machine in 0..machines {
            let first = world.random.u64(1..1_000);
            world.timeline.push(first, Due::Agent(B(machine), 1));
        }
        world.timeline.push(100, Due::Look);
        world.timeline.push(2 * ttl, Due::Trouble);
        world
    }

    /// Lives through it all.
    pub(crate) async fn run(mut self) -> Result<Summary, Violation> {
        for (phase, lasts) in [
            (Phase::Trouble, TROUBLE),
            (Phase::Quiet, SETTLED),
            (Phase::Still, STILL),
            (Phase::Last, LAST),
        ] {
            self.begin(phase).await;
            // Sleep passes no time for anybody.
            let end = self.active() + lasts;
            while self.active() < end && self.violation.is_none() {
                self.step(end + self.slept).await;
            }
        }
        if self.violation.is_none() {
            self.check_end();
        }
        let (events, digest) = self.trace.digest();
        self.summary.events = events;
        self.summary.digest = digest;
        match self.violation.take() {
            Some(violation) => Err(violation),
            None => Ok(self.summary),
        }
    }

    async fn begin(&mut self, phase: Phase) {
        self.phase = phase;
        match phase {
            Phase::Quiet => self.heal().await,
            Phase::Still => {
                self.trace.note(self.now, What::Settled);
                self.check_settled().await;
            }
            Phase::Last => self.check_still(),
            Phase::Trouble => {}
        }
    }

    async fn step(&mut self, end: u64) {
        let next = self.timeline.next_at().unwrap_or(end).min(end);
        let next = next.min(self.next_of_proxies());
        let at = self.origin + Duration::from_millis(next.max(self.now));
        tokio::select! {
            biased;
            () = self.inbox.touched.notified() => {}
            () = sleep_until(at) => {}
        }
        let before = self.now;
        self.look_at_clock();
        self.standing = if self.now == before { self.standing + 1 } else { 0 };
        if self.standing > STANDING_MAX {
            let what = "proxies and store tell each other news without end, and no time passes".to_owned();
            self.violate(Rule::Bounded, what);
        }
        self.hear();
        self.see_to_proxies();
        while let Some(due) = self.timeline.pop(self.now) {
            self.happen(due).await;
            self.see_to_proxies();
            if self.violation.is_some() {
                return;
            }
        }
    }

    pub(crate) fn look_at_clock(&mut self) {
        self.now = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
    }

    /// Time that somebody was awake.
    pub(crate) const fn active(&self) -> u64 {
        self.now - self.slept
    }

    async fn happen(&mut self, due: Due) {
        match due {
            Due::Trouble => self.trouble().await,
            Due::Start(proxy) => self.start(proxy).await,
            Due::Look => self.look().await,
            Due::Request(proxy) => self.arrive(proxy),
            Due::Ended(attempt, outcome) => self.ended(attempt, outcome),
            Due::Worked(attempt, machine, boot) => self.worked(attempt, machine, boot),
            Due::Agent(machine, series) => self.agent(machine, series),
            Due::Call(proxy, call) => self.called(proxy, call),
            Due::Answer(machine, number, answer) => self.answered(machine, number, answer),
            Due::GiveUp(machine, number) => self.give_up(machine, number),
            Due::Probe(proxy, process, ticket, machine, life, class, passed) => {
                self.probed((proxy, process), ticket, (machine, life), class, passed);
            }
            Due::Power(machine, planned, power) => {
                if self.machines[machine.0].planned == planned {
                    self.power(machine, power);
                }
            }
            Due::AgentStarts(machine) => self.start_agent(machine),
            Due::Boot(machine) => self.boot(machine),
            Due::StoreIsBack(proxy) => self.store_is_back(proxy),
            Due::StoreIsQuick => self.slow_store(LATENCY),
            Due::Resume(proxy) => self.resume(proxy),
            Due::Enable(machine) => self.switch(machine, true),
        }
    }

    pub(crate) fn after(&mut self, delay: u64, due: Due) {
        self.timeline.push(self.now + delay, due);
    }

    pub(crate) fn store(&self, proxy: P) -> Arc<dyn Store> {
        match &self.keeps {
            Keeps::Memory(memory) => Arc::new(memory.clone()),
            Keeps::Hub(hub) => Arc::new(hub.proxy(&name(proxy))),
        }
    }

    pub(crate) const fn hub(&self) -> Option<&Hub> {
        match &self.keeps {
            Keeps::Memory(_) => None,
            Keeps::Hub(hub) => Some(hub),
        }
    }

    async fn start(&mut self, proxy: P) {
        if self.proxies[proxy.0].process.is_some() {
            return;
        }
        let store = self.store(proxy);
        self.proxies[proxy.0].starts += 1;
        let number = self.proxies[proxy.0].starts;
        let process = Process::start((proxy, number), self.now, store, &self.plan, &self.inbox).await;
        let here = &mut self.proxies[proxy.0];
        here.process = Some(process);
        here.awake_since = self.now;
        here.views.clear();
        here.budget = Budget::default();
        here.meters.clear();
        self.trace.note(self.now, What::Started(proxy));
        self.look_who_is_current();
    }

    /// The process, if it runs and isn't frozen.
    pub(crate) fn running(&self, proxy: P) -> Option<&Process> {
        let here = &self.proxies[proxy.0];
        here.process.as_ref().filter(|_| !here.is_frozen)
    }

    pub(crate) fn look_who_is_current(&mut self) {
        for at in 0..self.proxies.len() {
            let runs = self.running(P(at)).is_some();
            let here = &mut self.proxies[at];
            if runs && !here.is_cut && !self.is_store_away {
                here.current_since.get_or_insert(self.now);
            } else {
                here.current_since = None;
            }
        }
    }

    pub(crate) fn id(&self, machine: B) -> &BackendId {
        &self.machines[machine.0].backend.id
    }
}

impl Proxy {
    fn nobody() -> Self {
        Self {
            process: None,
            starts: 0,
            is_frozen: false,
            late: Vec::new(),
            is_cut: false,
            current_since: None,
            awake_since: 0,
            views: BTreeMap::new(),
            budget: Budget::default(),
            meters: BTreeMap::new(),
        }
    }
}

pub(crate) fn name(proxy: P) -> String {
    format!("p{}", proxy.0)
}

fn backend(at: usize, random: &mut fastrand::Rng) -> Backend {
    let number = u8::try_from(at).expect("few machines");
    let addr = BackendAddr::new(IpAddr::from([10, 0, 0, number + 1]), 8_000).expect("an address");
    let hard = [2, 3, 8][random.usize(..3)];
    Backend {
        limits: Limits::new(hard / 2, hard).expect("limits"),
        ..Backend::new(
            BackendId::parse(&format!("b{at}")).expect("an id"),
            AppName::parse("shop").expect("a name"),
            Region::parse("eu").expect("a region"),
            Country::parse("DE").expect("a country"),
            addr,
        )
    }
}

fn plan(seed: u64, mix: Mix, random: &mut fastrand::Rng) -> Plan {
    let second = Duration::from_secs(1);
    let monitor = match random.u8(..3) {
        0 => None,
        1 => Some(Monitor::new(
            TcpProbe::default()
                .with_connect_timeout(second)
                .expect("a time-out"),
        )),
        _ => Some(Monitor::new(
            HttpProbe::get("/health")
                .and_then(|probe| probe.with_connect_timeout(second)?.with_read_timeout(second))
                .expect("a probe"),
        )),
    };
    let monitor = monitor.map(|monitor| monitor.with_interval(2 * second).expect("an interval"));
    let algorithm = [
        Algorithm::RoundRobin,
        Algorithm::Weighted,
        Algorithm::LeastConnections,
        Algorithm::Ewma,
        Algorithm::RegionAffinity(Inner::LeastConnections),
    ][random.usize(..5)];
    Plan {
        app: AppName::parse("shop").expect("a name"),
        registry: Config {
            seed,
            drain_timeout: 5 * second,
            app: AppPolicy {
                max_failures: random.u32(2..=4),
                last_backend: if random.bool() {
                    LastBackend::Keep
                } else {
                    LastBackend::Eject
                },
                ejection_base: 4 * second,
                ejection_max: 16 * second,
                ..AppPolicy::default()
            },
            ..Config::default()
        },
        policy: Policy {
            algorithm,
            ..Policy::default()
        },
        monitor: monitor.map(Arc::new),
        shares_limits: mix.shares_limits() && random.bool(),
    }
}
