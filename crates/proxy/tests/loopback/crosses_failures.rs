//! HTTP/1 clients in front of backends that speak HTTP/2, when something fails.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edgeproxy_backend::Limits;
use edgeproxy_proxy::AppSettings;
use h2::{Reason, server};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

use crate::backend::{self, Reply};
use crate::client::Client;
use crate::crosses::{echo, one_worker};
use crate::frames::{self, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, Raw};
use crate::http2::{Backend, drain, ok, within};
use crate::stage::{Stage, app, config, endpoint, h2c, settings};

#[tokio::test]
async fn a_backend_that_wants_no_more_of_a_body_is_believed_and_the_client_gets_its_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (stage, endpoints) = Stage::h2c(config(), &[listener.local_addr().unwrap()]);
    let backend = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut backend = Raw::serve(stream).await;
        assert_eq!(backend.next_of(1).await.kind, HEADERS);
        let answer = [
            frames::frame(HEADERS, END_HEADERS, 1, &[0x88]),
            frames::frame(DATA, END_STREAM, 1, b"enough"),
            frames::frame(RST_STREAM, 0, 1, &[0; 4]),
        ];
        backend.write(&answer.concat()).await.unwrap();
        backend
    });
    let mut client = Client::connect(stage.addr).await;
    client
        .write("POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 9000000\r\n\r\nbegun")
        .await;
    assert_eq!(client.read().await.body, "enough");
    assert!(client.end().await.is_empty());
    assert_eq!(endpoints[0].meter.totals(), (1, 0));
    assert_eq!(endpoints[0].meter.in_flight(), 0);
    drop(backend.await.unwrap());
}

/// A backend that tells how the bodies of its requests end.
async fn listening() -> (Backend, mpsc::UnboundedReceiver<Result<usize, Option<Reason>>>) {
    let (told, ends) = mpsc::unbounded_channel();
    let backend = Backend::start(move |_, request, reply| {
        let told = told.clone();
        async move {
            let got = drain(&mut request.into_body()).await;
            let _ = told.send(got.map(|(body, _)| body.len()).map_err(|error| error.reason()));
            drop(reply);
        }
    })
    .await;
    (backend, ends)
}

#[tokio::test]
async fn a_body_that_breaks_off_is_never_ended_as_if_it_were_whole() {
    let (backend, mut ends) = listening().await;
    let (stage, endpoints) = Stage::h2c(config(), &[backend.addr]);
    for (begun, bad) in [
        ("content-length: 9\r\n\r\nhalf", None),
        ("transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n", None),
        (
            "transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            Some("no chunk\r\n"),
        ),
    ] {
        let mut client = Client::connect(stage.addr).await;
        client
            .write(format!("POST / HTTP/1.1\r\nhost: app\r\n{begun}"))
            .await;
        backend.until(|t| t.requests > t.served).await;
        if let Some(bad) = bad {
            client.write(bad).await;
            assert_eq!(client.read().await.own().0, 400, "{begun}");
        } else {
            client.stream.set_zero_linger().unwrap();
        }
        drop(client);
        assert_eq!(
            within(ends.recv()).await.unwrap(),
            Err(Some(Reason::CANCEL)),
            "{begun}"
        );
        backend.until(|t| t.requests == t.served).await;
    }
    assert_eq!(endpoints[0].meter.in_flight(), 0);
    assert_eq!(endpoints[0].meter.totals().1, 0, "no failure of the backend");
}

#[tokio::test]
async fn a_client_that_leaves_cancels_at_the_backend_and_gives_its_place_back() {
    let (gone, mut reasons) = mpsc::unbounded_channel();
    let backend = Backend::start(move |number, _, mut reply| {
        let gone = gone.clone();
        async move {
            let reason = if number == 0 {
                std::future::poll_fn(|cx| reply.poll_reset(cx)).await
            } else {
                let mut stream = reply.send_response(ok(), false).unwrap();
                stream.send_data(Bytes::from_static(b"first"), false).unwrap();
                std::future::poll_fn(|cx| stream.poll_reset(cx)).await
            };
            let _ = gone.send(reason.unwrap());
        }
    })
    .await;
    let (stage, endpoints) = Stage::h2c(one_worker(), &[backend.addr]);
    for number in 0..2 {
        let mut client = Client::connect(stage.addr).await;
        client.write("GET / HTTP/1.1\r\nhost: app\r\n\r\n").await;
        backend.until(|t| t.requests == number + 1).await;
        if number == 1 {
            assert_eq!(client.head().await.unwrap().status, 200);
        }
        assert_eq!(endpoints[0].meter.in_flight(), 1);
        client.stream.set_zero_linger().unwrap();
        drop(client);
        assert_eq!(within(reasons.recv()).await, Some(Reason::CANCEL));
    }
    // Whoever asks next sees that both places are free.
    assert_eq!(endpoints[0].meter.in_flight(), 0);
    assert_eq!(backend.tally().connections, 1);
}

