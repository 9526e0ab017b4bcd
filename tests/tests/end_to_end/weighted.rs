//! Weights, counted by the backends themselves.

use edgeproxy_tests::{Backend, Edgeproxy, Load, Registration};
use http::Method;

/// Requests that each of these backends gets of a load over two workers.
async fn shares(algorithm: &str, weights: &[u32], requests: u64) -> Vec<u64> {
    let edgeproxy = Edgeproxy::setup()
        .set("ALGORITHM", algorithm)
        .set("WORKERS", "2")
        .start()
        .await;
    let mut api = edgeproxy.api();
    let mut backends = Vec::new();
    for (n, weight) in weights.iter().enumerate() {
        let backend = Backend::start(&format!("b{n}")).await;
        let registration = Registration::new(backend.name(), "shop", backend.addr()).with("weight", *weight);
        api.register_new(&registration).await;
        backends.push(backend);
    }
    // 16 connections: that all of them end up at one worker happens once in 32,768 runs, and harms nothing.
    let tally = Load::limited(edgeproxy.proxy(), Method::GET, "shop", 16, requests)
        .done()
        .await;
    assert_eq!((tally.ok, tally.failed), (requests, 0), "{tally:?}");
    backends.iter().map(Backend::requests).collect()
}

fn near(found: u64, ideal: u64) -> bool {
    found.abs_diff(ideal) <= 2
}

#[tokio::test]
async fn one_to_two_over_3000_requests_on_two_workers() {
    let found = shares("weighted", &[1, 2], 3_000).await;
    assert!(near(found[0], 1_000) && near(found[1], 2_000), "{found:?}");
}

#[tokio::test]
async fn weight_0_takes_nothing_and_its_neighbour_gets_no_double() {
    let found = shares("weighted", &[1, 0, 1, 2], 1_000).await;
    assert_eq!(found[1], 0, "{found:?}");
    assert!(
        near(found[0], 250) && near(found[2], 250) && near(found[3], 500),
        "{found:?}"
    );
}

#[tokio::test]
async fn round_robin_gives_each_the_same_whatever_the_weights() {
    let found = shares("round_robin", &[1, 5, 9], 900).await;
    assert!(found.iter().all(|found| near(*found, 300)), "{found:?}");
}
