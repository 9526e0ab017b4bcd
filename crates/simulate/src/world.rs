//! What happens, one thing after the other.

mod attempt;
mod script;

pub(crate) use script::Planned;

use edgeproxy_backend::{InFlight, Incarnation};
use edgeproxy_balance::{Client, retry};
use edgeproxy_health::{Class, Kind, Start};
use slab::Slab;

use crate::fleet::{Fleet, FleetError, Membership, micros};
use crate::keys::Drawer;
use crate::machine::{Power, Worker};
use crate::proxy::Proxy;
use crate::random::Random;
use crate::record::Record;
use crate::report::Report;
use crate::timeline::{Attempt, Due, Timeline};

/// Streams of random numbers that are neither a proxy's nor a stream's of requests.
const OF_MACHINES: u64 = 1 << 32;
const OF_TRAFFIC: u64 = 2 << 32;

pub(crate) struct World<'f> {
    fleet: &'f Fleet,
    now: u64,
    timeline: Timeline,
    machines: Vec<Worker>,
    proxies: Vec<Proxy>,
    sources: Vec<Source>,
    requests: Slab<Request>,
    next_attempt: u64,
    record: Record,
    /// By proxy and machine, in microseconds.
    round_trips: Vec<Vec<u64>>,
    /// Whether an error of each machine counts as a failed request.
    is_unhealthy: Vec<bool>,
}

/// A stream of requests.
struct Source {
    random: Random,
    keys: Option<Drawer>,
    /// The proxies that its clients come to.
    proxies: Vec<usize>,
}

/// A request that is not over.
struct Request {
    source: usize,
    proxy: usize,
    arrived: u64,
    client: Client,
    repeat: retry::Request,
    /// Whom it was tried on without success, the latest last.
    tried: Vec<Incarnation>,
    /// Until when it waits for places, since it first did.
    waits_until: Option<u64>,
    /// The attempt that is under way: its number, when it began, and at which machine. The place is held until its outcome.
    attempt: u64,
    began: u64,
    machine: usize,
    place: Option<InFlight>,
    /// How the latest attempt failed.
    failed: Option<retry::Failed>,
}

impl<'f> World<'f> {
    pub(crate) fn new(fleet: &'f Fleet) -> Result<Self, FleetError> {
        let proxies = fleet
            .sites
            .iter()
            .zip(1..)
            .map(|(site, number)| Proxy::new(fleet, *site, number))
            .collect::<Result<Vec<_>, _>>()?;
        let machines = fleet.machines.iter().zip(OF_MACHINES..);
        let sources = fleet.traffic.iter().zip(OF_TRAFFIC..).map(|(traffic, stream)| {
            let near: Vec<usize> = (0..fleet.sites.len())
                .filter(|site| fleet.sites.get(*site).map(|site| site.region) == traffic.region)
                .collect();
            Source {
                random: Random::new(fleet.seed, stream),
                keys: traffic.keys.map(|keys| Drawer::new(keys, stream)),
                proxies: if near.is_empty() {
                    (0..fleet.sites.len()).collect()
                } else {
                    near
                },
            }
        });
        let requests = &fleet.app.requests;
        let round_trips = fleet.sites.iter().map(|site| {
            let machines = fleet.machines.iter();
            machines
                .map(|machine| fleet.round_trip(site.region, machine.backend.region))
                .collect()
        });
        let is_unhealthy = fleet.machines.iter().map(|machine| {
            requests
                .unhealthy
                .iter()
                .any(|statuses| statuses.contains(&machine.status))
        });
        Ok(Self {
            fleet,
            now: 0,
            timeline: Timeline::default(),
            machines: machines
                .map(|(machine, stream)| Worker::new(machine.clone(), Random::new(fleet.seed, stream)))
                .collect(),
            proxies,
            sources: sources.collect(),
            requests: Slab::new(),
            next_attempt: 1,
            record: Record::new(fleet),
            round_trips: round_trips.collect(),
            is_unhealthy: is_unhealthy.collect(),
        })
    }

