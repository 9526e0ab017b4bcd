//! One member, nothing in the way.

use edgeproxy_store::{Shared as _, Store as _, Update};

use crate::Test;
use crate::rows::{
    change, commit, gone, id, is_silent, life, load, overridden, record, registered, update, weight,
};
use crate::server::{Servers, run, settings, store};

pub(crate) const TESTS: &[Test] = &[
    (
        "what_was_committed_is_loaded_oldest_life_first",
        committed_is_loaded,
    ),
    (
        "a_write_for_a_life_that_is_over_changes_nothing_and_is_answered",
        older_lives,
    ),
    (
        "no_incarnation_is_given_twice_whoever_starts_and_whatever_is_gone",
        incarnations,
    ),
    (
        "what_a_store_writes_itself_is_no_news_to_it_and_is_to_the_others",
        echoes,
    ),
    (
        "two_proxies_change_one_backend_the_higher_incarnation_wins_everywhere",
        higher_wins,
    ),
    ("a_late_write_brings_nobody_back", no_return),
    (
        "ten_thousand_are_committed_in_transactions_that_etcd_takes_and_loaded_in_pages",
        many,
    ),
    (
        "a_value_that_cannot_be_read_is_a_finding_and_is_written_over_by_a_registration",
        unreadable,
    ),
    (
        "a_proxy_that_leaves_is_gone_at_once_and_one_with_its_name_displaces_it",
        names,
    ),
    (
        "nothing_is_committed_before_a_load_and_an_etcd_that_is_not_there_is_named",
        not_there,
    ),
];

fn committed_is_loaded() {
    let servers = Servers::one();
    run(async {
        let a = store(&servers, "a");
        let empty = load(&a).await;
        assert!(empty.records.is_empty() && empty.overrides.is_empty() && empty.findings.is_empty());
        let batch = [
            registered("late", 9),
            registered("x", 3),
            gone("x", 3),
            registered("early", 4),
            weight("nobody", Some(5)),
            weight("early", Some(1)),
            weight("early", None),
            registered("y", 5),
            registered("y", 6),
        ];
        // Twice, as after an answer that was lost.
        commit(&a, &batch).await;
        commit(&a, &batch).await;
        let loaded = load(&store(&servers, "b")).await;
        assert_eq!(
            loaded.records,
            [record("early", 4), record("y", 6), record("late", 9)]
        );
        assert_eq!(loaded.overrides, [overridden("nobody", Some(5))]);
        commit(
            &a,
            &[
                gone("late", 9),
                gone("early", 4),
                gone("y", 6),
                weight("nobody", None),
            ],
        )
        .await;
        let loaded = load(&store(&servers, "c")).await;
        assert_eq!((loaded.records, loaded.overrides), (vec![], vec![]));
    });
}

fn older_lives() {
    let servers = Servers::one();
    run(async {
        let a = store(&servers, "a");
        load(&a).await;
        commit(&a, &[registered("x", 7)]).await;
        for late in [registered("x", 6), gone("x", 6)] {
            commit(&a, &[registered("y", 1), late]).await;
            assert_eq!(update(&a).await, Update::Changed(registered("x", 7)));
        }
        // A life in one batch with its end, and the end told twice.
        commit(&a, &[gone("x", 7)]).await;
        commit(&a, &[gone("x", 7)]).await;
        commit(&a, &[registered("x", 7)]).await;
        assert_eq!(update(&a).await, Update::Changed(gone("x", 7)));
        assert_eq!(load(&store(&servers, "b")).await.records, [record("y", 1)]);
    });
}

fn incarnations() {
    let servers = Servers::one();
    run(async {
        let mut given = std::collections::BTreeSet::new();
        let mut highest = 0;
        for start in 0..4 {
            let a = store(&servers, "a");
            let next = load(&a).await.next_incarnation.unwrap().get();
            assert!(next > highest, "start {start}: {next} after {highest}");
            // As the registry gives them, past what was set aside beforehand.
            for n in [0, 1, 1023, 1024, 5000] {
                let incarnation = next + n * a.stride().get();
                assert!(
                    given.insert(
                        incarnation % a.stride().get() + n * a.stride().get() * 1_000_000 + incarnation
                    )
                );
                commit(&a, &[registered("x", incarnation)]).await;
                highest = incarnation;
            }
            commit(&a, &[gone("x", highest)]).await;
        }
        let (a, b) = (
            load(&store(&servers, "a")).await,
            load(&store(&servers, "b")).await,
        );
        let rest = |loaded: &edgeproxy_store::Loaded| loaded.next_incarnation.unwrap().get() % (1 << 16);
        assert_ne!(rest(&a), rest(&b), "they differ in the bits below the stride");
    });
}

fn echoes() {
    let servers = Servers::one();
    run(async {
        let (a, b) = (store(&servers, "a"), store(&servers, "b"));
        load(&a).await;
        load(&b).await;
        for write in [
            registered("x", 1),
            weight("x", Some(3)),
            registered("x", 2),
            weight("x", None),
            gone("x", 2),
        ] {
            commit(&a, std::slice::from_ref(&write)).await;
            assert_eq!(update(&b).await, Update::Changed(write));
        }
        is_silent(&a, &b).await;
    });
}

