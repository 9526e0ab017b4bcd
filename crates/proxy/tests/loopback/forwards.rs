//! What leaves the proxy, to the backend and to the client.

use edgeproxy_backend::Limits;

use crate::backend::{Backend, Reply, ok};
use crate::client::Client;
use crate::stage::{Stage, app, config, endpoint};

#[tokio::test]
async fn a_request_arrives_with_the_proxys_fields_and_without_its_neighbours() {
    let backend = Backend::start(|_, _| ok("hello")).await;
    let (stage, _) = Stage::of(&[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    client
        .write(
            "GET /a/b?c=d HTTP/1.1\r\nHost: Shop.Example:8080\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\
             Keep-Alive: 5\r\nTE: trailers, gzip\r\nUpgrade: h2c\r\nX-Forwarded-For: 1.2.3.4\r\n\
             X-Forwarded-Proto: https\r\nForwarded: for=1.2.3.4\r\nX-Request-Id: abc-1\r\nX-End: yes\r\n\r\n",
        )
        .await;
    let response = client.read().await;
    assert_eq!((response.status, response.body.as_str()), (200, "hello"));
    let seen = backend.take();
    assert_eq!(seen.line(), "GET /a/b?c=d HTTP/1.1");
    assert_eq!(seen.one("host"), "Shop.Example:8080");
    assert_eq!(seen.one("x-forwarded-for"), "127.0.0.1");
    assert_eq!(seen.one("x-forwarded-proto"), "http");
    assert_eq!(seen.one("x-forwarded-host"), "Shop.Example:8080");
    assert_eq!(seen.one("via"), "1.1 edge-test");
    assert_eq!(seen.one("x-request-id"), "abc-1");
    assert_eq!(seen.one("traceparent").len(), 55);
    assert_eq!(seen.one("te"), "trailers");
    assert_eq!(seen.one("connection"), "te");
    assert_eq!(seen.one("x-end"), "yes");
    for gone in ["x-hop", "keep-alive", "upgrade", "forwarded"] {
        assert!(seen.all(gone).is_empty(), "{gone} in {}", seen.head);
    }
}

#[tokio::test]
async fn a_response_arrives_with_via_and_date_and_without_its_neighbours() {
    let backend = Backend::start(|_, _| {
        Reply::Send(
            b"HTTP/1.1 201 Created\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-End: yes\r\n\
              Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
                .to_vec(),
        )
    })
    .await;
    let (stage, _) = Stage::of(&[backend.addr]);
    let response = Client::connect(stage.addr).await.get("/").await;
    assert_eq!((response.status, response.body.as_str()), (201, "hi"));
    assert_eq!(response.one("via"), "1.1 edge-test");
    assert_eq!(response.one("x-end"), "yes");
    assert_eq!(response.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(response.one("date").len(), 29);
    for gone in ["x-hop", "keep-alive", "connection", "server"] {
        assert!(response.all(gone).is_empty(), "{gone} in {}", response.head);
    }
}

#[tokio::test]
async fn trusted_proxies_are_believed() {
    let backend = Backend::start(|_, _| ok("")).await;
    let trusting = edgeproxy_proxy::Config {
        trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
        ..config()
    };
    let (stage, _) = Stage::with(trusting, &[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    client
        .write("GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 1.2.3.4\r\nx-forwarded-proto: https\r\n\r\n")
        .await;
    client.read().await;
    let seen = backend.take();
    assert_eq!(seen.one("x-forwarded-for"), "1.2.3.4, 127.0.0.1");
    assert_eq!(seen.one("x-forwarded-proto"), "https");
}

#[tokio::test]
async fn bodies_of_known_and_unknown_length_pass_and_so_do_trailers() {
    let backend = Backend::start(|n, _| {
        if n == 0 {
            return ok("");
        }
        Reply::Send(
            b"HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 6\r\n\r\n".to_vec(),
        )
    })
    .await;
    let (stage, _) = Stage::of(&[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    client
        .write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody")
        .await;
    client.read().await;
    let seen = backend.take();
    assert_eq!((seen.one("content-length"), &seen.body[..]), ("4", &b"body"[..]));
    assert!(seen.all("transfer-encoding").is_empty());
    client
        .write("POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te\r\ntransfer-encoding: chunked\r\n\r\n\
                4\r\nbody\r\n0\r\n\r\n")
        .await;
    let response = client.read().await;
    assert_eq!(response.body, "abc");
    assert_eq!(response.one("x-sum"), "6");
    let seen = backend.take();
    assert_eq!(seen.one("transfer-encoding"), "chunked");
    assert_eq!(seen.body, b"4\r\nbody\r\n0\r\n\r\n");
}

#[tokio::test]
async fn head_204_and_304_have_no_body_and_keep_the_connection() {
    let backend = Backend::start(|n, _| {
        Reply::Send(match n {
            0 => b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n".to_vec(),
            1 => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            2 => b"HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\netag: x\r\n\r\n".to_vec(),
            _ => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec(),
        })
    })
    .await;
    let (stage, endpoints) = Stage::of(&[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    client.write("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.read_without_body().await.one("content-length"), "1000");
    assert_eq!(client.get("/").await.status, 204);
    assert_eq!(client.get("/").await.status, 304);
    assert_eq!(client.get("/").await.body, "ok");
    assert_eq!(
        backend.tally().connections,
        1,
        "the backend's connection is used again"
    );
    assert_eq!(endpoints[0].meter.in_flight(), 0);
}

#[tokio::test]
async fn a_connection_to_a_backend_serves_one_client_after_the_other() {
    let backend = Backend::start(|_, _| ok("x")).await;
    let one_worker = edgeproxy_proxy::Config {
        workers: 1,
        ..config()
    };
    let (stage, _) = Stage::with(one_worker, &[backend.addr]);
    for _ in 0..5 {
        let mut client = Client::connect(stage.addr).await;
        for _ in 0..5 {
            assert_eq!(client.get("/").await.status, 200);
        }
    }
    assert_eq!(backend.tally().connections, 1);
    assert_eq!(backend.tally().requests, 25);
}

#[tokio::test]
async fn http_1_0_is_answered_by_the_end_of_the_connection() {
    let backend = Backend::start(|_, _| ok("old")).await;
    let (stage, _) = Stage::of(&[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    client.write("GET / HTTP/1.0\r\n\r\n").await;
    let all = String::from_utf8(client.end().await).unwrap();
    assert!(
        all.starts_with("HTTP/1.1 200 OK\r\n") && all.ends_with("\r\n\r\nold"),
        "{all}"
    );
    let seen = backend.take();
    assert_eq!(seen.line(), "GET / HTTP/1.1");
    assert_eq!(seen.one("host"), backend.addr.to_string());
    assert_eq!(seen.one("via"), "1.0 edge-test");
    assert!(seen.all("x-forwarded-host").is_empty());
}

#[tokio::test]
async fn a_request_followed_by_fin_is_still_answered() {
    use tokio::io::AsyncWriteExt;
    let backend = Backend::start(|_, _| ok("x")).await;
    let (stage, _) = Stage::of(&[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.read().await.body, "x");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let backend = Backend::start(|_, seen| ok(seen.line())).await;
    let (stage, _) = Stage::of(&[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    client
        .write("GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    assert_eq!(client.read().await.body, "GET /1 HTTP/1.1");
    assert_eq!(client.read().await.body, "GET /2 HTTP/1.1");
}

#[tokio::test]
async fn routing_without_configuration() {
    let (shop, blog) = (
        Backend::start(|_, _| ok("shop")).await,
        Backend::start(|_, _| ok("blog")).await,
    );
    let apps = [
        app("shop", &[endpoint(1, shop.addr, Limits::NONE)]),
        app("blog.example", &[endpoint(2, blog.addr, Limits::NONE)]),
    ];
    let stage = Stage::start(config(), apps);
    let mut client = Client::connect(stage.addr).await;
    for (host, body) in [
        ("SHOP.internal:8080", "shop"),
        ("shop", "shop"),
        ("Blog.Example", "blog"),
    ] {
        client
            .write(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"))
            .await;
        assert_eq!(client.read().await.body, body, "{host}");
    }
    for host in ["blog", "www.shop", "[::1]:80", "127.0.0.1"] {
        client
            .write(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"))
            .await;
        let response = client.read().await;
        let (status, word, error) = response.own();
        assert_eq!((status, word), (404, "no_route"));
        assert!(error.starts_with("no app is called"), "{error}");
    }
    client
        .write("GET http://shop/x HTTP/1.1\r\nhost: blog\r\n\r\n")
        .await;
    assert_eq!(client.read().await.body, "shop");
    let seen = std::iter::repeat_with(|| shop.take()).nth(2).unwrap();
    assert_eq!((seen.line(), seen.one("host")), ("GET /x HTTP/1.1", "shop"));
}

#[tokio::test]
async fn what_is_refused_gets_its_status_and_the_connection_is_closed() {
    let backend = Backend::start(|_, _| ok("never")).await;
    let (stage, _) = Stage::of(&[backend.addr]);
    let long = "x".repeat(9_000);
    let many = "x: 1\r\n".repeat(120);
    for (request, status, word) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400, "bad_request"),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n".to_owned(),
            400,
            "bad_request",
        ),
        (
            "GET / HTTP/1.1\r\nhost: a b\r\n\r\n".to_owned(),
            400,
            "bad_request",
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n".to_owned(),
            400,
            "bad_request",
        ),
        (
            "CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n".to_owned(),
            405,
            "method_not_allowed",
        ),
        (
            format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n"),
            414,
            "target_too_long",
        ),
        (
            format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n"),
            431,
            "head_too_large",
        ),
        (
            format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}\r\ny: {long}\r\nz: {long}\r\nw: {long}\r\n\r\n"),
            431,
            "head_too_large",
        ),
    ] {
        let mut client = Client::connect(stage.addr).await;
        client.write(&request).await;
        let response = client.read().await;
        assert_eq!(
            (response.own().0, response.own().1),
            (status, word),
            "{request:.80}"
        );
        assert_eq!(response.one("connection"), "close");
        assert!(client.end().await.is_empty());
    }
    assert_eq!(
        backend.tally().connections,
        0,
        "nothing of it has reached the backend"
    );
}

#[tokio::test]
async fn a_loop_is_508_to_the_letter() {
    let backend = Backend::start(|_, _| ok("never")).await;
    let (stage, _) = Stage::of(&[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    client
        .write("GET / HTTP/1.1\r\nhost: a\r\nvia: 1.0 fred, 1.1 edge-test\r\n\r\n")
        .await;
    let response = client.read().await;
    assert_eq!(
        response.own(),
        (
            508,
            "loop_detected",
            "the request has come through this proxy before; a backend's address leads back here"
        )
    );
    assert_eq!(backend.tally().connections, 0);
}

#[tokio::test]
async fn more_than_32_proxies_are_508_to_the_letter() {
    let backend = Backend::start(|_, _| ok("far")).await;
    let (stage, _) = Stage::of(&[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    let hops = |count: usize| vec!["1.1 p"; count].join(", ");
    let request = |count| format!("GET / HTTP/1.1\r\nhost: a\r\nvia: {}\r\n\r\n", hops(count));
    client.write(&request(32)).await;
    assert_eq!(client.read().await.body, "far");
    client.write(&request(33)).await;
    assert_eq!(
        client.read().await.own(),
        (
            508,
            "loop_detected",
            "the request has come through more than 32 proxies, by Via; a backend's address leads into a ring"
        )
    );
    assert_eq!(backend.tally().requests, 1);
}

#[tokio::test]
async fn max_forwards_is_honoured() {
    let backend = Backend::start(|_, _| ok("deep")).await;
    let (stage, _) = Stage::of(&[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    client
        .write("OPTIONS * HTTP/1.1\r\nhost: a\r\nmax-forwards: 1\r\n\r\n")
        .await;
    assert_eq!(client.read().await.body, "deep");
    let seen = backend.take();
    assert_eq!(
        (seen.line(), seen.one("max-forwards")),
        ("OPTIONS * HTTP/1.1", "0")
    );
    client
        .write("OPTIONS * HTTP/1.1\r\nhost: a\r\nmax-forwards: 0\r\n\r\n")
        .await;
    assert_eq!(client.read().await.status, 204);
    client
        .write("TRACE /x HTTP/1.1\r\nhost: a\r\nmax-forwards: 0\r\ncookie: secret\r\n\r\n")
        .await;
    assert_eq!(
        client.read().await.body,
        "TRACE /x HTTP/1.1\r\nhost: a\r\nmax-forwards: 0\r\n\r\n"
    );
}

#[tokio::test]
async fn an_expectation_is_passed_on_and_answered_as_the_backend_does() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (stage, _) = Stage::of(&[listener.local_addr().unwrap()]);
    let mut client = Client::connect(stage.addr).await;
    let head = "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n";
    client.write(head).await;
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut received = Vec::new();
    while !received.ends_with(b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0);
    }
    assert!(String::from_utf8_lossy(&received).contains("expect: 100-continue\r\n"));
    stream
        .write_all(b"HTTP/1.1 100 Continue\r\nconnection: x\r\nx: 1\r\n\r\n")
        .await
        .unwrap();
    let interim = client.head().await.unwrap();
    assert_eq!((interim.status, interim.all("x").len()), (100, 0));
    client.write("body").await;
    while !received.ends_with(b"body") {
        assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0);
    }
    stream
        .write_all(
            b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx",
        )
        .await
        .unwrap();
    let hints = client.head().await.unwrap();
    assert_eq!((hints.status, hints.one("link")), (103, "</a>"));
    assert_eq!(client.read().await.body, "x");
}

#[tokio::test]
async fn a_switched_protocol_passes_both_ways_until_both_sides_have_ended() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (stage, endpoints) = Stage::of(&[listener.local_addr().unwrap()]);
    let mut client = Client::connect(stage.addr).await;
    client
        .write("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nearly")
        .await;
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut received = Vec::new();
    while !received.ends_with(b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0);
    }
    let head = String::from_utf8_lossy(&received).into_owned();
    assert!(
        head.contains("connection: upgrade\r\nupgrade: websocket\r\n"),
        "{head}"
    );
    stream
        .write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello",
        )
        .await
        .unwrap();
    let switched = client.head().await.unwrap();
    assert_eq!(
        (
            switched.status,
            switched.one("upgrade"),
            switched.one("connection")
        ),
        (101, "websocket", "upgrade")
    );
    assert_eq!(client.bytes(5).await.unwrap(), b"hello");
    received.clear();
    while received != b"early" {
        assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0);
    }
    client.stream.shutdown().await.unwrap();
    assert_eq!(
        stream.read_buf(&mut received).await.unwrap(),
        0,
        "one side has ended"
    );
    assert_eq!(endpoints[0].meter.in_flight(), 1);
    stream.write_all(b"still here").await.unwrap();
    assert_eq!(client.bytes(10).await.unwrap(), b"still here");
    drop(stream);
    assert!(client.end().await.is_empty());
    while endpoints[0].meter.in_flight() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_early_answer_arrives_while_the_upload_goes_on() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (stage, endpoints) = Stage::of(&[addr]);
    let mut client = Client::connect(stage.addr).await;
    client
        .write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\nhalf")
        .await;
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut received = Vec::new();
    while !received.ends_with(b"half") {
        assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0);
    }
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly")
        .await
        .unwrap();
    assert_eq!(client.read().await.body, "early");
    assert_eq!(
        endpoints[0].meter.in_flight(),
        1,
        "the backend is still being sent something"
    );
    client.write("half").await;
    while !received.ends_with(b"halfhalf") {
        assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0);
    }
    // Its answer was whole and its request is too, so both connections go on.
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    while !received.ends_with(b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0);
    }
    assert_eq!(endpoints[0].meter.totals(), (2, 0));
}

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    const LARGE: usize = 8 << 20;
    let backend = Backend::start(|_, seen| {
        assert_eq!(seen.body.len(), LARGE);
        ok(&"y".repeat(LARGE))
    })
    .await;
    let (stage, _) = Stage::of(&[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    let body = "x".repeat(LARGE);
    client
        .write(format!(
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {LARGE}\r\n\r\n{body}"
        ))
        .await;
    assert_eq!(client.read().await.body.len(), LARGE);
}

#[tokio::test]
async fn a_request_of_two_lengths_is_refused_with_all_that_follows() {
    let backend = Backend::start(|_, _| ok("x")).await;
    let (stage, _) = Stage::of(&[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    client
        .write(
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n\
             GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
        )
        .await;
    let refused = client.read().await;
    assert_eq!((refused.own().0, refused.one("connection")), (400, "close"));
    assert!(client.end().await.is_empty());
    assert_eq!(backend.tally().requests, 0);
}
