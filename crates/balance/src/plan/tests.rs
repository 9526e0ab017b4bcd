use proptest::prelude::*;

use super::*;

/// The greatest distance of a count from its ideal share, and whether every period was exact.
fn worst(weights: &[u16], lags: &[i64], turns: u64) -> f64 {
    let plan = Plan::new(weights, lags);
    let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    let mut counts = vec![0_u64; weights.len()];
    let mut worst: f64 = 0.0;
    // A count is farthest from its ideal right before and right after a turn of its own.
    for turn in 0..turns {
        let member = plan.at(turn) as usize;
        let rate = f64::from(weights[member]) / total as f64;
        worst = worst.max((counts[member] as f64 - rate * turn as f64).abs());
        counts[member] += 1;
        worst = worst.max((counts[member] as f64 - rate * (turn + 1) as f64).abs());
    }
    worst
}

fn exact_in_every_window(weights: &[u16], plan: &Plan, start: u64) {
    let gcd = u64::from(weights[0]) * plan.period() / weights.iter().map(|w| u64::from(*w)).sum::<u64>();
    assert!(gcd > 0);
    let mut counts = vec![0_u64; weights.len()];
    for turn in start..start + plan.period() {
        counts[plan.at(turn) as usize] += 1;
    }
    let total: u64 = weights.iter().map(|w| u64::from(*w)).sum();
    for (weight, count) in weights.iter().zip(&counts) {
        assert_eq!(u64::from(*weight) * plan.period(), count * total);
    }
}

fn random(seed: u64, members: usize, max: u16) -> Vec<u16> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..members).map(|_| random.u16(1..=max)).collect()
}

#[test]
fn any_period_of_turns_is_exact() {
    for (members, max) in [(1, 1), (2, 3), (3, 1000), (7, 10), (100, 1000), (1000, 60)] {
        let weights = random(members as u64, members, max);
        let plan = Plan::new(&weights, &vec![0; members]);
        assert!(plan.period() <= EXACT_MAX && plan.forks.is_empty());
        for start in [0, 1, plan.period() / 3, 10 * plan.period() + 7] {
            exact_in_every_window(&weights, &plan, start);
        }
    }
}

#[test]
fn a_period_too_long_to_store_is_exact_too() {
    for (members, max) in [
        (4, 65_535),
        (3, 65_535),
        (200, 1_000),
        (1_000, 1_000),
        (10_000, 1000),
    ] {
        let weights = random(members as u64, members, max);
        let plan = Plan::new(&weights, &vec![0; members]);
        assert!(plan.period() > EXACT_MAX);
        for start in [0, plan.period() / 3] {
            exact_in_every_window(&weights, &plan, start);
        }
    }
}

#[test]
fn equal_weights_take_turns_in_order() {
    let plan = Plan::new(&[7; 5], &[0; 5]);
    assert_eq!(
        (0..10).map(|turn| plan.at(turn)).collect::<Vec<_>>(),
        [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]
    );
}

#[test]
fn a_heavy_member_is_spread_out_among_many_light_ones() {
    let mut weights = vec![1; 100];
    weights[0] = 100;
    let plan = Plan::new(&weights, &vec![0; 100]);
    let turns: Vec<bool> = (0..plan.period()).map(|turn| plan.at(turn) == 0).collect();
    assert!(
        turns
            .windows(4)
            .all(|four| four.contains(&true) && four.contains(&false))
    );
}

#[test]
fn measured_distance_from_the_ideal_share() {
    let mut stored: f64 = 0.0;
    let mut cut: f64 = 0.0;
    for (seed, &members) in (0..32).zip([2, 3, 5, 10, 50, 150, 400, 1000].iter().cycle()) {
        for max in [3, 30, 1000, 65_535] {
            let mut weights = random(seed, members, max);
            if seed % 3 == 0 {
                weights[0] = max.saturating_mul(20);
            }
            let sum: u64 = weights.iter().map(|w| u64::from(*w)).sum();
            let worst = worst(&weights, &vec![0; members], sum.min(150_000));
            if Plan::new(&weights, &vec![0; members]).forks.is_empty() {
                stored = stored.max(worst);
            } else {
                cut = cut.max(worst);
            }
        }
    }
    println!("stored {stored:.3}, cut {cut:.3}");
    assert!(stored < 1.0, "{stored}");
    assert!(cut < 4.0, "{cut}");
}

proptest! {
    #[test]
    fn every_count_is_within_one_of_its_ideal_share(weights in prop::collection::vec(1_u16..=1000, 1..40)) {
        prop_assert!(worst(&weights, &vec![0; weights.len()], 3_000) < 1.0);
    }

    #[test]
    fn lags_are_made_good_and_every_period_stays_exact(
        members in prop::collection::vec((1_u16..=1000, -TURN..=TURN), 2..40),
    ) {
        let (weights, lags): (Vec<u16>, Vec<i64>) = members.into_iter().unzip();
        let plan = Plan::new(&weights, &lags);
        exact_in_every_window(&weights, &plan, 0);
        exact_in_every_window(&weights, &plan, 17);
        prop_assert!(worst(&weights, &lags, plan.period()) <= 3.0);
    }

    #[test]
    fn counts_are_those_of_the_turns(
        weights in prop::collection::vec(1_u16..=65_535, 1..20),
        lags in prop::collection::vec(-TURN..=TURN, 20),
        turns in 0_u64..100_000,
    ) {
        let plan = Plan::new(&weights, &lags[..weights.len()]);
        let turns = turns % (plan.period() + 1);
        let mut counted = vec![0; weights.len()];
        for turn in 0..turns {
            counted[plan.at(turn) as usize] += 1;
        }
        if turns < plan.period() {
            prop_assert_eq!(plan.counts(turns), counted);
        }
    }
}
