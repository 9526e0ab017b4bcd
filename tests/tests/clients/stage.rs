//! The real binary in front of one backend.

use std::net::SocketAddr;
use std::path::PathBuf;

use edgeproxy_tests::{Edgeproxy, PATIENCE, Registration, Setup, eventually};

/// A running edgeproxy whose one backend of the app `shop` is at `backend`.
pub(crate) async fn before(backend: SocketAddr) -> Edgeproxy {
    before_with(Edgeproxy::setup(), backend).await
}

pub(crate) async fn before_with(setup: Setup, backend: SocketAddr) -> Edgeproxy {
    let edgeproxy = setup.start().await;
    let registration = Registration::new("b", "shop", backend)
        .with("soft_limit", 5_000)
        .with("hard_limit", 5_000);
    edgeproxy.api().register_new(&registration).await;
    edgeproxy
}

/// Waits until the API says that so many requests are in flight.
pub(crate) async fn in_flight(edgeproxy: &Edgeproxy, count: u64) {
    let mut api = edgeproxy.api();
    let what = format!("{count} requests are in flight");
    eventually(PATIENCE, &what, async || {
        let page = api.get("/api/v1/backends").await.expect(200).json();
        let backends = page["backends"].as_array().expect("a page has backends");
        let found: u64 = backends
            .iter()
            .map(|backend| backend["in_flight"].as_u64().expect("a number"))
            .sum();
        if found == count {
            Ok(())
        } else {
            Err(found.to_string())
        }
    })
    .await;
}

/// One of `scripts/`.
pub(crate) fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients/scripts")
        .join(name)
}
