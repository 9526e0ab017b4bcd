//! `spill = soft`: enters at 100 % of the tier's soft capacity and leaves at 85 %.

use std::sync::Arc;

use super::fleet::{NOW, Server, client, policy, prepare, successor};
use crate::{Algorithm, Balancer, Claim, Inner, Policy, Spill, Verdict};

/// Ten in the client's own country, soft 10 each; ten in its region; ten in the proxy's.
fn fleet() -> Vec<Arc<Server>> {
    let at = |key| match key {
        0..10 => ("sa", "BR"),
        10..20 => ("sa", "AR"),
        _ => ("eu", "DE"),
    };
    (0..30)
        .map(|key| {
            let (region, country) = at(key);
            Arc::new(Server::new(key, 2).at(region, country).limits(10, 20))
        })
        .collect()
}

/// Puts so many on a tier together, spread out.
fn load(tier: &[Arc<Server>], total: u32) {
    let members = u32::try_from(tier.len()).unwrap();
    for (place, server) in (0..).zip(tier) {
        server.set(total / members + u32::from(place < total % members));
    }
}

/// Which tier each of some picks goes to; `None` if they differ.
fn tier(balancer: &Balancer<Arc<Server>>) -> Option<u64> {
    let picks = (0..50).map(|entropy| {
        let claim = |server: &Arc<Server>| Claim::Granted(server.key / 10);
        balancer.pick(&client("BR", "sa"), NOW, entropy, claim).unwrap()
    });
    let tiers: Vec<u64> = picks.collect();
    tiers.iter().all(|tier| *tier == tiers[0]).then_some(tiers[0])
}

fn policies() -> impl Iterator<Item = Policy> {
    Inner::ALL
        .into_iter()
        .map(|inner| policy(Algorithm::RegionAffinity(inner), Spill::Soft))
}

#[test]
fn soft_enters_at_100_percent_of_the_tiers_soft_capacity_and_leaves_at_85() {
    for policy in policies() {
        let servers = fleet();
        let balancer = prepare(&policy, &servers);
        let rows = [
            (0, 0),
            (86, 0),
            (99, 0),
            (100, 1),
            (99, 1),
            (90, 1),
            (86, 1),
            (85, 0),
            (95, 0),
            (99, 0),
            (105, 1),
            (0, 0),
        ];
        for (total, expected) in rows {
            load(&servers[..10], total);
            assert_eq!(
                tier(&balancer),
                Some(expected),
                "{total} % with {}",
                policy.algorithm.inner()
            );
        }
    }
}

#[test]
fn a_spilling_tier_is_not_used_through_a_farther_one_that_holds_its_members_too() {
    for policy in policies() {
        let servers = fleet();
        let balancer = prepare(&policy, &servers);
        load(&servers[..10], 100);
        assert_eq!(tier(&balancer), Some(1));
        // Below soft again, but above 85 %. The region's members are those of the country and ten more.
        load(&servers[..10], 88);
        load(&servers[10..20], 60);
        assert_eq!(tier(&balancer), Some(1));
    }
}

#[test]
fn a_spilling_region_is_not_used_as_one_of_those_elsewhere() {
    for policy in policies() {
        // Neither the proxy's own nor listed: the region's members are among those elsewhere, too.
        let policy = Policy {
            region_order: Vec::new(),
            ..policy
        };
        let at = |key| match key {
            0..10 => ("sa", "AR"),
            10..20 => ("eu", "DE"),
            _ => ("ap", "JP"),
        };
        let servers: Vec<_> = (0..30)
            .map(|key| {
                let (region, country) = at(key);
                Arc::new(Server::new(key, 2).at(region, country).limits(10, 20))
            })
            .collect();
        let balancer = prepare(&policy, &servers);
        load(&servers[..20], 200);
        assert_eq!(tier(&balancer), Some(2));
        // Below soft again, but above 85 %.
        load(&servers[..10], 88);
        load(&servers[20..], 90);
        assert_eq!(tier(&balancer), Some(2), "{}", policy.algorithm.inner());
        load(&servers[20..], 100);
        assert_eq!(tier(&balancer), Some(0), "nobody else is below soft");
        load(&servers[..10], 85);
        load(&servers[20..], 0);
        assert_eq!(tier(&balancer), Some(0), "it has come down");
    }
}

