//! What the workers have counted agrees with what was sent.

use std::time::Duration;

use edgeproxy_backend::{AppName, Limits};
use edgeproxy_proxy::{
    AppSettings, AppTotals, BackendTotals, CLASSES, Config, FAILURES, Listener, REASONS, TURNED_AWAY, Traffic,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::backend::{Backend, Reply, ok};
use crate::client::Client;
use crate::http2;
use crate::stage::{Stage, app, config, endpoint, endpoint_of, settings};

/// What has been counted once it is as expected: a worker counts an answer's end when the client has it already.
async fn counted(stage: &Stage, expected: impl Fn(&Traffic) -> bool) -> Traffic {
    let mut traffic = Traffic::default();
    let counted = async {
        loop {
            traffic = stage.running.counted().read();
            if expected(&traffic) {
                // Cells are read one after the other: what was read before those that were waited for may be older.
                traffic = stage.running.counted().read();
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(10), counted).await;
    assert!(in_time.is_ok(), "not in ten seconds: {traffic:#?}");
    traffic
}

fn of_app(traffic: &Traffic) -> AppTotals {
    traffic
        .apps
        .first()
        .map(|one| one.totals.clone())
        .unwrap_or_default()
}

fn of_backend(traffic: &Traffic, id: &str) -> BackendTotals {
    let found = traffic.backends.iter().find(|one| one.id.as_str() == id);
    found.map(|one| one.totals.clone()).unwrap_or_default()
}

fn kind(names: &[&str], name: &str) -> usize {
    names.iter().position(|one| *one == name).expect(name)
}

fn failures(traffic: &Traffic, id: &str, name: &str) -> u64 {
    of_backend(traffic, id).failures[kind(&FAILURES, name)]
}

fn own(traffic: &Traffic, name: &str) -> u64 {
    of_app(traffic).own_answers[kind(&REASONS, name)]
}

#[tokio::test]
async fn requests_are_counted_by_status_class_and_each_is_in_the_histograms_once() {
    let backend = Backend::start(|number, _| {
        let status = ["200 OK", "201 Created", "302 Found", "404 Not Found", "503 Busy"][number % 5];
        Reply::Send(format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok").into_bytes())
    })
    .await;
    let (stage, _) = Stage::of(&[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    for _ in 0..10 {
        client.get("/").await;
    }
    let traffic = counted(&stage, |traffic| of_app(traffic).durations.total() == 10).await;
    let (app, backend) = (of_app(&traffic), of_backend(&traffic, "b1"));
    assert_eq!(CLASSES, ["1xx", "2xx", "3xx", "4xx", "5xx"]);
    assert_eq!(app.answers, [0, 4, 2, 2, 2]);
    assert_eq!(backend.responses, app.answers);
    assert_eq!(backend.heads.total(), 10);
    assert!(app.durations.micros > 0 && app.durations.micros < 60_000_000);
    assert_eq!((backend.connections, backend.open_connections), (1, 1));
    assert_eq!(backend.failures, [0; FAILURES.len()]);
    // Each response is a head and two bytes.
    assert!(
        backend.received_bytes > 10 * 40 && backend.sent_bytes > 10 * 40,
        "{backend:?}"
    );
    let workers = traffic.workers.iter();
    assert_eq!(
        workers.map(|worker| worker.received_bytes).sum::<u64>(),
        backend.received_bytes
    );
}

#[tokio::test]
async fn failures_are_counted_by_kind_and_retries_by_app() {
    let good = Backend::start(|_, _| ok("good")).await;
    let truncating = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf";
    for (name, reply) in [
        ("no_response", ""),
        ("malformed", "HTTP/9 nonsense\r\n\r\n"),
        (
            "unhealthy_status",
            "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n",
        ),
    ] {
        let bad = Backend::start(move |_, _| match reply {
            "" => Reply::Close,
            text => Reply::Send(text.as_bytes().to_vec()),
        })
        .await;
        let settings = AppSettings {
            unhealthy_responses: [503..=503].into_iter().collect(),
            ..settings()
        };
        let one_worker = Config {
            workers: 1,
            ..config()
        };
        let (stage, _) = Stage::having(one_worker, settings, &[bad.addr, good.addr]);
        for _ in 0..4 {
            assert_eq!(Client::connect(stage.addr).await.get("/").await.body, "good");
        }
        let traffic = counted(&stage, |traffic| of_app(traffic).durations.total() == 4).await;
        let failed = u64::try_from(bad.tally().requests).unwrap();
        assert!(failed > 0, "{name}");
        assert_eq!(failures(&traffic, "b1", name), failed, "{name}: {traffic:#?}");
        assert_eq!(
            of_backend(&traffic, "b1").failures.iter().sum::<u64>(),
            failed,
            "{name}"
        );
        assert_eq!(of_app(&traffic).retries, failed, "{name}");
        assert_eq!(of_app(&traffic).answers, [0, 4, 0, 0, 0], "{name}");
    }

    let refusing = Backend::refusing().await;
    let (stage, _) = Stage::of(&[refusing]);
    assert_eq!(Client::connect(stage.addr).await.get("/").await.status, 502);
    let traffic = counted(&stage, |traffic| of_app(traffic).durations.total() == 1).await;
    assert_eq!(failures(&traffic, "b1", "connect"), 1);
    assert_eq!(own(&traffic, "connect_failed"), 1);
    assert_eq!(of_app(&traffic).answers, [0, 0, 0, 0, 1]);

    let hanging = Backend::start(|_, _| Reply::Hang).await;
    let impatient = AppSettings {
        response_header_timeout: Duration::from_millis(20),
        ..settings()
    };
    let (stage, _) = Stage::having(config(), impatient, &[hanging.addr]);
    assert_eq!(Client::connect(stage.addr).await.get("/").await.status, 504);
    let traffic = counted(&stage, |traffic| of_app(traffic).durations.total() == 1).await;
    assert_eq!(failures(&traffic, "b1", "response_timeout"), 1);
    assert_eq!(own(&traffic, "response_timeout"), 1);

    let breaking = Backend::start(move |_, _| Reply::SendAndClose(truncating.as_bytes().to_vec())).await;
    let (stage, _) = Stage::of(&[breaking.addr]);
    let mut client = Client::connect(stage.addr).await;
    client.write("GET / HTTP/1.1\r\nhost: app\r\n\r\n").await;
    assert!(client.try_read(true).await.is_none(), "it has to break off");
    let traffic = counted(&stage, |traffic| of_app(traffic).durations.total() == 1).await;
    assert_eq!(failures(&traffic, "b1", "truncated"), 1);
    assert_eq!(of_backend(&traffic, "b1").responses, [0, 1, 0, 0, 0]);
}

#[tokio::test]
async fn a_retry_that_the_budget_does_not_allow_is_counted() {
    let bad = [
        Backend::start(|_, _| Reply::Close).await,
        Backend::start(|_, _| Reply::Close).await,
    ];
    let poor = AppSettings {
        retry_budget_percent: 0,
        retry_budget_per_sec: 0,
        max_failures: 0,
        ..settings()
    };
    let (stage, _) = Stage::having(config(), poor, &[bad[0].addr, bad[1].addr]);
    for _ in 0..3 {
        assert_eq!(Client::connect(stage.addr).await.get("/").await.status, 502);
    }
    let traffic = counted(&stage, |traffic| of_app(traffic).durations.total() == 3).await;
    // It begins with one, which the first request spends, and would spend another.
    assert_eq!(
        (of_app(&traffic).retries, of_app(&traffic).retries_denied),
        (1, 3)
    );
    assert_eq!(own(&traffic, "no_response"), 3);
}

#[tokio::test]
async fn requests_without_a_backend_are_counted_by_reason() {
    let only = |name| app(name, &[]);
    let stage = Stage::start(config(), [only("one"), only("other")]);
    let mut client = Client::connect(stage.addr).await;
    client.write("GET / HTTP/1.1\r\nhost: one\r\n\r\n").await;
    assert_eq!(client.read().await.status, 503);
    client.write("GET / HTTP/1.1\r\nhost: nobody\r\n\r\n").await;
    assert_eq!(client.read().await.status, 404);
    client.write("GET / HTTP/1.1\r\nhost: a b\r\n\r\n").await;
    assert_eq!(client.read().await.status, 400);
    let traffic = counted(&stage, |traffic| of_app(traffic).durations.total() == 1).await;
    assert_eq!(own(&traffic, "no_backend"), 1);
    assert_eq!(traffic.refused[kind(&REASONS, "no_route")], 1);
    assert_eq!(traffic.refused[kind(&REASONS, "bad_request")], 1);
    assert_eq!(traffic.refused.iter().sum::<u64>(), 2);
}

#[tokio::test]
async fn a_client_that_leaves_is_counted_and_not_as_an_answer() {
    let backend = Backend::start(|_, _| Reply::Hang).await;
    let (stage, _) = Stage::of(&[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    client.write("GET / HTTP/1.1\r\nhost: app\r\n\r\n").await;
    backend.until(|tally| tally.in_flight == 1).await;
    client.stream.set_zero_linger().unwrap();
    drop(client);
    let traffic = counted(&stage, |traffic| of_app(traffic).abandoned == 1).await;
    assert_eq!(
        (of_app(&traffic).answers, of_app(&traffic).durations.total()),
        ([0; 5], 0)
    );
    assert_eq!(of_backend(&traffic, "b1").failures, [0; FAILURES.len()]);
}

#[tokio::test]
async fn http_2_is_counted_on_either_side_as_http_1_is() {
    let http1 = Backend::start(|_, _| ok("one")).await;
    let http2 = http2::Backend::start(|_, _, mut reply| async move {
        let answer = http::Response::builder().status(404).body(()).unwrap();
        let mut body = reply.send_response(answer, false).unwrap();
        body.send_data("other".into(), true).unwrap();
    })
    .await;
    let endpoints = [
        endpoint(1, http1.addr, Limits::NONE),
        endpoint_of(edgeproxy_backend::Protocol::H2c, 2, http2.addr, Limits::NONE),
    ];
    let one_worker = Config {
        workers: 1,
        ..config()
    };
    let stage = Stage::start(one_worker, [app("app", &endpoints)]);
    let mut client = Client::connect(stage.addr).await;
    for _ in 0..4 {
        client.get("/").await;
    }
    let (sender, _connection) = http2::connect(stage.addr).await;
    for _ in 0..4 {
        http2::get(&sender, "/").await;
    }
    let traffic = counted(&stage, |traffic| of_app(traffic).durations.total() == 8).await;
    assert_eq!(of_app(&traffic).answers, [0, 4, 0, 4, 0]);
    for (id, responses) in [("b1", [0, 4, 0, 0, 0]), ("b2", [0, 0, 0, 4, 0])] {
        let backend = of_backend(&traffic, id);
        assert_eq!((backend.responses, backend.heads.total()), (responses, 4), "{id}");
        assert_eq!(backend.connections, 1, "{id}");
        assert!(backend.sent_bytes > 0 && backend.received_bytes > 0, "{id}");
    }
    assert_eq!(of_app(&traffic).interrupted, 0);
}

#[tokio::test]
async fn a_session_is_counted_and_how_long_it_lasts_is_no_duration_of_a_request() {
    let backend = Backend::start(|_, _| {
        let head = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
        Reply::SendAndEnd(head.into())
    })
    .await;
    let (stage, _) = Stage::of(&[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    client
        .write("GET / HTTP/1.1\r\nhost: app\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n")
        .await;
    assert_eq!(client.head().await.unwrap().status, 101);
    drop(client);
    let traffic = counted(&stage, |traffic| of_app(traffic).answers[0] == 1).await;
    assert_eq!(of_app(&traffic).durations.total(), 0);
}

#[tokio::test]
async fn tcp_connections_are_counted_with_every_byte() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let only = endpoint(1, listener.local_addr().unwrap(), Limits::NONE);
    let tcp = Listener::tcp(([127, 0, 0, 1], 0).into(), AppName::parse("app").unwrap());
    let only_tcp = Config {
        listeners: vec![tcp],
        ..config()
    };
    let stage = Stage::start(only_tcp, [app("app", &[only])]);
    let mut client = TcpStream::connect(stage.addr).await.unwrap();
    let (mut backend, _) = listener.accept().await.unwrap();
    client.write_all(b"hello").await.unwrap();
    backend.read_exact(&mut [0; 5]).await.unwrap();
    backend.write_all(b"hi").await.unwrap();
    client.read_exact(&mut [0; 2]).await.unwrap();
    let traffic = counted(&stage, |traffic| of_backend(traffic, "b1").received_bytes == 2).await;
    let totals = of_backend(&traffic, "b1");
    assert_eq!(
        (totals.sent_bytes, totals.sessions, totals.open_connections),
        (5, 1, 1)
    );
    assert_eq!(of_app(&traffic).sessions, 1);
    drop((client, backend, listener));
    counted(&stage, |traffic| of_backend(traffic, "b1").open_connections == 0).await;
    // Nobody listens there any more.
    if let Ok(mut client) = TcpStream::connect(stage.addr).await {
        client.read(&mut [0; 1]).await.unwrap_err();
    }
    let traffic = counted(&stage, |traffic| of_app(traffic).sessions_refused == 1).await;
    assert_eq!(failures(&traffic, "b1", "connect"), 1);
}

#[tokio::test]
async fn connections_are_counted_by_worker_and_listener() {
    let backend = Backend::start(|_, _| ok("ok")).await;
    let one_each = Config {
        max_connections_per_client: 1,
        ..config()
    };
    let (stage, _) = Stage::with(one_each, &[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    client.get("/").await;
    let mut refused = Client::connect(stage.addr).await;
    assert!(refused.end().await.is_empty());
    let sum = |traffic: &Traffic, of: fn(&edgeproxy_proxy::ListenerTraffic) -> u64| -> u64 {
        traffic
            .workers
            .iter()
            .map(|worker| of(&worker.listeners[0]))
            .sum()
    };
    let traffic = counted(&stage, |traffic| sum(traffic, |one| one.open) == 1).await;
    assert_eq!(traffic.workers.len(), 2);
    assert_eq!(sum(&traffic, |one| one.accepted), 2);
    assert_eq!(TURNED_AWAY[0], "client_limit");
    assert_eq!(sum(&traffic, |one| one.turned_away[0]), 1);
    drop(client);
    counted(&stage, |traffic| sum(traffic, |one| one.open) == 0).await;
}
