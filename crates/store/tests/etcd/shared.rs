//! Several proxies: who is there, whose lease is whose, and what has been heard.

use edgeproxy_registry::Write;
use edgeproxy_store::cluster::Owned;
use edgeproxy_store::{Etcd, Held, ProxyName, Shared as _, Update};

use crate::Test;
use crate::rows::{commit, gone, id, life, load, record, registered, told, until};
use crate::server::{Servers, run, store};

pub(crate) const TESTS: &[Test] = &[
    (
        "who_joins_and_leaves_is_told_to_the_others_and_is_in_a_load",
        members,
    ),
    ("an_owner_follows_each_registration_and_is_in_a_load", owners),
    (
        "an_adoption_is_told_to_all_and_only_its_owner_has_changed",
        adopted,
    ),
    ("an_end_is_told_to_all", ended),
    (
        "what_is_held_otherwise_is_left_alone_and_how_it_is_is_told",
        fences,
    ),
    (
        "a_thousand_are_adopted_and_ended_in_transactions_that_etcd_takes",
        many,
    ),
    (
        "what_is_heard_is_told_to_the_others_in_a_bounded_number_of_keys",
        heard,
    ),
    (
        "two_proxies_adopt_one_backend_and_one_of_them_has_it_everywhere",
        race,
    ),
];

pub(crate) fn name(text: &str) -> ProxyName {
    ProxyName::parse(text).unwrap()
}

pub(crate) fn held(backend: &str, incarnation: u64, owner: &str) -> Held {
    Held {
        id: id(backend),
        incarnation: life(incarnation),
        owner: name(owner),
    }
}

fn owned(backend: &str, incarnation: u64, owner: &str) -> Owned {
    let record = record(backend, incarnation);
    Owned {
        id: record.backend.id,
        incarnation: record.incarnation,
        ttl: record.ttl,
        owner: name(owner),
    }
}

/// The next update that is not about the coming and going of proxies.
async fn news(store: &Etcd) -> Update {
    until(store, |update| {
        !matches!(update, Update::Joined(_) | Update::Parted(_))
    })
    .await
}

async fn changed(store: &Etcd, write: Write) {
    assert_eq!(news(store).await, Update::Changed(write));
}

async fn held_by(store: &Etcd, backend: &str, incarnation: u64, owner: &str) {
    let expected = Update::Owned(owned(backend, incarnation, owner));
    assert_eq!(news(store).await, expected);
}

fn members() {
    let servers = Servers::one();
    run(async {
        let a = store(&servers, "a");
        assert_eq!(load(&a).await.members, []);
        let b = store(&servers, "b");
        load(&b).await;
        assert_eq!(told(&a).await, Update::Joined(name("b")));
        let c = store(&servers, "c");
        let mut members = load(&c).await.members;
        members.sort();
        assert_eq!(members, [name("a"), name("b")]);
        assert_eq!(told(&a).await, Update::Joined(name("c")));
        b.leave().await;
        assert_eq!(told(&a).await, Update::Parted(name("b")));
        assert_eq!(load(&store(&servers, "d")).await.members, [name("a"), name("c")]);
        // Somebody deletes its membership: it is there again at once.
        servers.control(&["del", "/test/proxies/c"]);
        let back = [Update::Parted(name("c")), Update::Joined(name("c"))];
        for expected in back {
            assert_eq!(
                until(&a, |update| *update != Update::Joined(name("d"))).await,
                expected
            );
        }
    });
}

fn owners() {
    let servers = Servers::one();
    run(async {
        let (a, b) = (store(&servers, "a"), store(&servers, "b"));
        load(&a).await;
        load(&b).await;
        commit(&a, &[registered("x", 1)]).await;
        changed(&b, registered("x", 1)).await;
        held_by(&b, "x", 1, "a").await;
        // Its backend comes to another proxy.
        commit(&b, &[registered("x", 2)]).await;
        changed(&a, registered("x", 2)).await;
        held_by(&a, "x", 2, "b").await;
        assert_eq!(load(&store(&servers, "c")).await.owned, [owned("x", 2, "b")]);
    });
}

fn adopted() {
    let servers = Servers::one();
    run(async {
        let (a, b) = (store(&servers, "a"), store(&servers, "b"));
        load(&a).await;
        load(&b).await;
        commit(&a, &[registered("x", 1)]).await;
        changed(&b, registered("x", 1)).await;
        held_by(&b, "x", 1, "a").await;
        b.adopt(&[held("x", 1, "a")]).await.unwrap();
        held_by(&a, "x", 1, "b").await;
        held_by(&b, "x", 1, "b").await;
        // Once more changes nothing, and tells how it is.
        b.adopt(&[held("x", 1, "a")]).await.unwrap();
        held_by(&b, "x", 1, "b").await;
        assert_eq!(load(&store(&servers, "c")).await.records, [record("x", 1)]);
    });
}

