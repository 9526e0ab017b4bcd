use super::*;

fn five() -> AppPolicy {
    AppPolicy {
        max_failures: 5,
        ..AppPolicy::default()
    }
}

#[test]
fn a_streak_ejects_and_the_end_of_the_ejection_is_a_trial() {
    let mut world = World::with_policy(five());
    let (a, _) = (world.add("a"), world.add("b"));
    let _ = world.events();
    world.fail(&a);
    let status = world.get("a").unwrap();
    let Reason::Failures { streak: 5, trial_in } = status.reason else {
        panic!("{:?}", status.reason)
    };
    assert!((27 * SEC..=33 * SEC).contains(&trial_in), "{trial_in:?}");
    world.beat("b");
    world.pass(trial_in - MS);
    assert_eq!(world.state("a"), Some(State::Ejected));
    world.pass(MS);
    assert_eq!(
        (world.state("a"), a.meter.gate()),
        (Some(State::Trial), Gate::Trial)
    );
    world.succeed(&a);
    assert_eq!(
        (world.state("a"), a.meter.gate()),
        (Some(State::Routable), Gate::Open)
    );
    assert_eq!(
        world.events(),
        [EventKind::Ejected, EventKind::TrialStarted, EventKind::Readmitted]
    );
}

#[test]
fn a_failed_trial_ejects_for_twice_as_long() {
    let mut world = World::with_policy(five());
    let (a, _) = (world.add("a"), world.add("b"));
    for expected in [30, 60, 120] {
        world.fail(&a);
        let Reason::Failures { trial_in, .. } = world.get("a").unwrap().reason else {
            panic!()
        };
        let expected = Duration::from_secs(expected);
        assert!(
            trial_in >= expected * 9 / 10 && trial_in <= expected * 11 / 10,
            "{trial_in:?}"
        );
        let end = world.now + trial_in;
        while world.now < end {
            world.pass(SEC.min(end.since(world.now)));
            world.beat("a");
            world.beat("b");
        }
        assert_eq!(world.state("a"), Some(State::Trial));
    }
    assert_eq!(world.registry.stats().ejections, 3);
}

#[test]
fn a_passing_probe_ends_an_ejection_with_a_trial() {
    let mut world = World::with_policy(five());
    let (a, _) = (world.add("a"), world.add("b"));
    world.fail(&a);
    world.probe(&a, true);
    assert_eq!(world.state("a"), Some(State::Trial));
    world.succeed(&a);
    assert_eq!(world.state("a"), Some(State::Routable));
}

#[test]
fn keep_never_ejects_the_last_one_and_it_is_never_stuck() {
    let mut world = World::with_policy(five());
    let (a, b) = (world.add("a"), world.add("b"));
    world.fail(&a);
    world.fail(&b);
    assert_eq!(
        (world.state("a"), world.state("b")),
        (Some(State::Ejected), Some(State::Routable))
    );
    assert_eq!((b.meter.gate(), b.meter.streak()), (Gate::Open, 0));
    assert_eq!(world.registry.stats().ejections_refused, 1);
    world.leave("b", None);
    assert_eq!(
        (world.state("a"), a.meter.gate()),
        (Some(State::Routable), Gate::Open),
        "it is the last now"
    );
}

#[test]
fn failed_requests_keep_out_no_more_than_the_greatest_share() {
    let mut world = World::with_policy(AppPolicy {
        max_ejection_percent: 50,
        ..five()
    });
    let all: Vec<_> = ["a", "b", "c", "d", "e"].map(|id| world.add(id)).into();
    for endpoint in &all {
        world.fail(endpoint);
    }
    let out = |world: &World| ["a", "b", "c", "d", "e"].map(|id| world.state(id) == Some(State::Ejected));
    assert_eq!(out(&world), [true, true, false, false, false], "two of five");
    assert_eq!((all[2].meter.gate(), all[2].meter.streak()), (Gate::Open, 0));
    assert_eq!(world.registry.stats().ejections_refused, 3);
    // One that is tried counts until it has passed.
    world.probe(&all[0], true);
    world.fail(&all[2]);
    assert_eq!(
        (world.state("a"), world.state("c")),
        (Some(State::Trial), Some(State::Routable))
    );
    world.succeed(&all[0]);
    world.fail(&all[2]);
    assert_eq!(out(&world), [false, true, true, false, false]);
}

