use super::*;

fn in_app(name: &str, app_name: &str) -> Backend {
    Backend {
        app: app(app_name),
        ..backend(name)
    }
}

#[test]
fn a_snapshot_rebuilds_what_changed_and_shares_the_rest() {
    let mut world = World::new();
    world.register(in_app("a", "one"));
    world.register(in_app("b", "two"));
    let first = world.registry.poll_snapshot(world.now).unwrap();
    assert!(world.registry.poll_snapshot(world.now).is_none());
    world.register(in_app("c", "two"));
    let second = world.registry.poll_snapshot(world.now).unwrap();
    assert_eq!((first.version, second.version), (1, 2));
    assert!(Arc::ptr_eq(&first.apps[&app("one")], &second.apps[&app("one")]));
    assert_eq!(
        (
            first.apps[&app("two")].members.len(),
            second.apps[&app("two")].members.len()
        ),
        (1, 2)
    );
    world.leave("a", None);
    let third = world.registry.poll_snapshot(world.now).unwrap();
    assert!(!third.apps.contains_key(&app("one")));
    assert!(
        second.apps.contains_key(&app("one")),
        "what was published stays as it was"
    );
}

#[test]
fn members_are_in_the_order_of_registration_however_many_have_left() {
    let mut world = World::new();
    for n in 0..500 {
        world.add(&format!("b{n}"));
    }
    for n in (0..500).filter(|n| n % 7 != 0) {
        world.leave(&format!("b{n}"), None);
    }
    world.add("last");
    world.registry.audit().unwrap();
    let snapshot = world.registry.poll_snapshot(world.now).unwrap();
    let found: Vec<_> = snapshot.apps[&app("shop")]
        .members
        .iter()
        .map(|m| m.endpoint.id.to_string())
        .collect();
    let expected = (0..500)
        .step_by(7)
        .map(|n| format!("b{n}"))
        .chain(["last".to_owned()]);
    assert!(found.iter().eq(expected.collect::<Vec<_>>().iter()), "{found:?}");
}

#[test]
fn an_app_that_came_and_went_unpublished_leaves_no_trace() {
    let mut world = World::new();
    for n in 0..100 {
        world.register(in_app("a", &format!("app{n}")));
        world.leave("a", None);
    }
    assert!(!world.registry.is_dirty());
}

#[test]
fn pages_list_each_backend_once_and_count_all() {
    let mut world = World::new();
    for n in 0..25 {
        world.register(in_app(&format!("b{n}"), if n % 5 == 0 { "one" } else { "two" }));
    }
    let (mut cursor, mut found) = (Some(0), Vec::new());
    while let Some(at) = cursor {
        let page = world
            .registry
            .list(at, 6, |backend, _| backend.app == app("two"), world.now);
        assert_eq!(page.total, 20);
        assert!(page.items.len() <= 6);
        found.extend(page.items.into_iter().map(|status| status.endpoint.id.clone()));
        cursor = page.next;
    }
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 20);
    assert_eq!(world.registry.list(0, 0, |_, _| true, world.now).total, 25);
}

#[test]
fn reported_load_and_failed_probes_that_decide_nothing_are_not_published() {
    let mut world = World::new();
    let a = world.add("a");
    let _ = world.registry.poll_snapshot(world.now);
    world.report(
        "a",
        LoadReport {
            in_flight: Some(7),
            utilization_permille: Some(100),
            ..LoadReport::default()
        },
    );
    world.probe(&a, false);
    world.add("a");
    assert!(!world.registry.is_dirty());
}
