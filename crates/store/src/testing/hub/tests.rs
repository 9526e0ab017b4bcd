use edgeproxy_backend::Incarnation;

use super::*;
use crate::testing::{Medium, disabled, gone, id, life, record, registered};

struct Restarted(Hub);

impl Medium for Restarted {
    fn open(&mut self) -> Box<dyn Store> {
        Box::new(self.0.proxy("a"))
    }
}

crate::contract!(Restarted(Hub::new()));

fn held(number: u32, incarnation: u64, owner: &str) -> Held {
    Held {
        id: id(number),
        incarnation: life(incarnation),
        owner: named(owner),
    }
}

async fn two() -> (Hub, HubStore, HubStore) {
    let hub = Hub::new();
    let (a, b) = (hub.proxy("a"), hub.proxy("b"));
    a.load().await.unwrap();
    assert_eq!(b.load().await.unwrap().members, [named("a")]);
    assert_eq!(a.update().await, Update::Joined(named("b")));
    (hub, a, b)
}

async fn owned_by(store: &HubStore, number: u32, incarnation: u64, owner: &str) {
    let Update::Owned(owned) = store.update().await else {
        panic!("no owner")
    };
    assert_eq!(
        (owned.id, owned.incarnation, owned.owner),
        (id(number), life(incarnation), named(owner))
    );
}

async fn registration(store: &HubStore, number: u32, incarnation: u64, owner: &str) {
    assert_eq!(
        store.update().await,
        Update::Changed(registered(number, incarnation))
    );
    owned_by(store, number, incarnation, owner).await;
}

/// That nothing waits before a change that `other` makes.
async fn is_silent(store: &HubStore, other: &HubStore) {
    other.commit(&[disabled(99)]).await.unwrap();
    assert_eq!(store.update().await, Update::Changed(disabled(99)));
}

#[tokio::test(start_paused = true)]
async fn a_registration_is_told_to_the_others_with_its_owner_and_not_to_who_wrote_it() {
    let (_hub, a, b) = two().await;
    a.commit(&[registered(1, 1), disabled(1), gone(2, 1)])
        .await
        .unwrap();
    registration(&b, 1, 1, "a").await;
    assert_eq!(b.update().await, Update::Changed(disabled(1)));
    is_silent(&a, &b).await;
}

#[tokio::test(start_paused = true)]
async fn an_adoption_and_an_end_are_told_to_all_and_what_is_held_otherwise_is_left_alone() {
    let (hub, a, b) = two().await;
    a.commit(&[registered(1, 1), registered(2, 5)]).await.unwrap();
    registration(&b, 1, 1, "a").await;
    registration(&b, 2, 5, "a").await;
    b.adopt(&[held(1, 1, "a"), held(2, 4, "a"), held(3, 9, "a")])
        .await
        .unwrap();
    owned_by(&a, 1, 1, "b").await;
    owned_by(&b, 1, 1, "b").await;
    registration(&b, 2, 5, "a").await;
    assert_eq!(b.update().await, Update::Changed(gone(3, 9)));
    b.end(&[held(1, 1, "a")]).await.unwrap();
    owned_by(&b, 1, 1, "b").await;
    b.end(&[held(1, 1, "b")]).await.unwrap();
    assert_eq!(a.update().await, Update::Changed(gone(1, 1)));
    assert_eq!(b.update().await, Update::Changed(gone(1, 1)));
    assert_eq!(hub.owner(&id(2)), Some((life(5), named("a"))));
    assert_eq!(hub.len(), 1);
    // It does not return.
    a.commit(&[registered(1, 1)]).await.unwrap();
    assert_eq!(a.update().await, Update::Changed(gone(1, 1)));
}

#[tokio::test(start_paused = true)]
async fn what_is_heard_is_told_to_the_others() {
    let (_hub, a, b) = two().await;
    a.tell(&[id(1), id(2)]).await.unwrap();
    assert_eq!(b.update().await, Update::Heard(vec![id(1), id(2)]));
    is_silent(&a, &b).await;
}

#[tokio::test(start_paused = true)]
async fn cut_off_is_noticed_on_both_sides_and_what_was_missed_comes_after() {
    let (hub, a, b) = two().await;
    let began = Instant::now();
    hub.cut("b");
    a.commit(&[registered(1, 1)]).await.unwrap();
    assert!(matches!(b.update().await, Update::Lost { .. }));
    assert_eq!(began.elapsed(), PATIENCE);
    assert_eq!(a.update().await, Update::Parted(named("b")));
    assert_eq!(began.elapsed(), MEMBER_TTL);
    assert!(b.commit(&[registered(2, 2)]).await.is_err());
    hub.heal("b");
    assert_eq!(b.update().await, Update::Restored);
    registration(&b, 1, 1, "a").await;
    assert_eq!(a.update().await, Update::Joined(named("b")));
    b.commit(&[registered(2, 2)]).await.unwrap();
    registration(&a, 2, 2, "b").await;
}

