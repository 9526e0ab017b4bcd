mod model;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::{BackendAddr, BackendId, Incarnation, MonoTime};

use super::{Config, Schedule, Start, Verdict};
use crate::{Class, First, Monitor, Pace, Target};

const SECOND: Duration = Duration::from_secs(1);

fn schedule(max_concurrent: usize) -> Schedule {
    Schedule::new(Config {
        max_concurrent: NonZeroUsize::new(max_concurrent).unwrap(),
        seed: 42,
    })
}

fn target(number: u64) -> Target {
    Target {
        id: BackendId::parse(&format!("backend-{number}")).unwrap(),
        incarnation: Incarnation::new(number).unwrap(),
        class: Class::Monitor,
        addr: BackendAddr::parse("127.0.0.1", 80).unwrap(),
        monitor: Arc::new(Monitor::tcp()),
        first: First::Spread,
    }
}

fn at_once(number: u64) -> Target {
    Target {
        first: First::AtOnce,
        ..target(number)
    }
}

fn remove(schedule: &mut Schedule, number: u64, now: MonoTime) -> bool {
    schedule.remove(Incarnation::new(number).unwrap(), Class::Monitor, now)
}

fn starts(schedule: &mut Schedule) -> Vec<Start> {
    std::iter::from_fn(|| schedule.poll_probe()).collect()
}

fn numbers(starts: &[Start]) -> Vec<u64> {
    starts
        .iter()
        .map(|start| start.target.incarnation.get())
        .collect()
}

#[test]
fn the_first_probes_are_spread_over_one_interval() {
    let mut schedule = schedule(64);
    for number in 1..=1_000 {
        schedule.upsert(target(number), MonoTime::ZERO);
    }
    // A fifth of the interval each: 200 expected, six standard deviations are 76.
    for fifth in 1..=5 {
        schedule.handle_timeout(MonoTime::from_secs(fifth));
        let mut count = 0;
        while let Some(start) = schedule.poll_probe() {
            count += 1;
            schedule.handle_result(start.ticket, MonoTime::from_secs(fifth), |_| Pace::Settled);
        }
        assert!((124..=276).contains(&count), "{count} in second {fifth}");
    }
}

#[test]
fn a_suspect_and_a_restored_backend_are_probed_at_once() {
    let mut schedule = schedule(64);
    schedule.upsert(target(1), MonoTime::ZERO);
    schedule.upsert(at_once(2), MonoTime::ZERO);
    schedule.upsert(
        Target {
            class: Class::Suspect,
            ..target(3)
        },
        MonoTime::ZERO,
    );
    assert_eq!(numbers(&starts(&mut schedule)), [2, 3]);
}

#[test]
fn the_next_probe_is_an_interval_after_the_last_began_give_or_take_a_tenth() {
    for (class, pace, from, to) in [
        (Class::Monitor, Pace::Settled, 4_500, 5_500),
        (Class::Monitor, Pace::Changing, 900, 1_100),
        (Class::Suspect, Pace::Settled, 900, 1_100),
        (Class::Suspect, Pace::Changing, 900, 1_100),
    ] {
        let (mut least, mut most) = (Duration::MAX, Duration::ZERO);
        let mut schedule = schedule(64);
        for number in 1..=500 {
            let began = MonoTime::from_secs(number);
            schedule.upsert(
                Target {
                    class,
                    ..at_once(number)
                },
                began,
            );
            let start = schedule.poll_probe().unwrap();
            schedule.handle_result(start.ticket, began + Duration::from_millis(number), |_| pace);
            let after = schedule.poll_timeout().unwrap().since(began);
            assert!(
                after >= Duration::from_millis(from) && after <= Duration::from_millis(to),
                "{after:?}"
            );
            (least, most) = (least.min(after), most.max(after));
            schedule.remove(start.target.incarnation, class, began);
        }
        // The jitter uses all of its room.
        let bit = Duration::from_millis(to - from) / 20;
        assert!(least < Duration::from_millis(from) + bit, "{least:?}");
        assert!(most > Duration::from_millis(to) - bit, "{most:?}");
    }
}

#[test]
fn a_slow_one_never_delays_another() {
    let mut schedule = schedule(2);
    schedule.upsert(at_once(1), MonoTime::ZERO);
    let slow = schedule.poll_probe().unwrap();
    schedule.upsert(at_once(2), MonoTime::ZERO);
    let mut now = MonoTime::ZERO;
    for _ in 0..100 {
        schedule.handle_timeout(now);
        let start = schedule.poll_probe().unwrap();
        assert_eq!(start.target.incarnation.get(), 2);
        schedule.handle_result(start.ticket, now, |_| Pace::Settled);
        now = schedule.poll_timeout().unwrap();
    }
    // It took a hundred intervals; its next one is due at once, but only one, and after who is due.
    schedule.handle_result(slow.ticket, now, |_| Pace::Settled);
    assert_eq!(numbers(&starts(&mut schedule)), [2, 1]);
}

