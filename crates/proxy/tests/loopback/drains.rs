//! Backends that leave, and the proxy that stops.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edgeproxy_backend::Limits;
use edgeproxy_proxy::{AccessLog, Config, LineFormat, LineSink, RouteTable};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::asking::{Ask, FRONTS, Front, GET, Told, try_ask};
use crate::backend::{Backend, Reply, ok};
use crate::client::Client;
use crate::http2;
use crate::stage::{Stage, app, config, endpoint};

/// A backend that sends half of its answer and the rest when it is told.
async fn half(permits: &Arc<Semaphore>) -> Backend {
    let permits = Arc::clone(permits);
    Backend::start(move |_, _| {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab".to_vec();
        Reply::Hold(head, Arc::clone(&permits), b"cd".to_vec())
    })
    .await
}

#[tokio::test]
async fn a_drain_lets_what_is_in_flight_finish_and_accepts_no_more() {
    let permits = Arc::new(Semaphore::new(0));
    let backend = half(&permits).await;
    let (stage, _) = Stage::of(&[backend.addr]);
    let mut idle = Client::connect(stage.addr).await;
    let mut busy = Client::connect(stage.addr).await;
    permits.add_permits(1);
    assert_eq!(idle.get("/").await.body, "abcd");
    busy.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    backend.until(|t| t.in_flight == 1).await;
    stage.running.drain();
    assert!(
        idle.end().await.is_empty(),
        "an idle connection is closed at once"
    );
    permits.add_permits(1);
    let response = busy.read().await;
    assert_eq!(response.body, "abcd");
    assert!(busy.end().await.is_empty());
    stage.stopped().await;
    assert!(TcpStream::connect(stage.addr).await.is_err());
}

#[tokio::test]
async fn a_request_whose_head_is_on_its_way_when_a_drain_begins_is_still_answered() {
    let backend = Backend::start(|_, _| ok("x")).await;
    let one_worker = Config {
        workers: 1,
        ..config()
    };
    let (stage, _) = Stage::with(one_worker, &[backend.addr]);
    let (mut half, mut idle) = (
        Client::connect(stage.addr).await,
        Client::connect(stage.addr).await,
    );
    assert_eq!(half.get("/").await.status, 200);
    half.write("GET / HTTP/1.1\r\nho").await;
    // What came before has been read when this one is answered.
    assert_eq!(idle.get("/").await.status, 200);
    stage.running.drain();
    // Its end shows that the worker has begun to drain.
    assert!(idle.end().await.is_empty());
    half.write("st: app\r\n\r\n").await;
    let response = half.read().await;
    assert_eq!((response.status, response.one("connection")), (200, "close"));
    assert!(half.end().await.is_empty());
    stage.stopped().await;
}

#[tokio::test]
async fn an_answer_that_begins_in_a_drain_says_connection_close() {
    let permits = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&permits);
    let backend = Backend::start(move |_, _| {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx".to_vec();
        Reply::Hold(Vec::new(), Arc::clone(&held), whole)
    })
    .await;
    let one_worker = Config {
        workers: 1,
        ..config()
    };
    let (stage, _) = Stage::with(one_worker, &[backend.addr]);
    let mut idle = Client::connect(stage.addr).await;
    permits.add_permits(1);
    idle.get("/").await;
    let mut busy = Client::connect(stage.addr).await;
    busy.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    backend.until(|t| t.requests == 2).await;
    stage.running.drain();
    // Its end shows that the worker has begun to drain.
    idle.end().await;
    permits.add_permits(1);
    let response = busy.read().await;
    assert_eq!((response.status, response.one("connection")), (200, "close"));
    assert!(busy.end().await.is_empty());
    stage.stopped().await;
}

#[tokio::test]
async fn a_connection_accepted_just_before_a_drain_is_answered() {
    let backend = Backend::start(|_, _| ok("x")).await;
    let patient = Config {
        drain_grace: Duration::from_secs(10),
        ..config()
    };
    let (stage, _) = Stage::with(patient, &[backend.addr]);
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(Client::connect(stage.addr).await);
    }
    stage.running.drain();
    for client in &mut clients {
        let response = client.get("/").await;
        assert_eq!((response.status, response.one("connection")), (200, "close"));
    }
    stage.stopped().await;
}