#[test]
fn a_greatest_share_lets_one_be_ejected_however_small_it_is_and_leaves_the_last_one() {
    let mut world = World::with_policy(AppPolicy {
        max_ejection_percent: 1,
        ..five()
    });
    let (a, b) = (world.add("a"), world.add("b"));
    world.fail(&a);
    world.fail(&b);
    assert_eq!(
        (world.state("a"), world.state("b")),
        (Some(State::Ejected), Some(State::Routable))
    );
}

#[test]
fn what_probes_keep_out_is_beside_the_greatest_share() {
    let mut world = World::with_policy(AppPolicy {
        max_ejection_percent: 50,
        fall: Some(1),
        ..five()
    });
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|id| world.add(id));
    world.fail(&a);
    world.probe(&a, false);
    world.probe(&b, false);
    assert_eq!(
        (world.state("a"), world.state("b")),
        (Some(State::Unhealthy), Some(State::Unhealthy))
    );
    world.fail(&c);
    world.fail(&d);
    assert_eq!(
        (world.state("c"), world.state("d")),
        (Some(State::Ejected), Some(State::Routable)),
        "one of the two that pass their probes"
    );
}

#[test]
fn a_failed_trial_ejects_beyond_the_greatest_share() {
    let mut world = World::with_policy(AppPolicy {
        max_ejection_percent: 50,
        ..five()
    });
    let [a, b, _, _] = ["a", "b", "c", "d"].map(|id| world.add(id));
    world.fail(&a);
    world.fail(&b);
    world.leave("d", None);
    world.probe(&a, true);
    assert_eq!(world.state("a"), Some(State::Trial));
    world.fail(&a);
    assert_eq!(world.state("a"), Some(State::Ejected), "two of three");
}

#[test]
fn eject_takes_the_last_one() {
    let mut world = World::with_policy(AppPolicy {
        last_backend: LastBackend::Eject,
        ..five()
    });
    let a = world.add("a");
    world.fail(&a);
    assert_eq!(world.state("a"), Some(State::Ejected));
    let keep = five();
    world.registry.set_app_policy(&app("shop"), keep, world.now);
    assert_eq!(
        world.state("a"),
        Some(State::Routable),
        "the new policy does not strand it"
    );
}

#[test]
fn a_fallback_counts_as_one_that_is_left() {
    let mut world = World::with_policy(five());
    let a = world.add("a");
    world.register(Backend {
        fallback: true,
        ..backend("spare")
    });
    world.fail(&a);
    assert_eq!(world.state("a"), Some(State::Ejected));
}

#[test]
fn a_trial_that_remains_alone_is_opened() {
    let mut world = World::with_policy(AppPolicy {
        fall: Some(1),
        ..five()
    });
    let (a, b) = (world.add("a"), world.add("b"));
    world.fail(&a);
    world.probe(&a, true);
    let trial = begin(&a);
    world.probe(&b, false);
    assert_eq!(
        (world.state("a"), world.state("b")),
        (Some(State::Routable), Some(State::Unhealthy))
    );
    assert_eq!(
        trial.failed(5, world.now),
        None,
        "its failure is one of a streak now, not the end of a trial"
    );
}

#[test]
fn void_reports_change_nothing() {
    let mut world = World::with_policy(five());
    let (a, _) = (world.add("a"), world.add("b"));
    let report = world.fail_unreported(&a).unwrap();
    let other = TrafficReport {
        epoch: report.epoch.wrapping_add(1),
        ..report.clone()
    };
    world.registry.handle_traffic(&other, world.now);
    let past = TrafficReport {
        incarnation: Incarnation::new(999).unwrap(),
        ..report.clone()
    };
    world.registry.handle_traffic(&past, world.now);
    assert_eq!(world.state("a"), Some(State::Routable));
    world.registry.handle_traffic(&report, world.now);
    world.registry.handle_traffic(&report, world.now);
    assert_eq!(
        world.registry.stats().ejections,
        1,
        "twice the same report is one ejection"
    );
}

