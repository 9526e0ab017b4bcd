//! HTTP/2 to backends.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edgeproxy_backend::Limits;
use edgeproxy_proxy::Config;
use h2::{Reason, server};
use http::{HeaderMap, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc};

use crate::backend;
use crate::client::Client;
use crate::frames;
use crate::http2::{Backend, connect, drain, exchange, get, ok, request, send_all, whole, within};
use crate::stage::{Stage, app, config, endpoint, h2c};

/// Answers every request with what it got.
async fn echo() -> Backend {
    Backend::start(|_, request, mut reply| async move {
        let (parts, mut body) = request.into_parts();
        let (data, trailers) = drain(&mut body).await.unwrap();
        let mut response = ok();
        for (name, value) in &parts.headers {
            response.headers_mut().append(
                format!("x-got-{name}").parse::<http::HeaderName>().unwrap(),
                value.clone(),
            );
        }
        let line = format!("{} {}", parts.method, parts.uri);
        response.headers_mut().insert("x-line", line.parse().unwrap());
        let mut stream = reply.send_response(response, false).unwrap();
        send_all(&mut stream, Bytes::from(data)).await.unwrap();
        stream.send_trailers(trailers.unwrap_or_default()).unwrap();
    })
    .await
}

fn one_worker() -> Config {
    Config {
        workers: 1,
        ..config()
    }
}

