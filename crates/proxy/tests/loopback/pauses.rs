//! Who may pause within a body, and for how long.

use std::sync::Arc;
use std::time::Duration;

use edgeproxy_proxy::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::backend::{Backend, Reply, ok};
use crate::client::Client;
use crate::stage::{Stage, config};

#[tokio::test]
async fn an_answer_in_which_the_backend_pauses_too_long_is_broken_off() {
    let never = Arc::new(Semaphore::new(0));
    let short = Config {
        response_body_timeout: Duration::from_millis(50),
        ..config()
    };
    for head in [
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n",
    ] {
        let held = Arc::clone(&never);
        let backend =
            Backend::start(move |_, _| Reply::Hold(head.into(), Arc::clone(&held), Vec::new())).await;
        let (stage, endpoints) = Stage::with(short.clone(), &[backend.addr]);
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
    let short = Config {
        response_header_timeout: Duration::from_millis(50),
        ..config()
    };
    let (stage, endpoints) = Stage::with(short, &[backend.addr]);
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
