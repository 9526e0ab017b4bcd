//! How a session ends.

use super::*;

#[test]
fn who_leaves_tells_every_api_and_waits_until_nothing_is_in_flight_at_any() {
    let mut stage = Stage::registered(2);
    stage.session.leave(stage.now, 30 * SEC);
    assert_eq!(stage.asks(), (0, gone(7, 30 * SEC)));
    stage.hears(reply(200, r#"{"incarnation":7,"draining":true,"in_flight":2}"#));
    // The other one may not have heard of it yet.
    assert_eq!(stage.asks(), (1, gone(7, 30 * SEC)));
    stage.hears(reply(200, r#"{"incarnation":7,"draining":true,"in_flight":1}"#));
    for api in [0, 1, 0, 1] {
        stage.session.handle_timeout(stage.now);
        if stage.session.asked.is_none() {
            stage.waits();
        }
        assert_eq!(stage.asks(), (api, Ask::Look));
        stage.hears(listed(7, "10.0.0.1", 8080));
    }
    stage.waits();
    let _ = stage.asks();
    stage.hears(reply(404, "{}"));
    stage.is_silent();
    if stage.session.asked.is_none() {
        stage.waits();
    }
    let _ = stage.asks();
    // A successor has the place already.
    stage.hears(listed(8, "10.0.0.2", 8080));
    assert_eq!(stage.event(), Event::Left(Departure::Gone));
    stage.is_over();
}

#[test]
fn who_leaves_without_draining_is_gone_at_once() {
    let mut stage = Stage::registered(1);
    stage.session.leave(stage.now, Duration::ZERO);
    assert_eq!(stage.asks(), (0, gone(7, Duration::ZERO)));
    stage.hears(reply(200, r#"{"incarnation":7,"draining":false,"in_flight":2}"#));
    assert_eq!(stage.event(), Event::Left(Departure::Gone));
    stage.is_over();
}

#[test]
fn a_drain_ends_in_time_and_a_second_word_shortens_it() {
    for shorter in [false, true] {
        let mut stage = Stage::registered(1);
        let begun = stage.now;
        stage.session.leave(stage.now, 10 * SEC);
        let _ = stage.asks();
        stage.hears(reply(200, r#"{"incarnation":7,"draining":true,"in_flight":2}"#));
        let event = loop {
            if shorter && stage.now.since(begun) > SEC {
                stage.session.leave(stage.now, Duration::ZERO);
            }
            if let Some(event) = stage.session.poll_event() {
                break event;
            }
            if stage.session.poll_request().is_some() {
                stage.hears(listed(7, "10.0.0.1", 8080));
            } else {
                stage.waits();
            }
        };
        assert_eq!(event, Event::Left(Departure::Overdue { in_flight: 2 }));
        let lasted = stage.now.since(begun);
        let expected = if shorter { SEC } else { 11 * SEC };
        assert!((expected..=expected + SEC / 2).contains(&lasted), "{lasted:?}");
    }
}

#[test]
fn a_registration_under_way_is_taken_back() {
    let mut stage = Stage::new(1);
    stage.session.join(stage.now);
    let _ = stage.asks();
    stage.session.leave(stage.now, SEC);
    stage.is_silent();
    stage.hears(lives(7));
    assert_eq!(stage.asks(), (0, gone(7, SEC)));
    stage.hears(reply(200, r#"{"draining":false}"#));
    assert_eq!(stage.event(), Event::Left(Departure::Gone));
}

#[test]
fn a_registration_that_nobody_answered_is_looked_for_and_only_its_own_is_taken_back() {
    for (found, deletes) in [("10.0.0.1", true), ("10.0.0.2", false)] {
        let mut stage = Stage::new(1);
        stage.session.ip = Some(OWN);
        stage.session.join(stage.now);
        let _ = stage.asks();
        stage.hears(Answer::Unanswered("no answer within 5 s".to_owned()));
        let _ = stage.event();
        stage.session.leave(stage.now, Duration::ZERO);
        assert_eq!(stage.asks(), (0, Ask::Look));
        stage.hears(listed(7, found, 8080));
        if deletes {
            assert_eq!(stage.asks(), (0, gone(7, Duration::ZERO)));
            stage.hears(reply(200, "{}"));
        }
        assert_eq!(stage.event(), Event::Left(Departure::Gone));
        stage.is_over();
    }
}

#[test]
fn who_was_never_registered_has_nothing_to_say() {
    let mut stage = Stage::new(1);
    stage.session.join(stage.now);
    let _ = stage.asks();
    stage.hears(refused());
    let _ = stage.event();
    stage.session.leave(stage.now, SEC);
    assert_eq!(stage.event(), Event::Left(Departure::NotRegistered));
    stage.is_over();
    // Nor has one whose registration had not been sent.
    let mut stage = Stage::new(1);
    stage.session.join(stage.now);
    stage.session.leave(stage.now, SEC);
    assert_eq!(stage.event(), Event::Left(Departure::NotRegistered));
    stage.is_over();
}

#[test]
fn who_can_tell_nobody_leaves_all_the_same_when_the_drain_is_over() {
    for (drain, lasts) in [(0, 5), (5, 5), (30, 30)] {
        let mut stage = Stage::registered(2);
        let (tries, lasted, event) = stage.leaves(drain * SEC, refused);
        assert!(
            matches!(event, Event::Left(Departure::Unsaid { .. })),
            "{event:?}"
        );
        assert_eq!(lasted, lasts * SEC);
        // One of them at the other API.
        assert!((lasts * 3..=lasts * 4 + 2).contains(&tries), "{tries}");
        stage.is_over();
    }
}

#[test]
fn a_proxy_that_closes_is_asked_again_when_it_says_until_it_has_taken_the_backend_out() {
    let mut stage = Stage::registered(1);
    stage.session.leave(stage.now, 10 * SEC);
    for _ in 0..4 {
        assert_eq!(stage.asks(), (0, gone(7, 10 * SEC)));
        stage.hears(closing());
        stage.is_silent();
        assert_eq!(stage.waits(), 2 * SEC);
    }
    assert_eq!(stage.asks(), (0, gone(7, 10 * SEC)));
    stage.hears(reply(200, r#"{"incarnation":7,"draining":true,"in_flight":2}"#));
    stage.waits();
    // Also while something is in flight there.
    assert_eq!(stage.asks(), (0, Ask::Look));
    stage.hears(closing());
    assert_eq!(stage.waits(), 2 * SEC);
    let _ = stage.asks();
    stage.hears(reply(404, "{}"));
    assert_eq!(stage.event(), Event::Left(Departure::Gone));
    stage.is_over();

    // The wait that it asks for is not longer than the farewell.
    let mut stage = Stage::registered(1);
    let (tries, lasted, _) = stage.leaves(5 * SEC, closing);
    assert_eq!((tries, lasted), (4, 5 * SEC));
}

#[test]
fn once_another_api_has_taken_it_out_the_one_that_is_away_is_not_waited_for() {
    let mut stage = Stage::registered(2);
    let begun = stage.now;
    stage.session.leave(begun, 30 * SEC);
    let event = loop {
        if let Some(event) = stage.session.poll_event() {
            break event;
        }
        match stage.session.poll_request().map(|request| request.api) {
            Some(0) => stage.hears(refused()),
            Some(_) => stage.hears(reply(200, r#"{"draining":false}"#)),
            None => {
                stage.waits();
            }
        }
    };
    assert_eq!(event, Event::Left(Departure::Gone));
    assert!(stage.now.since(begun) < SEC);
}

#[test]
fn a_second_word_ends_the_wait_for_an_api_that_is_away() {
    let mut stage = Stage::registered(1);
    let begun = stage.now;
    stage.session.leave(begun, 30 * SEC);
    while stage.now.since(begun) < 8 * SEC {
        let _ = stage.asks();
        stage.hears(refused());
        stage.waits();
    }
    let (tries, lasted, event) = stage.leaves(Duration::ZERO, refused);
    assert!(tries <= 1 && lasted.is_zero(), "{tries} tries in {lasted:?}");
    assert!(
        matches!(event, Event::Left(Departure::Unsaid { .. })),
        "{event:?}"
    );
}

#[test]
fn a_successor_is_never_taken_out() {
    let mut stage = Stage::registered(1);
    stage.session.leave(stage.now, 30 * SEC);
    assert_eq!(stage.asks(), (0, gone(7, 30 * SEC)));
    stage.hears(reply(412, "{}"));
    assert_eq!(stage.asks(), (0, Ask::Look));
    stage.hears(listed(9, "10.0.0.2", 8080));
    assert_eq!(stage.event(), Event::Left(Departure::Gone));
    stage.is_over();
}

#[test]
fn who_leaves_is_taken_out_under_another_number_too_but_not_under_one_after_the_other() {
    let mut stage = Stage::registered(1);
    stage.session.leave(stage.now, Duration::ZERO);
    assert_eq!(stage.asks(), (0, gone(7, Duration::ZERO)));
    stage.hears(reply(412, "{}"));
    assert_eq!(stage.asks(), (0, Ask::Look));
    stage.hears(listed(9, "10.0.0.1", 8080));
    assert_eq!(stage.asks(), (0, gone(9, Duration::ZERO)));
    stage.hears(reply(412, "{}"));
    assert_eq!(stage.event(), Event::Left(Departure::Gone));
    stage.is_over();
}
