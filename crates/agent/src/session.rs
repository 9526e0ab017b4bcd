use std::collections::VecDeque;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use edgeproxy_backend::{Incarnation, MonoTime};

use crate::answer::{Answer, Reply, Verdict};
use crate::jitter::Jitter;
use crate::registration::LoadReport;
use farewell::Farewell;

mod events;
mod farewell;

pub use events::{Departure, Event};

/// What a session is told once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// How many APIs there are, from 1. They are known by their place in the caller's list, and share a registry.
    pub apis: usize,
    /// Where the backend is reached, if that is known before the first registration.
    pub ip: Option<IpAddr>,
    /// The port that the backend serves on.
    pub port: NonZeroU16,
    /// Of the jitter.
    pub seed: u64,
}

/// A request to be sent.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Request {
    /// To which of the APIs.
    pub api: usize,
    /// What.
    pub ask: Ask,
}

/// What is asked of an API.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Ask {
    /// `POST /api/v1/register`, with this address, or else with the one from which the API is reached.
    Register(Option<IpAddr>),
    /// `POST /api/v1/heartbeat/{id}` for that incarnation (`If-Match`).
    Heartbeat {
        /// Whose lease is to be renewed.
        incarnation: Incarnation,
        /// What the backend says of its load.
        report: LoadReport,
        /// Whether it wants no new requests.
        draining: bool,
    },
    /// `GET /api/v1/backends/{id}`.
    Look,
    /// `DELETE /api/v1/backends/{id}` for that incarnation.
    Deregister {
        /// Who is to be taken out, and nobody who came after.
        incarnation: Incarnation,
        /// How long what is in flight has to end; zero takes it out at once.
        drain: Duration,
    },
}

/// A backend's membership, as a state machine without clock, socket or random source.
///
/// Call [`join`](Self::join) once the backend serves. After every call send what [`poll_request`](Self::poll_request)
/// gives (a request that is still under way is then given up), tell what [`poll_event`](Self::poll_event) gives, and
/// call [`handle_timeout`](Self::handle_timeout) at [`poll_timeout`](Self::poll_timeout). Every request ends in one
/// [`handle_answer`](Self::handle_answer), so requests need a time-out of their own.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    jitter: Jitter,
    phase: Phase,
    /// The API that has answered, or is tried next.
    current: usize,
    /// What is under way.
    asked: Option<Request>,
    /// Whether `asked` is still to be sent.
    unsent: bool,
    /// When the next request is due; never while one is under way.
    due: Option<MonoTime>,
    trouble: Trouble,
    lease: Option<Lease>,
    /// The incarnation that each API has named last.
    known: Vec<Option<Incarnation>>,
    ip: Option<IpAddr>,
    /// Whether a registration was ever accepted.
    accepted: bool,
    /// Whether a registration may have been accepted without anybody's having said so.
    uncertain: bool,
    held: bool,
    report: LoadReport,
    draining: Draining,
    /// Until when a broken connection is no reason for another early heartbeat.
    calm_until: MonoTime,
    events: VecDeque<Event>,
}