#[tokio::test]
async fn a_request_reaches_an_h2c_backend_as_http2_with_trailers_both_ways() {
    let backend = echo().await;
    let (stage, endpoints) = Stage::h2c(config(), &[backend.addr]);
    let (mut sender, _conn) = connect(stage.addr).await;
    let mut post = request("POST", "/x?y=1");
    for (name, value) in [
        ("te", "trailers"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("x-end", "1"),
    ] {
        post.headers_mut().append(name, HeaderValue::from_static(value));
    }
    let (response, mut stream) = sender.send_request(post, false).unwrap();
    stream.send_data(Bytes::from_static(b"hello"), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("5"));
    stream.send_trailers(trailers).unwrap();
    let response = whole(within(response).await.unwrap()).await.unwrap();
    assert_eq!((response.status, &response.body[..]), (200, &b"hello"[..]));
    assert_eq!(response.trailers.unwrap()["x-sum"], "5");
    let got = |name: &str| {
        response
            .headers
            .get(format!("x-got-{name}"))
            .map(|value| value.to_str().unwrap())
    };
    assert_eq!(response.headers["x-line"], "POST http://app/x?y=1");
    assert_eq!(got("te"), Some("trailers"));
    assert_eq!(got("cookie"), Some("a=1; b=2"));
    assert_eq!(got("via"), Some("2 edge-test"));
    assert_eq!(got("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(
        (got("host"), got("connection"), got("x-end")),
        (None, None, Some("1"))
    );
    assert_eq!(response.headers["via"], "2 edge-test");
    assert_eq!(endpoints[0].meter.in_flight(), 0);
    assert_eq!(endpoints[0].meter.totals(), (1, 0));
}

#[tokio::test]
async fn a_body_of_16_mib_passes_both_ways() {
    let backend = echo().await;
    let (stage, _) = Stage::h2c(config(), &[backend.addr]);
    let (mut sender, _conn) = connect(stage.addr).await;
    let (response, mut stream) = sender.send_request(request("POST", "/"), false).unwrap();
    let sent = Bytes::from((0..16 << 20).map(|n: u32| n.to_le_bytes()[1]).collect::<Vec<_>>());
    let all = sent.clone();
    tokio::spawn(async move {
        send_all(&mut stream, all).await.unwrap();
        stream.send_data(Bytes::new(), true).unwrap();
    });
    let response = tokio::time::timeout(Duration::from_secs(60), response)
        .await
        .unwrap()
        .unwrap();
    assert!(whole(response).await.unwrap().body == sent);
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
    let (stage, _) = Stage::h2c(config(), &[backend.addr]);
    let (mut sender, _conn) = connect(stage.addr).await;
    let (response, mut stream) = sender.send_request(request("POST", "/"), false).unwrap();
    let mut answer = within(response).await.unwrap().into_body();
    for word in [&b"one"[..], b"two", b"three"] {
        stream.send_data(Bytes::copy_from_slice(word), false).unwrap();
        assert_eq!(within(answer.data()).await.unwrap().unwrap(), word);
    }
    stream.send_data(Bytes::new(), true).unwrap();
    assert!(drain(&mut answer).await.unwrap().0.is_empty());
}

/// A backend whose answers wait for a permit.
async fn held(builder: server::Builder, permits: &Arc<Semaphore>) -> Backend {
    let permits = Arc::clone(permits);
    Backend::with(builder, move |_, _, mut reply| {
        let permits = Arc::clone(&permits);
        async move {
            permits.acquire().await.unwrap().forget();
            let _ = reply.send_response(ok(), true);
        }
    })
    .await
}

#[tokio::test]
async fn a_connection_carries_100_requests_and_the_next_opens_another() {
    let permits = Arc::new(Semaphore::new(0));
    let backend = held(server::Builder::new(), &permits).await;
    let (stage, endpoints) = Stage::h2c(one_worker(), &[backend.addr]);
    let (sender, _conn) = connect(stage.addr).await;
    let (other, _conn) = connect(stage.addr).await;
    let mut streams = Vec::new();
    for n in 0..101 {
        let sender = if n % 2 == 0 { sender.clone() } else { other.clone() };
        streams.push(tokio::spawn(async move { get(&sender, "/").await.status }));
    }
    let tally = backend.until(|t| t.requests == 101).await;
    assert_eq!(tally.connections, 2);
    assert_eq!(endpoints[0].meter.in_flight(), 101);
    permits.add_permits(101);
    for stream in streams {
        assert_eq!(stream.await.unwrap(), 200);
    }
    assert_eq!(endpoints[0].meter.in_flight(), 0);
}

#[tokio::test]
async fn a_backend_that_takes_two_streams_gets_two_on_each_connection_and_refuses_none() {
    let permits = Arc::new(Semaphore::new(0));
    let mut builder = server::Builder::new();
    builder.max_concurrent_streams(2);
    let backend = held(builder, &permits).await;
    let (stage, endpoints) = Stage::h2c(one_worker(), &[backend.addr]);
    let (sender, _conn) = connect(stage.addr).await;
    let streams: Vec<_> = (0..5)
        .map(|_| {
            let sender = sender.clone();
            tokio::spawn(async move { get(&sender, "/").await.status })
        })
        .collect();
    let tally = backend.until(|t| t.requests == 5).await;
    assert_eq!(tally.connections, 3);
    permits.add_permits(5);
    for stream in streams {
        assert_eq!(stream.await.unwrap(), 200);
    }
    assert_eq!(endpoints[0].meter.totals(), (5, 0));
}

#[tokio::test]
async fn after_a_goaway_what_is_in_flight_goes_on_and_the_next_request_opens_another_connection() {
    let permits = Arc::new(Semaphore::new(0));
    let backend = held(server::Builder::new(), &permits).await;
    let (stage, endpoints) = Stage::h2c(one_worker(), &[backend.addr]);
    let (sender, _conn) = connect(stage.addr).await;
    let old = tokio::spawn({
        let sender = sender.clone();
        async move { get(&sender, "/old").await.status }
    });
    backend.until(|t| t.requests == 1).await;
    backend.goaway();
    permits.add_permits(1);
    assert_eq!(old.await.unwrap(), 200);
    backend.until(|t| t.closed == 1).await;
    permits.add_permits(1);
    assert_eq!(get(&sender, "/new").await.status, 200);
    assert_eq!(backend.tally().connections, 2);
    assert_eq!(endpoints[0].meter.totals(), (2, 0));
}

#[tokio::test]
async fn a_refused_post_is_sent_to_another_backend() {
    let refusing =
        Backend::start(|_, _, mut reply| async move { reply.send_reset(Reason::REFUSED_STREAM) }).await;
    let taking = echo().await;
    let (stage, endpoints) = Stage::h2c(one_worker(), &[refusing.addr, taking.addr]);
    let (sender, _conn) = connect(stage.addr).await;
    for _ in 0..2 {
        let response = exchange(&sender, request("POST", "/"), b"hello").await.unwrap();
        assert_eq!((response.status, &response.body[..]), (200, &b"hello"[..]));
    }
    let refused = refusing.tally().requests;
    assert!(refused > 0);
    assert_eq!(
        endpoints[0].meter.totals().1,
        refused as u64,
        "a refusal counts as a failure"
    );
}

#[tokio::test]
async fn a_post_that_got_no_answer_is_not_sent_again() {
    let failing =
        Backend::start(|_, _, mut reply| async move { reply.send_reset(Reason::INTERNAL_ERROR) }).await;
    let other = echo().await;
    let (stage, _) = Stage::h2c(one_worker(), &[failing.addr, other.addr]);
    let (sender, _conn) = connect(stage.addr).await;
    let response = exchange(&sender, request("POST", "/"), b"hello").await.unwrap();
    assert_eq!(response.own(), (502, "no_response"));
    assert_eq!(other.tally().requests, 0);
    // The next one's turn is the other's, the one after that fails, and is repeatable.
    for _ in 0..2 {
        assert_eq!(get(&sender, "/").await.status, 200);
    }
}

#[tokio::test]
async fn a_client_that_cancels_cancels_at_the_backend() {
    let (seen, mut resets) = mpsc::unbounded_channel();
    let backend = Backend::start(move |number, request, mut reply| {
        let seen = seen.clone();
        async move {
            let mut body = request.into_body();
            if number == 0 {
                // Before the response.
                let reason = std::future::poll_fn(|cx| reply.poll_reset(cx)).await.unwrap();
                seen.send(reason).unwrap();
                return;
            }
            let mut stream = reply.send_response(ok(), false).unwrap();
            stream.send_data(Bytes::from_static(b"x"), false).unwrap();
            let error = loop {
                match body.data().await {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break error,
                    None => panic!("the request was ended as if it were whole"),
                }
            };
            seen.send(error.reason().unwrap()).unwrap();
        }
    })
    .await;
    let (stage, endpoints) = Stage::h2c(one_worker(), &[backend.addr]);
    let (mut sender, _conn) = connect(stage.addr).await;
    let (response, mut stream) = sender.send_request(request("POST", "/"), false).unwrap();
    backend.until(|t| t.requests == 1).await;
    stream.send_reset(Reason::CANCEL);
    drop(response);
    assert_eq!(within(resets.recv()).await, Some(Reason::CANCEL));
    let mut sender = sender.ready().await.unwrap();
    let (response, mut stream) = sender.send_request(request("POST", "/"), false).unwrap();
    let mut body = within(response).await.unwrap().into_body();
    within(body.data()).await.unwrap().unwrap();
    stream.send_reset(Reason::CANCEL);
    assert_eq!(within(resets.recv()).await, Some(Reason::CANCEL));
    assert_eq!(endpoints[0].meter.in_flight(), 0);
    assert_eq!(endpoints[0].meter.totals().1, 0, "nobody failed");
    assert_eq!(backend.tally().connections, 1);
}

#[tokio::test]
async fn a_backend_that_resets_a_response_resets_the_clients_stream_for_the_same_reason() {
    let backend = Backend::start(|_, request, mut reply| async move {
        let mut stream = reply.send_response(ok(), false).unwrap();
        stream.send_data(Bytes::from_static(b"half"), false).unwrap();
        let mut body = request.into_body();
        while let Some(Ok(_)) = body.data().await {}
        stream.send_reset(Reason::ENHANCE_YOUR_CALM);
    })
    .await;
    let (stage, endpoints) = Stage::h2c(one_worker(), &[backend.addr]);
    let (mut sender, _conn) = connect(stage.addr).await;
    let (response, mut stream) = sender.send_request(request("POST", "/"), false).unwrap();
    let mut body = within(response).await.unwrap().into_body();
    assert_eq!(within(body.data()).await.unwrap().unwrap(), "half");
    stream.send_data(Bytes::new(), true).unwrap();
    let error = within(body.data()).await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::ENHANCE_YOUR_CALM));
    assert_eq!(endpoints[0].meter.in_flight(), 0);
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_its_backend_up_and_nobody_else() {
    let (sent, mut progress) = mpsc::unbounded_channel();
    let backend = Backend::start(move |number, _, mut reply| {
        let sent = sent.clone();
        async move {
            let mut stream = reply.send_response(ok(), number > 0).unwrap();
            if number > 0 {
                return;
            }
            loop {
                stream.reserve_capacity(64 * 1024);
                match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
                    Some(Ok(room)) => {
                        stream.send_data(Bytes::from(vec![0; room]), false).unwrap();
                        let _ = sent.send(room);
                    }
                    _ => return,
                }
            }
        }
    })
    .await;
    let (stage, _) = Stage::h2c(one_worker(), &[backend.addr]);
    let (mut sender, _conn) = connect(stage.addr).await;
    let (response, _) = sender.send_request(request("GET", "/"), true).unwrap();
    let body = within(response).await.unwrap().into_body();
    // Until it stands still: what has been taken is what windows and buffers hold, not what the backend has.
    let mut total = 0;
    while let Ok(Some(room)) = tokio::time::timeout(Duration::from_millis(300), progress.recv()).await {
        total += room;
        assert!(
            total < 4 << 20,
            "{total} bytes were taken for a client that reads nothing"
        );
    }
    assert!(total > 0);
    let (other, _conn) = connect(stage.addr).await;
    assert_eq!(get(&other, "/").await.status, 200);
    assert_eq!(backend.tally().connections, 1);
    drop(body);
}

