//! A request: a place by the real picking, an attempt at a machine, and what comes after a failure.

use std::cell::Cell;

use edgeproxy_backend::{Gate, InFlight, Incarnation, MonoTime};
use edgeproxy_balance::retry::{self, Allowance, Failed, Next};
use edgeproxy_balance::{Claim, Client, LastResort, PickError};

use crate::machine::Power;
use crate::process::machine_of;
use crate::timeline::Due;
use crate::trace::{B, By, P, What};
use crate::world::{Phase, World};

/// What became of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Outcome {
    Answered,
    Reset,
    Refused,
    ConnectTimeout,
    ResponseTimeout,
}

/// One attempt of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Attempt {
    pub(crate) request: usize,
    pub(crate) number: u64,
}

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) proxy: P,
    /// The process that has it.
    process: u32,
    /// Whom it was tried on without success, the latest last.
    tried: Vec<Incarnation>,
    pub(crate) attempt: u64,
    began: MonoTime,
    pub(crate) began_at: u64,
    pub(crate) machine: B,
    pub(crate) life: Incarnation,
    pub(crate) place: Option<InFlight>,
}

/// What a client's request gets, and why.
type Picked = Result<(InFlight, By), PickError>;

const MAX_ATTEMPTS: usize = 3;
const CONNECT_TIMEOUT: u64 = 1_000;
const RESPONSE_TIMEOUT: u64 = 2_000;
/// Requests under way that more would be a leak: all that can be at their hard limits, and more.
pub(crate) const REQUESTS_MAX: usize = 400;

impl World {
    pub(crate) fn arrive(&mut self, proxy: P) {
        if self.phase == Phase::Last {
            return;
        }
        let gap = if self.burst_until > self.now {
            self.random.u64(2..20)
        } else {
            self.random.u64(80..320)
        };
        self.after(gap, Due::Request(proxy));
        if self.running(proxy).is_none() {
            return;
        }
        self.summary.requests += 1;
        if let Some(process) = self.running(proxy) {
            process.desk.borrow().budget.count(0);
        }
        self.proxies[proxy.0].budget.count();
        self.place(proxy, Vec::new());
    }

    /// Finds a place for a request, and begins an attempt.
    fn place(&mut self, proxy: P, tried: Vec<Incarnation>) {
        let entropy = self.random.u64(..);
        match self.pick(proxy, &tried, entropy) {
            Ok((place, by)) => self.set_out(proxy, tried, place, by),
            Err(PickError::AllFull) => {
                self.trace.note(self.now, What::Full(proxy));
                self.summary.full += 1;
                self.check_full(proxy);
                self.check_room(proxy, &tried);
            }
            Err(_) => {
                self.trace.note(self.now, What::NobodyFor(proxy));
                self.check_nobody(proxy, &tried);
                self.check_left(proxy, &tried);
            }
        }
    }

    fn pick(&self, proxy: P, tried: &[Incarnation], entropy: u64) -> Picked {
        let process = self.running(proxy).ok_or(PickError::NoneRoutable)?;
        let now = process.handle.now();
        let desk = process.desk.borrow();
        let balancer = &desk.balancer;
        let by = Cell::new(By::OpenGate);
        let picked = balancer.by_admission(
            LastResort::Used,
            tried,
            |admission, skipped| {
                balancer.pick_told(&Client::default(), now, entropy, |endpoint| {
                    Claim::of(endpoint, skipped, || {
                        // What the gate says decides, whatever else would have been let in.
                        let is_excluded = endpoint.meter.gate() == Gate::Excluded;
                        by.set(if is_excluded { By::LastResort } else { By::OpenGate });
                        endpoint.admit(admission)
                    })
                })
            },
            |picked| picked.as_ref().err().copied(),
        );
        picked.map(|(place, _)| (place, by.get()))
    }

    fn set_out(&mut self, proxy: P, tried: Vec<Incarnation>, place: InFlight, by: By) {
        let endpoint = place.endpoint();
        let (machine, life) = (machine_of(endpoint.id.as_str()), endpoint.incarnation);
        let port = endpoint.addr.port();
        self.trace.note(self.now, What::Picked(proxy, machine, life, by));
        self.check_pick(proxy, &place, (machine, life), by, &tried);
        self.check_repeated(proxy, life, &tried);
        let Some(process) = self.running(proxy) else {
            return;
        };
        let (began, process) = (process.handle.now(), process.number);
        self.attempts += 1;
        let number = self.attempts;
        let request = self.requests.insert(Request {
            proxy,
            process,
            tried,
            attempt: number,
            began,
            began_at: self.now,
            machine,
            life,
            place: Some(place),
        });
        let attempt = Attempt { request, number };
        let there = self.network.delay(&mut self.random, self.now);
        let takes = match self.random.u8(..40) {
            0 if self.phase == Phase::Trouble => self.random.u64(300..1_500),
            _ => self.random.u64(4..80),
        };
        let backend = &self.machines[machine.0];
        let is_there = backend.backend.addr.port() == port;
        let reaches = self.network.reaches_machine(proxy, machine, self.now);
        match backend.power {
            _ if !reaches => self.after(CONNECT_TIMEOUT, Due::Ended(attempt, Outcome::ConnectTimeout)),
            Power::Gone => self.after(CONNECT_TIMEOUT, Due::Ended(attempt, Outcome::ConnectTimeout)),
            Power::Off => self.after(2 * there, Due::Ended(attempt, Outcome::Refused)),
            _ if !is_there => self.after(2 * there, Due::Ended(attempt, Outcome::Refused)),
            Power::Hung => self.after(RESPONSE_TIMEOUT, Due::Ended(attempt, Outcome::ResponseTimeout)),
            Power::Up | Power::Resets => {
                let boot = backend.boot;
                self.after(there + takes, Due::Worked(attempt, machine, boot));
            }
        }
    }

