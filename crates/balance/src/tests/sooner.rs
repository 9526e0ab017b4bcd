//! `ewma`, on a clock that only the test moves.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::{
    Admission, AppName, Backend, BackendAddr, BackendId, Endpoint, InFlight, Incarnation, MonoTime, Weight,
};
use proptest::prelude::*;

use super::fleet::{ANYONE, NOW, country, plain, region};
use crate::{Algorithm, Balancer, Candidate, Claim, Inner, Verdict};

const MS: Duration = Duration::from_millis(1);

pub(super) fn endpoint(number: u64, weight: u16) -> Arc<Endpoint> {
    let mut backend = Backend::new(
        BackendId::parse(&format!("b{number}")).unwrap(),
        AppName::parse("app").unwrap(),
        region("eu"),
        country("DE"),
        BackendAddr::parse("10.0.0.1", 80).unwrap(),
    );
    backend.weight = Weight::new(u64::from(weight)).unwrap();
    backend.limits = edgeproxy_backend::Limits::NONE;
    Arc::new(Endpoint::new(backend, Incarnation::new(number + 1).unwrap()))
}

pub(super) fn balancer(endpoints: &[Arc<Endpoint>]) -> Balancer<Arc<Endpoint>> {
    let candidates = endpoints.iter().cloned().map(Candidate::new).collect();
    Balancer::prepare(&plain(Algorithm::Ewma), candidates, NOW, None)
}

pub(super) fn pick(balancer: &Balancer<Arc<Endpoint>>, now: MonoTime, entropy: u64) -> InFlight {
    let claim = |endpoint: &Arc<Endpoint>| Claim::Granted(endpoint.admit(Admission::Regular).unwrap());
    balancer.pick(&ANYONE, now, entropy, claim).unwrap()
}

fn index(endpoint: &Endpoint) -> usize {
    usize::try_from(endpoint.incarnation.get() - 1).unwrap()
}

/// What becomes of a request: after how long, and whether it is a response.
#[derive(Clone, Copy)]
struct Outcome {
    after: Duration,
    failed: bool,
}

const fn answered(after: Duration) -> Outcome {
    Outcome { after, failed: false }
}

/// So many clients, each with its next request as soon as the last has ended; how many requests each endpoint
/// got in the part of the time that is counted.
fn serve(
    endpoints: &[Arc<Endpoint>],
    clients: u64,
    (counted_from, until): (Duration, Duration),
    outcome: impl Fn(usize, Duration) -> Outcome,
) -> Vec<u32> {
    let balancer = balancer(endpoints);
    let mut random = fastrand::Rng::with_seed(clients);
    let mut counts = vec![0; endpoints.len()];
    let mut under_way = std::collections::HashMap::new();
    let mut ends = BinaryHeap::from_iter((0..clients).map(|client| Reverse((NOW, client))));
    while let Some(Reverse((now, client))) = ends.pop() {
        if let Some((request, Outcome { after, failed })) = under_way.remove(&client) {
            let request: InFlight = request;
            if failed {
                request.failed(0, now);
            } else {
                request.succeeded(after, now);
            }
        }
        if now.since(NOW) > until {
            continue;
        }
        let request = pick(&balancer, now, random.u64(..));
        let picked = index(request.endpoint());
        counts[picked] += u32::from(now.since(NOW) >= counted_from);
        let outcome = outcome(picked, now.since(NOW));
        ends.push(Reverse((now + outcome.after, client)));
        under_way.insert(client, (request, outcome));
    }
    counts
}

fn share_of_first(counts: &[u32]) -> f64 {
    f64::from(counts[0]) * counts.len() as f64 / f64::from(counts.iter().sum::<u32>())
}

const A_WHILE: (Duration, Duration) = (Duration::ZERO, Duration::from_secs(30));

#[test]
fn a_backend_ten_times_slower_gets_under_a_fifth_of_an_equal_share() {
    for members in [2, 3, 20] {
        for clients in [1, members, 4 * members] {
            let endpoints: Vec<_> = (0..members).map(|number| endpoint(number, 2)).collect();
            let slow = |picked, _| answered(if picked == 0 { 100 * MS } else { 10 * MS });
            let share = share_of_first(&serve(&endpoints, clients, A_WHILE, slow));
            assert!(
                share < 0.2,
                "{members} members, {clients} clients: {share} of an equal share"
            );
        }
    }
}

#[test]
fn the_same_for_one_of_great_weight() {
    for weights in [[10, 1, 1], [500, 500, 500], [7, 5, 3]] {
        let endpoints: Vec<_> = (0..)
            .zip(weights)
            .map(|(number, weight)| endpoint(number, weight))
            .collect();
        let slow = |picked, _| answered(if picked == 0 { 100 * MS } else { 10 * MS });
        // With one client nobody has anything in flight, and ten times the weight makes up for ten times the latency.
        let clients = 60;
        let counts = serve(&endpoints, clients, A_WHILE, slow);
        let equal = f64::from(weights[0]) / f64::from(weights.iter().sum::<u16>());
        let share = f64::from(counts[0]) / f64::from(counts.iter().sum::<u32>());
        assert!(share < 0.2 * equal, "{weights:?}: {share} of {equal}");
    }
}

#[test]
fn a_fast_error_attracts_nobody() {
    for members in [2, 3, 10] {
        for clients in [1, members, 4 * members] {
            let endpoints: Vec<_> = (0..members).map(|number| endpoint(number, 2)).collect();
            let refuses = |picked, at: Duration| Outcome {
                after: if picked == 0 { MS / 10 } else { 10 * MS },
                // It has answered before.
                failed: picked == 0 && at > Duration::from_secs(1),
            };
            let window = (Duration::from_secs(2), Duration::from_secs(20));
            let share = share_of_first(&serve(&endpoints, clients, window, refuses));
            assert!(
                share < 0.2,
                "{members} members, {clients} clients: {share} of an equal share"
            );
        }
    }
}

