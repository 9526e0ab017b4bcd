//! What a configuration says of apps and of backends.

use super::*;

impl World {
    fn configure(&mut self, backends: Vec<Backend>) -> Result<Reconciled, StaticError> {
        let configuration = Configuration {
            others: self.registry.config().app,
            apps: Vec::new(),
            backends,
        };
        self.registry.configure(configuration, self.now)
    }

    fn stand(&mut self, names: &[&str]) {
        self.configure(names.iter().map(|name| backend(name)).collect())
            .unwrap();
    }
}

const fn reconciled(added: usize, changed: usize, removed: usize) -> Reconciled {
    Reconciled {
        added,
        changed,
        removed,
    }
}

#[test]
fn a_backend_of_the_file_is_routable_without_a_heartbeat_and_never_expires() {
    let mut world = World::new();
    world.stand(&["a"]);
    world.pass(10_000 * TTL);
    let status = world.get("a").unwrap();
    assert_eq!(
        (status.state, status.source, status.lease),
        (State::Routable, Source::File, None)
    );
    assert_eq!(status.registered, 10_000 * TTL);
    assert_eq!(world.events(), [EventKind::Registered]);
}

#[test]
fn a_heartbeat_of_one_only_reports_load() {
    let mut world = World::new();
    world.stand(&["a"]);
    let report = LoadReport {
        in_flight: Some(3),
        weight: Some(Weight::new(7).unwrap()),
        ..LoadReport::default()
    };
    let heard = world
        .registry
        .handle_heartbeat(&id("a"), None, &report, world.now)
        .unwrap();
    assert_eq!((heard.ttl, heard.endpoint.weight.get()), (None, 7));
    let draining = LoadReport {
        draining: Some(true),
        ..LoadReport::default()
    };
    world.report("a", draining);
    let status = world.get("a").unwrap();
    assert_eq!(
        (status.state, status.lease, status.reported.in_flight),
        (State::Draining, None, Some(3))
    );
    world.stand(&["a"]);
    assert_eq!(
        world.state("a"),
        Some(State::Draining),
        "a reload that doesn't touch it makes it forget nothing"
    );
}

#[test]
fn nobody_deregisters_one_or_takes_its_id() {
    let mut world = World::new();
    world.stand(&["a"]);
    let refused = world
        .registry
        .handle_deregister(&id("a"), None, Some(SEC), world.now);
    assert_eq!(refused.unwrap_err(), DeregisterError::Static(id("a")));
    for other in [backend("a"), at(81, backend("a"))] {
        assert_eq!(
            world.try_register(other).unwrap_err(),
            RegisterError::Static(id("a"))
        );
    }
    let status = world.get("a").unwrap();
    assert_eq!(
        (status.state, status.source, status.endpoint.addr.port()),
        (State::Routable, Source::File, 80)
    );
}

#[test]
fn an_operator_changes_one_as_any_other_and_a_reload_keeps_the_change() {
    let mut world = World::new();
    world.stand(&["a", "b"]);
    let off = Patch {
        enabled: Change::Set(false),
        ..Patch::default()
    };
    assert_eq!(world.patch("a", off).unwrap().state, State::Disabled);
    let heavier = Backend {
        weight: Weight::new(9).unwrap(),
        ..backend("a")
    };
    assert_eq!(
        world.configure(vec![heavier, backend("b")]),
        Ok(reconciled(0, 1, 0))
    );
    let status = world.get("a").unwrap();
    assert_eq!((status.state, status.endpoint.weight.get()), (State::Disabled, 9));
}

#[test]
fn one_that_is_changed_in_place_keeps_its_meter_and_one_that_moves_does_not() {
    let mut world = World::new();
    world.stand(&["a"]);
    let before = world.get("a").unwrap().endpoint;
    let spare = Backend {
        fallback: true,
        ..backend("a")
    };
    assert_eq!(world.configure(vec![spare]), Ok(reconciled(0, 1, 0)));
    let changed = world.get("a").unwrap().endpoint;
    assert!(changed.fallback && Arc::ptr_eq(&before.meter, &changed.meter));

    let request = begin(&changed);
    assert_eq!(
        world.configure(vec![at(81, backend("a"))]),
        Ok(reconciled(1, 0, 0))
    );
    let moved = world.get("a").unwrap().endpoint;
    assert!(moved.incarnation > changed.incarnation);
    assert_eq!(
        (changed.meter.gate(), moved.meter.gate()),
        (Gate::Closed, Gate::Open)
    );
    drop(request);
}