#[test]
fn when_saturated_the_longest_overdue_goes_first_and_a_slow_one_behind_it() {
    let mut schedule = schedule(1);
    for number in 1..=3 {
        schedule.upsert(at_once(number), MonoTime::from_secs(number));
    }
    let mut order = Vec::new();
    for round in 1..=7 {
        let now = MonoTime::from_secs(100 * round);
        schedule.handle_timeout(now);
        let start = schedule.poll_probe().unwrap();
        assert!(schedule.poll_probe().is_none());
        assert_eq!(schedule.poll_timeout(), None, "there is no room to wake up for");
        order.push(start.target.incarnation.get());
        schedule.handle_result(start.ticket, now + 50 * SECOND, |_| Pace::Settled);
    }
    assert_eq!(order, [1, 2, 3, 1, 2, 3, 1]);
}

#[test]
fn a_removed_targets_probe_is_cancelled_and_its_late_result_void() {
    let mut schedule = schedule(1);
    schedule.upsert(at_once(1), MonoTime::ZERO);
    let start = schedule.poll_probe().unwrap();
    schedule.upsert(at_once(2), MonoTime::ZERO);
    assert!(remove(&mut schedule, 1, MonoTime::ZERO));
    assert!(!remove(&mut schedule, 1, MonoTime::ZERO));
    assert_eq!(schedule.poll_cancel(), Some(start.ticket));
    assert_eq!(schedule.poll_cancel(), None);
    assert!(schedule.poll_probe().is_none(), "its socket may still be open");
    let verdict = schedule.handle_result(start.ticket, MonoTime::ZERO, |_| panic!("nobody may hear of it"));
    assert_eq!(verdict, Verdict::Void);
    assert_eq!(numbers(&starts(&mut schedule)), [2]);
}

#[test]
fn a_result_that_was_there_before_its_cancellation_was_asked_for_is_void_too() {
    let mut schedule = schedule(1);
    schedule.upsert(at_once(1), MonoTime::ZERO);
    let start = schedule.poll_probe().unwrap();
    remove(&mut schedule, 1, MonoTime::ZERO);
    assert_eq!(
        schedule.handle_result(start.ticket, MonoTime::ZERO, |_| Pace::Settled),
        Verdict::Void
    );
    assert_eq!(schedule.poll_cancel(), None);
}

#[test]
fn a_changed_target_begins_anew_and_one_that_comes_back_is_another() {
    let other = Arc::new(Monitor::http("/health").unwrap());
    for changed in [
        Target {
            monitor: other,
            ..at_once(1)
        },
        Target {
            addr: BackendAddr::parse("127.0.0.1", 81).unwrap(),
            ..at_once(1)
        },
        Target {
            id: BackendId::parse("other").unwrap(),
            ..at_once(1)
        },
    ] {
        let mut schedule = schedule(2);
        schedule.upsert(at_once(1), MonoTime::ZERO);
        let before = schedule.poll_probe().unwrap();
        schedule.upsert(changed, MonoTime::ZERO);
        assert_eq!(schedule.poll_cancel(), Some(before.ticket));
        let after = schedule.poll_probe().unwrap();
        assert_eq!(
            schedule.handle_result(before.ticket, MonoTime::ZERO, |_| panic!()),
            Verdict::Void
        );
        assert_eq!(
            schedule.handle_result(after.ticket, MonoTime::ZERO, |_| Pace::Settled),
            Verdict::Counted
        );
        assert_eq!(
            schedule.handle_result(after.ticket, MonoTime::ZERO, |_| panic!()),
            Verdict::Void
        );
    }
}

#[test]
fn an_unchanged_target_keeps_its_turn_its_pace_and_its_probe() {
    let mut schedule = schedule(2);
    schedule.upsert(target(1), MonoTime::ZERO);
    let due = schedule.poll_timeout();
    schedule.upsert(at_once(1), MonoTime::ZERO);
    schedule.replace(vec![target(1)], MonoTime::ZERO);
    assert_eq!(schedule.poll_timeout(), due);
    schedule.handle_timeout(due.unwrap());
    let start = schedule.poll_probe().unwrap();
    schedule.replace(vec![target(1)], due.unwrap());
    assert_eq!(schedule.poll_cancel(), None);
    assert_eq!(
        schedule.handle_result(start.ticket, due.unwrap(), |_| Pace::Changing),
        Verdict::Counted
    );
    schedule.upsert(target(1), due.unwrap());
    assert!(schedule.poll_timeout().unwrap() <= due.unwrap() + Duration::from_millis(1_100));
}

