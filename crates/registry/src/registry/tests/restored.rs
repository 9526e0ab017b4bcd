use super::*;

fn kept_world() -> World {
    World::with(Config {
        keep: Keep::Registrations,
        ..Config::default()
    })
}

fn record(name: &str, incarnation: u64) -> Record {
    Record {
        backend: backend(name),
        incarnation: Incarnation::new(incarnation).unwrap(),
        ttl: TTL,
    }
}

fn restore(world: &mut World, records: Vec<Record>) -> Vec<Unrestored> {
    let kept = Kept {
        records,
        overrides: Vec::new(),
        leaving: Vec::new(),
    };
    world.registry.restore(kept, |_| Ok(()), world.now)
}

fn status(world: &World, name: &str) -> Status {
    world.registry.get(&id(name), world.now).unwrap()
}

fn presence(world: &mut World, name: &str, passed: bool) -> Pace {
    let incarnation = status(world, name).endpoint.incarnation;
    world
        .registry
        .handle_probe(&id(name), incarnation, Probe::Suspect, passed, world.now)
}

fn off() -> Overrides {
    Overrides {
        enabled: Some(false),
        ..Overrides::default()
    }
}

/// What an operator has set on that app's backend.
fn set(name: &str, of: &str, overrides: Overrides) -> Overridden {
    Overridden {
        id: id(name),
        app: Some(app(of)),
        overrides,
    }
}

fn of_app(name: &str, backend: Backend) -> Backend {
    Backend {
        app: app(name),
        ..backend
    }
}

#[test]
fn a_restored_one_is_routable_at_once_with_a_fresh_lease_and_its_incarnation() {
    let mut world = World::with_policy(AppPolicy {
        initial: Initial::ProbeFirst,
        ..AppPolicy::default()
    });
    assert!(restore(&mut world, vec![record("b", 9), record("a", 7)]).is_empty());
    let found = status(&world, "a");
    assert_eq!((found.state, found.reason), (State::Routable, Reason::Restored));
    assert_eq!(found.endpoint.incarnation.get(), 7);
    assert_eq!(found.lease.unwrap().expires_in, TTL);
    let members = world.registry.app(&app("shop"), world.now).unwrap();
    let order: Vec<&str> = members.iter().map(|member| member.endpoint.id.as_str()).collect();
    assert_eq!(order, ["a", "b"], "in the order of registration");
    assert!(world.add("c").incarnation.get() > 9);
}

#[test]
fn a_failed_probe_takes_it_out_and_a_heartbeat_or_a_passed_one_brings_it_back() {
    let mut world = kept_world();
    restore(&mut world, vec![record("a", 1), record("b", 2), record("c", 3)]);
    for name in ["a", "b"] {
        assert_eq!(presence(&mut world, name, false), Pace::Changing);
        let found = status(&world, name);
        assert_eq!((found.state, found.reason), (State::Unhealthy, Reason::Absent));
        assert_eq!(found.endpoint.meter.gate(), Gate::Unhealthy);
    }
    world.beat("a");
    assert_eq!(presence(&mut world, "b", true), Pace::Settled);
    world.beat("c");
    for name in ["a", "b", "c"] {
        let found = status(&world, name);
        assert_eq!((found.state, found.reason), (State::Routable, Reason::Well));
        assert_eq!(
            presence(&mut world, name, false),
            Pace::Settled,
            "a late result is void"
        );
    }
    assert_eq!(world.registry.unwritten(), 0, "the store knows all of it");
}

#[test]
fn unheard_of_they_expire_together_on_time() {
    let mut world = kept_world();
    let names: Vec<String> = (1..6).map(|n| format!("b{n}")).collect();
    let records = names.iter().zip(1..).map(|(name, n)| record(name, n));
    restore(&mut world, records.collect());
    presence(&mut world, "b1", false);
    presence(&mut world, "b2", true);
    let end = world.now + TTL;
    while world.now < end {
        world.now = (world.now + SEC).min(end);
        world.registry.handle_timeout(world.now);
    }
    assert_eq!(world.registry.stats().backends, 0);
    let writes = world.registry.take_writes(10);
    assert!(writes.len() == 5 && writes.iter().all(|write| matches!(write, Write::Gone { .. })));
}

#[test]
fn what_an_operator_has_set_is_laid_over_and_kept_for_those_that_are_gone() {
    let mut world = kept_world();
    let kept = Kept {
        records: vec![record("a", 1)],
        overrides: vec![set("a", "shop", off()), set("gone", "shop", off())],
        leaving: Vec::new(),
    };
    assert!(
        world
            .registry
            .restore(kept.clone(), |_| Ok(()), world.now)
            .is_empty()
    );
    assert_eq!(status(&world, "a").state, State::Disabled);
    world.add("gone");
    assert_eq!(status(&world, "gone").state, State::Disabled);
    let patch = Patch {
        enabled: Change::Clear,
        ..Patch::default()
    };
    world.patch("a", patch).unwrap();
    let writes = world.registry.take_writes(10);
    assert!(writes.contains(&Write::Overridden(Overridden::nothing(id("a")))));
    assert_eq!(world.registry.kept().overrides, [set("gone", "shop", off())]);
}