    pub(crate) fn run(mut self) -> Result<Report, FleetError> {
        let end = micros(self.fleet.duration);
        self.begin()?;
        while let Some(next) = self.next_at().filter(|next| *next < end) {
            // A retry may come back to the queue when its time to wait is over already.
            self.now = next.max(self.now);
            self.happen()?;
            self.settle();
        }
        self.now = end;
        self.record.look(&self.proxies, end);
        let in_flight = self.requests.len() as u64;
        Ok(self.record.finish(in_flight))
    }

    fn begin(&mut self) -> Result<(), FleetError> {
        for machine in 0..self.machines.len() {
            if self.machines[machine].is_member {
                self.join(machine)?;
            }
        }
        for source in 0..self.sources.len() {
            self.next_arrival(source);
        }
        for (at, machine, action) in script::planned(&self.fleet.script) {
            self.timeline.push(at, Due::Action(machine, action));
        }
        self.timeline.push(self.record.look_every(), Due::Sample);
        self.settle();
        Ok(())
    }

    /// When the next thing happens.
    fn next_at(&self) -> Option<u64> {
        let of_proxies = self.proxies.iter().map(|proxy| {
            let deadline = proxy.deadlines.front().map_or(u64::MAX, |(at, _)| *at);
            proxy.due.min(deadline).min(proxy.queue_due)
        });
        of_proxies
            .chain(self.timeline.next_at())
            .min()
            .filter(|at| *at < u64::MAX)
    }

    fn happen(&mut self) -> Result<(), FleetError> {
        for proxy in 0..self.proxies.len() {
            if self.proxies[proxy].due <= self.now {
                let now = self.now;
                self.proxies[proxy].wake(now);
            }
            self.time_out(proxy);
        }
        while self.timeline.next_at().is_some_and(|at| at <= self.now) {
            match self.timeline.pop() {
                Some(due) => self.act(due)?,
                None => break,
            }
        }
        Ok(())
    }

    fn act(&mut self, due: Due) -> Result<(), FleetError> {
        match due {
            Due::Arrival(source) => self.arrive(source),
            Due::Reached(machine, attempt) => self.reach(machine, attempt),
            Due::Worked(machine, life, attempt, outcome) => self.worked(machine, life, attempt, outcome),
            Due::Returned(attempt, life, outcome) => self.returned(attempt, life, outcome),
            Due::Probed(proxy, ticket, passed) => self.proxies[proxy].probed(ticket, passed, self.now),
            Due::Heartbeat(machine, series) => self.heartbeat(machine, series)?,
            Due::Action(machine, action) => self.apply(machine, action)?,
            Due::Over(machine, action, life) => self.undo(machine, action, life)?,
            Due::Lifted(machine, action, number) => self.lift(machine, action, number),
            Due::Drained(machine, until, down) => self.drained(machine, until, down),
            Due::Start(machine, life) => self.start_again(machine, life)?,
            Due::Sample => {
                self.record.look(&self.proxies, self.now);
                self.timeline
                    .push(self.now + self.record.look_every(), Due::Sample);
            }
        }
        Ok(())
    }

    /// Lets every proxy that has something to see to see to it.
    fn settle(&mut self) {
        for number in 0..self.proxies.len() {
            // A table that lets waiters in can have them report, and so on; each time somebody has been served.
            while self.proxies[number].is_touched {
                self.proxies[number].is_touched = false;
                self.see_to(number);
            }
        }
    }

    fn see_to(&mut self, number: usize) {
        let now = self.now;
        let proxy = &mut self.proxies[number];
        while let Some(event) = proxy.poll_event() {
            self.record.told(number, &event, now);
        }
        if proxy.publish(now) {
            self.serve_waiting(number, usize::MAX);
        }
        while let Some((start, machine)) = self.proxies[number].poll_probe(now) {
            self.probe(number, &start, machine);
        }
        let touched = self.proxies[number].is_touched;
        self.proxies[number].rest();
        self.proxies[number].is_touched = touched;
    }

