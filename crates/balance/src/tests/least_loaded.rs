//! `least_connections`.

use std::sync::Arc;

use super::fleet::{NOW, Server, first, plain, prepare, weighing};
use crate::decide::SCAN_MAX;
use crate::{Algorithm, Claim, Client, PickError};

const ANYONE: Client = super::fleet::ANYONE;

/// Requests of the same length: one begins, the oldest ends.
fn queue_of(servers: &[Arc<Server>], under_way: usize, requests: u64, mut each: impl FnMut()) {
    let balancer = prepare(&plain(Algorithm::LeastConnections), servers);
    let mut queue = std::collections::VecDeque::new();
    for entropy in 0..requests {
        let picked = balancer
            .pick(&ANYONE, NOW, entropy, |server| Claim::Granted(Arc::clone(server)))
            .unwrap();
        picked.begin();
        each();
        queue.push_back(picked);
        if queue.len() > under_way {
            queue.pop_front().unwrap().end();
        }
    }
}

/// The greatest difference in load per weight.
fn spread(servers: &[Arc<Server>]) -> f64 {
    let per_weight = |server: &Arc<Server>| f64::from(server.load()) / f64::from(server.weight);
    let most = servers.iter().map(per_weight).fold(0.0, f64::max);
    most - servers.iter().map(per_weight).fold(f64::MAX, f64::min)
}

#[test]
fn with_equal_service_times_in_flight_per_weight_differs_by_at_most_one() {
    let tables: [&[u16]; 6] = [
        &[7; 3],
        &[1, 2, 3],
        &[10, 1],
        &[1000, 10, 1],
        &[3, 5, 7, 11],
        &[5; SCAN_MAX],
    ];
    for weights in tables {
        for under_way in [10, 50, usize::MAX] {
            let servers = weighing(weights);
            queue_of(&servers, under_way, 2_000, || {
                assert!(spread(&servers) <= 1.0, "{weights:?}: {}", spread(&servers));
            });
        }
    }
}

#[test]
fn loads_are_compared_exactly() {
    let servers = [
        Server::new(0, 999).loaded(4_000_000_000),
        Server::new(1, 1_000).loaded(4_004_004_004),
    ];
    // 4,000,000,001 / 999 = 4,004,004.005…; 4,004,004,005 / 1,000 = 4,004,004.005
    let balancer = prepare(&plain(Algorithm::LeastConnections), &servers.map(Arc::new));
    assert!((0..50).all(|entropy| first(&balancer, ANYONE, entropy) == Ok(1)));
}

#[test]
fn ties_are_broken_at_random() {
    for members in [2, 3, SCAN_MAX, SCAN_MAX + 1, 100] {
        let balancer = prepare(&plain(Algorithm::LeastConnections), &weighing(&vec![2; members]));
        let mut counts = vec![0_i32; members];
        let each = 2_000;
        for entropy in 0..each * members as u64 {
            counts[usize::try_from(first(&balancer, ANYONE, entropy).unwrap()).unwrap()] += 1;
        }
        // Six standard deviations of √2,000.
        assert!(
            counts.iter().all(|count| (count - 2_000).abs() < 6 * 45),
            "{members}: {counts:?}"
        );
    }
}

#[test]
fn of_many_two_are_looked_at() {
    for weights in [vec![2; 1_000], (0..1_000).map(|key| 1 + key % 9).collect()] {
        let servers = weighing(&weights);
        let balancer = prepare(&plain(Algorithm::LeastConnections), &servers);
        for entropy in 0..100 {
            first(&balancer, ANYONE, entropy).unwrap();
        }
        assert_eq!(servers.iter().map(|server| server.looks()).sum::<u32>(), 200);
    }
}

#[test]
fn of_many_a_heavy_one_gets_its_share() {
    let mut weights = vec![1; 100];
    weights[50] = 100;
    let servers = weighing(&weights);
    let mut samples = 0;
    let mut heavy = 0;
    queue_of(&servers, 2_000, 20_000, || {
        samples += 1;
        heavy += u64::from(servers[50].load());
    });
    let mean = heavy / samples;
    assert!(
        (850..1_150).contains(&mean),
        "{mean} of 2,000 on a backend with half of the weight"
    );
}

#[test]
fn of_many_the_last_one_with_room_is_found() {
    for (weights, room) in [
        (vec![2; 500], 123),
        ((0..500).map(|key| 1 + key % 9).collect::<Vec<_>>(), 321),
    ] {
        let limited = |(key, weight): (u64, &u16)| {
            let server = Server::new(key, *weight).limits(1, 2);
            Arc::new(if key == room { server } else { server.loaded(1) })
        };
        let servers: Vec<_> = (0..).zip(&weights).map(limited).collect();
        let balancer = prepare(&plain(Algorithm::LeastConnections), &servers);
        assert!((0..50).all(|entropy| first(&balancer, ANYONE, entropy) == Ok(room)));
        let refused = balancer.pick(&ANYONE, NOW, 1, |server| {
            if server.load() == 0 {
                Claim::Full
            } else {
                Claim::Granted(())
            }
        });
        assert_eq!(refused, Ok(()), "then one above soft");
        assert_eq!(
            balancer.pick(&ANYONE, NOW, 1, |_| Claim::<()>::Skip),
            Err(PickError::Exhausted)
        );
    }
}
