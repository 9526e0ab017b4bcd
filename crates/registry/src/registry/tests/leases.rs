use super::*;

#[test]
fn a_lease_ends_at_its_deadline_and_not_before() {
    let mut world = World::new();
    let endpoint = world.add("a");
    world.pass(TTL - Duration::from_micros(1));
    assert_eq!(world.state("a"), Some(State::Routable));
    world.pass(Duration::from_micros(1));
    assert!(world.get("a").is_none());
    assert_eq!(
        endpoint.meter.gate(),
        Gate::Closed,
        "requests in flight are not cut"
    );
    assert_eq!(world.events(), [EventKind::Registered, EventKind::Expired]);
    let gone = world
        .registry
        .handle_heartbeat(&id("a"), None, &LoadReport::default(), world.now);
    assert_eq!(gone.unwrap_err(), FencedError::Unknown(id("a")));
}

#[test]
fn no_lease_loses_time_while_nobody_can_renew_it_and_each_does_afterwards() {
    let mut world = World::new();
    world.add("a");
    world.pass(20 * SEC);
    world.registry.stand_still(world.now);
    // More than the lease has left.
    for _ in 0..10 {
        world.pass(10 * SEC);
    }
    world.registry.go_on(world.now);
    assert_eq!(world.expires_in("a"), TTL - 20 * SEC);
    world.pass(TTL - 20 * SEC - Duration::from_micros(1));
    assert!(world.get("a").is_some());
    world.pass(Duration::from_micros(1));
    assert!(world.get("a").is_none());
}

#[test]
fn a_lease_for_ever_is_a_lease_all_the_same() {
    let mut world = World::with(Config {
        ttl_max: Duration::MAX,
        ..Config::default()
    });
    let registration = Registration {
        backend: backend("a"),
        ttl: Some(Duration::MAX),
    };
    world.registry.handle_register(registration, world.now).unwrap();
    world.beat("a");
    assert_eq!(world.get("a").unwrap().source, Source::Registered);
    world.leave("a", None);
    assert_eq!(world.state("a"), None);
}

#[test]
fn a_heartbeat_renews_for_a_whole_ttl_and_is_no_event() {
    let mut world = World::new();
    world.add("a");
    let _ = (world.events(), world.registry.poll_snapshot(world.now));
    world.pass(59 * SEC);
    world.beat("a");
    let status = world.get("a").unwrap();
    assert_eq!(
        (status.lease, status.registered),
        (
            Some(Lease {
                ttl: TTL,
                last_heartbeat: Duration::ZERO,
                expires_in: TTL
            }),
            59 * SEC
        )
    );
    world.pass(59 * SEC);
    assert_eq!(world.expires_in("a"), SEC);
    assert!(world.events().is_empty() && !world.registry.is_dirty());
    world.pass(SEC);
    assert!(world.get("a").is_none());
}

#[test]
fn a_lease_can_be_asked_for_within_bounds() {
    let mut world = World::new();
    let ask = |world: &mut World, ttl| {
        world.registry.handle_register(
            Registration {
                backend: backend("a"),
                ttl: Some(ttl),
            },
            world.now,
        )
    };
    for bad in [4 * SEC, 3_601 * SEC] {
        let error = ask(&mut world, bad).unwrap_err();
        assert_eq!(
            error,
            RegisterError::Ttl {
                found: bad,
                min: 5 * SEC,
                max: 3_600 * SEC
            }
        );
    }
    assert!(world.get("a").is_none(), "nothing has changed");
    assert_eq!(ask(&mut world, 3_600 * SEC).unwrap().ttl, 3_600 * SEC);
    assert_eq!(
        ask(&mut world, 5 * SEC).unwrap().ttl,
        5 * SEC,
        "a renewal may shorten it"
    );
    world.pass(5 * SEC);
    assert!(world.get("a").is_none());
}

#[test]
fn renewal_keeps_statistics() {
    let mut world = World::with_policy(AppPolicy {
        max_failures: 5,
        ..AppPolicy::default()
    });
    let endpoint = world.add("a");
    let _ = begin(&endpoint).failed(5, world.now);
    let heavier = Backend {
        weight: Weight::new(7).unwrap(),
        ..backend("a")
    };
    let renewed = world.try_register(heavier).unwrap();
    assert_eq!(renewed.kind, RegisteredKind::Renewed);
    assert_eq!(renewed.endpoint.weight.get(), 7);
    assert_eq!(renewed.endpoint.incarnation, endpoint.incarnation);
    assert_eq!(
        (renewed.endpoint.meter.streak(), renewed.endpoint.meter.totals()),
        (1, (1, 1))
    );
}

