use std::sync::Arc;

use edgeproxy_backend::{Backend, BackendAddr, BackendId, Country, Endpoint, Incarnation, Region};

use super::*;
use crate::RouteTable;

fn endpoint(id: &str, incarnation: u64) -> Arc<Endpoint> {
    let backend = Backend::new(
        BackendId::parse(id).unwrap(),
        AppName::parse("app").unwrap(),
        Region::parse("eu").unwrap(),
        Country::parse("DE").unwrap(),
        BackendAddr::new([127, 0, 0, 1].into(), 80).unwrap(),
    );
    Arc::new(Endpoint::new(backend, Incarnation::new(incarnation).unwrap()))
}

fn workers(count: usize) -> (Counted, Vec<Books>) {
    let (counted, unopened) = Counted::new(count, &[]);
    (counted, unopened.into_iter().map(Unopened::open).collect())
}

fn respond(books: &Books, endpoint: &Endpoint) {
    books
        .backend(endpoint)
        .backend
        .responded(200, Duration::from_millis(2));
}

fn responses(counted: &Counted, id: &str) -> Option<u64> {
    let backends = counted.read().backends;
    let found = backends.iter().find(|one| one.id.as_str() == id)?;
    assert_eq!(found.totals.heads.total(), found.totals.responses[1]);
    Some(found.totals.responses[1])
}

#[test]
fn what_the_workers_have_is_added_up() {
    let (counted, books) = workers(2);
    let (one, other) = (endpoint("b1", 1), endpoint("b2", 2));
    respond(&books[0], &one);
    respond(&books[1], &one);
    respond(&books[1], &other);
    assert_eq!(
        (responses(&counted, "b1"), responses(&counted, "b2")),
        (Some(2), Some(1))
    );
    let apps = counted.read().apps;
    assert_eq!((apps.len(), apps[0].app.as_str()), (1, "app"));
}

#[test]
fn what_is_gone_is_told_of_for_five_minutes_and_goes_on_if_it_comes_back() {
    let (counted, books) = workers(1);
    let (books, table) = (&books[0], RouteTable::default());
    let first = endpoint("b1", 1);
    respond(books, &first);
    let held = books.backend(&first);
    drop(first);
    books.let_go(&table);
    assert_eq!(counted.read().backends.len(), 1);
    assert_eq!(
        counted.shelves().backends.past.len(),
        0,
        "a request still holds it"
    );
    drop(held);
    books.let_go(&table);
    assert_eq!(responses(&counted, "b1"), Some(1));
    assert_eq!(counted.shelves().backends.past.len(), 1);

    let second = endpoint("b1", 2);
    respond(books, &second);
    assert_eq!(responses(&counted, "b1"), Some(2));
    let later = Instant::now() + KEPT;
    counted.shelves().tidy(later);
    assert_eq!(
        responses(&counted, "b1"),
        Some(2),
        "it is back, so nothing is forgotten"
    );

    drop(second);
    books.let_go(&table);
    counted.shelves().tidy(later);
    assert_eq!(responses(&counted, "b1"), Some(2));
    counted.shelves().tidy(later + KEPT);
    assert_eq!(responses(&counted, "b1"), None);
}

#[test]
fn what_comes_and_goes_without_a_reader_is_bounded() {
    let (counted, books) = workers(1);
    let table = RouteTable::default();
    for number in 1..=MAX_KEPT + 2 {
        let incarnation = u64::try_from(number).unwrap();
        respond(&books[0], &endpoint(&format!("b{number}"), incarnation));
    }
    books[0].let_go(&table);
    counted.shelves().tidy(Instant::now());
    assert!(counted.shelves().backends.past.is_empty());
    assert!(counted.shelves().backends.live.is_empty());
}
