//! Made-up days of a session before APIs that share a registry, fail, hang, forget, and have other backends take its
//! id. A seed brings a day again.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::answer::Body;

const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const TTL: Duration = Duration::from_secs(60);
/// The driver's own limits.
const TIMEOUT: Duration = Duration::from_secs(5);
const SEC: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Api {
    Up,
    Refusing,
    /// Does what it is asked, and never says so.
    Mute,
    Broken,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    incarnation: u64,
    ip: IpAddr,
    expires: MonoTime,
    draining: bool,
    in_flight: u32,
}

/// The modelled APIs: any number of doors to one registry.
struct World {
    apis: Vec<Api>,
    entry: Option<Entry>,
    next: u64,
    now: MonoTime,
    /// Since when the session could have reached somebody without a break.
    reachable_since: Option<MonoTime>,
    asked: Vec<MonoTime>,
}

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Become(usize, Api),
    /// The registry is lost, as a proxy's is that restarts without a store.
    Lose,
    /// The connection breaks.
    Break,
    /// Somebody else registers under the same id.
    TakeOver,
    Hold,
    Resume,
    Drain,
}

fn step() -> impl Strategy<Value = Step> {
    let api = prop_oneof![
        4 => Just(Api::Up),
        1 => Just(Api::Refusing),
        1 => Just(Api::Mute),
        1 => Just(Api::Broken)
    ];
    prop_oneof![
        8 => (1_u64..90_000).prop_map(Step::Pass),
        4 => (0_usize..3, api).prop_map(|(n, api)| Step::Become(n, api)),
        1 => Just(Step::Lose),
        1 => Just(Step::Break),
    ]
}

/// Steps after which the session may rightly be out.
fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => step(),
        1 => Just(Step::TakeOver),
        1 => Just(Step::Hold),
        1 => Just(Step::Resume),
        1 => Just(Step::Drain),
    ]
}

impl World {
    fn new(apis: usize) -> Self {
        Self {
            apis: vec![Api::Up; apis],
            entry: None,
            next: 1,
            now: MonoTime::from_secs(1),
            reachable_since: Some(MonoTime::from_secs(1)),
            asked: Vec::new(),
        }
    }

    fn own(&self) -> Option<Entry> {
        self.entry.filter(|entry| entry.ip == OWN)
    }

    fn expire(&mut self) {
        self.entry = self.entry.filter(|entry| entry.expires > self.now);
    }

    /// What comes of a request, and after how long.
    fn answer(&mut self, request: Request) -> (Answer, Duration) {
        self.asked.push(self.now);
        let reply = |status, body: String| {
            Answer::Reply(Reply {
                status,
                retry_after: None,
                ip: Some(OWN),
                body: Body::parse(body.as_bytes()),
            })
        };
        match self.apis[request.api] {
            Api::Refusing => {
                let refused = Answer::Unreachable("connection refused".to_owned());
                return (refused, Duration::from_millis(1));
            }
            Api::Broken => return (reply(500, String::new()), Duration::from_millis(1)),
            Api::Up | Api::Mute => {}
        }
        self.expire();
        let (status, body) = self.does(request.ask);
        if self.apis[request.api] == Api::Mute {
            return (Answer::Unanswered("no answer within 5 s".to_owned()), TIMEOUT);
        }
        (reply(status, body), Duration::from_millis(2))
    }

