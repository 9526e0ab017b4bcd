use super::*;

/// Where others hold leases as well.
fn shared_world() -> World {
    World::with(Config {
        keep: Keep::Registrations,
        leases: Leases::Elsewhere,
        ..Config::default()
    })
}

/// All that was changed here is in the store.
fn write_all(world: &mut World) {
    loop {
        let writes = world.registry.take_writes(100);
        if writes.is_empty() {
            return;
        }
        world.registry.handle_kept(&writes);
    }
}

fn overdue(world: &mut World, name: &str) {
    let incarnation = world.get(name).unwrap().endpoint.incarnation;
    world.registry.handle_overdue(&id(name), incarnation, world.now);
}

fn reached(world: &mut World, name: &str, passed: bool) -> Pace {
    let incarnation = world.get(name).unwrap().endpoint.incarnation;
    world
        .registry
        .handle_probe(&id(name), incarnation, Probe::Suspect, passed, world.now)
}

fn is_in_doubt(world: &mut World, name: &str) -> bool {
    let snapshot = world.registry.poll_snapshot(world.now).unwrap();
    let members = &snapshot.apps[&app("shop")].members;
    let member = members.iter().find(|member| member.endpoint.id == id(name));
    member.unwrap().in_doubt
}

#[test]
fn a_lease_that_is_held_elsewhere_ends_for_nobody_here() {
    let mut world = shared_world();
    for name in ["a", "b", "c", "d"] {
        world.add(name);
        for _ in 0..3 {
            world.beat(name);
        }
    }
    world.pass(TTL * 20);
    let stats = world.registry.stats();
    assert_eq!((stats.backends, stats.suspected, stats.expiries), (4, 0, 0));
    let lease = world.get("a").unwrap().lease.unwrap();
    assert_eq!(
        (lease.expires_in, lease.last_heartbeat),
        (Duration::ZERO, TTL * 20)
    );
}

#[test]
fn one_that_is_overdue_is_probed_and_is_out_of_rotation_while_it_refuses() {
    let mut world = shared_world();
    world.add("a");
    world.pass(TTL + SEC);
    overdue(&mut world, "a");
    assert!(is_in_doubt(&mut world, "a"));
    let found = world.get("a").unwrap();
    assert_eq!(found.state, State::Suspect);
    assert_eq!(found.reason, Reason::Overdue { since: SEC });
    assert_eq!(reached(&mut world, "a", true), Pace::Changing);
    assert_eq!(world.state("a"), Some(State::Suspect), "who answers stays");
    assert_eq!(reached(&mut world, "a", false), Pace::Changing);
    let found = world.get("a").unwrap();
    assert_eq!((found.state, found.reason), (State::Unhealthy, Reason::Unreached));
    assert_eq!(found.endpoint.meter.gate(), Gate::Unhealthy);
    assert!(is_in_doubt(&mut world, "a"), "it is probed on");
    reached(&mut world, "a", true);
    assert_eq!(world.state("a"), Some(State::Suspect));
    world.beat("a");
    assert_eq!(world.state("a"), Some(State::Routable));
    assert!(!is_in_doubt(&mut world, "a"));
    assert_eq!(
        reached(&mut world, "a", false),
        Pace::Settled,
        "a late result is void"
    );
    assert_eq!(world.state("a"), Some(State::Routable));
    assert_eq!(
        world.events(),
        [
            EventKind::Registered,
            EventKind::Suspected,
            EventKind::Unhealthy,
            EventKind::Readmitted,
            EventKind::Readmitted
        ]
    );
}

#[test]
fn who_is_disabled_or_ejected_is_probed_as_well() {
    let mut world = shared_world();
    world.add("a");
    let off = Patch {
        enabled: Change::Set(false),
        ..Patch::default()
    };
    world.patch("a", off).unwrap();
    world.pass(TTL + SEC);
    overdue(&mut world, "a");
    assert_eq!(world.state("a"), Some(State::Disabled));
    assert!(is_in_doubt(&mut world, "a"));
    reached(&mut world, "a", false);
    assert_eq!(world.state("a"), Some(State::Disabled));
}

#[test]
fn one_that_was_heard_elsewhere_is_in_no_doubt_and_its_lease_begins_anew() {
    let mut world = shared_world();
    world.add("a");
    world.pass(TTL + SEC);
    overdue(&mut world, "a");
    reached(&mut world, "a", false);
    world.registry.handle_heard(&id("a"), world.now);
    assert_eq!(world.state("a"), Some(State::Routable));
    assert_eq!(world.expires_in("a"), TTL);
    world.registry.handle_heard(&id("nobody"), world.now);
}