#[derive(Debug)]
enum Phase {
    Idle,
    /// Not registered, as far as is known.
    Joining,
    /// Registered: heartbeats.
    Member,
    /// An incarnation is live that is not the one that was registered. It is asked who that is.
    Doubting,
    /// A registration is under way, and is to be taken back.
    TakingBack(Duration),
    Leaving(Farewell),
    /// Nothing is sent any more.
    Ended,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Lease {
    incarnation: Incarnation,
    interval: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Draining {
    No,
    Wanted,
    Told,
}

/// What has gone wrong since something last went well.
#[derive(Clone, Copy, Debug, Default)]
struct Trouble {
    since: Option<MonoTime>,
    /// APIs that have failed one after the other.
    apis: usize,
    /// How often has been waited.
    waits: u32,
}

/// Until the server says how often heartbeats come: a third of the lease that it grants unless told otherwise.
const INTERVAL: Duration = Duration::from_secs(20);
/// Heartbeats are that much early at the most, in percent, so that they don't all come at once. Never late.
const EARLY_PERCENT: u32 = 25;
/// The first wait after a failure is this long at the most, and each one may be twice as long as the last.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest wait: how long after an outage of the API a backend may be missing.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// The shortest, so that full jitter never is a flood.
const SHORTEST_WAIT: Duration = Duration::from_millis(50);
/// How long after its connection broke a backend asks whether it is still known, at the most.
const CURIOSITY: Duration = Duration::from_secs(2);

impl Session {
    /// A session that has not begun.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let apis = settings.apis.max(1);
        Self {
            settings: Settings { apis, ..settings },
            jitter: Jitter::new(settings.seed),
            phase: Phase::Idle,
            current: 0,
            asked: None,
            unsent: false,
            due: None,
            trouble: Trouble::default(),
            lease: None,
            known: vec![None; apis],
            ip: settings.ip,
            accepted: false,
            uncertain: false,
            held: false,
            report: LoadReport::default(),
            draining: Draining::No,
            calm_until: MonoTime::ZERO,
            events: VecDeque::new(),
        }
    }

    /// Registers, and stays registered. Nothing happens if it has begun.
    pub fn join(&mut self, now: MonoTime) {
        if matches!(self.phase, Phase::Idle) {
            self.phase = Phase::Joining;
            self.proceed(now);
        }
        debug_assert!(self.check_invariants());
    }

    /// Says this with every heartbeat from the next one on.
    pub fn report(&mut self, report: LoadReport) {
        self.report = report;
    }

    /// Asks for no new requests, for good; the lease is kept. [`Event::Drained`] follows once an API knows.
    pub fn drain(&mut self, now: MonoTime) {
        if self.draining == Draining::No {
            self.draining = Draining::Wanted;
        }
        match self.phase {
            Phase::Member if self.asked.is_none() => self.proceed(now),
            Phase::Joining | Phase::Member | Phase::Doubting => {}
            // Nobody sends it anything.
            _ => self.events.push_back(Event::Drained),
        }
        debug_assert!(self.check_invariants());
    }

    /// Neither registers nor sends heartbeats until it is [resumed](Self::resume): the lease runs out. For a backend
    /// that has stopped answering.
    pub fn hold(&mut self) {
        self.held = true;
        if !matches!(self.phase, Phase::Leaving(_)) {
            self.due = None;
        }
        debug_assert!(self.check_invariants());
    }

    /// Goes on after a [`hold`](Self::hold), at once.
    pub fn resume(&mut self, now: MonoTime) {
        if std::mem::take(&mut self.held) && self.asked.is_none() {
            self.proceed(now);
        }
        debug_assert!(self.check_invariants());
    }

    /// Deregisters at every API, and lets what is in flight end for as long as `drain`; [`Event::Left`] ends it. Called
    /// again, it shortens the wait.
    pub fn leave(&mut self, now: MonoTime, drain: Duration) {
        let never_sent = std::mem::take(&mut self.unsent);
        let registering = !never_sent
            && self
                .asked
                .is_some_and(|request| matches!(request.ask, Ask::Register(_)));
        match &mut self.phase {
            Phase::Leaving(farewell) => {
                self.unsent = never_sent;
                farewell.shorten(now, drain);
                if self.asked.is_none() {
                    self.part(now);
                }
            }
            Phase::TakingBack(waited) => *waited = drain.min(*waited),
            Phase::Idle | Phase::Ended => {
                self.asked = None;
                self.end(Event::Left(Departure::NotRegistered));
            }
            Phase::Joining | Phase::Member | Phase::Doubting if registering => {
                self.phase = Phase::TakingBack(drain);
            }
            Phase::Joining | Phase::Member | Phase::Doubting => {
                // A heartbeat under way is given up: it changes nothing for whoever leaves.
                self.asked = None;
                self.say_farewell(now, drain);
            }
        }
        debug_assert!(self.check_invariants());
    }

    /// The connection to the API broke while nothing was under way. An API that has restarted may have forgotten its
    /// backends, so it is asked soon instead of at the next heartbeat.
    pub fn handle_disconnect(&mut self, now: MonoTime) {
        if let (Phase::Member, Some(due), Some(lease)) = (&self.phase, self.due, self.lease)
            && now >= self.calm_until
        {
            let soon = self.jitter.between(SHORTEST_WAIT, lease.interval.min(CURIOSITY));
            self.due = Some(due.min(now + soon));
            self.calm_until = now + lease.interval;
        }
        debug_assert!(self.check_invariants());
    }

    /// The time has come.
    pub fn handle_timeout(&mut self, now: MonoTime) {
        if self.due.is_some_and(|due| due <= now) {
            match self.phase {
                Phase::Leaving(_) => self.part(now),
                _ => self.proceed(now),
            }
        }
        debug_assert!(self.check_invariants());
    }

    /// What came of the request.
    pub fn handle_answer(&mut self, now: MonoTime, answer: Answer) {
        let Some(request) = self.asked.take() else {
            return;
        };
        self.unsent = false;
        let verdict = answer.verdict();
        match self.phase {
            Phase::Leaving(_) => self.parted(now, request, verdict),
            Phase::TakingBack(drain) => self.taken_back(now, request.api, verdict, drain),
            Phase::Joining | Phase::Member | Phase::Doubting => self.answered(now, request.api, verdict),
            Phase::Idle | Phase::Ended => {}
        }
        debug_assert!(self.check_invariants());
    }

    /// A request to be sent now. Whatever is still under way is to be given up.
    pub fn poll_request(&mut self) -> Option<Request> {
        let request = self.asked.filter(|_| self.unsent);
        self.unsent = false;
        request
    }

    /// Something to be told.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<MonoTime> {
        self.due
    }