#[test]
fn what_an_operator_has_set_on_another_apps_backend_of_that_id_is_forgotten() {
    let mut world = kept_world();
    world.add("a");
    let patch = Patch {
        enabled: Change::Set(false),
        ..Patch::default()
    };
    world.patch("a", patch).unwrap();
    world.leave("a", None);
    let writes = world.registry.take_writes(10);
    assert_eq!(writes, [Write::Overridden(set("a", "shop", off()))]);
    world.registry.handle_kept(&writes);

    world.register(of_app("cart", backend("a")));
    assert_eq!(status(&world, "a").state, State::Routable);
    let writes = world.registry.take_writes(10);
    assert!(
        writes.contains(&Write::Overridden(Overridden::nothing(id("a")))),
        "{writes:?}"
    );
    assert_eq!(world.registry.kept().overrides, []);

    world.leave("a", None);
    world.add("a");
    assert_eq!(
        status(&world, "a").state,
        State::Routable,
        "nor has the first app it back"
    );
    world.registry.audit().unwrap();
}

#[test]
fn what_was_kept_without_an_app_holds_for_the_one_that_has_the_id_first_and_is_written_anew() {
    let mut world = kept_world();
    let of_nobody = |name| Overridden {
        app: None,
        ..set(name, "shop", off())
    };
    let kept = Kept {
        records: vec![record("there", 1)],
        overrides: vec![of_nobody("there"), of_nobody("gone")],
        leaving: Vec::new(),
    };
    world.registry.restore(kept, |_| Ok(()), world.now);
    assert_eq!(status(&world, "there").state, State::Disabled);
    let writes = world.registry.take_writes(10);
    assert_eq!(writes, [Write::Overridden(set("there", "shop", off()))]);
    world.registry.handle_kept(&writes);
    assert!(world.registry.kept().overrides.contains(&of_nobody("gone")));

    world.register(of_app("cart", backend("gone")));
    assert_eq!(status(&world, "gone").state, State::Disabled);
    let writes = world.registry.take_writes(10);
    assert!(
        writes.contains(&Write::Overridden(set("gone", "cart", off()))),
        "{writes:?}"
    );
}

#[test]
fn what_was_kept_of_another_app_is_cleared_and_holds_for_nobody() {
    let mut world = kept_world();
    let kept = Kept {
        records: vec![record("a", 1)],
        overrides: vec![set("a", "cart", off())],
        leaving: Vec::new(),
    };
    world.registry.restore(kept, |_| Ok(()), world.now);
    assert_eq!(status(&world, "a").state, State::Routable);
    assert_eq!(
        world.registry.take_writes(10),
        [Write::Overridden(Overridden::nothing(id("a")))]
    );
}

#[test]
fn what_somebody_else_set_on_another_apps_backend_of_that_id_changes_nothing_here() {
    let mut world = kept_world();
    world.add("a");
    let change = |world: &mut World, set| world.registry.handle_foreign(Write::Overridden(set), world.now);
    change(&mut world, set("a", "cart", off()));
    assert_eq!(status(&world, "a").state, State::Routable);
    change(&mut world, set("a", "shop", off()));
    assert_eq!(status(&world, "a").state, State::Disabled);
    world.registry.audit().unwrap();
}

#[test]
fn a_backend_of_the_file_that_takes_the_id_for_another_app_gets_nothing_of_what_was_set() {
    let mut world = kept_world();
    world.add("a");
    let patch = Patch {
        enabled: Change::Set(false),
        ..Patch::default()
    };
    world.patch("a", patch).unwrap();
    let writes = world.registry.take_writes(10);
    world.registry.handle_kept(&writes);
    let configuration = Configuration {
        backends: vec![of_app("cart", backend("a"))],
        ..Configuration::default()
    };
    world.registry.configure(configuration, world.now).unwrap();
    assert_eq!(status(&world, "a").state, State::Routable);
    let writes = world.registry.take_writes(10);
    assert!(
        writes.contains(&Write::Overridden(Overridden::nothing(id("a")))),
        "{writes:?}"
    );
    world.registry.audit().unwrap();
}

