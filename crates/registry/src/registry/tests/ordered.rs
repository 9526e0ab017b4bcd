//! The order of members where others register as well, with numbers of theirs that come late.

use super::*;

fn shared_world() -> World {
    World::with(Config {
        leases: Leases::Elsewhere,
        first_incarnation: Incarnation::new(1_000).unwrap(),
        stride: std::num::NonZeroU64::new(10).unwrap(),
        ..Config::default()
    })
}

fn elsewhere(world: &mut World, name: &str, incarnation: u64) {
    let record = Record {
        backend: backend(name),
        incarnation: Incarnation::new(incarnation).unwrap(),
        ttl: TTL,
    };
    world
        .registry
        .handle_foreign(Write::Registered(record), world.now);
    world.registry.audit().unwrap();
}

fn order(world: &World) -> Vec<String> {
    let members = world.registry.app(&app("shop"), world.now).unwrap();
    let ids = members.iter().map(|member| member.endpoint.id.to_string());
    ids.collect()
}

#[test]
fn one_that_is_heard_of_late_comes_before_those_that_registered_after_it() {
    let mut world = shared_world();
    for name in ["a", "b", "c", "d"] {
        world.add(name); // 1000, 1010, 1020, 1030
    }
    elsewhere(&mut world, "between", 1_015);
    assert_eq!(order(&world), ["a", "b", "between", "c", "d"]);
    elsewhere(&mut world, "first", 7);
    elsewhere(&mut world, "last", 1_037);
    assert_eq!(order(&world), ["first", "a", "b", "between", "c", "d", "last"]);
}

#[test]
fn those_that_have_left_are_in_nobodys_way() {
    let mut world = shared_world();
    for name in ["a", "b", "c", "d", "e"] {
        world.add(name); // 1000 to 1040
    }
    for name in ["b", "d", "e"] {
        world.leave(name, None);
    }
    elsewhere(&mut world, "after-a", 1_005);
    elsewhere(&mut world, "after-c", 1_025);
    world.leave("after-a", None);
    elsewhere(&mut world, "before-all", 3);
    assert_eq!(order(&world), ["before-all", "a", "c", "after-c"]);
    for name in ["a", "c"] {
        world.leave(name, None);
        world.registry.audit().unwrap();
    }
    assert_eq!(order(&world), ["before-all", "after-c"]);
}
