//! `round_robin` and `weighted`: exact over fixed sets, on any number of threads, and fair over changes.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;

use super::fleet::{NOW, Server, first, plain, prepare, successor, weighing};
use crate::{Algorithm, Balancer, Claim, Client, Inner};

const ANYONE: Client = super::fleet::ANYONE;

fn counts(balancer: &Balancer<Arc<Server>>, picks: u64) -> HashMap<u64, u64> {
    let mut counts = HashMap::new();
    for entropy in 0..picks {
        *counts
            .entry(first(balancer, ANYONE, entropy).unwrap())
            .or_insert(0) += 1;
    }
    counts
}

fn on_threads(balancer: &Balancer<Arc<Server>>, threads: usize, picks_each: u64) -> HashMap<u64, u64> {
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(move || counts(balancer, picks_each)))
            .collect();
        let mut all = HashMap::new();
        for (key, count) in workers.into_iter().flat_map(|worker| worker.join().unwrap()) {
            *all.entry(key).or_insert(0) += count;
        }
        all
    })
}

#[test]
fn round_robin_takes_each_in_the_order_of_registration() {
    for algorithm in [
        Algorithm::RoundRobin,
        Algorithm::RegionAffinity(Inner::RoundRobin),
    ] {
        let balancer = prepare(&plain(algorithm), &weighing(&[9, 1, 1000, 2]));
        let order: Vec<u64> = (0..8)
            .map(|entropy| first(&balancer, ANYONE, entropy).unwrap())
            .collect();
        assert_eq!(order, [0, 1, 2, 3, 0, 1, 2, 3]);
    }
}

#[test]
fn round_robin_k_n_picks_give_each_exactly_k() {
    for (n, k, threads) in [
        (1, 10, 1),
        (3, 1_000, 1),
        (100, 30, 1),
        (3, 4_000, 4),
        (100, 400, 4),
        (1_000, 16, 4),
    ] {
        let balancer = prepare(&plain(Algorithm::RoundRobin), &weighing(&vec![5; n]));
        let counts = on_threads(&balancer, threads, n as u64 * k / threads as u64);
        assert!(
            counts.len() == n && counts.values().all(|count| *count == k),
            "{n} {k} {threads}"
        );
    }
}

#[test]
fn weighted_every_sum_of_weights_gives_each_exactly_its_weight() {
    let tables: [&[u16]; 6] = [
        &[1, 2],
        &[2, 4, 6],
        &[5, 1, 1],
        &[1000, 1],
        &[7, 11, 13, 17],
        &[1000, 999, 3, 500],
    ];
    for weights in tables {
        for threads in [1, 4] {
            let balancer = prepare(&plain(Algorithm::Weighted), &weighing(weights));
            let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
            let counts = on_threads(&balancer, threads, 3 * sum);
            for (key, weight) in (0..).zip(weights) {
                assert_eq!(
                    counts[&key],
                    3 * threads as u64 * u64::from(*weight),
                    "{weights:?} {threads}"
                );
            }
        }
    }
}

#[test]
fn weighted_one_to_two_over_3000_requests_on_two_workers() {
    let balancer = prepare(&plain(Algorithm::Weighted), &weighing(&[1, 2]));
    assert_eq!(
        on_threads(&balancer, 2, 1_500),
        HashMap::from([(0, 1_000), (1, 2_000)])
    );
}

#[test]
fn a_full_member_gives_its_neighbour_nothing() {
    let algorithms = [Algorithm::RoundRobin, Algorithm::Weighted];
    for (algorithm, threads) in algorithms
        .into_iter()
        .flat_map(|algorithm| [(algorithm, 1), (algorithm, 4)])
    {
        let mut servers = weighing(&[3; 10]);
        servers[4] = Arc::new(Server::new(4, 3).limits(1, 1).loaded(1));
        servers[5] = Arc::new(Server::new(5, 3).limits(1, 1).loaded(1));
        let balancer = prepare(&plain(algorithm), &servers);
        let counts = on_threads(&balancer, threads, 8 * 500);
        assert_eq!(counts.len(), 8);
        for (key, count) in counts {
            assert_eq!(count, threads as u64 * 500, "{algorithm} {threads}: {key}");
        }
    }
}

#[test]
fn a_refusal_by_the_claim_gives_the_neighbour_nothing() {
    for algorithm in [Algorithm::RoundRobin, Algorithm::Weighted] {
        let balancer = prepare(&plain(algorithm), &weighing(&[1, 2, 3, 4]));
        let weights = if algorithm == Algorithm::Weighted {
            [1, 0, 3, 4]
        } else {
            [1, 0, 1, 1]
        };
        let mut counts = [0_u64; 4];
        for _ in 0..100 * weights.iter().sum::<u64>() {
            let claim = |server: &Arc<Server>| {
                if server.key == 1 {
                    Claim::Shut
                } else {
                    Claim::Granted(server.key)
                }
            };
            counts[usize::try_from(balancer.pick(&ANYONE, NOW, 0, claim).unwrap()).unwrap()] += 1;
        }
        assert_eq!(counts, weights.map(|weight| 100 * weight), "{algorithm}");
    }
}

