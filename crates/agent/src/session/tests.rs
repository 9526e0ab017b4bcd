mod leaving;

use std::net::Ipv4Addr;

use super::*;
use crate::answer::Body;

const SEC: Duration = Duration::from_secs(1);
const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// A session and its time.
struct Stage {
    session: Session,
    now: MonoTime,
}

fn reply(status: u16, body: &str) -> Answer {
    Answer::Reply(Reply {
        status,
        retry_after: None,
        ip: Some(OWN),
        body: Body::parse(body.as_bytes()),
    })
}

fn lives(incarnation: u64) -> Answer {
    let body = format!(r#"{{"incarnation":{incarnation},"heartbeat_interval_secs":20}}"#);
    reply(201, &body)
}

fn listed(incarnation: u64, ip: &str, port: u16) -> Answer {
    let body = format!(r#"{{"incarnation":{incarnation},"ip":"{ip}","port":{port},"in_flight":2}}"#);
    reply(200, &body)
}

fn refused() -> Answer {
    Answer::Unreachable("connection refused".to_owned())
}

/// A proxy that drains, restarts or hands over.
fn closing() -> Answer {
    Answer::Reply(Reply {
        status: 503,
        retry_after: Some(2 * SEC),
        ip: None,
        body: Body::default(),
    })
}

fn incarnation(number: u64) -> Incarnation {
    Incarnation::new(number).unwrap()
}

fn beat(number: u64) -> Ask {
    Ask::Heartbeat {
        incarnation: incarnation(number),
        report: LoadReport::default(),
        draining: false,
    }
}

fn gone(number: u64, drain: Duration) -> Ask {
    Ask::Deregister {
        incarnation: incarnation(number),
        drain,
    }
}

impl Stage {
    fn new(apis: usize) -> Self {
        let settings = Settings {
            apis,
            ip: None,
            port: NonZeroU16::new(8080).unwrap(),
            seed: 7,
        };
        Self {
            session: Session::new(settings),
            now: MonoTime::from_secs(100),
        }
    }

    /// One that is registered as incarnation 7.
    fn registered(apis: usize) -> Self {
        let mut stage = Self::new(apis);
        stage.session.join(stage.now);
        assert_eq!(stage.asks(), (0, Ask::Register(None)));
        stage.hears(lives(7));
        assert!(matches!(stage.event(), Event::Registered { api: 0, .. }));
        stage
    }

    /// What is sent now.
    fn asks(&mut self) -> (usize, Ask) {
        let request = self.session.poll_request().expect("a request is sent");
        (request.api, request.ask)
    }

    fn hears(&mut self, answer: Answer) {
        self.session.handle_answer(self.now, answer);
    }

    fn event(&mut self) -> Event {
        self.session.poll_event().expect("there is something to tell")
    }

    fn is_silent(&mut self) {
        assert_eq!(self.session.poll_event(), None);
    }

    /// Answers every request with that until it has left: how often that was, how long it lasted, and the end.
    fn leaves(&mut self, drain: Duration, answer: impl Fn() -> Answer) -> (u32, Duration, Event) {
        let begun = self.now;
        self.session.leave(begun, drain);
        let mut tries = 0;
        loop {
            if let Some(event) = self.session.poll_event() {
                return (tries, self.now.since(begun), event);
            }
            if self.session.poll_request().is_some() {
                tries += 1;
                self.hears(answer());
            } else {
                self.waits();
            }
        }
    }

    /// Lets time pass until the next thing is due, and says how long that was.
    fn waits(&mut self) -> Duration {
        assert_eq!(self.session.poll_request(), None, "something is sent first");
        let due = self.session.poll_timeout().expect("it waits for something");
        let waited = due.since(self.now);
        self.now = due;
        self.session.handle_timeout(due);
        waited
    }

    fn is_over(&mut self) {
        assert_eq!(self.session.poll_request(), None);
        assert_eq!(self.session.poll_timeout(), None);
    }
}

#[test]
fn heartbeats_come_within_the_interval_that_the_api_names_and_not_all_at_once() {
    let mut stage = Stage::registered(1);
    let mut waits = Vec::new();
    for _ in 0..200 {
        waits.push(stage.waits());
        assert_eq!(stage.asks(), (0, beat(7)));
        stage.hears(lives(7));
    }
    assert!(waits.iter().all(|wait| (15 * SEC..=20 * SEC).contains(wait)));
    assert!(waits.iter().any(|wait| *wait < 16 * SEC) && waits.iter().any(|wait| *wait > 19 * SEC));
    // Another interval is taken over with the next answer.
    stage.waits();
    let _ = stage.asks();
    stage.hears(reply(200, r#"{"incarnation":7,"heartbeat_interval_secs":4}"#));
    assert!(stage.waits() <= 4 * SEC);
    stage.is_silent();
}

#[test]
fn the_address_of_the_first_registration_is_kept() {
    let mut stage = Stage::registered(1);
    stage.waits();
    let _ = stage.asks();
    stage.hears(reply(404, "{}"));
    assert_eq!(stage.asks(), (0, Ask::Register(Some(OWN))));
}

#[test]
fn a_404_is_answered_with_a_registration_in_the_same_moment() {
    let mut stage = Stage::registered(1);
    stage.waits();
    let _ = stage.asks();
    stage.hears(reply(404, "{}"));
    assert_eq!(stage.event(), Event::Forgotten { api: 0 });
    assert_eq!(stage.asks(), (0, Ask::Register(Some(OWN))));
    stage.hears(lives(8));
    assert!(matches!(stage.event(), Event::Registered { .. }));
    stage.waits();
    assert_eq!(stage.asks(), (0, beat(8)));
}

#[test]
fn five_minutes_without_an_api_are_sat_out_and_it_comes_back_within_ten_seconds() {
    let mut stage = Stage::registered(1);
    let end = stage.now + 300 * SEC;
    let mut tries = 0;
    let mut told = 0;
    while stage.now < end {
        assert!(stage.waits() <= 20 * SEC);
        let _ = stage.asks();
        stage.hears(refused());
        tries += 1;
        while let Some(event) = stage.session.poll_event() {
            assert!(matches!(event, Event::Trouble { .. }), "{event:?}");
            told += 1;
        }
    }
    assert!((30..150).contains(&tries), "{tries} tries in five minutes");
    assert!((2..10).contains(&told), "{told} lines in five minutes");
    assert!(stage.waits() <= 10 * SEC);
    assert_eq!(stage.asks(), (0, beat(7)));
    // Its lease has run out meanwhile.
    stage.hears(reply(404, "{}"));
    assert_eq!(stage.event(), Event::Forgotten { api: 0 });
    let _ = stage.asks();
    stage.hears(lives(8));
    assert!(matches!(stage.event(), Event::Recovered { api: 0, after } if after >= 280 * SEC));
    assert!(matches!(stage.event(), Event::Registered { .. }));
}

#[test]
fn waits_double_up_to_ten_seconds_with_full_jitter() {
    let mut stage = Stage::new(1);
    stage.session.join(stage.now);
    let mut longest = Duration::from_millis(500);
    let mut short = 0;
    for _ in 0..60 {
        let _ = stage.asks();
        stage.hears(reply(503, "{}"));
        let wait = stage.waits();
        assert!((SHORTEST_WAIT..=longest).contains(&wait), "{wait:?}");
        short += u32::from(wait < longest / 4);
        longest = (longest * 2).min(10 * SEC);
    }
    assert!(short > 5, "the jitter is full: {short}");
}

#[test]
fn a_first_registration_that_is_refused_ends_it() {
    for status in [400, 401, 403, 404, 409, 412, 413, 415, 422, 301] {
        let mut stage = Stage::new(2);
        stage.session.join(stage.now);
        let _ = stage.asks();
        stage.hears(reply(status, r#"{"error":"it is wrong"}"#));
        let what = format!("{status}: it is wrong");
        assert_eq!(stage.event(), Event::Refused { api: 0, what });
        stage.is_over();
    }
    // A 200 of something else is no registration either.
    let mut stage = Stage::new(1);
    stage.session.join(stage.now);
    let _ = stage.asks();
    stage.hears(reply(200, "<html>"));
    assert!(matches!(stage.event(), Event::Refused { .. }));
}

#[test]
fn one_that_was_accepted_once_is_tried_again_whatever_the_api_says() {
    for status in [401, 403, 422, 409, 429, 500] {
        let mut stage = Stage::registered(1);
        stage.waits();
        let _ = stage.asks();
        stage.hears(reply(404, "{}"));
        let _ = stage.event();
        for _ in 0..5 {
            assert_eq!(stage.asks(), (0, Ask::Register(Some(OWN))), "{status}");
            stage.hears(reply(status, "{}"));
            assert!(stage.waits() <= 10 * SEC);
        }
        assert!(matches!(stage.event(), Event::Trouble { .. }));
        let _ = stage.asks();
        stage.hears(lives(8));
    }
}

#[test]
fn a_412_from_another_address_is_a_successor_and_silence_follows() {
    let mut stage = Stage::registered(1);
    stage.waits();
    let _ = stage.asks();
    stage.hears(reply(412, "{}"));
    assert_eq!(stage.asks(), (0, Ask::Look));
    stage.hears(listed(9, "10.0.0.2", 8080));
    assert!(matches!(stage.event(), Event::Superseded { port: 8080, .. }));
    stage.is_over();
    // It has nothing to take back.
    stage.session.leave(stage.now, 30 * SEC);
    assert_eq!(stage.event(), Event::Left(Departure::NotRegistered));
    stage.is_over();
}

#[test]
fn a_412_at_its_own_address_is_itself_under_another_number() {
    let mut stage = Stage::registered(1);
    stage.waits();
    let _ = stage.asks();
    stage.hears(reply(412, "{}"));
    let _ = stage.asks();
    stage.hears(listed(9, "10.0.0.1", 8080));
    assert!(stage.waits() <= SEC);
    assert_eq!(stage.asks(), (0, beat(9)));
    stage.hears(lives(9));
    assert!(stage.waits() >= 15 * SEC);
}

#[test]
fn apis_that_do_not_agree_are_not_asked_without_a_rest() {
    let mut stage = Stage::registered(1);
    let begun = stage.now;
    for number in 9..40 {
        stage.waits();
        let _ = stage.asks();
        stage.hears(reply(412, "{}"));
        let _ = stage.asks();
        stage.hears(listed(number, "10.0.0.1", 8080));
    }
    assert!(stage.now.since(begun) > 60 * SEC, "{:?}", stage.now.since(begun));
}

#[test]
fn a_429_is_waited_for_as_it_says_and_for_half_a_minute_at_the_most() {
    for (says, waits) in [(7, 7), (86_400, 30)] {
        let mut stage = Stage::new(2);
        stage.session.join(stage.now);
        let _ = stage.asks();
        stage.hears(Answer::Reply(Reply {
            status: 429,
            retry_after: Some(SEC * says),
            ip: None,
            body: Body::default(),
        }));
        let waited = stage.waits();
        assert!((SEC * waits..=SEC * waits + SEC).contains(&waited), "{waited:?}");
        assert_eq!(stage.asks(), (0, Ask::Register(None)), "the same API");
    }
}

#[test]
fn an_api_that_answers_is_stuck_to_and_one_that_does_not_is_left_at_once() {
    let mut stage = Stage::registered(3);
    for failure in [
        refused(),
        Answer::Unanswered("no answer within 5 s".to_owned()),
        reply(502, ""),
    ] {
        stage.waits();
        let (api, _) = stage.asks();
        stage.hears(failure);
        assert!(matches!(stage.event(), Event::Trouble { .. }));
        let next = (api + 1) % 3;
        assert_eq!(stage.asks(), (next, beat(7)), "in the same moment");
        stage.hears(lives(7));
        assert_eq!(
            stage.event(),
            Event::Recovered {
                api: next,
                after: Duration::ZERO
            }
        );
        stage.waits();
        assert_eq!(stage.asks(), (next, beat(7)), "it is stuck to");
        stage.hears(lives(7));
    }
}

#[test]
fn only_when_every_api_has_failed_it_waits() {
    let mut stage = Stage::new(3);
    stage.session.join(stage.now);
    for round in 0..4 {
        for api in 0..3 {
            assert_eq!(stage.asks(), (api, Ask::Register(None)), "round {round}");
            stage.hears(refused());
        }
        stage.waits();
    }
}

#[test]
fn a_503_to_a_heartbeat_is_no_reason_to_register_again_but_to_ask_the_next_api_or_to_wait() {
    let mut stage = Stage::registered(2);
    stage.waits();
    assert_eq!(stage.asks(), (0, beat(7)));
    stage.hears(closing());
    assert_eq!(stage.asks(), (1, beat(7)), "in the same moment");
    stage.hears(closing());
    // Nobody is left to be asked: as long as they say, and a little more.
    let wait = stage.waits();
    assert!(wait >= 2 * SEC && wait <= 2 * SEC + FIRST_WAIT, "{wait:?}");
    assert_eq!(stage.asks(), (0, beat(7)), "the same life");
    stage.hears(lives(7));
    assert!(stage.waits() > 10 * SEC, "as if nothing had been");
}

#[test]
fn an_api_that_closed_the_connection_is_asked_soon_but_not_again_and_again() {
    let mut stage = Stage::registered(1);
    stage.session.handle_disconnect(stage.now);
    assert!(stage.waits() <= 2 * SEC);
    assert_eq!(stage.asks(), (0, beat(7)));
    stage.hears(lives(7));
    stage.session.handle_disconnect(stage.now);
    assert!(stage.waits() >= 15 * SEC);
}

#[test]
fn a_drain_is_told_at_once_and_who_is_forgotten_while_draining_stays_so() {
    let mut stage = Stage::registered(1);
    stage.session.drain(stage.now);
    let (_, ask) = stage.asks();
    assert!(matches!(ask, Ask::Heartbeat { draining: true, .. }), "{ask:?}");
    stage.is_silent();
    stage.hears(lives(7));
    assert_eq!(stage.event(), Event::Drained);
    stage.waits();
    let (_, ask) = stage.asks();
    assert!(matches!(ask, Ask::Heartbeat { draining: true, .. }), "{ask:?}");
    stage.hears(reply(404, "{}"));
    assert_eq!(stage.event(), Event::Drained);
    assert_eq!(stage.event(), Event::Left(Departure::Gone));
    stage.is_over();
}

#[test]
fn a_drain_that_comes_while_registering_follows_the_registration() {
    let mut stage = Stage::new(1);
    stage.session.join(stage.now);
    let _ = stage.asks();
    stage.session.drain(stage.now);
    stage.hears(lives(7));
    let _ = stage.event();
    let (_, ask) = stage.asks();
    assert!(matches!(ask, Ask::Heartbeat { draining: true, .. }), "{ask:?}");
}

#[test]
fn who_is_held_says_nothing_until_it_is_resumed() {
    let mut stage = Stage::registered(1);
    stage.session.hold();
    stage.is_over();
    stage.session.resume(stage.now);
    assert_eq!(stage.asks(), (0, beat(7)));
    // Held while something is under way.
    stage.session.hold();
    stage.hears(reply(404, "{}"));
    let _ = stage.event();
    stage.is_over();
    stage.session.resume(stage.now);
    assert_eq!(stage.asks(), (0, Ask::Register(Some(OWN))));
    // And one that is held can leave.
    stage.hears(lives(8));
    stage.session.hold();
    stage.session.leave(stage.now, Duration::ZERO);
    assert_eq!(stage.asks(), (0, gone(8, Duration::ZERO)));
}

#[test]
fn what_is_reported_goes_with_every_heartbeat() {
    let mut stage = Stage::registered(1);
    let busy = LoadReport {
        utilization: Some(0.9),
        ..LoadReport::default()
    };
    stage.session.report(busy);
    for _ in 0..2 {
        stage.waits();
        let (_, ask) = stage.asks();
        assert!(matches!(ask, Ask::Heartbeat { report, .. } if report == busy));
        stage.hears(lives(7));
    }
}
