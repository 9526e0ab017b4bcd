//! *All out*: when too few are well, and who stands in for them.

use std::sync::Arc;

use proptest::prelude::*;

use super::fleet::{ALGORITHMS, ANYONE, NOW, Server, plain};
use crate::{Algorithm, Balancer, Barred, Candidate, Claim, Policy};

/// How a member is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Is {
    Well,
    OnTrial,
    Ejected,
    Disabled,
    Weightless,
}

use Is::{Disabled, Ejected, OnTrial, Weightless, Well};

fn candidate(key: u64, is: Is) -> Candidate<Arc<Server>> {
    let weight = if is == Weightless { 0 } else { 2 };
    Candidate {
        excluded: match is {
            Ejected => Some(Barred::Unwell("ejected: 5 consecutive requests failed".into())),
            Disabled => Some(Barred::Firm("disabled by an operator".into())),
            _ => None,
        },
        on_trial: is == OnTrial,
        ..Candidate::new(Arc::new(Server::new(key, weight)))
    }
}

fn fallback(key: u64, is: Is) -> Candidate<Arc<Server>> {
    Candidate {
        fallback: true,
        ..candidate(key, is)
    }
}

fn prepared(candidates: Vec<Candidate<Arc<Server>>>, panic_permille: u16) -> Balancer<Arc<Server>> {
    let policy = Policy {
        panic_permille,
        ..plain(Algorithm::RoundRobin)
    };
    Balancer::prepare(&policy, candidates, NOW, None)
}

/// Everyone that forty picks come to.
fn used(balancer: &Balancer<Arc<Server>>) -> Vec<u64> {
    let pick = |entropy| balancer.pick(&ANYONE, NOW, entropy, |server| Claim::Granted(server.key));
    let mut used: Vec<u64> = (0..40).filter_map(|entropy| pick(entropy).ok()).collect();
    used.sort_unstable();
    used.dedup();
    used
}

fn fleet(members: &[Is]) -> Vec<Candidate<Arc<Server>>> {
    (0..).zip(members).map(|(key, is)| candidate(key, *is)).collect()
}

#[test]
fn all_out_by_default_there_is_no_panic() {
    let balancer = prepared(fleet(&[Ejected, Ejected]), 0);
    assert_eq!((used(&balancer), balancer.ignores_health()), (vec![], false));
    let balancer = prepared(fleet(&[Well, Ejected, Ejected]), 0);
    assert_eq!((used(&balancer), balancer.ignores_health()), (vec![0], false));
}

#[test]
fn all_out_once_fewer_than_that_share_is_routable_health_is_ignored_and_all_are_used() {
    for (members, threshold, all) in [
        // Exactly the share is enough.
        (&[Well, Ejected][..], 500, false),
        (&[Well, Ejected, Ejected], 500, true),
        (&[Well, Well, Ejected], 667, true),
        (&[Well, Well, Ejected], 666, false),
        (&[Ejected, Ejected], 1, true),
        (&[Well, Well], 1_000, false),
        (&[Well, Ejected], 1_000, true),
    ] {
        let balancer = prepared(fleet(members), threshold);
        let expected: Vec<u64> = (0..)
            .zip(members)
            .filter(|(_, is)| all || **is == Well)
            .map(|(key, _)| key)
            .collect();
        assert_eq!(used(&balancer), expected, "{members:?} {threshold}");
        assert_eq!(balancer.ignores_health(), all, "{members:?} {threshold}");
    }
}

#[test]
fn all_out_but_not_those_that_an_operator_disabled_or_drains_nor_those_of_weight_0() {
    let balancer = prepared(fleet(&[Disabled, Ejected, Weightless, Ejected, Well]), 500);
    assert_eq!(
        (used(&balancer), balancer.ignores_health()),
        (vec![1, 3, 4], true)
    );
    // Nor do they count: two of two are well.
    let balancer = prepared(fleet(&[Disabled, Well, Disabled, Well, Weightless]), 1_000);
    assert_eq!((used(&balancer), balancer.ignores_health()), (vec![1, 3], false));
    assert!(!prepared(fleet(&[Disabled]), 1_000).ignores_health());
    assert!(!prepared(Vec::new(), 1_000).ignores_health());
}

#[test]
fn all_out_one_on_trial_is_not_yet_well() {
    let balancer = prepared(fleet(&[OnTrial, OnTrial, Ejected]), 500);
    assert_eq!(
        (used(&balancer), balancer.ignores_health()),
        (vec![0, 1, 2], true)
    );
    let balancer = prepared(fleet(&[Well, OnTrial]), 500);
    assert_eq!((used(&balancer), balancer.ignores_health()), (vec![0, 1], false));
}

