//! HTTP/1 clients in front of backends that speak HTTP/2.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edgeproxy_backend::Limits;
use edgeproxy_proxy::Config;
use http::{HeaderMap, Response};
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;

use crate::backend::{self, Reply};
use crate::client::Client;
use crate::http2::{Backend, drain, ok, send_all, within};
use crate::stage::{Stage, app, config, endpoint, h2c};

/// Answers every request with what it got.
pub(crate) async fn echo() -> Backend {
    Backend::start(|_, request, mut reply| async move {
        let (parts, mut body) = request.into_parts();
        let Ok((data, trailers)) = drain(&mut body).await else {
            return;
        };
        let mut response = ok();
        for (name, value) in &parts.headers {
            let name: http::HeaderName = format!("x-got-{name}").parse().unwrap();
            response.headers_mut().append(name, value.clone());
        }
        let line = format!("{} {}", parts.method, parts.uri);
        response.headers_mut().insert("x-line", line.parse().unwrap());
        let mut stream = reply.send_response(response, false).unwrap();
        send_all(&mut stream, Bytes::from(data)).await.unwrap();
        stream.send_trailers(trailers.unwrap_or_default()).unwrap();
    })
    .await
}

/// Answers with that head and that body.
async fn saying(response: fn() -> Response<()>, body: &'static [u8]) -> Backend {
    Backend::start(move |_, _, mut reply| async move {
        let mut stream = reply.send_response(response(), body.is_empty()).unwrap();
        if !body.is_empty() {
            stream.send_data(Bytes::from_static(body), true).unwrap();
        }
    })
    .await
}

pub(crate) fn one_worker() -> Config {
    Config {
        workers: 1,
        ..config()
    }
}