#[test]
fn a_renewal_does_not_reopen_what_the_data_plane_has_just_closed() {
    let mut world = World::with_policy(five());
    let (a, _) = (world.add("a"), world.add("b"));
    let report = world.fail_unreported(&a).unwrap();
    world.add("a");
    world.beat("a");
    assert_eq!(a.meter.gate(), Gate::Excluded);
    world.registry.handle_traffic(&report, world.now);
    assert_eq!(world.state("a"), Some(State::Ejected));
}

#[test]
fn an_exclusion_is_not_forgotten_when_the_gate_closes_before_its_report() {
    let mut world = World::with_policy(five());
    let (a, _) = (world.add("a"), world.add("b"));
    let _lost = world.fail_unreported(&a).unwrap();
    let enabled = |enabled| Patch {
        enabled: Change::Set(enabled),
        ..Patch::default()
    };
    world.patch("a", enabled(false)).unwrap();
    assert_eq!(a.meter.gate(), Gate::Closed);
    assert_eq!(world.patch("a", enabled(true)).unwrap().state, State::Ejected);
}

#[test]
fn lost_reports_are_found_by_comparing() {
    let mut world = World::with_policy(five());
    let (a, b) = (world.add("a"), world.add("b"));
    let _lost = (world.fail_unreported(&a), world.fail_unreported(&b));
    world.registry.handle_lost_reports(world.now);
    assert_eq!(
        (world.state("a"), world.state("b")),
        (Some(State::Ejected), Some(State::Routable))
    );
    assert_eq!(b.meter.gate(), Gate::Open, "the last one stays");
}

#[test]
fn probes_take_even_the_last_one_and_bring_it_back() {
    let mut world = World::with_policy(AppPolicy {
        rise: 2,
        ..AppPolicy::default()
    });
    let a = world.add("a");
    let _ = world.events();
    let paces: Vec<_> = (0..3).map(|_| world.probe(&a, false)).collect();
    assert_eq!(paces, [Pace::Changing, Pace::Changing, Pace::Settled]);
    let status = world.get("a").unwrap();
    assert_eq!(
        (status.state, status.reason),
        (State::Unhealthy, Reason::Probes { streak: 3 })
    );
    assert_eq!(a.meter.gate(), Gate::Unhealthy);
    assert_eq!(
        (world.probe(&a, true), world.probe(&a, true)),
        (Pace::Changing, Pace::Settled)
    );
    assert_eq!(
        (world.state("a"), a.meter.gate()),
        (Some(State::Routable), Gate::Open)
    );
    assert_eq!(world.events(), [EventKind::Unhealthy, EventKind::Readmitted]);
}

#[test]
fn an_operator_takes_even_the_last_one_and_brings_it_back() {
    let mut world = World::with_policy(AppPolicy {
        last_backend: LastBackend::Keep,
        ..five()
    });
    let a = world.add("a");
    let switch = |on| Patch {
        enabled: Change::Set(on),
        ..Patch::default()
    };
    world.patch("a", switch(false)).unwrap();
    assert_eq!(
        (world.state("a"), a.meter.gate()),
        (Some(State::Disabled), Gate::Closed)
    );
    world.patch("a", switch(true)).unwrap();
    assert_eq!(
        (world.state("a"), a.meter.gate()),
        (Some(State::Routable), Gate::Open)
    );
}

#[test]
fn a_passing_probe_does_not_erase_failed_requests() {
    let mut world = World::with_policy(AppPolicy {
        fall: Some(1),
        ..five()
    });
    let (a, _) = (world.add("a"), world.add("b"));
    world.fail(&a);
    world.probe(&a, false);
    assert_eq!(world.state("a"), Some(State::Unhealthy));
    world.probe(&a, true);
    assert_eq!(world.state("a"), Some(State::Trial));
}