#[test]
fn all_out_a_well_fallback_comes_before_ill_ones() {
    let with = |fallbacks: Vec<_>| [fleet(&[Ejected, Ejected]), fallbacks].concat();
    let balancer = prepared(with(vec![fallback(2, Well)]), 500);
    assert_eq!((used(&balancer), balancer.ignores_health()), (vec![2], false));
    // Too few of the fallbacks: all of them.
    let fallbacks = vec![fallback(2, Well), fallback(3, Ejected), fallback(4, Ejected)];
    let balancer = prepared(with(fallbacks), 500);
    assert_eq!(
        (used(&balancer), balancer.ignores_health()),
        (vec![2, 3, 4], true)
    );
    let balancer = prepared(with(vec![fallback(2, Ejected)]), 500);
    assert_eq!((used(&balancer), balancer.ignores_health()), (vec![0, 1], true));
    let balancer = prepared([fleet(&[Disabled]), vec![fallback(1, Ejected)]].concat(), 500);
    assert_eq!((used(&balancer), balancer.ignores_health()), (vec![1], true));
    // Some of the others are well: the panic is theirs.
    let balancer = prepared(
        [fleet(&[Well, Ejected, Ejected]), vec![fallback(3, Well)]].concat(),
        500,
    );
    assert_eq!(
        (used(&balancer), balancer.ignores_health()),
        (vec![0, 1, 2], true)
    );
}

#[test]
fn a_fallback_gets_all_of_it_until_one_returns_and_a_trial_is_no_return() {
    let trial = prepared([fleet(&[OnTrial, Ejected]), vec![fallback(2, Well)]].concat(), 0);
    assert_eq!(used(&trial), [0, 2]);
    // While the trial's one request is under way, the rest has somewhere to go.
    let picked = trial.pick(&ANYONE, NOW, 1, |server| match server.key {
        0 => Claim::Shut,
        other => Claim::Granted(other),
    });
    assert_eq!(picked, Ok(2));
    let returned = prepared([fleet(&[Well, Ejected]), vec![fallback(2, Well)]].concat(), 0);
    assert_eq!(used(&returned), [0]);
}

#[test]
fn all_out_a_panic_is_explained() {
    let balancer = prepared(fleet(&[Ejected, Well, Ejected, Disabled]), 500);
    let explanation = balancer.explain(&ANYONE, NOW, 0);
    assert!(explanation.ignores_health);
    let unwell: Vec<_> = explanation.tiers[0]
        .members
        .iter()
        .map(|member| (member.candidate, member.unwell.as_deref()))
        .collect();
    let ejected = Some("ejected: 5 consecutive requests failed");
    assert_eq!(unwell, [(0, ejected), (1, None), (2, ejected)]);
    assert_eq!(explanation.excluded.len(), 1);
}

proptest! {
    #[test]
    fn whoever_an_operator_wants_out_stays_out_and_a_well_one_that_is_no_fallback_never_does(
        members in prop::collection::vec(
            (prop::sample::select(vec![Well, OnTrial, Ejected, Disabled, Weightless]), any::<bool>()), 0..9,
        ),
        panic_permille in 0_u16..=1_000,
        algorithm in prop::sample::select(ALGORITHMS.to_vec()),
    ) {
        let candidates = (0..).zip(&members).map(|(key, (is, fallback))| Candidate {
            fallback: *fallback,
            ..candidate(key, *is)
        });
        let policy = Policy { panic_permille, ..plain(algorithm) };
        let balancer = Balancer::prepare(&policy, candidates.collect(), NOW, None);
        let proposed: Vec<bool> = {
            let mut proposed = vec![false; members.len()];
            // Nobody is taken, so that everybody is asked.
            let _ = balancer.pick(&ANYONE, NOW, 1, |server| {
                proposed[usize::try_from(server.key).unwrap()] = true;
                Claim::<()>::Shut
            });
            proposed
        };
        for ((is, fallback), proposed) in members.iter().zip(&proposed) {
            match is {
                Disabled | Weightless => prop_assert!(!proposed),
                Well if !fallback => prop_assert!(proposed),
                Ejected => prop_assert!(!proposed || balancer.ignores_health()),
                _ => {}
            }
        }
        let anybody = members.iter().any(|(is, _)| matches!(is, Well | OnTrial));
        prop_assert!(!anybody || proposed.contains(&true));
        prop_assert_eq!(proposed.iter().filter(|proposed| **proposed).count(), balancer.routable());
    }
}
