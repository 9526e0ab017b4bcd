//! Since when a backend has got requests, and what kind of reason keeps one out.

use super::*;

impl World {
    fn member(&mut self, name: &str) -> Member {
        let _ = self.registry.poll_snapshot(self.now);
        // Whatever is dirty has been polled; a change of policy makes the app be built once more.
        let policy = self.registry.app_policy(&app("shop"));
        self.registry.set_app_policy(&app("shop"), policy, self.now);
        let snapshot = self.registry.poll_snapshot(self.now).unwrap();
        let members = &snapshot.apps[&app("shop")].members;
        members
            .iter()
            .find(|member| member.endpoint.id == id(name))
            .unwrap()
            .clone()
    }

    fn since(&mut self, name: &str) -> Option<MonoTime> {
        self.member(name).since
    }

    fn hold_leases(&mut self, names: &[&str], time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.pass(SEC.min(end.since(self.now)));
            names.iter().for_each(|name| self.beat(name));
        }
    }
}

fn strict() -> AppPolicy {
    AppPolicy {
        max_failures: 1,
        fall: Some(1),
        ..AppPolicy::default()
    }
}

#[test]
fn a_backend_that_joins_says_when() {
    let mut world = World::new();
    world.add("a");
    let joined = world.now;
    world.pass(20 * SEC);
    world.add("a");
    world.add("b");
    assert_eq!(
        (world.since("a"), world.since("b")),
        (Some(joined), Some(world.now)),
        "a renewal is no return"
    );
}

#[test]
fn one_that_comes_back_from_trial_is_new_again_and_on_trial_its_ramp_has_yet_to_begin() {
    let mut world = World::with_policy(strict());
    let (a, _) = (world.add("a"), world.add("b"));
    world.hold_leases(&["a", "b"], 20 * SEC);
    world.fail(&a);
    assert_eq!(world.since("a"), None);
    world.hold_leases(&["a", "b"], 34 * SEC);
    assert_eq!(world.state("a"), Some(State::Trial));
    assert_eq!(world.since("a"), Some(MonoTime::NEVER));
    world.succeed(&a);
    assert_eq!(world.since("a"), Some(world.now));
}

#[test]
fn one_that_its_probes_let_back_is_new_again() {
    let mut world = World::with_policy(AppPolicy {
        initial: Initial::ProbeFirst,
        ..strict()
    });
    let (a, _) = (world.add("a"), world.add("b"));
    world.pass(3 * SEC);
    world.probe(&a, true);
    assert_eq!(world.since("a"), Some(world.now), "its first");
    world.pass(3 * SEC);
    world.probe(&a, true);
    let first = world.now - 3 * SEC;
    assert_eq!(world.since("a"), Some(first), "one like any other");
    world.probe(&a, false);
    world.pass(3 * SEC);
    world.probe(&a, true);
    assert_eq!(world.since("a"), Some(world.now));
}

#[test]
fn an_operator_s_change_is_no_return() {
    let mut world = World::new();
    world.add("a");
    let joined = world.now;
    world.pass(5 * SEC);
    for enabled in [false, true] {
        let patch = Patch {
            enabled: Change::Set(enabled),
            ..Patch::default()
        };
        world.patch("a", patch).unwrap();
    }
    assert_eq!(world.since("a"), Some(joined));
}

#[test]
fn health_an_operator_and_a_lease_are_told_apart() {
    let mut world = World::with_policy(strict());
    let [a, b, ..] = ["a", "b", "c", "d", "e", "f"].map(|name| world.add(name));
    world.fail(&a);
    world.probe(&b, false);
    let off = Patch {
        enabled: Change::Set(false),
        ..Patch::default()
    };
    world.patch("c", off).unwrap();
    world.leave("d", Some(SEC));
    let draining = LoadReport {
        draining: Some(true),
        ..LoadReport::default()
    };
    world.report("e", draining);
    let causes = ["a", "b", "c", "d", "e", "f"].map(|name| world.member(name).excluded_by());
    assert_eq!(
        causes,
        [
            Some(Cause::Health),
            Some(Cause::Health),
            Some(Cause::Operator),
            Some(Cause::Lease),
            Some(Cause::Lease),
            None
        ]
    );
    world.patch("a", off).unwrap();
    assert_eq!(
        world.member("a").excluded_by(),
        Some(Cause::Operator),
        "what is switched off is not used, however bad it gets"
    );
}