#[tokio::test]
async fn a_response_that_breaks_off_breaks_the_clients_off() {
    let backend = Backend::start(|number, _, mut reply| async move {
        let mut response = ok();
        if number == 0 {
            response
                .headers_mut()
                .insert("content-length", "9".parse().unwrap());
        }
        let mut stream = reply.send_response(response, false).unwrap();
        stream.send_data(Bytes::from_static(b"half"), false).unwrap();
        std::future::poll_fn(|cx| std::task::Poll::Ready(stream.poll_capacity(cx).is_ready())).await;
        tokio::task::yield_now().await;
        stream.send_reset(Reason::INTERNAL_ERROR);
    })
    .await;
    let (stage, endpoints) = Stage::h2c(config(), &[backend.addr]);
    for version in ["1.1", "1.1", "1.0"] {
        let mut client = Client::connect(stage.addr).await;
        client
            .write(format!("GET / HTTP/{version}\r\nhost: app\r\n\r\n"))
            .await;
        let mut got = Vec::new();
        let ended = within(client.stream.read_to_end(&mut got)).await;
        if version == "1.0" {
            // Or else it would seem whole.
            assert!(ended.is_err());
        }
        assert!(!got.ends_with(b"0\r\n\r\n"), "{got:?}");
    }
    assert_eq!(endpoints[0].meter.in_flight(), 0);
}

#[tokio::test]
async fn a_refused_post_is_sent_to_another_backend_whatever_that_speaks() {
    let refusing =
        Backend::start(|_, _, mut reply| async move { reply.send_reset(Reason::REFUSED_STREAM) }).await;
    let (taking, other) = (
        echo().await,
        backend::Backend::start(|_, seen| backend::ok(&String::from_utf8_lossy(&seen.body))).await,
    );
    for last in [
        h2c(2, taking.addr, Limits::NONE),
        endpoint(2, other.addr, Limits::NONE),
    ] {
        let first = h2c(1, refusing.addr, Limits::NONE);
        let stage = Stage::start(one_worker(), [app("app", &[first, last])]);
        let mut client = Client::connect(stage.addr).await;
        for body in [
            "content-length: 5\r\n\r\nhello",
            "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ] {
            for _ in 0..2 {
                client
                    .write(format!("POST / HTTP/1.1\r\nhost: app\r\n{body}"))
                    .await;
                let got = client.read().await;
                assert!(got.status == 200 && got.body.contains("hello"), "{got:?}");
            }
        }
    }
    assert!(refusing.tally().requests >= 4);
}

#[tokio::test]
async fn a_put_is_sent_again_from_either_kind_of_backend_to_the_other() {
    let hanging_up = backend::Backend::start(|_, _| Reply::Close).await;
    let taking = echo().await;
    let endpoints = [
        endpoint(1, hanging_up.addr, Limits::NONE),
        h2c(2, taking.addr, Limits::NONE),
    ];
    let stage = Stage::start(one_worker(), [app("app", &endpoints)]);
    let mut client = Client::connect(stage.addr).await;
    for _ in 0..2 {
        client
            .write("PUT / HTTP/1.1\r\nhost: app\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 5\r\n\r\n")
            .await;
        let got = client.read().await;
        assert_eq!((got.status, &*got.body, got.one("x-sum")), (200, "hello", "5"));
    }
    assert!(hanging_up.tally().requests > 0);
}