    /// How often heartbeats are sent, once it is registered.
    #[must_use]
    pub fn interval(&self) -> Option<Duration> {
        self.lease.map(|lease| lease.interval)
    }

    fn answered(&mut self, now: MonoTime, api: usize, verdict: Verdict) {
        match (&self.phase, verdict) {
            (Phase::Joining, Verdict::Taken(reply)) => self.registered(now, api, &reply),
            (Phase::Doubting, Verdict::Taken(reply)) => self.recognise(now, api, &reply),
            (_, Verdict::Taken(reply)) => self.renewed(now, api, &reply),
            (Phase::Member | Phase::Doubting, Verdict::Unknown(_)) => self.forgotten(now, api),
            (Phase::Member, Verdict::Fenced(_)) => {
                self.phase = Phase::Doubting;
                self.proceed(now);
            }
            (_, Verdict::Unknown(what) | Verdict::Fenced(what) | Verdict::Refused(what)) => {
                self.refused(now, api, what);
            }
            (_, Verdict::Busy { what, after }) => self.wait(now, api, what, Some(after)),
            (
                _,
                Verdict::Down {
                    what,
                    after,
                    uncertain,
                },
            ) => {
                self.uncertain |= uncertain && matches!(self.phase, Phase::Joining);
                self.down(now, api, what, after);
            }
        }
    }

    fn registered(&mut self, now: MonoTime, api: usize, reply: &Reply) {
        let Some(incarnation) = reply.body.incarnation() else {
            let what = "an answer without an incarnation; is that the API of edgeproxy?";
            return self.refused(now, api, what.to_owned());
        };
        let interval = reply.body.interval().unwrap_or(INTERVAL);
        self.hold_lease(api, incarnation, interval);
        self.ip = reply.ip.or(self.ip);
        self.phase = Phase::Member;
        self.recovered(now, api);
        self.events.push_back(Event::Registered {
            api,
            incarnation,
            ip: self.ip,
            interval,
            warnings: reply.body.warnings(),
        });
        self.next_heartbeat(now);
    }

    fn hold_lease(&mut self, api: usize, incarnation: Incarnation, interval: Duration) {
        self.accepted = true;
        self.uncertain = false;
        self.lease = Some(Lease {
            incarnation,
            interval,
        });
        self.knows(api, incarnation);
    }

    fn knows(&mut self, api: usize, incarnation: Incarnation) {
        if let Some(known) = self.known.get_mut(api) {
            *known = Some(incarnation);
        }
    }

    fn renewed(&mut self, now: MonoTime, api: usize, reply: &Reply) {
        let (Some(incarnation), Some(lease)) = (reply.body.incarnation(), self.lease) else {
            let what = "an answer without an incarnation; is that the API of edgeproxy?";
            return self.down(now, api, what.to_owned(), None);
        };
        self.hold_lease(api, incarnation, reply.body.interval().unwrap_or(lease.interval));
        self.recovered(now, api);
        if self.draining == Draining::Told {
            self.events.push_back(Event::Drained);
        }
        self.next_heartbeat(now);
    }

    /// The next heartbeat: at once if there is something to say that can't wait.
    fn next_heartbeat(&mut self, now: MonoTime) {
        let interval = self.lease.map_or(INTERVAL, |lease| lease.interval);
        let earliest = interval - interval * EARLY_PERCENT / 100;
        let wait = self.jitter.between(earliest, interval);
        match self.draining {
            Draining::Wanted => self.proceed(now),
            Draining::Told | Draining::No => self.due = (!self.held).then_some(now + wait),
        }
    }

    fn forgotten(&mut self, now: MonoTime, api: usize) {
        self.lease = None;
        if self.draining != Draining::No {
            // It wanted no requests, and gets none.
            self.events.push_back(Event::Drained);
            return self.end(Event::Left(Departure::Gone));
        }
        self.events.push_back(Event::Forgotten { api });
        self.phase = Phase::Joining;
        self.proceed(now);
    }

