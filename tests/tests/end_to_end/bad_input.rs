//! Every row of the API's error table, by a real curl, and ten thousand made-up bodies: the right status, the
//! right JSON, no panic, and nothing changed.
//!
//! The row 401 needs a peer from a public network, which a test on loopback is not; the API's own tests have it.

mod fixture;
mod made_up;

use fixture::{Fixture, fields, state};

use std::collections::BTreeSet;
use std::time::Duration;

use edgeproxy_tests::{Backend, Edgeproxy, PATIENCE, Registration, Reply, curl, eventually};
use serde_json::{Value, json};

const JSON: &str = "Content-Type: application/json";

fn body(change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> String {
    let mut fields = json!({"id": "new", "app": "shop", "region": "eu", "ip": "127.0.0.1", "port": 9});
    change(fields.as_object_mut().expect("an object"));
    fields.to_string()
}

fn error(reply: &Reply) -> String {
    reply.json()["error"].as_str().expect("a sentence").to_owned()
}

#[tokio::test]
async fn row_400_not_json_or_a_malformed_id() {
    let mut fixture = Fixture::new().await;
    let bad = "{\n  \"id\": \"b1\",\n  \"app\": oops\n}";
    let reply = fixture
        .refused(400, "/api/v1/register", &["-d", bad, "-H", JSON])
        .await;
    assert!(
        error(&reply).contains("line 3") && error(&reply).contains("column"),
        "{reply:?}"
    );
    for bad in ["", "{", "nonsense", "{\"id\":\"b1\"}}", "[1,]", "{'id': 'b1'}"] {
        fixture
            .refused(400, "/api/v1/register", &["--data-binary", bad, "-H", JSON])
            .await;
    }
    fixture
        .refused(
            400,
            "/api/v1/heartbeat/b1",
            &["-d", "{\"in_flight\": }", "-H", JSON],
        )
        .await;
    let long = "x".repeat(129);
    for id in ["a%20b", "a%2Fb", "%00", "%ff", "b%C3%A9", "a$b", &long] {
        fixture
            .refused(400, &format!("/api/v1/heartbeat/{id}"), &["-X", "POST"])
            .await;
        fixture.refused(400, &format!("/api/v1/backends/{id}"), &[]).await;
        fixture
            .refused(400, &format!("/api/v1/backends/{id}"), &["-X", "DELETE"])
            .await;
    }
}

#[tokio::test]
async fn row_403_a_foreign_host_or_origin_on_a_changing_request() {
    let mut fixture = Fixture::new().await;
    let new = body(|_| ());
    for header in [
        "Host: evil.example",
        "Host: evil.example:8081",
        "Origin: http://evil.example",
        "Origin: null",
    ] {
        fixture
            .refused(403, "/api/v1/register", &["-d", &new, "-H", JSON, "-H", header])
            .await;
        fixture
            .refused(403, "/api/v1/heartbeat/b1", &["-X", "POST", "-H", header])
            .await;
        fixture
            .refused(403, "/api/v1/backends/b1", &["-X", "DELETE", "-H", header])
            .await;
        let patch = [
            "-X",
            "PATCH",
            "-d",
            "{\"enabled\":false}",
            "-H",
            JSON,
            "-H",
            header,
        ];
        fixture.refused(403, "/api/v1/backends/b1", &patch).await;
        // Reading changes nothing, and a page of another site can't see the answer.
        let _ = curl(&["-H", header, &fixture.url("/api/v1/backends")])
            .await
            .expect(200);
    }
    let own = format!("Origin: http://{}", fixture.edgeproxy.api_addr());
    let _ = curl(&["-X", "POST", "-H", &own, &fixture.url("/api/v1/heartbeat/b1")])
        .await
        .expect(200);
}

#[tokio::test]
async fn row_404_an_unknown_id() {
    let mut fixture = Fixture::new().await;
    let reply = fixture
        .refused(404, "/api/v1/heartbeat/nobody", &["-X", "POST"])
        .await;
    assert_eq!(reply.json()["id"], "nobody");
    assert!(
        error(&reply).contains("register"),
        "a heartbeat is told to register again: {reply:?}"
    );
    for args in [
        &[][..],
        &["-X", "DELETE"],
        &["-X", "PATCH", "-d", "{\"enabled\":false}", "-H", JSON],
    ] {
        let reply = fixture.refused(404, "/api/v1/backends/nobody", args).await;
        assert_eq!(reply.json()["id"], "nobody");
    }
    fixture.refused(404, "/api/v1/apps/nobody", &[]).await;
    fixture.refused(404, "/api/v1/nothing", &[]).await;
    fixture.refused(404, "/api/v2/backends", &[]).await;
    fixture.refused(404, "/api/v1/backends/b1/more", &[]).await;
}

#[tokio::test]
async fn row_405_the_wrong_method() {
    let mut fixture = Fixture::new().await;
    for (method, path, allowed) in [
        ("GET", "/api/v1/register", "POST"),
        ("PUT", "/api/v1/register", "POST"),
        ("GET", "/api/v1/heartbeat/b1", "POST"),
        ("DELETE", "/api/v1/backends", "GET"),
        ("PUT", "/api/v1/backends/b1", "DELETE"),
        ("POST", "/health", "GET"),
        ("POST", "/ready", "GET"),
    ] {
        let reply = fixture.refused(405, path, &["-X", method]).await;
        assert!(
            reply.header("allow").is_some_and(|allow| allow.contains(allowed)),
            "{method} {path}: {reply:?}"
        );
    }
}

#[tokio::test]
async fn row_406_not_acceptable() {
    let mut fixture = Fixture::new().await;
    for accept in ["Accept: text/html", "Accept: image/png, application/json;q=0"] {
        fixture.refused(406, "/api/v1/backends", &["-H", accept]).await;
        let new = body(|_| ());
        fixture
            .refused(406, "/api/v1/register", &["-d", &new, "-H", JSON, "-H", accept])
            .await;
    }
    let _ = curl(&[
        "-H",
        "Accept: text/html, */*;q=0.1",
        &fixture.url("/api/v1/backends"),
    ])
    .await
    .expect(200);
}

#[tokio::test]
async fn row_409_the_id_belongs_to_another_app() {
    let mut fixture = Fixture::new().await;
    let taken = body(|fields| {
        fields.insert("id".to_owned(), json!("b1"));
        fields.insert("app".to_owned(), json!("other"));
    });
    let reply = fixture
        .refused(409, "/api/v1/register", &["-d", &taken, "-H", JSON])
        .await;
    assert_eq!(reply.json()["id"], "b1");
    assert!(error(&reply).contains("shop"), "it says to whom: {reply:?}");
}

#[tokio::test]
async fn row_412_a_dead_incarnation() {
    let mut fixture = Fixture::new().await;
    let mut api = fixture.edgeproxy.api();
    let first = api.backend("b1").await.json()["incarnation"].clone();
    // It moves to another address: a new life, and the old one's word no longer counts.
    let moved = Backend::start("b1").await;
    api.register_new(&Registration::new("b1", "shop", moved.addr()))
        .await;
    let second = api.backend("b1").await.json()["incarnation"].clone();
    assert!(second.as_u64() > first.as_u64());
    fixture.before = state(&mut api).await;
    for dead in [first, json!(999_999), json!("seven")] {
        let fence = format!("If-Match: \"{}\"", dead.to_string().trim_matches('"'));
        let reply = fixture
            .refused(412, "/api/v1/heartbeat/b1", &["-X", "POST", "-H", &fence])
            .await;
        assert_eq!(reply.json()["id"], "b1");
        fixture
            .refused(412, "/api/v1/backends/b1", &["-X", "DELETE", "-H", &fence])
            .await;
    }
    let fence = format!("If-Match: \"{second}\"");
    let _ = curl(&["-X", "POST", "-H", &fence, &fixture.url("/api/v1/heartbeat/b1")])
        .await
        .expect(200);
    let _ = curl(&["-X", "DELETE", "-H", &fence, &fixture.url("/api/v1/backends/b1")])
        .await
        .expect(200);
}

#[tokio::test]
async fn row_413_a_body_over_64_kib() {
    let mut fixture = Fixture::new().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let limit = 64 * 1024;
    for size in [limit, limit + 1, 4 * 1024 * 1024] {
        let file = folder.path().join(size.to_string());
        let mut text = body(|fields| {
            fields.insert("port".to_owned(), json!(0));
        });
        text.push_str(&" ".repeat(size - text.len()));
        std::fs::write(&file, text).expect("the folder can be written to");
        let data = format!("@{}", file.display());
        let status = if size > limit { 413 } else { 422 };
        fixture
            .refused(status, "/api/v1/register", &["--data-binary", &data, "-H", JSON])
            .await;
        // In chunks nobody knows the size before, and who sends megabytes without waiting may find the
        // connection closed before the answer is read.
        if size <= limit + 1 {
            let chunked = [
                "--data-binary",
                &data,
                "-H",
                JSON,
                "-H",
                "Transfer-Encoding: chunked",
            ];
            fixture.refused(status, "/api/v1/register", &chunked).await;
        }
    }
}

#[tokio::test]
async fn row_415_not_application_json() {
    let mut fixture = Fixture::new().await;
    let new = body(|_| ());
    let reply = fixture.refused(415, "/api/v1/register", &["-d", &new]).await;
    assert!(
        error(&reply).contains("application/json"),
        "curl's default type gets a hint: {reply:?}"
    );
    for kind in [
        "Content-Type: text/plain",
        "Content-Type: application/xml",
        "Content-Type:",
    ] {
        fixture
            .refused(415, "/api/v1/register", &["-d", &new, "-H", kind])
            .await;
    }
    for kind in [
        "Content-Type: application/json; charset=utf-8",
        "Content-Type: APPLICATION/JSON",
    ] {
        let bad = body(|fields| {
            fields.insert("port".to_owned(), json!(0));
        });
        fixture
            .refused(422, "/api/v1/register", &["-d", &bad, "-H", kind])
            .await;
    }
}

#[tokio::test]
async fn row_422_lists_every_bad_field() {
    let mut fixture = Fixture::new().await;
    let everything = json!({
        "id": "a b", "app": "my_app", "region": "mars", "country": "Germany", "ip": "0.0.0.0", "port": 65_536,
        "weight": 1001, "soft_limit": 10, "hard_limit": 5, "fallback": "yes", "protocol": "spdy", "ttl_secs": 4,
        "metadata": {"a": 1},
    });
    let reply = fixture
        .refused(
            422,
            "/api/v1/register",
            &["-d", &everything.to_string(), "-H", JSON],
        )
        .await;
    let mut expected: BTreeSet<_> = everything
        .as_object()
        .expect("an object")
        .keys()
        .cloned()
        .collect();
    expected.remove("soft_limit");
    assert_eq!(fields(&reply), expected);
    let regions = reply.json()["fields"].as_array().and_then(|fields| {
        fields
            .iter()
            .find(|field| field["field"] == "region")
            .map(|field| field["problem"].as_str().expect("text").to_owned())
    });
    let regions = regions.expect("the region is listed");
    assert!(
        ["sa", "us", "eu", "ap"]
            .iter()
            .all(|known| regions.contains(known)),
        "it lists those known: {regions}"
    );

    let reply = fixture
        .refused(422, "/api/v1/register", &["-d", "{}", "-H", JSON])
        .await;
    let required = ["id", "app", "region", "ip", "port"].map(str::to_owned);
    assert_eq!(fields(&reply), BTreeSet::from(required));

    let mapped = format!("::ffff:{}", fixture.edgeproxy.proxy().ip());
    for ip in [
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "239.1.2.3",
        "ff02::1",
        "255.255.255.255",
        "169.254.169.254",
        "fe80::1",
        "::ffff:0.0.0.0",
        "::ffff:224.0.0.1",
        "localhost",
        "127.0.0.1:80",
        "127.1",
        "10.0.0.256",
        "",
        "fe80::1%eth0",
    ] {
        let bad = body(|fields| {
            fields.insert("ip".to_owned(), json!(ip));
        });
        let reply = fixture
            .refused(422, "/api/v1/register", &["-d", &bad, "-H", JSON])
            .await;
        assert_eq!(fields(&reply), BTreeSet::from(["ip".to_owned()]), "{ip}");
    }
    // The proxy's own listener would be a loop, and the API's would open the API to every client of the proxy,
    // however they are written.
    let listeners = [fixture.edgeproxy.proxy(), fixture.edgeproxy.api_addr()];
    for (listener, ip) in listeners
        .iter()
        .flat_map(|listener| ["127.0.0.1", &*mapped].map(|ip| (listener, ip)))
    {
        let own = body(|fields| {
            fields.insert("ip".to_owned(), json!(ip));
            fields.insert("port".to_owned(), json!(listener.port()));
        });
        let reply = fixture
            .refused(422, "/api/v1/register", &["-d", &own, "-H", JSON])
            .await;
        assert_eq!(
            fields(&reply),
            BTreeSet::from(["ip".to_owned()]),
            "{ip} {listener}: {reply:?}"
        );
    }
    let patch = [
        "-X",
        "PATCH",
        "-d",
        "{\"weight\":1001,\"enabled\":\"no\",\"soft_limit\":-1}",
        "-H",
        JSON,
    ];
    let reply = fixture.refused(422, "/api/v1/backends/b1", &patch).await;
    assert_eq!(
        fields(&reply),
        BTreeSet::from(["weight", "enabled", "soft_limit"].map(str::to_owned))
    );
    let beat = ["-d", "{\"in_flight\":-1,\"utilization\":1.5}", "-H", JSON];
    let reply = fixture.refused(422, "/api/v1/heartbeat/b1", &beat).await;
    assert_eq!(
        fields(&reply),
        BTreeSet::from(["in_flight", "utilization"].map(str::to_owned))
    );
}

#[tokio::test]
async fn row_422_outside_of_the_allowed_networks() {
    let edgeproxy = Edgeproxy::setup()
        .set("ALLOWED_BACKEND_CIDRS", "10.0.0.0/8,fd00::/8")
        .start()
        .await;
    let mut api = edgeproxy.api();
    let addr = |ip: &str| format!("{ip}:80").parse().expect("an address");
    api.register_new(&Registration::new("in", "shop", addr("10.255.0.1")))
        .await;
    api.register_new(&Registration::new("in6", "shop", addr("[fd12::1]")))
        .await;
    for outside in ["127.0.0.1", "11.0.0.1", "[::1]", "[::ffff:9.1.1.1]"] {
        let reply = api
            .register(&Registration::new("out", "shop", addr(outside)))
            .await;
        let _ = reply.problem(422);
        assert_eq!(fields(&reply), BTreeSet::from(["ip".to_owned()]), "{outside}");
    }
    assert_eq!(api.ids().await.1, 2);
}

#[tokio::test]
async fn row_429_too_many_requests_from_this_peer() {
    let edgeproxy = Edgeproxy::setup().set("API_RATE_PER_PEER", "5").start().await;
    let mut api = edgeproxy.api();
    let mut refused = None;
    for _ in 0..50 {
        let reply = api.get("/health").await;
        if reply.status != 200 {
            refused = Some(reply);
            break;
        }
    }
    let refused = refused.expect("50 requests at once are more than 5 a second");
    let _ = refused.problem(429);
    let wait = refused
        .header("retry-after")
        .and_then(|wait| wait.parse().ok())
        .expect("whole seconds");
    assert!((1..=2).contains(&wait), "{refused:?}");
    let url = format!("http://{}/api/v1/register", edgeproxy.api_addr());
    // By curl as well; it takes a moment to start, in which a place may have come free again.
    eventually(PATIENCE, "curl is refused too", async || {
        let mut last = api.get("/health").await;
        while last.status == 200 {
            last = api.get("/health").await;
        }
        let reply = curl(&["-d", &body(|_| ()), "-H", JSON, &url]).await;
        if reply.status == 429 {
            Ok(())
        } else {
            Err(format!("{reply:?}"))
        }
    })
    .await;
    // After the wait that it asks for, there is a place.
    tokio::time::sleep(Duration::from_secs(wait)).await;
    let _ = api.get("/health").await.expect(200);
}

#[tokio::test]
async fn row_503_the_registry_is_full() {
    let edgeproxy = Edgeproxy::setup().set("MAX_BACKENDS", "1").start().await;
    let backend = Backend::start("b1").await;
    let mut api = edgeproxy.api();
    let registration = Registration::new("b1", "shop", backend.addr());
    api.register_new(&registration).await;
    let url = format!("http://{}/api/v1/register", edgeproxy.api_addr());
    let reply = curl(&["-d", &body(|_| ()), "-H", JSON, &url]).await;
    let problem = reply.problem(503);
    assert_eq!(problem["id"], "new", "{problem}");
    assert!(
        reply.header("retry-after").is_some() && error(&reply).contains("max_backends"),
        "{reply:?}"
    );
    assert_eq!(api.ids().await, (vec!["b1".to_owned()], 1));
    let _ = api.register(&registration).await.expect(200);
    let _ = api.delete("b1", "").await.expect(200);
    api.register_new(&Registration::new("b2", "shop", backend.addr()))
        .await;
}

/// Not an error: what is unknown is accepted and named, so that a typo is seen.
#[tokio::test]
async fn an_unknown_member_is_accepted_and_named() {
    let edgeproxy = Edgeproxy::setup().start().await;
    let backend = Backend::start("b1").await;
    let registration = Registration::new("b1", "shop", backend.addr()).with("wieght", 7);
    let reply = edgeproxy.api().register_new(&registration).await;
    let warnings = reply["warnings"].as_array().expect("warnings");
    assert!(
        warnings.len() == 1 && warnings[0].as_str().is_some_and(|text| text.contains("wieght")),
        "{reply}"
    );
}

/// What one client sends badly closes nobody else's connection.
#[tokio::test]
async fn bad_input_leaves_other_connections_alone() {
    let mut fixture = Fixture::new().await;
    let mut other = fixture.edgeproxy.api();
    let mut client = fixture.edgeproxy.client();
    for _ in 0..20 {
        let _ = other.heartbeat("b1").await.expect(200);
        let _ = client.get("shop", "/").await.expect("an answer").expect(200);
        for addr in [fixture.edgeproxy.api_addr(), fixture.edgeproxy.proxy()] {
            let mut wire = edgeproxy_tests::Wire::connect(addr).await;
            wire.send(b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03 this is TLS, or so it seems\r\n\r\n")
                .await;
            wire.finish().await;
            let _ = wire.rest().await;
        }
    }
    fixture.unchanged().await;
}
