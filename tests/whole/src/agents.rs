//! What agents, operators and probes do: they call the real handle, by way of the network.

use std::time::Duration;

use edgeproxy_backend::{BackendAddr, Incarnation};
use edgeproxy_control::ControlError;
use edgeproxy_health::{self as health, Class, Kind, Ticket};
use edgeproxy_registry::{Change, DeregisterError, FencedError, LoadReport, Patch, Probe, Registration};

use crate::machine::{Ended, Power};
use crate::process::{Told, machine_of};
use crate::timeline::{Answer, Call, Due, Wish};
use crate::trace::{B, P, What};
use crate::world::{Phase, World};

/// How long an agent waits for an answer.
const PATIENCE: u64 = 1_500;
/// After a failure.
const PAUSE: u64 = 150;

impl World {
    /// An agent has something to send.
    pub(crate) fn agent(&mut self, machine: B, series: u32) {
        let here = &mut self.machines[machine.0];
        if here.series != series || !here.has_agent {
            return;
        }
        let wish = match here.life {
            Some(life) if here.is_leaving => Wish::Leave(life),
            None if here.is_leaving => return,
            Some(_) => Wish::Beat,
            None => Wish::Register {
                port: here.backend.addr.port(),
            },
        };
        here.calls += 1;
        here.waits_for = here.calls;
        let (number, proxy) = (here.calls, here.home);
        match wish {
            Wish::Register { .. } => self.trace.note(self.now, What::Registers(machine, proxy)),
            Wish::Leave(life) => {
                let leaving = &mut here.truth.leaving;
                if !leaving.contains(&life) {
                    leaving.push(life);
                }
                self.trace.note(self.now, What::Leaves(machine, proxy, life));
            }
            Wish::Beat | Wish::Enable(_) => {}
        }
        self.after(PATIENCE, Due::GiveUp(machine, number));
        if !self.network.is_heard(machine, proxy, self.now) {
            return;
        }
        let there = self.network.delay(&mut self.random, self.now);
        let call = Call {
            machine,
            number,
            wish,
        };
        if matches!(wish, Wish::Leave(_)) && self.random.u8(..6) == 0 {
            // It comes once more, much later, with the life that it is about.
            let later = self.random.u64(500..15_000);
            let again = Call {
                number: 0,
                ..call.clone()
            };
            self.after(later, Due::Call(proxy, again));
        }
        self.after(there, Due::Call(proxy, call));
    }

    /// A call comes to a proxy.
    pub(crate) fn called(&mut self, proxy: P, call: Call) {
        let here = &mut self.proxies[proxy.0];
        if here.is_frozen {
            here.late.push(Due::Call(proxy, call));
            return;
        }
        let (machine, number) = (call.machine, call.number);
        let Some(process) = &mut here.process else {
            self.reply(proxy, machine, number, Answer::Refused);
            return;
        };
        let handle = process.handle.clone();
        let backend = &self.machines[machine.0].backend;
        let id = backend.id.clone();
        let wish = call.wish;
        if matches!(wish, Wish::Beat) {
            let life = self.machines[machine.0].life;
            let answer = match handle.heartbeat(&id, life, &LoadReport::default()) {
                Ok(_) => Answer::Renewed,
                Err(ControlError::Refused(_)) => Answer::Unknown,
                Err(ControlError::Stopping) => Answer::Refused,
            };
            let is_known = answer == Answer::Renewed;
            self.trace.note(self.now, What::Beat(machine, proxy, is_known));
            if is_known {
                self.heard(machine, proxy);
            }
            self.reply(proxy, machine, number, answer);
            return;
        }
        let (inbox, of) = (self.inbox.clone(), process.number);
        let mut backend = backend.clone();
        let ttl = Some(Duration::from_millis(self.ttl));
        let drain = Some(Duration::from_secs(3));
        process.serve(async move {
            let (answer, is_kept) = match wish {
                Wish::Register { port } => {
                    backend.addr = BackendAddr::new(backend.addr.ip(), port).expect("an address");
                    match handle.register(Registration { backend, ttl }).await {
                        Ok(done) => (
                            Answer::Registered(done.endpoint.incarnation),
                            done.unkept.is_none(),
                        ),
                        Err(_) => (Answer::Refused, false),
                    }
                }
                Wish::Leave(life) => match handle.deregister(&id, Some(life), drain).await {
                    Ok(done) => (Answer::Left, done.unkept.is_none()),
                    // Another life of it, or none, is not the one that leaves.
                    Err(ControlError::Refused(DeregisterError::Fenced(FencedError::Unknown(_)))) => {
                        (Answer::Unknown, true)
                    }
                    Err(ControlError::Refused(_)) => (Answer::Unknown, false),
                    Err(ControlError::Stopping) => (Answer::Refused, false),
                },
                Wish::Beat => (Answer::Renewed, false),
                Wish::Enable(on) => {
                    let enabled = if on { Change::Clear } else { Change::Set(false) };
                    let patch = Patch {
                        enabled,
                        ..Patch::default()
                    };
                    match handle.patch(&id, None, &patch).await {
                        Ok(done) => (Answer::Left, done.unkept.is_none()),
                        Err(_) => (Answer::Refused, false),
                    }
                }
            };
            inbox.tell(Told::Answered {
                proxy,
                process: of,
                call,
                answer,
                is_kept,
            });
        });
    }

