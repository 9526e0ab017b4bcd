use std::sync::Arc;

use super::fleet::{
    ALGORITHMS, NOW, Server, client, country, first, plain, policy, prepare, region, weighing,
};
use crate::{
    Algorithm, Balancer, Barred, Candidate, Claim, Client, Exclusion, Grounds, Inner, PickError, Scope,
    Spill, Verdict,
};

const ANYONE: Client = super::fleet::ANYONE;

#[test]
fn the_way_from_near_to_far_is_shown_with_everyone_once() {
    let servers = [
        Server::new(0, 2).at("sa", "BR").limits(1, 2).loaded(2),
        Server::new(1, 2).at("sa", "AR").limits(1, 2).loaded(1),
        Server::new(2, 2).at("eu", "DE"),
        Server::new(3, 2).at("ap", "JP"),
    ]
    .map(Arc::new);
    let policy = policy(Algorithm::RegionAffinity(Inner::LeastConnections), Spill::Soft);
    let explanation = prepare(&policy, &servers).explain(&client("BR", "sa"), NOW, 1);
    let shown: Vec<_> = explanation
        .tiers
        .iter()
        .map(|tier| {
            (
                tier.number,
                tier.scope,
                tier.members.iter().map(|m| (m.candidate, m.verdict)).collect(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            (0, Scope::Country(country("BR")), vec![(0, Verdict::AtHardLimit)]),
            (1, Scope::Region(region("sa")), vec![(1, Verdict::AtSoftLimit)]),
            (2, Scope::Region(region("eu")), vec![(2, Verdict::Picked)]),
            (3, Scope::Elsewhere, vec![(3, Verdict::Farther)]),
        ]
    );
    assert_eq!((explanation.picked, explanation.error), (Some(2), None));
    assert_eq!(explanation.tiers[1].members[0].score, Some(1.0));
    assert_eq!(explanation.tiers[0].scope.to_string(), "country BR");
}

#[test]
fn a_pick_that_is_told_of_is_the_pick_and_its_grounds_are_those_explained() {
    for algorithm in ALGORITHMS {
        let policy = crate::Policy {
            bound: crate::Bound::Followed,
            ..plain(algorithm)
        };
        let server = |(key, region, country, load)| {
            Arc::new(
                Server::new(key, 2)
                    .at(region, country)
                    .limits(10, 20)
                    .loaded(load),
            )
        };
        let servers = [
            (0, "sa", "BR", 20),
            (1, "eu", "DE", 12),
            (2, "eu", "FR", 10),
            (3, "us", "US", 0),
        ]
        .map(server);
        let (one, other) = (prepare(&policy, &servers), prepare(&policy, &servers));
        for entropy in 0..40 {
            for bound in [None, Some(3)] {
                let client = Client {
                    bound,
                    ..client("BR", "sa")
                };
                let explained = other.explain(&client, NOW, entropy);
                let picked = one.pick(&client, NOW, entropy, |server| Claim::Granted(server.key));
                let told = other.pick_told(&client, NOW, entropy, |server| Claim::Granted(server.key));
                let (told, grounds) = told.unwrap();
                assert_eq!(picked, Ok(told), "{algorithm}");
                let tier = |number| {
                    explained.tiers.iter().any(|tier| {
                        tier.number == number && tier.members.iter().any(|member| member.verdict.is_picked())
                    })
                };
                let agrees = match (grounds, algorithm) {
                    (Grounds::Bound, _) => bound == Some(told),
                    (Grounds::AboveSoft { tier: number }, Algorithm::RegionAffinity(_)) => {
                        number == 2 && tier(2)
                    }
                    (Grounds::BelowSoft { tier: number }, _) => number == 0 && tier(0),
                    (Grounds::AboveSoft { .. }, _) => false,
                };
                assert!(agrees, "{algorithm}: {grounds:?} {told}");
            }
        }
    }
}

#[test]
fn the_excluded_are_shown_with_the_reason() {
    let candidate = |key, weight| Candidate::new(Arc::new(Server::new(key, weight)));
    let candidates = vec![
        candidate(0, 0),
        Candidate {
            excluded: Some(Barred::Firm("draining".into())),
            ..candidate(1, 1)
        },
        Candidate {
            fallback: true,
            ..candidate(2, 1)
        },
        candidate(3, 1),
    ];
    let explanation =
        Balancer::prepare(&plain(Algorithm::RoundRobin), candidates, NOW, None).explain(&ANYONE, NOW, 0);
    let reasons: Vec<_> = explanation
        .excluded
        .iter()
        .map(|excluded| (excluded.candidate, &excluded.reason))
        .collect();
    let draining = Exclusion::Unroutable("draining".into());
    assert_eq!(
        reasons,
        [
            (0, &Exclusion::WeightZero),
            (1, &draining),
            (2, &Exclusion::IdleFallback)
        ]
    );
    assert_eq!(draining.to_string(), "draining");
    assert_eq!(explanation.picked, Some(3));
}

#[test]
fn the_score_of_those_that_take_turns_is_how_many_come_before() {
    let balancer = prepare(&plain(Algorithm::RoundRobin), &weighing(&[1; 4]));
    assert_eq!(first(&balancer, ANYONE, 0), Ok(0));
    let members = &balancer.explain(&ANYONE, NOW, 0).tiers[0].members;
    assert_eq!(
        members.iter().map(|m| m.score.unwrap()).collect::<Vec<_>>(),
        [3.0, 0.0, 1.0, 2.0]
    );
    assert_eq!(members[1].verdict, Verdict::Picked);
    assert_eq!(members[2].verdict, Verdict::NotItsTurn);
}

#[test]
fn a_claim_that_only_looks_has_its_answers_shown() {
    let balancer = prepare(&plain(Algorithm::LeastConnections), &weighing(&[3, 2, 1]));
    let explanation = balancer.explain_with(&ANYONE, NOW, 0, |server| match server.key {
        0 => Claim::Shut,
        1 => Claim::Skip,
        _ => Claim::Full,
    });
    let verdicts: Vec<_> = explanation.tiers[0]
        .members
        .iter()
        .map(|member| member.verdict)
        .collect();
    assert_eq!(
        verdicts,
        [Verdict::RefusedShut, Verdict::Skipped, Verdict::RefusedFull]
    );
    assert_eq!(explanation.error, Some(PickError::AllFull));
}

#[test]
fn of_many_it_is_said_who_was_drawn() {
    for (algorithm, lost) in [
        (Algorithm::LeastConnections, Verdict::MoreLoaded),
        (Algorithm::Ewma, Verdict::Slower),
    ] {
        let balancer = prepare(&plain(algorithm), &weighing(&[1; 50]));
        let members = &balancer.explain(&ANYONE, NOW, 3).tiers[0].members;
        let how_many = |verdict| members.iter().filter(|member| member.verdict == verdict).count();
        assert_eq!(
            (
                how_many(Verdict::Picked),
                how_many(lost),
                how_many(Verdict::NotDrawn)
            ),
            (1, 1, 48),
            "{algorithm:?}"
        );
    }
}