#[test]
fn one_that_has_never_answered_gets_its_share_and_no_more() {
    let endpoints: Vec<_> = (0..4).map(|number| endpoint(number, 2)).collect();
    for known in &endpoints[1..] {
        known.admit(Admission::Regular).unwrap().succeeded(10 * MS, NOW);
    }
    let balancer = balancer(&endpoints);
    let held: Vec<InFlight> = (0..400).map(|entropy| pick(&balancer, NOW, entropy)).collect();
    let first = held
        .iter()
        .filter(|request| index(request.endpoint()) == 0)
        .count();
    assert!((95..=105).contains(&first), "{first} of 400");
}

#[test]
fn with_equal_latencies_everyone_gets_an_equal_share() {
    let endpoints: Vec<_> = (0..10).map(|number| endpoint(number, 2)).collect();
    let counts = serve(&endpoints, 40, A_WHILE, |_, _| answered(10 * MS));
    let mean = f64::from(counts.iter().sum::<u32>()) / 10.0;
    assert!(
        counts
            .iter()
            .all(|count| (f64::from(*count) / mean - 1.0).abs() < 0.1),
        "{counts:?}"
    );
}

#[test]
fn one_that_was_slow_is_tried_again_and_comes_back() {
    let endpoints: Vec<_> = (0..3).map(|number| endpoint(number, 2)).collect();
    let recovers = |picked, at: Duration| {
        let slow = picked == 0 && at < Duration::from_secs(30);
        answered(if slow { 100 * MS } else { 10 * MS })
    };
    let window = (Duration::from_secs(90), Duration::from_secs(120));
    let share = share_of_first(&serve(&endpoints, 12, window, recovers));
    assert!(share > 0.8, "{share} of an equal share");
}

#[test]
fn an_explanation_shows_what_was_compared() {
    let endpoints: Vec<_> = (0..2).map(|number| endpoint(number, 2)).collect();
    endpoints[0]
        .admit(Admission::Regular)
        .unwrap()
        .succeeded(30 * MS, NOW);
    endpoints[1]
        .admit(Admission::Regular)
        .unwrap()
        .succeeded(10 * MS, NOW);
    endpoints[1].admit(Admission::Regular).unwrap().failed(0, NOW);
    let explanation = balancer(&endpoints).explain(&ANYONE, NOW, 1);
    let members = &explanation.tiers[0].members;
    let shown: Vec<_> = members
        .iter()
        .map(|member| (member.score.unwrap().round(), member.verdict))
        .collect();
    assert_eq!(shown, [(15.0, Verdict::Picked), (40.0, Verdict::Slower)]);
    let new = balancer(&[endpoint(0, 2), endpoint(1, 2)]).explain(&ANYONE, NOW, 1);
    assert_eq!(new.tiers[0].members[0].score, None);
}

#[derive(Clone, Debug)]
struct Known {
    weight: u16,
    in_flight: u32,
    latency: Option<u64>,
    failures: u32,
}

fn known() -> impl Strategy<Value = Known> {
    (
        1_u16..20,
        0_u32..6,
        prop::option::weighted(0.9, 1_u64..5_000),
        0_u32..3,
    )
        .prop_map(|(weight, in_flight, latency, failures)| Known {
            weight,
            in_flight,
            latency,
            failures,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Of two the lower is picked; of more, never the one that would lose against each of the others.
    #[test]
    fn the_lower_of_latency_times_in_flight_by_weight_is_picked(
        members in prop::collection::vec(known(), 2..12),
        entropies in prop::collection::vec(any::<u64>(), 16),
    ) {
        let endpoints: Vec<_> = (0..).zip(&members).map(|(number, known)| endpoint(number, known.weight)).collect();
        let mut held = Vec::new();
        for (endpoint, known) in endpoints.iter().zip(&members) {
            if let Some(micros) = known.latency {
                endpoint.admit(Admission::Regular).unwrap().succeeded(Duration::from_micros(micros), NOW);
            }
            for _ in 0..known.failures {
                endpoint.admit(Admission::Regular).unwrap().failed(0, NOW);
            }
            held.extend((0..known.in_flight).map(|_| endpoint.admit(Admission::Regular).unwrap()));
        }
        // In the balancer's resolution.
        let units = |micros: u64| (micros * 1_000 / 256).max(1);
        let cost = |one: &Known, other: &Known| {
            let latency = one.latency.or(other.latency).map_or(1, units);
            let penalty = 8_u64.pow(one.failures);
            (latency * penalty * u64::from(one.in_flight + 1)) as f64 / f64::from(one.weight)
        };
        let loses_to = |one: usize, other: usize| {
            cost(&members[one], &members[other]) > cost(&members[other], &members[one])
        };
        for inner in [Algorithm::Ewma, Algorithm::RegionAffinity(Inner::Ewma)] {
            let candidates = endpoints.iter().cloned().map(Candidate::new).collect();
            let balancer = Balancer::prepare(&plain(inner), candidates, NOW, None);
            for entropy in &entropies {
                let picked = index(pick(&balancer, NOW, *entropy).endpoint());
                let worst = (0..members.len()).all(|other| other == picked || loses_to(picked, other));
                prop_assert!(!worst, "{picked} of {members:?}");
            }
        }
    }
}