    fn does(&mut self, ask: Ask) -> (u16, String) {
        let unknown = (404, r#"{"error":"unknown"}"#.to_owned());
        match (ask, &mut self.entry) {
            (Ask::Register(_), Some(entry)) if entry.ip == OWN && !entry.draining => {
                entry.expires = self.now + TTL;
                (200, told(entry))
            }
            (Ask::Register(_), _) => {
                let entry = Entry {
                    incarnation: self.next,
                    ip: OWN,
                    expires: self.now + TTL,
                    draining: false,
                    in_flight: 3,
                };
                self.next += 1;
                self.entry = Some(entry);
                (201, told(&entry))
            }
            (_, None) => unknown,
            (Ask::Heartbeat { incarnation, .. } | Ask::Deregister { incarnation, .. }, Some(entry))
                if incarnation.get() != entry.incarnation =>
            {
                (412, r#"{"error":"dead incarnation"}"#.to_owned())
            }
            (Ask::Heartbeat { .. }, Some(entry)) => {
                entry.expires = self.now + TTL;
                (200, told(entry))
            }
            (Ask::Look, Some(entry)) => {
                let body = told(entry);
                if entry.draining {
                    entry.in_flight -= 1;
                    if entry.in_flight == 0 {
                        self.entry = None;
                    }
                }
                (200, body)
            }
            (Ask::Deregister { drain, .. }, Some(entry)) => {
                assert_eq!(entry.ip, OWN, "a successor is taken out");
                entry.draining = true;
                let body = told(entry);
                if drain.is_zero() {
                    self.entry = None;
                }
                (200, body)
            }
        }
    }

    fn become_(&mut self, n: usize, api: Api) {
        let n = n % self.apis.len();
        self.apis[n] = api;
        let up = self.apis.contains(&Api::Up);
        self.reachable_since = self.reachable_since.filter(|_| up).or(up.then_some(self.now));
    }
}

fn told(entry: &Entry) -> String {
    format!(
        r#"{{"incarnation":{},"heartbeat_interval_secs":20,"ip":"{}","port":8080,"draining":{},"in_flight":{}}}"#,
        entry.incarnation, entry.ip, entry.draining, entry.in_flight
    )
}

struct Day {
    world: World,
    session: Session,
    /// The answer that is on its way.
    coming: Option<(MonoTime, Answer)>,
    events: Vec<Event>,
}

impl Day {
    fn begin(apis: usize, seed: u64) -> Self {
        let settings = Settings {
            apis,
            ip: Some(OWN),
            port: NonZeroU16::new(8080).unwrap(),
            seed,
        };
        let mut day = Self {
            world: World::new(apis),
            session: Session::new(settings),
            coming: None,
            events: Vec::new(),
        };
        day.session.join(day.world.now);
        day.settle();
        day
    }

    fn settle(&mut self) {
        if let Some(request) = self.session.poll_request() {
            let (answer, after) = self.world.answer(request);
            self.coming = Some((self.world.now + after, answer));
        }
        while let Some(event) = self.session.poll_event() {
            self.events.push(event);
        }
    }

    /// Lets time pass, and looks at what must hold after each thing that happens.
    fn pass(&mut self, time: Duration, mut look: impl FnMut(&Self)) {
        let end = self.world.now + time;
        loop {
            let answered = self.coming.as_ref().map(|(at, _)| *at);
            let due = self.session.poll_timeout();
            let next = [answered, due].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.world.now = end;
                self.world.expire();
                return look(self);
            };
            self.world.now = self.world.now.max(next);
            self.world.expire();
            if let Some((_, answer)) = self.coming.take_if(|(at, _)| *at <= next) {
                self.session.handle_answer(self.world.now, answer);
            } else {
                self.session.handle_timeout(self.world.now);
            }
            self.settle();
            look(self);
        }
    }

    fn take(&mut self, step: &Step) {
        let now = self.world.now;
        match *step {
            Step::Pass(_) => {}
            Step::Become(n, api) => self.world.become_(n, api),
            Step::Lose => {
                self.world.entry = None;
                // Whoever it was, it has to be told of the loss first.
                self.world.reachable_since = self.world.reachable_since.map(|_| now);
            }
            Step::Break if self.coming.is_none() => self.session.handle_disconnect(now),
            Step::Break => {}
            Step::TakeOver => {
                self.world.entry = Some(Entry {
                    incarnation: self.world.next,
                    ip: OTHER,
                    expires: MonoTime::NEVER,
                    draining: false,
                    in_flight: 1,
                });
                self.world.next += 1;
            }
            Step::Hold => self.session.hold(),
            Step::Resume => self.session.resume(now),
            Step::Drain => self.session.drain(now),
        }
        self.settle();
    }

    fn has_left(&self) -> bool {
        matches!(self.events.last(), Some(Event::Left(_)))
    }
}

/// The longest that a loss may go unnoticed: a heartbeat, its way through APIs that don't answer, the longest wait.
const NOTICED: Duration = Duration::from_secs(20 + 3 * 5 + 10 + 3 * 5);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whoever can be reached for as long as it takes to notice, knows the backend.
    #[test]
    fn while_an_api_answers_the_backend_is_registered(
        apis in 1_usize..4,
        seed: u64,
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut day = Day::begin(apis, seed);
        for step in &steps {
            day.take(step);
            let time = if let Step::Pass(millis) = *step { Duration::from_millis(millis) } else { Duration::ZERO };
            day.pass(time, |day| {
                let reachable = day.world.reachable_since.map(|since| day.world.now.since(since));
                if reachable.is_some_and(|reachable| reachable > NOTICED) {
                    assert!(day.world.own().is_some(), "not registered at {:?}", day.world.now);
                }
            });
        }
        // However it went, no API was flooded.
        let asked = &day.world.asked;
        for (n, at) in asked.iter().enumerate() {
            if let Some(later) = asked.get(n + 60) {
                prop_assert!(later.since(*at) > 10 * SEC, "60 requests from {at:?} to {later:?}");
            }
        }
    }

    /// However the day went: whoever leaves is gone within the drain and a few seconds, and nobody else is.
    #[test]
    fn whoever_leaves_is_gone_and_takes_nobody_along(
        apis in 1_usize..4,
        seed: u64,
        steps in prop::collection::vec(any_step(), 0..40),
        drain in 0_u32..20,
        heals: bool,
    ) {
        let mut day = Day::begin(apis, seed);
        for step in &steps {
            day.take(step);
            if let Step::Pass(millis) = *step {
                day.pass(Duration::from_millis(millis), |_| {});
            }
        }
        if heals {
            for n in 0..apis {
                day.world.become_(n, Api::Up);
            }
        }
        let had = day.world.own().is_some();
        let successor = day.world.entry.filter(|entry| entry.ip == OTHER);
        let ended = matches!(day.session.phase, Phase::Ended);
        let begun = day.world.now;
        day.events.clear();
        day.session.leave(begun, SEC * drain);
        day.settle();
        // A registration under way, the drain or the least time at one API, a last try, one at each of the others.
        let limit = TIMEOUT + SEC * drain.max(5) + 6 * (TIMEOUT + SEC);
        day.pass(limit, |_| {});
        prop_assert!(day.has_left(), "not gone after {limit:?}: {:?}", day.session);
        let alone = day.world.own().is_none();
        if heals && had && !ended {
            prop_assert!(alone, "still registered: {:?}", day.world.entry);
        }
        if let Some(successor) = successor {
            let live = day.world.entry.map(|entry| entry.incarnation);
            let retaken = live.is_some_and(|live| live > successor.incarnation);
            prop_assert!(live == Some(successor.incarnation) || retaken, "the successor is gone");
        }
    }
}
