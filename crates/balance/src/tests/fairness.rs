//! Fairness: for each algorithm the exactness of the specification's table, over 100 random fleets, with members that
//! join and leave between picks, on one thread and on four.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use edgeproxy_backend::{InFlight, MonoTime};

use super::fleet::{ANYONE, NOW, Server, country, first, plain, region, successor};
use super::sooner;
use crate::decide::SCAN_MAX;
use crate::{Algorithm, Balancer, Claim, Client, Inner, Key, Policy};

const FLEETS: u64 = 100;

type Random = fastrand::Rng;
type Members = Vec<Arc<Server>>;

/// Checks 100 random fleets on one thread and as many on four.
fn everywhere(check: impl Fn(&mut Random, usize)) {
    for threads in [1, 4] {
        for seed in 0..FLEETS {
            check(&mut Random::with_seed(seed), threads);
        }
    }
}

/// Runs the work of each thread, all at a time, on what each has of its own; what they have found.
fn on_each<S: Send, R: Send>(own: &mut [S], work: impl Fn(usize, &mut S) -> R + Sync) -> Vec<R> {
    if let [own] = own {
        return vec![work(0, own)];
    }
    thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = own
            .iter_mut()
            .enumerate()
            .map(|(thread, own)| scope.spawn(move || work(thread, own)))
            .collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn on<R: Send>(threads: usize, work: impl Fn(usize) -> R + Sync) -> Vec<R> {
    on_each(&mut vec![(); threads], |thread, ()| work(thread))
}

/// So many picks for a client, shared by the threads: how often each member was picked.
fn counts(balancer: &Balancer<Arc<Server>>, client: Client, picks: u64, threads: usize) -> HashMap<u64, u64> {
    let each = on(threads, |thread| {
        let (threads, thread) = (threads as u64, thread as u64);
        let mut counts = HashMap::new();
        for pick in (thread..picks).step_by(usize::try_from(threads).unwrap()) {
            *counts.entry(first(balancer, client, pick).unwrap()).or_insert(0) += 1;
        }
        counts
    });
    let mut all = HashMap::new();
    for (key, count) in each.into_iter().flatten() {
        *all.entry(key).or_insert(0) += count;
    }
    all
}

/// A fleet whose first members stay, and others come and go behind them.
struct Fleet {
    members: Members,
    stay: usize,
    next_key: u64,
    weights: std::ops::RangeInclusive<u16>,
}

impl Fleet {
    fn new(random: &mut Random, most: usize, weights: std::ops::RangeInclusive<u16>) -> Self {
        let stay = random.usize(1..=most / 2);
        let mut fleet = Self {
            members: Vec::new(),
            stay,
            next_key: 0,
            weights,
        };
        while fleet.members.len() < stay {
            fleet.join(random);
        }
        fleet
    }

    fn join(&mut self, random: &mut Random) {
        let weight = random.u16(self.weights.clone());
        self.members.push(Arc::new(Server::new(self.next_key, weight)));
        self.next_key += 1;
    }

    /// One joins or leaves.
    fn change(&mut self, random: &mut Random, most: usize) {
        let passing = self.members.len() - self.stay;
        if passing > 0 && (self.members.len() >= most || random.bool()) {
            self.members.remove(self.stay + random.usize(0..passing));
        } else {
            self.join(random);
        }
    }

    fn weight(&self) -> u64 {
        self.members.iter().map(|member| u64::from(member.weight)).sum()
    }
}

#[test]
fn round_robin_k_n_picks_each_exactly_k_and_those_that_stay_at_most_one_turn_apart() {
    everywhere(|random, threads| {
        let (mut fleet, mut balancer) = (Fleet::new(random, 20, 1..=9), None);
        let mut history = vec![0; fleet.stay];
        for _ in 0..10 {
            let next = successor(&plain(Algorithm::RoundRobin), &fleet.members, balancer.as_ref());
            let (n, k) = (fleet.members.len() as u64, random.u64(1..5));
            let counted = counts(&next, ANYONE, k * n, threads);
            assert!(
                fleet
                    .members
                    .iter()
                    .all(|member| counted.get(&member.key) == Some(&k)),
                "{counted:?}"
            );
            // A part of a turn, so that the change comes in the middle of one.
            let part = counts(&next, ANYONE, random.u64(0..n), threads);
            for (key, sum) in (0..).zip(&mut history) {
                *sum += k + part.get(&key).copied().unwrap_or(0);
            }
            let most = history.iter().max().copied();
            let least = history.iter().min().copied();
            assert!(most <= least.map(|least| least + 1), "{history:?}");
            balancer = Some(next);
            fleet.change(random, 20);
        }
    });
}

#[test]
fn weighted_over_any_sum_of_weights_each_exactly_its_weight_and_within_2_of_its_ideal_share() {
    let gcd = |mut a: u64, mut b: u64| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    everywhere(|random, threads| {
        let (mut fleet, mut balancer) = (Fleet::new(random, 12, 1..=20), None);
        let mut history = vec![(0.0, 0.0); fleet.stay];
        for _ in 0..10 {
            let next = successor(&plain(Algorithm::Weighted), &fleet.members, balancer.as_ref());
            let all = fleet.weight();
            let divisor = fleet
                .members
                .iter()
                .fold(0, |divisor, member| gcd(divisor, u64::from(member.weight)));
            let part = random.u64(0..all);
            let before = counts(&next, ANYONE, part, threads);
            let period = counts(&next, ANYONE, all / divisor, threads);
            for member in &fleet.members {
                let exact = u64::from(member.weight) / divisor;
                assert_eq!(period.get(&member.key), Some(&exact), "{period:?}");
            }
            for (member, (sum, ideal)) in fleet.members.iter().zip(&mut history) {
                let count = before.get(&member.key).copied().unwrap_or(0) + period[&member.key];
                let picks = (part + all / divisor) as f64;
                *sum += count as f64;
                *ideal += picks * f64::from(member.weight) / all as f64;
                assert!((*sum - *ideal).abs() <= 2.0, "{sum} of {ideal}");
            }
            balancer = Some(next);
            fleet.change(random, 12);
        }
    });
}

/// Requests of the same length, so many under way on each thread: one begins, the oldest ends.
fn turnover(
    balancer: &Balancer<Arc<Server>>,
    queues: &mut [VecDeque<Arc<Server>>],
    under_way: usize,
    requests: u64,
    each: impl Fn() + Sync,
) {
    on_each(queues, |thread, queue| {
        let mut random = Random::with_seed(thread as u64 + requests);
        for _ in 0..requests {
            let claim = |server: &Arc<Server>| Claim::Granted(Arc::clone(server));
            let picked = balancer.pick(&ANYONE, NOW, random.u64(..), claim).unwrap();
            picked.begin();
            // Before the oldest ends: that is the next pick's to even out.
            each();
            queue.push_back(picked);
            if queue.len() > under_way {
                queue.pop_front().unwrap().end();
            }
        }
    });
}

/// The greatest difference in requests under way for each unit of weight.
fn spread(members: &[Arc<Server>]) -> f64 {
    let loads = members
        .iter()
        .map(|member| f64::from(member.load()) / f64::from(member.weight));
    let most = loads.clone().fold(0.0, f64::max);
    most - loads.fold(f64::MAX, f64::min)
}

#[test]
fn least_connections_with_equal_service_times_in_flight_per_weight_differs_by_at_most_1() {
    everywhere(|random, threads| {
        let (mut fleet, mut balancer) = (Fleet::new(random, SCAN_MAX, 1..=9), None);
        let mut queues = vec![VecDeque::new(); threads];
        let under_way = random.usize(5..60) / threads + 1;
        for _ in 0..6 {
            let next = successor(
                &plain(Algorithm::LeastConnections),
                &fleet.members,
                balancer.as_ref(),
            );
            // Until all that began before the change has ended.
            turnover(&next, &mut queues, under_way, 3 * under_way as u64, || {});
            let check = || {
                let found = spread(&fleet.members);
                assert!(threads > 1 || found <= 1.0, "{found}");
            };
            turnover(&next, &mut queues, under_way, 100, check);
            // On each thread one may have ended since its last pick, and on the others one begun or ended between
            // a look and a request.
            let unseen = (1 + 2 * (threads - 1)) as f64;
            let lightest = fleet.members.iter().map(|member| member.weight).min().unwrap();
            let (found, most) = (spread(&fleet.members), 1.0 + unseen / f64::from(lightest));
            assert!(found <= most, "{threads} threads: {found} of {most}");
            balancer = Some(next);
            fleet.change(random, SCAN_MAX);
        }
    });
}

#[test]
fn least_connections_of_many_the_less_loaded_of_two_keeps_close_to_the_mean() {
    everywhere(|random, threads| {
        let mut fleet = Fleet::new(random, 40, 4..=4);
        while fleet.members.len() <= SCAN_MAX {
            fleet.join(random);
        }
        fleet.stay = fleet.members.len();
        let mut queues = vec![VecDeque::new(); threads];
        let under_way = fleet.members.len() * 8 / threads;
        let mut balancer = None;
        for _ in 0..4 {
            let next = successor(
                &plain(Algorithm::LeastConnections),
                &fleet.members,
                balancer.as_ref(),
            );
            turnover(&next, &mut queues, under_way, 3 * under_way as u64, || {});
            let most = fleet.members.iter().map(|member| member.load()).max().unwrap();
            let mean = (under_way * threads) as f64 / fleet.members.len() as f64;
            assert!(f64::from(most) <= mean + 5.0, "{most} of {mean}");
            balancer = Some(next);
            fleet.change(random, 40);
        }
    });
}

#[test]
fn ewma_a_backend_ten_times_slower_gets_under_a_fifth_of_an_equal_share() {
    const TICK: Duration = Duration::from_millis(10);
    everywhere(|random, threads| {
        let stay = random.u64(2..8);
        let mut endpoints: Vec<_> = (0..stay).map(|number| sooner::endpoint(number, 2)).collect();
        let clients = random.usize(threads..=4 * usize::try_from(stay).unwrap().max(threads));
        // The requests of each thread, and when they end.
        let mut under_way: Vec<Vec<(InFlight, MonoTime)>> = (0..threads).map(|_| Vec::new()).collect();
        let (mut slow, mut equal) = (0.0, 0.0);
        let mut now = NOW;
        for change in 0..4 {
            let balancer = sooner::balancer(&endpoints);
            for _ in 0..50 {
                let seed = random.u64(..);
                let picked = on_each(&mut under_way, |thread, under_way| {
                    let mut random = Random::with_seed(seed ^ thread as u64);
                    under_way.retain(|(request, ends)| {
                        let ended = *ends <= now;
                        if ended {
                            let is_slow = request.endpoint().incarnation.get() == 1;
                            request.succeeded(if is_slow { 10 * TICK } else { TICK }, now);
                        }
                        !ended
                    });
                    let mut picked = (0_u32, 0_u32);
                    while under_way.len() < clients.div_ceil(threads) {
                        let request = sooner::pick(&balancer, now, random.u64(..));
                        let is_slow = request.endpoint().incarnation.get() == 1;
                        picked = (picked.0 + u32::from(is_slow), picked.1 + 1);
                        let ends = now + if is_slow { 10 * TICK } else { TICK };
                        under_way.push((request, ends));
                    }
                    picked
                });
                // The first tenth of a second knows nothing yet.
                if now.since(NOW) >= 10 * TICK {
                    for (to_slow, all) in picked {
                        slow += f64::from(to_slow);
                        equal += f64::from(all) / endpoints.len() as f64;
                    }
                }
                now = now + TICK;
            }
            if endpoints.len() > 2 && random.bool() {
                endpoints.remove(random.usize(1..endpoints.len()));
            } else {
                endpoints.push(sooner::endpoint(100 + change, 2));
            }
        }
        assert!(
            slow < equal / 5.0,
            "{threads} threads, {clients} clients: {slow} of {equal}"
        );
    });
}

fn by(key: u64) -> Client {
    Client {
        key: Some(Key::of(&key.to_le_bytes())),
        ..ANYONE
    }
}

#[test]
fn hash_removing_one_of_n_moves_at_most_its_keys_and_2_percent_and_none_is_above_5_quarters() {
    const KEYS: u64 = 1_000;
    everywhere(|random, threads| {
        let (mut fleet, mut balancer) = (Fleet::new(random, 12, 1..=5), None);
        let mut before: Option<(Vec<u64>, Members)> = None;
        // To prepare one costs milliseconds.
        for _ in 0..2 {
            let next = successor(&plain(Algorithm::Hash), &fleet.members, balancer.as_ref());
            fleet.members.iter().for_each(|member| member.set(0));
            let owners = on(threads, |_| -> Vec<u64> {
                (0..KEYS).map(|key| first(&next, by(key), 1).unwrap()).collect()
            });
            let owners = {
                assert!(
                    owners.windows(2).all(|pair| pair[0] == pair[1]),
                    "a key has one owner"
                );
                owners.into_iter().next().unwrap()
            };
            if let Some((owned, members)) = &before {
                let moved = owned.iter().zip(&owners).filter(|(old, new)| old != new).count();
                let changed = |one: &Members, other: &Members| -> u64 {
                    let gone = one
                        .iter()
                        .filter(|member| other.iter().all(|left| left.key != member.key));
                    gone.map(|member| u64::from(member.weight)).sum()
                };
                let weight = |members: &Members| -> u64 {
                    members.iter().map(|member| u64::from(member.weight)).sum()
                };
                let share = changed(members, &fleet.members) as f64 / weight(members) as f64
                    + changed(&fleet.members, members) as f64 / weight(&fleet.members) as f64;
                // What chance makes of a thousand keys: four standard deviations.
                let chance = 4.0 * (share * (1.0 - share) / KEYS as f64).sqrt();
                assert!(
                    moved as f64 / KEYS as f64 <= share + 0.02 + chance,
                    "{moved} of {KEYS}, {share}"
                );
            }
            on(threads, |thread| {
                let mut random = Random::with_seed(thread as u64);
                for _ in 0..200 / threads {
                    let claim = |server: &Arc<Server>| Claim::Granted(Arc::clone(server));
                    // Three clients make all of the traffic.
                    next.pick(&by(random.u64(0..3)), NOW, random.u64(..), claim)
                        .unwrap()
                        .begin();
                }
            });
            let total: u32 = fleet.members.iter().map(|member| member.load()).sum();
            let all = u32::try_from(fleet.weight()).unwrap();
            for member in &fleet.members {
                let most = (5 * total * u32::from(member.weight)).div_ceil(4 * all);
                let racing = u32::try_from(threads - 1).unwrap();
                assert!(member.load() <= most + racing, "{} of {most}", member.load());
            }
            before = Some((owners, fleet.members.clone()));
            balancer = Some(next);
            fleet.change(random, 12);
        }
    });
}

#[test]
fn region_affinity_the_nearest_tier_that_has_room_and_inside_it_the_inner_algorithm_exactly() {
    const PLACES: [(&str, &str); 6] = [
        ("eu", "DE"),
        ("eu", "FR"),
        ("us", "US"),
        ("sa", "BR"),
        ("sa", "AR"),
        ("ap", "JP"),
    ];
    // As the table of tiers has it; the proxy stands in eu, and knows that us is nearer than sa.
    let nearness = |member: &Server, client: Client| {
        let order = ["us", "sa"].iter().position(|name| member.region == region(name));
        match () {
            () if Some(member.country) == client.country => 0,
            () if Some(member.region) == client.region => 1,
            () if member.region == region("eu") => 2,
            () => 3 + order.unwrap_or(2),
        }
    };
    everywhere(|random, threads| {
        let policy: Policy = plain(Algorithm::RegionAffinity(Inner::RoundRobin));
        let mut next_key = 0;
        let mut members: Members = Vec::new();
        let join = |random: &mut Random, members: &mut Members, next_key: &mut u64| {
            let (region, country) = PLACES[random.usize(0..PLACES.len())];
            let server = Server::new(*next_key, random.u16(1..9))
                .at(region, country)
                .limits(2, 4);
            members.push(Arc::new(server));
            *next_key += 1;
        };
        for _ in 0..random.usize(2..12) {
            join(random, &mut members, &mut next_key);
        }
        let mut balancer = None;
        for _ in 0..6 {
            // Some countries are full.
            let full: Vec<_> = PLACES
                .iter()
                .filter(|_| random.u8(0..3) == 0)
                .map(|place| country(place.1))
                .collect();
            members
                .iter()
                .for_each(|member| member.set(if full.contains(&member.country) { 4 } else { 0 }));
            let next = successor(&policy, &members, balancer.as_ref());
            let (in_region, in_country) = PLACES[random.usize(0..PLACES.len())];
            let client = Client {
                country: Some(country(in_country)),
                region: Some(region(in_region)),
                ..ANYONE
            };
            let with_room = || members.iter().filter(|member| member.load() == 0);
            let nearest = with_room().map(|member| nearness(member, client)).min();
            let tier: Vec<_> = with_room()
                .filter(|member| Some(nearness(member, client)) == nearest)
                .collect();
            let k = random.u64(1..4);
            if tier.is_empty() {
                assert!(first(&next, client, 1).is_err());
            } else {
                let counted = counts(&next, client, k * tier.len() as u64, threads);
                assert!(
                    counted
                        .keys()
                        .all(|key| tier.iter().any(|member| member.key == *key)),
                    "{counted:?}"
                );
                // Full ones of the tier's region have turns too, which others take as they come.
                let alone = nearest == Some(0)
                    || members.iter().all(|member| {
                        member.load() == 0 || tier.iter().all(|near| near.region != member.region)
                    });
                if alone {
                    assert!(
                        tier.iter().all(|member| counted.get(&member.key) == Some(&k)),
                        "{counted:?}"
                    );
                }
            }
            balancer = Some(next);
            if members.len() > 2 && random.bool() {
                members.remove(random.usize(0..members.len()));
            } else {
                join(random, &mut members, &mut next_key);
            }
        }
    });
}
