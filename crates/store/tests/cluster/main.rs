//! Several proxies and a modelled store, with delays, partitions, crashes and backends that come, wander and die, by
//! seed. What must hold is checked at every step, and once more after everything has been well for a while.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by a panic"
)]

mod rules;
mod store;
mod world;

use world::{Mix, World};

/// Another count: `EDGEPROXY_TEST_SEEDS=2000`. One seed again: `EDGEPROXY_TEST_SEED=17`.
fn seeds(usual: u64) -> Vec<u64> {
    let number = |name| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().expect("a number"))
    };
    match (number("EDGEPROXY_TEST_SEED"), number("EDGEPROXY_TEST_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, count) => (0..count.unwrap_or(usual)).collect(),
    }
}

fn simulate(usual: u64, mix: Mix) {
    for seed in seeds(usual) {
        let mut world = World::new(seed, mix);
        world.trouble();
        world.quiet();
    }
}

#[test]
fn no_backend_that_answers_and_is_heard_is_removed_whoever_is_cut_off_or_killed() {
    simulate(20, Mix::Everything);
}

#[test]
fn a_partition_longer_than_the_ttl_removes_nobody_and_brings_nobody_back() {
    simulate(20, Mix::Partitions);
}

#[test]
fn a_proxy_is_killed_and_its_backends_are_adopted_or_deleted() {
    simulate(20, Mix::Crashes);
}

#[test]
fn heartbeats_that_are_shared_out_among_proxies_keep_a_lease_and_cost_few_writes() {
    simulate(10, Mix::Wandering);
}
