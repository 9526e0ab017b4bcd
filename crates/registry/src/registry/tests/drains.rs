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
