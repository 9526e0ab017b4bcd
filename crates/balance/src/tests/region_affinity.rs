//! The tables of the specification, row by row.

use std::sync::Arc;

use super::fleet::{ALGORITHMS, NOW, Server, client, first, policy, prepare, region};
use crate::{Algorithm, Balancer, Barred, Candidate, Client, Inner, PickError, Policy, Spill};

const INNERS: [Inner; 5] = Inner::ALL;

/// A server by name: its place in the world, its load, and soft 10, hard 20.
struct Row {
    at: (&'static str, &'static str),
    load: u32,
}

const fn row(region: &'static str, country: &'static str, load: u32) -> Row {
    Row {
        at: (region, country),
        load,
    }
}

fn fleet(rows: &[Row]) -> Vec<Arc<Server>> {
    let server = |(key, row): (u64, &Row)| {
        Arc::new(
            Server::new(key, 2)
                .at(row.at.0, row.at.1)
                .limits(10, 20)
                .loaded(row.load),
        )
    };
    (0..).zip(rows).map(server).collect()
}

/// All that picks with any entropy get, sorted; `Err` if they fail.
fn picks(policy: &Policy, rows: &[Row], client: Client) -> Result<Vec<u64>, PickError> {
    let balancer = prepare(policy, &fleet(rows));
    let mut picked: Vec<u64> = (0..200)
        .map(|entropy| first(&balancer, client, entropy))
        .collect::<Result<_, _>>()?;
    picked.sort_unstable();
    picked.dedup();
    Ok(picked)
}