#[tokio::test]
async fn what_does_not_end_in_time_is_ended() {
    let backend = Backend::start(|_, _| Reply::Hang).await;
    let hurried = Config {
        drain_timeout: Duration::from_millis(50),
        ..config()
    };
    let (stage, endpoints) = Stage::with(hurried, &[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    backend.until(|t| t.requests == 1).await;
    stage.running.drain();
    stage.stopped().await;
    assert!(client.end().await.is_empty());
    assert_eq!(endpoints[0].meter.in_flight(), 0);
}

#[tokio::test]
async fn an_abort_ends_everything_now() {
    let backend = Backend::start(|_, _| Reply::Hang).await;
    let (stage, _) = Stage::of(&[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    backend.until(|t| t.requests == 1).await;
    stage.running.abort();
    stage.stopped().await;
    assert!(client.end().await.is_empty());
}

#[tokio::test]
async fn a_deregistered_backend_gets_nothing_more_and_finishes_what_it_has_until_it_is_cut() {
    let permits = Arc::new(Semaphore::new(0));
    let (old, new) = (half(&permits).await, Backend::start(|_, _| ok("new")).await);
    let leaving = endpoint(1, old.addr, Limits::NONE);
    let stage = Stage::start(config(), [app("app", std::slice::from_ref(&leaving))]);
    let (mut ends, mut cut) = (
        Client::connect(stage.addr).await,
        Client::connect(stage.addr).await,
    );
    for client in [&mut ends, &mut cut] {
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        client.head().await.unwrap();
    }
    leaving.meter.close();
    let staying = endpoint(2, new.addr, Limits::NONE);
    stage.table.store(Arc::new(RouteTable::new(
        2,
        [Arc::new(app("app", &[staying]))],
        Arc::default(),
    )));
    stage.running.table_changed();
    assert_eq!(Client::connect(stage.addr).await.get("/").await.body, "new");
    permits.add_permits(1);
    let (first, second) = tokio::join!(ends.bytes(4), async {
        // Only one of the two has been told to go on.
        old.until(|t| t.in_flight == 1).await;
        old.until(|t| t.closed == 1).await;
        leaving.meter.cut();
        stage.running.table_changed();
        cut.bytes(4).await
    });
    let whole = [first.is_some(), second.is_some()];
    assert!(
        whole == [true, false] || whole == [false, true],
        "one ended, one was truncated: {whole:?}"
    );
    old.until(|t| t.closed == 2).await;
    assert_eq!(leaving.meter.in_flight(), 0);
}

/// What becomes of a request under way on a backend that is cut, beside another that would answer.
async fn cut(front: Front, asked: &Ask<'static>) -> Told {
    let first = Arc::new(AtomicBool::new(true));
    let start = || {
        let first = Arc::clone(&first);
        Backend::start(move |_, _| {
            if first.swap(false, Ordering::SeqCst) {
                Reply::Hang
            } else {
                ok("other")
            }
        })
    };
    let backends = [start().await, start().await];
    let one_worker = Config {
        workers: 1,
        ..config()
    };
    let (stage, endpoints) = Stage::with(one_worker, &[backends[0].addr, backends[1].addr]);
    let asking = tokio::spawn({
        let (addr, asked) = (stage.addr, asked.clone());
        async move { try_ask(front, addr, &asked).await }
    });
    let hanging = loop {
        let hangs = |backend: &Backend| backend.tally().in_flight == 1;
        if let Some(hanging) = backends.iter().position(hangs) {
            break &endpoints[hanging];
        }
        tokio::task::yield_now().await;
    };
    hanging.meter.cut();
    stage.running.table_changed();
    let told = asking.await.unwrap().expect("nobody was told anything");
    while hanging.meter.in_flight() > 0 {
        tokio::task::yield_now().await;
    }
    let counted = stage.running.counted().read();
    assert_eq!(
        counted.apps[0].totals.abandoned, 0,
        "{front:?}: no client has left"
    );
    told
}

#[tokio::test]
async fn a_request_whose_backend_is_cut_got_no_response_and_is_retried_as_any_such() {
    let with_body = |method| Ask {
        method,
        body: b"body",
        ..GET
    };
    for front in FRONTS {
        assert_eq!(cut(front, &GET).await.body, "other", "{front:?}");
        assert_eq!(cut(front, &with_body("PUT")).await.body, "other", "{front:?}");
        assert_eq!(
            cut(front, &with_body("POST")).await.own(),
            (502, "no_response"),
            "{front:?}"
        );
    }
}

#[tokio::test]
async fn idle_connections_to_an_ejected_backend_are_closed() {
    let backend = Backend::start(|_, _| ok("x")).await;
    let (stage, endpoints) = Stage::of(&[backend.addr]);
    assert_eq!(Client::connect(stage.addr).await.get("/").await.status, 200);
    assert_eq!(backend.tally().closed, 0);
    endpoints[0].meter.exclude();
    stage.running.table_changed();
    backend.until(|t| t.closed == 1).await;
}

/// There may be a new table every second, and answers that last for hours.
#[tokio::test]
async fn an_answer_that_lasts_does_not_hold_the_table_it_was_routed_by() {
    let permits = Arc::new(Semaphore::new(0));
    let backend = half(&permits).await;
    let (stage, endpoints) = Stage::of(&[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.head().await.unwrap();
    assert_eq!(client.bytes(2).await.unwrap(), b"ab");
    let next = RouteTable::new(2, [Arc::new(app("app", &endpoints))], Arc::default());
    let old = Arc::downgrade(&stage.table.swap(Arc::new(next)));
    stage.running.table_changed();
    while old.strong_count() > 0 {
        tokio::task::yield_now().await;
    }
    permits.add_permits(1);
    assert_eq!(client.bytes(2).await.unwrap(), b"cd");
}

#[derive(Default)]
struct Lines(Mutex<Vec<u8>>);

impl LineSink for Lines {
    fn take(&self, lines: Vec<u8>, _count: u32) {
        self.0.lock().unwrap().extend(lines);
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_is_written_down_as_that_and_no_client_is_blamed() {
    let permits = Arc::new(Semaphore::new(0));
    let backend = half(&permits).await;
    let lines = Arc::new(Lines::default());
    let sampling = Config {
        access_log: Some(AccessLog {
            sink: Arc::clone(&lines) as _,
            format: LineFormat::Text,
            // What goes well is not written down.
            sample_per_million: 0,
            with_query: false,
        }),
        ..config()
    };
    let (stage, _) = Stage::with(sampling, &[backend.addr]);
    let mut by_http1 = Client::connect(stage.addr).await;
    let (mut by_http2, _connection) = http2::connect(stage.addr).await;
    by_http1.write("GET / HTTP/1.1\r\nhost: app\r\n\r\n").await;
    assert_eq!(by_http1.head().await.unwrap().status, 200);
    let (response, _) = by_http2.send_request(http2::request("GET", "/"), true).unwrap();
    let response = http2::within(response).await.unwrap();
    assert_eq!(response.status(), 200);
    stage.running.abort();
    stage.stopped().await;
    let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert_eq!(lines.lines().count(), 2, "{lines}");
    for protocol in ["HTTP/1.1 200 ", "HTTP/2 200 "] {
        let line = lines
            .lines()
            .find(|line| line.contains(protocol))
            .expect(protocol);
        assert!(line.contains(" failure=cut"), "{line}");
    }
    assert_eq!(stage.running.counted().read().apps[0].totals.interrupted, 0);
}

#[tokio::test]
async fn an_answer_over_http_2_whose_client_leaves_is_not_cut() {
    let permits = Arc::new(Semaphore::new(0));
    let backend = half(&permits).await;
    let (stage, _) = Stage::of(&[backend.addr]);
    let (mut sender, connection) = http2::connect(stage.addr).await;
    let (response, _) = sender.send_request(http2::request("GET", "/"), true).unwrap();
    let response = http2::within(response).await.unwrap();
    connection.abort();
    drop((sender, response));
    let interrupted = async {
        while stage
            .running
            .counted()
            .read()
            .apps
            .iter()
            .all(|app| app.totals.interrupted == 0)
        {
            tokio::task::yield_now().await;
        }
    };
    http2::within(interrupted).await;
}
