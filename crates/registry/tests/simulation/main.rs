//! A seeded simulation: random calls at random times against the registry and against a model that keeps
//! the same rules in the simplest way, compared after every step.
//!
//! `EDGEPROXY_TEST_SEED=n` replays one seed; `EDGEPROXY_TEST_SEEDS=n` sets how many are run (1,000).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // every function here is a test's
#![allow(unreachable_pub)]

mod compare;
mod configs;
mod disk;
mod elsewhere;
mod model;
mod shadow;
mod world;

use world::World;

const STEPS: u32 = 2_000;
const PARTS: u64 = 8;

/// Every part is a test of its own, so that a runner spreads them over the cores.
fn run(part: u64) {
    let read = |name| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().expect("a number"))
    };
    if let Some(seed) = read("EDGEPROXY_TEST_SEED") {
        if part == 0 {
            World::new(seed).run(STEPS);
        }
        return;
    }
    let seeds = read("EDGEPROXY_TEST_SEEDS").unwrap_or(1_000);
    for seed in (part..seeds).step_by(usize::try_from(PARTS).unwrap()) {
        World::new(seed).run(STEPS);
    }
}

macro_rules! parts {
    ($($name:ident = $part:literal),+) => {
        $(#[test] fn $name() { run($part); })+
    };
}

parts!(
    seeds_0_modulo_8 = 0,
    seeds_1_modulo_8 = 1,
    seeds_2_modulo_8 = 2,
    seeds_3_modulo_8 = 3,
    seeds_4_modulo_8 = 4,
    seeds_5_modulo_8 = 5,
    seeds_6_modulo_8 = 6,
    seeds_7_modulo_8 = 7
);
