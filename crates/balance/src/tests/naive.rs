//! The balancer beside a picker that is written down as the specification reads, on random fleets.

use std::sync::Arc;

use edgeproxy_backend::Limits;
use proptest::prelude::*;

use super::fleet::{ALGORITHMS, NOW, Server, country, policy, region};
use crate::decide::SCAN_MAX;
use crate::{Algorithm, Balancer, Barred, Candidate, Claim, Client, Inner, PickError, Policy, Spill};

const REGIONS: [&str; 5] = ["eu", "us", "sa", "ap", "af"];
const COUNTRIES: [&str; 4] = ["DE", "US", "BR", "JP"];

#[derive(Clone, Debug)]
struct Member {
    weight: u16,
    limits: Limits,
    load: u32,
    place: (usize, usize),
    fallback: bool,
    excluded: bool,
    answer: Claim<()>,
}

fn member() -> impl Strategy<Value = Member> {
    let limits = (0_u32..6, 0_u32..6)
        .prop_map(|(soft, more)| Limits::new(soft, if more == 0 { 0 } else { soft + more - 1 }).unwrap());
    let answer = prop_oneof![
        6 => Just(Claim::Granted(())),
        1 => Just(Claim::Full),
        1 => Just(Claim::Shut),
        1 => Just(Claim::Skip),
    ];
    let rare = || prop::bool::weighted(0.1);
    (
        0_u16..5,
        limits,
        0_u32..9,
        (0..REGIONS.len(), 0..COUNTRIES.len()),
        rare(),
        rare(),
        answer,
    )
        .prop_map(
            |(weight, limits, load, place, fallback, excluded, answer)| Member {
                weight,
                limits,
                load,
                place,
                fallback,
                excluded,
                answer,
            },
        )
}

/// `hash` less often: preparing it takes longer than a thousand picks.
fn algorithms() -> impl Strategy<Value = Algorithm> {
    let (hash, others): (Vec<_>, Vec<_>) = ALGORITHMS
        .into_iter()
        .partition(|algorithm| algorithm.inner() == Inner::Hash);
    prop_oneof![1 => prop::sample::select(hash), 40 => prop::sample::select(others)]
}

fn clients() -> impl Strategy<Value = Client> {
    let country_of = prop::option::of((0..COUNTRIES.len()).prop_map(|index| country(COUNTRIES[index])));
    let region_of = prop::option::of((0..REGIONS.len()).prop_map(|index| region(REGIONS[index])));
    (country_of, region_of).prop_map(|(country, region)| Client {
        country,
        region,
        ..Client::default()
    })
}

/// How near: one number for each row of the table, and for each region of the order.
fn nearness(policy: &Policy, client: Client, member: &Member) -> usize {
    let (in_region, in_country) = (
        region(REGIONS[member.place.0]),
        country(COUNTRIES[member.place.1]),
    );
    let no_tiers = !matches!(policy.algorithm, Algorithm::RegionAffinity(_));
    if no_tiers || client.country == Some(in_country) {
        0
    } else if client.region == Some(in_region) {
        1
    } else if policy.own_region == Some(in_region) {
        2
    } else {
        let listed = policy.region_order.iter().position(|region| *region == in_region);
        3 + listed.unwrap_or(policy.region_order.len())
    }
}

/// Everyone that may be picked.
fn naive(policy: &Policy, client: Client, members: &[Member]) -> Result<Vec<usize>, PickError> {
    let ready = |member: &Member| !member.excluded && member.weight > 0;
    let only_fallbacks = !members.iter().any(|member| ready(member) && !member.fallback);
    let playing = |member: &Member| ready(member) && member.fallback == only_fallbacks;
    let willing = |member: &Member| playing(member) && member.answer == Claim::Granted(());
    let tiers: Vec<Vec<usize>> = (0..=3 + policy.region_order.len())
        .map(|tier| {
            let in_tier = |index: &usize| nearness(policy, client, &members[*index]) == tier;
            (0..members.len()).filter(in_tier).collect()
        })
        .collect();
    let all_of_tier = |tier: &[usize]| tier.iter().filter(|index| playing(&members[**index])).count();
    let below_soft = |tier: &[usize]| -> Vec<usize> {
        let with_room = tier.iter().copied().filter(|index| {
            let member = &members[*index];
            let (soft, hard) = (member.limits.soft(), member.limits.hard());
            willing(member) && (soft == 0 || member.load < soft) && (hard == 0 || member.load < hard)
        });
        let with_room: Vec<usize> = with_room.collect();
        // Above the threshold, and where a tier is asked together with a nearer one, any of them may be drawn.
        let exact = all_of_tier(tier) <= SCAN_MAX && members.len() <= SCAN_MAX;
        if policy.algorithm.inner() != Inner::LeastConnections || !exact {
            return with_room;
        }
        let score = |index: &usize| f64::from(members[*index].load + 1) / f64::from(members[*index].weight);
        let least = with_room.iter().map(score).fold(f64::MAX, f64::min);
        with_room
            .into_iter()
            .filter(|index| score(index) <= least)
            .collect()
    };
    let below_hard = |tier: &[usize]| -> Vec<usize> {
        let with_room = tier.iter().copied().filter(|index| {
            let member = &members[*index];
            willing(member) && member.limits.below_hard(member.load) && !member.limits.below_soft(member.load)
        });
        let with_room: Vec<usize> = with_room.collect();
        let over = |index: &usize| f64::from(members[*index].load) / f64::from(members[*index].limits.soft());
        let least = with_room.iter().map(over).fold(f64::MAX, f64::min);
        with_room
            .into_iter()
            .filter(|index| over(index) <= least)
            .collect()
    };
    let stages: Vec<Vec<usize>> = match policy.spill {
        Spill::Hard => tiers
            .iter()
            .flat_map(|tier| [below_soft(tier), below_hard(tier)])
            .collect(),
        Spill::Soft => tiers
            .iter()
            .map(|tier| below_soft(tier))
            .chain(tiers.iter().map(|tier| below_hard(tier)))
            .collect(),
    };
    if let Some(stage) = stages.into_iter().find(|stage| !stage.is_empty()) {
        return Ok(stage);
    }
    let playing: Vec<&Member> = members.iter().filter(|member| playing(member)).collect();
    let full = |member: &&Member| !member.limits.below_hard(member.load) || member.answer == Claim::Full;
    if playing.iter().any(full) {
        Err(PickError::AllFull)
    } else if playing.iter().any(|member| member.answer == Claim::Skip) {
        Err(PickError::Exhausted)
    } else {
        Err(PickError::NoneRoutable)
    }
}

