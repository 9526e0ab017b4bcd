//! The errors' table.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use super::*;

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test(start_paused = true)]
async fn row_400_the_body_is_not_json() {
    let f = Fixture::new();
    f.registered("a").await;
    for (body, place) in [
        ("{\"id\":\n \"b\",}", "line 2 column 6"),
        ("{", "line 1 column 1"),
        ("nope", "line 1 column 2"),
        ("{}{}", "line 1 column 3"),
        ("\u{feff}{}", "line 1 column 1"),
    ] {
        for (method, path) in [
            ("POST", "/api/v1/register"),
            ("POST", "/api/v1/heartbeat/a"),
            ("PATCH", "/api/v1/backends/a"),
        ] {
            let reply = f.send(method, path, &[JSON], body).await;
            assert_eq!(reply.status, 400, "{method} {body}");
            assert!(reply.error().contains(place), "{}", reply.error());
        }
    }
    let reply = f
        .send("POST", "/api/v1/register", &[JSON], "[".repeat(60_000))
        .await;
    assert_eq!(reply.status, 400);
    let reply = f.send("POST", "/api/v1/register", &[JSON], Body::empty()).await;
    assert!(
        reply.status == 400 && reply.error().contains("empty"),
        "{}",
        reply.error()
    );
    let reply = f
        .send("POST", "/api/v1/register", &[JSON], &b"{\"id\":\"\xff\"}"[..])
        .await;
    assert_eq!(reply.status, 400);
}

