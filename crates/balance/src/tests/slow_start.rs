//! Slow start, row by row.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::MonoTime;

use super::fleet::{ALGORITHMS, ANYONE, NOW, Server, first, plain};
use crate::{Algorithm, Balancer, Barred, Candidate, Inner, PickError, Policy, SlowStart, Verdict};

const WINDOW: Duration = Duration::from_secs(100);
const INNERS_IN_TURN: [Algorithm; 4] = [
    Algorithm::RoundRobin,
    Algorithm::Weighted,
    Algorithm::RegionAffinity(Inner::RoundRobin),
    Algorithm::RegionAffinity(Inner::Weighted),
];

fn ramping(algorithm: Algorithm) -> Policy {
    Policy {
        slow_start: Some(SlowStart::linear(WINDOW).unwrap()),
        ..plain(algorithm)
    }
}

type Member = (Arc<Server>, Option<MonoTime>);

fn member(key: u64, weight: u16, since: Option<MonoTime>) -> Member {
    (Arc::new(Server::new(key, weight)), since)
}

fn balancer(
    policy: &Policy,
    members: &[Member],
    now: MonoTime,
    previous: Option<&Balancer<Arc<Server>>>,
) -> Balancer<Arc<Server>> {
    let candidate = |(server, since): &Member| Candidate {
        since: *since,
        ..Candidate::new(Arc::clone(server))
    };
    Balancer::prepare(policy, members.iter().map(candidate).collect(), now, previous)
}

fn effective(balancer: &Balancer<Arc<Server>>) -> Vec<f64> {
    let members = balancer.explain(&ANYONE, NOW, 0).tiers.remove(0).members;
    members.iter().map(|member| member.effective_weight).collect()
}

