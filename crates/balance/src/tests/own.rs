//! Algorithms of one's own.

use std::sync::Arc;

use super::fleet::{ANYONE, NOW, Server, client, first, plain, policy, prepare};
use crate::{
    Algorithm, Among, Asked, Claim, Client, Cost, Inner, Key, MAX_COST, Own, PickError, Policy, Spill,
    Target, Verdict,
};

/// Whoever has the greatest key, of all or of two.
#[derive(Debug)]
struct Last(Among);

impl Cost for Last {
    fn cost(&self, member: &dyn Target, _: &Asked<'_>) -> u64 {
        1_000 - member.key()
    }

    fn among(&self) -> Among {
        self.0
    }
}

/// Rendezvous hashing, which is what a client's key and a member's identity come to.
#[derive(Debug)]
struct Rendezvous;

impl Cost for Rendezvous {
    fn cost(&self, member: &dyn Target, asked: &Asked<'_>) -> u64 {
        let key = asked.client.key.map_or(asked.entropy, Key::bits);
        Key::of(&(key ^ member.identity()).to_le_bytes()).bits() >> 16
    }
}

/// What nobody would write, and may.
#[derive(Debug)]
struct Boundless;

impl Cost for Boundless {
    fn cost(&self, member: &dyn Target, _: &Asked<'_>) -> u64 {
        u64::MAX - member.key()
    }
}

fn with(own: Own, policy: Policy) -> Policy {
    Policy {
        own: Some(own),
        ..policy
    }
}

#[test]
fn the_cheapest_is_picked_and_the_next_one_when_it_refuses() {
    let servers: Vec<_> = (0..20).map(|key| Arc::new(Server::new(key, 1))).collect();
    let balancer = prepare(
        &with(Own::new(Last(Among::All)), plain(Algorithm::RoundRobin)),
        &servers,
    );
    for entropy in 0..50 {
        let mut proposed = Vec::new();
        let nobody = balancer.pick(&ANYONE, NOW, entropy, |server| {
            proposed.push(server.key);
            if proposed.len() == 4 {
                Claim::Granted(())
            } else {
                Claim::Shut
            }
        });
        assert_eq!((nobody, proposed), (Ok(()), vec![19, 18, 17, 16]));
    }
    let everybody_shut = balancer.pick(&ANYONE, NOW, 1, |_| Claim::<()>::Shut);
    assert_eq!(everybody_shut, Err(PickError::NoneRoutable));
}

#[test]
fn soft_and_hard_limits_hold_around_it() {
    let servers = [
        Server::new(0, 1).limits(1, 2),
        Server::new(1, 1).limits(1, 2).loaded(1),
        Server::new(2, 1).limits(1, 2).loaded(2),
    ]
    .map(Arc::new);
    let balancer = prepare(
        &with(Own::new(Last(Among::All)), plain(Algorithm::LeastConnections)),
        &servers,
    );
    assert_eq!(first(&balancer, ANYONE, 7), Ok(0), "the others are at a limit");
    servers[0].set(2);
    assert_eq!(first(&balancer, ANYONE, 7), Ok(1), "above soft, below hard");
    servers[1].set(2);
    assert_eq!(
        balancer.pick(&ANYONE, NOW, 7, |_| Claim::Granted(())),
        Err(PickError::AllFull)
    );
}

#[test]
fn tiers_and_spills_hold_around_it() {
    let servers = [
        Server::new(0, 1).at("sa", "BR").limits(2, 3),
        Server::new(1, 1).at("eu", "DE"),
        Server::new(2, 1).at("us", "US"),
    ]
    .map(Arc::new);
    for spill in Spill::ALL {
        let policy = policy(Algorithm::RegionAffinity(Inner::Weighted), spill);
        let balancer = prepare(&with(Own::new(Last(Among::All)), policy), &servers);
        let brazil = client("BR", "sa");
        servers[0].set(0);
        assert_eq!(first(&balancer, brazil, 3), Ok(0), "nearness comes first");
        servers[0].set(3);
        assert_eq!(first(&balancer, brazil, 3), Ok(1), "and its own region next");
    }
}

