use std::time::Duration;

use edgeproxy_backend::{AppName, Backend, BackendAddr, Country, Region};

use super::*;
use crate::etcd::encoding::Author;

const OWN: u64 = 1;
const OTHER: u64 = 2;

fn mirror() -> Mirror {
    Mirror::new(keys(), OWN)
}

fn keys() -> Keys {
    Keys::new("t")
}

fn id(name: &str) -> BackendId {
    BackendId::parse(name).unwrap()
}

fn life(number: u64) -> Incarnation {
    Incarnation::new(number).unwrap()
}

fn record(name: &str, incarnation: u64) -> Record {
    let backend = Backend::new(
        id(name),
        AppName::parse("shop").unwrap(),
        Region::parse("eu").unwrap(),
        Country::parse("DE").unwrap(),
        BackendAddr::parse("10.0.0.1", 80).unwrap(),
    );
    Record {
        backend,
        incarnation: life(incarnation),
        ttl: Duration::from_secs(60),
    }
}

fn kv(record: &Record, start: u64, mod_revision: i64) -> KeyValue {
    let author = Author {
        name: "p".to_owned(),
        start,
    };
    KeyValue {
        key: keys().backend(&record.backend.id),
        mod_revision,
        value: encoding::backend(record, &author).into(),
        lease: 0,
    }
}

fn gone(name: &str, incarnation: u64) -> Update {
    let (id, incarnation) = (id(name), life(incarnation));
    Update::Changed(Write::Gone { id, incarnation })
}

fn registered(name: &str, incarnation: u64) -> Update {
    Update::Changed(Write::Registered(record(name, incarnation)))
}

#[test]
fn what_others_put_and_delete_is_news_and_what_is_written_here_is_not() {
    let mut mirror = mirror();
    mirror.put(&kv(&record("a", 1), OWN, 5)).unwrap();
    mirror.put(&kv(&record("b", 2), OTHER, 6)).unwrap();
    assert_eq!(mirror.next(), Some(registered("b", 2)));
    mirror.deleted(&keys().backend(&id("a")), 7, None);
    assert_eq!(mirror.next(), Some(gone("a", 1)));
    assert_eq!(mirror.next(), None);
    assert_eq!(mirror.last_life(&id("a")), Some(life(1)));
}

#[test]
fn a_deletion_that_the_watch_tells_before_the_answer_does_is_no_news() {
    let mut mirror = mirror();
    let key = keys().backend(&id("a"));
    mirror.put(&kv(&record("a", 1), OWN, 5)).unwrap();
    mirror.begin_deletions(std::slice::from_ref(&key));
    mirror.deleted(&key, 6, None);
    mirror.erased(&id("a"), life(1), 6);
    mirror.end_deletions(&[key]);
    assert_eq!(mirror.next(), None);
    assert_eq!(mirror.backend(&id("a")), None);
}

#[test]
fn what_was_written_over_meanwhile_is_no_news_any_more() {
    let mut mirror = mirror();
    mirror.put(&kv(&record("a", 1), OTHER, 5)).unwrap();
    mirror.wrote(&record("a", 2), 6);
    assert_eq!(mirror.next(), None);
    // And what the watch tells late is older than what the answer told.
    mirror.put(&kv(&record("a", 1), OTHER, 5)).unwrap();
    mirror.deleted(&keys().backend(&id("a")), 5, None);
    assert_eq!(mirror.next(), None);
    let revision = 6;
    let incarnation = Some(life(2));
    assert_eq!(
        mirror.backend(&id("a")),
        Some(Known {
            revision,
            incarnation
        })
    );
}

#[test]
fn an_image_replaces_everything_and_what_waited() {
    let mut mirror = mirror();
    mirror.put(&kv(&record("a", 1), OTHER, 5)).unwrap();
    mirror.lose("silent".to_owned());
    mirror.lose("still silent".to_owned());
    let mut broken = kv(&record("c", 1), OTHER, 8);
    broken.value = Bytes::from_static(b"{}");
    let kvs = vec![kv(&record("b", 9), OTHER, 7), broken, kv(&record("d", 3), OWN, 9)];
    let loaded = mirror.replace(Image { revision: 9, kvs });
    assert_eq!(loaded.records, [record("d", 3), record("b", 9)]);
    assert_eq!(loaded.findings.len(), 1);
    let reason = "silent".to_owned();
    assert_eq!(mirror.next(), Some(Update::Lost { reason }));
    mirror.regain();
    mirror.regain();
    assert_eq!(mirror.next(), Some(Update::Restored));
    assert_eq!(mirror.next(), None);
    assert_eq!(mirror.backend(&id("a")), None);
    assert_eq!(
        mirror.backend(&id("c")).map(|known| known.incarnation),
        Some(None)
    );
}

#[test]
fn a_thousand_broken_values_are_twenty_findings_and_one() {
    let broken = |n: i64| KeyValue {
        key: keys().backend(&id(&format!("b{n}"))),
        mod_revision: n,
        value: Bytes::from_static(b"x"),
        lease: 0,
    };
    let kvs = (0..1000).map(broken).collect();
    let findings = mirror().replace(Image { revision: 9, kvs }).findings;
    assert_eq!(findings.len(), FINDINGS_MAX + 1);
    assert!(
        findings[FINDINGS_MAX].message.contains("980 more"),
        "{:?}",
        findings[FINDINGS_MAX]
    );
}

#[test]
fn who_is_gone_is_remembered_up_to_a_limit() {
    let mut mirror = mirror();
    for n in 0..GONE_MAX + 10 {
        mirror.erased(&id(&format!("b{n}")), life(1), 1);
    }
    assert_eq!(mirror.gone.len(), GONE_MAX);
    assert_eq!(mirror.gone_order.len(), GONE_MAX);
    assert_eq!(mirror.last_life(&id("b0")), None);
    mirror.erased(&id("b20"), life(3), 1);
    mirror.erased(&id("b20"), life(2), 1);
    assert_eq!(mirror.last_life(&id("b20")), Some(life(3)));
}