    /// Begins a probe, and works out what becomes of it.
    fn probe(&mut self, proxy: usize, start: &Start, machine: Option<usize>) {
        let Some(worker) = machine.and_then(|machine| self.machines.get_mut(machine)) else {
            return;
        };
        let (connect, answer) = match (start.target.class, start.target.monitor.kind()) {
            (Class::Suspect, Kind::Tcp(probe)) | (_, Kind::Tcp(probe)) => (probe.connect_timeout(), None),
            (_, Kind::Http(probe)) => (probe.connect_timeout(), Some(probe.read_timeout())),
            (_, Kind::Grpc(probe)) => (probe.connect_timeout(), Some(probe.read_timeout())),
        };
        let trip = machine
            .map_or(0, |machine| self.round_trips[proxy][machine])
            .max(1);
        let (takes, passed) = match (worker.power, answer) {
            (Power::Unreachable, _) => (micros(connect), false),
            (Power::Off, _) => (trip, false),
            (Power::Up | Power::Hung, None) => (trip, true),
            (Power::Hung, Some(read)) => (trip + micros(read), false),
            (Power::Up, Some(read)) => {
                let (takes, outcome) = worker.work(self.now);
                let in_time = takes <= micros(read);
                let passed = in_time && outcome == crate::timeline::Outcome::Answered;
                (2 * trip + takes.min(micros(read)), passed)
            }
        };
        self.timeline
            .push(self.now + takes, Due::Probed(proxy, start.ticket, passed));
    }

    /// It becomes a member at every proxy.
    fn join(&mut self, machine: usize) -> Result<(), FleetError> {
        let now = self.now;
        let worker = &mut self.machines[machine];
        worker.is_member = true;
        worker.series += 1;
        let (series, membership) = (worker.series, worker.spec.membership);
        match membership {
            Membership::Listed if now == 0 => Ok(()),
            Membership::Listed => self.list(),
            Membership::Registers => {
                for proxy in &mut self.proxies {
                    proxy.register(&self.machines[machine].spec.backend, now)?;
                }
                let every = self.fleet.heartbeat_every();
                self.timeline.push(now + every, Due::Heartbeat(machine, series));
                Ok(())
            }
        }
    }

    /// It is no member any more, and drains.
    fn part(&mut self, machine: usize) -> Result<(), FleetError> {
        let now = self.now;
        let worker = &mut self.machines[machine];
        worker.is_member = false;
        worker.series += 1;
        if worker.spec.membership == Membership::Listed {
            return self.list();
        }
        for proxy in &mut self.proxies {
            proxy.deregister(&self.machines[machine].spec.backend.id, now);
        }
        Ok(())
    }

    /// Puts the list of the configuration in force as it is now.
    fn list(&mut self) -> Result<(), FleetError> {
        let listed = self
            .machines
            .iter()
            .filter(|worker| worker.is_member && worker.spec.membership == Membership::Listed);
        let backends: Vec<_> = listed.map(|worker| worker.spec.backend.clone()).collect();
        let now = self.now;
        self.proxies
            .iter_mut()
            .try_for_each(|proxy| proxy.list(backends.clone(), now))
    }

    fn heartbeat(&mut self, machine: usize, series: u32) -> Result<(), FleetError> {
        let worker = &self.machines[machine];
        if worker.series != series || !worker.is_member {
            return Ok(());
        }
        self.timeline.push(
            self.now + self.fleet.heartbeat_every(),
            Due::Heartbeat(machine, series),
        );
        if worker.is_silent || matches!(worker.power, Power::Off | Power::Unreachable) {
            return Ok(());
        }
        let backend = &worker.spec.backend;
        for proxy in &mut self.proxies {
            if !proxy.heartbeat(&backend.id, self.now) {
                proxy.register(backend, self.now)?;
            }
        }
        Ok(())
    }

    fn next_arrival(&mut self, source: usize) {
        let (traffic, stream) = (&self.fleet.traffic[source], &mut self.sources[source]);
        let next = traffic.rate.next(
            traffic.arrivals,
            self.now,
            self.fleet.duration,
            &mut stream.random,
        );
        if let Some(at) = next {
            self.timeline.push(at, Due::Arrival(source));
        }
    }

    fn attempt_of(&self, request: usize) -> Option<Attempt> {
        let number = self.requests.get(request)?.attempt;
        Some(Attempt { request, number })
    }
}
