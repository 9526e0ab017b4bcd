use super::*;

#[test]
fn the_registry_is_full_at_its_limits_and_a_takeover_still_works() {
    let mut world = World::with(Config {
        max_backends: 2,
        max_apps: 1,
        ..Config::default()
    });
    let a = world.add("a");
    let other = world.try_register(Backend {
        app: app("other"),
        ..backend("x")
    });
    assert_eq!(other.unwrap_err(), RegisterError::TooManyApps { max: 1 });
    world.add("b");
    assert_eq!(
        world.try_register(backend("c")).unwrap_err(),
        RegisterError::TooManyBackends { max: 2 }
    );
    let _request = begin(&a);
    let new = world.try_register(at(81, backend("a"))).unwrap();
    assert_eq!(new.kind, RegisteredKind::Superseded(a.incarnation));
    assert_eq!(a.meter.gate(), Gate::Closed, "not waited for, but not cut either");
    assert_eq!(world.registry.stats().backends, 2);
}

#[test]
fn an_app_goes_with_its_last_member_and_makes_room() {
    let mut world = World::with(Config {
        max_apps: 1,
        ..Config::default()
    });
    world.add("a");
    world.leave("a", None);
    assert!(world.registry.apps().is_empty());
    world.register(Backend {
        app: app("other"),
        ..backend("x")
    });
    assert_eq!(world.registry.apps(), [app("other")]);
}

#[test]
fn the_oldest_events_are_dropped_and_the_gap_shows() {
    let mut world = World::with(Config {
        max_events: 2,
        ..Config::default()
    });
    for name in ["a", "b", "c", "d", "e"] {
        world.add(name);
    }
    assert_eq!(world.registry.stats().events_dropped, 3);
    let sequences: Vec<u64> = std::iter::from_fn(|| world.registry.poll_event())
        .map(|e| e.sequence)
        .collect();
    assert_eq!(sequences, [4, 5]);
}

#[test]
fn remembered_changes_are_bounded_and_the_oldest_is_forgotten() {
    let mut world = World::with(Config {
        max_remembered: 1,
        ..Config::default()
    });
    for name in ["a", "b"] {
        world.add(name);
        world
            .patch(
                name,
                Patch {
                    enabled: Change::Set(false),
                    ..Patch::default()
                },
            )
            .unwrap();
        world.leave(name, None);
    }
    world.add("a");
    world.add("b");
    assert_eq!(
        (world.state("a"), world.state("b")),
        (Some(State::Routable), Some(State::Disabled))
    );
}

#[test]
fn one_call_does_bounded_work_and_asks_to_be_called_again() {
    let mut world = World::new();
    for n in 0..3_000 {
        world.add(&format!("b{n}"));
    }
    world.pass(TTL - SEC);
    world.now = world.now + SEC;
    let mut calls = 0;
    while world.registry.poll_timeout() == Some(world.now) {
        world.registry.handle_timeout(world.now);
        calls += 1;
    }
    assert_eq!((calls, world.registry.stats().expiries), (3, 3_000));
    assert_eq!(world.registry.poll_timeout(), None);
}

#[test]
fn timers_stay_one_for_each_backend_whatever_is_registered_and_removed() {
    let mut world = World::new();
    for n in 0..10_000_u64 {
        let ttl = Some(if n % 2 == 0 { 3_600 * SEC } else { 5 * SEC });
        let registration = Registration {
            backend: backend("a"),
            ttl,
        };
        world.registry.handle_register(registration, world.now).unwrap();
        if n % 3 == 0 {
            world.leave("a", None);
        }
        assert!(world.registry.timers.len() <= 1);
    }
}

#[test]
fn while_there_are_leases_the_driver_is_asked_to_call_every_tick() {
    let mut world = World::new();
    assert_eq!(world.registry.poll_timeout(), None);
    world.add("a");
    assert_eq!(world.registry.poll_timeout(), Some(world.now + SEC));
}