#[test]
fn weights_divide_a_cost() {
    // 1,000, 999 and 998, of which the weights make 500, 999 and 998.
    let servers = [Server::new(0, 2), Server::new(1, 1), Server::new(2, 1)].map(Arc::new);
    let balancer = prepare(
        &with(Own::new(Last(Among::All)), plain(Algorithm::Weighted)),
        &servers,
    );
    assert_eq!(first(&balancer, ANYONE, 5), Ok(0));
}

#[test]
fn of_two_drawn_the_cheaper_is_picked_and_so_the_dearest_never() {
    let servers: Vec<_> = (0..30).map(|key| Arc::new(Server::new(key, 1))).collect();
    let own = Own::new(Last(Among::TwoDrawn));
    let balancer = prepare(&with(own, plain(Algorithm::LeastConnections)), &servers);
    let mut picks = [0_u32; 30];
    for _ in 0..20_000 {
        if let Ok(key) = first(&balancer, ANYONE, fastrand::u64(..)) {
            picks[usize::try_from(key).unwrap()] += 1;
        }
    }
    assert_eq!(picks[0], 0, "whoever it is beside is cheaper");
    // Of 435 pairs 29 have the last, 15 the middle one as the cheaper: 1,333 and 690 of 20,000 are expected.
    assert!((1_100..1_600).contains(&picks[29]), "{picks:?}");
    assert!((520..880).contains(&picks[15]), "{picks:?}");
}

#[test]
fn rendezvous_keeps_the_keys_of_those_that_stay() {
    let servers: Vec<_> = (0..12).map(|key| Arc::new(Server::new(key, 1))).collect();
    let policy = with(Own::new(Rendezvous), plain(Algorithm::Hash));
    let all = prepare(&policy, &servers);
    let without_last = prepare(&policy, &servers[..11]);
    let mut moved = 0;
    for number in 0..2_000_u64 {
        let client = Client {
            key: Some(Key::of(&number.to_le_bytes())),
            ..ANYONE
        };
        let owner = first(&all, client, fastrand::u64(..));
        assert_eq!(
            owner,
            first(&all, client, fastrand::u64(..)),
            "chance plays no part"
        );
        let owner_after = first(&without_last, client, fastrand::u64(..));
        if owner == Ok(11) {
            moved += 1;
        } else {
            assert_eq!(owner, owner_after);
        }
    }
    assert!((110..230).contains(&moved), "a twelfth of 2,000 is 167: {moved}");
}

#[test]
fn a_cost_beyond_its_range_overflows_nothing() {
    let servers = [Server::new(0, u16::MAX), Server::new(1, 1)].map(Arc::new);
    let balancer = prepare(&with(Own::new(Boundless), plain(Algorithm::RoundRobin)), &servers);
    assert_eq!(first(&balancer, ANYONE, 9), Ok(0), "alike but for their weights");
    let explanation = balancer.explain(&ANYONE, NOW, 9);
    #[allow(clippy::cast_precision_loss)]
    let greatest = MAX_COST as f64;
    assert_eq!(explanation.tiers[0].members[1].score, Some(greatest));
}

#[test]
fn an_explanation_tells_the_costs() {
    let servers = [
        Server::new(0, 1),
        Server::new(1, 1),
        Server::new(2, 2).limits(1, 1).loaded(1),
    ]
    .map(Arc::new);
    let own = Own::new(Last(Among::All));
    let policy = with(own.clone(), plain(Algorithm::RegionAffinity(Inner::Hash)));
    let explanation = prepare(&policy, &servers).explain(&ANYONE, NOW, 4);
    assert!(explanation.own);
    let told: Vec<_> = explanation.tiers.iter().flat_map(|tier| &tier.members).collect();
    let told: Vec<_> = told.iter().map(|member| (member.score, member.verdict)).collect();
    assert_eq!(
        told,
        [
            (Some(1_000.0), Verdict::Costlier),
            (Some(999.0), Verdict::Picked),
            (Some(499.0), Verdict::AtHardLimit),
        ]
    );
    assert_eq!(Some(&own), policy.own.as_ref());
    assert_ne!(own, Own::new(Last(Among::All)), "another one, though alike");
}