#[test]
fn what_is_told_of_another_life_is_void() {
    let mut world = shared_world();
    let old = world.add("a").incarnation;
    world.register(at(81, backend("a")));
    write_all(&mut world);
    world.registry.handle_overdue(&id("a"), old, world.now);
    world.registry.handle_ended(&id("a"), old, world.now);
    assert_eq!(world.state("a"), Some(State::Routable));
}

#[test]
fn one_whose_lease_has_ended_is_gone_unless_it_has_changed_here_since() {
    let mut world = shared_world();
    for name in ["a", "b"] {
        world.add(name);
    }
    write_all(&mut world);
    world.pass(TTL);
    let weight = LoadReport {
        weight: Some(Weight::MAX),
        ..LoadReport::default()
    };
    world.report("b", weight);
    for name in ["a", "b"] {
        let incarnation = world.get(name).unwrap().endpoint.incarnation;
        world.registry.handle_ended(&id(name), incarnation, world.now);
    }
    assert_eq!(
        (world.state("a"), world.state("b")),
        (None, Some(State::Routable))
    );
    assert_eq!(world.registry.stats().expiries, 1);
    assert_eq!(world.registry.unwritten(), 1, "the store knows of a");
}

#[test]
fn a_takeover_elsewhere_drains_the_old_life_whose_gate_stays_open_until_that_is_published() {
    let mut world = shared_world();
    let old = world.add("a");
    write_all(&mut world);
    let request = begin(&old);
    let record = Record {
        backend: at(81, backend("a")),
        incarnation: Incarnation::new(old.incarnation.get() + 7).unwrap(),
        ttl: TTL,
    };
    let hold = world
        .registry
        .handle_foreign_ahead(Write::Registered(record.clone()), world.now);
    assert!(old.admit(Admission::Regular).is_ok(), "until it is released");
    world.registry.release(hold.expect("a gate is held"));
    assert!(old.admit(Admission::Regular).is_err());
    let found = world.get("a").unwrap().endpoint;
    assert_eq!(
        (found.addr, found.incarnation),
        (record.backend.addr, record.incarnation)
    );
    world.pass(SEC);
    assert_eq!(world.registry.stats().backends, 1, "the old one is not listed");
    drop(request);
    world.pass(SEC);
    assert!(world.events().contains(&EventKind::Draining));
    assert!(
        world
            .registry
            .handle_foreign_ahead(Write::Registered(record), world.now)
            .is_none(),
        "nothing is held for what is known"
    );
}

#[test]
fn what_others_have_there_is_not_forgotten_for_what_may_not_be_here() {
    let mut world = shared_world();
    let configuration = Configuration {
        backends: vec![backend("file")],
        ..Configuration::default()
    };
    let record = |name: &str, number: u64| Record {
        backend: backend(name),
        incarnation: Incarnation::new(number).unwrap(),
        ttl: TTL,
    };
    world
        .registry
        .handle_foreign(Write::Registered(record("file", 50)), world.now);
    world.registry.configure(configuration, world.now).unwrap();
    let kept = Kept {
        records: vec![record("refused", 51)],
        overrides: Vec::new(),
        leaving: Vec::new(),
    };
    let refused = world.registry.restore(kept, |_| Err("no".to_owned()), world.now);
    assert_eq!((refused.len(), world.registry.unwritten()), (1, 0));
    assert_eq!(world.get("file").unwrap().source, Source::File);
}

#[test]
fn numbers_go_on_as_others_than_before_and_never_back() {
    let mut world = World::with(Config {
        keep: Keep::Registrations,
        leases: Leases::Elsewhere,
        stride: std::num::NonZeroU64::new(16).unwrap(),
        first_incarnation: Incarnation::new(161).unwrap(),
        ..Config::default()
    });
    let number = |world: &World| world.registry.following_incarnation().get();
    assert_eq!(world.add("a").incarnation.get(), 161);
    for (first, next) in [
        (18, 178),
        (178, 178),
        (179, 179),
        (3, 179),
        (500, 500),
        (500, 500),
        (5, 501),
    ] {
        world.registry.number_from(Incarnation::new(first).unwrap());
        assert_eq!(number(&world), next, "{first}");
    }
    assert_eq!(world.add("b").incarnation.get(), 501);
}

