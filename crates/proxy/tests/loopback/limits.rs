//! What is bounded: requests at a backend, connections, time.

use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::Limits;
use edgeproxy_proxy::{AppSettings, Config, Queue};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::backend::{Backend, Reply, ok};
use crate::client::Client;
use crate::http2;
use crate::stage::{Stage, app, config, endpoint, settings};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hard_limit_is_never_exceeded_by_64_clients_on_two_workers() {
    let limits = Limits::new(2, 5).unwrap();
    let backends = [
        Backend::start(|_, _| ok("x")).await,
        Backend::start(|_, _| ok("x")).await,
    ];
    let endpoints = [
        endpoint(1, backends[0].addr, limits),
        endpoint(2, backends[1].addr, limits),
    ];
    let stage = Stage::start(config(), [app("app", &endpoints)]);
    let mut clients = JoinSet::new();
    for _ in 0..64 {
        let addr = stage.addr;
        clients.spawn(async move {
            let mut client = Client::connect(addr).await;
            let (mut served, mut full) = (0, 0);
            for _ in 0..50 {
                let response = client.get("/").await;
                match response.status {
                    200 => served += 1,
                    _ => {
                        assert_eq!(response.own().1, "backends_full");
                        assert_eq!(response.one("retry-after"), "1");
                        full += 1;
                    }
                }
            }
            (served, full)
        });
    }
    let outcomes = clients.join_all().await;
    let served: usize = outcomes.iter().map(|(served, _)| served).sum();
    assert!(served > 0);
    for (backend, endpoint) in backends.iter().zip(&endpoints) {
        let tally = backend.tally();
        assert!(tally.peak <= 5, "{tally:?}");
        assert_eq!(endpoint.meter.in_flight(), 0);
    }
    assert_eq!(
        backends
            .iter()
            .map(|backend| backend.tally().requests)
            .sum::<usize>(),
        served
    );
}

#[tokio::test]
async fn all_full_is_a_503_at_once() {
    let permits = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&permits);
    let backend = Backend::start(move |_, _| Reply::Hold(Vec::new(), Arc::clone(&held), OK.to_vec())).await;
    let endpoint = endpoint(1, backend.addr, Limits::new(1, 1).unwrap());
    let stage = Stage::start(config(), [app("app", std::slice::from_ref(&endpoint))]);
    let mut first = Client::connect(stage.addr).await;
    first.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    backend.until(|t| t.in_flight == 1).await;
    let response = Client::connect(stage.addr).await.get("/").await;
    assert_eq!(
        response.own(),
        (
            503,
            "backends_full",
            "every routable backend of app \\\"app\\\" is at its hard limit"
        )
    );
    permits.add_permits(1);
    assert_eq!(first.read().await.status, 200);
}

/// A backend with one place, an answer of which needs a permit, and room for one to wait.
async fn one_place(queue_timeout: Duration, permits: &Arc<Semaphore>) -> (Stage, Backend) {
    let held = Arc::clone(permits);
    let backend = Backend::start(move |_, _| Reply::Hold(Vec::new(), Arc::clone(&held), OK.to_vec())).await;
    let endpoint = endpoint(1, backend.addr, Limits::new(1, 1).unwrap());
    let mut app = app("app", &[endpoint]);
    (app.settings.queue_max, app.settings.queue_timeout) = (1, queue_timeout);
    (Stage::start(config(), [app]), backend)
}

#[tokio::test]
async fn a_request_waits_in_the_queue_until_a_place_is_given_back_and_the_next_is_refused() {
    let permits = Arc::new(Semaphore::new(0));
    let (stage, backend) = one_place(Duration::from_secs(10), &permits).await;
    let queue = Arc::clone(&stage.table.load().apps().next().unwrap().queue);
    let mut clients = Vec::new();
    for waiting in 0..2 {
        let mut client = Client::connect(stage.addr).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        backend.until(|t| t.in_flight == 1).await;
        while queue.len() < waiting {
            tokio::task::yield_now().await;
        }
        clients.push(client);
    }
    let refused = Client::connect(stage.addr).await.get("/").await;
    assert_eq!((refused.own().0, refused.own().1), (503, "backends_full"));
    for client in &mut clients {
        permits.add_permits(1);
        assert_eq!(client.read().await.status, 200);
    }
    assert_eq!(backend.tally().requests, 2);
    assert!(queue.is_empty());
}

