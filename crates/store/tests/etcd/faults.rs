//! One member, and what can come between.

use std::time::Duration;

use edgeproxy_registry::Write;
use edgeproxy_store::{Etcd, EtcdSettings, IfAway, ProxyName, Shared as _, Store as _, Update};

use crate::Test;
use crate::relay::{Relay, Traffic};
use crate::rows::{
    change, commit, commit_at_last, gone, is_silent, load, record, registered, until, update, weight,
};
use crate::server::{Servers, run, settings, store};

pub(crate) const TESTS: &[Test] = &[
    (
        "cut_off_in_both_directions_is_told_and_what_was_missed_comes_after",
        || cut_off(Traffic::Neither),
    ),
    (
        "cut_off_towards_etcd_is_told_and_what_was_missed_comes_after",
        || cut_off(Traffic::OnlyBack),
    ),
    (
        "cut_off_from_etcd_is_told_and_what_was_missed_comes_after",
        || cut_off(Traffic::OnlyThere),
    ),
    (
        "a_watch_that_is_compacted_while_it_is_lost_ends_in_a_full_resync",
        compacted,
    ),
    (
        "etcd_is_killed_and_returns_and_the_same_commit_is_done_then",
        killed,
    ),
    ("a_commit_whose_answer_is_lost_is_done_once", lost_answer),
    (
        "a_transaction_that_is_sent_again_undoes_nothing_that_was_done_meanwhile",
        sent_again,
    ),
    (
        "a_commit_that_failed_is_asked_again_and_brings_nobody_back_who_was_deleted_meanwhile",
        || asked_again(false),
    ),
    ("so_it_is_when_somebody_has_deleted_the_guard", || {
        asked_again(true)
    }),
    (
        "guards_of_proxies_that_are_gone_are_deleted_by_the_next_that_starts",
        guards,
    ),
    (
        "a_proxy_that_starts_while_etcd_is_away_begins_alone_and_what_registers_meanwhile_is_shared_later",
        begins_alone,
    ),
    (
        "nobody_reads_updates_and_the_watch_waits_and_loses_none",
        slow_reader,
    ),
];

fn through(relay: &Relay, servers: &Servers, proxy: &str) -> Etcd {
    Etcd::new(settings(
        &format!("{}://{}/test", servers.scheme(), relay.address),
        proxy,
    ))
}

fn cut_off(traffic: Traffic) {
    let servers = Servers::one();
    run(async {
        let relay = Relay::before(servers.port(0)).await;
        let (a, b) = (through(&relay, &servers, "a"), store(&servers, "b"));
        load(&a).await;
        load(&b).await;
        commit(&a, &[registered("mine", 1), registered("theirs", 2)]).await;
        relay.set(traffic);
        commit(&b, &[gone("theirs", 2), registered("new", 3)]).await;
        let told = update(&a).await;
        // What etcd sends may still arrive where only the questions don't.
        let told = if traffic == Traffic::OnlyBack && matches!(told, Update::Changed(_)) {
            until(&a, |update| matches!(update, Update::Lost { .. })).await
        } else {
            told
        };
        assert!(
            matches!(&told, Update::Lost { reason } if reason.contains("has not been heard of")),
            "{told:?}"
        );
        assert!(a.commit(&[registered("mine", 4)]).await.is_err());
        relay.set(Traffic::Both);
        commit_at_last(&a, &[registered("mine", 4)]).await;
        if traffic == Traffic::OnlyBack {
            until(&a, |update| *update == Update::Restored).await;
        } else {
            let mut changes = Vec::new();
            while changes.len() < 2 {
                if let Update::Changed(write) = update(&a).await {
                    changes.push(write);
                }
            }
            changes.sort_by_key(|write| write.id().clone());
            assert_eq!(changes, [registered("new", 3), gone("theirs", 2)]);
        }
        // What was written over before it was asked for is told no more.
        let last = registered("mine", 4);
        while change(&b).await != last {}
        let loaded = load(&store(&servers, "c")).await;
        assert_eq!(loaded.records, [record("new", 3), record("mine", 4)]);
    });
}

