use std::time::Duration;

use edgeproxy_backend::{AppName, Backend, BackendAddr, Country, Region, Weight};
use edgeproxy_registry::{Overrides, Record};

use super::*;
use crate::Loaded;

const OWN: u64 = 1;
const OTHER: u64 = 2;

fn mirror() -> Mirror {
    Mirror::new(keys(), author(OWN))
}

fn author(start: u64) -> Author {
    let name = ProxyName::parse(if start == OWN { "me" } else { "other" }).unwrap();
    Author { name, start }
}

fn stored(name: &str, incarnation: u64, start: u64) -> Stored {
    Stored {
        record: record(name, incarnation),
        author: author(start),
    }
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
    KeyValue {
        key: keys().backend(&record.backend.id),
        mod_revision,
        value: encoding::backend(record, &author(start)).into(),
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

fn owned(name: &str, incarnation: u64, start: u64) -> Update {
    Update::Owned(stored(name, incarnation, start).owned())
}

fn put(mirror: &mut Mirror, name: &str, incarnation: u64, start: u64, revision: i64) {
    mirror
        .put(&kv(&record(name, incarnation), start, revision), None)
        .unwrap();
}

fn under_way(mirror: &mut Mirror, name: &str) -> Bytes {
    let key = keys().backend(&id(name));
    mirror.begin(std::slice::from_ref(&key));
    key
}

fn told(mirror: &mut Mirror) -> Vec<Update> {
    std::iter::from_fn(|| mirror.next()).collect()
}

fn image(revision: i64, kvs: Vec<KeyValue>) -> Image {
    Image { revision, kvs }
}

fn of_overrides(name: &str, weight: u64, start: u64, mod_revision: i64) -> KeyValue {
    KeyValue {
        key: keys().overrides(&id(name)),
        mod_revision,
        value: encoding::overrides(&weighing(name, weight), start).into(),
        lease: 0,
    }
}

fn weighing(name: &str, weight: u64) -> Overridden {
    Overridden {
        overrides: Overrides {
            weight: Some(Weight::new(weight).unwrap()),
            ..Overrides::default()
        },
        ..Overridden::nothing(id(name))
    }
}

fn member(name: &str, mod_revision: i64) -> KeyValue {
    KeyValue {
        key: keys().proxy(&ProxyName::parse(name).unwrap()),
        mod_revision,
        value: encoding::member(7).into(),
        lease: 1,
    }
}

#[test]
fn what_others_put_and_delete_is_news_and_what_is_committed_here_is_not() {
    let mut mirror = mirror();
    mirror.wrote(stored("a", 1, OWN), 5);
    put(&mut mirror, "a", 1, OWN, 5);
    put(&mut mirror, "b", 2, OTHER, 6);
    assert_eq!(told(&mut mirror), [registered("b", 2), owned("b", 2, OTHER)]);
    mirror.deleted(&keys().backend(&id("a")), 7, None);
    assert_eq!(told(&mut mirror), [gone("a", 1)]);
    assert_eq!(mirror.last_life(&id("a")), Some(life(1)));
}

#[test]
fn a_commit_that_the_watch_tells_before_the_answer_does_is_no_news() {
    let mut mirror = mirror();
    put(&mut mirror, "a", 1, OTHER, 5);
    told(&mut mirror);
    let key = under_way(&mut mirror, "a");
    mirror.deleted(&key, 6, None);
    mirror.erased(&id("a"), life(1), 6);
    put(&mut mirror, "a", 2, OWN, 7);
    mirror.wrote(stored("a", 2, OWN), 7);
    mirror.end(&[key]);
    assert_eq!(told(&mut mirror), []);
    let known = mirror.backend(&id("a")).unwrap();
    assert_eq!(
        (known.revision, known.life.clone()),
        (7, Some((life(2), author(OWN).name)))
    );
}

#[test]
fn a_commit_that_nobody_waits_for_is_news_when_it_is_done_after_all() {
    let mut mirror = mirror();
    let key = under_way(&mut mirror, "a");
    mirror.end(&[key]);
    put(&mut mirror, "a", 1, OWN, 5);
    assert_eq!(told(&mut mirror), [registered("a", 1), owned("a", 1, OWN)]);
}

#[test]
fn only_the_owner_has_changed_and_that_alone_is_told() {
    let mut mirror = mirror();
    put(&mut mirror, "a", 1, OTHER, 5);
    told(&mut mirror);
    let before = kv(&record("a", 1), OTHER, 5);
    mirror.put(&kv(&record("a", 1), OWN, 6), Some(&before)).unwrap();
    assert_eq!(told(&mut mirror), [owned("a", 1, OWN)]);
    // What was there is not what was known: something may have changed that was not seen.
    mirror
        .put(&kv(&record("a", 1), OTHER, 9), Some(&kv(&record("a", 1), OWN, 8)))
        .unwrap();
    assert_eq!(told(&mut mirror), [registered("a", 1), owned("a", 1, OTHER)]);
}

#[test]
fn a_change_that_waits_is_told_though_its_owner_changes_meanwhile() {
    let mut mirror = mirror();
    put(&mut mirror, "a", 1, OTHER, 5);
    let before = kv(&record("a", 1), OTHER, 5);
    mirror.put(&kv(&record("a", 1), OTHER, 6), Some(&before)).unwrap();
    assert_eq!(told(&mut mirror), [registered("a", 1), owned("a", 1, OTHER)]);
    put(&mut mirror, "a", 2, OTHER, 7);
    mirror.adopted(stored("a", 2, OWN), 8);
    assert_eq!(told(&mut mirror), [registered("a", 2), owned("a", 2, OWN)]);
}

#[test]
fn an_adoption_and_an_end_of_ones_own_are_told_once_whoever_tells_first() {
    for watch_first in [false, true] {
        let mut mirror = mirror();
        put(&mut mirror, "a", 1, OTHER, 5);
        told(&mut mirror);
        let before = kv(&record("a", 1), OTHER, 5);
        let watch = |mirror: &mut Mirror| mirror.put(&kv(&record("a", 1), OWN, 6), Some(&before)).unwrap();
        if watch_first {
            watch(&mut mirror);
            mirror.adopted(stored("a", 1, OWN), 6);
        } else {
            mirror.adopted(stored("a", 1, OWN), 6);
            watch(&mut mirror);
        }
        assert_eq!(told(&mut mirror), [owned("a", 1, OWN)]);
        let key = keys().backend(&id("a"));
        if watch_first {
            mirror.deleted(&key, 7, None);
            mirror.ended(&id("a"), life(1), 7);
        } else {
            mirror.ended(&id("a"), life(1), 7);
            mirror.deleted(&key, 7, None);
        }
        assert_eq!(told(&mut mirror), [gone("a", 1)]);
    }
}

#[test]
fn what_was_written_over_meanwhile_is_no_news_any_more() {
    let mut mirror = mirror();
    put(&mut mirror, "a", 1, OTHER, 5);
    mirror.wrote(stored("a", 2, OWN), 6);
    assert_eq!(told(&mut mirror), []);
    // And what the watch tells late is older than what the answer told.
    put(&mut mirror, "a", 1, OTHER, 5);
    mirror.deleted(&keys().backend(&id("a")), 5, None);
    assert_eq!(told(&mut mirror), []);
    assert_eq!(mirror.backend(&id("a")).unwrap().revision, 6);
}

#[test]
fn what_waits_is_dropped_when_this_process_deletes_what_it_is_about() {
    let mut mirror = mirror();
    put(&mut mirror, "a", 1, OTHER, 5);
    mirror.erased(&id("a"), life(1), 6);
    mirror.put(&of_overrides("a", 7, OTHER, 7), None).unwrap();
    mirror.set(&Overridden::nothing(id("a")), 8);
    assert_eq!(told(&mut mirror), []);
    // Nor does it return by a watch that begins again.
    put(&mut mirror, "a", 1, OTHER, 5);
    assert_eq!(told(&mut mirror), []);
    put(&mut mirror, "a", 2, OTHER, 9);
    assert_eq!(told(&mut mirror), [registered("a", 2), owned("a", 2, OTHER)]);
}

#[test]
fn an_image_replaces_everything_and_what_waited() {
    let mut mirror = mirror();
    put(&mut mirror, "a", 1, OTHER, 5);
    mirror.lose("silent".to_owned());
    mirror.lose("still silent".to_owned());
    let mut broken = kv(&record("c", 1), OTHER, 8);
    broken.value = Bytes::from_static(b"{}");
    let kvs = vec![
        kv(&record("b", 9), OTHER, 7),
        broken,
        kv(&record("d", 3), OWN, 9),
        member("me", 3),
        member("other", 4),
    ];
    mirror.begin_load();
    let loaded = mirror.replace(image(9, kvs)).into_loaded();
    assert_eq!(loaded.records, [record("d", 3), record("b", 9)]);
    assert_eq!(
        loaded.owned,
        [stored("d", 3, OWN).owned(), stored("b", 9, OTHER).owned()]
    );
    assert_eq!(loaded.members, [author(OTHER).name]);
    assert_eq!(loaded.findings.len(), 1);
    mirror.regain();
    mirror.regain();
    let reason = "silent".to_owned();
    assert_eq!(told(&mut mirror), [Update::Lost { reason }, Update::Restored]);
    assert_eq!(mirror.backend(&id("a")), None);
    assert_eq!(
        mirror.backend(&id("c")).map(|known| known.life.clone()),
        Some(None)
    );
}

/// What a resync tells, after what `write` has done since an image of revision 10 was taken, in which `a` is there.
fn resync_after(write: impl Fn(&mut Mirror), waits: bool) -> Loaded {
    let mut mirror = mirror();
    let kvs = || vec![kv(&record("a", 1), OTHER, 5), of_overrides("a", 1, OTHER, 6)];
    mirror.replace(image(6, kvs()));
    mirror.begin_load();
    if !waits {
        write(&mut mirror);
    }
    let picture = mirror.replace(image(10, kvs()));
    mirror.resync(picture);
    if waits {
        write(&mut mirror);
    }
    let updates = told(&mut mirror);
    let [Update::Resync(loaded), ..] = &updates[..] else {
        panic!("{updates:?}")
    };
    // The watch tells it again, from the image on.
    mirror.deleted(&keys().backend(&id("a")), 11, None);
    assert_eq!(told(&mut mirror), []);
    loaded.clone()
}

#[test]
fn a_resync_neither_drops_nor_undoes_what_was_committed_since_its_image_was_taken() {
    for waits in [false, true] {
        let loaded = resync_after(
            |mirror| {
                mirror.erased(&id("a"), life(1), 11);
                mirror.wrote(stored("b", 2, OWN), 12);
                mirror.set(&Overridden::nothing(id("a")), 13);
                mirror.set(&weighing("b", 5), 14);
            },
            waits,
        );
        assert_eq!(loaded.records, [record("b", 2)]);
        assert_eq!(loaded.owned, [stored("b", 2, OWN).owned()]);
        assert_eq!(loaded.overrides, [weighing("b", 5)]);
        let loaded = resync_after(|mirror| mirror.ended(&id("a"), life(1), 11), waits);
        assert_eq!(loaded.records, []);
        let loaded = resync_after(|mirror| mirror.adopted(stored("a", 1, OWN), 12), waits);
        assert_eq!(loaded.owned, [stored("a", 1, OWN).owned()]);
    }
}

#[test]
fn an_image_is_later_than_what_was_committed_before_it() {
    let mut mirror = mirror();
    mirror.begin_load();
    mirror.wrote(stored("b", 2, OWN), 7);
    let picture = mirror.replace(image(10, Vec::new()));
    assert_eq!(picture.into_loaded().records, []);
    assert_eq!(mirror.backend(&id("b")), None);
    // A load that fails forgets what it has gathered.
    mirror.begin_load();
    mirror.give_up_load();
    mirror.wrote(stored("b", 3, OWN), 12);
    assert_eq!(mirror.replace(image(11, Vec::new())).into_loaded().records, []);
}

#[test]
fn what_others_did_after_an_image_is_told_again_by_the_watch() {
    let mut mirror = mirror();
    put(&mut mirror, "a", 1, OTHER, 5);
    // Found by a transaction, before the watch has told it.
    mirror.answer_gone(&id("a"), life(1), 12);
    told(&mut mirror);
    mirror.begin_load();
    let picture = mirror.replace(image(10, vec![kv(&record("a", 1), OTHER, 5)]));
    assert_eq!(picture.into_loaded().records, [record("a", 1)]);
    mirror.deleted(&keys().backend(&id("a")), 11, None);
    assert_eq!(told(&mut mirror), [gone("a", 1)]);
}

#[test]
fn other_proxies_join_and_part_and_this_one_does_neither() {
    let mut mirror = mirror();
    let other = author(OTHER).name;
    for revision in [3, 4] {
        mirror.put(&member("other", revision), None).unwrap();
        mirror.put(&member("me", revision), None).unwrap();
    }
    mirror.deleted(&keys().proxy(&author(OWN).name), 5, None);
    // From before it was written again.
    mirror.deleted(&keys().proxy(&other), 3, None);
    assert_eq!(told(&mut mirror), [Update::Joined(other.clone())]);
    mirror.deleted(&keys().proxy(&other), 6, None);
    mirror.deleted(&keys().proxy(&other), 6, None);
    assert_eq!(told(&mut mirror), [Update::Parted(other)]);
}

#[test]
fn what_another_proxy_has_heard_is_told_and_what_this_one_has_is_not() {
    let mut mirror = mirror();
    let heard = |name: &str, value: Bytes| KeyValue {
        key: keys().heard(&ProxyName::parse(name).unwrap(), 0),
        mod_revision: 4,
        value,
        lease: 1,
    };
    let ids = vec![id("a"), id("b")];
    let value = encoding::heard(&ids).remove(0);
    mirror.put(&heard("me", value.clone()), None).unwrap();
    mirror.put(&heard("other", value), None).unwrap();
    mirror
        .put(&heard("other", Bytes::from_static(b"x")), None)
        .unwrap();
    assert_eq!(told(&mut mirror), [Update::Heard(ids)]);
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
    let findings = mirror().replace(image(9, kvs)).into_loaded().findings;
    assert_eq!(findings.len(), 21);
    assert!(findings[20].message.contains("980 more"), "{:?}", findings[20]);
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
