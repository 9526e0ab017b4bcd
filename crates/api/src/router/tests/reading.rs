//! What is listed, counted and explained, and how queries are read.

use std::time::Duration;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_backend_is_listed_with_every_field() {
    let f = Fixture::new();
    let mut full = registration("a");
    full["metadata"] = json!({ "rack": "12" });
    full["ttl_secs"] = json!(90);
    f.register(&full).await;
    tokio::time::advance(Duration::from_millis(1_500)).await;
    let reply = f.get("/api/v1/backends/a").await;
    assert_eq!(
        reply.body,
        json!({
            "id": "a", "app": "myapp", "region": "eu", "country": "DE", "ip": "10.50.1.1", "port": 8080, "weight": 2,
            "soft_limit": 100, "hard_limit": 150, "fallback": false, "protocol": "http1", "ttl_secs": 90,
            "metadata": { "rack": "12" }, "source": "registered", "state": "routable", "reason": "takes traffic", "healthy": true,
            "in_flight": 0, "last_heartbeat_secs": 1, "registered_secs": 1, "expires_in_secs": 89, "incarnation": 1,
            "requests_total": 0, "failures_total": 0, "latency_ms": null
        })
    );
    assert_eq!(f.listing().await["backends"][0], reply.body);
}

#[tokio::test(start_paused = true)]
async fn get_backends_filters_and_pages() {
    let f = Fixture::new();
    for n in 0..25 {
        let mut one = registration(&format!("b{n}"));
        one["app"] = json!(if n % 2 == 0 { "even" } else { "odd" });
        one["region"] = json!(["sa", "us", "eu", "ap"][n % 4]);
        f.register(&one).await;
    }
    let total = async |query: &str| {
        f.get(&format!("/api/v1/backends{query}")).await.body["total"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(total("").await, 25);
    assert_eq!(total("?app=even").await, 13);
    assert_eq!(total("?app=EVEN&region=sa").await, 7);
    assert_eq!(total("?app=odd&region=sa").await, 0);
    assert_eq!(total("?state=routable").await, 25);
    assert_eq!(total("?state=ejected").await, 0);
    assert_eq!(total("?app=nobody").await, 0);
    let mut seen = Vec::new();
    let mut path = "/api/v1/backends?app=even&limit=4".to_owned();
    loop {
        let page = f.get(&path).await.body;
        assert_eq!(page["total"], 13);
        let ids = page["backends"]
            .as_array()
            .unwrap()
            .iter()
            .map(|b| b["id"].as_str().unwrap().to_owned());
        seen.extend(ids);
        let Some(cursor) = page.get("next_cursor") else {
            break;
        };
        assert!(seen.len().is_multiple_of(4));
        path = format!(
            "/api/v1/backends?app=even&limit=4&cursor={}",
            cursor.as_str().unwrap()
        );
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 13);
}

#[tokio::test(start_paused = true)]
async fn a_bad_query_lists_every_bad_parameter() {
    let f = Fixture::new();
    f.registered("a").await;
    let reply = f
        .get("/api/v1/backends?app=a_b&region=e+u&state=asleep&limit=0&cursor=x&sate=routable")
        .await;
    assert_eq!(reply.status, 422);
    assert_eq!(
        reply.fields(),
        ["app", "region", "state", "limit", "cursor", "sate"]
    );
    assert!(
        reply.body["fields"][5]["problem"]
            .as_str()
            .unwrap()
            .ends_with("did you mean \"state\"?")
    );
    for bad in ["limit=10001", "limit=-1", "app=a&app=b", "state=", "limit"] {
        assert_eq!(
            f.get(&format!("/api/v1/backends?{bad}")).await.status,
            422,
            "{bad}"
        );
    }
    assert_eq!(f.get("/api/v1/backends?limit=10000").await.status, 200);
    assert_eq!(f.get("/api/v1/backends/a?x=1").await.status, 422);
    assert_eq!(
        f.send("DELETE", "/api/v1/backends/a?drian=30s", &[], Body::empty())
            .await
            .status,
        422
    );
    assert_eq!(f.get("/api/v1/backends/a").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn get_apps_shows_policy_states_and_totals() {
    let f = Fixture::new();
    for (id, app) in [("a1", "alpha"), ("a2", "alpha"), ("b1", "beta"), ("c1", "gamma")] {
        let mut one = registration(id);
        one["app"] = json!(app);
        f.register(&one).await;
    }
    f.json("PATCH", "/api/v1/backends/a2", &json!({ "enabled": false }))
        .await;
    let reply = f.get("/api/v1/apps").await;
    assert_eq!(reply.body["total"], 3);
    let alpha = json!({
        "app": "alpha",
        "policy": {
            "algorithm": "region_affinity", "spill": "hard", "max_failures": 0, "last_backend": "keep",
            "max_ejection_percent": 100, "fall": 3, "rise": 1, "probed": true, "initial": "routable", "ejection_base_secs": 30, "ejection_max_secs": 300
        },
        "states": { "routable": 1, "disabled": 1 },
        "totals": { "backends": 2, "routable": 1, "in_flight": 0, "requests_total": 0, "failures_total": 0 }
    });
    assert_eq!(reply.body["apps"][0], alpha);
    let page = f.get("/api/v1/apps?limit=2").await.body;
    assert_eq!(
        (page["apps"].as_array().unwrap().len(), &page["next_cursor"]),
        (2, &json!("beta"))
    );
    let page = f.get("/api/v1/apps?limit=2&cursor=beta").await.body;
    assert_eq!(
        (&page["apps"][0]["app"], page.get("next_cursor")),
        (&json!("gamma"), None)
    );

    let mut detail = f.get("/api/v1/apps/Alpha").await.body;
    let backends = detail.as_object_mut().unwrap().remove("backends").unwrap();
    assert_eq!(detail, alpha);
    assert_eq!(backends[1]["state"], "disabled");
    assert_eq!(
        members(&backends[0]),
        [
            "country",
            "fallback",
            "hard_limit",
            "healthy",
            "id",
            "in_flight",
            "incarnation",
            "reason",
            "region",
            "soft_limit",
            "state",
            "weight"
        ]
    );
    let cut = f.get("/api/v1/apps/alpha?limit=1").await.body;
    assert_eq!(
        (cut["backends"].as_array().unwrap().len(), &cut["truncated"]),
        (1, &json!(true))
    );
    assert_eq!(f.get("/api/v1/apps/nobody").await.status, 404);
    for malformed in ["a_b", "%ff", "a%20b", "-a"] {
        assert_eq!(
            f.get(&format!("/api/v1/apps/{malformed}")).await.status,
            400,
            "{malformed}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn get_explain_asks_with_what_the_query_says() {
    let f = Fixture::new();
    f.registered("a").await;
    let reply = f
        .get(
            "/api/v1/explain?app=MyApp&client_ip=::ffff:203.0.113.9&country=br&region=sa&hash=u%201&sticky=a",
        )
        .await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.members(),
        [
            "algorithm",
            "app",
            "bound",
            "candidates",
            "client",
            "error",
            "ignores_health",
            "picked",
            "tiers"
        ]
    );
    assert_eq!(
        reply.body["client"],
        json!({ "ip": "203.0.113.9", "country": "BR", "region": "sa" })
    );
    assert_eq!(
        (&reply.body["picked"], &reply.body["bound"]),
        (&json!("a"), &json!("a"))
    );
    assert_eq!(
        members(&reply.body["candidates"][0]),
        [
            "effective_weight",
            "elsewhere",
            "hard_limit",
            "id",
            "in_flight",
            "picked",
            "score",
            "soft_limit",
            "state",
            "tier",
            "weight",
            "why"
        ]
    );
    assert_eq!(f.get("/api/v1/explain?app=myapp").await.status, 200);
    assert_eq!(
        f.get("/api/v1/explain?app=nobody&client_ip=10.0.0.1")
            .await
            .status,
        404
    );
    let reply = f
        .get("/api/v1/explain?client_ip=here&country=XX&region=mars")
        .await;
    assert_eq!(
        (reply.status, reply.fields()),
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            vec!["app", "client_ip", "country", "region"]
        )
    );
}

#[tokio::test(start_paused = true)]
async fn head_answers_like_get_without_a_body_and_options_names_the_methods() {
    let f = Fixture::new();
    for path in ["/health", "/api/v1/backends", "/api/v1/apps"] {
        let reply = f.send("HEAD", path, &[], Body::empty()).await;
        assert_eq!(
            (reply.status, reply.body),
            (StatusCode::OK, Value::Null),
            "{path}"
        );
        assert!(
            reply.headers["content-length"]
                .to_str()
                .unwrap()
                .parse::<u64>()
                .unwrap()
                > 2
        );
    }
    let reply = f.send("OPTIONS", "/api/v1/backends/a", &[], Body::empty()).await;
    assert_eq!(reply.status, 204);
    assert_eq!(reply.headers["allow"], "GET,HEAD,DELETE,PATCH");
}