#[test]
fn limits_are_divided_and_kept_whole() {
    let mut world = shared_world();
    let asked = Backend {
        limits: Limits::new(5, 10).unwrap(),
        ..backend("a")
    };
    world.register(asked.clone());
    world.add("b");
    let limits = |world: &World, name: &str| {
        let limits = world.get(name).unwrap().endpoint.limits;
        (limits.soft(), limits.hard())
    };
    world.registry.share_limits(Share::new(2, 3), world.now);
    assert_eq!(
        (limits(&world, "a"), limits(&world, "b")),
        ((1, 3), (33, 50)),
        "who asks for none has the usual ones"
    );
    let kept = |world: &World| world.registry.kept().records[0].backend.limits;
    assert_eq!(kept(&world), asked.limits);
    let patch = Patch {
        hard_limit: Change::Set(30),
        ..Patch::default()
    };
    world.patch("a", patch).unwrap();
    assert_eq!(limits(&world, "a"), (1, 10));
    world.register(Backend {
        id: id("c"),
        ..asked.clone()
    });
    assert_eq!(limits(&world, "c"), (1, 3));
    world.registry.share_limits(Share::WHOLE, world.now);
    assert_eq!((limits(&world, "a"), limits(&world, "c")), ((5, 30), (5, 10)));
    assert_eq!(kept(&world), asked.limits);
    world.registry.audit().unwrap();
}

fn expiring(world: &mut World, name: &str, counts: impl Fn(&BackendId) -> bool) -> Option<Duration> {
    let incarnation = world.get(name).unwrap().endpoint.incarnation;
    world
        .registry
        .handle_expiring(&id(name), incarnation, counts, world.now)
}

/// Four that have renewed often enough to be counted, and one by hand.
fn seasoned(world: &mut World) {
    for name in ["a", "b", "c", "d", "by-hand"] {
        world.add(name);
    }
    for name in ["a", "b", "c", "d"].repeat(3) {
        world.beat(name);
    }
}

#[test]
fn an_end_elsewhere_is_distrusted_where_most_of_an_app_is_silent_and_for_three_ttls_at_the_most() {
    let mut world = shared_world();
    seasoned(&mut world);
    world.pass(TTL);
    world.beat("d");
    assert_eq!(expiring(&mut world, "a", |_| true), Some(TTL * 3));
    assert_eq!(expiring(&mut world, "b", |_| true), Some(TTL * 3));
    assert_eq!(world.registry.stats().suspected, 2);
    assert_eq!(
        expiring(&mut world, "by-hand", |_| true),
        None,
        "it has never renewed"
    );
    world.pass(TTL * 2);
    assert_eq!(expiring(&mut world, "a", |_| true), Some(TTL));
    world.pass(TTL);
    assert_eq!(expiring(&mut world, "a", |_| true), None, "that was long enough");
}

#[test]
fn an_end_elsewhere_is_believed_where_few_are_silent_of_those_that_would_be_heard() {
    let mut world = shared_world();
    seasoned(&mut world);
    world.pass(TTL);
    for name in ["c", "d"] {
        world.beat(name);
    }
    assert_eq!(expiring(&mut world, "a", |_| true), None, "two of four");
    let mut world = shared_world();
    seasoned(&mut world);
    world.pass(TTL);
    let ours = |id: &BackendId| ["a", "b"].contains(&id.as_str());
    assert_eq!(
        expiring(&mut world, "a", ours),
        None,
        "nothing is known of the others"
    );
    assert_eq!(expiring(&mut world, "a", |_| true), Some(TTL * 3));
}

#[test]
fn no_end_is_distrusted_with_the_guard_switched_off_or_of_another_life() {
    let mut world = World::with(Config {
        keep: Keep::Registrations,
        leases: Leases::Elsewhere,
        mass_expiry_guard: false,
        ..Config::default()
    });
    seasoned(&mut world);
    world.pass(TTL);
    assert_eq!(expiring(&mut world, "a", |_| true), None);
    let mut world = shared_world();
    seasoned(&mut world);
    world.pass(TTL);
    let other = Incarnation::new(999).unwrap();
    let kept = world
        .registry
        .handle_expiring(&id("a"), other, |_| true, world.now);
    assert_eq!(kept, None);
}

#[test]
fn a_later_life_elsewhere_that_there_is_no_room_for_ends_the_earlier_one_here() {
    let mut world = World::with(Config {
        keep: Keep::Registrations,
        leases: Leases::Elsewhere,
        max_apps: 1,
        ..Config::default()
    });
    let old = world.add("a");
    world.add("b");
    write_all(&mut world);
    let number = old.incarnation.get() + 7;
    let record = Record {
        backend: Backend {
            app: app("other"),
            ..at(81, backend("a"))
        },
        incarnation: Incarnation::new(number).unwrap(),
        ttl: TTL,
    };
    world
        .registry
        .handle_foreign(Write::Registered(record), world.now);
    assert_eq!(world.state("a"), None);
    assert_eq!(world.registry.stats().left_out, 1);
    let later = Incarnation::new(number + 7).unwrap();
    world.registry.handle_ended(&id("b"), later, world.now);
    assert_eq!(
        world.state("b"),
        None,
        "of a life that is later than the one that is known"
    );
}
