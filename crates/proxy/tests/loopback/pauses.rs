//! Who may pause within a body, and for how long.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edgeproxy_proxy::{AppSettings, Config};
use h2::Reason;
use http::HeaderValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

use crate::backend::{Backend, Reply, ok};
use crate::client::Client;
use crate::http2;
use crate::stage::{Stage, config, settings};

#[tokio::test]
async fn an_answer_in_which_the_backend_pauses_too_long_is_broken_off() {
    let never = Arc::new(Semaphore::new(0));
    let short = AppSettings {
        response_body_timeout: Duration::from_millis(50),
        ..settings()
    };
    for head in [
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n",
    ] {
        let held = Arc::clone(&never);
        let backend =
            Backend::start(move |_, _| Reply::Hold(head.into(), Arc::clone(&held), Vec::new())).await;
        let (stage, endpoints) = Stage::having(config(), short.clone(), &[backend.addr]);
        let mut client = Client::connect(stage.addr).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(client.head().await.unwrap().status, 200);
        let rest = client.end().await;
        assert!(
            !rest.ends_with(b"0\r\n\r\n"),
            "a part that looks like the whole: {rest:?}"
        );
        backend.until(|t| t.closed == 1).await;
        assert_eq!(endpoints[0].meter.in_flight(), 0);
    }
}

#[tokio::test]
async fn an_answer_over_http2_in_which_the_backend_pauses_too_long_is_reset() {
    let never = Arc::new(Semaphore::new(0));
    let short = AppSettings {
        response_body_timeout: Duration::from_millis(50),
        ..settings()
    };
    for head in [
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n",
    ] {
        let held = Arc::clone(&never);
        let backend =
            Backend::start(move |_, _| Reply::Hold(head.into(), Arc::clone(&held), Vec::new())).await;
        let (stage, endpoints) = Stage::having(config(), short.clone(), &[backend.addr]);
        let (sender, _conn) = http2::connect(stage.addr).await;
        let broken = http2::exchange(&sender, http2::request("GET", "/"), b"").await;
        assert_eq!(broken.unwrap_err().reason(), Some(Reason::INTERNAL_ERROR));
        backend.until(|t| t.closed == 1).await;
        assert_eq!(endpoints[0].meter.in_flight(), 0);
    }
}

/// Answers with one word, and says whether it was reset then.
async fn pausing() -> (http2::Backend, mpsc::UnboundedReceiver<Reason>) {
    let (sender, resets) = mpsc::unbounded_channel();
    let backend = http2::Backend::start(move |_, _, mut reply| {
        let sender = sender.clone();
        async move {
            let mut stream = reply.send_response(http2::ok(), false).unwrap();
            stream.send_data(Bytes::from_static(b"ab"), false).unwrap();
            let reset = poll_fn(|cx| stream.poll_reset(cx)).await;
            sender.send(reset.unwrap()).unwrap();
        }
    });
    (backend.await, resets)
}

#[tokio::test]
async fn a_pause_of_an_h2c_backend_ends_its_stream_and_not_its_connection() {
    let (backend, mut resets) = pausing().await;
    let one_worker = Config {
        workers: 1,
        ..config()
    };
    let short = AppSettings {
        response_body_timeout: Duration::from_millis(50),
        ..settings()
    };
    let (stage, endpoints) = Stage::h2c_having(one_worker, short, &[backend.addr]);
    let (sender, _conn) = http2::connect(stage.addr).await;
    for _ in 0..2 {
        let broken = http2::exchange(&sender, http2::request("GET", "/"), b"").await;
        assert_eq!(broken.unwrap_err().reason(), Some(Reason::INTERNAL_ERROR));
        assert_eq!(http2::within(resets.recv()).await, Some(Reason::CANCEL));
        assert_eq!(endpoints[0].meter.in_flight(), 0);
    }
    assert_eq!((backend.tally().connections, backend.tally().closed), (1, 0));
}

#[tokio::test]
async fn a_call_of_grpc_may_be_silent_until_its_own_deadline() {
    let (backend, _resets) = pausing().await;
    let short = AppSettings {
        response_body_timeout: Duration::from_millis(50),
        ..settings()
    };
    let (stage, _) = Stage::h2c_having(config(), short, &[backend.addr]);
    let (sender, _conn) = http2::connect(stage.addr).await;
    let mut call = http2::request("POST", "/a.B/C");
    for (name, value) in [("content-type", "application/grpc"), ("grpc-timeout", "400m")] {
        call.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let late = http2::exchange(&sender, call, b"").await.unwrap();
    assert_eq!(late.body, b"ab");
    assert_eq!(late.trailers.unwrap()["grpc-status"], "4");
}

/// A client that idles away: the end of it tells that its idle time-out has passed.
async fn idle_timeout_passes(stage: &Stage) {
    let mut idle = Client::connect(stage.addr).await;
    assert!(idle.end().await.is_empty());
}

#[tokio::test]
async fn a_client_that_has_still_to_give_is_not_timed_as_one_that_takes_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hurried = Config {
        send_timeout: Duration::from_millis(50),
        idle_timeout: Duration::from_millis(150),
        ..config()
    };
    let (stage, endpoints) = Stage::with(hurried, &[listener.local_addr().unwrap()]);
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
    idle_timeout_passes(&stage).await;
    client.write("half").await;
    received.clear();
    while received != b"half" {
        assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0);
    }
    while endpoints[0].meter.in_flight() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_client_that_never_gives_the_rest_of_its_body_is_let_go() {
    let backend = Backend::start(|_, _| ok("early")).await;
    let short = AppSettings {
        response_header_timeout: Duration::from_millis(50),
        ..settings()
    };
    let (stage, endpoints) = Stage::having(config(), short, &[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    client
        .write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\nhalf")
        .await;
    assert_eq!(client.read().await.status, 408);
    while endpoints[0].meter.in_flight() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(endpoints[0].meter.totals().1, 0, "the backend is not to blame");
}
