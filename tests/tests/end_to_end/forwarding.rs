//! What a request and its answer look like on the other side, and the proxy's own answers.

use std::time::{Duration, Instant};

use bytes::Bytes;
use edgeproxy_tests::{Backend, Behaviour, Edgeproxy, PATIENCE, Registration, Reply, Wire, curl, eventually};
use http::{Request, Response, Version};
use http_body_util::Full;
use serde_json::json;

async fn one_app(name: &str) -> (Edgeproxy, Backend) {
    let edgeproxy = Edgeproxy::setup().start().await;
    let backend = Backend::start("b").await;
    edgeproxy
        .api()
        .register_new(&Registration::new("b", name, backend.addr()))
        .await;
    (edgeproxy, backend)
}

/// The proxy's own answer: a problem document, its name and its word.
fn own_answer(reply: &Reply, status: u16, word: &str) -> String {
    let problem = reply.problem(status);
    assert_eq!(reply.header("x-edgeproxy-error"), Some(word), "{reply:?}");
    assert_eq!(reply.header("server"), Some("edgeproxy"), "{reply:?}");
    assert!(reply.header("date").is_some(), "{reply:?}");
    problem["error"].as_str().expect("a sentence").to_owned()
}

#[tokio::test]
async fn what_a_backend_sees() {
    let (edgeproxy, backend) = one_app("shop").await;
    let mut client = edgeproxy.client();
    let _ = client
        .get("shop.example:8080", "/a/b?c=d&e=%2F")
        .await
        .expect("an answer")
        .expect(200);
    let seen = backend.last_seen();
    assert_eq!(
        (seen.target.to_string().as_str(), seen.version),
        ("/a/b?c=d&e=%2F", Version::HTTP_11)
    );
    let value = |name: &str| seen.headers.get(name).map(|value| value.to_str().expect("text"));
    assert_eq!(value("host"), Some("shop.example:8080"), "the client's");
    assert_eq!(value("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(value("x-forwarded-proto"), Some("http"));
    assert_eq!(value("x-forwarded-host"), Some("shop.example:8080"));
    assert!(
        value("via").is_some_and(|via| via.starts_with("1.1 ")),
        "{seen:?}"
    );
    let id = value("x-request-id").expect("an id");
    assert!(id.len() >= 16, "{id}");
    let trace: Vec<_> = value("traceparent").expect("a trace").split('-').collect();
    let lengths: Vec<_> = trace.iter().map(|part| part.len()).collect();
    assert_eq!(lengths, [2, 32, 16, 2], "{trace:?}");
    assert_eq!(value("connection"), None);

    let _ = client.get("shop", "/").await.expect("an answer").expect(200);
    assert_ne!(
        backend.last_seen().headers["x-request-id"],
        id,
        "another request, another id"
    );
}

#[tokio::test]
async fn a_clients_own_forwarding_headers_are_replaced_and_its_ids_kept() {
    let (edgeproxy, backend) = one_app("shop").await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = Request::get("/")
        .header("host", "shop")
        .header("x-forwarded-for", "6.6.6.6, 7.7.7.7")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "evil.example")
        .header("forwarded", "for=6.6.6.6")
        .header("x-request-id", "client-chosen-id-0001")
        .header("traceparent", trace)
        .header("x-other", "kept")
        .body(Full::default())
        .expect("a request");
    let _ = edgeproxy
        .client()
        .send(request)
        .await
        .expect("an answer")
        .expect(200);
    let seen = backend.last_seen().headers;
    let values = |name: &str| {
        seen.get_all(name)
            .iter()
            .map(|value| value.to_str().expect("text"))
            .collect::<Vec<_>>()
    };
    assert_eq!(values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(values("x-forwarded-proto"), ["http"]);
    assert_eq!(values("x-forwarded-host"), ["shop"]);
    assert!(
        values("forwarded").iter().all(|value| !value.contains("6.6.6.6")),
        "{seen:?}"
    );
    assert_eq!(values("x-request-id"), ["client-chosen-id-0001"]);
    let passed = values("traceparent");
    assert!(
        passed.len() == 1 && passed[0].contains("0af7651916cd43dd8448eb211c80319c"),
        "{passed:?}"
    );
    assert_eq!(values("x-other"), ["kept"]);
    // An id that could break a log line is not kept.
    let request = Request::get("/")
        .header("host", "shop")
        .header("x-request-id", "a b\tc\"".repeat(80));
    let _ = edgeproxy
        .client()
        .send(request.body(Full::default()).expect("a request"))
        .await
        .expect("an answer");
    assert!(backend.last_seen().headers["x-request-id"].len() <= 128);
}

#[tokio::test]
async fn hop_by_hop_fields_are_removed_both_ways() {
    let (edgeproxy, backend) = one_app("shop").await;
    backend.behave(Behaviour::respond(|_| {
        Response::builder()
            .header("connection", "x-private, keep-alive")
            .header("keep-alive", "timeout=5")
            .header("proxy-connection", "keep-alive")
            .header("x-private", "1")
            .header("x-public", "2")
            .body(Full::from("body"))
            .expect("a response")
    }));
    let mut wire = Wire::connect(edgeproxy.proxy()).await;
    wire.send(
        b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: X-Drop, keep-alive\r\nX-Drop: 1\r\nKeep-Alive: timeout=5\r\n\
          Proxy-Connection: keep-alive\r\nTE: gzip\r\nX-Keep: 1\r\n\r\n",
    )
    .await;
    let reply = wire.reply().await.expect("an answer").expect(200);
    for name in ["x-private", "keep-alive", "proxy-connection", "connection"] {
        assert_eq!(reply.header(name), None, "{reply:?}");
    }
    assert_eq!((reply.text(), reply.header("x-public")), ("body", Some("2")));
    assert!(
        reply.header("date").is_some(),
        "added, since the backend sent none: {reply:?}"
    );
    let seen = backend.last_seen().headers;
    for name in [
        "x-drop",
        "keep-alive",
        "proxy-connection",
        "te",
        "connection",
        "upgrade",
    ] {
        assert_eq!(seen.get(name), None, "{name}: {seen:?}");
    }
    assert_eq!(seen["x-keep"], "1");
    // And the connection itself is kept, both in front and behind.
    wire.send(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n").await;
    let _ = wire.reply().await.expect("an answer").expect(200);
    assert_eq!(backend.connections(), 1, "the upstream connection is reused");
}

#[tokio::test]
async fn http2_by_prior_knowledge() {
    let (edgeproxy, backend) = one_app("shop").await;
    let url = format!("http://{}/a?b=c", edgeproxy.proxy());
    let reply = curl(&[
        "--http2-prior-knowledge",
        "-H",
        "Host: shop.example",
        "-d",
        "x=1",
        &url,
    ])
    .await
    .expect(200);
    assert_eq!((reply.version, reply.text()), (Version::HTTP_2, "b"));
    let seen = backend.last_seen();
    assert_eq!((seen.version, &seen.body[..]), (Version::HTTP_11, &b"x=1"[..]));
    assert_eq!(
        (seen.target.to_string().as_str(), &seen.headers["host"]),
        ("/a?b=c", &"shop.example".parse().expect("text"))
    );
    assert_eq!(seen.headers["x-forwarded-for"], "127.0.0.1");
    // Several at once over one connection, and the proxy's own answers as well.
    let reply = curl(&["--http2-prior-knowledge", "--head", &url])
        .await
        .expect(200);
    assert_eq!(reply.header("content-length"), Some("1"));
    edgeproxy
        .api()
        .register_new(&Registration::new("c", "other", backend.addr()))
        .await;
    let reply = curl(&["--http2-prior-knowledge", "-H", "Host: nobody", &url]).await;
    own_answer(&reply, 404, "no_route");
}

#[tokio::test]
async fn head_204_and_304_have_no_body() {
    let (edgeproxy, backend) = one_app("shop").await;
    let mut wire = Wire::connect(edgeproxy.proxy()).await;
    wire.send(b"HEAD / HTTP/1.1\r\nHost: shop\r\n\r\n").await;
    let reply = wire.reply_to_head().await.expect("an answer").expect(200);
    assert_eq!(reply.header("content-length"), Some("1"));
    for status in [204, 304] {
        backend.behave(Behaviour::respond(move |_| {
            Response::builder()
                .status(status)
                .body(Full::default())
                .expect("a response")
        }));
        wire.send(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n").await;
        let reply = wire.reply().await.expect("an answer");
        assert_eq!((reply.status.as_u16(), reply.body.len()), (status, 0));
        assert_eq!(reply.header("transfer-encoding"), None, "{reply:?}");
    }
    // Had any of them had a body, it would stand in the way of this answer.
    backend.behave(Behaviour::Answer);
    wire.send(b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(wire.reply().await.expect("an answer").expect(200).text(), "b");
    wire.closed().await;
    assert_eq!(backend.requests(), 4);
}

#[tokio::test]
async fn bodies_pass_whole_both_ways() {
    let (edgeproxy, backend) = one_app("shop").await;
    backend.behave(Behaviour::respond(|seen| {
        Response::new(Full::new(seen.body.clone()))
    }));
    let mut client = edgeproxy.client();
    for size in [0_usize, 1, 1_000, 65_536, 1_000_003] {
        let body: Bytes = (0..size).map(|n| u8::try_from(n % 251).expect("small")).collect();
        let reply = client
            .post("shop", "/echo", body.clone())
            .await
            .expect("an answer")
            .expect(200);
        assert!(
            reply.body == body,
            "{size} bytes came back as {}",
            reply.body.len()
        );
    }
    // In chunks, of which the proxy makes what it likes.
    let mut wire = Wire::connect(edgeproxy.proxy()).await;
    wire.send(
        b"POST /echo HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n\
          5\r\nhello\r\n1;ext=1\r\n \r\n5\r\nworld\r\n0\r\n\r\n",
    )
    .await;
    assert_eq!(
        wire.reply().await.expect("an answer").expect(200).text(),
        "hello world"
    );
    // A client that has said all it has to say is still answered.
    let mut wire = Wire::connect(edgeproxy.proxy()).await;
    wire.send(b"POST /echo HTTP/1.1\r\nHost: shop\r\nContent-Length: 2\r\n\r\nhi")
        .await;
    wire.finish().await;
    assert_eq!(wire.reply().await.expect("an answer").expect(200).text(), "hi");
}

/// A client that waits for 100 gets it, or an answer, but never waits in vain.
#[tokio::test]
async fn expect_100_continue_is_answered() {
    let (edgeproxy, backend) = one_app("shop").await;
    let url = format!("http://{}/upload", edgeproxy.proxy());
    let body = "x".repeat(100_000);
    let begun = Instant::now();
    let _ = curl(&[
        "-H",
        "Expect: 100-continue",
        "--expect100-timeout",
        "10",
        "-d",
        &body,
        &url,
    ])
    .await
    .expect(200);
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "curl did not wait in vain: {:?}",
        begun.elapsed()
    );
    assert_eq!(backend.last_seen().body.len(), body.len());
}

#[tokio::test]
async fn one_app_gets_everything_and_several_are_told_apart_by_host() {
    let (edgeproxy, backend) = one_app("shop").await;
    let mut api = edgeproxy.api();
    let mut client = edgeproxy.client();
    for host in ["shop", "anything.example", "127.0.0.1:1"] {
        let _ = client.get(host, "/").await.expect("an answer").expect(200);
    }
    assert_eq!(backend.requests(), 3);

    let other = Backend::start("other").await;
    let whole = Backend::start("whole").await;
    api.register_new(&Registration::new("other", "blog", other.addr()))
        .await;
    api.register_new(&Registration::new("whole", "api.example.com", whole.addr()))
        .await;
    for (host, expected) in [
        ("shop", "b"),
        ("shop.example", "b"),
        ("SHOP.example:8080", "b"),
        ("blog", "other"),
        ("blog.shop.example", "other"),
        ("api.example.com", "whole"),
        ("Api.Example.Com:443", "whole"),
    ] {
        let reply = client.get(host, "/").await.expect("an answer").expect(200);
        assert_eq!(reply.text(), expected, "{host}");
    }
    for host in [
        "nobody.example",
        "api.example.org",
        "www.shop.example",
        "127.0.0.1",
    ] {
        let reply = client.get(host, "/").await.expect("an answer");
        own_answer(&reply, 404, "no_route");
    }
    let _ = api.delete("other", "").await.expect(200);
    let reply = client.get("blog", "/").await.expect("an answer");
    own_answer(&reply, 404, "no_route");
}

/// All out: 503 with the reason and when to come back, and no hang.
#[tokio::test]
async fn with_no_backend_routable_the_answer_says_why_and_comes_at_once() {
    let edgeproxy = Edgeproxy::setup().start().await;
    let mut api = edgeproxy.api();
    let backend = Backend::start("b").await;
    for n in 0..3 {
        api.register_new(&Registration::new(&format!("b{n}"), "shop", backend.addr()))
            .await;
    }
    for n in 0..2 {
        let _ = api
            .patch(&format!("b{n}"), &json!({"enabled": false}))
            .await
            .expect(200);
    }
    // The third says itself that it drains.
    let _ = api
        .post("/api/v1/heartbeat/b2", "{\"draining\":true}")
        .await
        .expect(200);
    let mut client = edgeproxy.client();
    // Refused from the first on; the words follow with the next table.
    eventually(PATIENCE, "the answer says why", async || {
        let error = own_answer(
            &client.get("shop", "/").await.expect("an answer"),
            503,
            "no_backend",
        );
        let whole = ["\"shop\"", "2 disabled", "1 draining"]
            .iter()
            .all(|part| error.contains(part));
        if whole { Ok(()) } else { Err(error) }
    })
    .await;
    let mut slowest = Duration::ZERO;
    for _ in 0..50 {
        let begun = Instant::now();
        let reply = client.get("shop", "/").await.expect("an answer");
        slowest = slowest.max(begun.elapsed());
        own_answer(&reply, 503, "no_backend");
        assert!(
            reply
                .header("retry-after")
                .is_some_and(|wait| wait.parse::<u64>().is_ok()),
            "{reply:?}"
        );
    }
    // Promised within a millisecond; a busy machine gets a hundred times as much.
    assert!(slowest < Duration::from_millis(100), "{slowest:?}");
    assert_eq!(backend.requests(), 0);
    // An operator's word outlives a renewal, until it is cleared.
    let _ = api
        .register(&Registration::new("b0", "shop", backend.addr()))
        .await
        .expect(200);
    assert_eq!(client.get("shop", "/").await.expect("an answer").status, 503);
    let _ = api.patch("b0", &json!({"enabled": null})).await.expect(200);
    let _ = client.get("shop", "/").await.expect("an answer").expect(200);
}

/// Each cause has its word.
#[tokio::test]
async fn the_proxys_own_answers_have_a_stable_word() {
    let edgeproxy = Edgeproxy::setup().start().await;
    let mut client = edgeproxy.client();
    own_answer(
        &client.get("shop", "/").await.expect("an answer"),
        404,
        "no_route",
    );
    let backend = Backend::start("b").await;
    edgeproxy
        .api()
        .register_new(&Registration::new("b", "shop", backend.addr()))
        .await;
    for broken in [Behaviour::CloseUnanswered, Behaviour::Reset] {
        backend.behave(broken);
        own_answer(
            &client.get("shop", "/").await.expect("an answer"),
            502,
            "no_response",
        );
    }
    backend.behave(Behaviour::Garbage);
    own_answer(
        &client.get("shop", "/").await.expect("an answer"),
        502,
        "bad_response",
    );
    backend.refuse().await;
    own_answer(
        &client.get("shop", "/").await.expect("an answer"),
        502,
        "connect_failed",
    );
    backend.behave(Behaviour::Answer);
    backend.listen();
    let reply = client.get("shop", "/").await.expect("an answer").expect(200);
    assert_eq!(
        reply.header("x-edgeproxy-error"),
        None,
        "a backend's answer is not the proxy's"
    );
}

/// Two proxies that have each other for a backend: the circle ends where it began.
#[tokio::test]
async fn a_request_that_comes_round_again_is_refused() {
    let one = Edgeproxy::setup().start().await;
    let two = Edgeproxy::setup().start().await;
    one.api()
        .register_new(&Registration::new("two", "shop", two.proxy()))
        .await;
    two.api()
        .register_new(&Registration::new("one", "shop", one.proxy()))
        .await;
    let reply = one.client().get("shop", "/").await.expect("an answer");
    assert_eq!(reply.status, 508, "{reply:?}");
    assert_eq!(
        reply.header("x-edgeproxy-error"),
        Some("loop_detected"),
        "{reply:?}"
    );
}
