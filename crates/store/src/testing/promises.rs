//! One function for each promise.

use std::net::Ipv6Addr;
use std::task::{Context, Waker};
use std::time::Duration;

use edgeproxy_backend::{BackendAddr, BackendId, Metadata, Weight};
use edgeproxy_registry::{Overridden, Overrides, Write};

use super::{Medium, disabled, gone, id, life, record, registered};
use crate::{Loaded, Store};

async fn load(store: &dyn Store) -> Loaded {
    let loaded = store.load().await.expect("it can be loaded");
    assert_eq!(loaded.findings, [], "nothing is wrong with it");
    loaded
}

async fn commit(store: &dyn Store, writes: &[Write]) {
    store.commit(writes).await.expect("it can be kept");
}

/// What a restart finds after these batches.
async fn kept_of(medium: &mut impl Medium, batches: &[&[Write]]) -> Loaded {
    let store = medium.open();
    let fresh = load(&*store).await;
    // Where proxies share it even the first incarnation is not the same for all.
    let next_incarnation = fresh.next_incarnation;
    let empty = Loaded {
        next_incarnation,
        ..Loaded::default()
    };
    assert_eq!(fresh, empty, "a fresh medium is empty");
    for batch in batches {
        commit(&*store, batch).await;
    }
    drop(store);
    load(&*medium.open()).await
}

/// Loaded: all that was committed, oldest incarnation first.
pub async fn what_was_committed_is_loaded_oldest_incarnation_first(medium: &mut impl Medium) {
    let loaded = kept_of(
        medium,
        &[&[registered(1, 4), registered(3, 1)], &[], &[registered(2, 2)]],
    )
    .await;
    assert_eq!(
        loaded.records,
        [record(3, 1, 0), record(2, 2, 0), record(1, 4, 0)]
    );
    assert!(loaded.next_incarnation > Some(life(4)));
}

/// A registration comes back as it was: every protocol, text that needs escapes, the longest metadata and id, IPv6, and
/// a weight of 0.
pub async fn every_field_survives(medium: &mut impl Medium) {
    let mut records: Vec<_> = (0..24_u16)
        .map(|n| record(n.into(), u64::from(n) + 1, n * 97))
        .collect();
    let longest = &mut records[23].backend;
    longest.id = BackendId::parse(&"x".repeat(BackendId::MAX_LEN)).expect("an id");
    longest.addr = BackendAddr::new(Ipv6Addr::LOCALHOST.into(), u16::MAX).expect("an address");
    longest.weight = Weight::ZERO;
    let pairs = (0..32).map(|n| (format!("{n:08}"), "\u{1}".repeat(120)));
    longest.metadata = Metadata::new(pairs).expect("4,096 bytes");
    records[23].ttl = Duration::from_millis(5_001);

    let writes: Vec<_> = records.iter().cloned().map(Write::Registered).collect();
    let loaded = kept_of(medium, &[&writes]).await;
    assert_eq!(loaded.records, records);
}

/// Of several writes for one id the latest holds, within a batch and from batch to batch.
pub async fn the_latest_write_of_an_id_is_what_is_kept(medium: &mut impl Medium) {
    let renewed = Write::Registered(record(1, 1, 5));
    let moved = Write::Registered(record(2, 7, 9));
    let loaded = kept_of(
        medium,
        &[
            &[
                registered(1, 1),
                renewed,
                registered(2, 2),
                registered(3, 3),
                gone(3, 3),
            ],
            &[moved, registered(4, 4), registered(5, 5)],
            &[gone(4, 6), registered(6, 8), gone(5, 5), registered(5, 9)],
        ],
    )
    .await;
    let expected = [record(1, 1, 5), record(2, 7, 9), record(6, 8, 0), record(5, 9, 0)];
    assert_eq!(loaded.records, expected);
}

/// Whoever speaks of a life that has ended changes nothing about the one that followed.
pub async fn a_write_of_an_older_life_changes_nothing(medium: &mut impl Medium) {
    let late = Write::Registered(record(1, 2, 5));
    let loaded = kept_of(
        medium,
        &[
            &[registered(1, 3), late.clone(), registered(2, 4)],
            &[late, gone(1, 1), gone(2, 3)],
        ],
    )
    .await;
    assert_eq!(loaded.records, [record(1, 3, 0), record(2, 4, 0)]);
}