#[tokio::test]
async fn a_request_is_translated_and_so_is_its_answer_and_the_connection_is_kept() {
    let backend = echo().await;
    let (stage, endpoints) = Stage::h2c(one_worker(), &[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    for _ in 0..2 {
        client
            .write(
                "POST /x?y=[1] HTTP/1.1\r\nHost: app.example:81\r\nX-End: 1\r\nConnection: x-hop\r\nX-Hop: 1\r\n\
                 TE: gzip, trailers\r\nCookie: a=1; b=2\r\nKeep-Alive: 5\r\nContent-Length: 5\r\n\r\nhello",
            )
            .await;
        let got = client.read().await;
        assert_eq!((got.status, &*got.body), (200, "hello"), "{}", got.head);
        assert_eq!(got.one("x-line"), "POST http://app.example:81/x?y=[1]");
        assert_eq!(
            (got.one("x-got-cookie"), got.one("x-got-te")),
            ("a=1; b=2", "trailers")
        );
        assert_eq!(
            (got.one("x-got-x-end"), got.one("x-got-content-length")),
            ("1", "5")
        );
        assert_eq!(
            (got.one("x-got-via"), got.one("via")),
            ("1.1 edge-test", "2 edge-test")
        );
        assert_eq!(got.one("x-got-x-forwarded-for"), "127.0.0.1");
        for gone in ["host", "connection", "x-hop", "keep-alive", "transfer-encoding"] {
            assert!(got.all(&format!("x-got-{gone}")).is_empty(), "{gone}");
        }
        assert_eq!(got.one("transfer-encoding"), "chunked");
        assert!(got.head.starts_with("HTTP/1.1 200 OK\r\n") && got.all("date").len() == 1);
        assert!(got.all("connection").is_empty());
    }
    assert_eq!(endpoints[0].meter.in_flight(), 0);
    assert_eq!(endpoints[0].meter.totals(), (2, 0));
    assert_eq!(backend.tally().connections, 1);
}

#[tokio::test]
async fn chunks_and_trailers_pass_both_ways() {
    let backend = echo().await;
    let (stage, _) = Stage::h2c(config(), &[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    client
        .write("POST / HTTP/1.1\r\nhost: app\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\n")
        .await;
    backend.until(|t| t.requests == 1).await;
    client
        .write("de\r\n0\r\nX-Sum: 5\r\nVia: nobody\r\n\r\nGET /next HTTP/1.1\r\nhost: app\r\n\r\n")
        .await;
    let got = client.read().await;
    assert_eq!(
        (&*got.body, got.one("x-sum"), got.one("via")),
        ("abcde", "5", "2 edge-test")
    );
    assert_eq!(client.read().await.one("x-line"), "GET http://app/next");
}

#[tokio::test]
async fn a_body_of_8_mib_passes_both_ways() {
    const LENGTH: usize = 8 << 20;
    let backend = echo().await;
    let (stage, _) = Stage::h2c(config(), &[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    let sent: Vec<u8> = (b'a'..=b'z').cycle().take(LENGTH).collect();
    let head = format!("PUT / HTTP/1.1\r\nhost: app\r\ncontent-length: {LENGTH}\r\n\r\n");
    client.write(head).await;
    client.write(&sent).await;
    assert!(client.read().await.body.as_bytes() == sent);
}

#[tokio::test]
async fn what_has_no_body_has_none_and_keeps_its_length() {
    let five: fn() -> Response<()> = || {
        Response::builder()
            .header("content-length", "5")
            .body(())
            .unwrap()
    };
    let backend = saying(five, b"").await;
    let (stage, _) = Stage::h2c(config(), &[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    for _ in 0..2 {
        client.write("HEAD / HTTP/1.1\r\nhost: app\r\n\r\n").await;
        let got = client.read_without_body().await;
        assert_eq!((got.status, got.one("content-length")), (200, "5"));
    }
    for (response, length) in [
        (
            (|| Response::builder().status(204).body(()).unwrap()) as fn() -> Response<()>,
            None,
        ),
        (
            || {
                let response = Response::builder().status(304);
                response.header("content-length", "5").body(()).unwrap()
            },
            Some("5"),
        ),
        (|| Response::builder().status(404).body(()).unwrap(), Some("0")),
    ] {
        let backend = saying(response, b"").await;
        let (stage, _) = Stage::h2c(config(), &[backend.addr]);
        let mut client = Client::connect(stage.addr).await;
        for _ in 0..2 {
            let got = client.get("/").await;
            assert_eq!(got.all("content-length").first().copied(), length, "{}", got.head);
            assert!(got.all("transfer-encoding").is_empty() && got.body.is_empty());
        }
    }
}

#[tokio::test]
async fn http_1_0_gets_a_length_or_the_end_of_its_connection_and_nothing_of_1xx() {
    let backend = Backend::start(|number, request, mut reply| async move {
        let early = Response::builder().status(103).body(()).unwrap();
        reply.send_informational(early).unwrap();
        let mut response = ok();
        let authority = request.uri().authority().unwrap().as_str().parse().unwrap();
        response.headers_mut().insert("x-authority", authority);
        if number == 0 {
            response
                .headers_mut()
                .insert("content-length", "3".parse().unwrap());
        }
        let mut stream = reply.send_response(response, false).unwrap();
        stream.send_data(Bytes::from_static(b"abc"), true).unwrap();
    })
    .await;
    let (stage, _) = Stage::h2c(config(), &[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    client
        .write("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
        .await;
    let got = client.read().await;
    assert_eq!(
        (got.status, &*got.body, got.one("connection")),
        (200, "abc", "keep-alive")
    );
    assert_eq!(got.one("x-authority"), backend.addr.to_string());
    client
        .write("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
        .await;
    let got = client.read().await;
    assert_eq!(
        (got.status, &*got.body, got.one("connection")),
        (200, "abc", "close")
    );
    assert!(got.all("transfer-encoding").is_empty() && got.all("content-length").is_empty());
}

#[tokio::test]
async fn interim_responses_reach_an_http1_client_in_order() {
    let backend = Backend::start(|number, _, mut reply| async move {
        for link in ["a", "b"].iter().cycle().take(2 + 31 * number) {
            let early = Response::builder().status(103).header("link", *link);
            reply.send_informational(early.body(()).unwrap()).unwrap();
        }
        let _ = reply.send_response(ok(), true);
    })
    .await;
    let (stage, endpoints) = Stage::h2c(config(), &[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    client.write("GET / HTTP/1.1\r\nhost: app\r\n\r\n").await;
    for link in ["a", "b"] {
        let early = client.head().await.unwrap();
        assert_eq!(
            (early.status, early.one("link"), early.one("via")),
            (103, link, "2 edge-test")
        );
        assert!(early.head.starts_with("HTTP/1.1 103 Early Hints\r\n") && early.all("date").is_empty());
    }
    assert_eq!(client.read().await.status, 200);
    // One more than are taken.
    client
        .write("POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 0\r\n\r\n")
        .await;
    for _ in 0..32 {
        assert_eq!(client.head().await.unwrap().status, 103);
    }
    assert_eq!(client.read().await.own().1, "bad_response");
    assert_eq!(endpoints[0].meter.totals(), (2, 1));
}

#[tokio::test]
async fn an_expectation_is_answered_as_the_backend_does() {
    let backend = Backend::start(|number, request, mut reply| async move {
        assert_eq!(request.headers()["expect"], "100-continue");
        if number == 0 {
            let go_on = Response::builder().status(100).body(()).unwrap();
            reply.send_informational(go_on).unwrap();
            let (body, _) = drain(&mut request.into_body()).await.unwrap();
            assert_eq!(body, b"body");
        }
        reply.send_response(ok(), true).unwrap();
    })
    .await;
    let (stage, endpoints) = Stage::h2c(config(), &[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    let head = "POST / HTTP/1.1\r\nhost: app\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    client.write(head).await;
    assert_eq!(client.head().await.unwrap().status, 100);
    client.write("body").await;
    let got = client.read().await;
    assert!(
        got.status == 200 && got.all("connection").is_empty(),
        "{}",
        got.head
    );
    // Without a 100 nobody could tell the body from the next request.
    client.write(head).await;
    let got = client.read().await;
    assert_eq!((got.status, got.one("connection")), (200, "close"));
    assert!(client.end().await.is_empty());
    assert_eq!(endpoints[0].meter.in_flight(), 0);
}

#[tokio::test]
async fn a_response_may_begin_before_its_request_has_ended_and_both_stream_at_once() {
    let backend = Backend::start(|_, request, mut reply| async move {
        let mut body = request.into_body();
        let mut stream = reply.send_response(ok(), false).unwrap();
        while let Some(Ok(data)) = body.data().await {
            stream.send_data(data, false).unwrap();
        }
        stream.send_data(Bytes::new(), true).unwrap();
    })
    .await;
    let (stage, endpoints) = Stage::h2c(config(), &[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    client
        .write("POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 6\r\n\r\n")
        .await;
    assert_eq!(client.head().await.unwrap().status, 200);
    for word in ["one", "two"] {
        client.write(word).await;
        assert_eq!(
            client.bytes(8).await.unwrap(),
            format!("3\r\n{word}\r\n").as_bytes()
        );
    }
    assert_eq!(client.bytes(5).await.unwrap(), b"0\r\n\r\n");
    client
        .write("POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 1\r\n\r\nx")
        .await;
    assert_eq!(client.read().await.body, "x");
    assert_eq!(endpoints[0].meter.in_flight(), 0);
}

#[tokio::test]
async fn a_backend_that_reads_nothing_holds_its_client_up() {
    let permits = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&permits);
    let backend = Backend::start(move |_, request, mut reply| {
        let held = Arc::clone(&held);
        async move {
            held.acquire().await.unwrap().forget();
            let (body, _) = drain(&mut request.into_body()).await.unwrap();
            let mut response = ok();
            response.headers_mut().insert("x-length", body.len().into());
            reply.send_response(response, true).unwrap();
        }
    })
    .await;
    let (stage, _) = Stage::h2c(config(), &[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    const LENGTH: usize = 64 << 20;
    client
        .write(format!(
            "PUT / HTTP/1.1\r\nhost: app\r\ncontent-length: {LENGTH}\r\n\r\n"
        ))
        .await;
    backend.until(|t| t.requests == 1).await;
    let chunk = vec![b'x'; 1 << 20];
    let mut sent = 0;
    // Until the system's buffers are full, which are a few MiB.
    while let Ok(written) =
        tokio::time::timeout(Duration::from_millis(300), client.stream.write(&chunk)).await
    {
        sent += written.unwrap();
        assert!(sent < LENGTH, "nobody holds it up");
    }
    permits.add_permits(1);
    while sent < LENGTH {
        sent += within(client.stream.write(&chunk[..chunk.len().min(LENGTH - sent)]))
            .await
            .unwrap();
    }
    assert_eq!(client.read().await.one("x-length"), LENGTH.to_string());
}

#[tokio::test]
async fn a_place_is_free_again_when_the_backend_has_said_everything_however_slowly_the_client_reads() {
    const LENGTH: usize = 128 * 1024;
    let backend = Backend::start(|_, _, mut reply| async move {
        let mut stream = reply.send_response(ok(), false).unwrap();
        let _ = send_all(&mut stream, Bytes::from(vec![b'x'; LENGTH])).await;
        let mut trailers = HeaderMap::new();
        trailers.insert("x-last", "1".parse().unwrap());
        let _ = stream.send_trailers(trailers);
    })
    .await;
    let (stage, endpoints) = Stage::h2c(one_worker(), &[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    let got = client.get("/").await;
    assert_eq!((got.body.len(), got.one("x-last")), (LENGTH, "1"));
    assert_eq!(endpoints[0].meter.in_flight(), 0);
}

#[tokio::test]
async fn an_upgrade_goes_to_a_backend_of_http1_and_to_no_other() {
    let backend = echo().await;
    let upgrading = backend::Backend::start(|_, _| {
        Reply::SendAndEnd(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n".into(),
        )
    })
    .await;
    let upgrade = "GET / HTTP/1.1\r\nhost: app\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    let (stage, _) = Stage::h2c(config(), &[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    client.write(upgrade).await;
    assert_eq!(client.read().await.own().1, "no_backend");
    let endpoints = [
        h2c(1, backend.addr, Limits::NONE),
        endpoint(2, upgrading.addr, Limits::NONE),
    ];
    let stage = Stage::start(config(), [app("app", &endpoints)]);
    for _ in 0..4 {
        let mut client = Client::connect(stage.addr).await;
        client.write(upgrade).await;
        assert_eq!(client.head().await.unwrap().status, 101);
    }
    assert_eq!(backend.tally().connections, 0);
}