type Case = (&'static str, Vec<Row>, Client, Result<Vec<u64>, PickError>);

fn check(spill: Spill, cases: Vec<Case>) {
    for (name, rows, client, expected) in cases {
        for inner in INNERS {
            let policy = policy(Algorithm::RegionAffinity(inner), spill);
            assert_eq!(picks(&policy, &rows, client), expected, "{name}, inner {inner}");
        }
    }
}

/// Country, region, own region eu, then us, sa, and the rest.
fn world(loads: [u32; 6]) -> Vec<Row> {
    let places = [
        ("ap", "JP"),
        ("ap", "SG"),
        ("eu", "DE"),
        ("us", "US"),
        ("sa", "BR"),
        ("af", "ZA"),
    ];
    places
        .into_iter()
        .zip(loads)
        .map(|((region, country), load)| row(region, country, load))
        .collect()
}

#[test]
fn tiers_nearest_first() {
    let japan = client("JP", "ap");
    check(
        Spill::Hard,
        vec![
            (
                "tier 0: country = the client's country",
                world([0; 6]),
                japan,
                Ok(vec![0]),
            ),
            (
                "tier 1: region = the client's region",
                world([20, 0, 0, 0, 0, 0]),
                japan,
                Ok(vec![1]),
            ),
            (
                "tier 2: region = this proxy's own region",
                world([20, 20, 0, 0, 0, 0]),
                japan,
                Ok(vec![2]),
            ),
            (
                "tier 3: first in the order",
                world([20, 20, 20, 0, 0, 0]),
                japan,
                Ok(vec![3]),
            ),
            (
                "tier 3: second in the order",
                world([20, 20, 20, 20, 0, 0]),
                japan,
                Ok(vec![4]),
            ),
            (
                "tier 3: anything else",
                world([20, 20, 20, 20, 20, 0]),
                japan,
                Ok(vec![5]),
            ),
            ("everyone at hard", world([20; 6]), japan, Err(PickError::AllFull)),
            (
                "unknown client: tiers 2 and 3 alone",
                world([0; 6]),
                Client::default(),
                Ok(vec![2]),
            ),
            (
                "unknown client: tier 3",
                world([0, 0, 20, 20, 20, 0]),
                Client::default(),
                Ok(vec![0, 1, 5]),
            ),
            (
                "country known, region not",
                world([20, 0, 0, 0, 0, 0]),
                Client {
                    region: None,
                    ..japan
                },
                Ok(vec![2]),
            ),
            (
                "region known, country not",
                world([0; 6]),
                Client {
                    country: None,
                    ..japan
                },
                Ok(vec![0, 1]),
            ),
            (
                "country without a backend: tier 1",
                world([0; 6]),
                client("KR", "ap"),
                Ok(vec![0, 1]),
            ),
            (
                "region without a backend: tier 2",
                world([0; 6]),
                client("IN", "in"),
                Ok(vec![2]),
            ),
            (
                "client in the own region",
                world([0, 0, 20, 0, 0, 0]),
                client("FR", "eu"),
                Ok(vec![3]),
            ),
            (
                "client in a region of tier 3",
                world([0, 0, 0, 0, 20, 0]),
                client("AR", "sa"),
                Ok(vec![2]),
            ),
            (
                "country in another region than the client's",
                world([0; 6]),
                client("ZA", "ap"),
                Ok(vec![5]),
            ),
        ],
    );
}

#[test]
fn spill_hard() {
    let rows = |eu: [u32; 2], us: u32| {
        vec![
            row("eu", "DE", eu[0]),
            row("eu", "FR", eu[1]),
            row("us", "US", us),
        ]
    };
    let unknown = Client::default();
    check(
        Spill::Hard,
        vec![
            (
                "some below soft: pick among those",
                rows([10, 9], 0),
                unknown,
                Ok(vec![1]),
            ),
            ("all below soft", rows([9, 9], 0), unknown, Ok(vec![0, 1])),
            (
                "all ≥ soft, some < hard: stay, least load over soft",
                rows([12, 11], 0),
                unknown,
                Ok(vec![1]),
            ),
            (
                "all ≥ soft, one at hard: stay with the other",
                rows([20, 19], 0),
                unknown,
                Ok(vec![1]),
            ),
            ("all at hard: next tier", rows([20, 20], 0), unknown, Ok(vec![2])),
            (
                "none routable in it: next tier",
                vec![row("us", "US", 0), row("sa", "BR", 0)],
                unknown,
                Ok(vec![0]),
            ),
            (
                "everyone at hard",
                rows([20, 20], 20),
                unknown,
                Err(PickError::AllFull),
            ),
        ],
    );
}

#[test]
fn spill_soft() {
    let rows = |eu: [u32; 2], us: u32, sa: u32| {
        vec![
            row("eu", "DE", eu[0]),
            row("eu", "FR", eu[1]),
            row("us", "US", us),
            row("sa", "BR", sa),
        ]
    };
    let unknown = Client::default();
    check(
        Spill::Soft,
        vec![
            (
                "some below soft: pick among those",
                rows([10, 9], 0, 0),
                unknown,
                Ok(vec![1]),
            ),
            (
                "all ≥ soft: the next tier's that are below soft",
                rows([10, 10], 0, 0),
                unknown,
                Ok(vec![2]),
            ),
            (
                "the next tier is ≥ soft too: the one after",
                rows([10, 10], 10, 0),
                unknown,
                Ok(vec![3]),
            ),
            (
                "no tier has any: come back nearest first",
                rows([15, 12], 10, 10),
                unknown,
                Ok(vec![1]),
            ),
            (
                "come back, up to hard",
                rows([20, 20], 19, 10),
                unknown,
                Ok(vec![2]),
            ),
            (
                "everyone at hard",
                rows([20, 20], 20, 20),
                unknown,
                Err(PickError::AllFull),
            ),
        ],
    );
}

#[test]
fn least_load_over_the_soft_limit_is_relative() {
    let servers = [
        Server::new(0, 1).limits(10, 0).loaded(14),
        Server::new(1, 1).limits(100, 150).loaded(130),
        Server::new(2, 1).limits(2, 3).loaded(3),
    ]
    .map(Arc::new);
    for algorithm in ALGORITHMS {
        for spill in Spill::ALL {
            assert_eq!(
                first(
                    &prepare(&policy(algorithm, spill), &servers),
                    Client::default(),
                    5
                ),
                Ok(1)
            );
        }
    }
}

#[test]
fn a_limit_of_zero_is_no_limit() {
    let servers = [
        Server::new(0, 1).limits(1, 2).loaded(1),
        Server::new(1, 1).loaded(u32::MAX - 1),
    ]
    .map(Arc::new);
    for algorithm in ALGORITHMS {
        assert_eq!(
            first(
                &prepare(&policy(algorithm, Spill::Hard), &servers),
                Client::default(),
                5
            ),
            Ok(1)
        );
    }
}

#[test]
fn without_affinity_there_is_one_tier() {
    for algorithm in [
        Algorithm::RoundRobin,
        Algorithm::Weighted,
        Algorithm::LeastConnections,
    ] {
        let picked = picks(
            &policy(algorithm, Spill::Hard),
            &world([0; 6]),
            client("JP", "ap"),
        );
        assert_eq!(picked, Ok(vec![0, 1, 2, 3, 4, 5]), "{algorithm}");
    }
}

#[test]
fn without_an_own_region_tier_2_is_left_out() {
    let policy = Policy {
        own_region: None,
        ..policy(Algorithm::default(), Spill::Hard)
    };
    assert_eq!(picks(&policy, &world([0; 6]), Client::default()), Ok(vec![3]));
    let policy = Policy {
        region_order: vec![region("eu"), region("eu")],
        own_region: Some(region("eu")),
        ..policy
    };
    assert_eq!(
        picks(&policy, &world([0, 0, 20, 0, 0, 0]), Client::default()),
        Ok(vec![0, 1, 3, 4, 5])
    );
}

fn of(candidates: Vec<Candidate<Arc<Server>>>, algorithm: Algorithm) -> Balancer<Arc<Server>> {
    Balancer::prepare(&policy(algorithm, Spill::Hard), candidates, NOW, None)
}

#[test]
fn weight_zero_excluded_and_idle_fallback_are_never_picked() {
    let candidate = |key, weight| Candidate::new(Arc::new(Server::new(key, weight)));
    let fallback = |key| Candidate {
        fallback: true,
        ..candidate(key, 1)
    };
    let excluded = |candidate| Candidate {
        excluded: Some(Barred::Unwell("ejected".into())),
        ..candidate
    };
    for algorithm in ALGORITHMS {
        let keys = |candidates: Vec<_>| {
            let balancer = of(candidates, algorithm);
            let mut keys: Vec<_> = (0..100)
                .map_while(|entropy| first(&balancer, Client::default(), entropy).ok())
                .collect();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), balancer.routable());
            keys
        };
        assert_eq!(
            keys(vec![
                candidate(0, 1),
                candidate(1, 0),
                excluded(candidate(2, 1)),
                fallback(3)
            ]),
            [0]
        );
        assert_eq!(
            keys(vec![
                excluded(candidate(0, 1)),
                candidate(1, 0),
                fallback(2),
                fallback(3)
            ]),
            [2, 3]
        );
        assert_eq!(
            keys(vec![excluded(candidate(0, 1)), excluded(fallback(1))]),
            [0_u64; 0]
        );
        assert_eq!(keys(Vec::new()), [0_u64; 0]);
        let nobody = of(Vec::new(), algorithm);
        assert_eq!(
            first(&nobody, client("DE", "eu"), 0),
            Err(PickError::NoneRoutable)
        );
    }
}

#[test]
fn a_full_tier_of_fallbacks_does_not_bring_in_others() {
    let balancer = of(
        vec![
            Candidate::new(Arc::new(Server::new(0, 1).limits(1, 1).loaded(1))),
            Candidate {
                fallback: true,
                ..Candidate::new(Arc::new(Server::new(1, 1)))
            },
        ],
        Algorithm::RoundRobin,
    );
    assert_eq!(first(&balancer, Client::default(), 0), Err(PickError::AllFull));
}
