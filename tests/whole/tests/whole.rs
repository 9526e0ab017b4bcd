//! Some seeds of each mix, in the tier of each change. More of them: `cargo xtask simulate-whole`.
//!
//! Another count: `EDGEPROXY_TEST_SEEDS=2000`. One seed again: `EDGEPROXY_TEST_SEED=17`.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

use edgeproxy_whole::{Mix, simulate};

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

fn holds(mix: Mix, usual: u64) {
    let seeds = match (number("EDGEPROXY_TEST_SEED"), number("EDGEPROXY_TEST_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, count) => 0..count.unwrap_or(usual),
    };
    for seed in seeds {
        if let Err(violation) = simulate(seed, mix) {
            panic!("{violation}");
        }
    }
}

#[test]
fn alone_a_proxy_keeps_its_promises_whatever_fails() {
    holds(Mix::Alone, 12);
}

#[test]
fn partitions_in_one_direction_and_both_lose_nobody_and_leave_all_of_one_mind() {
    holds(Mix::Partitions, 8);
}

#[test]
fn proxies_and_machines_are_killed_and_frozen_and_whoever_answers_comes_back() {
    holds(Mix::Crashes, 8);
}

#[test]
fn clocks_that_jump_end_no_lease() {
    holds(Mix::Jumps, 8);
}

#[test]
fn backends_come_move_leave_and_register_all_at_once() {
    holds(Mix::Churn, 6);
}

#[test]
fn everything_fails_and_what_is_promised_holds() {
    holds(Mix::Everything, 8);
}

#[test]
fn the_same_seed_is_the_same_history() {
    for (seed, mix) in [(1, Mix::Everything), (2, Mix::Partitions), (3, Mix::Alone)] {
        let once = simulate(seed, mix).expect("what is promised holds");
        for _ in 0..3 {
            let again = simulate(seed, mix).expect("as before");
            assert_eq!(once, again, "seed {seed}, {mix:?}");
        }
        assert!(once.events > 1_000 && once.answered > 100, "{once:?}");
    }
}

#[test]
fn another_seed_is_another_history() {
    let digest = |seed| simulate(seed, Mix::Crashes).map(|summary| summary.digest).ok();
    assert_ne!(digest(1), digest(2));
}
