//! Requests that are malformed, ambiguous or cut short: nothing of them is ever completed at a backend.

use edgeproxy_tests::{Backend, Edgeproxy, Registration, Reply, Wire};

async fn one_app(name: &str) -> (Edgeproxy, Backend) {
    let edgeproxy = Edgeproxy::setup().start().await;
    let backend = Backend::start("b").await;
    edgeproxy
        .api()
        .register_new(&Registration::new("b", name, backend.addr()))
        .await;
    (edgeproxy, backend)
}

/// What two parsers could read in two ways, or one not at all. `crates/proxy/tests/corpus` has hundreds more.
const REFUSED: [(u16, &str); 22] = [
    (
        400,
        "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    ),
    (
        400,
        "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 2, 2\r\n\r\nab",
    ),
    (
        400,
        "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: +2\r\n\r\nab",
    ),
    (
        400,
        "POST / HTTP/1.0\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (400, "GET / HTTP/1.1\r\nHost: shop\r\nX-A: 1\rX-B: 2\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: shop\r\nX-A: 1\0\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: shop\r\nX-A: 1\r\n 2\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: shop\r\nX-A : 1\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: shop\r\n: 1\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: shop\r\nX(A): 1\r\n\r\n"),
    (400, "GET /a\u{1}b HTTP/1.1\r\nHost: shop\r\n\r\n"),
    (400, "GET / HTTP/1.1\nHost: shop\nX-A: 1\n\n"),
    (505, "GET / HTTP/1.2\r\nHost: shop\r\n\r\n"),
    (
        400,
        "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
         GET /smuggled HTTP/1.1\r\nHost: shop\r\n\r\n",
    ),
    (
        400,
        "POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\nContent-Length: 43\r\n\r\n0\r\n\r\n\
         GET /smuggled HTTP/1.1\r\nHost: shop\r\n\r\n",
    ),
    (
        400,
        "POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        400,
        "POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (400, "GET / HTTP/1.1\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: shop\r\nHost: shop\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: shop/a@b\r\n\r\n"),
    (405, "CONNECT shop:80 HTTP/1.1\r\nHost: shop:80\r\n\r\n"),
    (417, "PUT / HTTP/1.1\r\nHost: shop\r\nExpect: a-miracle\r\n\r\n"),
];

/// Sends a request that is refused with that status, on a connection that is closed then.
async fn refused(edgeproxy: &Edgeproxy, backend: &Backend, status: u16, request: &str) -> Reply {
    let shown: String = request.chars().take(200).collect();
    let mut wire = Wire::connect(edgeproxy.proxy()).await;
    wire.send(request.as_bytes()).await;
    let reply = wire
        .reply()
        .await
        .unwrap_or_else(|error| panic!("{shown:?}: {error}"));
    assert_eq!(reply.status.as_u16(), status, "{shown:?}: {reply:?}");
    wire.closed().await;
    assert_eq!(backend.requests(), 0, "{shown:?} reaches a backend");
    reply
}

/// What two parsers could read in two ways is refused, and nothing of it reaches a backend.
#[tokio::test]
async fn ambiguous_and_malformed_requests_are_refused_and_never_forwarded() {
    let (edgeproxy, backend) = one_app("shop").await;
    for (status, request) in REFUSED {
        let reply = refused(&edgeproxy, &backend, status, request).await;
        let _ = reply.problem(status);
        assert!(reply.header("x-edgeproxy-error").is_some(), "{reply:?}");
    }
}

/// A head beyond the limits: 32 KiB, 100 fields, a target of 8 KiB.
#[tokio::test]
async fn heads_beyond_the_limits_are_refused_and_never_forwarded() {
    let (edgeproxy, backend) = one_app("shop").await;
    let field = format!(
        "GET / HTTP/1.1\r\nHost: shop\r\nX-Long: {}\r\n\r\n",
        "x".repeat(40_000)
    );
    let fields = format!("GET / HTTP/1.1\r\nHost: shop\r\n{}\r\n", "X-A: 1\r\n".repeat(101));
    let target = format!("GET /{} HTTP/1.1\r\nHost: shop\r\n\r\n", "x".repeat(9_000));
    for (status, word, request) in [
        (431, "head_too_large", field),
        (431, "head_too_large", fields),
        (414, "target_too_long", target),
    ] {
        let reply = refused(&edgeproxy, &backend, status, &request).await;
        let _ = reply.problem(status);
        assert_eq!(reply.header("x-edgeproxy-error"), Some(word), "{reply:?}");
    }
    let fits = format!(
        "GET /{} HTTP/1.1\r\nHost: shop\r\nX-A: {}\r\n\r\n",
        "x".repeat(8_000),
        "x".repeat(8_000)
    );
    let mut wire = Wire::connect(edgeproxy.proxy()).await;
    wire.send(fits.as_bytes()).await;
    let _ = wire.reply().await.expect("an answer").expect(200);
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