#[test]
fn another_address_is_a_new_incarnation_and_the_old_one_drains() {
    let mut world = World::new();
    let old = world.add("a");
    let request = begin(&old);
    let new = world.try_register(at(81, backend("a"))).unwrap();
    assert_eq!(new.kind, RegisteredKind::Superseded(old.incarnation));
    assert!(new.endpoint.incarnation > old.incarnation);
    assert_eq!(
        (old.meter.gate(), new.endpoint.meter.gate()),
        (Gate::Closed, Gate::Open)
    );
    assert_eq!(world.registry.list(0, 10, |_, _| true, world.now).total, 1);
    world.pass(29 * SEC);
    assert_eq!(old.meter.gate(), Gate::Closed);
    world.pass(SEC);
    assert_eq!(old.meter.gate(), Gate::Cut, "30 s is the drain timeout");
    drop(request);
    assert_eq!(new.endpoint.meter.gate(), Gate::Open);
}

#[test]
fn dead_incarnation_cannot_remove_its_successor() {
    let mut world = World::new();
    let old = world.add("a").incarnation;
    let live = world.register(at(81, backend("a"))).incarnation;
    let dead = FencedError::DeadIncarnation {
        id: id("a"),
        found: old,
        live,
    };
    let (report, now) = (LoadReport::default(), world.now);
    let registry = &mut world.registry;
    assert_eq!(
        registry
            .handle_deregister(&id("a"), Some(old), None, now)
            .unwrap_err(),
        DeregisterError::Fenced(dead.clone())
    );
    assert_eq!(
        registry
            .handle_heartbeat(&id("a"), Some(old), &report, now)
            .unwrap_err(),
        dead
    );
    let patched = registry.handle_patch(&id("a"), Some(old), &Patch::default(), now);
    assert_eq!(patched.unwrap_err(), PatchError::Fenced(dead));
    assert!(
        registry
            .handle_heartbeat(&id("a"), Some(live), &report, now)
            .is_ok()
    );
    assert!(
        registry
            .handle_deregister(&id("a"), Some(live), None, now)
            .is_ok()
    );
}

#[test]
fn an_id_belongs_to_one_app_while_it_lives() {
    let mut world = World::new();
    world.add("a");
    let elsewhere = Backend {
        app: app("other"),
        ..backend("a")
    };
    let error = world.try_register(elsewhere.clone()).unwrap_err();
    assert_eq!(
        error,
        RegisterError::AppTaken {
            id: id("a"),
            app: app("shop")
        }
    );
    world.leave("a", Some(30 * SEC));
    let error = world.try_register(elsewhere.clone()).unwrap_err();
    assert!(
        matches!(error, RegisterError::AppTaken { .. }),
        "it drains, and is still of that app: {error}"
    );
    world.leave("a", None);
    assert_eq!(world.register(elsewhere).app, app("other"));
}

#[test]
fn a_pause_extends_every_lease() {
    let mut world = World::new();
    world.add("a");
    world.pass(50 * SEC);
    world.now = world.now + 3_600 * SEC; // suspended
    world.registry.handle_timeout(world.now);
    assert_eq!(world.expires_in("a"), 10 * SEC);
    assert_eq!(world.registry.stats().pauses, 1);
    world.pass(10 * SEC);
    assert!(world.get("a").is_none());
}

#[test]
fn whatever_call_comes_first_notices_a_pause() {
    let mut world = World::new();
    world.add("a");
    world.add("b");
    world.pass(59 * SEC);
    world.now = world.now + 3_600 * SEC;
    world.beat("b");
    world.registry.handle_timeout(world.now);
    assert_eq!(world.expires_in("a"), SEC);
}

#[test]
fn a_wall_clock_or_a_call_that_goes_backwards_changes_nothing() {
    let mut world = World::new();
    world.add("a");
    world.pass(50 * SEC);
    world.registry.handle_timeout(MonoTime::ZERO);
    assert_eq!(world.expires_in("a"), 10 * SEC);
}

/// `names` register and renew three times, 20 s apart; then `silent` seconds pass.
fn seasoned(world: &mut World, names: &[&str]) {
    for name in names {
        world.add(name);
        world.pass(MS);
    }
    for _ in 0..3 {
        world.pass(20 * SEC);
        for name in names {
            world.beat(name);
        }
    }
}

