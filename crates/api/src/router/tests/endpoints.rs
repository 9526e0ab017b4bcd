//! The endpoints' table, the registration's reply, renewal and takeover, and a backend as listed.

use std::time::Duration;

use super::*;

/// The whole example of the first document, in its order.
#[tokio::test(start_paused = true)]
async fn the_documents_example_works_to_the_letter() {
    let f = Fixture::new();
    let body = r#"{
"id": "backend-eu-1",
"app": "myapp",
"region": "eu",
"ip": "10.50.1.1",
"port": 8080,
"weight": 2,
"soft_limit": 100,
"hard_limit": 150
}"#;
    let reply = f
        .send(
            "POST",
            "/api/v1/register",
            &[("content-type", "application/json"), ("accept", "*/*")],
            body,
        )
        .await;
    assert_eq!(reply.status, 201);
    assert_eq!(reply.headers["location"], "/api/v1/backends/backend-eu-1");
    assert_eq!(
        reply.body,
        json!({
            "id": "backend-eu-1", "registered": true, "message": "Backend registered successfully",
            "incarnation": 1, "ttl_secs": 60, "heartbeat_interval_secs": 20
        })
    );
    let reply = f
        .send(
            "POST",
            "/api/v1/heartbeat/backend-eu-1",
            &[("accept", "*/*")],
            Body::empty(),
        )
        .await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.body,
        json!({
            "id": "backend-eu-1", "renewed": true, "incarnation": 1, "ttl_secs": 60, "heartbeat_interval_secs": 20,
            "state": "routable"
        })
    );
    let reply = f.get("/api/v1/backends").await;
    assert_eq!((reply.status, &reply.body["total"]), (StatusCode::OK, &json!(1)));
    assert_eq!(reply.body["backends"][0]["country"], "DE");
    let reply = f
        .send("DELETE", "/api/v1/backends/backend-eu-1", &[], Body::empty())
        .await;
    assert_eq!(reply.status, 200);
    assert_eq!(f.get("/api/v1/backends/backend-eu-1").await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn get_health_has_exactly_four_members() {
    let f = Fixture::new();
    f.registered("a").await;
    tokio::time::advance(Duration::from_secs(7)).await;
    let reply = f.get("/health").await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.body,
        json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION"), "backends": 1, "uptime_secs": 7 })
    );
}

