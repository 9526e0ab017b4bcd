use super::*;

#[test]
fn without_drain_it_is_gone_at_once_and_nothing_is_cut() {
    let mut world = World::new();
    let a = world.add("a");
    let request = begin(&a);
    let gone = world.leave("a", None);
    assert_eq!((gone.in_flight, gone.draining), (1, false));
    assert!(world.get("a").is_none());
    world.pass(3_600 * SEC);
    assert_eq!(a.meter.gate(), Gate::Closed);
    drop(request);
    assert_eq!(world.events(), [EventKind::Registered, EventKind::Removed]);
}

#[test]
fn with_drain_it_is_listed_until_nothing_is_in_flight() {
    let mut world = World::new();
    let a = world.add("a");
    let request = begin(&a);
    assert!(world.leave("a", Some(30 * SEC)).draining);
    assert_eq!(a.meter.gate(), Gate::Closed, "from the same instant");
    world.pass(10 * SEC);
    let status = world.get("a").unwrap();
    assert_eq!(
        (status.state, status.reason),
        (State::Draining, Reason::Deregistered { cut_in: 20 * SEC })
    );
    world.beat("a"); // accepted, but it doesn't come back by that
    assert_eq!(world.state("a"), Some(State::Draining));
    drop(request);
    world.pass(100 * MS);
    assert!(world.get("a").is_none());
    assert_eq!(a.meter.gate(), Gate::Closed);
    assert_eq!(
        world.events(),
        [EventKind::Registered, EventKind::Draining, EventKind::Removed]
    );
}

#[test]
fn the_drain_deadline_cuts_the_rest() {
    let mut world = World::new();
    let a = world.add("a");
    let _request = begin(&a);
    world.leave("a", Some(30 * SEC));
    world.leave("a", Some(60 * SEC)); // can't lengthen
    world.pass(30 * SEC - MS);
    assert_eq!(a.meter.gate(), Gate::Closed);
    world.pass(MS);
    assert_eq!((world.get("a").is_none(), a.meter.gate()), (true, Gate::Cut));
}

#[test]
fn a_drain_is_clamped_and_can_be_shortened() {
    let mut world = World::with(Config {
        drain_max: 20 * SEC,
        ..Config::default()
    });
    let a = world.add("a");
    let _request = begin(&a);
    world.leave("a", Some(3_600 * SEC));
    let reason = world.get("a").unwrap().reason;
    assert_eq!(reason, Reason::Deregistered { cut_in: 20 * SEC });
    world.leave("a", Some(5 * SEC));
    world.pass(5 * SEC);
    assert!(world.get("a").is_none());
    assert_eq!(a.meter.gate(), Gate::Cut);
}

#[test]
fn one_that_drains_and_registers_again_is_a_new_incarnation() {
    let mut world = World::new();
    let a = world.add("a");
    let _request = begin(&a);
    world.leave("a", Some(10 * SEC));
    let again = world.try_register(backend("a")).unwrap();
    assert_eq!(again.kind, RegisteredKind::Superseded(a.incarnation));
    assert_eq!(
        (a.meter.gate(), again.endpoint.meter.gate()),
        (Gate::Closed, Gate::Open)
    );
    world.pass(10 * SEC);
    assert_eq!(a.meter.gate(), Gate::Cut, "the old one keeps its deadline");
    assert_eq!(world.state("a"), Some(State::Routable));
}

#[test]
fn a_flapping_address_keeps_a_handful_of_predecessors() {
    let mut world = World::new();
    let mut requests = Vec::new();
    let mut lives = Vec::new();
    for port in 1..=8 {
        let life = world.register(at(port, backend("a")));
        requests.push(begin(&life));
        lives.push(life);
    }
    let cut = lives.iter().filter(|life| life.meter.gate() == Gate::Cut).count();
    assert_eq!(
        (cut, lives[2].meter.gate(), lives[3].meter.gate()),
        (3, Gate::Cut, Gate::Closed)
    );
}

#[test]
fn more_drains_than_one_sweep_looks_at_end_all_the_same() {
    let mut world = World::new();
    for n in 0..3_000 {
        world.add(&format!("b{n}"));
    }
    for n in 0..3_000 {
        world.leave(&format!("b{n}"), Some(30 * SEC));
    }
    world.now = world.now + 100 * MS;
    for expected in [1_976, 952, 0] {
        world.registry.handle_timeout(world.now);
        assert_eq!(world.registry.stats().backends, expected);
        assert_eq!(world.registry.poll_timeout(), (expected > 0).then_some(world.now));
    }
}

#[test]
fn a_drain_waits_for_what_the_process_before_has_in_flight() {
    let mut world = World::new();
    world.registry.handle_predecessor(world.now);
    let (a, b) = (world.add("a"), world.add("b"));
    assert_eq!(world.registry.ask_predecessor(10), None, "nobody drains");
    world.leave("a", Some(30 * SEC));
    world.register(at(81, backend("b"))); // and the one before it drains
    let asked = world.registry.ask_predecessor(10);
    let named = |endpoint: &Endpoint| (endpoint.id.clone(), endpoint.incarnation);
    assert_eq!(asked, Some(vec![named(&a), named(&b)]));
    assert_eq!(
        world.registry.ask_predecessor(10),
        Some(vec![]),
        "they are named once"
    );
    world.pass(SEC);
    assert_eq!(world.get("a").unwrap().state, State::Draining);
    assert_eq!(world.registry.stats().backends, 2);

    world
        .registry
        .handle_predecessor_done(&b.id, b.incarnation, world.now);
    world
        .registry
        .handle_predecessor_done(&a.id, b.incarnation, world.now); // another life
    world.pass(SEC);
    assert!(world.get("a").is_some());
    world
        .registry
        .handle_predecessor_done(&a.id, a.incarnation, world.now);
    world.pass(SEC);
    assert!(world.get("a").is_none());
    assert_eq!(world.registry.ask_predecessor(10), None);
}

