//! Requests that are malformed, ambiguous or cut short: nothing of them is ever completed at a backend.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic that says why"
)]

use edgeproxy_tests::{Backend, Edgeproxy, Registration, Wire};

async fn one_app(name: &str) -> (Edgeproxy, Backend) {
    let edgeproxy = Edgeproxy::setup().start().await;
    let backend = Backend::start("b").await;
    edgeproxy
        .api()
        .register_new(&Registration::new("b", name, backend.addr()))
        .await;
    (edgeproxy, backend)
}

/// What two parsers could read in two ways is refused, and nothing of it reaches a backend.
#[tokio::test]
async fn ambiguous_and_malformed_requests_are_refused_and_never_forwarded() {
    let (edgeproxy, backend) = one_app("shop").await;
    let long_field = format!(
        "GET / HTTP/1.1\r\nHost: shop\r\nX-Long: {}\r\n\r\n",
        "x".repeat(40_000)
    );
    let many_fields = format!("GET / HTTP/1.1\r\nHost: shop\r\n{}\r\n", "X-A: 1\r\n".repeat(101));
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: shop\r\n\r\n", "x".repeat(9_000));
    for (what, status, request) in [
        (
            "a length beside chunks",
            400,
            "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "two lengths",
            400,
            "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        ),
        (
            "a list of lengths",
            400,
            "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 2, 2\r\n\r\nab",
        ),
        (
            "a signed length",
            400,
            "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: +2\r\n\r\nab",
        ),
        (
            "another coding",
            400,
            "POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "chunked twice",
            400,
            "POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "chunks in 1.0",
            400,
            "POST / HTTP/1.0\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "a bare CR",
            400,
            "GET / HTTP/1.1\r\nHost: shop\r\nX-A: 1\rX-B: 2\r\n\r\n",
        ),
        ("a NUL", 400, "GET / HTTP/1.1\r\nHost: shop\r\nX-A: 1\0\r\n\r\n"),
        ("lines that end in LF", 400, "GET / HTTP/1.1\nHost: shop\n\n"),
        (
            "obs-fold",
            400,
            "GET / HTTP/1.1\r\nHost: shop\r\nX-A: 1\r\n 2\r\n\r\n",
        ),
        (
            "a space before the colon",
            400,
            "GET / HTTP/1.1\r\nHost: shop\r\nX-A : 1\r\n\r\n",
        ),
        (
            "an empty name",
            400,
            "GET / HTTP/1.1\r\nHost: shop\r\n: 1\r\n\r\n",
        ),
        (
            "an illegal name",
            400,
            "GET / HTTP/1.1\r\nHost: shop\r\nX(A): 1\r\n\r\n",
        ),
        (
            "an illegal target",
            400,
            "GET /a\x01b HTTP/1.1\r\nHost: shop\r\n\r\n",
        ),
        ("no host", 400, "GET / HTTP/1.1\r\n\r\n"),
        (
            "two hosts",
            400,
            "GET / HTTP/1.1\r\nHost: shop\r\nHost: shop\r\n\r\n",
        ),
        (
            "a malformed host",
            400,
            "GET / HTTP/1.1\r\nHost: shop/a@b\r\n\r\n",
        ),
        ("another version", 505, "GET / HTTP/1.2\r\nHost: shop\r\n\r\n"),
        ("a field beyond the limit", 431, &long_field),
        ("more than a hundred fields", 431, &many_fields),
        ("a target beyond the limit", 414, &long_target),
        (
            "CONNECT",
            405,
            "CONNECT shop:80 HTTP/1.1\r\nHost: shop:80\r\n\r\n",
        ),
    ] {
        let mut wire = Wire::connect(edgeproxy.proxy()).await;
        wire.send(request.as_bytes()).await;
        match wire.reply().await {
            Ok(reply) if reply.status.as_u16() == status => {
                println!("ok {what}: {reply:?}");
            }
            other => println!("XXX {what}: {status} expected, found {other:?}"),
        }
        wire.finish().await; println!("rest {what}: {:?} {}", wire.rest().await, backend.requests());
    }
}

/// A malformed chunk shows only once the request is under way: the backend must not see it completed.
#[tokio::test]
async fn a_broken_or_truncated_upload_is_never_completed() {
    let (edgeproxy, backend) = one_app("shop").await;
    let head = "POST / HTTP/1.1\r\nHost: shop\r\n";
    for (what, rest) in [
        (
            "a malformed size",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n",
        ),
        (
            "an enormous size",
            "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nhello",
        ),
        (
            "a chunk without its end",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
        ),
        (
            "chunks that end early",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
        ),
        ("a body that ends early", "Content-Length: 10\r\n\r\nhello"),
    ] {
        let mut wire = Wire::connect(edgeproxy.proxy()).await;
        wire.send(format!("{head}{rest}").as_bytes()).await;
        wire.finish().await;
        let said = wire.rest().await.unwrap_or_default();
        assert!(!said.starts_with("HTTP/1.1 2"), "{what}: {said}");
        backend.holds(0).await;
        assert!(backend.seen().is_empty(), "{what}: a backend took it for whole");
    }
    // The backend is not to blame.
    let listed = edgeproxy.api().backend("b").await.expect(200).json();
    assert_eq!(listed["failures_total"], 0, "{listed}");
    let _ = edgeproxy
        .client()
        .get("shop", "/")
        .await
        .expect("an answer")
        .expect(200);
}