#[tokio::test(start_paused = true)]
async fn get_ready_is_503_unless_ready() {
    let f = Fixture::new();
    assert_eq!(f.get("/ready").await.status, 503);
    f.readiness.ready();
    let reply = f.get("/ready").await;
    assert_eq!(
        (reply.status, reply.body),
        (StatusCode::OK, json!({ "status": "ready" }))
    );
    f.readiness.drain();
    let reply = f.get("/ready").await;
    assert_eq!(reply.status, 503);
    assert!(reply.error().contains("draining"));
    assert_eq!(f.get("/health").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn post_register_is_201_when_new_and_200_when_renewed() {
    let f = Fixture::new();
    f.registered("a").await;
    let mut again = registration("a");
    again["weight"] = json!(7);
    let reply = f.register(&again).await;
    assert_eq!(
        (reply.status, &reply.body["incarnation"]),
        (StatusCode::OK, &json!(1))
    );
    assert_eq!(f.get("/api/v1/backends/a").await.body["weight"], 7);
}

#[tokio::test(start_paused = true)]
async fn another_address_is_a_new_incarnation() {
    let f = Fixture::new();
    f.registered("a").await;
    let mut moved = registration("a");
    moved["port"] = json!(8081);
    let reply = f.register(&moved).await;
    assert_eq!(
        (reply.status, &reply.body["incarnation"]),
        (StatusCode::CREATED, &json!(2))
    );
    let live = f.get("/api/v1/backends/a").await;
    assert_eq!(
        (&live.body["port"], &live.body["incarnation"]),
        (&json!(8081), &json!(2))
    );
    assert_eq!(live.headers["etag"], "\"2\"");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_member_is_named_in_warnings() {
    let f = Fixture::new();
    let mut typo = registration("a");
    typo["wieght"] = json!(3);
    let reply = f.register(&typo).await;
    assert_eq!(reply.status, 201);
    assert_eq!(
        reply.body["warnings"],
        json!(["unknown member \"wieght\"; did you mean \"weight\"?"])
    );
    let reply = f
        .json("POST", "/api/v1/heartbeat/a", &json!({ "inflight": 1 }))
        .await;
    assert_eq!(
        reply.body["warnings"],
        json!(["unknown member \"inflight\"; did you mean \"in_flight\"?"])
    );
}

#[tokio::test(start_paused = true)]
async fn post_heartbeat_renews_the_lease() {
    let f = Fixture::new();
    f.registered("a").await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(50)).await;
        assert_eq!(
            f.send("POST", "/api/v1/heartbeat/a", &[], Body::empty())
                .await
                .status,
            200
        );
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    let listed = f.get("/api/v1/backends/a").await.body;
    assert_eq!(
        (&listed["last_heartbeat_secs"], &listed["expires_in_secs"]),
        (&json!(30), &json!(30))
    );
    assert_eq!(listed["registered_secs"], 280);
    tokio::time::sleep(Duration::from_millis(30_100)).await;
    assert_eq!(f.get("/api/v1/backends/a").await.status, 404);
    assert_eq!(
        f.send("POST", "/api/v1/heartbeat/a", &[], Body::empty())
            .await
            .status,
        404
    );
}

#[tokio::test(start_paused = true)]
async fn a_heartbeats_load_report_is_kept_and_listed() {
    let f = Fixture::new();
    f.registered("a").await;
    let report = json!({ "in_flight": 12, "utilization": 0.7, "draining": false, "weight": 3 });
    assert_eq!(f.json("POST", "/api/v1/heartbeat/a", &report).await.status, 200);
    let listed = f.get("/api/v1/backends/a").await.body;
    assert_eq!(listed["reported"], report);
    assert_eq!(listed["weight"], 3);
    let reply = f
        .json("POST", "/api/v1/heartbeat/a", &json!({ "draining": true }))
        .await;
    assert_eq!(reply.body["state"], "draining");
    let reply = f
        .json(
            "POST",
            "/api/v1/heartbeat/a",
            &json!({ "in_flight": -1, "utilization": 2, "weight": "x" }),
        )
        .await;
    assert_eq!(
        (reply.status, reply.fields()),
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            vec!["in_flight", "utilization", "weight"]
        )
    );
    assert_eq!(reply.body["id"], "a");
}

#[tokio::test(start_paused = true)]
async fn an_empty_heartbeat_has_no_type_whatever_curl_says() {
    let f = Fixture::new();
    f.registered("a").await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(
        f.send("POST", "/api/v1/heartbeat/a", &form, Body::empty())
            .await
            .status,
        200
    );
    assert_eq!(
        f.send("POST", "/api/v1/heartbeat/a", &form, "x").await.status,
        415
    );
}

#[tokio::test(start_paused = true)]
async fn delete_deregisters_and_drain_lets_work_in_flight_end() {
    let f = Fixture::new();
    f.registered("a").await;
    let endpoint = f.handle.get(&"a".parse().unwrap()).unwrap().endpoint;
    let admission = edgeproxy_backend::Admission::Regular;
    let in_flight = endpoint.admit(admission).unwrap();
    let reply = f
        .send("DELETE", "/api/v1/backends/a?drain=30s", &[], Body::empty())
        .await;
    assert_eq!(
        reply.body,
        json!({
            "id": "a", "deregistered": true, "message": "Backend deregistered successfully", "incarnation": 1,
            "draining": true, "in_flight": 1
        })
    );
    let listed = f.listing().await;
    assert_eq!(listed["backends"][0]["state"], "draining");
    assert_eq!(listed["backends"][0]["healthy"], false);
    assert!(endpoint.admit(admission).is_err());
    drop(in_flight);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(f.listing().await["total"], 0);
    assert_eq!(
        f.send("DELETE", "/api/v1/backends/a", &[], Body::empty())
            .await
            .status,
        404
    );
    f.registered("b").await;
    for bad in ["30", "soon", "-1s", "2h", ""] {
        let reply = f
            .send(
                "DELETE",
                &format!("/api/v1/backends/b?drain={bad}"),
                &[],
                Body::empty(),
            )
            .await;
        assert_eq!(
            (reply.status, reply.fields()),
            (StatusCode::UNPROCESSABLE_ENTITY, vec!["drain"]),
            "{bad}"
        );
    }
    let reply = f.send("DELETE", "/api/v1/backends/b", &[], Body::empty()).await;
    assert_eq!(
        (&reply.body["draining"], &reply.body["in_flight"]),
        (&json!(false), &json!(0))
    );
}

#[tokio::test(start_paused = true)]
async fn patch_is_an_operators_change_and_null_clears_it() {
    let f = Fixture::new();
    f.registered("a").await;
    let path = "/api/v1/backends/a";
    let reply = f
        .json(
            "PATCH",
            path,
            &json!({ "enabled": false, "weight": 9, "soft_limit": 5 }),
        )
        .await;
    assert_eq!(
        (reply.status, &reply.headers["etag"]),
        (StatusCode::OK, &"\"1\"".parse().unwrap())
    );
    assert_eq!(
        (&reply.body["state"], &reply.body["weight"]),
        (&json!("disabled"), &json!(9))
    );
    assert_eq!(
        reply.body["overrides"],
        json!({ "enabled": false, "weight": 9, "soft_limit": 5 })
    );
    // It outlives a renewal.
    assert_eq!(f.register(&registration("a")).await.status, 200);
    assert_eq!(f.get(path).await.body["weight"], 9);
    let merge = [("content-type", "application/merge-patch+json; charset=utf-8")];
    let reply = f
        .send("PATCH", path, &merge, r#"{"enabled":null,"weight":null}"#)
        .await;
    assert_eq!(
        (&reply.body["state"], &reply.body["weight"]),
        (&json!("routable"), &json!(2))
    );
    assert_eq!(reply.body["overrides"], json!({ "soft_limit": 5 }));
    let reply = f.json("PATCH", path, &json!({})).await;
    assert_eq!(
        (reply.status, &reply.body["soft_limit"]),
        (StatusCode::OK, &json!(5))
    );
    let reply = f.json("PATCH", path, &json!({ "soft_limit": null })).await;
    assert!(reply.body.get("overrides").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_patch_that_breaks_a_rule_changes_nothing() {
    let f = Fixture::new();
    f.registered("a").await;
    let before = f.listing().await;
    for (patch, fields) in [
        (json!({ "enable": false }), &["enable"][..]),
        (
            json!({ "enabled": "no", "weight": 1001, "soft_limit": -1, "hard_limit": 0.5 }),
            &["enabled", "weight", "soft_limit", "hard_limit"],
        ),
        (json!({ "weight": 5, "region": "us" }), &["region"]),
        (json!({ "hard_limit": 50 }), &["hard_limit"]),
        (json!({ "soft_limit": 151 }), &["soft_limit"]),
        (json!({ "soft_limit": 9, "hard_limit": 8 }), &["hard_limit"]),
        (json!([]), &[""]),
        (json!(null), &[""]),
    ] {
        let reply = f.json("PATCH", "/api/v1/backends/a", &patch).await;
        assert_eq!(
            (reply.status, &reply.fields()[..]),
            (StatusCode::UNPROCESSABLE_ENTITY, fields),
            "{patch}"
        );
    }
    assert_eq!(f.listing().await, before);
}