fn counts(balancer: &Balancer<Arc<Server>>, picks: u64) -> HashMap<u64, u64> {
    let mut counts = HashMap::new();
    for entropy in 0..picks {
        *counts
            .entry(first(balancer, ANYONE, entropy).unwrap())
            .or_insert(0) += 1;
    }
    counts
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn a_backend_that_joins_a_running_app_ramps_from_10_to_100_percent() {
    let members = [member(0, 2, None), member(1, 2, None), member(2, 2, Some(NOW))];
    for algorithm in ALGORITHMS {
        let policy = ramping(algorithm);
        let mut previous = None;
        for (after, weight) in [
            (0, 0.2),
            (19, 0.2),
            (20, 0.4),
            (55, 1.0),
            (99, 1.8),
            (100, 2.0),
            (500, 2.0),
        ] {
            let next = balancer(&policy, &members, NOW + secs(after), previous.as_ref());
            assert_eq!(
                effective(&next),
                [2.0, 2.0, weight],
                "{algorithm} after {after} s"
            );
            previous = Some(next);
        }
    }
}

#[test]
fn without_slow_start_nobody_ramps() {
    let members = [member(0, 2, None), member(1, 2, Some(NOW))];
    let balancer = balancer(&plain(Algorithm::Weighted), &members, NOW, None);
    assert_eq!(
        (effective(&balancer), balancer.next_change()),
        (vec![2.0, 2.0], None)
    );
}

#[test]
fn when_all_are_new_none_is_ramped_and_nobody_steps_down_later() {
    let members = [
        member(0, 2, Some(NOW)),
        member(1, 2, Some(NOW + secs(1))),
        member(2, 2, Some(NOW + secs(50))),
    ];
    let policy = ramping(Algorithm::Weighted);
    let mut last = balancer(&policy, &members, NOW + secs(50), None);
    assert_eq!((effective(&last), last.next_change()), (vec![2.0; 3], None));
    for after in [100, 101, 120] {
        last = balancer(&policy, &members, NOW + secs(after), Some(&last));
        assert_eq!(effective(&last), [2.0; 3], "{after}");
    }
}

#[test]
fn one_that_comes_back_from_trial_ramps_again() {
    let policy = ramping(Algorithm::LeastConnections);
    let (old, server) = (member(0, 2, None), Arc::new(Server::new(1, 2)));
    let all = balancer(&policy, &[old.clone(), (Arc::clone(&server), None)], NOW, None);
    let ejected = Balancer::prepare(
        &policy,
        vec![
            Candidate::new(Arc::clone(&old.0)),
            Candidate {
                excluded: Some(Barred::Unwell("ejected".into())),
                ..Candidate::new(Arc::clone(&server))
            },
        ],
        NOW + secs(10),
        Some(&all),
    );
    let back = balancer(
        &policy,
        &[old, (server, Some(NOW + secs(40)))],
        NOW + secs(40),
        Some(&ejected),
    );
    assert_eq!(effective(&back), [2.0, 0.2]);
}

#[test]
fn the_next_change_is_announced_until_the_ramp_is_over() {
    let members = [
        member(0, 2, None),
        member(1, 2, Some(NOW)),
        member(2, 2, Some(NOW + secs(3))),
    ];
    let policy = ramping(Algorithm::Weighted);
    let mut last = balancer(&policy, &members, NOW + secs(3), None);
    let mut changes = 0;
    while let Some(next) = last.next_change() {
        let before = effective(&last);
        last = balancer(&policy, &members, next, Some(&last));
        assert_ne!(effective(&last), before, "something has changed at {next:?}");
        changes += 1;
    }
    assert_eq!(effective(&last), [2.0; 3]);
    assert!((9..=12).contains(&changes), "{changes}");
}

#[test]
fn turns_are_shared_exactly_by_the_weights_that_count() {
    for algorithm in INNERS_IN_TURN {
        let policy = ramping(algorithm);
        for (after, step) in [(0, 1), (30, 3), (70, 7)] {
            let members = [member(0, 2, None), member(1, 2, None), member(2, 2, Some(NOW))];
            let balancer = balancer(&policy, &members, NOW + secs(after), None);
            let counts = counts(&balancer, 20 + step);
            assert_eq!(
                counts,
                HashMap::from([(0, 10), (1, 10), (2, step)]),
                "{algorithm} after {after} s"
            );
        }
    }
}

#[test]
fn it_is_never_starved_at_least_one_pick_in_each_of_its_neighbours_full_turns() {
    for algorithm in ALGORITHMS {
        if algorithm.inner() == Inner::Hash {
            continue; // Its keys come to it, and no turns.
        }
        for members in [2, 5, 20] {
            let policy = ramping(algorithm);
            let mut fleet: Vec<Member> = (0..members - 1).map(|key| member(key, 2, None)).collect();
            fleet.push(member(members - 1, 2, Some(NOW)));
            let balancer = balancer(&policy, &fleet, NOW, None);
            // One request at a time: nobody has any in flight, so loads alone would never lead to it.
            let turn = 10 * (members - 1) + 1;
            for _ in 0..20 {
                let counts = counts(&balancer, turn);
                assert!(
                    counts.get(&(members - 1)).is_some_and(|count| *count >= 1),
                    "{algorithm} {members}"
                );
            }
        }
    }
}

#[test]
fn its_share_of_the_requests_in_flight_ramps_as_well() {
    for algorithm in [Algorithm::LeastConnections, Algorithm::Ewma] {
        for (after, part) in [(0, 0.1), (50, 0.5)] {
            let mut fleet: Vec<Member> = (0..4).map(|key| member(key, 2, None)).collect();
            fleet.push(member(4, 2, Some(NOW)));
            let balancer = balancer(&ramping(algorithm), &fleet, NOW + secs(after), None);
            for entropy in 0..2_000 {
                let key = first(&balancer, ANYONE, entropy).unwrap();
                fleet[usize::try_from(key).unwrap()].0.begin();
            }
            let (new, others) = (
                f64::from(fleet[4].0.load()),
                f64::from(2_000 - fleet[4].0.load()) / 4.0,
            );
            assert!(
                (new / others - part).abs() < 0.05,
                "{algorithm}: {new} of {others}"
            );
        }
    }
}

#[test]
fn both_its_limits_ramp_so_that_those_who_wait_for_others_do_not_fall_on_it() {
    let limited = |key, since| (Arc::new(Server::new(key, 2).limits(100, 150)), since);
    for algorithm in ALGORITHMS {
        let members = [limited(0, None), limited(1, Some(NOW))];
        let balancer = balancer(&ramping(algorithm), &members, NOW + secs(30), None);
        members[1].0.set(30);
        for entropy in 0..40 {
            assert_eq!(first(&balancer, ANYONE, entropy), Ok(0), "{algorithm}");
        }
        let explained = balancer.explain(&ANYONE, NOW, 0).tiers.remove(0).members;
        assert_eq!(
            (explained[1].limits.soft(), explained[1].verdict),
            (30, Verdict::Ramping)
        );
        members[0].0.set(150);
        members[1].0.set(44);
        assert_eq!(first(&balancer, ANYONE, 1), Ok(1), "45 are its part of 150");
        members[1].0.set(45);
        assert_eq!(
            first(&balancer, ANYONE, 1),
            Err(PickError::AllFull),
            "{algorithm}"
        );
    }
}

#[test]
fn over_joins_leaves_and_ramps_everyone_stays_within_a_few_turns_of_its_share() {
    let mut worst: f64 = 0.0;
    for seed in 0..100 {
        let algorithm = [Algorithm::RoundRobin, Algorithm::Weighted][seed % 2];
        let mut random = fastrand::Rng::with_seed(seed as u64);
        let policy = ramping(algorithm);
        let stay = [2, 3, 5, 10][seed % 4];
        let mut members: Vec<Member> = (0..stay)
            .map(|key| member(key, random.u16(1..=9), None))
            .collect();
        let mut now = NOW;
        let mut last = balancer(&policy, &members, now, None);
        let mut counted = vec![(0.0, 0.0); members.len()];
        for key in 100..180 {
            for entropy in 0..random.u64(0..30) {
                let picked = first(&last, ANYONE, entropy).unwrap();
                if let Some((count, _)) = counted.get_mut(usize::try_from(picked).unwrap()) {
                    *count += 1.0;
                }
                let share = |place: usize, effective: f64| {
                    let own = f64::from(members[place].0.weight);
                    if algorithm == Algorithm::Weighted {
                        effective
                    } else {
                        effective / own
                    }
                };
                let effective = effective(&last);
                let total: f64 = effective
                    .iter()
                    .enumerate()
                    .map(|(place, one)| share(place, *one))
                    .sum();
                for (place, (_, ideal)) in counted.iter_mut().enumerate() {
                    *ideal += share(place, effective[place]) / total;
                }
            }
            now = now + secs(random.u64(0..30));
            let passing = members.len() - counted.len();
            match random.u32(0..4) {
                0 if passing > 0 => drop(members.remove(counted.len() + random.usize(0..passing))),
                1 => members.push(member(key, random.u16(1..=9), Some(now))),
                _ => {}
            }
            last = balancer(&policy, &members, now, Some(&last));
        }
        for (count, ideal) in counted {
            worst = worst.max(f64::abs(count - ideal));
        }
    }
    assert!(worst <= 3.0, "{worst}");
}