#[test]
fn when_no_tier_has_any_below_soft_it_comes_back_nearest_first() {
    for policy in policies() {
        let servers = fleet();
        let balancer = prepare(&policy, &servers);
        load(&servers, 300);
        assert_eq!(tier(&balancer), Some(0));
        // The nearest one with some below soft, though it is above 85 %.
        load(&servers[10..20], 95);
        assert_eq!(tier(&balancer), Some(1));
        load(&servers[..10], 95);
        assert_eq!(tier(&balancer), Some(0));
        load(&servers[..10], 200);
        load(&servers[10..20], 150);
        load(&servers[20..], 150);
        assert_eq!(tier(&balancer), Some(1), "up to hard");
    }
}

#[test]
fn a_spill_outlives_a_new_table() {
    for policy in policies() {
        let servers = fleet();
        let mut balancer = prepare(&policy, &servers);
        load(&servers[..10], 100);
        assert_eq!(tier(&balancer), Some(1));
        load(&servers[..10], 90);
        balancer = successor(&policy, &servers, Some(&balancer));
        assert_eq!(tier(&balancer), Some(1));
        // One joins: the same load is less of the tier's capacity.
        let mut more = servers.clone();
        more.insert(0, Arc::new(Server::new(0, 2).at("sa", "BR").limits(10, 20)));
        balancer = successor(&policy, &more, Some(&balancer));
        assert_eq!(tier(&balancer), Some(0));
    }
}

#[test]
fn a_refusal_is_no_reason_to_spill_over() {
    for policy in policies() {
        let servers = fleet();
        let balancer = prepare(&policy, &servers);
        let picked = balancer.pick(&client("BR", "sa"), NOW, 1, |server| match server.key {
            0..10 => Claim::Skip,
            other => Claim::Granted(other / 10),
        });
        assert_eq!(picked, Ok(1));
        assert_eq!(tier(&balancer), Some(0));
    }
}

#[test]
fn an_explanation_says_that_the_tier_spills_over_and_changes_nothing() {
    let policy = policy(Algorithm::RegionAffinity(Inner::LeastConnections), Spill::Soft);
    let servers = fleet();
    let balancer = prepare(&policy, &servers);
    load(&servers[..10], 100);
    let verdict = || balancer.explain(&client("BR", "sa"), NOW, 1).tiers[0].members[9].verdict;
    assert_eq!(verdict(), Verdict::AtSoftLimit);
    load(&servers[..10], 95);
    assert_ne!(verdict(), Verdict::Spilling, "nobody was picked meanwhile");
    load(&servers[..10], 100);
    assert_eq!(tier(&balancer), Some(1));
    load(&servers[..10], 95);
    assert_eq!(verdict(), Verdict::Spilling);
}

#[test]
fn with_many_members_the_kept_sum_follows_within_a_few_hundred_picks() {
    let policy = policy(Algorithm::RegionAffinity(Inner::LeastConnections), Spill::Soft);
    let mut servers: Vec<_> = (0..200)
        .map(|key| Arc::new(Server::new(key, 2).at("sa", "BR").limits(10, 20)))
        .collect();
    servers.extend((200..400).map(|key| Arc::new(Server::new(key, 2).at("eu", "DE").limits(1_000, 1_000))));
    let balancer = prepare(&policy, &servers);
    let near = |picks: std::ops::Range<u64>| {
        let claim = |server: &Arc<Server>| Claim::Granted(server.key < 200);
        picks
            .filter(|entropy| balancer.pick(&client("BR", "sa"), NOW, *entropy, claim).unwrap())
            .count()
    };
    load(&servers[..200], 2_000);
    assert_eq!(near(0..1_000), 0);
    load(&servers[..200], 1_800);
    assert_eq!(near(1_000..2_000), 0);
    load(&servers[..200], 1_000);
    near(2_000..2_300);
    assert_eq!(near(2_300..2_400), 100);
}
