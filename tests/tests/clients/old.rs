//! HTTP/1.0 on either side, and requests sent before their answers have come.

use edgeproxy_tests::{ForeignBackend, Wire, has};
use http::Version;

use crate::raw::RawBackend;
use crate::stage::{before, script};

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    if !has("node") {
        return;
    }
    let backend = ForeignBackend::start("node", &script("backend.js")).await;
    let edgeproxy = before(backend.addr()).await;
    let mut wire = Wire::connect(edgeproxy.proxy()).await;
    let mut requests = Vec::new();
    for n in 0..50 {
        requests.extend(format!("GET /download?{n} HTTP/1.1\r\nHost: shop\r\n\r\n").into_bytes());
        requests.extend(format!("GET /chunks?{n} HTTP/1.1\r\nHost: shop\r\n\r\n").into_bytes());
        let body = "x".repeat(n);
        let head = format!("POST /upload HTTP/1.1\r\nHost: shop\r\nContent-Length: {n}\r\n\r\n");
        requests.extend([head.as_bytes(), body.as_bytes()].concat());
    }
    wire.send(&requests).await;
    for n in 0..50 {
        for _ in 0..2 {
            let reply = wire.reply().await.expect("an answer").expect(200);
            assert_eq!(reply.body.len(), n);
        }
        let reply = wire.reply().await.expect("an answer").expect(200);
        assert_eq!(reply.json()["bytes"], n);
    }
    wire.finish().await;
    wire.closed().await;
}

#[tokio::test]
async fn http_1_0_is_closed_unless_it_asks_to_be_kept() {
    let backend = RawBackend::start().await;
    let edgeproxy = before(backend.addr()).await;
    let mut kept = Wire::connect(edgeproxy.proxy()).await;
    let mut seen = None;
    for _ in 0..3 {
        kept.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            .await;
        if seen.is_none() {
            seen = Some(backend.accept().await);
        }
        let conversation = seen.as_mut().expect("a connection");
        let head = conversation.head().await;
        assert!(head.starts_with("GET / HTTP/1.1\r\n"), "{head}");
        assert!(
            head.contains(&format!("\r\nhost: {}\r\n", backend.addr())),
            "{head}"
        );
        conversation
            .send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
            .await;
        let reply = kept.reply().await.expect("an answer").expect(200);
        assert_eq!(
            (reply.text(), reply.header("connection")),
            ("hi", Some("keep-alive"))
        );
    }
    let mut conversation = seen.expect("a connection");
    let mut once = Wire::connect(edgeproxy.proxy()).await;
    once.send(b"GET / HTTP/1.0\r\n\r\n").await;
    // A worker of its own may have got it, with a connection of its own.
    let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    tokio::select! {
        _ = conversation.head() => conversation.send(answer).await,
        mut other = backend.accept() => {
            other.head().await;
            other.send(answer).await;
        }
    }
    let reply = once.reply().await.expect("an answer").expect(200);
    assert_eq!(reply.text(), "hi", "without chunks, which it doesn't know");
    assert_eq!(
        (reply.header("connection"), reply.header("transfer-encoding")),
        (Some("close"), None)
    );
}

/// The end of the backend's connection is the body's end: a client of HTTP/1.1 is told so by chunks, and keeps its
/// connection.
#[tokio::test]
async fn an_answer_of_http_1_0_that_ends_with_its_connection() {
    let backend = RawBackend::start().await;
    let edgeproxy = before(backend.addr()).await;
    let mut wire = Wire::connect(edgeproxy.proxy()).await;
    for _ in 0..3 {
        wire.send(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n").await;
        let mut seen = backend.accept().await;
        seen.head().await;
        seen.send(b"HTTP/1.0 200 OK\r\n\r\nto the ").await;
        seen.send(b"end").await;
        drop(seen);
        let reply = wire.reply().await.expect("an answer").expect(200);
        assert_eq!((reply.version, reply.text()), (Version::HTTP_11, "to the end"));
        assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
    }
    let mut old = Wire::connect(edgeproxy.proxy()).await;
    old.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        .await;
    let mut seen = backend.accept().await;
    seen.head().await;
    seen.send(b"HTTP/1.0 200 OK\r\n\r\nto the end").await;
    drop(seen);
    let reply = old.reply().await.expect("an answer").expect(200);
    assert_eq!(
        (reply.text(), reply.header("connection")),
        ("to the end", Some("close"))
    );
}