    /// Its machine has worked at it, if it is still the same.
    pub(crate) fn worked(&mut self, attempt: Attempt, machine: B, boot: u32) {
        let Some(request) = self.requests.get(attempt.request) else {
            return;
        };
        let (proxy, waited) = (request.proxy, self.now.saturating_sub(request.began_at));
        let back = self.network.delay(&mut self.random, self.now);
        let backend = &self.machines[machine.0];
        let is_same = backend.boot == boot && backend.power.accepts();
        let outcome = match backend.power {
            _ if !self.network.reaches_proxy(machine, proxy, self.now) => Outcome::ResponseTimeout,
            Power::Hung => Outcome::ResponseTimeout,
            Power::Up if is_same => Outcome::Answered,
            _ => Outcome::Reset,
        };
        let delay = if outcome == Outcome::ResponseTimeout {
            RESPONSE_TIMEOUT.saturating_sub(waited)
        } else {
            back
        };
        self.after(delay, Due::Ended(attempt, outcome));
    }

    /// An attempt has come to its end, as far as its proxy knows.
    pub(crate) fn ended(&mut self, attempt: Attempt, outcome: Outcome) {
        let is_it = |request: &Request| request.attempt == attempt.number;
        let Some((proxy, process)) = self
            .requests
            .get(attempt.request)
            .filter(|request| is_it(request))
            .map(|request| (request.proxy, request.process))
        else {
            return;
        };
        let here = &mut self.proxies[proxy.0];
        if here.is_frozen {
            here.late.push(Due::Ended(attempt, outcome));
            return;
        }
        let Some(running) = here.process.as_ref().filter(|running| running.number == process) else {
            return;
        };
        let now = running.handle.now();
        let request = self.requests.remove(attempt.request);
        let Some(place) = request.place else { return };
        let max_failures = self.plan.registry.app.max_failures;
        let signal = match outcome {
            Outcome::Answered => place.succeeded(now.since(request.began), now),
            _ => place.failed(max_failures, now),
        };
        if let Some(signal) = signal {
            running.reports.send(place.report(signal));
        }
        self.trace.note(
            self.now,
            What::Ended(proxy, request.machine, request.life, outcome),
        );
        let whose = (request.machine, request.life);
        self.check_outcome(proxy, whose, (request.began_at, place.is_trial()), outcome);
        drop(place);
        let failed = match outcome {
            Outcome::Answered => {
                self.summary.answered += 1;
                return;
            }
            Outcome::Reset => Failed::NoResponse,
            Outcome::Refused => Failed::Connect,
            Outcome::ConnectTimeout => Failed::ConnectTimeout,
            Outcome::ResponseTimeout => Failed::ResponseTimeout,
        };
        let mut tried = request.tried;
        tried.push(request.life);
        let is_repeatable = retry::Request {
            idempotent: true,
            replayable: true,
        };
        if tried.len() >= MAX_ATTEMPTS {
            self.summary.failed += 1;
            return;
        }
        let next = retry::next(failed, is_repeatable);
        let may = next == Next::OtherBackend
            && self.running(proxy).is_some_and(|process| {
                let desk = process.desk.borrow();
                desk.budget.withdraw(Allowance::default(), now)
            });
        self.check_retry(proxy, &tried, outcome, (next, may), now);
        if may {
            self.place(proxy, tried);
        } else {
            self.summary.failed += 1;
        }
    }

    /// What was under way at a machine that has stopped.
    pub(crate) fn cut_off(&mut self, machine: B) {
        let attempts: Vec<_> = self
            .requests
            .iter()
            .filter(|(_, request)| request.machine == machine)
            .map(|(key, request)| Attempt {
                request: key,
                number: request.attempt,
            })
            .collect();
        for attempt in attempts {
            self.after(1, Due::Ended(attempt, Outcome::Reset));
        }
    }

    /// A process is gone, and its requests with it.
    pub(crate) fn forget_requests(&mut self, proxy: P) {
        let before = self.requests.len();
        self.requests.retain(|_, request| request.proxy != proxy);
        self.summary.lost += (before - self.requests.len()) as u64;
    }

    /// The workers end what is left in flight where a drain's deadline has passed.
    pub(crate) fn end_what_is_cut(&mut self) {
        let is_cut = |request: &Request| {
            let place = request.place.as_ref();
            place.is_some_and(|place| place.endpoint().meter.gate() == Gate::Cut)
        };
        let mut ended = Vec::new();
        let proxies = &self.proxies;
        self.requests.retain(|_, request| {
            let ends = is_cut(request) && !proxies[request.proxy.0].is_frozen;
            if ends {
                ended.push((request.proxy, request.life, request.began_at));
            }
            !ends
        });
        for (proxy, life, began) in ended {
            self.summary.lost += 1;
            self.gave_back(proxy, life, began);
        }
    }
}