#[test]
fn the_file_wins_and_what_has_no_room_or_may_not_be_there_is_named_and_forgotten() {
    let first = Incarnation::new(100).unwrap();
    let mut world = World::with(Config {
        keep: Keep::Registrations,
        first_incarnation: first,
        max_backends: 2,
        ..Config::default()
    });
    let configuration = Configuration {
        backends: vec![backend("file")],
        ..Configuration::default()
    };
    world.registry.configure(configuration, world.now).unwrap();
    let kept = Kept {
        records: vec![
            record("file", 1),
            record("far", 2),
            record("a", 3),
            record("late", 4),
        ],
        overrides: Vec::new(),
        leaving: Vec::new(),
    };
    let admit = |backend: &Backend| {
        let is_far = backend.id == id("far");
        if is_far { Err("too far".to_owned()) } else { Ok(()) }
    };
    let unrestored = world.registry.restore(kept, admit, world.now);
    assert_eq!(unrestored[0], Unrestored::Static(id("file")));
    assert!(matches!(&unrestored[1], Unrestored::Refused { .. }));
    assert!(matches!(
        &unrestored[2],
        Unrestored::TooManyBackends { max: 2, .. }
    ));
    assert_eq!(status(&world, "file").endpoint.incarnation, first);
    assert_eq!(status(&world, "file").source, Source::File);
    let writes = world.registry.take_writes(10);
    let gone: Vec<&str> = writes.iter().map(|write| write.id().as_str()).collect();
    assert_eq!(gone, ["file", "far", "late"]);
    assert!(writes.iter().all(|write| matches!(write, Write::Gone { .. })));
    world.registry.audit().unwrap();
}

#[test]
fn what_changes_nothing_durable_writes_nothing() {
    let mut world = kept_world();
    world.add("a");
    let writes = world.registry.take_writes(10);
    world.registry.handle_kept(&writes);
    world.beat("a");
    world.add("a");
    let report = LoadReport {
        in_flight: Some(3),
        utilization_permille: Some(500),
        draining: Some(true),
        weight: None,
    };
    world.report("a", report);
    assert_eq!(world.registry.unwritten(), 0);
    let ttl = Some(TTL * 2);
    let registration = Registration {
        backend: backend("a"),
        ttl,
    };
    world.registry.handle_register(registration, world.now).unwrap();
    assert_eq!(
        world.registry.unwritten(),
        1,
        "the length of its lease is another"
    );
}

#[test]
fn of_two_lives_the_later_one_wins_and_what_was_changed_here_stays() {
    let mut world = kept_world();
    restore(&mut world, vec![record("a", 5), record("b", 6)]);
    let elsewhere = |n, port| Record {
        backend: at(port, backend("a")),
        ..record("a", n)
    };
    let change = |world: &mut World, change| world.registry.handle_foreign(change, world.now);
    change(&mut world, Write::Registered(elsewhere(8, 81)));
    assert_eq!(status(&world, "a").endpoint.addr.port(), 81);
    change(&mut world, Write::Registered(elsewhere(7, 82)));
    assert_eq!(status(&world, "a").endpoint.addr.port(), 81);
    let again = world.registry.take_writes(10);
    assert_eq!(
        again,
        [Write::Registered(elsewhere(8, 81))],
        "an older one is written over"
    );
    world.registry.handle_kept(&again);

    let gone = |n| Write::Gone {
        id: id("a"),
        incarnation: Incarnation::new(n).unwrap(),
    };
    world.register(at(83, backend("a")));
    change(&mut world, gone(8));
    assert_eq!(
        status(&world, "a").endpoint.addr.port(),
        83,
        "it was changed here since"
    );
    let writes = world.registry.take_writes(10);
    world.registry.handle_kept(&writes);
    let kept = Kept {
        records: vec![record("c", 7)],
        overrides: vec![set("c", "shop", off())],
        leaving: Vec::new(),
    };
    world.add("new");
    world.registry.handle_resync(kept, world.now);
    let mut ids: Vec<String> = world
        .registry
        .list(0, 10, |_, _| true, world.now)
        .items
        .iter()
        .map(|status| status.endpoint.id.to_string())
        .collect();
    ids.sort();
    assert_eq!(
        ids,
        ["c", "new"],
        "what isn't in it is gone, but for what is yet to be written"
    );
    assert_eq!(status(&world, "c").state, State::Disabled);
    world.registry.audit().unwrap();
}

#[test]
fn what_an_operator_has_set_ends_when_it_is_not_kept_any_more() {
    let mut world = kept_world();
    let kept = |overrides| Kept {
        records: vec![record("here", 1)],
        overrides,
        leaving: Vec::new(),
    };
    let both = vec![set("here", "shop", off()), set("elsewhere", "shop", off())];
    let _ = world.registry.restore(kept(both), |_| Ok(()), world.now);
    assert_eq!(world.state("here"), Some(State::Disabled));
    world.registry.handle_resync(kept(Vec::new()), world.now);
    world.add("elsewhere");
    assert_eq!(world.state("here"), Some(State::Routable));
    assert_eq!(world.state("elsewhere"), Some(State::Routable));
}