    fn reply(&mut self, proxy: P, machine: B, number: u32, answer: Answer) {
        if number != 0 && self.network.reaches_machine(proxy, machine, self.now) {
            let back = self.network.delay(&mut self.random, self.now);
            self.after(back, Due::Answer(machine, number, answer));
        }
    }

    /// What the tasks of the processes have told since.
    pub(crate) fn hear(&mut self) {
        let (mut told, mut answers) = (Vec::new(), Vec::new());
        while let Some(next) = self.inbox.take() {
            match next {
                Told::Answered { .. } => answers.push(next),
                Told::Event { .. } | Told::Published(_) => told.push(next),
            }
        }
        // Who waits for one publication is woken in an order that tokio draws by lot.
        answers.sort_by_key(|answer| match answer {
            Told::Answered { proxy, call, .. } => (*proxy, call.machine, call.number),
            Told::Event { proxy, .. } | Told::Published(proxy) => (*proxy, B(0), 0),
        });
        told.append(&mut answers);
        for told in told {
            match told {
                Told::Published(proxy) => self.trace.note(self.now, What::Published(proxy)),
                Told::Event {
                    proxy,
                    process,
                    id,
                    life,
                    kind,
                    state,
                } => {
                    let machine = machine_of(&id);
                    self.trace
                        .note(self.now, What::Told(proxy, machine, life, kind, state));
                    if self.is_process(proxy, process) {
                        self.check_event(proxy, (machine, life), kind, state);
                    }
                }
                Told::Answered {
                    proxy,
                    process,
                    call,
                    answer,
                    is_kept,
                } => {
                    if self.is_process(proxy, process) {
                        self.acknowledge(proxy, &call, answer, is_kept);
                        self.reply(proxy, call.machine, call.number, answer);
                    }
                }
            }
        }
    }

    fn is_process(&self, proxy: P, number: u32) -> bool {
        let process = self.proxies[proxy.0].process.as_ref();
        process.is_some_and(|process| process.number == number)
    }

    fn acknowledge(&mut self, proxy: P, call: &Call, answer: Answer, is_kept: bool) {
        let machine = call.machine;
        match (call.wish, answer) {
            (Wish::Register { port }, Answer::Registered(life)) => {
                self.trace
                    .note(self.now, What::Acknowledged(machine, proxy, life, is_kept));
                self.check_acknowledged(machine, (life, port), is_kept);
                self.heard(machine, proxy);
            }
            (Wish::Leave(life), Answer::Left) => {
                self.trace.note(self.now, What::Left(machine, proxy, is_kept));
                let at = self.now;
                self.machines[machine.0].truth.end(Ended {
                    life,
                    at,
                    by: proxy,
                    is_kept,
                });
            }
            (Wish::Enable(on), _) => {
                self.trace.note(self.now, What::Operator(machine, proxy, on));
                let truth = &mut self.machines[machine.0].truth;
                truth.is_switched = false;
                truth.disabled = (answer == Answer::Left && !on).then_some((self.now, proxy, is_kept));
            }
            _ => {}
        }
    }

