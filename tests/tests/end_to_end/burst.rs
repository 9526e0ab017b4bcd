//! Ten thousand registrations at once: every one is listed and every one is routed to. How long that takes is
//! printed here and measured by `cargo xtask bench burst`.

use std::collections::HashSet;
use std::time::Instant;

use edgeproxy_tests::{Api, Backend, Client, Edgeproxy, Registration, spread};

const BACKENDS: usize = 10_000;
const APPS: usize = 100;
const CONNECTIONS: usize = 32;

#[tokio::test]
#[allow(
    clippy::print_stdout,
    reason = "the time is of interest, and no reason to fail"
)]
async fn ten_thousand_registrations_are_all_listed_and_routed_to() {
    let edgeproxy = Edgeproxy::setup()
        .set("ALGORITHM", "round_robin")
        .set("API_RATE_PER_PEER", "0")
        // No heartbeats are sent here, and a slow machine takes longer than the usual minute.
        .set("HEARTBEAT_TTL_SECS", "3600")
        .start()
        .await;
    let backend = Backend::start("b").await;
    let addr = backend.addr();
    let api_addr = edgeproxy.api_addr();
    let proxy = edgeproxy.proxy();

    let begun = Instant::now();
    spread(
        CONNECTIONS,
        BACKENDS,
        || Api::new(api_addr),
        move |mut api, n| async move {
            api.register_new(&Registration::new(
                &format!("b-{n}"),
                &format!("app-{}", n % APPS),
                addr,
            ))
            .await;
            api
        },
    )
    .await;
    let registered = begun.elapsed();
    println!("{BACKENDS} registrations over {CONNECTIONS} connections: {registered:.2?}");

    let mut api = edgeproxy.api();
    let (ids, total) = api.ids().await;
    assert_eq!(total, BACKENDS as u64);
    assert_eq!(ids.len(), BACKENDS, "every backend is listed once");
    assert_eq!(ids.into_iter().collect::<HashSet<_>>().len(), BACKENDS);

    // As many requests to each app as it has backends, each in turn: so everyone gets one.
    spread(
        CONNECTIONS,
        BACKENDS,
        || Client::new(proxy),
        |mut client, n| async move {
            let reply = client
                .get(&format!("app-{}", n % APPS), "/")
                .await
                .expect("an answer");
            assert_eq!(reply.status, 200, "{reply:?}");
            client
        },
    )
    .await;
    assert_eq!(backend.requests(), BACKENDS as u64);
    for app in 0..APPS {
        let listed = api
            .get(&format!("/api/v1/backends?app=app-{app}&limit=1000"))
            .await
            .expect(200)
            .json();
        let backends = listed["backends"].as_array().expect("a list");
        assert_eq!(backends.len(), BACKENDS / APPS, "app-{app}");
        for backend in backends {
            assert_eq!(backend["requests_total"], 1, "{backend}");
        }
    }
}