#[test]
fn probe_first_waits_for_the_first_pass() {
    let mut world = World::with_policy(AppPolicy {
        initial: Initial::ProbeFirst,
        ..AppPolicy::default()
    });
    let a = world.add("a");
    let status = world.get("a").unwrap();
    assert_eq!(
        (status.state, status.reason),
        (State::Unhealthy, Reason::FirstProbe)
    );
    assert_eq!(a.meter.gate(), Gate::Unhealthy);
    world.add("a"); // a renewal is no probe
    assert_eq!(world.state("a"), Some(State::Unhealthy));
    world.probe(&a, true);
    assert_eq!(
        (world.state("a"), a.meter.gate()),
        (Some(State::Routable), Gate::Open)
    );
}

#[test]
fn a_patch_outlives_renewals_incarnations_and_absence_until_it_is_cleared() {
    let mut world = World::new();
    world.add("a");
    let patch = Patch {
        enabled: Change::Set(false),
        weight: Change::Set(Weight::new(9).unwrap()),
        hard_limit: Change::Set(120),
        ..Patch::default()
    };
    let status = world.patch("a", patch).unwrap();
    assert_eq!((status.state, status.reason), (State::Disabled, Reason::Operator));
    let check = |world: &World| {
        let status = world.get("a").unwrap();
        assert_eq!((status.state, status.endpoint.weight.get()), (State::Disabled, 9));
        assert_eq!(status.endpoint.limits, Limits::new(100, 120).unwrap());
        assert_eq!(status.endpoint.meter.gate(), Gate::Closed);
    };
    world.add("a");
    check(&world);
    world.register(at(81, backend("a")));
    check(&world);
    world.leave("a", None);
    world.add("a");
    check(&world);
    let clear = Patch {
        enabled: Change::Clear,
        weight: Change::Clear,
        soft_limit: Change::Clear,
        hard_limit: Change::Clear,
    };
    let status = world.patch("a", clear).unwrap();
    assert_eq!(
        (status.state, status.overrides),
        (State::Routable, Overrides::default())
    );
    assert_eq!(
        (status.endpoint.weight, status.endpoint.limits),
        (Weight::DEFAULT, Limits::DEFAULT)
    );
}

#[test]
fn a_refused_patch_changes_nothing() {
    let mut world = World::new();
    world.add("a");
    let patch = Patch {
        enabled: Change::Set(false),
        hard_limit: Change::Set(99),
        ..Patch::default()
    };
    assert!(matches!(world.patch("a", patch), Err(PatchError::Limits(_))));
    assert_eq!(world.state("a"), Some(State::Routable));
}

#[test]
fn a_backend_can_ask_for_no_traffic_and_for_another_weight() {
    let mut world = World::new();
    let a = world.add("a");
    world.report(
        "a",
        LoadReport {
            draining: Some(true),
            in_flight: Some(3),
            ..LoadReport::default()
        },
    );
    let status = world.get("a").unwrap();
    assert_eq!(
        (status.state, status.reason),
        (State::Draining, Reason::SelfDraining)
    );
    assert_eq!(a.meter.gate(), Gate::Closed);
    world.beat("a");
    assert_eq!(
        world.state("a"),
        Some(State::Draining),
        "an empty body says nothing new"
    );
    world.report(
        "a",
        LoadReport {
            draining: Some(false),
            weight: Some(Weight::ZERO),
            ..LoadReport::default()
        },
    );
    let status = world.get("a").unwrap();
    assert_eq!(
        (status.state, status.reason),
        (State::Disabled, Reason::WeightZero)
    );
    assert_eq!(status.reported.in_flight, Some(3));
    world.report(
        "a",
        LoadReport {
            weight: Some(Weight::MAX),
            ..LoadReport::default()
        },
    );
    assert_eq!(
        (world.state("a"), a.meter.gate()),
        (Some(State::Routable), Gate::Open)
    );
}
