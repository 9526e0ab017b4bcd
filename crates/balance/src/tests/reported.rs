//! What backends report of their load.

use std::sync::Arc;

use edgeproxy_backend::{
    Admission, AppName, Backend, BackendAddr, BackendId, Country, Endpoint, Incarnation, LoadFactor, Region,
};

use super::fleet::{ALGORITHMS, ANYONE, NOW, Server, first, plain};
use crate::{Algorithm, Balancer, Candidate, Claim, Inner, Policy, SlowStart};

/// Servers of these weights, whose reports have moved them by so many octaves.
fn steered(policy: &Policy, members: &[(u16, f64)]) -> Balancer<Arc<Server>> {
    let candidate = |(key, (weight, octaves)): (u64, &(u16, f64))| Candidate {
        load: LoadFactor::of_octaves(*octaves),
        ..Candidate::new(Arc::new(Server::new(key, *weight)))
    };
    let candidates = (0..).zip(members).map(candidate).collect();
    Balancer::prepare(policy, candidates, NOW, None)
}

fn counts(balancer: &Balancer<Arc<Server>>, picks: u64) -> Vec<u64> {
    let mut counts = vec![0; balancer.candidates().len()];
    for entropy in 0..picks {
        counts[usize::try_from(first(balancer, ANYONE, entropy).unwrap()).unwrap()] += 1;
    }
    counts
}

#[test]
fn a_factor_moves_the_share_of_whoever_reports() {
    let balancer = steered(&plain(Algorithm::Weighted), &[(2, -1.0), (2, 0.0), (2, 1.0)]);
    assert_eq!(counts(&balancer, 700), [100, 200, 400]);
    let told = balancer.explain(&ANYONE, NOW, 0).tiers.remove(0).members;
    let weights: Vec<_> = told
        .iter()
        .map(|member| (member.weight, member.effective_weight))
        .collect();
    assert_eq!(weights, [(2, 1.0), (2, 2.0), (2, 4.0)]);
}

#[test]
fn turns_and_keys_go_by_no_report() {
    for algorithm in ALGORITHMS {
        let heeds = matches!(
            algorithm.inner(),
            Inner::Weighted | Inner::LeastConnections | Inner::Ewma
        );
        let balancer = steered(&plain(algorithm), &[(2, -2.0), (2, 2.0)]);
        let told = balancer.explain(&ANYONE, NOW, 0).tiers;
        let moved = told.iter().flat_map(|tier| &tier.members).any(|member| {
            let weight = f64::from(member.weight);
            (member.effective_weight - weight).abs() > 0.1
        });
        assert_eq!(moved, heeds, "{algorithm:?}");
    }
}

#[test]
fn nobody_who_reports_is_left_without_a_turn() {
    let balancer = steered(&plain(Algorithm::Weighted), &[(1, -2.0), (1_000, 2.0)]);
    let counts = counts(&balancer, 100_000);
    assert!(counts[0] > 0, "{counts:?}");
    let unmoved = steered(&plain(Algorithm::Weighted), &[(u16::MAX, 2.0), (1, 0.0)]);
    assert!(
        unmoved.routable() == 2,
        "weights that don't fit stay what they can be"
    );
}

#[test]
fn a_slow_start_and_a_report_are_multiplied() {
    let policy = Policy {
        slow_start: Some(SlowStart::linear(std::time::Duration::from_secs(100)).unwrap()),
        ..plain(Algorithm::Weighted)
    };
    let since = NOW;
    let old = Candidate::new(Arc::new(Server::new(0, 10)));
    let new = Candidate {
        since: Some(since),
        load: LoadFactor::of_octaves(1.0),
        ..Candidate::new(Arc::new(Server::new(1, 10)))
    };
    let half = since + std::time::Duration::from_secs(50);
    let balancer = Balancer::prepare(&policy, vec![old, new], half, None);
    let told = balancer.explain(&ANYONE, half, 0).tiers.remove(0).members;
    assert!(
        (told[1].effective_weight - 10.0).abs() < 0.01,
        "half of ten, twice"
    );
}

pub(super) fn endpoint(number: u64) -> Arc<Endpoint> {
    let backend = Backend::new(
        BackendId::parse(&format!("b{number}")).unwrap(),
        AppName::parse("shop").unwrap(),
        Region::parse("eu").unwrap(),
        Country::parse("DE").unwrap(),
        BackendAddr::parse("10.0.0.1", 80).unwrap(),
    );
    Arc::new(Endpoint::new(backend, Incarnation::new(number).unwrap()))
}

#[test]
fn requests_of_others_count_where_loads_are_compared_and_not_towards_a_limit() {
    for algorithm in [Algorithm::LeastConnections, Algorithm::Ewma] {
        let endpoints = [endpoint(1), endpoint(2)];
        endpoints[0].meter.set_elsewhere(500);
        let balancer = Balancer::prepare(
            &plain(algorithm),
            endpoints.iter().cloned().map(Candidate::new).collect(),
            NOW,
            None,
        );
        let pick = |entropy| {
            balancer.pick(&ANYONE, NOW, entropy, |endpoint: &Arc<Endpoint>| {
                endpoint
                    .admit(Admission::Regular)
                    .map_or(Claim::Full, Claim::Granted)
            })
        };
        // Up to its soft limit the other one gets all, then it is the first one's turn: its own limit is far.
        let held: Vec<_> = (0..100).map(|entropy| pick(entropy).unwrap()).collect();
        assert_eq!(endpoints[1].meter.in_flight(), 100);
        let one_more = pick(100).unwrap();
        assert_eq!(
            endpoints[0].meter.in_flight(),
            1,
            "{algorithm:?}: it has 500 elsewhere, and room here"
        );
        let told = balancer.explain(&ANYONE, NOW, 0).tiers.remove(0).members;
        assert_eq!((told[0].in_flight, told[0].elsewhere), (1, 500));
        drop((held, one_more));
    }
}