#[tokio::test(start_paused = true)]
async fn a_compaction_while_it_is_cut_off_ends_in_a_resync() {
    let (hub, a, b) = two().await;
    hub.cut("b");
    a.commit(&[registered(1, 1)]).await.unwrap();
    hub.compact();
    assert!(matches!(b.update().await, Update::Lost { .. }));
    hub.heal("b");
    assert_eq!(b.update().await, Update::Restored);
    let Update::Resync(loaded) = b.update().await else {
        panic!("no resync")
    };
    assert_eq!(loaded.records, [record(1, 1, 0)]);
    assert_eq!((loaded.members, loaded.owned.len()), (vec![named("a")], 1));
}

#[tokio::test(start_paused = true)]
async fn while_all_are_cut_off_no_membership_ends() {
    let (hub, a, b) = two().await;
    hub.cut_all();
    for store in [&a, &b] {
        assert!(matches!(store.update().await, Update::Lost { .. }));
    }
    sleep(MEMBER_TTL * 10).await;
    hub.heal_all();
    for store in [&a, &b] {
        assert_eq!(store.update().await, Update::Restored);
    }
    is_silent(&a, &b).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_leaves_what_was_done() {
    let (hub, a, b) = two().await;
    hub.lose_answers("a", 1);
    assert!(a.commit(&[registered(1, 1)]).await.is_err());
    registration(&b, 1, 1, "a").await;
    a.commit(&[registered(1, 1)]).await.unwrap();
    owned_by(&b, 1, 1, "a").await;
}

#[tokio::test(start_paused = true)]
async fn who_crashes_is_missed_who_leaves_is_not_and_one_that_restarts_soon_was_never_away() {
    let (hub, a, b) = two().await;
    b.leave().await;
    assert_eq!(a.update().await, Update::Parted(named("b")));
    assert!(b.commit(&[registered(1, 1)]).await.is_err());
    b.load().await.unwrap();
    assert_eq!(a.update().await, Update::Joined(named("b")));
    drop(b);
    let b = hub.proxy("b");
    b.load().await.unwrap();
    is_silent(&a, &b).await;
    let began = Instant::now();
    drop(b);
    assert_eq!(a.update().await, Update::Parted(named("b")));
    assert_eq!(began.elapsed(), MEMBER_TTL);
}

#[tokio::test(start_paused = true)]
async fn one_that_starts_while_the_store_is_away_begins_alone_and_is_told_everything_later() {
    let (hub, a, _b) = two().await;
    a.commit(&[registered(1, 1)]).await.unwrap();
    hub.cut("c");
    let c = hub.proxy("c");
    let loaded = c.load().await.unwrap();
    assert_eq!((loaded.records.len(), loaded.findings.len()), (0, 1));
    assert!(matches!(c.update().await, Update::Lost { .. }));
    hub.heal("c");
    assert_eq!(c.update().await, Update::Restored);
    let Update::Resync(loaded) = c.update().await else {
        panic!("no resync")
    };
    assert_eq!(loaded.records, [record(1, 1, 0)]);
    assert!(loaded.next_incarnation > Some(Incarnation::FIRST));
    assert_eq!(a.update().await, Update::Joined(named("c")));
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_is_done_halfway_and_changes_are_told_meanwhile() {
    let (hub, a, b) = two().await;
    hub.slow(Duration::from_secs(2));
    let began = Instant::now();
    let batch = [registered(1, 1)];
    let seen = async {
        registration(&b, 1, 1, "a").await;
        began.elapsed()
    };
    let (committed, seen) = tokio::join!(a.commit(&batch), seen);
    committed.unwrap();
    assert_eq!(
        (seen, began.elapsed()),
        (Duration::from_secs(1), Duration::from_secs(2))
    );
}

#[tokio::test(start_paused = true)]
async fn what_waits_to_be_told_is_as_what_this_proxy_has_written_since() {
    let (hub, a, b) = two().await;
    a.commit(&[registered(1, 1), registered(2, 2), registered(3, 3)])
        .await
        .unwrap();
    hub.cut("b");
    a.commit(&[disabled(4)]).await.unwrap();
    hub.compact();
    hub.heal("b");
    // A call that is answered brings all that there is into the line of what b is to be told.
    b.end(&[held(3, 3, "a")]).await.unwrap();
    b.commit(&[gone(1, 1), registered(5, 9)]).await.unwrap();
    let Update::Resync(loaded) = b.update().await else {
        panic!("it was forgotten what has happened")
    };
    let ids: Vec<_> = loaded
        .records
        .iter()
        .map(|record| record.backend.id.clone())
        .collect();
    assert_eq!(ids, [id(2), id(5)], "1 is gone, by its own word");
}