#[tokio::test]
async fn a_post_that_a_goaway_has_left_out_is_sent_again_on_a_fresh_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (stage, endpoints) = Stage::h2c(one_worker(), &[listener.local_addr().unwrap()]);
    let mut client = Client::connect(stage.addr).await;
    let post = "POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 5\r\n\r\nhello";
    let backend = tokio::spawn(async move {
        let mut served = Vec::new();
        let (stream, _) = listener.accept().await.unwrap();
        let mut first = Raw::serve(stream).await;
        for stream in [1, 3] {
            while first.next_of(stream).await.flags & END_STREAM == 0 {}
            if stream == 1 {
                let head = frames::frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x88]);
                first.write(&head).await.unwrap();
            }
        }
        first
            .write(&frames::frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]))
            .await
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let mut second = Raw::serve(stream).await;
        loop {
            let frame = second.next_of(1).await;
            served.extend(if frame.kind == DATA {
                frame.payload
            } else {
                Vec::new()
            });
            if frame.flags & END_STREAM != 0 {
                break;
            }
        }
        let head = frames::frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x88]);
        second.write(&head).await.unwrap();
        (served, first, second)
    });
    for _ in 0..2 {
        client.write(post).await;
        assert_eq!(client.read().await.status, 200);
    }
    let (served, ..) = within(backend).await.unwrap();
    assert_eq!(served, b"hello");
    assert_eq!(endpoints[0].meter.totals(), (2, 0));
}

#[tokio::test]
async fn a_backend_that_says_nothing_is_waited_for_so_long() {
    let backend = Backend::with(server::Builder::new(), |_, request, _reply| async move {
        let _request = request;
        std::future::pending::<()>().await;
    })
    .await;
    let short = AppSettings {
        response_header_timeout: Duration::from_millis(200),
        retry_enabled: false,
        ..settings()
    };
    let (stage, endpoints) = Stage::h2c_having(one_worker(), short, &[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    assert_eq!(client.get("/").await.own().1, "response_timeout");
    assert_eq!(endpoints[0].meter.in_flight(), 0);
    assert_eq!(endpoints[0].meter.totals(), (1, 1));
}

/// A backend whose answers begin at once and end with a permit.
async fn held(permits: &Arc<Semaphore>) -> Backend {
    let permits = Arc::clone(permits);
    Backend::start(move |_, _, mut reply| {
        let permits = Arc::clone(&permits);
        async move {
            let mut stream = reply.send_response(ok(), false).unwrap();
            stream.send_data(Bytes::from_static(b"first"), false).unwrap();
            permits.acquire().await.unwrap().forget();
            let _ = stream.send_data(Bytes::from_static(b"last"), true);
        }
    })
    .await
}

#[tokio::test]
async fn who_finds_the_backend_full_waits_for_a_place_until_it_has_said_everything() {
    let permits = Arc::new(Semaphore::new(0));
    let backend = held(&permits).await;
    let only = h2c(1, backend.addr, Limits::new(1, 1).unwrap());
    let mut app = app("app", std::slice::from_ref(&only));
    app.settings.queue_max = 8;
    let queue = Arc::clone(&app.queue);
    let stage = Stage::start(config(), [app]);
    let mut clients = Vec::new();
    for waiting in 0..3 {
        let mut client = Client::connect(stage.addr).await;
        client.write("GET / HTTP/1.1\r\nhost: app\r\n\r\n").await;
        while backend.tally().requests < 1 || queue.len() < waiting {
            tokio::task::yield_now().await;
        }
        clients.push(client);
    }
    assert_eq!((backend.tally().requests, only.meter.in_flight()), (1, 1));
    permits.add_permits(3);
    for client in &mut clients {
        assert_eq!(client.read().await.body, "firstlast");
    }
    assert_eq!(only.meter.in_flight(), 0);
    assert!(queue.is_empty());
}

#[tokio::test]
async fn a_cut_backends_response_is_broken_off() {
    let permits = Arc::new(Semaphore::new(0));
    let backend = held(&permits).await;
    let (stage, endpoints) = Stage::h2c(one_worker(), &[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    client.write("GET / HTTP/1.1\r\nhost: app\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().status, 200);
    endpoints[0].meter.close();
    endpoints[0].meter.cut();
    stage.running.table_changed();
    assert_eq!(client.end().await, b"5\r\nfirst\r\n");
    backend.until(|t| t.closed == 1).await;
    assert_eq!(endpoints[0].meter.in_flight(), 0);
}

#[tokio::test]
async fn a_drain_lets_the_response_end_and_then_the_connection() {
    let permits = Arc::new(Semaphore::new(0));
    let backend = held(&permits).await;
    let (stage, _) = Stage::h2c(one_worker(), &[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    client.write("GET / HTTP/1.1\r\nhost: app\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().status, 200);
    stage.running.drain();
    permits.add_permits(1);
    assert_eq!(client.end().await, b"5\r\nfirst\r\n4\r\nlast\r\n0\r\n\r\n");
    stage.stopped().await;
}
