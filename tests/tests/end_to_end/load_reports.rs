//! What backends report of their load with a heartbeat.

use std::collections::BTreeMap;

use bytes::Bytes;
use edgeproxy_tests::{Api, Backend, Edgeproxy, Registration};
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

const NAMES: [&str; 3] = ["a", "b", "c"];

async fn fleet(api: &mut Api) -> Vec<Backend> {
    let mut backends = Vec::new();
    for name in NAMES {
        let backend = Backend::start(name).await;
        api.register_new(&Registration::new(name, "shop", backend.addr()))
            .await;
        backends.push(backend);
    }
    backends
}

async fn report(api: &mut Api, id: &str, report: &Value) {
    let reply = api
        .post(&format!("/api/v1/heartbeat/{id}"), report.to_string())
        .await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

async fn candidates(api: &mut Api) -> BTreeMap<String, Value> {
    let explained = api.get("/api/v1/explain?app=shop").await.expect(200).json();
    let candidates = explained["candidates"].as_array().expect("a list").clone();
    candidates
        .into_iter()
        .map(|candidate| (candidate["id"].as_str().expect("an id").to_owned(), candidate))
        .collect()
}

#[tokio::test]
async fn utilization_in_heartbeats_moves_the_shares() {
    let edgeproxy = Edgeproxy::setup().set("ALGORITHM", "weighted").start().await;
    let mut api = edgeproxy.api();
    let backends = fleet(&mut api).await;
    // As busy as each other but for one, again and again: half of what it gets goes to those that are idler.
    for _ in 0..12 {
        for (name, utilization) in [("a", 0.9), ("b", 0.45), ("c", 0.45)] {
            report(&mut api, name, &json!({ "utilization": utilization })).await;
        }
    }
    // A heartbeat doesn't wait for the table; a registration does.
    let other = Backend::start("other").await;
    api.register_new(&Registration::new("other", "other", other.addr()))
        .await;
    let told = candidates(&mut api).await;
    let effective = |name: &str| told[name]["effective_weight"].as_f64().expect("a number");
    assert!(effective("a") < 1.5 && effective("b") > 2.0, "{told:?}");
    assert_eq!(told["a"]["weight"], 2);

    let mut client = edgeproxy.client();
    for _ in 0..300 {
        let request = Request::get("/").header("host", "shop");
        let request = request.body(Full::new(Bytes::new())).expect("a request");
        let reply = client.send(request).await.expect("an answer");
        assert_eq!(reply.status, 200);
    }
    let got: Vec<u64> = backends.iter().map(Backend::requests).collect();
    let all = effective("a") + effective("b") + effective("c");
    for (name, got) in NAMES.iter().zip(&got) {
        let expected = 300.0 * effective(name) / all;
        #[allow(clippy::cast_precision_loss)]
        let off = (*got as f64 - expected).abs();
        assert!(off <= 3.0, "{name} got {got} of 300, expected {expected:.1}");
    }
}

#[tokio::test]
async fn requests_that_others_have_under_way_count_where_loads_are_compared() {
    let edgeproxy = Edgeproxy::setup()
        .set("ALGORITHM", "least_connections")
        .start()
        .await;
    let mut api = edgeproxy.api();
    let backends = fleet(&mut api).await;
    for _ in 0..4 {
        report(&mut api, "a", &json!({ "in_flight": 40 })).await;
    }
    let told = candidates(&mut api).await;
    assert_eq!(
        (&told["a"]["in_flight"], &told["a"]["elsewhere"]),
        (&json!(0), &json!(38))
    );
    let mut client = edgeproxy.client();
    for _ in 0..30 {
        let request = Request::get("/").header("host", "shop");
        let request = request.body(Full::new(Bytes::new())).expect("a request");
        let reply = client.send(request).await.expect("an answer");
        assert_eq!(reply.status, 200);
    }
    assert_eq!(backends[0].requests(), 0, "two idle ones are there");
    // Heartbeats without it let it wear off.
    for _ in 0..8 {
        report(&mut api, "a", &json!({})).await;
    }
    assert_eq!(candidates(&mut api).await["a"]["elsewhere"], 0);
}
