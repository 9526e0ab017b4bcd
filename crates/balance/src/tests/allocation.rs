use std::sync::Arc;
use std::time::Duration;

use super::fleet::{ALGORITHMS, NOW, Server, client, policy, prepare};
use crate::{
    Algorithm, Balancer, Bindings, Bound, Candidate, Claim, Client, Key, PickError, Policy, SlowStart, Spill,
};

fn servers(count: u64) -> Vec<Arc<Server>> {
    let region = |key| ["eu", "us", "sa", "ap"][usize::try_from(key).unwrap() % 4];
    (0..count)
        .map(|key| {
            Arc::new(
                Server::new(key, 1 + (key % 7) as u16)
                    .at(region(key), "DE")
                    .limits(1, 2),
            )
        })
        .collect()
}

/// Every third one ramps, and clients come bound.
fn with_everything(algorithm: Algorithm, spill: Spill, servers: &[Arc<Server>]) -> Balancer<Arc<Server>> {
    let policy = Policy {
        slow_start: SlowStart::linear(Duration::from_secs(60)).ok(),
        bound: Bound::Followed,
        ..policy(algorithm, spill)
    };
    let candidate = |server: &Arc<Server>| Candidate {
        since: (server.key % 3 == 1).then_some(NOW),
        ..Candidate::new(Arc::clone(server))
    };
    Balancer::prepare(&policy, servers.iter().map(candidate).collect(), NOW, None)
}

#[test]
fn a_binding_is_found_and_made_without_an_allocation() {
    let bindings = Bindings::new(64, Duration::from_secs(600));
    let everything = || {
        for client in 0..1_000_u64 {
            let key = Key::of(&client.to_le_bytes());
            bindings.bind(key, client, NOW);
            assert_eq!(bindings.find(key, NOW), Some(client));
            bindings.unbind(key, NOW);
        }
    };
    assert_eq!(allocation_counter::measure(everything).count_total, 0);
}

#[test]
fn a_pick_allocates_nothing_whether_granted_refused_or_spilled() {
    for spill in Spill::ALL {
        for algorithm in ALGORITHMS {
            for count in [1, 3, 100, 1_000] {
                let servers = servers(count);
                let balancer = with_everything(algorithm, spill, &servers);
                let (near, far) = (client("DE", "us"), client("DE", "ap"));
                let near = Client {
                    key: Some(Key::of(b"203.0.113.7")),
                    bound: Some(0),
                    ..near
                };
                let everyone = || {
                    for load in 0..=2 {
                        servers.iter().for_each(|server| server.set(load));
                        for refused in 0..5_u64 {
                            let mut asked = 0;
                            let picked = balancer.pick(&far, NOW, refused, |_| {
                                asked += 1;
                                if asked > refused {
                                    Claim::Granted(())
                                } else {
                                    Claim::Full
                                }
                            });
                            assert!(load < 2 || picked == Err(PickError::AllFull));
                        }
                        let nobody = balancer.pick(&near, NOW, 1, |_| Claim::<()>::Shut);
                        assert!(nobody.is_err());
                        let told = balancer.pick_told(&far, NOW, 1, |_| Claim::Granted(()));
                        assert_eq!(told.is_err(), load == 2);
                    }
                };
                assert_eq!(
                    allocation_counter::measure(everyone).count_total,
                    0,
                    "{algorithm} {count}"
                );
            }
        }
    }
}

#[test]
fn ten_thousand_full_members_are_looked_at_a_few_times_each() {
    for spill in Spill::ALL {
        for algorithm in ALGORITHMS {
            let servers = servers(10_000);
            let balancer = prepare(&policy(algorithm, spill), &servers);
            servers.iter().for_each(|server| server.set(2));
            let before: u64 = servers.iter().map(|server| u64::from(server.looks())).sum();
            let picked = balancer.pick(&client("DE", "us"), NOW, 7, |_| Claim::Granted(()));
            assert_eq!(picked, Err(PickError::AllFull));
            let after: u64 = servers.iter().map(|server| u64::from(server.looks())).sum();
            // Each member is in at most three groups here, and a group is searched at most three times.
            assert!(
                after - before <= 9 * 10_000,
                "{algorithm} {spill}: {}",
                after - before
            );
        }
    }
}

#[test]
fn ten_thousand_refusals_are_bounded_too() {
    for spill in Spill::ALL {
        for algorithm in ALGORITHMS {
            let servers = servers(10_000);
            let balancer = prepare(&policy(algorithm, spill), &servers);
            let (mut asked, mut seen) = (0, vec![false; 10_000]);
            let picked = balancer.pick(&client("DE", "us"), NOW, 7, |server| {
                asked += 1;
                seen[usize::try_from(server.key).unwrap()] = true;
                Claim::<()>::Shut
            });
            assert_eq!(picked, Err(PickError::NoneRoutable));
            assert!(
                seen.into_iter().all(|seen| seen),
                "{algorithm} {spill} asks everyone"
            );
            assert!(asked <= 9 * 10_000, "{algorithm} {spill}: {asked}");
        }
    }
}
