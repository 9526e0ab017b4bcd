//! A client that is bound to a member, row by row.

use std::sync::Arc;
use std::time::Duration;

use super::fleet::{ALGORITHMS, ANYONE, NOW, Server, client, policy, prepare, weighing};
use crate::{Algorithm, Balancer, Barred, Bindings, Bound, Candidate, Claim, Client, Key, Policy, Spill};

const BOUND_TO: u64 = 7;

fn following(algorithm: Algorithm, spill: Spill) -> Policy {
    Policy {
        bound: Bound::Followed,
        ..policy(algorithm, spill)
    }
}

fn bound(to: u64) -> Client {
    Client {
        bound: Some(to),
        ..client("DE", "eu")
    }
}

/// Ten servers; the one in question is far away, so that nothing but the binding leads to it.
fn fleet(change: impl Fn(Server) -> Server) -> Vec<Arc<Server>> {
    (0..10)
        .map(|key| {
            let server = Server::new(key, 2).limits(10, 20);
            Arc::new(if key == BOUND_TO {
                change(server.at("ap", "JP"))
            } else {
                server
            })
        })
        .collect()
}

fn everywhere(check: impl Fn(&Policy)) {
    for spill in Spill::ALL {
        for algorithm in ALGORITHMS {
            check(&following(algorithm, spill));
        }
    }
}

fn picks(balancer: &Balancer<Arc<Server>>, client: Client) -> Vec<u64> {
    (0..20)
        .map(|entropy| {
            balancer
                .pick(&client, NOW, entropy, |server| Claim::Granted(server.key))
                .unwrap()
        })
        .collect()
}

#[test]
fn a_bound_client_keeps_to_its_backend_above_soft_and_in_the_farthest_tier() {
    everywhere(|policy| {
        for load in [0, 10, 19] {
            let balancer = prepare(policy, &fleet(|server| server.loaded(load)));
            assert_eq!(
                picks(&balancer, bound(BOUND_TO)),
                [BOUND_TO; 20],
                "{policy:?} {load}"
            );
            let explained = balancer.explain(&bound(BOUND_TO), NOW, 1);
            assert_eq!(explained.picked, Some(7));
        }
    });
}

#[test]
fn a_hard_limit_wins() {
    everywhere(|policy| {
        let balancer = prepare(policy, &fleet(|server| server.loaded(20)));
        assert!(!picks(&balancer, bound(BOUND_TO)).contains(&BOUND_TO));
    });
}

#[test]
fn a_drain_and_an_ejection_win() {
    everywhere(|policy| {
        for reason in ["draining", "ejected"] {
            let candidate = |server: Arc<Server>| Candidate {
                excluded: (server.key == BOUND_TO).then(|| Barred::Firm(reason.into())),
                ..Candidate::new(server)
            };
            let candidates = fleet(|server| server).into_iter().map(candidate).collect();
            let balancer = Balancer::prepare(policy, candidates, NOW, None);
            assert!(!picks(&balancer, bound(BOUND_TO)).contains(&BOUND_TO));
        }
        // The gate has shut since.
        let balancer = prepare(policy, &fleet(|server| server));
        let picked = balancer.pick(&bound(BOUND_TO), NOW, 1, |server| match server.key {
            BOUND_TO => Claim::Shut,
            other => Claim::Granted(other),
        });
        assert!(picked.is_ok_and(|picked| picked != BOUND_TO));
    });
}

#[test]
fn one_that_is_gone_or_of_weight_0_or_not_followed_is_as_none() {
    everywhere(|policy| {
        let balancer = prepare(policy, &fleet(|server| server));
        assert_eq!(picks(&balancer, bound(99)).len(), 20);
        let balancer = prepare(
            policy,
            &fleet(|mut server| {
                server.weight = 0;
                server
            }),
        );
        assert!(!picks(&balancer, bound(BOUND_TO)).contains(&BOUND_TO));
        let ignoring = Policy {
            bound: Bound::Ignored,
            ..policy.clone()
        };
        if matches!(policy.algorithm, Algorithm::RegionAffinity(_)) {
            let balancer = prepare(&ignoring, &fleet(|server| server));
            assert!(!picks(&balancer, bound(BOUND_TO)).contains(&BOUND_TO));
        }
    });
}

#[test]
fn a_table_of_bindings_keeps_clients_where_they_were_while_members_come_and_go() {
    let bindings = Bindings::new(1_024, Duration::from_secs(600));
    let policy = following(Algorithm::RoundRobin, Spill::Hard);
    let all = weighing(&[2; 10]);
    let mut random = fastrand::Rng::with_seed(2);
    let mut last = std::collections::HashMap::new();
    for round in 0..200 {
        let there: Vec<_> = all.iter().filter(|_| random.u32(0..5) > 0).cloned().collect();
        let balancer = prepare(&policy, &there);
        for number in 0..100_u64 {
            let key = Key::of(&number.to_le_bytes());
            let client = Client {
                bound: bindings.find(key, NOW),
                ..ANYONE
            };
            let picked = balancer
                .pick(&client, NOW, round, |server| Claim::Granted(server.key))
                .ok();
            if let Some(picked) = picked {
                bindings.bind(key, picked, NOW);
                let before = last.insert(number, picked);
                let gone = before.is_some_and(|before| there.iter().all(|server| server.key != before));
                assert!(
                    gone || before.is_none_or(|before| before == picked),
                    "round {round}"
                );
            }
        }
    }
}