fn higher_wins() {
    let servers = Servers::one();
    run(async {
        let (a, b) = (store(&servers, "a"), store(&servers, "b"));
        load(&a).await;
        load(&b).await;
        for round in 0..20 {
            let (low, high) = (registered("x", round * 10 + 1), registered("x", round * 10 + 2));
            // In either order, and at once.
            let (first, second) = if round % 2 == 0 {
                (&low, &high)
            } else {
                (&high, &low)
            };
            let both = (std::slice::from_ref(first), std::slice::from_ref(second));
            tokio::join!(commit(&a, both.0), commit(&b, both.1));
            let loser = if round % 2 == 0 { &a } else { &b };
            while change(loser).await != high {}
            let loaded = load(&store(&servers, "c")).await;
            assert_eq!(loaded.records, [record("x", round * 10 + 2)]);
        }
    });
}

fn no_return() {
    let servers = Servers::one();
    run(async {
        let (a, b) = (store(&servers, "a"), store(&servers, "b"));
        load(&a).await;
        commit(&a, &[registered("x", 5)]).await;
        load(&b).await;
        // Whether a has heard of it yet or not.
        commit(&b, &[gone("x", 5)]).await;
        commit(&a, &[registered("x", 5)]).await;
        assert_eq!(change(&a).await, gone("x", 5));
        commit(&a, &[registered("x", 6)]).await;
        assert_eq!(load(&store(&servers, "c")).await.records, [record("x", 6)]);
    });
}

fn many() {
    let servers = Servers::one();
    run(async {
        let a = store(&servers, "a");
        load(&a).await;
        // One is as long as one can be: half a batch of them is more than etcd takes at a time.
        let mut long = record("long", 1);
        let pairs = (0..32).map(|n| (format!("{n:04}"), "\u{1}".repeat(124)));
        long.backend.metadata = edgeproxy_backend::Metadata::new(pairs).unwrap();
        let batch: Vec<_> = (1..=10_000_u64)
            .map(|n| {
                let mut record = if n % 50 < 3 {
                    long.clone()
                } else {
                    record("short", 1)
                };
                record.backend.id = id(&format!("b-{n:05}"));
                record.incarnation = life(n);
                edgeproxy_registry::Write::Registered(record)
            })
            .collect();
        commit(&a, &batch).await;
        let loaded = load(&store(&servers, "b")).await;
        assert_eq!(loaded.records.len(), 10_000);
        for (write, record) in batch.into_iter().zip(loaded.records) {
            assert_eq!(write, edgeproxy_registry::Write::Registered(record));
        }
    });
}

fn unreadable() {
    let servers = Servers::one();
    run(async {
        let a = store(&servers, "a");
        load(&a).await;
        commit(&a, &[registered("x", 1), registered("y", 2)]).await;
        servers.control(&["put", "/test/backends/x", "{}"]);
        servers.control(&["put", "/test/backends/not an id", "1"]);
        let b = store(&servers, "b");
        let loaded = load(&b).await;
        assert_eq!(loaded.records, [record("y", 2)]);
        let [finding] = &loaded.findings[..] else {
            panic!("{:?}", loaded.findings)
        };
        assert!(
            finding.is_loss
                && finding
                    .message
                    .contains("/test/backends/x is not what is kept there"),
            "{finding:?}"
        );
        commit(&b, &[registered("x", 3)]).await;
        let loaded = load(&store(&servers, "c")).await;
        assert_eq!(loaded.records, [record("y", 2), record("x", 3)]);
        assert!(loaded.findings.is_empty());
    });
}

fn names() {
    let servers = Servers::one();
    let members = || servers.control(&["get", "--prefix", "--keys-only", "/test/proxies/"]);
    run(async {
        let a = store(&servers, "a");
        load(&a).await;
        while !members().contains("/test/proxies/a") {
            tokio::task::yield_now().await;
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        a.leave().await;
        assert_eq!(members().trim(), "");
        assert!(a.commit(&[registered("x", 1)]).await.is_err());
        let first = store(&servers, "b");
        load(&first).await;
        let second = store(&servers, "b");
        load(&second).await;
        let Update::Lost { reason } = update(&first).await else {
            panic!("not lost")
        };
        assert!(
            reason.contains("another proxy that is called \"b\" too"),
            "{reason}"
        );
        assert!(
            first
                .commit(&[registered("x", 1)])
                .await
                .unwrap_err()
                .to_string()
                .contains("another proxy")
        );
        commit(&second, &[registered("x", 1)]).await;
    });
}

fn not_there() {
    run(async {
        let closed = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let mut settings = settings(&format!("etcd://{closed}/test"), "a");
        settings.load_timeout = std::time::Duration::from_millis(300);
        let a = edgeproxy_store::Etcd::new(settings);
        assert!(
            a.commit(&[])
                .await
                .unwrap_err()
                .to_string()
                .contains("has not been loaded")
        );
        let message = a.load().await.unwrap_err().to_string();
        assert!(
            message.contains(&closed.to_string()) && message.contains("refused"),
            "{message}"
        );
    });
}