/// An operator's change belongs to the id and an app: it outlives registrations, and needs none.
pub async fn overrides_live_apart_from_registrations_and_the_default_clears_them(medium: &mut impl Medium) {
    let all = Overrides {
        enabled: Some(true),
        weight: Some(Weight::MAX),
        soft_limit: Some(0),
        hard_limit: Some(u32::MAX),
    };
    let app = |variant| Some(record(1, 1, variant).backend.app);
    let of = |number, app, overrides| Overridden {
        id: id(number),
        app,
        overrides,
    };
    let set = |number, app, overrides| Write::Overridden(of(number, app, overrides));
    let loaded = kept_of(
        medium,
        &[
            &[
                set(1, app(1), all),
                disabled(2),
                registered(2, 1),
                disabled(3),
                disabled(4),
                set(6, None, all),
            ],
            &[
                gone(2, 1),
                Write::Overridden(Overridden::nothing(id(3))),
                set(4, app(2), all),
                set(5, app(1), Overrides::default()),
            ],
        ],
    )
    .await;
    assert_eq!(loaded.records, []);
    let mut overrides = loaded.overrides;
    overrides.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let off = Overrides {
        enabled: Some(false),
        ..Overrides::default()
    };
    let expected = [
        of(1, app(1), all),
        of(2, app(0), off),
        // Of one id there is one.
        of(4, app(2), all),
        // An earlier version kept it.
        of(6, None, all),
    ];
    assert_eq!(overrides, expected);
}

/// The next number is later than all that were committed, of backends that are gone as well, after any number of
/// restarts.
pub async fn an_incarnation_is_never_used_again_though_everything_is_gone(medium: &mut impl Medium) {
    let batches: [&[Write]; 2] = [&[registered(1, 1), registered(2, 8)], &[gone(2, 8), gone(1, 9)]];
    let loaded = kept_of(medium, &batches).await;
    assert_eq!(loaded.records, []);
    assert!(
        loaded.next_incarnation > Some(life(9)),
        "{:?}",
        loaded.next_incarnation
    );
    for _ in 0..2 {
        let again = load(&*medium.open()).await;
        assert!(again.next_incarnation >= loaded.next_incarnation);
    }
}

/// Writes tell what is, so it harms nothing to commit them again.
pub async fn a_batch_committed_twice_is_committed_once(medium: &mut impl Medium) {
    let batch = [
        registered(1, 1),
        registered(2, 2),
        gone(1, 1),
        disabled(2),
        registered(3, 3),
    ];
    let loaded = kept_of(medium, &[&batch, &batch]).await;
    assert_eq!(loaded.records, [record(2, 2, 0), record(3, 3, 0)]);
    assert_eq!(loaded.overrides.len(), 1);
}

/// A caller that gives up on a commit has it done or not, and can go on.
pub async fn a_commit_that_nobody_waits_for_harms_nothing(medium: &mut impl Medium) {
    let store = medium.open();
    load(&*store).await;
    for incarnation in 1..=20 {
        let dropped = [registered(1, incarnation), registered(2, 100 + incarnation)];
        let mut given_up = store.commit(&dropped);
        // To the first point at which it waits, which is where a caller's time-out leaves it.
        let _ = given_up.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
    commit(&*store, &[registered(1, 200)]).await;
    drop(store);
    let loaded = load(&*medium.open()).await;
    assert_eq!(loaded.records.last(), Some(&record(1, 200, 0)));
    let other = loaded.records.iter().find(|record| record.backend.id == id(2));
    assert!(
        other.is_none_or(|other| *other == record(2, other.incarnation.get(), 0)),
        "{other:?}"
    );
    assert!(loaded.records.len() <= 2);
}

/// 3,000 registrations in one batch, half of which are gone with the next.
pub async fn a_storm_is_kept_whole(medium: &mut impl Medium) {
    let storm: Vec<_> = (0..3_000).map(|n| registered(n, u64::from(n) + 1)).collect();
    let ebb: Vec<_> = (0..3_000).step_by(2).map(|n| gone(n, u64::from(n) + 1)).collect();
    let loaded = kept_of(medium, &[&storm, &ebb]).await;
    let left: Vec<_> = (1..3_000)
        .step_by(2)
        .map(|n| record(n, u64::from(n) + 1, 0))
        .collect();
    assert_eq!(loaded.records, left);
}