#[test]
fn an_equal_monitor_of_a_newer_set_lets_the_older_one_go() {
    let mut schedule = schedule(1);
    let older = Arc::new(Monitor::tcp());
    let replace = |schedule: &mut Schedule, target, now| schedule.replace(vec![target], now);
    for step in [Schedule::upsert, replace] {
        schedule.upsert(
            Target {
                monitor: older.clone(),
                ..target(1)
            },
            MonoTime::ZERO,
        );
        assert_eq!(Arc::strong_count(&older), 2);
        step(&mut schedule, target(1), MonoTime::ZERO);
        assert_eq!(Arc::strong_count(&older), 1);
    }
}

#[test]
fn a_probe_that_ended_without_a_result_leaves_the_pace_as_it_was() {
    let mut schedule = schedule(1);
    schedule.upsert(at_once(1), MonoTime::ZERO);
    let start = schedule.poll_probe().unwrap();
    schedule.handle_result(start.ticket, MonoTime::ZERO, |_| Pace::Changing);
    let now = schedule.poll_timeout().unwrap();
    schedule.handle_timeout(now);
    let start = schedule.poll_probe().unwrap();
    schedule.handle_aborted(start.ticket, now);
    let due = schedule.poll_timeout().unwrap();
    assert!(due.since(now) >= Duration::from_millis(900) && due.since(now) <= Duration::from_millis(1_100));
}

#[test]
fn replace_keeps_who_stays_drops_who_is_missing_and_adds_who_is_new() {
    let mut schedule = schedule(64);
    schedule.replace(vec![at_once(3), at_once(1), at_once(5)], MonoTime::ZERO);
    let running = starts(&mut schedule);
    assert_eq!(numbers(&running), [1, 3, 5]);
    let twice = Target {
        addr: BackendAddr::parse("127.0.0.1", 81).unwrap(),
        ..at_once(4)
    };
    let suspect = Target {
        class: Class::Suspect,
        ..target(1)
    };
    schedule.replace(
        vec![at_once(4), twice, at_once(6), at_once(3), suspect, at_once(1)],
        MonoTime::ZERO,
    );
    assert_eq!(schedule.poll_cancel(), Some(running[2].ticket));
    assert_eq!(schedule.poll_cancel(), None);
    let started = starts(&mut schedule);
    assert_eq!(numbers(&started), [1, 4, 6]);
    assert_eq!(started[0].target.class, Class::Suspect);
    assert_eq!(started[1].target.addr.port(), 81);
    assert_eq!(schedule.len(), 5);
    schedule.replace(Vec::new(), MonoTime::ZERO);
    assert!(schedule.is_empty());
    assert_eq!(
        schedule.running(),
        6,
        "they hold their places until they have ended"
    );
    assert_eq!(schedule.poll_timeout(), None);
}

#[test]
fn time_never_runs_backwards() {
    let mut schedule = schedule(1);
    schedule.handle_timeout(MonoTime::from_secs(10));
    schedule.upsert(at_once(1), MonoTime::from_secs(5));
    assert_eq!(schedule.poll_timeout(), Some(MonoTime::from_secs(10)));
    let start = schedule.poll_probe().unwrap();
    schedule.handle_result(start.ticket, MonoTime::ZERO, |_| Pace::Settled);
    assert!(schedule.poll_timeout().unwrap() >= MonoTime::from_micros(14_500_000));
}

#[test]
fn the_same_seed_and_inputs_give_the_same_outputs() {
    let run = |seed| {
        let mut schedule = Schedule::new(Config {
            seed,
            ..Config::default()
        });
        (1..=10).for_each(|number| schedule.upsert(target(number), MonoTime::ZERO));
        let mut times = Vec::new();
        for _ in 0..100 {
            let now = schedule.poll_timeout().unwrap();
            schedule.handle_timeout(now);
            let start = schedule.poll_probe().unwrap();
            schedule.handle_result(start.ticket, now, |_| Pace::Settled);
            times.push((now, start.target.incarnation));
        }
        times
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn a_hundred_thousand_targets_are_each_probed_once_an_interval() {
    let count = 100_000;
    let monitor = Arc::new(Monitor::tcp());
    let mut schedule = schedule(64);
    let targets = (1..=count).map(|number| Target {
        monitor: monitor.clone(),
        ..target(number)
    });
    schedule.replace(targets.collect(), MonoTime::ZERO);
    let mut probes = vec![0_u32; usize::try_from(count).unwrap() + 1];
    while let Some(now) = schedule
        .poll_timeout()
        .filter(|due| *due < MonoTime::from_secs(10))
    {
        schedule.handle_timeout(now);
        while let Some(start) = schedule.poll_probe() {
            probes[usize::try_from(start.target.incarnation.get()).unwrap()] += 1;
            schedule.handle_result(start.ticket, now, |_| Pace::Settled);
        }
    }
    // Once in the first interval, and the second within 5.5 s after it: 1 to 3 in all.
    assert!(probes[1..].iter().all(|probes| (1..=3).contains(probes)));
}