    /// Who has the id now: this backend under another number, or somebody else?
    fn recognise(&mut self, now: MonoTime, api: usize, reply: &Reply) {
        let body = &reply.body;
        match (body.incarnation(), body.ip) {
            (Some(incarnation), Some(_)) if self.is_own(reply) => {
                let interval = self.lease.map_or(INTERVAL, |lease| lease.interval);
                self.hold_lease(api, incarnation, interval);
                self.phase = Phase::Member;
                // As after a failure: APIs that don't agree on who is who are not to be asked without a rest.
                let what = format!("the backend is incarnation {incarnation} there");
                self.wait(now, api, what, None);
            }
            (Some(_), Some(ip)) => {
                self.lease = None;
                let port = body.port.unwrap_or_default();
                self.end(Event::Superseded { api, ip, port });
            }
            _ => {
                let what = "an answer that is no backend; is that the API of edgeproxy?";
                self.down(now, api, what.to_owned(), None);
            }
        }
    }

    fn is_own(&self, reply: &Reply) -> bool {
        let ip = self.ip.map(|ip| ip.to_canonical());
        reply.body.port == Some(self.settings.port.get()) && ip.is_some() && reply.body.ip == ip
    }

    /// A registration that was refused when none was ever accepted is a wrong configuration, and ends it. Later it is
    /// the API's matter: the backend serves, and is to be found again when the API wants it.
    fn refused(&mut self, now: MonoTime, api: usize, what: String) {
        if self.accepted {
            self.wait(now, api, what, None);
        } else {
            self.end(Event::Refused { api, what });
        }
    }

    /// The next API, and once all have failed, all of them again after a wait.
    fn down(&mut self, now: MonoTime, api: usize, what: String, after: Option<Duration>) {
        self.trouble.apis += 1;
        self.current = (api + 1) % self.settings.apis;
        if self.trouble.apis >= self.settings.apis {
            self.trouble.apis = 0;
            return self.wait(now, api, what, after);
        }
        if self.trouble.since.is_none() {
            self.trouble.since = Some(now);
            self.events.push_back(Event::Trouble { api, what });
        }
        self.proceed(now);
    }

    /// Waits with full jitter (Brooker, "Exponential Backoff And Jitter", 2015).
    fn wait(&mut self, now: MonoTime, api: usize, what: String, after: Option<Duration>) {
        let doublings = self.trouble.waits.min(16);
        let longest = (FIRST_WAIT * 2_u32.pow(doublings)).min(LONGEST_WAIT);
        let wait = self.jitter.between(SHORTEST_WAIT, longest) + after.unwrap_or_default();
        self.trouble.waits = self.trouble.waits.saturating_add(1);
        self.due = (!self.held).then_some(now + wait);
        // Told when it begins, and then ever more seldom.
        if self.trouble.since.is_none() || self.trouble.waits.is_power_of_two() && self.trouble.waits > 2 {
            self.events.push_back(Event::Trouble { api, what });
        }
        self.trouble.since.get_or_insert(now);
    }

    fn recovered(&mut self, now: MonoTime, api: usize) {
        self.current = api;
        if let Some(since) = std::mem::take(&mut self.trouble).since {
            let after = now.since(since);
            self.events.push_back(Event::Recovered { api, after });
        }
    }

    /// Sends what the phase asks for.
    fn proceed(&mut self, now: MonoTime) {
        if self.held {
            self.due = None;
            return;
        }
        let ask = match (&self.phase, self.lease) {
            (Phase::Joining, _) => Ask::Register(self.ip),
            (Phase::Member, Some(lease)) => {
                let draining = self.draining != Draining::No;
                if draining {
                    self.draining = Draining::Told;
                }
                Ask::Heartbeat {
                    incarnation: lease.incarnation,
                    report: self.report,
                    draining,
                }
            }
            (Phase::Doubting, _) => Ask::Look,
            // A member without a lease can't be; it would join again.
            (Phase::Member, None) => return self.forgotten(now, self.current),
            _ => return,
        };
        self.send(self.current, ask);
    }

    fn send(&mut self, api: usize, ask: Ask) {
        self.due = None;
        self.asked = Some(Request { api, ask });
        self.unsent = true;
    }

    fn end(&mut self, event: Event) {
        self.phase = Phase::Ended;
        self.due = None;
        self.events.push_back(event);
    }

    fn check_invariants(&self) -> bool {
        let quiet = matches!(self.phase, Phase::Idle | Phase::Ended);
        let waits = self.asked.is_some() || self.due.is_some();
        assert!(!(quiet && waits), "{self:?} has ended and goes on");
        assert!(quiet || waits || self.held, "{self:?} waits for nothing");
        assert!(self.asked.is_none() || self.due.is_none(), "{self:?} asks twice");
        assert!(!self.unsent || self.asked.is_some(), "{self:?} sends nothing");
        let member = matches!(self.phase, Phase::Member | Phase::Doubting);
        assert!(!member || self.lease.is_some(), "{self:?} has no lease");
        assert!(self.current < self.settings.apis);
        true
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