#[test]
fn the_process_before_is_told_of_many_drains_in_several_goes() {
    let mut world = World::new();
    world.registry.handle_predecessor(world.now);
    for n in 0..25 {
        world.add(&format!("b{n}"));
        world.leave(&format!("b{n}"), Some(30 * SEC));
    }
    let mut named = Vec::new();
    for expected in [10, 10, 5, 0] {
        let asked = world.registry.ask_predecessor(10).unwrap();
        assert_eq!(asked.len(), expected);
        named.extend(asked.into_iter().map(|(id, _)| id));
    }
    named.sort_unstable();
    named.dedup();
    assert_eq!(named.len(), 25);
}

#[test]
fn the_process_before_is_told_once_of_whom_an_operator_disables() {
    let mut world = World::new();
    let a = world.add("a");
    let enabled = |enabled| Patch {
        enabled: Change::Set(enabled),
        ..Patch::default()
    };
    world.patch("a", enabled(false)).unwrap();
    world.registry.handle_predecessor(world.now);
    assert_eq!(world.registry.ask_predecessor(10), None, "it knows that");
    world.patch("a", enabled(true)).unwrap();
    world.patch("a", enabled(false)).unwrap();
    world.patch("a", enabled(false)).unwrap();
    let named = (a.id.clone(), a.incarnation);
    assert_eq!(world.registry.ask_predecessor(10), Some(vec![named]));
    assert_eq!(world.registry.ask_predecessor(10), None);
    world.patch("a", enabled(true)).unwrap();
    world.patch("a", enabled(false)).unwrap();
    world.patch("a", enabled(true)).unwrap();
    assert_eq!(world.registry.ask_predecessor(10), None, "it is back already");
    world.registry.handle_predecessor_gone(world.now);
    world.patch("a", enabled(false)).unwrap();
    assert_eq!(
        world.registry.ask_predecessor(10),
        None,
        "there is nobody to tell"
    );
}

#[test]
fn a_drain_doesnt_wait_for_the_process_before_beyond_its_deadline_or_that_ones_end() {
    let mut world = World::new();
    world.registry.handle_predecessor(world.now);
    let a = world.add("a");
    world.add("b");
    world.leave("a", Some(5 * SEC));
    world.leave("b", Some(60 * SEC));
    world.pass(6 * SEC);
    assert!(world.get("a").is_none() && world.get("b").is_some());
    assert_eq!(a.meter.gate(), Gate::Cut);
    let _ = world.registry.ask_predecessor(10);
    world.registry.handle_predecessor_gone(world.now);
    world.pass(SEC);
    assert!(world.get("b").is_none());
    world.add("c");
    world.leave("c", Some(60 * SEC));
    world.pass(SEC);
    assert!(world.get("c").is_none(), "there is nobody to ask any more");
}

#[test]
fn what_drains_at_the_successor_gets_nothing_new_here_and_what_it_has_goes_on() {
    let mut world = World::new();
    let (a, b) = (world.add("a"), world.add("b"));
    let under_way = a.admit(Admission::Regular).unwrap();
    let drain =
        |world: &mut World, id: &BackendId, life| world.registry.handle_successor_drains(id, life, world.now);
    let found = drain(&mut world, &a.id, a.incarnation).unwrap();
    assert_eq!((found.meter.gate(), found.meter.in_flight()), (Gate::Closed, 1));
    assert!(drain(&mut world, &b.id, a.incarnation).is_none(), "another life");
    assert_eq!(b.meter.gate(), Gate::Open);
    drop(under_way);
    assert_eq!(found.meter.in_flight(), 0);
    world.registry.audit().unwrap();
}

#[test]
fn who_drains_is_handed_over_with_what_is_left_of_the_time() {
    let mut before = World::new();
    let a = before.add("a");
    let _under_way = a.admit(Admission::Regular).unwrap();
    before.leave("a", Some(30 * SEC));
    before.pass(10 * SEC);
    let kept = before.registry.kept();
    assert_eq!((kept.records.len(), kept.leaving.len()), (0, 1));
    assert_eq!(kept.leaving[0].left, 20 * SEC);

    let mut world = World::with(Config {
        keep: Keep::Registrations,
        ..Config::default()
    });
    world.registry.handle_predecessor(world.now);
    assert!(world.registry.restore(kept, |_| Ok(()), world.now).is_empty());
    let status = world.get("a").unwrap();
    assert_eq!(
        (status.state, status.endpoint.incarnation),
        (State::Draining, a.incarnation)
    );
    assert_eq!(world.registry.take_writes(10), [], "a store has nothing of it");
    assert!(world.add("new").incarnation > a.incarnation);
    world.pass(19 * SEC);
    assert!(world.get("a").is_some());
    world.pass(2 * SEC);
    assert!(world.get("a").is_none());
}