#[test]
fn a_group_that_has_not_changed_keeps_its_turns() {
    for algorithm in [Algorithm::RoundRobin, Algorithm::Weighted] {
        let servers = weighing(&[1, 2, 3]);
        let whole = prepare(&plain(algorithm), &servers);
        let expected: Vec<u64> = (0..60)
            .map(|entropy| first(&whole, ANYONE, entropy).unwrap())
            .collect();
        let mut balancer = prepare(&plain(algorithm), &servers);
        let mut order = Vec::new();
        for entropy in 0..60 {
            order.push(first(&balancer, ANYONE, entropy).unwrap());
            // The same backends behind new pointers, as after an operator's change to a limit.
            balancer = successor(&plain(algorithm), &weighing(&[1, 2, 3]), Some(&balancer));
        }
        assert_eq!(order, expected, "{algorithm}");
    }
}

#[test]
fn round_robin_goes_on_after_the_last_served() {
    let all = weighing(&[1; 6]);
    let policy = plain(Algorithm::RoundRobin);
    let balancer = prepare(&policy, &all);
    assert_eq!(
        [0, 1, 2].map(|entropy| first(&balancer, ANYONE, entropy).unwrap()),
        [0, 1, 2]
    );
    let without = |gone: &[u64]| -> Vec<_> {
        all.iter()
            .filter(|server| !gone.contains(&server.key))
            .cloned()
            .collect()
    };
    for (gone, next) in [
        (&[1][..], 3),
        (&[3], 4),
        (&[3, 4], 5),
        (&[3, 4, 5], 0),
        (&[0, 3, 4, 5], 1),
    ] {
        let smaller = successor(&policy, &without(gone), Some(&balancer));
        assert_eq!(first(&smaller, ANYONE, 0), Ok(next), "without {gone:?}");
    }
}

/// Picks with members that join and leave; the counts of those that stay throughout, and their ideal ones.
fn churn(algorithm: Algorithm, seed: u64, stay: u64, weight_max: u16) -> Vec<(f64, f64)> {
    let mut random = fastrand::Rng::with_seed(seed);
    let policy = plain(algorithm);
    let weigh = |random: &mut fastrand::Rng, key| Arc::new(Server::new(key, random.u16(1..=weight_max)));
    let mut members: Vec<_> = (0..stay).map(|key| weigh(&mut random, key)).collect();
    let mut balancer = prepare(&policy, &members);
    let mut counts = vec![(0.0, 0.0); usize::try_from(stay).unwrap()];
    for key in stay..stay + 120 {
        for entropy in 0..random.u64(0..30) {
            let picked = usize::try_from(first(&balancer, ANYONE, entropy).unwrap()).unwrap();
            if let Some((count, _)) = counts.get_mut(picked) {
                *count += 1.0;
            }
            let share = |weight: u16| {
                if algorithm == Algorithm::Weighted {
                    f64::from(weight)
                } else {
                    1.0
                }
            };
            let total: f64 = members.iter().map(|member| share(member.weight)).sum();
            for (member, (_, ideal)) in members.iter().zip(&mut counts) {
                *ideal += share(member.weight) / total;
            }
        }
        let passing = members.len() - counts.len();
        if passing > 0 && random.bool() {
            members.remove(counts.len() + random.usize(0..passing));
        } else {
            members.push(weigh(&mut random, key));
        }
        balancer = successor(&policy, &members, Some(&balancer));
    }
    counts
}

#[test]
fn weighted_over_joins_and_leaves_everyone_stays_within_two_of_its_ideal_share() {
    let mut worst: f64 = 0.0;
    for seed in 0..100 {
        let stay = [1, 2, 3, 5, 10, 30][seed % 6];
        let weight_max = [1, 5, 100, 20][seed % 4];
        for (count, ideal) in churn(Algorithm::Weighted, seed as u64, stay, weight_max) {
            worst = worst.max((count - ideal).abs());
        }
    }
    assert!(worst <= 2.0, "{worst}");
}

#[test]
fn weighted_over_joins_and_leaves_with_periods_too_long_to_store() {
    let mut worst: f64 = 0.0;
    for seed in 0..8 {
        for (count, ideal) in churn(Algorithm::Weighted, seed, 10 + seed * 5, 60_000) {
            worst = worst.max((count - ideal).abs());
        }
    }
    assert!(worst <= 4.0, "{worst}");
}

#[test]
fn round_robin_over_joins_and_leaves_nobody_gets_more_than_one_turn_more_than_another() {
    for seed in 0..100 {
        let stay = [2, 3, 5, 10, 30][seed % 5];
        let counts = churn(Algorithm::RoundRobin, seed as u64, stay, 9);
        let most = counts.iter().map(|(count, _)| *count).fold(0.0, f64::max);
        assert!(
            counts.iter().all(|(count, _)| most - count <= 1.0),
            "{seed}: {counts:?}"
        );
    }
}