#[tokio::test]
async fn whoever_leaves_while_its_whole_request_waits_gives_its_place_in_the_queue_up() {
    let permits = Arc::new(Semaphore::new(0));
    let (stage, backend) = one_place(Duration::from_secs(60), &permits).await;
    let queue = Arc::clone(&stage.table.load().apps().next().unwrap().queue);
    let mut first = Client::connect(stage.addr).await;
    first.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    backend.until(|t| t.in_flight == 1).await;
    for request in [
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    ] {
        let mut leaves = Client::connect(stage.addr).await;
        leaves.write(request).await;
        while queue.is_empty() {
            tokio::task::yield_now().await;
        }
        leaves.stream.set_zero_linger().unwrap();
        drop(leaves);
        let left = async {
            while !queue.is_empty() {
                tokio::task::yield_now().await;
            }
        };
        let left = tokio::time::timeout(Duration::from_secs(10), left).await;
        left.unwrap_or_else(|_| panic!("it still waits: {request}"));
    }
    permits.add_permits(1);
    assert_eq!(first.read().await.status, 200);
    assert_eq!(backend.tally().requests, 1, "nobody was served who had left");
}

#[tokio::test]
async fn a_request_that_waited_too_long_is_503() {
    let permits = Arc::new(Semaphore::new(0));
    let (stage, backend) = one_place(Duration::from_millis(100), &permits).await;
    let queue = Arc::clone(&stage.table.load().apps().next().unwrap().queue);
    let mut first = Client::connect(stage.addr).await;
    first.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    backend.until(|t| t.in_flight == 1).await;
    let late = Client::connect(stage.addr).await.get("/").await;
    assert_eq!((late.own().0, late.own().1), (503, "queue_timeout"));
    assert_eq!(late.one("retry-after"), "1");
    assert!(queue.is_empty());
    permits.add_permits(1);
    assert_eq!(first.read().await.status, 200);
}

/// A backend that refuses connections, and one with one place, an answer of which needs a permit.
async fn one_refusing_and_one_place(permits: &Arc<Semaphore>) -> (Stage, Backend, Arc<Queue>) {
    let held = Arc::clone(permits);
    let backend = Backend::start(move |_, _| Reply::Hold(Vec::new(), Arc::clone(&held), OK.to_vec())).await;
    let endpoints = [
        endpoint(1, Backend::refusing().await, Limits::new(0, 0).unwrap()),
        endpoint(2, backend.addr, Limits::new(1, 1).unwrap()),
    ];
    let mut app = app("app", &endpoints);
    app.settings.queue_max = 8;
    let queue = Arc::clone(&app.queue);
    (Stage::start(config(), [app]), backend, queue)
}

#[tokio::test]
async fn a_retry_that_finds_the_others_full_waits_for_one_of_them() {
    let permits = Arc::new(Semaphore::new(0));
    let (stage, backend, queue) = one_refusing_and_one_place(&permits).await;
    let mut clients = Vec::new();
    for waiting in 0..3 {
        let mut client = Client::connect(stage.addr).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        while backend.tally().in_flight < 1 || queue.len() < waiting {
            tokio::task::yield_now().await;
        }
        clients.push(client);
    }
    // Who joined last may still be trying, and then goes first.
    permits.add_permits(3);
    for client in &mut clients {
        assert_eq!(client.read().await.status, 200);
    }
    assert_eq!(backend.tally().peak, 1);
    assert!(queue.is_empty());
}

/// One backend with one place, which fails its first request. It answers as it gets permits.
struct Narrow {
    permits: Arc<Semaphore>,
    backend: Backend,
    stage: Stage,
    queue: Arc<Queue>,
}

impl Narrow {
    async fn start() -> Self {
        let permits = Arc::new(Semaphore::new(0));
        let held = Arc::clone(&permits);
        // The first is told nothing: what was begun of its answer is no answer.
        let backend = Backend::start(move |number, _| match number {
            0 => Reply::Hold(Vec::new(), Arc::clone(&held), b"nonsense\r\n\r\n".to_vec()),
            _ => Reply::Hold(Vec::new(), Arc::clone(&held), OK.to_vec()),
        })
        .await;
        let mut app = app("app", &[endpoint(1, backend.addr, Limits::new(1, 1).unwrap())]);
        (app.settings.queue_max, app.settings.queue_timeout) = (8, Duration::from_secs(30));
        let queue = Arc::clone(&app.queue);
        let stage = Stage::start(config(), [app]);
        Self {
            permits,
            backend,
            stage,
            queue,
        }
    }

    async fn waits(&self, requests: usize, waiting: usize) {
        self.backend
            .until(|t| t.requests == requests && t.in_flight == 1)
            .await;
        while self.queue.len() != waiting {
            tokio::task::yield_now().await;
        }
    }
}

