//! Where there is a theory.

use edgeproxy_balance::{Algorithm, Inner};
use edgeproxy_simulate::{Keys, Latency, Traffic};

use crate::fleet::{attempts, fleet, millis, run, secs, weigh};

#[test]
fn round_robin_is_exact() {
    let report = run(&fleet(
        Algorithm::RoundRobin,
        7,
        Latency::Exponential(millis(30)),
        500.0,
    ));
    let counts = attempts(&report);
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(most - least <= 1, "{counts:?}");
}

#[test]
fn weighted_is_exact_to_the_rounding() {
    let weights = [1, 2, 3, 94];
    let mut fleet = fleet(Algorithm::Weighted, 4, Latency::Exponential(millis(30)), 500.0);
    weigh(&mut fleet, &weights);
    let report = run(&fleet);
    for (backend, weight) in report.backends.iter().zip(weights) {
        let share = report.totals.attempts as f64 * weight as f64 / 100.0;
        assert!((backend.attempts as f64 - share).abs() <= 2.0, "{backend:?}");
        assert!((backend.fair - share).abs() <= 2.0, "{} {share}", backend.fair);
    }
}

#[test]
fn one_that_works_at_one_at_a_time_keeps_the_mean_of_m_m_1() {
    for (per_sec, seed) in [(30.0, 1), (50.0, 2), (70.0, 3)] {
        let mut fleet = fleet(
            Algorithm::RoundRobin,
            1,
            Latency::Exponential(millis(10)),
            per_sec,
        );
        fleet.machines[0].parallel = 1;
        (fleet.duration, fleet.seed) = (secs(3_000), seed);
        let found = run(&fleet).latency.mean().as_secs_f64();
        let theory = 1.0 / (100.0 - per_sec);
        assert!(
            (found / theory - 1.0).abs() < 0.04,
            "{per_sec} each second: {found} s, {theory} s by theory"
        );
    }
}

#[test]
fn with_any_number_at_a_time_there_are_as_many_in_flight_as_little_says() {
    let report = run(&fleet(
        Algorithm::LeastConnections,
        5,
        Latency::Exponential(millis(200)),
        400.0,
    ));
    let moments = &report.series[20..];
    let mean = moments
        .iter()
        .map(|moment| moment.in_flight_milli as f64)
        .sum::<f64>()
        / moments.len() as f64;
    assert!((mean / 80_000.0 - 1.0).abs() < 0.05, "{mean}");
}

#[test]
fn two_choices_are_far_more_even_than_chance() {
    let of = |algorithm, keys| {
        let mut fleet = fleet(algorithm, 50, Latency::Exponential(millis(100)), 5_000.0);
        fleet.traffic = vec![Traffic {
            keys,
            ..Traffic::steady(5_000.0)
        }];
        fleet.duration = secs(20);
        run(&fleet).imbalance.mean
    };
    // Above eight members this is the better of two.
    let two = of(Algorithm::LeastConnections, None);
    // Every client asks once: nobody has more than a quarter above the mean, but up to there it is chance.
    let chance = of(
        Algorithm::Hash,
        Some(Keys {
            count: Keys::MAX,
            zipf_permille: 0,
        }),
    );
    assert!(two < 1.3 && two < chance, "{two} {chance}");
    // And inside a tier it is the same.
    let inside = of(Algorithm::RegionAffinity(Inner::LeastConnections), None);
    assert!((inside - two).abs() < 0.05, "{inside} {two}");
}

#[test]
fn a_slow_one_gets_few_requests_by_latency_and_as_many_as_the_others_in_turn() {
    let share = |algorithm| {
        let mut fleet = fleet(algorithm, 10, Latency::Exponential(millis(20)), 500.0);
        fleet.machines[0].latency = Latency::Exponential(millis(200));
        let report = run(&fleet);
        report.backends[0].attempts as f64 / report.backends[0].fair
    };
    assert!((share(Algorithm::RoundRobin) - 1.0).abs() < 0.01);
    assert!(share(Algorithm::LeastConnections) < 0.6);
    // The table of the specification: under a fifth of an equal share.
    assert!(share(Algorithm::Ewma) < 0.2);
}
