//! Load reports in heartbeats.

use edgeproxy_backend::LoadFactor;

use super::*;

fn busy(permille: u16) -> LoadReport {
    LoadReport {
        utilization_permille: Some(permille),
        ..LoadReport::default()
    }
}

impl World {
    /// The factors that are published, in the order of registration.
    fn factors(&mut self) -> Vec<LoadFactor> {
        self.registry
            .poll_snapshot(self.now)
            .map_or_else(Vec::new, |snapshot| {
                let members = &snapshot.apps[&app("shop")].members;
                members.iter().map(|member| member.load).collect()
            })
    }
}

#[test]
fn who_reports_more_than_the_others_gets_less_and_the_table_says_so() {
    let mut world = World::new();
    world.add("a");
    world.add("b");
    assert_eq!(world.factors(), [LoadFactor::NONE; 2]);
    for _ in 0..4 {
        world.report("a", busy(900));
        world.report("b", busy(300));
    }
    let factors = world.factors();
    assert!(
        factors[0] < LoadFactor::NONE && factors[1] > LoadFactor::NONE,
        "{factors:?}"
    );
    world.registry.audit().unwrap();
}

#[test]
fn the_same_report_again_and_again_comes_to_an_end_of_publications() {
    let mut world = World::new();
    world.add("a");
    world.add("b");
    let mut published = 0;
    for _ in 0..300 {
        world.report("a", busy(900));
        world.report("b", busy(300));
        published += u32::from(!world.factors().is_empty());
    }
    assert!((2..=20).contains(&published), "{published}");
    assert!(!world.registry.is_dirty());
}

#[test]
fn who_gets_no_requests_is_not_taken_for_idle() {
    let mut world = World::new();
    world.add("a");
    world.add("b");
    let off = Patch {
        enabled: Change::Set(false),
        ..Patch::default()
    };
    world.patch("a", off).unwrap();
    let _ = world.factors();
    for _ in 0..20 {
        world.report("a", busy(0));
        world.report("b", busy(900));
    }
    assert!(
        world.factors().is_empty(),
        "it would come back to four times its share"
    );
    world.registry.audit().unwrap();
}

#[test]
fn a_registration_forgets_what_was_reported_before() {
    let mut world = World::new();
    let a = world.add("a");
    world.add("b");
    for _ in 0..4 {
        world.report(
            "a",
            LoadReport {
                in_flight: Some(40),
                ..busy(900)
            },
        );
        world.report("b", busy(300));
    }
    let _ = world.factors();
    assert!(a.meter.elsewhere() > 0);
    world.add("a");
    assert_eq!(world.factors()[0], LoadFactor::NONE);
    assert_eq!(a.meter.elsewhere(), 0);
    world.registry.audit().unwrap();
}

#[test]
fn requests_that_others_have_under_way_there_count_and_are_published_to_nobody() {
    let mut world = World::new();
    let a = world.add("a");
    let _ = world.factors();
    let mine = a.admit(Admission::Regular).unwrap();
    let report = LoadReport {
        in_flight: Some(9),
        ..LoadReport::default()
    };
    world.report("a", report);
    assert_eq!(a.meter.elsewhere(), 4);
    world.report("a", report);
    assert_eq!(a.meter.elsewhere(), 6);
    assert!(!world.registry.is_dirty());
    // Heartbeats that say nothing of it let it wear off.
    for _ in 0..4 {
        world.report("a", LoadReport::default());
    }
    assert_eq!(a.meter.elsewhere(), 0);
    drop(mine);
}

#[test]
fn whoever_leaves_is_out_of_the_average() {
    let mut world = World::new();
    for name in ["a", "b", "c"] {
        world.add(name);
    }
    for _ in 0..3 {
        world.report("a", busy(1_000));
        world.report("b", busy(200));
        world.report("c", busy(200));
    }
    world
        .registry
        .handle_deregister(&id("a"), None, None, world.now)
        .unwrap();
    world.registry.audit().unwrap();
    for _ in 0..100 {
        world.report("b", busy(200));
        world.report("c", busy(200));
    }
    // What the two had more, since it had less, is theirs no longer.
    let steps: Vec<_> = world.factors().iter().map(|factor| factor.steps()).collect();
    assert!(steps.iter().all(|steps| steps.abs() <= 1), "{steps:?}");
    world.registry.audit().unwrap();
}
