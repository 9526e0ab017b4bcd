use std::collections::HashMap;
use std::thread;

use proptest::prelude::*;

use super::*;

const TTL: Duration = Duration::from_secs(600);
const START: MonoTime = MonoTime::from_secs(100);

fn key(number: u64) -> Key {
    Key::of(&number.to_le_bytes())
}

#[test]
fn a_client_stays_bound_until_600_s_after_its_last_use() {
    let bindings = Bindings::new(64, TTL);
    assert_eq!(bindings.find(key(1), START), None);
    bindings.bind(key(1), 77, START);
    let mut now = START;
    for _ in 0..10 {
        now = now + TTL * 9 / 10;
        assert_eq!(bindings.find(key(1), now), Some(77), "used again in time");
    }
    assert_eq!(bindings.find(key(2), now), None);
    assert_eq!(bindings.find(key(1), now + TTL), None);
}

#[test]
fn a_binding_is_replaced_and_forgotten() {
    let bindings = Bindings::new(64, TTL);
    bindings.bind(key(1), 77, START);
    bindings.bind(key(1), 78, START);
    assert_eq!(bindings.find(key(1), START), Some(78));
    bindings.unbind(key(1), START);
    bindings.unbind(key(1), START);
    assert_eq!(bindings.find(key(1), START), None);
}

#[test]
fn memory_is_bounded_and_the_one_not_used_for_the_longest_goes() {
    for (wanted, capacity) in [(0, 8), (8, 8), (9, 16), (1_000, 1_024)] {
        assert_eq!(Bindings::new(wanted, TTL).capacity(), capacity);
    }
    let bindings = Bindings::new(8, TTL);
    let minute = Duration::from_secs(60);
    for client in 0..8 {
        bindings.bind(key(client), client, START);
    }
    for client in (0..8).filter(|client| *client != 3) {
        assert_eq!(bindings.find(key(client), START + minute), Some(client));
    }
    bindings.bind(key(100), 100, START + minute);
    assert_eq!(bindings.find(key(3), START + minute), None);
    assert_eq!(bindings.find(key(100), START + minute), Some(100));
    assert_eq!(
        (0..8)
            .filter(|client| bindings.find(key(*client), START + minute).is_some())
            .count(),
        7
    );
}

#[test]
fn at_half_its_capacity_nearly_nobody_is_forgotten() {
    let bindings = Bindings::new(1 << 16, TTL);
    let clients = 1 << 15;
    (0..clients).for_each(|client| bindings.bind(key(client), client, START));
    let found = (0..clients)
        .filter(|client| bindings.find(key(*client), START) == Some(*client))
        .count();
    assert!(found as f64 > 0.97 * clients as f64, "{found}");
}

#[test]
fn whatever_threads_do_together_nobody_is_told_of_a_binding_never_made() {
    let bindings = Bindings::new(16, TTL);
    thread::scope(|scope| {
        for seed in 0..4 {
            let bindings = &bindings;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                for step in 0..50_000 {
                    let (client, now) = (random.u64(0..40), START + Duration::from_secs(step / 100));
                    // A client is only ever bound to a multiple of its own number.
                    if let Some(found) = bindings.find(key(client), now) {
                        assert_eq!(found % (client + 1), 0);
                    }
                    bindings.bind(key(client), (client + 1) * random.u64(1..100), now);
                }
            });
        }
    });
}

#[derive(Clone, Debug)]
enum Step {
    Find(u64),
    Bind(u64, u64),
    Unbind(u64),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..6_u64).prop_map(Step::Find),
        ((0..6_u64), (0..1_u64 << 40)).prop_map(|(client, member)| Step::Bind(client, member)),
        (0..6_u64).prop_map(Step::Unbind),
        (0..800_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Up to eight clients always have room, so a map says what is found, but for the tick before the end.
    #[test]
    fn it_finds_what_a_map_would(steps in prop::collection::vec(step(), 1..200)) {
        let bindings = Bindings::new(8, TTL);
        let mut map: HashMap<u64, (u64, MonoTime)> = HashMap::new();
        let mut now = START;
        for step in steps {
            match step {
                Step::Wait(secs) => now = now + Duration::from_secs(secs),
                Step::Bind(client, member) => {
                    bindings.bind(key(client), member, now);
                    map.insert(client, (member, now));
                }
                Step::Unbind(client) => {
                    bindings.unbind(key(client), now);
                    map.remove(&client);
                }
                Step::Find(client) => {
                    let found = bindings.find(key(client), now);
                    let idle = map.get(&client).map(|(_, used)| now.since(*used));
                    match (idle, found) {
                        (Some(idle), None) => prop_assert!(idle > TTL * 62 / 64, "{idle:?}"),
                        (idle, Some(found)) => {
                            prop_assert!(idle.is_some_and(|idle| idle < TTL), "{idle:?}");
                            prop_assert_eq!(Some(found), map.get(&client).map(|(member, _)| *member));
                        }
                        (None, None) => {}
                    }
                    match found {
                        Some(member) => map.insert(client, (member, now)),
                        None => map.remove(&client),
                    };
                }
            }
        }
    }
}