#[tokio::test(start_paused = true)]
async fn row_400_the_paths_id_is_malformed() {
    let f = Fixture::new();
    for id in [
        "a%20b",
        "a%2Fb",
        "%00",
        "%ff",
        "%C3%A4",
        &"x".repeat(129),
        "a@b",
        "a%",
    ] {
        for (method, path) in [
            ("GET", "backends"),
            ("DELETE", "backends"),
            ("PATCH", "backends"),
            ("POST", "heartbeat"),
        ] {
            let reply = f
                .send(method, &format!("/api/v1/{path}/{id}"), &[JSON], "{}")
                .await;
            assert_eq!(reply.status, 400, "{method} {path} {id}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn row_404_unknown_id() {
    let f = Fixture::new();
    for (method, path) in [
        ("GET", "/api/v1/backends/gone"),
        ("DELETE", "/api/v1/backends/gone"),
        ("PATCH", "/api/v1/backends/gone"),
        ("POST", "/api/v1/heartbeat/gone"),
    ] {
        for if_match in [None, Some("\"7\""), Some("W/\"7\""), Some("\"7\", \"8\"")] {
            let headers: Vec<_> = [JSON]
                .into_iter()
                .chain(if_match.map(|tag| ("if-match", tag)))
                .collect();
            let reply = f.send(method, path, &headers, "{}").await;
            assert_eq!(
                (reply.status, &reply.body["id"]),
                (StatusCode::NOT_FOUND, &json!("gone")),
                "{method}"
            );
            let told_to_register = reply.error().contains("register it again");
            assert_eq!(told_to_register, path.contains("heartbeat"), "{}", reply.error());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn row_404_no_such_path() {
    let f = Fixture::new();
    for path in [
        "/ui",
        "/ui/",
        "/ui/nothing.js",
        "/ui/../app.js",
        "/api",
        "/api/v1",
        "/api/v1/backends/",
        "/api/v1/backends/a/b",
        "/health/",
        "/API/v1/apps",
        "//health",
    ] {
        assert_eq!(f.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn row_405_wrong_method() {
    let f = Fixture::new();
    for (path, wrong, allow) in [
        (
            "/health",
            &["POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW"][..],
            "GET,HEAD",
        ),
        ("/ready", &["POST"], "GET,HEAD"),
        ("/api/v1/register", &["GET", "PUT", "DELETE", "HEAD"], "POST"),
        ("/api/v1/heartbeat/a", &["GET", "PUT", "PATCH"], "POST"),
        ("/api/v1/backends", &["POST", "DELETE"], "GET,HEAD"),
        ("/api/v1/backends/a", &["POST", "PUT"], "GET,HEAD,DELETE,PATCH"),
        ("/api/v1/apps", &["POST"], "GET,HEAD"),
        ("/api/v1/apps/a", &["DELETE"], "GET,HEAD"),
        ("/api/v1/explain", &["POST"], "GET,HEAD"),
    ] {
        for method in wrong {
            let reply = f.send(method, path, &[], Body::empty()).await;
            assert_eq!(reply.status, 405, "{method} {path}");
            assert_eq!(reply.headers["allow"], allow, "{method} {path}");
            if *method != "HEAD" {
                assert!(
                    reply.error().contains(&allow.replace(',', ", ")),
                    "{}",
                    reply.error()
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn row_406_not_acceptable() {
    let f = Fixture::new();
    let accept = ("accept", "text/html");
    for (method, path) in [
        ("GET", "/health"),
        ("POST", "/api/v1/register"),
        ("DELETE", "/api/v1/backends/a"),
    ] {
        let reply = f
            .send(method, path, &[accept, JSON], registration("a").to_string())
            .await;
        assert_eq!(reply.status, 406, "{method} {path}");
    }
    assert_eq!(f.listing().await["total"], 0);
}

#[tokio::test(start_paused = true)]
async fn row_415_not_json() {
    let f = Fixture::new();
    f.registered("a").await;
    let body = registration("b").to_string();
    for (method, path) in [
        ("POST", "/api/v1/register"),
        ("PATCH", "/api/v1/backends/a"),
        ("POST", "/api/v1/heartbeat/a"),
    ] {
        for content_type in [
            "application/x-www-form-urlencoded",
            "text/plain",
            "application/jsonp",
            "",
        ] {
            let reply = f
                .send(method, path, &[("content-type", content_type)], body.clone())
                .await;
            assert_eq!(reply.status, 415, "{method} {content_type}");
            assert!(
                reply.error().contains("-H 'Content-Type: application/json'"),
                "{}",
                reply.error()
            );
        }
        assert_eq!(
            f.send(method, path, &[], body.clone()).await.status,
            415,
            "{method}"
        );
        let gzip = f
            .send(method, path, &[JSON, ("content-encoding", "gzip")], body.clone())
            .await;
        assert_eq!(
            (gzip.status, &gzip.headers["accept-encoding"]),
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, &"identity".parse().unwrap())
        );
    }
    let fine = ("content-type", "Application/JSON ; charset=utf-8");
    assert_eq!(
        f.send("POST", "/api/v1/register", &[fine], body).await.status,
        201
    );
}

#[tokio::test(start_paused = true)]
async fn row_409_the_id_belongs_to_another_app() {
    let f = Fixture::new();
    f.registered("a").await;
    let before = f.listing().await;
    let mut other = registration("a");
    other["app"] = json!("other");
    let reply = f.register(&other).await;
    assert_eq!(
        (reply.status, &reply.body["id"]),
        (StatusCode::CONFLICT, &json!("a"))
    );
    assert!(reply.error().contains("myapp"));
    assert_eq!(f.listing().await, before);
}

#[tokio::test(start_paused = true)]
async fn row_412_if_match_names_a_dead_incarnation() {
    let f = Fixture::new();
    f.registered("a").await;
    let mut moved = registration("a");
    moved["port"] = json!(8081);
    f.register(&moved).await;
    let requests = [
        ("POST", "/api/v1/heartbeat/a", ""),
        ("PATCH", "/api/v1/backends/a", "{}"),
        ("DELETE", "/api/v1/backends/a", ""),
    ];
    let before = f.listing().await;
    for (method, path, body) in requests {
        for tag in ["\"1\"", "W/\"2\"", "\"abc\"", "\"1\", \"3\"", "\"02\""] {
            let reply = f.send(method, path, &[JSON, ("if-match", tag)], body).await;
            assert_eq!(
                (reply.status, &reply.body["id"]),
                (StatusCode::PRECONDITION_FAILED, &json!("a")),
                "{method} {tag}"
            );
        }
        for malformed in ["2", "\"2", "", "\"1\" \"2\"", "*, \"2\""] {
            let reply = f.send(method, path, &[JSON, ("if-match", malformed)], body).await;
            assert_eq!(reply.status, 400, "{method} {malformed}");
        }
    }
    assert_eq!(f.listing().await, before);
    for (method, path, body) in requests {
        for tag in ["\"2\"", "*", "\"1\", \"2\""] {
            if method == "DELETE" && tag != "\"2\"" {
                continue;
            }
            let reply = f.send(method, path, &[JSON, ("if-match", tag)], body).await;
            assert_eq!(reply.status, 200, "{method} {tag}");
        }
    }
}

/// A body that tells nothing of its length, made of `chunks` of a KiB; `None` never ends.
struct Chunks(Option<usize>);

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        match &mut self.0 {
            None => Poll::Pending,
            Some(0) => Poll::Ready(None),
            Some(left) => {
                *left -= 1;
                Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from_static(
                    &[b' '; 1024],
                )))))
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn row_413_body_over_64_kib() {
    let f = Fixture::new();
    f.registered("a").await;
    for (method, path) in [
        ("POST", "/api/v1/register"),
        ("PATCH", "/api/v1/backends/a"),
        ("POST", "/api/v1/heartbeat/a"),
    ] {
        let declared = f
            .send(
                method,
                path,
                &[JSON, ("content-length", "65537")],
                " ".repeat(65_537),
            )
            .await;
        assert_eq!(declared.status, 413, "{method}");
        for chunks in [65, 10_000] {
            let chunked = f
                .send(method, path, &[JSON], Body::new(Chunks(Some(chunks))))
                .await;
            assert_eq!(chunked.status, 413, "{method}");
        }
        // Full to the brim, and not JSON.
        assert_eq!(
            f.send(method, path, &[JSON], Body::new(Chunks(Some(64))))
                .await
                .status,
            400
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_408() {
    let f = Fixture::new();
    let reply = f
        .send("POST", "/api/v1/register", &[JSON], Body::new(Chunks(None)))
        .await;
    assert_eq!(
        (reply.status, &reply.headers["connection"]),
        (StatusCode::REQUEST_TIMEOUT, &"close".parse().unwrap())
    );
}

#[tokio::test(start_paused = true)]
async fn row_422_a_field_breaks_its_rule() {
    let f = Fixture::new();
    let reply = f
        .register(&json!({ "id": "a", "app": "x", "region": "mars", "ip": "10.0.0.1", "port": 0 }))
        .await;
    assert_eq!(
        (reply.status, reply.fields()),
        (StatusCode::UNPROCESSABLE_ENTITY, vec!["region", "port"])
    );
    assert_eq!(reply.body["id"], "a");
    assert!(
        reply.body["fields"][0]["problem"]
            .as_str()
            .unwrap()
            .contains("sa, us, eu, ap")
    );
    for body in [json!([]), json!("x"), json!(1), json!(null)] {
        let reply = f.register(&body).await;
        assert_eq!(
            (reply.status, reply.fields()),
            (StatusCode::UNPROCESSABLE_ENTITY, vec![""]),
            "{body}"
        );
    }
    let twice = registration("a").to_string().replacen('{', "{\"weight\":3,", 1);
    let reply = f.send("POST", "/api/v1/register", &[JSON], twice).await;
    assert_eq!(reply.error(), "weight comes twice; give it once");
    assert_eq!(f.listing().await["total"], 0);
}

#[tokio::test(start_paused = true)]
async fn row_429_too_many_requests_from_this_peer() {
    let one = std::num::NonZeroU32::MIN;
    let bounds = Bounds {
        requests_per_sec: one,
        burst: one.saturating_add(2),
        ..Bounds::default()
    };
    let mut f = Fixture::with(Setup {
        bounds,
        ..Setup::default()
    });
    for _ in 0..3 {
        assert_eq!(f.get("/health").await.status, 200);
    }
    let reply = f.get("/health").await;
    assert_eq!(
        (reply.status, &reply.headers["retry-after"]),
        (StatusCode::TOO_MANY_REQUESTS, &"1".parse().unwrap())
    );
    f.peer = ([127, 0, 0, 2], 1).into();
    assert_eq!(f.get("/health").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn row_503_the_registry_is_full() {
    let f = Fixture::with(Setup {
        config: Config {
            max_backends: 1,
            ..Config::default()
        },
        ..Setup::default()
    });
    f.registered("a").await;
    let reply = f.register(&registration("b")).await;
    assert_eq!(
        (reply.status, &reply.body["id"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("b"))
    );
    assert!(reply.error().contains("max_backends"));
    assert_eq!(f.register(&registration("a")).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn row_503_the_server_is_stopping() {
    let f = Fixture::new();
    f.registered("a").await;
    f.handle.stop();
    assert_eq!(f.register(&registration("b")).await.status, 503);
    assert_eq!(
        f.send("POST", "/api/v1/heartbeat/a", &[], Body::empty())
            .await
            .status,
        503
    );
    assert_eq!(
        f.send("DELETE", "/api/v1/backends/a", &[], Body::empty())
            .await
            .status,
        503
    );
    assert_eq!(
        f.json("PATCH", "/api/v1/backends/a", &json!({ "weight": 1 }))
            .await
            .status,
        503
    );
    assert_eq!(f.listing().await["total"], 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_is_503_and_dropping_a_request_midway_is_harmless() {
    let (f, driver) = Fixture::without_driver(Setup::default());
    // Nobody publishes, so the registration can't be confirmed.
    let reply = f.register(&registration("a")).await;
    assert_eq!(reply.status, 503);
    let gone = tokio::time::timeout(Duration::from_secs(1), f.register(&registration("b"))).await;
    assert!(gone.is_err());
    let (_sender, reports) = reports(1);
    tokio::spawn(driver.run(reports, |_| (), |_| ()));
    assert_eq!(f.listing().await["total"], 2);
    assert_eq!(f.register(&registration("a")).await.status, 200);
    assert_eq!(f.register(&registration("b")).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_handler_costs_one_answer() {
    struct Panics;
    impl Explain for Panics {
        fn explain(&self, _: &AppName, _: &ClientQuery) -> Option<Explanation> {
            panic!("on purpose");
        }
    }
    let mut f = Fixture::new();
    f.router = router(State {
        explain: Arc::new(Panics),
        ..state(&f.handle)
    });
    let mut request = Request::get("/api/v1/explain?app=a")
        .header("host", "localhost")
        .body(Body::empty())
        .unwrap();
    request.extensions_mut().insert(ConnectInfo(f.peer));
    let response = f.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 500);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(f.get("/health").await.status, 200);
}
