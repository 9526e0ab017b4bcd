//! A request at a proxy, step by step as `crates/proxy` takes it (`exchange`): a place, an attempt, and what comes after a
//! failure.

use edgeproxy_backend::{InFlight, Signal};
use edgeproxy_balance::retry::{self, Failed, Next};
use edgeproxy_balance::{Client, Grounds, PickError};

use super::{Request, World};
use crate::fleet::micros;
use crate::machine::Power;
use crate::proxy::clock;
use crate::report::Failure;
use crate::timeline::{Attempt, Due, Outcome};

/// A request's place in the queue after it had its turn.
enum Turn {
    /// It was served.
    Left,
    /// It is out without a place: the turn is the next one's.
    Refused,
    /// There is room, but only where it has failed: the next one may use that.
    Passed,
    /// There is no room.
    Stays,
}

impl World<'_> {
    pub(super) fn arrive(&mut self, source: usize) {
        self.next_arrival(source);
        let traffic = &self.fleet.traffic[source];
        let stream = &mut self.sources[source];
        let proxy = match stream.proxies.as_slice() {
            [only] => *only,
            several => several[stream.random.below(several.len())],
        };
        let key = stream.keys.as_ref().map(|keys| keys.draw(&mut stream.random));
        let here = &mut self.proxies[proxy];
        let bound = key.and_then(|key| here.bindings.as_ref()?.find(key, clock(self.now)));
        here.budget.count(0);
        let idempotent = traffic.idempotent || self.fleet.app.requests.retry_non_idempotent;
        let request = self.requests.insert(Request {
            source,
            proxy,
            arrived: self.now,
            client: Client {
                country: traffic.country,
                region: traffic.region,
                key,
                bound,
            },
            repeat: retry::Request {
                idempotent,
                replayable: true,
            },
            tried: Vec::new(),
            waits_until: None,
            attempt: 0,
            began: 0,
            machine: 0,
            place: None,
            failed: None,
        });
        self.record.arrived(source, self.now);
        self.place(request);
    }

    /// A place at once, or when it is this request's turn: whoever waits already goes first, before a retry as well.
    fn place(&mut self, request: usize) {
        let Some(proxy) = self.requests.get(request).map(|request| request.proxy) else {
            return;
        };
        if self.proxies[proxy].queue.is_empty() {
            match self.pick(request) {
                Err(PickError::AllFull) => {}
                Err(error) => return self.refuse(request, error),
                Ok(picked) => return self.go(request, picked),
            }
        }
        let requests = &self.fleet.app.requests;
        if self.proxies[proxy].queue.len() >= requests.queue_max {
            return self.end(request, Failure::BackendsFull);
        }
        let until = self.now + micros(requests.queue_timeout);
        if let Some(waiting) = self.requests.get_mut(request) {
            let until = *waiting.waits_until.get_or_insert(until);
            let here = &mut self.proxies[proxy];
            here.queue.push_back(request);
            here.queue_due = here.queue_due.min(until);
            self.record.queued();
        }
    }

    fn pick(&mut self, request: usize) -> Result<(InFlight, Grounds), PickError> {
        let request = self.requests.get(request).ok_or(PickError::NoneRoutable)?;
        let requests = &self.fleet.app.requests;
        self.proxies[request.proxy].pick(requests, &request.client, &request.tried, self.now)
    }

    /// A place was given: a retry is paid for, and the attempt begins.
    fn go(&mut self, request: usize, (place, grounds): (InFlight, Grounds)) {
        let Some(known) = self.requests.get(request) else {
            return;
        };
        let is_retry = !known.tried.is_empty();
        let (proxy, allowance) = (known.proxy, self.fleet.app.requests.allowance);
        // The place first: a retry that there is nobody for costs nothing.
        if is_retry && !self.proxies[proxy].budget.withdraw(allowance, clock(self.now)) {
            self.record.retry_refused();
            drop(place);
            self.give_up(request);
            self.serve_waiting(proxy, 1);
            return;
        }
        self.set_out(request, place, grounds, is_retry);
    }

    fn set_out(&mut self, request: usize, place: InFlight, grounds: Grounds, is_retry: bool) {
        let now = self.now;
        let Some(known) = self.requests.get_mut(request) else {
            return;
        };
        let proxy = known.proxy;
        // Every incarnation that was published is known.
        let machine = self.proxies[proxy]
            .machine(place.endpoint().incarnation)
            .unwrap_or(0);
        let number = self.next_attempt;
        self.next_attempt += 1;
        (known.attempt, known.began, known.machine) = (number, now, machine);
        known.place = Some(place);
        self.record.began(machine, grounds, is_retry, now);
        let attempt = Attempt { request, number };
        let trip = self.round_trips[proxy][machine];
        let requests = &self.fleet.app.requests;
        let worker = &mut self.machines[machine];
        match worker.power {
            Power::Off => {
                self.timeline
                    .push(now + trip.max(1), Due::Returned(attempt, None, Outcome::Refused));
                return;
            }
            Power::Unreachable => {
                let at = now + micros(requests.connect_timeout);
                self.timeline
                    .push(at, Due::Returned(attempt, None, Outcome::ConnectTimeout));
                return;
            }
            Power::Hung => {}
            Power::Up if worker.spec.parallel == 0 => {
                let (takes, outcome) = worker.work(now);
                let life = Some((machine, worker.life));
                self.timeline
                    .push(now + trip + takes, Due::Returned(attempt, life, outcome));
            }
            Power::Up if trip > 1 => self.timeline.push(now + trip / 2, Due::Reached(machine, attempt)),
            Power::Up => self.reach(machine, attempt),
        }
        let deadline = now + micros(requests.response_timeout);
        self.proxies[proxy].deadlines.push_back((deadline, attempt));
    }

    /// It has come to a backend that works at a few at a time.
    pub(super) fn reach(&mut self, machine: usize, attempt: Attempt) {
        let worker = &mut self.machines[machine];
        if worker.power == Power::Up && worker.take(attempt) {
            self.work(machine, attempt);
        }
    }

    fn work(&mut self, machine: usize, attempt: Attempt) {
        let worker = &mut self.machines[machine];
        let (takes, outcome) = worker.work(self.now);
        let due = Due::Worked(machine, worker.life, attempt, outcome);
        self.timeline.push(self.now + takes, due);
    }

    pub(super) fn worked(&mut self, machine: usize, life: u32, attempt: Attempt, outcome: Outcome) {
        let worker = &mut self.machines[machine];
        if worker.life != life {
            return;
        }
        // It doesn't know who waits no longer, and works at that, too.
        if let Some(next) = worker.next() {
            self.work(machine, next);
        }
        let trip = self
            .requests
            .get(attempt.request)
            .map_or(0, |request| self.round_trips[request.proxy][machine]);
        if trip > 1 {
            let back = Due::Returned(attempt, Some((machine, life)), outcome);
            self.timeline.push(self.now + trip - trip / 2, back);
        } else {
            self.returned(attempt, None, outcome);
        }
    }

    /// What its backend has of that life is lost.
    pub(super) fn cut_off(&mut self, machine: usize) {
        let now = self.now;
        for (request, known) in &self.requests {
            if known.place.is_some() && known.machine == machine {
                let attempt = Attempt {
                    request,
                    number: known.attempt,
                };
                let back = self.round_trips[known.proxy][machine] / 2;
                self.timeline
                    .push(now + back, Due::Returned(attempt, None, Outcome::Reset));
            }
        }
    }

    /// An attempt has come to its end, unless it has before.
    pub(super) fn returned(&mut self, attempt: Attempt, life: Option<(usize, u32)>, outcome: Outcome) {
        if life.is_some_and(|(machine, life)| self.machines[machine].life != life) {
            return;
        }
        if self.attempt_of(attempt.request) != Some(attempt) {
            return;
        }
        match outcome {
            Outcome::Answered => self.answered(attempt.request, false),
            Outcome::Error => {
                let machine = self
                    .requests
                    .get(attempt.request)
                    .map_or(0, |request| request.machine);
                if self.is_unhealthy[machine] {
                    self.unhealthy(attempt.request);
                } else {
                    self.answered(attempt.request, true);
                }
            }
            Outcome::Reset => self.failed(attempt.request, Failed::NoResponse),
            Outcome::Refused => self.failed(attempt.request, Failed::Connect),
            Outcome::ConnectTimeout => self.failed(attempt.request, Failed::ConnectTimeout),
        }
    }

    /// Attempts, and places, that are waited for no longer.
    pub(super) fn time_out(&mut self, proxy: usize) {
        let now = self.now;
        while let Some((at, attempt)) = self.proxies[proxy].deadlines.front().copied() {
            let is_over = self.attempt_of(attempt.request) != Some(attempt);
            if !is_over && at > now {
                break;
            }
            self.proxies[proxy].deadlines.pop_front();
            if !is_over {
                self.failed(attempt.request, Failed::ResponseTimeout);
            }
        }
        if self.proxies[proxy].queue_due > now {
            return;
        }
        // Retries wait for as long as they have left, so the first is not always the next.
        let (requests, here) = (&self.requests, &mut self.proxies[proxy]);
        let (mut over, mut due) = (Vec::new(), u64::MAX);
        here.queue.retain(|request| {
            let until = requests
                .get(*request)
                .and_then(|request| request.waits_until)
                .unwrap_or(0);
            if until <= now {
                over.push(*request);
                return false;
            }
            due = due.min(until);
            true
        });
        here.queue_due = due;
        over.into_iter()
            .for_each(|request| self.end(request, Failure::QueueTimeout));
    }

    fn answered(&mut self, request: usize, is_error: bool) {
        let now = self.now;
        let Some(known) = self.requests.try_remove(request) else {
            return;
        };
        let Some(place) = known.place else {
            return;
        };
        let took = clock(now).since(clock(known.began));
        self.report(known.proxy, &place, place.succeeded(took, clock(now)));
        self.bind(&known.client, known.proxy, &place);
        drop(place);
        if is_error {
            self.record.refused(known.source, None, now);
        } else {
            self.record.answered(known.source, now - known.arrived, now);
        }
        self.serve_waiting(known.proxy, 1);
    }

    fn bind(&self, client: &Client, proxy: usize, place: &InFlight) {
        use edgeproxy_balance::Target as _;
        if let (Some(bindings), Some(key)) = (&self.proxies[proxy].bindings, client.key) {
            bindings.bind(key, place.endpoint().identity(), clock(self.now));
        }
    }

    /// An attempt got no answer.
    fn failed(&mut self, request: usize, failed: Failed) {
        let Some(proxy) = self.fail(request, failed).map(|(proxy, place)| {
            drop(place);
            proxy
        }) else {
            return;
        };
        // The place that was given back is the longest waiter's.
        self.serve_waiting(proxy, 1);
        if self.may_be_repeated(request, failed) {
            self.place(request);
        } else {
            self.give_up(request);
        }
    }

    /// An attempt got an answer that counts as none. Where nobody else is there at once, the client gets it.
    fn unhealthy(&mut self, request: usize) {
        let Some((proxy, place)) = self.fail(request, Failed::Unhealthy) else {
            return;
        };
        let other =
            if self.may_be_repeated(request, Failed::Unhealthy) && self.proxies[proxy].queue.is_empty() {
                self.pick(request).ok()
            } else {
                None
            };
        let allowance = self.fleet.app.requests.allowance;
        match other {
            Some(picked) if self.proxies[proxy].budget.withdraw(allowance, clock(self.now)) => {
                drop(place);
                self.set_out(request, picked.0, picked.1, true);
            }
            other => {
                if other.is_some() {
                    self.record.retry_refused();
                }
                drop((other, place));
                if let Some(known) = self.requests.try_remove(request) {
                    self.record.refused(known.source, None, self.now);
                }
            }
        }
        self.serve_waiting(proxy, 1);
    }

    /// Tells the ledger of a failed attempt, and gives back its place, still held.
    fn fail(&mut self, request: usize, failed: Failed) -> Option<(usize, InFlight)> {
        let now = self.now;
        let known = self.requests.get_mut(request)?;
        let place = known.place.take()?;
        known.attempt = 0;
        known.tried.push(place.endpoint().incarnation);
        known.failed = Some(failed);
        let (proxy, machine) = (known.proxy, known.machine);
        let signal = place.failed(self.fleet.app.requests.max_failures, clock(now));
        self.record.attempt_failed(machine, now);
        self.report(proxy, &place, signal);
        Some((proxy, place))
    }

    fn report(&mut self, proxy: usize, place: &InFlight, signal: Option<Signal>) {
        if let Some(signal) = signal {
            self.proxies[proxy].report(&place.report(signal), self.now);
        }
    }

    fn may_be_repeated(&self, request: usize, failed: Failed) -> bool {
        let max = usize::try_from(self.fleet.app.requests.max_attempts).unwrap_or(usize::MAX);
        self.requests.get(request).is_some_and(|request| {
            request.tried.len() < max && retry::next(failed, request.repeat) == Next::OtherBackend
        })
    }

    /// There is nobody for it: of a retry its client is told how the attempt before failed.
    fn refuse(&mut self, request: usize, error: PickError) {
        let has_failed = self
            .requests
            .get(request)
            .is_some_and(|request| request.failed.is_some());
        match error {
            _ if has_failed => self.give_up(request),
            PickError::AllFull => self.end(request, Failure::BackendsFull),
            PickError::NoneRoutable | PickError::Exhausted => self.end(request, Failure::NoBackend),
        }
    }

    fn give_up(&mut self, request: usize) {
        let failed = self.requests.get(request).and_then(|request| request.failed);
        self.end(
            request,
            match failed {
                Some(Failed::Connect | Failed::Tls | Failed::NotSent) => Failure::ConnectFailed,
                Some(Failed::ConnectTimeout) => Failure::ConnectTimeout,
                Some(Failed::ResponseTimeout) => Failure::ResponseTimeout,
                _ => Failure::NoResponse,
            },
        );
    }

    fn end(&mut self, request: usize, failure: Failure) {
        if let Some(known) = self.requests.try_remove(request) {
            self.record.refused(known.source, Some(failure), self.now);
        }
    }

    /// Places were given back: those who have waited longest have their turn, until that many have left the queue.
    pub(super) fn serve_waiting(&mut self, proxy: usize, most: usize) {
        let (mut at, mut left) = (0, 0);
        while left < most {
            let Some(request) = self.proxies[proxy].queue.get(at).copied() else {
                return;
            };
            match self.turn(proxy, at, request) {
                Turn::Left => left += 1,
                Turn::Refused => {}
                Turn::Passed => at += 1,
                Turn::Stays => return,
            }
        }
    }

    fn turn(&mut self, proxy: usize, at: usize, request: usize) -> Turn {
        let is_retry = self
            .requests
            .get(request)
            .is_some_and(|request| !request.tried.is_empty());
        match self.pick(request) {
            Err(PickError::AllFull) if is_retry => Turn::Passed,
            Err(PickError::AllFull) => Turn::Stays,
            Err(error) => {
                self.proxies[proxy].queue.remove(at);
                self.refuse(request, error);
                Turn::Refused
            }
            Ok(picked) => {
                self.proxies[proxy].queue.remove(at);
                self.go(request, picked);
                Turn::Left
            }
        }
    }
}