#[tokio::test]
async fn a_place_is_held_until_the_backend_has_said_everything() {
    let permits = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&permits);
    let backend = Backend::start(move |_, _, mut reply| {
        let permits = Arc::clone(&held);
        async move {
            let mut stream = reply.send_response(ok(), false).unwrap();
            permits.acquire().await.unwrap().forget();
            stream.send_data(Bytes::from_static(b"x"), true).unwrap();
        }
    })
    .await;
    let limits = Limits::new(0, 1).unwrap();
    let full = h2c(1, backend.addr, limits);
    let stage = Stage::start(one_worker(), [app("app", std::slice::from_ref(&full))]);
    let (mut sender, _conn) = connect(stage.addr).await;
    let (response, _) = sender.send_request(request("GET", "/"), true).unwrap();
    let response = within(response).await.unwrap();
    assert_eq!(full.meter.in_flight(), 1);
    assert_eq!(get(&sender, "/").await.own(), (503, "backends_full"));
    permits.add_permits(2);
    assert_eq!(whole(response).await.unwrap().body, b"x");
    assert_eq!(full.meter.in_flight(), 0);
    assert_eq!(get(&sender, "/").await.body, b"x");
}

#[tokio::test]
async fn a_backend_that_does_not_speak_http2_gets_no_request() {
    let liar = backend::Backend::start(|_, _| backend::ok("never")).await;
    let speaks = echo().await;
    let endpoints = [h2c(1, liar.addr, Limits::NONE), h2c(2, speaks.addr, Limits::NONE)];
    let stage = Stage::start(one_worker(), [app("app", &endpoints)]);
    let (sender, _conn) = connect(stage.addr).await;
    for _ in 0..2 {
        let response = exchange(&sender, request("POST", "/"), b"hello").await.unwrap();
        assert_eq!(response.body, b"hello");
    }
    assert!(endpoints[0].meter.totals().1 > 0);
    let alone = Stage::start(one_worker(), [app("app", &endpoints[..1])]);
    let (sender, _conn) = connect(alone.addr).await;
    assert_eq!(get(&sender, "/").await.own(), (502, "connect_failed"));
}

