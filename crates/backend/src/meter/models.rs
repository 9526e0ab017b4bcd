//! What must hold however threads interleave. loom plays all of it.

use std::sync::Arc;

use loom::thread;

use super::tests::{admit, endpoint, unlimited};
use super::*;

#[test]
fn the_hard_limit_holds_and_a_place_that_is_there_is_taken() {
    loom::model(|| {
        let endpoint = endpoint(Limits::new(1, 1).unwrap());
        let others: Vec<_> = (0..2)
            .map(|_| {
                let endpoint = Arc::clone(&endpoint);
                thread::spawn(move || admit(&endpoint).ok())
            })
            .collect();
        let held: Vec<_> = others
            .into_iter()
            .filter_map(|other| other.join().unwrap())
            .collect();
        assert_eq!(held.len(), 1);
        assert_eq!(endpoint.meter.in_flight(), 1);
        drop(held);
        assert_eq!(endpoint.meter.in_flight(), 0);
    });
}

#[test]
fn a_place_that_is_given_back_is_taken_by_one() {
    loom::model(|| {
        let endpoint = endpoint(Limits::new(1, 1).unwrap());
        let held = admit(&endpoint).unwrap();
        let other = Arc::clone(&endpoint);
        let other = thread::spawn(move || admit(&other).ok());
        drop(held);
        let mine = admit(&endpoint).ok();
        let others = other.join().unwrap();
        // Both can't, and both fail only if each looked while the place was still held, which this thread did not.
        assert_eq!(u32::from(mine.is_some()) + u32::from(others.is_some()), 1);
    });
}

#[test]
fn once_a_shut_gate_has_nothing_in_flight_nobody_gets_in_any_more() {
    for shut in [Meter::close, Meter::bench, Meter::exclude, Meter::cut] {
        loom::model(move || {
            let endpoint = unlimited();
            let worker = Arc::clone(&endpoint);
            let worker = thread::spawn(move || admit(&worker).ok());
            shut(&endpoint.meter);
            let is_done = endpoint.meter.remaining() == 0;
            let held = worker.join().unwrap();
            assert!(!(is_done && held.is_some()), "let in after it was done");
        });
    }
}

#[test]
fn a_gate_that_is_changed_while_somebody_comes_in_leaves_no_place_taken() {
    loom::model(|| {
        let endpoint = endpoint(Limits::new(1, 1).unwrap());
        let worker = Arc::clone(&endpoint);
        let worker = thread::spawn(move || admit(&worker).map(drop));
        endpoint.meter.close();
        endpoint.meter.open();
        let _ = worker.join().unwrap();
        assert_eq!(endpoint.meter.in_flight(), 0);
        assert!(admit(&endpoint).is_ok());
    });
}

#[test]
fn of_those_that_come_to_a_trial_one_is_it() {
    loom::model(|| {
        let endpoint = unlimited();
        endpoint.meter.exclude();
        endpoint.meter.start_trial();
        let other = Arc::clone(&endpoint);
        let other = thread::spawn(move || admit(&other));
        let (mine, others) = (admit(&endpoint), other.join().unwrap());
        let refused = [&mine, &others].map(|admitted| admitted.as_ref().err().copied());
        assert!(
            refused.contains(&None) && refused.contains(&Some(Refusal::OnTrial)),
            "{refused:?}"
        );
        drop((mine, others));
        assert_eq!(
            (endpoint.meter.gate(), endpoint.meter.in_flight()),
            (Gate::Trial, 0)
        );
    });
}

#[test]
fn a_trial_that_begins_while_somebody_comes_in_is_still_one_request() {
    loom::model(|| {
        let endpoint = unlimited();
        let worker = Arc::clone(&endpoint);
        let worker = thread::spawn(move || admit(&worker).ok());
        endpoint.meter.exclude();
        endpoint.meter.start_trial();
        let mine = admit(&endpoint).ok();
        let others = worker.join().unwrap();
        let trials = [&mine, &others]
            .into_iter()
            .flatten()
            .filter(|held| held.is_trial())
            .count();
        assert!(trials <= 1);
        // Who came in before the trial may still be under way; nobody comes in beside it.
        assert!(mine.is_none_or(|mine| mine.is_trial()));
    });
}

#[test]
fn a_streak_is_reported_by_one_of_those_who_complete_it() {
    loom::model(|| {
        let endpoint = unlimited();
        let (mine, others) = (admit(&endpoint).unwrap(), admit(&endpoint).unwrap());
        let other = thread::spawn(move || others.failed(2, MonoTime::ZERO));
        let reported = [mine.failed(2, MonoTime::ZERO), other.join().unwrap()];
        assert_eq!(reported.iter().flatten().count(), 1, "{reported:?}");
        let meter = &endpoint.meter;
        assert_eq!(
            (meter.gate(), meter.streak(), meter.totals().1),
            (Gate::Excluded, 2, 2)
        );
    });
}

#[test]
fn the_end_of_a_trial_takes_back_no_decision_of_the_registry() {
    for (decide, gate) in [
        (Meter::open as fn(&Meter), Gate::Open),
        (Meter::close, Gate::Closed),
        (Meter::cut, Gate::Cut),
    ] {
        loom::model(move || {
            let endpoint = unlimited();
            endpoint.meter.exclude();
            endpoint.meter.start_trial();
            let trial = admit(&endpoint).unwrap();
            let worker = thread::spawn(move || {
                let _ = trial.failed(1, MonoTime::ZERO);
                drop(trial);
            });
            decide(&endpoint.meter);
            worker.join().unwrap();
            assert_eq!(endpoint.meter.gate(), gate);
        });
    }
}

#[test]
fn a_failure_and_a_success_leave_a_streak_that_one_of_them_made() {
    loom::model(|| {
        let endpoint = unlimited();
        let (mine, others) = (admit(&endpoint).unwrap(), admit(&endpoint).unwrap());
        let _ = admit(&endpoint).unwrap().failed(3, MonoTime::ZERO);
        let other = thread::spawn(move || others.failed(3, MonoTime::ZERO));
        assert_eq!(mine.succeeded(Duration::from_millis(1), MonoTime::ZERO), None);
        assert_eq!(other.join().unwrap(), None);
        assert!(
            matches!(endpoint.meter.streak(), 0 | 1),
            "{}",
            endpoint.meter.streak()
        );
    });
}