fn ended() {
    let servers = Servers::one();
    run(async {
        let (a, b) = (store(&servers, "a"), store(&servers, "b"));
        load(&a).await;
        load(&b).await;
        commit(&a, &[registered("x", 1)]).await;
        changed(&b, registered("x", 1)).await;
        held_by(&b, "x", 1, "a").await;
        a.end(&[held("x", 1, "a")]).await.unwrap();
        changed(&a, gone("x", 1)).await;
        changed(&b, gone("x", 1)).await;
        assert_eq!(load(&store(&servers, "c")).await.records, []);
        // That life does not return.
        commit(&a, &[registered("x", 1)]).await;
        changed(&a, gone("x", 1)).await;
    });
}

fn fences() {
    let servers = Servers::one();
    run(async {
        let (a, b) = (store(&servers, "a"), store(&servers, "b"));
        load(&a).await;
        load(&b).await;
        commit(&a, &[registered("later", 2), registered("other", 3)]).await;
        for deed in ["adopt", "end"] {
            let wrong = [held("later", 1, "a"), held("other", 3, "c"), held("none", 4, "a")];
            match deed {
                "adopt" => a.adopt(&wrong).await.unwrap(),
                _ => a.end(&wrong).await.unwrap(),
            }
            changed(&a, registered("later", 2)).await;
            held_by(&a, "later", 2, "a").await;
            held_by(&a, "other", 3, "a").await;
            changed(&a, gone("none", 4)).await;
        }
        let loaded = load(&store(&servers, "c")).await;
        assert_eq!(loaded.records, [record("later", 2), record("other", 3)]);
        assert_eq!(loaded.owned, [owned("later", 2, "a"), owned("other", 3, "a")]);
    });
}

fn many() {
    let servers = Servers::one();
    run(async {
        let (a, b) = (store(&servers, "a"), store(&servers, "b"));
        load(&a).await;
        // As long as one can be: a hundred are more than etcd takes at a time.
        let mut long = record("long", 1);
        let pairs = (0..32).map(|n| (format!("{n:04}"), "\u{1}".repeat(124)));
        long.backend.metadata = edgeproxy_backend::Metadata::new(pairs).unwrap();
        let numbered = |n: u64| format!("b-{n:05}");
        let batch: Vec<_> = (1..=1_000)
            .map(|n| {
                let mut record = if n % 3 == 0 {
                    long.clone()
                } else {
                    record("short", 1)
                };
                record.backend.id = id(&numbered(n));
                record.incarnation = life(n);
                Write::Registered(record)
            })
            .collect();
        commit(&a, &batch).await;
        load(&b).await;
        let of = |owner| {
            (1..=1_000)
                .map(move |n| held(&numbered(n), n, owner))
                .collect::<Vec<_>>()
        };
        b.adopt(&of("a")).await.unwrap();
        for n in 1..=1_000 {
            let Update::Owned(owned) = news(&a).await else {
                panic!("{n}")
            };
            assert_eq!((owned.id, owned.owner), (id(&numbered(n)), name("b")));
        }
        let loaded = load(&store(&servers, "c")).await;
        let records: Vec<_> = loaded.records.into_iter().map(Write::Registered).collect();
        assert_eq!(records, batch);
        b.end(&of("b")).await.unwrap();
        assert_eq!(load(&store(&servers, "c")).await.records, []);
    });
}

fn heard() {
    let servers = Servers::one();
    run(async {
        let (a, b) = (store(&servers, "a"), store(&servers, "b"));
        load(&a).await;
        // It tells once it is a member.
        if !load(&b).await.members.contains(&name("a")) {
            until(&b, |update| *update == Update::Joined(name("a"))).await;
        }
        let ids: Vec<_> = (0..9_000).map(|n| id(&format!("backend-{n:060}"))).collect();
        a.tell(&ids).await.unwrap();
        let mut heard = Vec::new();
        while heard.len() < ids.len() {
            if let Update::Heard(more) = told(&b).await {
                heard.extend(more);
            }
        }
        assert_eq!(heard, ids);
        for _ in 0..20 {
            a.tell(&ids[..1]).await.unwrap();
        }
        let keys = || servers.control(&["get", "--prefix", "--keys-only", "/test/heard/"]);
        assert_eq!(keys().split_whitespace().count(), 8);
        a.leave().await;
        assert_eq!(keys().trim(), "");
    });
}

fn race() {
    let servers = Servers::one();
    run(async {
        let (a, b, c) = (store(&servers, "a"), store(&servers, "b"), store(&servers, "c"));
        load(&a).await;
        load(&b).await;
        load(&c).await;
        for round in 1..=20 {
            commit(&a, &[registered("x", round)]).await;
            let held = [held("x", round, "a")];
            let (by_b, by_c) = tokio::join!(b.adopt(&held), c.adopt(&held));
            by_b.unwrap();
            by_c.unwrap();
            let owner = |store| async move {
                let other = |update: &Update| matches!(update, Update::Owned(owned) if owned.incarnation == life(round) && owned.owner != name("a"));
                match until(store, other).await {
                    Update::Owned(owned) => owned.owner,
                    update => panic!("{update:?}"),
                }
            };
            let owners = (owner(&a).await, owner(&b).await, owner(&c).await);
            assert!(owners.0 == owners.1 && owners.1 == owners.2, "{owners:?}");
        }
    });
}
