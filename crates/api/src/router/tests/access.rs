//! Who is served, and which pages are not.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_peer_outside_private_networks_gets_401_on_every_path() {
    let mut f = Fixture::new();
    for peer in ["203.0.113.9:1", "[2001:db8::1]:1", "[::ffff:203.0.113.9]:1"] {
        f.peer = peer.parse().unwrap();
        for (method, path) in [
            ("GET", "/health"),
            ("GET", "/ready"),
            ("POST", "/api/v1/register"),
            ("GET", "/nowhere"),
            ("OPTIONS", "/health"),
        ] {
            let reply = f.json(method, path, &registration("a")).await;
            assert_eq!(reply.status, 401, "{peer} {method} {path}");
            assert_eq!(reply.headers["www-authenticate"], "Bearer realm=\"edgeproxy\"");
            assert!(
                reply.error().contains("EDGEPROXY_API_INSECURE"),
                "{}",
                reply.error()
            );
        }
    }
    for peer in [
        "10.1.2.3:1",
        "192.168.0.1:1",
        "172.16.0.1:1",
        "100.64.0.1:1",
        "169.254.0.1:1",
        "[::1]:1",
        "[fd00::1]:1",
        "[fe80::1]:1",
    ] {
        f.peer = peer.parse().unwrap();
        assert_eq!(f.get("/health").await.status, 200, "{peer}");
    }
}

#[tokio::test(start_paused = true)]
async fn insecure_serves_every_peer() {
    let access = Access {
        insecure: true,
        ..Access::default()
    };
    let mut f = Fixture::with(Setup {
        access,
        ..Setup::default()
    });
    f.peer = ([203, 0, 113, 9], 1).into();
    f.registered("a").await;
    // But no page of another site.
    let evil = [("host", "evil.example"), ("content-type", "application/json")];
    assert_eq!(
        f.send("POST", "/api/v1/register", &evil, registration("b").to_string())
            .await
            .status,
        403
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_peer_is_nobodys() {
    let f = Fixture::new();
    let request = Request::get("/health")
        .header("host", "localhost")
        .body(Body::empty())
        .unwrap();
    assert_eq!(f.router.clone().oneshot(request).await.unwrap().status(), 401);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_host_or_origin_is_403_on_changing_requests() {
    let f = Fixture::new();
    f.registered("a").await;
    let before = f.listing().await;
    for headers in [
        &[("host", "evil.example:8081")][..],
        &[("origin", "http://evil.example")],
        &[("origin", "null")],
        &[("origin", "http://localhost:9999")],
    ] {
        for (method, path) in [
            ("POST", "/api/v1/register"),
            ("POST", "/api/v1/heartbeat/a"),
            ("PATCH", "/api/v1/backends/a"),
            ("DELETE", "/api/v1/backends/a"),
            ("PUT", "/api/v1/backends/a"),
        ] {
            let headers: Vec<_> = headers
                .iter()
                .copied()
                .chain([("content-type", "application/json")])
                .collect();
            let reply = f.send(method, path, &headers, "{}").await;
            assert_eq!(reply.status, 403, "{method} {path} {headers:?}");
        }
        assert_eq!(
            f.send("GET", "/api/v1/backends", headers, Body::empty())
                .await
                .status,
            200
        );
    }
    assert_eq!(f.listing().await, before);
    let own = [("origin", "http://localhost:8081")];
    assert_eq!(
        f.send("DELETE", "/api/v1/backends/a", &own, Body::empty())
            .await
            .status,
        200
    );
}

#[tokio::test(start_paused = true)]
async fn a_configured_host_is_the_listeners_own() {
    let access = Access {
        allowed_hosts: vec!["edgeproxy.internal".to_owned()],
        ..Access::default()
    };
    let f = Fixture::with(Setup {
        access,
        ..Setup::default()
    });
    let headers = [
        ("host", "EdgeProxy.internal:8081"),
        ("content-type", "application/json"),
    ];
    assert_eq!(
        f.send(
            "POST",
            "/api/v1/register",
            &headers,
            registration("a").to_string()
        )
        .await
        .status,
        201
    );
}

#[tokio::test(start_paused = true)]
async fn a_missing_or_repeated_host_is_400() {
    let f = Fixture::new();
    let request = Request::get("/health").body(Body::empty()).unwrap();
    assert_eq!(f.request(request).await.status, 400);
    let request = Request::get("/health")
        .version(http::Version::HTTP_10)
        .body(Body::empty())
        .unwrap();
    assert_eq!(f.request(request).await.status, 200);
    let twice = [("host", "localhost"), ("host", "localhost")];
    assert_eq!(f.send("GET", "/health", &twice, Body::empty()).await.status, 400);
}