fn balancer(policy: &Policy, members: &[Member]) -> Balancer<Arc<Server>> {
    let candidate = |(key, member): (u64, &Member)| {
        let (region, country) = (REGIONS[member.place.0], COUNTRIES[member.place.1]);
        let mut server = Server::new(key, member.weight)
            .at(region, country)
            .loaded(member.load);
        server.limits = member.limits;
        Candidate {
            fallback: member.fallback,
            excluded: member.excluded.then(|| Barred::Unwell("ejected".into())),
            ..Candidate::new(Arc::new(server))
        }
    };
    Balancer::prepare(policy, (0..).zip(members).map(candidate).collect(), NOW, None)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_pick_is_one_that_the_specification_allows(
        members in prop_oneof![
            4 => prop::collection::vec(member(), 0..SCAN_MAX),
            1 => prop::collection::vec(member(), 0..60),
        ],
        client in clients(),
        algorithm in algorithms(),
        spill in prop::sample::select(Spill::ALL.to_vec()),
        entropies in prop::collection::vec(any::<u64>(), 8),
    ) {
        let policy = policy(algorithm, spill);
        let balancer = balancer(&policy, &members);
        let expected = naive(&policy, client, &members);
        for entropy in entropies {
            let picked = balancer.pick(&client, NOW, entropy, |server| {
                let index = usize::try_from(server.key).unwrap();
                match members[index].answer {
                    Claim::Granted(()) => Claim::Granted(index),
                    Claim::Full => Claim::Full,
                    Claim::Shut => Claim::Shut,
                    Claim::Skip => Claim::Skip,
                }
            });
            match (&expected, picked) {
                (Ok(allowed), Ok(picked)) => prop_assert!(allowed.contains(&picked), "{picked} of {allowed:?}"),
                (expected, picked) => prop_assert_eq!(expected.as_ref().err().copied(), picked.err()),
            }
        }
    }

    #[test]
    fn an_explanation_names_the_next_pick(
        members in prop_oneof![
            4 => prop::collection::vec(member(), 0..SCAN_MAX),
            1 => prop::collection::vec(member(), 0..60),
        ],
        client in clients(),
        algorithm in algorithms(),
        spill in prop::sample::select(Spill::ALL.to_vec()),
        entropies in prop::collection::vec(any::<u64>(), 8),
    ) {
        let balancer = balancer(&policy(algorithm, spill), &members);
        let answer = |server: &Arc<Server>| members[usize::try_from(server.key).unwrap()].answer;
        for entropy in entropies {
            let explained = balancer.explain_with(&client, NOW, entropy, answer);
            prop_assert_eq!(&explained, &balancer.explain_with(&client, NOW, entropy, answer));
            let mut last = None;
            let picked = balancer.pick(&client, NOW, entropy, |server| {
                last = Some(usize::try_from(server.key).unwrap());
                answer(server)
            });
            prop_assert_eq!(explained.picked, picked.ok().and(last));
            prop_assert_eq!(explained.error, picked.err());

            let explained = balancer.explain(&client, NOW, entropy);
            let picked = balancer.pick(&client, NOW, entropy, |server| Claim::Granted(server.key));
            prop_assert_eq!(explained.picked, picked.ok().and_then(|key| usize::try_from(key).ok()));

            // Everyone is accounted for, once.
            let shown = explained.tiers.iter().flat_map(|tier| &tier.members).map(|member| member.candidate);
            let mut shown: Vec<_> = shown.chain(explained.excluded.iter().map(|member| member.candidate)).collect();
            shown.sort_unstable();
            prop_assert_eq!(shown, (0..members.len()).collect::<Vec<_>>());
        }
    }
}