    /// The answer to an agent's call comes back.
    pub(crate) fn answered(&mut self, machine: B, number: u32, answer: Answer) {
        let third = self.ttl / 3;
        let proxies = self.proxies.len();
        let wanders = self.mix.wanders(self.seed, machine);
        let here = &mut self.machines[machine.0];
        if here.waits_for != number || !here.has_agent {
            return;
        }
        here.waits_for = 0;
        let pause = match answer {
            Answer::Registered(life) => {
                here.life = Some(life);
                third
            }
            Answer::Renewed => third,
            Answer::Left | Answer::Unknown if here.is_leaving => {
                here.life = None;
                self.has_left(machine);
                return;
            }
            Answer::Left | Answer::Unknown => {
                here.life = None;
                1
            }
            Answer::Refused => {
                here.home = P((here.home.0 + 1) % proxies);
                PAUSE
            }
        };
        if wanders {
            here.home = P((here.home.0 + 1) % proxies);
        }
        let series = here.series;
        self.after(pause, Due::Agent(machine, series));
    }

    /// No answer came.
    pub(crate) fn give_up(&mut self, machine: B, number: u32) {
        let proxies = self.proxies.len();
        let here = &mut self.machines[machine.0];
        if here.waits_for == number && here.has_agent {
            here.waits_for = 0;
            here.home = P((here.home.0 + 1) % proxies);
            let series = here.series;
            self.after(PAUSE, Due::Agent(machine, series));
        }
    }

    /// It has deregistered, finishes what it has, stops, and starts again, perhaps elsewhere.
    fn has_left(&mut self, machine: B) {
        let here = &mut self.machines[machine.0];
        here.is_leaving = false;
        here.has_agent = false;
        here.series += 1;
        let planned = here.planned;
        let stops = self.random.u64(2_000..4_000);
        // A new version, or another day.
        let starts = match self.random.u8(..3) {
            0 => self.random.u64(20_000..60_000),
            _ => self.random.u64(5_000..12_000),
        };
        self.after(stops, Due::Power(machine, planned, Power::Off));
        self.after(starts, Due::Boot(machine));
    }

    pub(crate) fn boot(&mut self, machine: B) {
        // What was planned before everything was mended is void.
        if self.phase != Phase::Trouble {
            return;
        }
        if self.random.bool() {
            self.move_to_another_port(machine);
        }
        self.power(machine, Power::Up);
        self.start_agent(machine);
    }

    pub(crate) fn move_to_another_port(&mut self, machine: B) {
        let here = &mut self.machines[machine.0];
        let (ip, port) = (here.backend.addr.ip(), here.backend.addr.port() + 1);
        here.backend.addr = BackendAddr::new(ip, port).expect("an address");
        here.boot += 1;
        self.trace.note(self.now, What::Moves(machine, port));
        self.unsilence(machine);
        self.cut_off(machine);
    }

    pub(crate) fn power(&mut self, machine: B, power: Power) {
        let here = &mut self.machines[machine.0];
        here.power = power;
        here.planned += 1;
        if !power.accepts() {
            here.boot += 1;
        }
        self.trace.note(self.now, What::Power(machine, power));
        if power == Power::Off {
            self.cut_off(machine);
        }
        if !power.accepts() && self.machines[machine.0].has_agent {
            self.stop_agent(machine);
        }
        self.look_at_truth(machine);
    }

    /// It begins with a registration, as one does that knows of none.
    pub(crate) fn start_agent(&mut self, machine: B) {
        let here = &mut self.machines[machine.0];
        if !here.power.accepts() || here.truth.is_retired {
            return;
        }
        here.has_agent = true;
        here.is_leaving = false;
        here.life = None;
        here.waits_for = 0;
        here.series += 1;
        let series = here.series;
        self.trace.note(self.now, What::AgentStarts(machine));
        self.after(1, Due::Agent(machine, series));
        self.look_at_truth(machine);
    }

    pub(crate) fn stop_agent(&mut self, machine: B) {
        let here = &mut self.machines[machine.0];
        here.has_agent = false;
        here.waits_for = 0;
        here.series += 1;
        self.trace.note(self.now, What::AgentDies(machine));
        self.look_at_truth(machine);
    }

    /// An operator switches it on or off, where all proxies hear of it: what is said at two of them that can't reach each
    /// other has no order. Whoever switched it off switches it on.
    pub(crate) fn switch(&mut self, machine: B, on: bool) {
        let any = P(self.random.usize(..self.proxies.len()));
        let proxy = self.machines[machine.0].truth.switched_by.unwrap_or(any);
        let is_heard = self.proxies.iter().all(|proxy| proxy.current_since.is_some());
        if !is_heard || self.machines[machine.0].truth.is_switched {
            if on {
                self.after(1_000, Due::Enable(machine));
            }
            return;
        }
        self.machines[machine.0].truth.switched_by = Some(proxy);
        self.machines[machine.0].truth.is_switched = true;
        let wish = Wish::Enable(on);
        let number = 0;
        self.called(
            proxy,
            Call {
                machine,
                number,
                wish,
            },
        );
    }

