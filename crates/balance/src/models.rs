//! What must hold however threads interleave. loom plays all of it.

use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::MonoTime;
use loom::thread;

use crate::retry::{Allowance, RetryBudget};
use crate::rotation::Cursor;
use crate::sync::AtomicU64;
use crate::tally::{ADDED_MAX, Tally};
use crate::{Bindings, Key};

const NOW: MonoTime = MonoTime::from_secs(100);
const TTL: Duration = Duration::from_secs(600);

/// Two threads do something, each its own.
fn both<R: Send + 'static>(
    first: impl FnOnce() -> R + 'static,
    second: impl FnOnce() -> R + Send + 'static,
) -> [R; 2] {
    let second = thread::spawn(second);
    let first = first();
    [first, second.join().unwrap()]
}

#[test]
fn the_sum_of_a_group_is_that_of_the_latest_notes() {
    loom::model(|| {
        let tally = Arc::new(Tally::new([1; ADDED_MAX + 1].into_iter()));
        let others = Arc::clone(&tally);
        let mine = Arc::clone(&tally);
        both(
            move || {
                mine.note(0, 5);
                mine.note(1, 0);
            },
            move || {
                others.note(0, 9);
                assert!(others.kept() < 100, "below zero is zero");
            },
        );
        tally.note(0, 2);
        assert_eq!(tally.kept(), ADDED_MAX as u64 + 1);
    });
}

#[test]
fn every_turn_is_one_members() {
    loom::model(|| {
        let cursor = Arc::new(Cursor::default());
        let [mine, others] = [Arc::clone(&cursor), Arc::clone(&cursor)];
        // One passes over the next turn where nobody takes it meanwhile, as at a member that is full.
        let [walked, taken] = both(
            move || {
                let turn = mine.take();
                if mine.advance(turn + 1, turn + 3) {
                    vec![turn, turn + 1, turn + 2]
                } else {
                    vec![turn, mine.take()]
                }
            },
            move || vec![others.take(), others.take()],
        );
        let mut turns = [walked, taken].concat();
        turns.sort_unstable();
        let all: Vec<u64> = (0..cursor.peek()).collect();
        assert_eq!(turns, all);
    });
}

#[test]
fn half_of_a_binding_is_none() {
    loom::model(|| {
        let bindings = Arc::new(Bindings::new(1, TTL));
        bindings.bind(Key::from_bits(1), 10, NOW);
        let [mine, others] = [Arc::clone(&bindings), Arc::clone(&bindings)];
        both(
            move || mine.bind(Key::from_bits(2), 20, NOW),
            move || {
                let found = [1, 2, 3].map(|key| others.peek(Key::from_bits(key), NOW));
                assert!(
                    matches!(found, [None | Some(10), None | Some(20), None]),
                    "{found:?}"
                );
            },
        );
        assert_eq!(bindings.peek(Key::from_bits(2), NOW), Some(20));
    });
}

#[test]
fn a_client_that_two_workers_bind_at_once_is_bound_to_one_of_theirs() {
    loom::model(|| {
        let bindings = Arc::new(Bindings::new(1, TTL));
        let key = Key::from_bits(1);
        bindings.bind(key, 10, NOW);
        let [mine, others] = [Arc::clone(&bindings), Arc::clone(&bindings)];
        both(move || mine.bind(key, 20, NOW), move || others.bind(key, 30, NOW));
        // Written by both at once it may have been left in halves, and then it is none: the client's next answer binds it again.
        let found = bindings.peek(key, NOW);
        assert!(matches!(found, None | Some(20 | 30)), "{found:?}");
        bindings.bind(key, 40, NOW);
        assert_eq!(bindings.peek(key, NOW), Some(40));
    });
}

#[test]
fn two_workers_withdraw_no_more_than_there_is() {
    loom::model(|| {
        let budget = Arc::new(RetryBudget::new(2));
        let one = Allowance {
            percent: 0,
            per_sec: 0,
        };
        let [mine, others] = [Arc::clone(&budget), Arc::clone(&budget)];
        let granted = both(
            move || mine.withdraw(one, MonoTime::ZERO),
            move || others.withdraw(one, MonoTime::ZERO),
        );
        assert_eq!(granted.iter().filter(|granted| **granted).count(), 1);
    });
}

#[test]
fn what_requests_and_time_bring_is_paid_in_once() {
    loom::model(|| {
        let budget = Arc::new(RetryBudget::new(2));
        let spent = Allowance {
            percent: 0,
            per_sec: 0,
        };
        assert!(budget.withdraw(spent, MonoTime::ZERO));
        // A request brings half of a retry, and so does half a second.
        let allowance = Allowance {
            percent: 50,
            per_sec: 1,
        };
        let now = MonoTime::from_micros(500_000);
        let [mine, others] = [Arc::clone(&budget), Arc::clone(&budget)];
        let work = move |budget: Arc<RetryBudget>, worker| {
            budget.count(worker);
            u32::from(budget.withdraw(allowance, now))
        };
        let [first, second] = both(move || work(mine, 0), move || work(others, 1));
        // 1.5 in all. What was counted in after the other one had looked is there for the next.
        assert!(first + second <= 1);
        let rest = u32::from(budget.withdraw(allowance, now));
        assert_eq!(first + second + rest, 1);
    });
}

#[test]
fn loom_is_in_force() {
    // Both orders have been played, not only the one that came by chance.
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    loom::model(move || {
        let number = Arc::new(AtomicU64::new(0));
        let written = Arc::clone(&number);
        let writer = thread::spawn(move || written.store(1, crate::sync::Ordering::Relaxed));
        let found = number.load(crate::sync::Ordering::Relaxed);
        writer.join().unwrap();
        kept.lock().unwrap().push(found);
    });
    let seen = seen.lock().unwrap();
    assert!(seen.contains(&0) && seen.contains(&1));
}
