//! How long 10,000 registrations in a burst take through the real API, until the last reply has been read:
//! each reply says that a routing table with the new backend is in force on every worker.
#![allow(clippy::print_stdout, reason = "a benchmark reports")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use edgeproxy_tests::{Api, Edgeproxy, Registration, spread};

const BACKENDS: usize = 10_000;
const ROUNDS: usize = 5;

/// One new proxy, one burst.
async fn burst(algorithm: &str, apps: usize, connections: usize) -> Duration {
    let setup = Edgeproxy::setup()
        .set("ALGORITHM", algorithm)
        .set("API_RATE_PER_PEER", "0");
    let edgeproxy = setup.start().await;
    let api = edgeproxy.api_addr();
    let backend = SocketAddr::from(([10, 0, 0, 1], 8080));
    let begun = Instant::now();
    spread(
        connections,
        BACKENDS,
        || Api::new(api),
        move |mut api, n| async move {
            let app = format!("app-{}", n % apps);
            api.register_new(&Registration::new(&format!("backend-{n}"), &app, backend))
                .await;
            api
        },
    )
    .await;
    let took = begun.elapsed();
    let (_, listed) = edgeproxy.api().ids().await;
    assert_eq!(listed, BACKENDS as u64, "every backend is listed");
    took
}

#[tokio::main]
async fn main() {
    for (algorithm, apps, connections) in [
        ("region_affinity", 100, 32),
        ("region_affinity", 1, 32),
        ("weighted", 1, 32),
    ] {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push(burst(algorithm, apps, connections).await);
        }
        rounds.sort_unstable();
        println!(
            "burst: {BACKENDS} registrations, {algorithm}, {apps} apps, {connections} connections: median {:.2?} \
             ({:.2?}–{:.2?})",
            rounds[ROUNDS / 2],
            rounds[0],
            rounds[ROUNDS - 1]
        );
    }
}