fn compacted() {
    let servers = Servers::one();
    run(async {
        let relay = Relay::before(servers.port(0)).await;
        let (a, b) = (through(&relay, &servers, "a"), store(&servers, "b"));
        load(&a).await;
        load(&b).await;
        commit(&a, &[registered("x", 1), registered("y", 2)]).await;
        relay.set(Traffic::Neither);
        commit(&b, &[gone("x", 1), registered("z", 3)]).await;
        let revision = servers.revision();
        servers.control(&["compact", &revision.to_string()]);
        until(&a, |update| matches!(update, Update::Lost { .. })).await;
        relay.set(Traffic::Both);
        assert_eq!(update(&a).await, Update::Restored);
        let Update::Resync(loaded) = update(&a).await else {
            panic!("no resync")
        };
        assert_eq!(loaded.records, [record("y", 2), record("z", 3)]);
        assert!(loaded.next_incarnation.is_some_and(|next| next.get() > 3));
        is_silent(&a, &b).await;
    });
}

fn killed() {
    let mut servers = Servers::one();
    run(async {
        let a = store(&servers, "a");
        load(&a).await;
        commit(&a, &[registered("x", 1)]).await;
        servers.kill(0);
        let message = a.commit(&[registered("x", 2)]).await.unwrap_err().to_string();
        assert!(message.contains("can't be reached"), "{message}");
        assert!(matches!(update(&a).await, Update::Lost { .. }));
        servers.start_again(0);
        assert_eq!(update(&a).await, Update::Restored);
        commit_at_last(&a, &[registered("x", 2)]).await;
        assert_eq!(load(&store(&servers, "b")).await.records, [record("x", 2)]);
    });
}

fn lost_answer() {
    let servers = Servers::one();
    run(async {
        let relay = Relay::before(servers.port(0)).await;
        let (a, b) = (through(&relay, &servers, "a"), store(&servers, "b"));
        load(&a).await;
        load(&b).await;
        commit(&a, &[registered("x", 1), registered("y", 1)]).await;
        assert_eq!(change(&b).await, registered("x", 1));
        assert_eq!(change(&b).await, registered("y", 1));
        relay.set(Traffic::OnlyThere);
        let batch = [registered("x", 2), gone("y", 1)];
        let writing = a.commit(&batch);
        let seen = async {
            assert_eq!(change(&b).await, registered("x", 2));
            assert_eq!(change(&b).await, gone("y", 1));
            relay.set(Traffic::Both);
        };
        // The commit asks again by itself.
        let (written, ()) = tokio::join!(writing, seen);
        if written.is_err() {
            commit_at_last(&a, &batch).await;
        }
        is_silent(&b, &a).await;
        assert_eq!(load(&store(&servers, "c")).await.records, [record("x", 2)]);
    });
}

fn sent_again() {
    let servers = Servers::one();
    run(async {
        let relay = Relay::before(servers.port(0)).await;
        let (a, b) = (through(&relay, &servers, "a"), store(&servers, "b"));
        load(&a).await;
        load(&b).await;
        commit(&a, &[weight("x", Some(1))]).await;
        relay.set(Traffic::OnlyThere);
        let batch = [registered("x", 1), weight("x", Some(2))];
        let writing = a.commit(&batch);
        let seen = async {
            while change(&b).await != weight("x", Some(2)) {}
            commit(&b, &[gone("x", 1), weight("x", Some(3))]).await;
            relay.set(Traffic::Both);
        };
        // It is asked again by itself, and finds that it was done.
        let (written, ()) = tokio::join!(writing, seen);
        written.unwrap();
        let mut told = [change(&a).await, change(&a).await];
        told.sort_by_key(|write| write == &weight("x", Some(3)));
        assert_eq!(told, [gone("x", 1), weight("x", Some(3))]);
        let loaded = load(&store(&servers, "c")).await;
        assert_eq!(loaded.records, []);
        let overrides: Vec<_> = loaded.overrides.into_iter().map(Write::Overridden).collect();
        assert_eq!(overrides, [weight("x", Some(3))]);
    });
}