#[test]
fn one_that_leaves_the_file_drains_as_after_a_deregistration() {
    let mut world = World::new();
    world.stand(&["a", "b"]);
    let a = world.get("a").unwrap().endpoint;
    let request = begin(&a);
    assert_eq!(world.configure(vec![backend("b")]), Ok(reconciled(0, 0, 1)));
    assert_eq!(
        (world.state("a"), a.meter.gate()),
        (Some(State::Draining), Gate::Closed)
    );
    world.pass(29 * SEC);
    assert_eq!(
        world.state("a"),
        Some(State::Draining),
        "its request is waited for"
    );
    drop(request);
    world.pass(SEC);
    assert_eq!(world.state("a"), None);
    assert_eq!(world.state("b"), Some(State::Routable));
}

#[test]
fn one_that_leaves_the_file_may_register_and_one_that_registered_may_come_into_it() {
    let mut world = World::new();
    world.stand(&["a"]);
    let _in_flight = begin(&world.get("a").unwrap().endpoint);
    world.stand(&[]);
    let registered = world.try_register(backend("a")).unwrap();
    assert!(matches!(registered.kind, RegisteredKind::Superseded(_)));
    assert_eq!(world.get("a").unwrap().source, Source::Registered);
    let before = world.get("a").unwrap().endpoint;
    assert_eq!(world.configure(vec![backend("a")]), Ok(reconciled(0, 1, 0)));
    let status = world.get("a").unwrap();
    assert_eq!((status.source, status.lease), (Source::File, None));
    assert!(Arc::ptr_eq(&before.meter, &status.endpoint.meter));
    world.pass(10 * TTL);
    assert_eq!(world.state("a"), Some(State::Routable));
}

#[test]
fn the_file_has_the_last_word_on_whose_an_id_is() {
    let mut world = World::new();
    world.add("a");
    let elsewhere = Backend {
        app: app("other"),
        ..backend("a")
    };
    assert_eq!(world.configure(vec![elsewhere]), Ok(reconciled(1, 0, 0)));
    assert_eq!(world.get("a").unwrap().endpoint.app, app("other"));
}

#[test]
fn a_configuration_is_put_in_force_whole_or_not_at_all() {
    let mut world = World::with(Config {
        max_backends: 3,
        max_apps: 1,
        ..Config::default()
    });
    world.add("a");
    let policy = AppPolicy {
        max_failures: 9,
        ..AppPolicy::default()
    };
    let elsewhere = Backend {
        app: app("other"),
        ..backend("b")
    };
    let many = ["b", "c", "d"].map(backend).to_vec();
    for (backends, expected) in [
        (
            vec![backend("b"), at(81, backend("b"))],
            StaticError::Twice(id("b")),
        ),
        (many, StaticError::TooManyBackends { new: 3, max: 3 }),
        (vec![elsewhere], StaticError::TooManyApps { new: 1, max: 1 }),
    ] {
        let configuration = Configuration {
            others: policy,
            apps: vec![(app("shop"), policy)],
            backends,
        };
        let refused = world.registry.configure(configuration, world.now);
        assert_eq!(refused, Err(expected));
        assert_eq!(world.registry.app_policy(&app("shop")), AppPolicy::default());
        assert_eq!(world.registry.stats().backends, 1);
    }
}

#[test]
fn in_a_full_registry_those_that_move_need_no_room() {
    let mut world = World::with(Config {
        max_backends: 3,
        ..Config::default()
    });
    world.stand(&["a", "b"]);
    let moved = vec![at(81, backend("a")), at(81, backend("b")), backend("c")];
    assert_eq!(world.configure(moved), Ok(reconciled(3, 0, 0)));
    world.registry.audit().unwrap();
    assert_eq!(world.registry.stats().backends, 3);
}

