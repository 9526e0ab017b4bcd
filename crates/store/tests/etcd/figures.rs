//! How long things take; printed, and held to what is promised.

use std::time::{Duration, Instant};

use edgeproxy_store::Update;

use crate::Test;
use crate::relay::{Relay, Traffic};
use crate::rows::{change, commit, load, registered, until};
use crate::server::{Servers, run, settings, store};

pub(crate) const TESTS: &[Test] = &[
    (
        "a_registration_at_one_proxy_is_known_to_another_within_a_second",
        propagation,
    ),
    ("ten_thousand_backends_are_read_again_after_a_compaction", resync),
];

const ROUNDS: u64 = 300;
/// The specification's bar.
const WORST: Duration = Duration::from_secs(1);

fn propagation() {
    let servers = Servers::three();
    run(async {
        let (a, b) = (store(&servers, "a"), store(&servers, "b"));
        load(&a).await;
        load(&b).await;
        let mut took = Vec::new();
        for n in 1..=ROUNDS {
            let write = registered("x", n);
            let began = Instant::now();
            let seen = async {
                assert_eq!(change(&b).await, write);
                began.elapsed()
            };
            let ((), elapsed) = tokio::join!(commit(&a, std::slice::from_ref(&write)), seen);
            took.push(elapsed);
        }
        took.sort_unstable();
        let (median, worst) = (took[took.len() / 2], took[took.len() - 1]);
        println!(
            "{ROUNDS} registrations, from the commit to another store, three members: median {median:?}, worst {worst:?}"
        );
        assert!(worst < WORST, "{worst:?}");
    });
}

fn resync() {
    let servers = Servers::one();
    run(async {
        let relay = Relay::before(servers.port(0)).await;
        let a = edgeproxy_store::Etcd::new(settings(&format!("etcd://{}/test", relay.address), "a"));
        let b = store(&servers, "b");
        load(&a).await;
        load(&b).await;
        relay.set(Traffic::Neither);
        let batch: Vec<_> = (1..=10_000)
            .map(|n| registered(&format!("b-{n:05}"), n))
            .collect();
        let began = Instant::now();
        commit(&b, &batch).await;
        println!("10000 registrations in one commit: {:?}", began.elapsed());
        let revision = servers.revision();
        servers.control(&["compact", &revision.to_string()]);
        until(&a, |update| matches!(update, Update::Lost { .. })).await;
        relay.set(Traffic::Both);
        let began = Instant::now();
        let Update::Resync(loaded) = until(&a, |update| matches!(update, Update::Resync(_))).await else {
            return;
        };
        println!(
            "resync with 10000 backends, from the end of a partition: {:?}",
            began.elapsed()
        );
        assert_eq!(loaded.records.len(), 10_000);
        let began = Instant::now();
        assert_eq!(load(&store(&servers, "c")).await.records.len(), 10_000);
        println!("load of 10000 backends: {:?}", began.elapsed());
    });
}
