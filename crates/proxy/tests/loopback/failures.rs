//! Backends that fail, and what becomes of the request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use edgeproxy_backend::{Gate, Limits, Signal};
use edgeproxy_proxy::{AppSettings, Config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::asking::{FRONTS, Front};
use crate::backend::{Backend, Reply, ok};
use crate::client::Client;
use crate::http2;
use crate::retries::crowded;
use crate::stage::{Stage, app, config, endpoint, h2c, settings};

#[tokio::test]
async fn connect_refused_before_any_byte_was_sent_is_retried_with_any_method() {
    let (refusing, good) = (Backend::refusing().await, Backend::start(|_, _| ok("good")).await);
    let (stage, endpoints) = Stage::of(&[refusing, good.addr]);
    let mut client = Client::connect(stage.addr).await;
    for _ in 0..4 {
        client
            .write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody")
            .await;
        assert_eq!(client.read().await.body, "good");
        assert_eq!(good.take().body, b"body");
    }
    let (_, failures) = endpoints[0].meter.totals();
    assert!(failures >= 1 && endpoints[1].meter.totals() == (4, 0));
}

#[tokio::test]
async fn five_failures_exclude_at_once_with_exactly_five_attempts_and_no_client_sees_an_error() {
    let bad = Backend::start(|_, _| Reply::Close).await;
    let good = Backend::start(|_, _| ok("good")).await;
    let endpoints = [
        endpoint(1, bad.addr, Limits::NONE),
        endpoint(2, good.addr, Limits::NONE),
    ];
    let mut route = app("app", &endpoints);
    route.settings.max_failures = 5;
    let mut stage = Stage::start(config(), [route]);
    for _ in 0..50 {
        let response = Client::connect(stage.addr).await.get("/").await;
        assert_eq!(response.body, "good");
    }
    assert_eq!(bad.tally().requests, 5);
    assert_eq!(good.tally().requests, 50);
    assert_eq!(endpoints[0].meter.gate(), Gate::Excluded);
    let report = stage.reports.recv().await.unwrap();
    assert_eq!((report.id.as_str(), report.signal), ("b1", Signal::StreakReached));
    assert_eq!(report.epoch, endpoints[0].meter.epoch());
    assert!(stage.reports.try_recv().is_err(), "one streak is reported once");
}

#[tokio::test]
async fn the_last_one_is_kept_as_a_last_resort_unless_told_otherwise() {
    let broken = Arc::new(AtomicBool::new(true));
    let state = Arc::clone(&broken);
    let backend = Backend::start(move |_, _| {
        if state.load(Ordering::Relaxed) {
            Reply::Close
        } else {
            ok("back")
        }
    })
    .await;
    let only = endpoint(1, backend.addr, Limits::NONE);
    let mut route = app("app", std::slice::from_ref(&only));
    (route.settings.max_failures, route.summary) = (2, "1 ejected".to_owned());
    let stage = Stage::start(config(), [route]);
    for _ in 0..4 {
        let response = Client::connect(stage.addr).await.get("/").await;
        assert_eq!(
            response.own(),
            (
                502,
                "no_response",
                "the backend closed the connection without a response"
            )
        );
    }
    assert_eq!(backend.tally().requests, 4, "its own errors, one attempt each");
    assert_eq!(only.meter.gate(), Gate::Excluded);
    broken.store(false, Ordering::Relaxed);
    assert_eq!(Client::connect(stage.addr).await.get("/").await.body, "back");

    let mut eject = app("app", std::slice::from_ref(&only));
    (eject.settings.last_resort, eject.summary) = (false, "1 ejected".to_owned());
    let stage = Stage::start(config(), [eject]);
    let response = Client::connect(stage.addr).await.get("/").await;
    assert_eq!(
        response.own(),
        (
            503,
            "no_backend",
            "no backend of app \\\"app\\\" is routable: 1 ejected"
        )
    );
    assert_eq!(response.one("retry-after"), "1");
}

#[tokio::test]
async fn all_out_is_a_503_that_says_why() {
    let mut route = app("x", &[]);
    route.summary = "2 ejected, 1 draining".to_owned();
    let stage = Stage::start(config(), [route]);
    let response = Client::connect(stage.addr).await.get("/").await;
    assert_eq!(
        response.body,
        "{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\
         \"error\":\"no backend of app \\\"x\\\" is routable: 2 ejected, 1 draining\"}"
    );
    assert_eq!((response.status, response.one("retry-after")), (503, "1"));
}

#[tokio::test]
async fn sent_without_a_response_an_idempotent_request_is_retried_with_its_body_and_another_is_not() {
    let bad = Backend::start(|n, _| if n % 2 == 0 { Reply::Close } else { Reply::Reset }).await;
    let good = Backend::start(|_, _| ok("good")).await;
    // One worker, so that the turns are known: the bad one gets every other request.
    let one_worker = Config {
        workers: 1,
        ..config()
    };
    let (stage, endpoints) = Stage::with(one_worker, &[bad.addr, good.addr]);
    let (mut retried, mut refused) = (0, 0);
    for _ in 0..6 {
        let mut client = Client::connect(stage.addr).await;
        client
            .write("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody")
            .await;
        assert_eq!(client.read().await.body, "good");
        assert_eq!(good.take().body, b"body");
        retried += 1;
        client
            .write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody")
            .await;
        let response = client.read().await;
        if response.status == 502 {
            assert_eq!(response.own().1, "no_response");
            refused += 1;
        } else {
            good.take();
        }
    }
    assert_eq!(retried, 6);
    assert!(refused > 0);
    assert_eq!(
        bad.tally().requests,
        usize::try_from(endpoints[0].meter.totals().1).unwrap()
    );
}

#[tokio::test]
async fn a_body_too_long_to_be_kept_is_not_sent_twice() {
    let bad = Backend::start(|_, _| Reply::Close).await;
    let other = Backend::start(|_, _| Reply::Close).await;
    let (stage, _) = Stage::of(&[bad.addr, other.addr]);
    let mut client = Client::connect(stage.addr).await;
    let body = "x".repeat(70_000);
    client
        .write(format!(
            "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 70000\r\n\r\n{body}"
        ))
        .await;
    assert_eq!(client.read().await.own().1, "no_response");
    assert_eq!(bad.tally().requests + other.tally().requests, 1);
}

#[tokio::test]
async fn a_stale_connection_is_replaced_by_a_fresh_one_if_the_request_can_be_repeated() {
    // Every connection serves one request and is closed on the next.
    let backend = Backend::start(|n, _| if n % 2 == 0 { ok("x") } else { Reply::Close }).await;
    let one_worker = Config {
        workers: 1,
        ..config()
    };
    let (stage, endpoints) = Stage::with(one_worker, &[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    for _ in 0..5 {
        assert_eq!(client.get("/").await.body, "x");
    }
    let tally = backend.tally();
    assert_eq!((tally.connections, tally.requests), (5, 9));
    assert_eq!(
        endpoints[0].meter.totals(),
        (5, 0),
        "the backend has failed nobody"
    );
    client
        .write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
        .await;
    assert_eq!(client.read().await.own().1, "no_response");
    assert_eq!(endpoints[0].meter.totals(), (6, 1));
}

#[tokio::test]
async fn a_malformed_response_is_502_and_a_failure() {
    for garbage in [
        &b"SSH-2.0-OpenSSH_9.6\r\n\r\n"[..],
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\nx",
    ] {
        let backend = Backend::start(move |_, _| Reply::Send(garbage.to_vec())).await;
        let (stage, endpoints) = Stage::of(&[backend.addr]);
        let response = Client::connect(stage.addr).await.get("/").await;
        let name = String::from_utf8_lossy(garbage);
        assert_eq!(
            response.own(),
            (502, "bad_response", "the backend's response is malformed"),
            "{name}"
        );
        assert_eq!(endpoints[0].meter.totals(), (1, 1), "{name}");
        assert_eq!(endpoints[0].meter.in_flight(), 0);
    }
}

#[tokio::test]
async fn a_backend_that_never_answers_is_504() {
    let backend = Backend::start(|_, _| Reply::Hang).await;
    let short = AppSettings {
        response_header_timeout: Duration::from_millis(50),
        ..settings()
    };
    let (stage, endpoints) = Stage::having(config(), short, &[backend.addr]);
    let response = Client::connect(stage.addr).await.get("/").await;
    assert_eq!(
        response.own(),
        (504, "response_timeout", "the backend did not respond in time")
    );
    assert_eq!(endpoints[0].meter.totals(), (1, 1));
    backend.until(|t| t.closed == 1).await;
}

#[tokio::test]
async fn a_refusing_backend_alone_is_502_connect_failed() {
    let (stage, _) = Stage::of(&[Backend::refusing().await]);
    let response = Client::connect(stage.addr).await.get("/").await;
    assert_eq!(
        response.own(),
        (502, "connect_failed", "the backend could not be connected to")
    );
}

#[tokio::test]
async fn a_response_that_breaks_off_breaks_off_the_clients_and_is_no_failure() {
    for half in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"[..],
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let backend = Backend::start(move |_, _| Reply::SendAndClose(half.to_vec())).await;
        let (stage, endpoints) = Stage::of(&[backend.addr]);
        let mut client = Client::connect(stage.addr).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(
            client.try_read(true).await.is_none(),
            "a truncated response must not look whole"
        );
        assert_eq!(endpoints[0].meter.totals(), (1, 0));
        assert_eq!(endpoints[0].meter.in_flight(), 0);
        assert_eq!(
            backend.tally().requests,
            1,
            "a response that has begun is never retried"
        );
    }
}

#[tokio::test]
async fn whoever_leaves_while_a_connection_is_made_gives_its_place_back_and_blames_nobody() {
    let (_socket, addr, _crowd) = crowded().await;
    let patient = AppSettings {
        connect_timeout: Duration::from_secs(60),
        ..settings()
    };
    let one_worker = Config {
        workers: 1,
        ..config()
    };
    for backend in [endpoint(1, addr, Limits::NONE), h2c(1, addr, Limits::NONE)] {
        let mut app = app("app", std::slice::from_ref(&backend));
        app.settings = patient.clone();
        let stage = Stage::start(one_worker.clone(), [app]);
        let place = |taken| {
            let meter = Arc::clone(&backend.meter);
            let moved = async move {
                while (meter.in_flight() > 0) != taken {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(10), moved)
        };
        for request in [
            "GET / HTTP/1.1\r\nhost: app\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 4\r\n\r\nbody",
        ] {
            let mut client = Client::connect(stage.addr).await;
            client.write(request).await;
            place(true).await.unwrap();
            client.stream.set_zero_linger().unwrap();
            drop(client);
            place(false).await.expect(request);
        }
        assert_eq!(backend.meter.totals().1, 0);
        assert_eq!(stage.running.counted().read().apps[0].totals.abandoned, 2);
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_an_answer_gives_its_place_back_and_blames_nobody() {
    let never = Arc::new(Semaphore::new(0));
    let permits = Arc::clone(&never);
    let backend = Backend::start(move |_, _| {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\nbegin".to_vec();
        Reply::Hold(head, Arc::clone(&permits), vec![b'x'; 8 << 20])
    })
    .await;
    let (stage, endpoints) = Stage::of(&[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.head().await.unwrap();
    assert_eq!(endpoints[0].meter.in_flight(), 1);
    drop(client);
    // What the backend sends next finds nobody.
    never.add_permits(1);
    backend.until(|t| t.closed == 1).await;
    assert_eq!(endpoints[0].meter.in_flight(), 0);
    assert_eq!(endpoints[0].meter.totals(), (1, 0));
}

#[tokio::test]
async fn a_truncated_upload_is_never_completed() {
    let backend = Backend::start(|_, _| ok("never")).await;
    let (stage, endpoints) = Stage::of(&[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    client
        .write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf")
        .await;
    backend.until(|t| t.connections == 1).await;
    drop(client);
    backend.until(|t| t.closed == 1).await;
    assert_eq!(backend.tally().requests, 0);
    assert_eq!(
        endpoints[0].meter.totals(),
        (1, 0),
        "the client's fault is nobody else's"
    );
}

#[tokio::test]
async fn a_stalled_upload_is_the_clients_408() {
    let backend = Backend::start(|_, _| ok("never")).await;
    let short = AppSettings {
        response_header_timeout: Duration::from_millis(50),
        ..settings()
    };
    let (stage, endpoints) = Stage::having(config(), short, &[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    client
        .write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf")
        .await;
    assert_eq!(client.read().await.own().1, "request_timeout");
    assert_eq!(endpoints[0].meter.totals(), (1, 0));
}

/// A backend that reads a request's head, says that its body may come or nothing, and never answers.
async fn mute(says: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(says).await.unwrap();
        // Until the proxy closes.
        let _ = stream.read_u8().await;
    });
    addr
}

/// What a client is told that waits to be told to send its body, and then sends none.
async fn withheld(front: Front, addr: SocketAddr, granted: bool) -> (u16, String) {
    match front {
        Front::Http1 => {
            let mut client = Client::connect(addr).await;
            client
                .write("PUT / HTTP/1.1\r\nhost: app\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
                .await;
            if granted {
                assert_eq!(client.head().await.unwrap().status, 100);
            }
            let response = client.read().await;
            (response.status, response.one("x-edgeproxy-error").to_owned())
        }
        Front::Http2 => {
            let (sender, _conn) = http2::connect(addr).await;
            let mut sender = sender.ready().await.unwrap();
            let mut put = http2::request("PUT", "/");
            put.headers_mut().insert("content-length", "4".parse().unwrap());
            put.headers_mut()
                .insert("expect", "100-continue".parse().unwrap());
            let (response, _body) = sender.send_request(put, false).unwrap();
            let response = http2::within(response).await.unwrap();
            let word = response.headers()["x-edgeproxy-error"].to_str().unwrap();
            (response.status().as_u16(), word.to_owned())
        }
    }
}

#[tokio::test]
async fn a_backend_that_does_not_say_whether_a_body_may_come_is_to_blame_and_not_who_waits_for_that() {
    const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    let short = AppSettings {
        response_header_timeout: Duration::from_millis(50),
        ..settings()
    };
    let h2c_mute = http2::Backend::start(|_, _, reply| async move {
        std::future::pending::<()>().await;
        drop(reply);
    })
    .await;
    for front in FRONTS {
        for (backend, granted) in [
            (endpoint(1, mute(b"").await, Limits::NONE), false),
            (endpoint(1, mute(CONTINUE).await, Limits::NONE), true),
            (h2c(1, h2c_mute.addr, Limits::NONE), false),
        ] {
            let mut app = app("app", std::slice::from_ref(&backend));
            app.settings = short.clone();
            let stage = Stage::start(config(), [app]);
            let (expected, failures) = if granted {
                ((408, "request_timeout"), 0)
            } else {
                ((504, "response_timeout"), 1)
            };
            let (status, word) = withheld(front, stage.addr, granted).await;
            let about = format!("{front:?} {:?} {granted}", backend.protocol);
            assert_eq!((status, word.as_str()), expected, "{about}");
            assert_eq!(backend.meter.totals(), (1, failures), "{about}");
        }
    }
}

#[tokio::test]
async fn without_retries_the_first_failure_is_the_answer() {
    let bad = Backend::start(|_, _| Reply::Close).await;
    let also = Backend::start(|_, _| Reply::Close).await;
    let off = AppSettings {
        retry_enabled: false,
        ..settings()
    };
    let (stage, _) = Stage::having(config(), off, &[bad.addr, also.addr]);
    assert_eq!(Client::connect(stage.addr).await.get("/").await.status, 502);
    assert_eq!(bad.tally().requests + also.tally().requests, 1);
}

#[tokio::test]
async fn at_most_three_attempts_are_made() {
    let backends = [
        Backend::start(|_, _| Reply::Close).await,
        Backend::start(|_, _| Reply::Close).await,
        Backend::start(|_, _| Reply::Close).await,
        Backend::start(|_, _| Reply::Close).await,
    ];
    let (stage, _) = Stage::of(&backends.each_ref().map(|backend| backend.addr));
    assert_eq!(Client::connect(stage.addr).await.get("/").await.status, 502);
    let tried: Vec<usize> = backends.iter().map(|backend| backend.tally().requests).collect();
    assert_eq!(tried.iter().sum::<usize>(), 3);
    assert_eq!(
        tried.iter().max(),
        Some(&1),
        "none of them twice while another is there"
    );
}

#[tokio::test]
async fn the_budget_bounds_retries() {
    let bad = Backend::start(|_, _| Reply::Close).await;
    let also = Backend::start(|_, _| Reply::Close).await;
    // Nothing is earned, and one is held.
    let stingy = AppSettings {
        retry_budget_percent: 0,
        retry_budget_per_sec: 0,
        max_attempts: 2,
        ..settings()
    };
    let (stage, _) = Stage::having(config(), stingy, &[bad.addr, also.addr]);
    for _ in 0..3 {
        assert_eq!(Client::connect(stage.addr).await.get("/").await.status, 502);
    }
    assert_eq!(bad.tally().requests + also.tally().requests, 4);
}

#[tokio::test]
async fn a_backend_that_closes_what_it_accepts_is_passed_over() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let closing = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
        }
    });
    let good = Backend::start(|_, _| ok("good")).await;
    let (stage, endpoints) = Stage::of(&[addr, good.addr]);
    for _ in 0..6 {
        assert_eq!(Client::connect(stage.addr).await.get("/").await.body, "good");
    }
    let (requests, failures) = endpoints[0].meter.totals();
    assert!(requests > 0 && requests == failures, "{:?}", endpoints[0].meter);
    closing.abort();
}

#[tokio::test]
async fn a_panic_in_one_request_ends_its_connection_and_nothing_else() {
    struct Bomb;
    impl edgeproxy_proxy::Reporter for Bomb {
        fn report(&self, _: edgeproxy_backend::TrafficReport) {
            panic!("a bug");
        }
    }
    let bad = Backend::start(|n, _| if n == 0 { Reply::Close } else { ok("x") }).await;
    let only = endpoint(1, bad.addr, Limits::NONE);
    let mut route = app("app", std::slice::from_ref(&only));
    route.settings.max_failures = 1;
    let table = edgeproxy_proxy::RouteTable::new(1, [Arc::new(route)], Arc::default());
    let bound = edgeproxy_proxy::bind(Config {
        workers: 1,
        ..config()
    })
    .unwrap();
    let addr = bound.local_addr();
    let running = bound
        .spawn(Arc::new(arc_swap::ArcSwap::from_pointee(table)), Arc::new(Bomb))
        .unwrap();
    let mut client = Client::connect(addr).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(client.end().await.is_empty());
    assert_eq!(only.meter.in_flight(), 0);
    assert_eq!(
        Client::connect(addr).await.get("/").await.body,
        "x",
        "the worker goes on"
    );
    drop(running);
}