#[tokio::test]
async fn one_app_may_have_backends_of_both_protocols() {
    let (old, new) = (
        backend::Backend::start(|_, _| backend::ok("old")).await,
        echo().await,
    );
    let endpoints = [
        endpoint(1, old.addr, Limits::NONE),
        h2c(2, new.addr, Limits::NONE),
    ];
    let stage = Stage::start(one_worker(), [app("app", &endpoints)]);
    let (sender, _conn) = connect(stage.addr).await;
    let mut bodies = vec![get(&sender, "/").await.body, get(&sender, "/").await.body];
    bodies.sort();
    assert_eq!(bodies, [b"".to_vec(), b"old".to_vec()]);
    let mut client = Client::connect(stage.addr).await;
    let mut bodies = vec![client.get("/").await.body, client.get("/").await.body];
    bodies.sort();
    assert_eq!(bodies, ["", "old"]);
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_time() {
    let backend = echo().await;
    let short = Config {
        pool_idle_timeout: Duration::from_millis(50),
        ..one_worker()
    };
    let (stage, _) = Stage::h2c(short, &[backend.addr]);
    let (sender, _conn) = connect(stage.addr).await;
    assert_eq!(get(&sender, "/").await.status, 200);
    backend.until(|t| t.closed == 1).await;
}

#[tokio::test]
async fn a_backend_that_leaves_finishes_what_it_has_until_it_is_cut() {
    let permits = Arc::new(Semaphore::new(0));
    let backend = held(server::Builder::new(), &permits).await;
    let (stage, endpoints) = Stage::h2c(one_worker(), &[backend.addr]);
    let (sender, _conn) = connect(stage.addr).await;
    let send = || {
        let sender = sender.clone();
        tokio::spawn(async move { get(&sender, "/").await })
    };
    let (one, other) = (send(), send());
    backend.until(|t| t.requests == 2).await;
    endpoints[0].meter.close();
    stage.running.table_changed();
    assert_eq!(get(&sender, "/").await.own().0, 503);
    permits.add_permits(1);
    let (mut one, mut other) = (one, other);
    let (first, left) = tokio::select! {
        first = &mut one => (first, other),
        first = &mut other => (first, one),
    };
    assert_eq!(first.unwrap().status, 200);
    endpoints[0].meter.cut();
    stage.running.table_changed();
    assert_eq!(left.await.unwrap().own(), (502, "no_response"));
    backend.until(|t| t.closed == 1).await;
    assert_eq!(endpoints[0].meter.in_flight(), 0);
}

#[tokio::test]
async fn a_truncated_upload_is_never_ended_as_if_it_were_whole() {
    let (seen, mut ends) = mpsc::unbounded_channel();
    let backend = Backend::start(move |_, request, reply| {
        let seen = seen.clone();
        async move {
            let ended = drain(&mut request.into_body()).await;
            seen.send(ended.map(|(data, _)| data).map_err(|e| e.reason()))
                .unwrap();
            drop(reply);
        }
    })
    .await;
    let (stage, _) = Stage::h2c(one_worker(), &[backend.addr]);
    let (mut sender, conn) = connect(stage.addr).await;
    let (_response, mut stream) = sender.send_request(request("POST", "/"), false).unwrap();
    stream.send_data(Bytes::from_static(b"half"), false).unwrap();
    backend.until(|t| t.requests == 1).await;
    conn.abort();
    assert_eq!(within(ends.recv()).await, Some(Err(Some(Reason::CANCEL))));
}

#[tokio::test]
async fn a_post_that_a_goaway_has_left_out_is_sent_again_on_a_fresh_connection() {
    use frames::{END_HEADERS, END_STREAM, GOAWAY, HEADERS, SETTINGS, frame};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    // Of each connection it answers the first request, and has not looked at the second.
    let backend = tokio::spawn(async move {
        let answer = frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x88]);
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut [0; 24]).await.unwrap();
            stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
            loop {
                let mut head = [0; 9];
                if stream.read_exact(&mut head).await.is_err() {
                    break;
                }
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                stream.read_exact(&mut vec![0; length as usize]).await.unwrap();
                match (head[3], head[8]) {
                    (HEADERS, 1) => stream.write_all(&answer).await.unwrap(),
                    (HEADERS, _) => stream
                        .write_all(&frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]))
                        .await
                        .unwrap(),
                    _ => {}
                }
            }
        }
    });
    let (stage, endpoints) = Stage::h2c(one_worker(), &[addr]);
    let (sender, _conn) = connect(stage.addr).await;
    for _ in 0..2 {
        let response = exchange(&sender, request("POST", "/"), b"hello").await.unwrap();
        assert_eq!(response.status, 200);
    }
    assert_eq!(endpoints[0].meter.totals(), (2, 0), "nobody has failed");
    backend.abort();
}