/// A request that waits for the one backend, which has failed it, gets its turn when there is room, and can't use it.
#[tokio::test]
async fn a_retry_that_can_t_use_the_room_leaves_its_turn_to_the_next_in_line() {
    let narrow = Narrow::start().await;
    let (stage, permits) = (&narrow.stage, &narrow.permits);
    let send = async || {
        let mut client = Client::connect(stage.addr).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        client
    };
    let mut failed = send().await;
    narrow.waits(1, 0).await;
    let mut second = send().await;
    narrow.waits(1, 1).await;
    // It fails, gives its place to the second, and waits as a retry.
    permits.add_permits(1);
    narrow.waits(2, 1).await;
    let mut last = send().await;
    narrow.waits(2, 2).await;
    permits.add_permits(1);
    assert_eq!(second.read().await.status, 200);
    assert_eq!(failed.read().await.status, 502);
    permits.add_permits(1);
    assert_eq!(last.read().await.status, 200);
    assert!(narrow.queue.is_empty());
}

#[tokio::test]
async fn a_retry_by_http2_that_can_t_use_the_room_leaves_its_turn_to_the_next_in_line() {
    let narrow = Narrow::start().await;
    let (mut sender, _conn) = http2::connect(narrow.stage.addr).await;
    let mut responses = Vec::new();
    // The first fails, gives its place to the second, and waits as a retry; the third comes behind it.
    for (requests, waiting) in [(1, 0), (1, 1), (2, 2)] {
        sender = http2::within(sender.ready()).await.unwrap();
        responses.push(sender.send_request(http2::request("GET", "/"), true).unwrap().0);
        if responses.len() == 2 {
            narrow.waits(1, 1).await;
            narrow.permits.add_permits(1);
            narrow.waits(2, 1).await;
        } else {
            narrow.waits(requests, waiting).await;
        }
    }
    let mut told = Vec::new();
    narrow.permits.add_permits(2);
    for response in responses {
        let response = http2::whole(http2::within(response).await.unwrap()).await;
        told.push(response.unwrap().status);
    }
    assert_eq!(told, [502, 200, 200]);
    assert!(narrow.queue.is_empty());
}

#[tokio::test]
async fn a_retry_by_http2_that_finds_the_others_full_waits_for_one_of_them() {
    let permits = Arc::new(Semaphore::new(0));
    let (stage, backend, queue) = one_refusing_and_one_place(&permits).await;
    let (mut sender, _conn) = http2::connect(stage.addr).await;
    let mut responses = Vec::new();
    for waiting in 0..3 {
        sender = http2::within(sender.ready()).await.unwrap();
        responses.push(sender.send_request(http2::request("GET", "/"), true).unwrap().0);
        while backend.tally().in_flight < 1 || queue.len() < waiting {
            tokio::task::yield_now().await;
        }
    }
    permits.add_permits(3);
    for response in responses {
        let response = http2::whole(http2::within(response).await.unwrap()).await;
        assert_eq!(response.unwrap().status, 200);
    }
    assert_eq!(backend.tally().peak, 1);
    assert!(queue.is_empty());
}

#[tokio::test]
async fn a_retry_by_http2_that_waits_too_long_is_told_so() {
    let never = Arc::new(Semaphore::new(0));
    let backend = Backend::start(move |_, _| Reply::Hold(Vec::new(), Arc::clone(&never), OK.to_vec())).await;
    let endpoints = [
        endpoint(1, Backend::refusing().await, Limits::new(0, 0).unwrap()),
        endpoint(2, backend.addr, Limits::new(1, 1).unwrap()),
    ];
    let mut app = app("app", &endpoints);
    (app.settings.queue_max, app.settings.queue_timeout) = (8, Duration::from_millis(50));
    let queue = Arc::clone(&app.queue);
    let stage = Stage::start(config(), [app]);
    let (mut sender, _conn) = http2::connect(stage.addr).await;
    let (_held, _) = sender.send_request(http2::request("GET", "/"), true).unwrap();
    backend.until(|t| t.in_flight == 1).await;
    let told = http2::get(&sender, "/").await;
    assert_eq!(told.own(), (503, "queue_timeout"));
    assert!(queue.is_empty());
    assert_eq!(endpoints[0].meter.in_flight(), 0);
}

#[tokio::test]
async fn a_full_worker_accepts_no_more_until_a_connection_ends() {
    let backend = Backend::start(|_, _| ok("x")).await;
    let one = Config {
        workers: 1,
        max_connections: 1,
        ..config()
    };
    let (stage, _) = Stage::with(one, &[backend.addr]);
    let mut first = Client::connect(stage.addr).await;
    assert_eq!(first.get("/").await.status, 200);
    let mut second = Client::connect(stage.addr).await;
    second.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    for _ in 0..20 {
        assert_eq!(first.get("/").await.status, 200);
    }
    assert_eq!(backend.tally().requests, 21, "the second waits in the backlog");
    drop(first);
    assert_eq!(second.read().await.status, 200);
}

