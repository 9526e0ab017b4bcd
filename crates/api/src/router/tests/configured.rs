//! Backends of the configuration file, as the API has them.

use std::time::Duration;

use edgeproxy_backend::{Backend, BackendAddr, BackendId, Country, Region};
use edgeproxy_registry::Configuration;

use super::*;

fn with_one_of_the_file() -> Fixture {
    let f = Fixture::new();
    let backend = Backend::new(
        BackendId::parse("fixed").unwrap(),
        AppName::parse("myapp").unwrap(),
        Region::parse("eu").unwrap(),
        Country::parse("DE").unwrap(),
        BackendAddr::parse("10.50.1.1", 8080).unwrap(),
    );
    let configuration = Configuration {
        backends: vec![backend],
        ..Configuration::default()
    };
    f.handle.configure(configuration).unwrap();
    f
}

#[tokio::test(start_paused = true)]
async fn one_of_the_file_is_listed_with_its_source_and_without_a_lease() {
    let f = with_one_of_the_file();
    tokio::time::advance(Duration::from_millis(1_500)).await;
    let reply = f.get("/api/v1/backends/fixed").await;
    assert_eq!(
        reply.body,
        json!({
            "id": "fixed", "app": "myapp", "region": "eu", "country": "DE", "ip": "10.50.1.1", "port": 8080, "weight": 2,
            "soft_limit": 100, "hard_limit": 150, "fallback": false, "protocol": "http1", "ttl_secs": null,
            "metadata": {}, "source": "file", "state": "routable", "reason": "takes traffic", "healthy": true,
            "in_flight": 0, "last_heartbeat_secs": null, "registered_secs": 1, "expires_in_secs": null, "incarnation": 1,
            "requests_total": 0, "failures_total": 0, "latency_ms": null
        })
    );
    assert_eq!(f.listing().await["backends"][0], reply.body);
}

#[tokio::test(start_paused = true)]
async fn row_409_the_id_stands_in_the_configuration_file() {
    let f = with_one_of_the_file();
    let before = f.listing().await;
    let mut elsewhere = registration("fixed");
    elsewhere["port"] = json!(8081);
    for reply in [
        f.register(&registration("fixed")).await,
        f.register(&elsewhere).await,
        f.send("DELETE", "/api/v1/backends/fixed", &[], Body::empty())
            .await,
        f.send("DELETE", "/api/v1/backends/fixed?drain=5s", &[], Body::empty())
            .await,
    ] {
        assert_eq!(
            (reply.status, &reply.body["id"]),
            (StatusCode::CONFLICT, &json!("fixed"))
        );
        assert!(reply.error().contains("configuration file"), "{}", reply.error());
    }
    assert_eq!(f.listing().await, before);
    let dead = f
        .send(
            "DELETE",
            "/api/v1/backends/fixed",
            &[("if-match", "\"9\"")],
            Body::empty(),
        )
        .await;
    assert_eq!(dead.status, 412, "whoever speaks for another is told that first");
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_of_one_of_the_file_reports_load_and_renews_nothing() {
    let f = with_one_of_the_file();
    let report = json!({ "in_flight": 3, "utilization": 0.5, "weight": 7 });
    let reply = f.json("POST", "/api/v1/heartbeat/fixed", &report).await;
    assert_eq!(
        (reply.status, reply.body),
        (
            StatusCode::OK,
            json!({
                "id": "fixed", "renewed": false, "incarnation": 1, "ttl_secs": null, "heartbeat_interval_secs": null,
                "state": "routable"
            })
        )
    );
    let backend = f.get("/api/v1/backends/fixed").await.body;
    assert_eq!(
        (&backend["weight"], &backend["reported"]["in_flight"]),
        (&json!(7), &json!(3))
    );
}

#[tokio::test(start_paused = true)]
async fn an_operator_changes_one_of_the_file_by_patch() {
    let f = with_one_of_the_file();
    let patch = [("content-type", "application/merge-patch+json")];
    let reply = f
        .send("PATCH", "/api/v1/backends/fixed", &patch, r#"{"enabled":false}"#)
        .await;
    assert_eq!(
        (reply.status, &reply.body["state"]),
        (StatusCode::OK, &json!("disabled"))
    );
}