fn asked_again(guard_is_deleted: bool) {
    let servers = Servers::one();
    run(async {
        let relay = Relay::before(servers.port(0)).await;
        let address = format!("etcd://{}/test", relay.address);
        let a = Etcd::new(EtcdSettings {
            total_timeout: Duration::from_millis(500),
            ..settings(&address, "a")
        });
        let b = store(&servers, "b");
        load(&a).await;
        load(&b).await;
        commit(&a, &[registered("y", 1)]).await;
        relay.set(Traffic::OnlyThere);
        assert!(a.commit(&[registered("x", 1)]).await.is_err());
        while change(&b).await != registered("x", 1) {}
        commit(&b, &[gone("x", 1)]).await;
        if guard_is_deleted {
            servers.control(&["del", "/test/commits/a"]);
        }
        relay.set(Traffic::Both);
        commit_at_last(&a, &[registered("x", 1)]).await;
        while change(&a).await != gone("x", 1) {}
        assert_eq!(load(&store(&servers, "c")).await.records, [record("y", 1)]);
        commit(&a, &[registered("x", 2)]).await;
        assert_eq!(
            load(&store(&servers, "c")).await.records,
            [record("y", 1), record("x", 2)]
        );
    });
}

fn guards() {
    let servers = Servers::one();
    let keys = || servers.control(&["get", "--prefix", "--keys-only", "/test/commits/"]);
    run(async {
        let watching = store(&servers, "watching");
        load(&watching).await;
        let gone = Etcd::new(EtcdSettings {
            member_ttl: Duration::from_secs(2),
            ..settings(&servers.address(), "gone")
        });
        load(&gone).await;
        commit(&gone, &[registered("x", 1)]).await;
        commit(&watching, &[registered("y", 2)]).await;
        let name = ProxyName::parse("gone").unwrap();
        until(&watching, |update| *update == Update::Joined(name.clone())).await;
        drop(gone);
        until(&watching, |update| *update == Update::Parted(name.clone())).await;
        assert_eq!(keys().split_whitespace().count(), 2);
        let next = store(&servers, "next");
        load(&next).await;
        assert_eq!(keys().trim(), "/test/commits/watching");
        commit(&next, &[registered("z", 3)]).await;
        next.leave().await;
        assert_eq!(keys().trim(), "/test/commits/watching");
    });
}

fn begins_alone() {
    let mut servers = Servers::one();
    run(async {
        let first = store(&servers, "first");
        load(&first).await;
        commit(&first, &[registered("x", 70_000), registered("y", 70_001)]).await;
        servers.kill(0);
        let a = Etcd::new(EtcdSettings {
            load_timeout: Duration::from_millis(300),
            if_away: IfAway::Begin,
            ..settings(&servers.address(), "a")
        });
        let loaded = load(&a).await;
        assert_eq!(loaded.records, []);
        let [finding] = &loaded.findings[..] else {
            panic!("{:?}", loaded.findings)
        };
        assert!(
            !finding.is_loss && finding.message.contains("can't be reached"),
            "{finding:?}"
        );
        assert!(matches!(update(&a).await, Update::Lost { .. }));
        // What registers meanwhile is later than what is there.
        let next = loaded.next_incarnation.unwrap();
        let meanwhile = registered("x", next.get());
        let message = a
            .commit(std::slice::from_ref(&meanwhile))
            .await
            .unwrap_err()
            .to_string();
        assert!(message.contains("since this proxy has started"), "{message}");
        servers.start_again(0);
        assert_eq!(update(&a).await, Update::Restored);
        let Update::Resync(resynced) = update(&a).await else {
            panic!("no resync")
        };
        assert_eq!(resynced.records, [record("x", 70_000), record("y", 70_001)]);
        let proper = resynced.next_incarnation.unwrap();
        assert!(proper.get() % (1 << 16) < 1 << 15 && next.get() % (1 << 16) >= 1 << 15);
        commit_at_last(&a, std::slice::from_ref(&meanwhile)).await;
        while change(&first).await != meanwhile {}
        let loaded = load(&store(&servers, "c")).await;
        assert_eq!(loaded.records, [record("y", 70_001), record("x", next.get())]);
        assert!(loaded.next_incarnation > Some(next));
    });
}

fn slow_reader() {
    let servers = Servers::one();
    run(async {
        let (a, b) = (store(&servers, "a"), store(&servers, "b"));
        load(&a).await;
        load(&b).await;
        // More than what waits at most, each with an id of its own.
        let batch: Vec<_> = (1..=9_000).map(|n| registered(&format!("b-{n:05}"), n)).collect();
        commit(&b, &batch).await;
        for write in batch {
            assert_eq!(update(&a).await, Update::Changed(write));
        }
        is_silent(&a, &b).await;
    });
}