#[test]
fn every_app_has_the_policy_that_the_configuration_says_and_one_that_left_it_the_default() {
    let mut world = World::new();
    let (a, _) = (world.add("a"), world.add("b"));
    let strict = AppPolicy {
        max_failures: 1,
        ejection_base: 5 * SEC,
        ..AppPolicy::default()
    };
    let configuration = |others, apps: &[(AppName, AppPolicy)]| Configuration {
        others,
        apps: apps.to_vec(),
        backends: Vec::new(),
    };
    let now = world.now;
    let named = configuration(AppPolicy::default(), &[(app("shop"), strict)]);
    world.registry.configure(named, now).unwrap();
    assert_eq!(world.registry.app_policy(&app("shop")), strict);
    assert_eq!(world.registry.app_policy(&app("other")), AppPolicy::default());
    world.fail(&a);
    let Reason::Failures { streak: 1, trial_in } = world.get("a").unwrap().reason else {
        panic!("not ejected")
    };
    assert!(trial_in <= 6 * SEC, "{trial_in:?}");

    let lenient = AppPolicy {
        max_failures: 7,
        ..AppPolicy::default()
    };
    world
        .registry
        .configure(configuration(lenient, &[]), now)
        .unwrap();
    for name in ["shop", "other"] {
        assert_eq!(world.registry.app_policy(&app(name)), lenient);
    }
    let _ = world.registry.poll_snapshot(now);
    world
        .registry
        .configure(configuration(lenient, &[(app("shop"), lenient)]), now)
        .unwrap();
    assert!(!world.registry.is_dirty(), "nothing has changed");
}

#[test]
fn what_probes_found_is_forgotten_once_nobody_probes() {
    let policy = AppPolicy {
        max_failures: 1,
        fall: Some(1),
        initial: Initial::ProbeFirst,
        ..AppPolicy::default()
    };
    let mut world = World::with_policy(policy);
    let [a, b, c, _] = ["a", "b", "c", "d"].map(|name| world.add(name));
    for endpoint in [&a, &b, &c] {
        world.probe(endpoint, true);
    }
    world.probe(&a, false);
    world.fail(&b);
    world.probe(&b, false);
    let off = Patch {
        enabled: Change::Set(false),
        ..Patch::default()
    };
    world.patch("c", off).unwrap();
    world.probe(&c, false);
    let off = AppPolicy {
        monitoring: Monitoring::Off,
        ..policy
    };
    let configuration = Configuration {
        others: off,
        ..Configuration::default()
    };
    world.registry.configure(configuration, world.now).unwrap();
    world.registry.audit().unwrap();
    let states = |world: &World| ["a", "b", "c", "d"].map(|name| world.state(name).unwrap());
    let expected = [State::Routable, State::Ejected, State::Disabled, State::Routable];
    assert_eq!(
        states(&world),
        expected,
        "failed requests and an operator's word stand"
    );
    world.probe(&a, false);
    assert_eq!(states(&world), expected, "a result that comes late is void");
    world.add("e");
    assert_eq!(world.state("e"), Some(State::Routable), "nobody would let it in");
}

#[test]
fn one_of_the_file_waits_for_its_first_probe_where_its_app_says_so() {
    let mut world = World::new();
    let first = AppPolicy {
        initial: Initial::ProbeFirst,
        ..AppPolicy::default()
    };
    let configuration = Configuration {
        others: AppPolicy::default(),
        apps: vec![(app("shop"), first)],
        backends: vec![backend("a")],
    };
    world.registry.configure(configuration, world.now).unwrap();
    assert_eq!(world.get("a").unwrap().reason, Reason::FirstProbe);
    let a = world.get("a").unwrap().endpoint;
    world.probe(&a, true);
    assert_eq!(world.state("a"), Some(State::Routable));
}

#[test]
fn those_of_the_file_don_t_count_for_the_mass_expiry_guard() {
    let mut world = World::new();
    let (silent, fixed) = (["a", "b", "c"], ["d", "e", "f", "g"]);
    for name in silent.iter().chain(&fixed) {
        world.add(name);
        (0..3).for_each(|_| world.beat(name));
    }
    world.stand(&fixed);
    world.pass(TTL);
    for name in silent {
        assert_eq!(
            world.state(name),
            Some(State::Suspect),
            "all that could be heard of are silent"
        );
    }
    for name in fixed {
        assert_eq!(world.state(name), Some(State::Routable));
    }
}
