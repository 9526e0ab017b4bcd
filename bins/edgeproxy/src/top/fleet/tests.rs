use super::*;

fn listed(id: &str, incarnation: u64) -> Listed {
    Listed {
        id: id.to_owned(),
        state: "routable".to_owned(),
        incarnation,
        ..Listed::default()
    }
}

fn event(kind: &str, backend: &str, incarnation: u64) -> Event {
    let is_last = ["expired", "removed"].contains(&kind);
    Event {
        r#type: kind.to_owned(),
        backend: backend.to_owned(),
        state: (!is_last).then(|| kind.to_owned()),
        reason: format!("{kind}!"),
        incarnation,
        ..Event::default()
    }
}

fn ids(fleet: &Fleet) -> Vec<&str> {
    fleet.backends().map(|backend| backend.view.id.as_str()).collect()
}

#[test]
fn an_event_changes_the_state_at_once_and_the_rest_is_looked_up_together() {
    let now = Instant::now();
    let mut fleet = Fleet::default();
    fleet.list(vec![listed("a", 1), listed("b", 1)], now);
    assert_eq!(fleet.deadline(), None);
    fleet.note(event("ejected", "a", 1), now);
    fleet.note(event("registered", "c", 1), now + GATHER / 2);
    assert_eq!(fleet.get("a").unwrap().view.reason, "ejected!");
    assert_eq!(fleet.due(now + GATHER / 2), None);
    let due = fleet.deadline().unwrap();
    assert_eq!(due, now + GATHER);
    assert_eq!(fleet.due(due), Some(Ask::Backends(vec!["a".into(), "c".into()])));
    // Nothing is asked twice at once.
    fleet.note(event("changed", "b", 1), due);
    assert_eq!(fleet.due(due + AGAIN), None);
    fleet.looked_up(vec![listed("a", 1), listed("c", 1)]);
    assert_eq!(ids(&fleet), ["a", "b", "c"]);
    assert_eq!(fleet.due(due + AGAIN), Some(Ask::Backends(vec!["b".into()])));
}

#[test]
fn one_that_goes_while_it_is_looked_up_stays_gone() {
    let now = Instant::now();
    let mut fleet = Fleet::default();
    fleet.note(event("registered", "a", 1), now);
    assert!(fleet.due(now + GATHER).is_some());
    fleet.note(event("removed", "a", 1), now);
    fleet.looked_up(vec![listed("a", 1)]);
    assert_eq!(ids(&fleet), [""; 0]);
    // Its successor is another one.
    fleet.note(event("registered", "a", 2), now);
    assert!(fleet.due(now + GATHER).is_some());
    fleet.looked_up(vec![listed("a", 2)]);
    assert_eq!(ids(&fleet), ["a"]);
    // What is late about the one before changes nothing.
    fleet.note(event("removed", "a", 1), now);
    assert_eq!(ids(&fleet), ["a"]);
}

#[test]
fn many_changes_are_one_listing_and_not_too_often() {
    let now = Instant::now();
    let mut fleet = Fleet::default();
    fleet.list(Vec::new(), now);
    for n in 0..=SINGLY {
        fleet.note(event("registered", &format!("b{n}"), 1), now);
    }
    assert_eq!(fleet.deadline(), Some(now + LISTING_PAUSE));
    assert_eq!(fleet.due(now + GATHER), None);
    assert_eq!(fleet.due(now + LISTING_PAUSE), Some(Ask::Listing));
}

#[test]
fn what_could_not_be_looked_up_is_asked_for_again() {
    let now = Instant::now();
    let mut fleet = Fleet::default();
    fleet.note(event("changed", "a", 1), now);
    let asked = fleet.due(now + GATHER).unwrap();
    fleet.not_looked_up(asked.clone(), now);
    assert_eq!(fleet.due(now + AGAIN / 2), None);
    assert_eq!(fleet.due(now + AGAIN), Some(asked));
    fleet.not_looked_up(Ask::Listing, now);
    assert_eq!(fleet.due(now + AGAIN), Some(Ask::Listing));
}

#[test]
fn figures_stay_with_an_incarnation_and_of_events_the_latest_are_kept() {
    let now = Instant::now();
    let mut fleet = Fleet::default();
    fleet.list(vec![listed("a", 1)], now);
    let figures = Figures(5.0, 1.0, Some(2.0), 3);
    fleet.count(Stats {
        backends: [("a".to_owned(), figures), ("gone".to_owned(), figures)].into(),
        ..Stats::default()
    });
    fleet.looked_up(vec![listed("a", 1)]);
    assert_eq!(fleet.get("a").unwrap().now, figures);
    fleet.looked_up(vec![listed("a", 2)]);
    assert_eq!(fleet.get("a").unwrap().now, Figures(0.0, 0.0, None, 0));
    for _ in 0..KEPT + 5 {
        fleet.note(event("trial", "a", 2), now);
    }
    assert_eq!(fleet.events().count(), KEPT);
}

#[test]
fn figures_that_come_before_their_backend_is_known_are_its_own() {
    let now = Instant::now();
    let mut fleet = Fleet::default();
    let told = |fleet: &mut Fleet, figures| {
        fleet.count(Stats {
            backends: [("a".to_owned(), figures)].into(),
            ..Stats::default()
        });
    };
    let (first, second) = (Figures(5.0, 0.0, Some(2.0), 3), Figures(7.0, 0.0, Some(1.0), 1));
    fleet.note(event("registered", "a", 1), now);
    told(&mut fleet, first);
    fleet.looked_up(vec![listed("a", 1)]);
    assert_eq!(fleet.get("a").unwrap().now, first);
    // Its successor's are not shown as its own.
    fleet.note(event("registered", "a", 2), now);
    told(&mut fleet, second);
    assert_eq!(fleet.get("a").unwrap().now, first);
    fleet.looked_up(vec![listed("a", 2)]);
    assert_eq!(fleet.get("a").unwrap().now, second);
    // What goes before it is known leaves nothing to the next one.
    fleet.note(event("removed", "a", 2), now);
    fleet.note(event("registered", "a", 3), now);
    told(&mut fleet, first);
    fleet.note(event("removed", "a", 3), now);
    fleet.looked_up(vec![listed("a", 4)]);
    assert_eq!(fleet.get("a").unwrap().now, Figures(0.0, 0.0, None, 0));
}

#[test]
fn figures_of_ever_more_unknown_ids_are_not_kept_for_ever() {
    let now = Instant::now();
    let mut fleet = Fleet::default();
    let told = |fleet: &mut Fleet, n: usize| {
        fleet.count(Stats {
            backends: [(n.to_string(), Figures::default())].into(),
            ..Stats::default()
        });
    };
    fleet.note(event("registered", "a", 1), now);
    for n in 0..2 * EARLY {
        told(&mut fleet, n);
    }
    assert_eq!(fleet.early.len(), EARLY);
    // Once nobody is looked up any more, they are nobody's.
    assert!(fleet.due(now + GATHER).is_some());
    fleet.looked_up(vec![listed("a", 1)]);
    told(&mut fleet, 0);
    assert_eq!(fleet.early.len(), 1);
}

#[test]
fn numbers_in_names_are_compared_as_numbers() {
    let mut ids = ["eu-10", "eu-9", "a", "eu-9b"];
    ids.sort_by_key(|id| natural(id));
    assert_eq!(ids, ["a", "eu-9", "eu-9b", "eu-10"]);
}
