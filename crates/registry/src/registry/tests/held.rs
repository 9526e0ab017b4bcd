//! A configuration that is published before gates are shut, and bounds that change.

use super::*;

fn configuration(world: &World, backends: Vec<Backend>) -> Configuration {
    Configuration {
        others: world.registry.config().app,
        apps: Vec::new(),
        backends,
    }
}

impl World {
    fn configure_ahead(&mut self, backends: Vec<Backend>) -> (Snapshot, Hold) {
        let configuration = configuration(self, backends);
        let (_, hold) = self.registry.configure_ahead(configuration, self.now).unwrap();
        (self.registry.poll_snapshot(self.now).unwrap(), hold)
    }
}

#[test]
fn the_gates_of_backends_that_a_file_no_longer_has_shut_once_it_has_been_published() {
    let mut world = World::new();
    let (_, hold) = world.configure_ahead(vec![backend("a"), backend("b")]);
    world.registry.release(hold);
    let (a, b) = (world.get("a").unwrap().endpoint, world.get("b").unwrap().endpoint);
    let (snapshot, hold) = world.configure_ahead(vec![at(9_999, backend("b")), backend("c")]);
    // Whoever goes by the snapshot before is still served, also a moment later.
    world.pass(MS);
    for old in [&a, &b] {
        assert_eq!(old.meter.gate(), Gate::Open, "{}", old.id);
        drop(old.admit(Admission::Regular).unwrap());
    }
    let takes = |member: &&Member| member.state.takes_traffic();
    let members = &snapshot.apps[&a.app].members;
    let mut ids: Vec<&str> = members
        .iter()
        .filter(takes)
        .map(|member| member.endpoint.id.as_str())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, ["b", "c"]);
    assert_eq!(world.state("a"), Some(State::Draining));
    world.registry.release(hold);
    for old in [&a, &b] {
        assert_eq!(old.meter.gate(), Gate::Closed, "{}", old.id);
    }
    for member in members.iter().filter(takes) {
        assert_eq!(member.endpoint.meter.gate(), Gate::Open);
    }
}

#[test]
fn what_is_not_the_configurations_doing_shuts_at_once_meanwhile() {
    let mut world = World::new();
    let registered = world.add("r");
    let (_, hold) = world.configure_ahead(vec![backend("a")]);
    let a = world.get("a").unwrap().endpoint;
    world.leave("r", None);
    assert_eq!(registered.meter.gate(), Gate::Closed);
    let (_, next) = world.configure_ahead(Vec::new());
    world.registry.release(hold);
    assert_eq!(a.meter.gate(), Gate::Open, "it is another's hold");
    // It has drained, and is gone before it is released.
    world.pass(SEC);
    assert_eq!(world.state("a"), None);
    world.registry.release(next);
    assert_eq!(a.meter.gate(), Gate::Closed);
}

#[test]
fn without_a_hold_gates_shut_at_once() {
    let mut world = World::new();
    let (_, hold) = world.configure_ahead(vec![backend("a")]);
    world.registry.release(hold);
    let a = world.get("a").unwrap().endpoint;
    let configuration = configuration(&world, Vec::new());
    world.registry.configure(configuration, world.now).unwrap();
    assert_eq!(a.meter.gate(), Gate::Closed);
}

#[test]
fn other_bounds_hold_from_then_on_and_nobody_loses_what_it_has() {
    let mut world = World::new();
    let (a, _) = (world.add("a"), world.add("b"));
    let bounds = Bounds {
        ttl: 2 * TTL,
        max_backends: 1,
        drain_timeout: Duration::ZERO,
        mass_expiry_guard: false,
    };
    world.registry.rebound(bounds, world.now);
    assert_eq!(world.registry.config().bounds(), bounds);
    let full = RegisterError::TooManyBackends { max: 1 };
    assert_eq!(world.try_register(backend("c")).unwrap_err(), full);
    assert_eq!(world.expires_in("a"), TTL);
    world.beat("a");
    assert_eq!(world.expires_in("a"), TTL, "its lease is as long as it was");
    assert_eq!(world.try_register(backend("a")).unwrap().ttl, 2 * TTL);
    assert_eq!(a.meter.gate(), Gate::Open);
}

#[test]
fn the_gate_of_the_incarnation_before_shuts_once_its_successor_has_been_published() {
    let mut world = World::new();
    let old = world.add("a");
    let _ = world.registry.poll_snapshot(world.now);
    let registration = Registration {
        backend: at(9_999, backend("a")),
        ttl: None,
    };
    let (new, hold) = world
        .registry
        .handle_register_ahead(registration, world.now)
        .unwrap();
    assert_eq!(new.kind, RegisteredKind::Superseded(old.incarnation));
    world.registry.audit().unwrap();
    drop(old.admit(Admission::Regular).unwrap());
    assert!(world.registry.poll_snapshot(world.now).is_some());
    world.registry.release(hold);
    assert_eq!(
        (old.meter.gate(), new.endpoint.meter.gate()),
        (Gate::Closed, Gate::Open)
    );
    world.registry.audit().unwrap();
}