    /// Probes that are to begin, and those that are cancelled.
    pub(crate) fn see_to_proxies(&mut self) {
        for at in 0..self.proxies.len() {
            let proxy = P(at);
            let Some(process) = self.running(proxy) else {
                continue;
            };
            let (number, now) = (process.number, process.handle.now());
            let desk = std::rc::Rc::clone(&process.desk);
            let mut desk = desk.borrow_mut();
            let schedule = &mut desk.schedule;
            if schedule.poll_timeout().is_some_and(|due| due <= now) {
                schedule.handle_timeout(now);
            }
            while let Some(ticket) = schedule.poll_cancel() {
                schedule.handle_aborted(ticket, now);
            }
            while let Some(start) = schedule.poll_probe() {
                self.probe(proxy, number, &start);
            }
        }
    }

    /// When the next of them is due.
    pub(crate) fn next_of_proxies(&self) -> u64 {
        let due = |at: usize| {
            let process = self.running(P(at))?;
            let due = process.desk.borrow().schedule.poll_timeout()?;
            Some(process.began + due.as_micros().div_ceil(1_000))
        };
        (0..self.proxies.len()).filter_map(due).min().unwrap_or(u64::MAX)
    }

    fn probe(&mut self, proxy: P, process: u32, start: &health::Start) {
        let target = &start.target;
        let machine = machine_of(target.id.as_str());
        let (connect, answer) = match target.monitor.kind() {
            Kind::Tcp(probe) => (probe.connect_timeout(), None),
            Kind::Http(probe) => (probe.connect_timeout(), Some(probe.read_timeout())),
            Kind::Grpc(probe) => (probe.connect_timeout(), Some(probe.read_timeout())),
        };
        let here = &self.machines[machine.0];
        let is_there = here.backend.addr.port() == target.addr.port();
        let connects = self.network.connects(proxy, machine, self.now);
        let power = here.power;
        let trip = 2 * self.network.delay(&mut self.random, self.now);
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (takes, passed) = match (power, answer) {
            _ if !connects => (millis(connect), false),
            (Power::Gone, _) => (millis(connect), false),
            (Power::Off, _) => (trip, false),
            _ if !is_there => (trip, false),
            (Power::Up | Power::Hung | Power::Resets, None) => (trip.min(millis(connect)), true),
            (Power::Hung, Some(read)) => (trip + millis(read), false),
            (Power::Resets, Some(_)) => (trip, false),
            (Power::Up, Some(read)) => (trip, trip < millis(read)),
        };
        let due = Due::Probe(
            proxy,
            process,
            start.ticket,
            machine,
            target.incarnation,
            target.class,
            passed,
        );
        self.after(takes, due);
    }

    pub(crate) fn probed(
        &mut self,
        (proxy, process): (P, u32),
        ticket: Ticket,
        (machine, life): (B, Incarnation),
        class: Class,
        passed: bool,
    ) {
        if !self.is_process(proxy, process) {
            return;
        }
        let here = &mut self.proxies[proxy.0];
        if here.is_frozen {
            here.late
                .push(Due::Probe(proxy, process, ticket, machine, life, class, passed));
            return;
        }
        let Some(running) = &here.process else { return };
        let handle = running.handle.clone();
        let mut is_counted = false;
        let desk = std::rc::Rc::clone(&running.desk);
        desk.borrow_mut()
            .schedule
            .handle_result(ticket, handle.now(), |target| {
                is_counted = true;
                let probe = match target.class {
                    Class::Monitor => Probe::Monitor,
                    Class::Suspect => Probe::Suspect,
                };
                match handle.report_probe(&target.id, target.incarnation, probe, passed) {
                    edgeproxy_registry::Pace::Settled => health::Pace::Settled,
                    edgeproxy_registry::Pace::Changing => health::Pace::Changing,
                }
            });
        if is_counted {
            self.trace
                .note(self.now, What::Probed(proxy, machine, life, passed));
            self.note_probe(proxy, (machine, life), passed);
        }
    }
}