#[test]
fn a_mass_expiry_makes_suspects_that_stay_routable() {
    let mut world = World::new();
    seasoned(&mut world, &["a", "b", "c"]);
    world.pass(60 * SEC);
    let _ = world.events();
    for name in ["a", "b", "c"] {
        let status = world.get(name).unwrap();
        assert_eq!(
            (status.state, status.endpoint.meter.gate()),
            (State::Suspect, Gate::Open)
        );
    }
    assert_eq!(world.registry.stats().suspected, 3);
    world.beat("a");
    assert_eq!(
        (world.state("a"), world.events()),
        (Some(State::Routable), vec![EventKind::Readmitted])
    );

    let b = world.get("b").unwrap().endpoint;
    let suspect = |world: &mut World, passed| {
        world
            .registry
            .handle_probe(&b.id, b.incarnation, Probe::Suspect, passed, world.now)
    };
    suspect(&mut world, true);
    assert_eq!(world.state("b"), Some(State::Suspect));
    suspect(&mut world, false);
    assert!(
        world.get("b").is_none(),
        "removed as soon as the probe doesn't reach it"
    );

    world.pass(180 * SEC - MS);
    assert_eq!(world.state("c"), Some(State::Suspect));
    world.pass(MS);
    assert!(world.get("c").is_none(), "3 TTLs at the most");
}

#[test]
fn a_mass_expiry_is_published_of_one_that_an_operator_has_disabled_too() {
    let mut world = World::new();
    seasoned(&mut world, &["a", "b", "c"]);
    world.pass(SEC);
    for name in ["b", "c"] {
        world.beat(name);
    }
    let off = Patch {
        enabled: Change::Set(false),
        ..Patch::default()
    };
    world.patch("a", off).unwrap();
    let _ = world.registry.poll_snapshot(world.now);
    world.pass(59 * SEC);
    assert_eq!(
        (world.state("a"), world.registry.stats().suspected),
        (Some(State::Disabled), 1)
    );
    let snapshot = world
        .registry
        .poll_snapshot(world.now)
        .expect("it is to be probed");
    let doubted: Vec<&str> = snapshot.apps[&app("shop")]
        .members
        .iter()
        .filter(|member| member.in_doubt)
        .map(|member| member.endpoint.id.as_str())
        .collect();
    assert_eq!(doubted, ["a"]);
}

#[test]
fn two_or_half_of_an_app_are_no_mass() {
    let mut world = World::new();
    seasoned(&mut world, &["a", "b"]);
    world.pass(60 * SEC);
    assert_eq!(world.registry.stats().backends, 0);

    let mut world = World::new();
    seasoned(&mut world, &["a", "b", "c", "d", "e", "f"]);
    for _ in 0..3 {
        world.pass(20 * SEC);
        for name in ["d", "e", "f"] {
            world.beat(name);
        }
    }
    assert_eq!(world.registry.stats().backends, 3);
}

#[test]
fn a_registration_by_hand_expires_on_time_in_the_midst_of_a_mass_expiry() {
    let mut world = World::new();
    seasoned(&mut world, &["a", "b", "c"]);
    world.add("once");
    world.pass(60 * SEC);
    assert!(world.get("once").is_none());
    assert_eq!(world.state("a"), Some(State::Suspect));
}

#[test]
fn nobody_is_suspected_before_the_own_deadline() {
    let mut world = World::new();
    seasoned(&mut world, &["a", "b", "c"]);
    world.pass(10 * SEC);
    world.beat("c");
    world.pass(50 * SEC);
    assert_eq!(
        (world.state("a"), world.state("c")),
        (Some(State::Suspect), Some(State::Routable))
    );
    world.pass(10 * SEC);
    assert_eq!(world.state("c"), Some(State::Suspect));
}

#[test]
fn the_guard_can_be_switched_off() {
    let mut world = World::with(Config {
        mass_expiry_guard: false,
        ..Config::default()
    });
    seasoned(&mut world, &["a", "b", "c"]);
    world.pass(60 * SEC);
    assert_eq!(world.registry.stats().backends, 0);
}

#[test]
fn a_large_app_is_counted_rarely_and_still_guarded() {
    let mut world = World::new();
    let names: Vec<String> = (0..3_000).map(|n| format!("b{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for name in &names {
        world.add(name);
    }
    for _ in 0..3 {
        world.pass(20 * SEC);
        names.iter().for_each(|name| world.beat(name));
    }
    // Ten stop: no mass.
    for _ in 0..4 {
        world.pass(20 * SEC);
        names[10..].iter().for_each(|name| world.beat(name));
    }
    assert_eq!(world.registry.stats().backends, 2_990);
    // All stop: two may be believed on the strength of the count before.
    world.pass(60 * SEC);
    assert!(
        world.registry.stats().suspected >= 2_988,
        "{:?}",
        world.registry.stats()
    );
}