/// Its slot is free with its answer; only the system hears of what it sends all the same.
#[tokio::test]
async fn a_client_that_says_that_it_ends_its_connection_is_not_waited_for() {
    let backend = Backend::start(|_, _| ok("x")).await;
    let (stage, _) = Stage::of(&[backend.addr]);
    for last in ["HTTP/1.1\r\nconnection: close", "HTTP/1.0"] {
        let mut client = Client::connect(stage.addr).await;
        client.write(format!("GET / {last}\r\nhost: a\r\n\r\n")).await;
        assert_eq!(client.read().await.status, 200, "{last}");
        assert_eq!(client.end().await, b"", "{last}");
        client.write("late").await;
        let reset = client.stream.ready(Interest::ERROR);
        let reset = tokio::time::timeout(Duration::from_secs(10), reset).await;
        reset.expect("what comes late is still taken").unwrap();
    }
}

/// As an old client does that ends its body in an empty line: closing on what it sends could lose the answer.
#[tokio::test]
async fn one_that_sends_more_all_the_same_is_listened_to() {
    let backend = Backend::start(|_, _| ok("x")).await;
    let one = Config {
        workers: 1,
        max_connections: 1,
        ..config()
    };
    let (stage, _) = Stage::with(one, &[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    let request = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx\r\n";
    client.write(request).await;
    assert_eq!(client.read().await.status, 200);
    assert_eq!(client.end().await, b"");
    client.write("late").await;
    client.stream.shutdown().await.unwrap();
    let mut next = Client::connect(stage.addr).await;
    assert_eq!(next.get("/").await.status, 200, "the slot is free");
    assert!(client.stream.take_error().unwrap().is_none());
}

#[tokio::test]
async fn a_slow_head_is_408_and_closed() {
    let backend = Backend::start(|_, _| ok("x")).await;
    let short = Config {
        header_timeout: Duration::from_millis(50),
        ..config()
    };
    let (stage, _) = Stage::with(short, &[backend.addr]);
    for begin in ["P", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nhost: a\r\nx:"] {
        let mut client = Client::connect(stage.addr).await;
        client.write(begin).await;
        let response = client.read().await;
        assert_eq!(
            response.own(),
            (
                408,
                "request_timeout",
                "the request's head did not arrive in time"
            ),
            "{begin}"
        );
        assert!(client.end().await.is_empty());
    }
    let mut client = Client::connect(stage.addr).await;
    assert_eq!(client.get("/").await.status, 200);
    client.write("GET /").await;
    assert_eq!(client.read().await.status, 408, "on a kept connection too");
}

#[tokio::test]
async fn an_idle_connection_is_closed_without_a_word() {
    let backend = Backend::start(|_, _| ok("x")).await;
    let short = Config {
        idle_timeout: Duration::from_millis(50),
        ..config()
    };
    let (stage, _) = Stage::with(short, &[backend.addr]);
    let mut silent = Client::connect(stage.addr).await;
    assert!(silent.end().await.is_empty());
    let mut kept = Client::connect(stage.addr).await;
    assert_eq!(kept.get("/").await.status, 200);
    assert!(kept.end().await.is_empty());
}

#[tokio::test]
async fn an_idle_connection_to_a_backend_is_closed_after_its_time() {
    let backend = Backend::start(|_, _| ok("x")).await;
    let short = Config {
        pool_idle_timeout: Duration::from_millis(50),
        ..config()
    };
    let (stage, _) = Stage::with(short, &[backend.addr]);
    assert_eq!(Client::connect(stage.addr).await.get("/").await.status, 200);
    backend.until(|t| t.closed == 1).await;
}

#[tokio::test]
async fn a_body_above_the_limit_is_413_with_and_without_a_length() {
    let backend = Backend::start(|_, _| ok("x")).await;
    let small = AppSettings {
        max_body_bytes: Some(4),
        ..settings()
    };
    let (stage, endpoints) = Stage::having(config(), small, &[backend.addr]);
    for request in [
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        let mut client = Client::connect(stage.addr).await;
        client.write(request).await;
        assert_eq!(
            client.read().await.own(),
            (413, "body_too_large", "the request's body is longer than 4 bytes")
        );
    }
    assert_eq!(endpoints[0].meter.totals().1, 0);
    assert_eq!(backend.tally().requests, 0, "none of it came through whole");
}
