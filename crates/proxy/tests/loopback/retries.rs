//! What is tried again, and what counts as a failure, row by row, by both versions of HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::{Endpoint, Gate, Limits, Signal};
use edgeproxy_proxy::{AppSettings, Config, Statuses};
use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;

use crate::asking::{Answering, Ask, BACKS, Back, FRONTS, Front, GET, ask, try_ask};
use crate::backend::{Backend, Reply, ok};
use crate::client::Client;
use crate::http2;
use crate::stage::{Stage, app, config, endpoint, settings};

const PUT: Ask<'static> = Ask {
    method: "PUT",
    body: b"body",
    ..GET
};
const POST: Ask<'static> = Ask {
    method: "POST",
    ..PUT
};
const SMALL: &[u8] = b"small";
const LARGE: &[u8] = &[b'x'; 70_000];

/// So that the turns are known.
fn one_worker() -> Config {
    Config {
        workers: 1,
        ..config()
    }
}

/// One retry and no more: with two backends a third attempt would go to the first of them again.
fn twice() -> AppSettings {
    AppSettings {
        max_attempts: 2,
        ..settings()
    }
}

fn unhealthy(statuses: &[u16]) -> AppSettings {
    AppSettings {
        unhealthy_responses: statuses.iter().map(|status| *status..=*status).collect(),
        ..twice()
    }
}

fn stage(settings: AppSettings, endpoints: &[Arc<Endpoint>]) -> Stage {
    let mut app = app("app", endpoints);
    app.settings = settings;
    Stage::start(one_worker(), [app])
}

/// Two backends that close every connection on its first request.
async fn closing() -> ([Backend; 2], Vec<Arc<Endpoint>>) {
    let backends = [
        Backend::start(|_, _| Reply::Close).await,
        Backend::start(|_, _| Reply::Close).await,
    ];
    let endpoints = (1..)
        .zip(&backends)
        .map(|(n, backend)| endpoint(n, backend.addr, Limits::NONE));
    let endpoints = endpoints.collect();
    (backends, endpoints)
}

/// How often a request is sent that nobody answers.
async fn sent(front: Front, settings: AppSettings, asked: &Ask<'_>) -> usize {
    let (backends, endpoints) = closing().await;
    let stage = stage(settings, &endpoints);
    let told = ask(front, stage.addr, asked).await;
    assert_eq!(told.own(), (502, "no_response"), "{front:?}");
    backends.iter().map(|backend| backend.tally().requests).sum()
}

#[tokio::test]
async fn connect_refused_is_retried_with_any_method() {
    for front in FRONTS {
        let good = Backend::start(|_, _| ok("good")).await;
        let (stage, endpoints) = Stage::with(one_worker(), &[Backend::refusing().await, good.addr]);
        for _ in 0..4 {
            assert_eq!(ask(front, stage.addr, &POST).await.body, "good", "{front:?}");
            assert_eq!(good.take().body, b"body");
        }
        assert!(endpoints[0].meter.totals().1 > 0, "{front:?}");
    }
}

/// An address that answers no SYN: as many connections as it holds are there, and nobody accepts them.
pub(crate) async fn crowded() -> (Socket, SocketAddr, Vec<TcpStream>) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    socket.listen(0).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    let mut crowd = Vec::new();
    while let Ok(connected) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(addr)).await
    {
        crowd.push(connected.unwrap());
    }
    (socket, addr, crowd)
}

#[tokio::test]
async fn connect_timed_out_is_retried_with_any_method() {
    let (_socket, addr, _crowd) = crowded().await;
    for front in FRONTS {
        let good = Backend::start(|_, _| ok("good")).await;
        let hurried = AppSettings {
            connect_timeout: Duration::from_millis(50),
            ..settings()
        };
        let (stage, endpoints) = Stage::having(one_worker(), hurried, &[addr, good.addr]);
        for _ in 0..2 {
            assert_eq!(ask(front, stage.addr, &POST).await.body, "good", "{front:?}");
        }
        let (requests, failures) = endpoints[0].meter.totals();
        assert!(requests > 0 && requests == failures, "{front:?}");
    }
}

#[tokio::test]
async fn a_kept_connection_closed_before_the_first_byte_is_replaced_once_if_the_request_can_be_repeated() {
    for front in FRONTS {
        // Every connection serves one request and is closed on the next.
        let backend = Backend::start(|n, _| if n % 2 == 0 { ok("x") } else { Reply::Close }).await;
        let (stage, endpoints) = Stage::with(one_worker(), &[backend.addr]);
        for _ in 0..3 {
            assert_eq!(ask(front, stage.addr, &PUT).await.body, "x", "{front:?}");
        }
        assert_eq!(
            (backend.tally().connections, backend.tally().requests),
            (3, 5),
            "{front:?}"
        );
        assert_eq!(
            endpoints[0].meter.totals(),
            (3, 0),
            "{front:?}: it has failed nobody"
        );
        assert_eq!(
            ask(front, stage.addr, &POST).await.own(),
            (502, "no_response"),
            "{front:?}"
        );
    }
}

#[tokio::test]
async fn a_kept_connection_is_replaced_by_one_fresh_one_and_not_by_more() {
    for front in FRONTS {
        let backend = Backend::start(|n, _| if n == 0 { ok("x") } else { Reply::Close }).await;
        let (stage, _) = Stage::with(one_worker(), &[backend.addr]);
        assert_eq!(ask(front, stage.addr, &GET).await.body, "x");
        assert_eq!(
            ask(front, stage.addr, &GET).await.own(),
            (502, "no_response"),
            "{front:?}"
        );
        assert_eq!(
            (backend.tally().connections, backend.tally().requests),
            (2, 3),
            "{front:?}"
        );
    }
}

#[tokio::test]
async fn a_kept_connection_closed_behind_an_interim_response_is_not_replaced() {
    let hint = "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n";
    for front in FRONTS {
        let backend = Backend::start(move |n, _| match n {
            1 => Reply::SendAndClose(hint.into()),
            _ => ok("x"),
        })
        .await;
        let (stage, endpoints) = Stage::with(one_worker(), &[backend.addr]);
        assert_eq!(ask(front, stage.addr, &GET).await.body, "x", "{front:?}");
        match front {
            Front::Http1 => {
                let mut client = Client::connect(stage.addr).await;
                client.write("GET / HTTP/1.1\r\nhost: app\r\n\r\n").await;
                assert_eq!(client.head().await.unwrap().status, 103);
                assert_eq!(client.read().await.own().1, "no_response");
            }
            Front::Http2 => {
                let told = ask(front, stage.addr, &GET).await;
                assert_eq!(told.own(), (502, "no_response"));
            }
        }
        assert_eq!(backend.tally().requests, 2, "{front:?}");
        assert_eq!(endpoints[0].meter.totals(), (2, 1), "{front:?}");
    }
}

#[tokio::test]
async fn sent_without_a_response_is_retried_if_idempotent_and_the_body_is_empty_or_within_replay_max() {
    for front in FRONTS {
        let with = |body| Ask { body, ..PUT };
        assert_eq!(sent(front, twice(), &GET).await, 2, "{front:?}");
        assert_eq!(sent(front, twice(), &with(SMALL)).await, 2, "{front:?}");
        assert_eq!(sent(front, twice(), &with(LARGE)).await, 1, "{front:?}");
        let all = AppSettings {
            replay_max_bytes: 2 * LARGE.len(),
            ..twice()
        };
        assert_eq!(sent(front, all, &with(LARGE)).await, 2, "{front:?}");
        let none = AppSettings {
            replay_max_bytes: 0,
            ..twice()
        };
        assert_eq!(sent(front, none, &with(SMALL)).await, 1, "{front:?}");
    }
}

#[tokio::test]
async fn sent_without_a_response_and_not_idempotent_is_not_retried_unless_retry_non_idempotent() {
    for front in FRONTS {
        assert_eq!(sent(front, twice(), &POST).await, 1, "{front:?}");
        let repeating = AppSettings {
            retry_non_idempotent: true,
            ..twice()
        };
        assert_eq!(sent(front, repeating, &POST).await, 2, "{front:?}");
    }
}

#[tokio::test]
async fn a_response_in_unhealthy_responses_is_retried_under_the_same_conditions() {
    for (front, back) in FRONTS
        .into_iter()
        .flat_map(|front| BACKS.map(|back| (front, back)))
    {
        let answering = || Answering::start(back, |_, _| (503, "busy".to_owned()));
        for (having, asked, expected) in [
            (unhealthy(&[503]), GET, 2),
            (unhealthy(&[503]), PUT, 2),
            (unhealthy(&[503]), POST, 1),
            (unhealthy(&[500, 502]), GET, 1),
            (twice(), GET, 1),
            (unhealthy(&[503]), Ask { body: LARGE, ..PUT }, 1),
            (
                AppSettings {
                    retry_enabled: false,
                    ..unhealthy(&[503])
                },
                GET,
                1,
            ),
            (
                AppSettings {
                    retry_non_idempotent: true,
                    ..unhealthy(&[503])
                },
                POST,
                2,
            ),
        ] {
            let backends = [answering().await, answering().await];
            let endpoints = [backends[0].endpoint(1), backends[1].endpoint(2)];
            let counts = having.unhealthy_responses.contains(503);
            let stage = stage(having, &endpoints);
            let told = ask(front, stage.addr, &asked).await;
            // No retry is left, so the response itself is passed on.
            assert_eq!(
                (told.status, &*told.word, &*told.body),
                (503, "", "busy"),
                "{front:?} {back:?}"
            );
            let requests = backends[0].requests() + backends[1].requests();
            assert_eq!(requests, expected, "{front:?} {back:?} {}", asked.method);
            let failures = endpoints[0].meter.totals().1 + endpoints[1].meter.totals().1;
            assert_eq!(
                failures,
                if counts { expected as u64 } else { 0 },
                "{front:?} {back:?}"
            );
            assert_eq!(endpoints[0].meter.in_flight() + endpoints[1].meter.in_flight(), 0);
        }
    }
}

#[tokio::test]
async fn an_unhealthy_response_is_thrown_away_and_its_connection_serves_on() {
    for (front, back) in FRONTS
        .into_iter()
        .flat_map(|front| BACKS.map(|back| (front, back)))
    {
        let bad = Answering::start(back, |_, _| (503, "busy".to_owned())).await;
        let good = Answering::start(back, |_, _| (200, "good".to_owned())).await;
        let endpoints = [bad.endpoint(1), good.endpoint(2)];
        let stage = stage(unhealthy(&[503]), &endpoints);
        for _ in 0..8 {
            let told = ask(front, stage.addr, &PUT).await;
            assert_eq!((told.status, &*told.body), (200, "good"), "{front:?} {back:?}");
        }
        let tried = bad.requests() as u64;
        assert!(tried > 1 && good.requests() == 8, "{front:?} {back:?}: {tried}");
        assert_eq!(endpoints[0].meter.totals(), (tried, tried), "{front:?} {back:?}");
        assert_eq!(endpoints[1].meter.totals(), (8, 0), "{front:?} {back:?}");
        assert_eq!(good.connections(), 1, "{front:?} {back:?}");
        assert_eq!(bad.connections(), 1, "{front:?} {back:?}");
    }
}

#[tokio::test]
async fn an_unhealthy_response_of_which_more_is_to_come_never_becomes_a_part_of_another() {
    for front in FRONTS {
        for rest in [
            "HTTP/1.1 503 X\r\ncontent-length: 900000\r\n\r\nbegun",
            "HTTP/1.1 503 X\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegun\r\n",
            "HTTP/1.1 503 X\r\ncontent-length: 1\r\n\r\nx and more",
            "HTTP/1.1 503 X\r\nconnection: close\r\n\r\nuntil the end",
        ] {
            let bad = Backend::start(move |_, _| Reply::Send(rest.as_bytes().to_vec())).await;
            let good = Backend::start(|_, _| ok("good")).await;
            let (stage, _) = Stage::having(one_worker(), unhealthy(&[503]), &[bad.addr, good.addr]);
            for _ in 0..4 {
                assert_eq!(
                    ask(front, stage.addr, &GET).await.body,
                    "good",
                    "{front:?} {rest}"
                );
            }
            bad.until(|t| t.requests > 1 && t.closed == t.requests).await;
        }
    }
}

#[tokio::test]
async fn unhealthy_responses_in_a_row_exclude_a_backend_at_max_failures() {
    for (front, back) in FRONTS
        .into_iter()
        .flat_map(|front| BACKS.map(|back| (front, back)))
    {
        let bad = Answering::start(back, |_, _| (500, "broken".to_owned())).await;
        let good = Answering::start(back, |_, _| (200, "good".to_owned())).await;
        let endpoints = [bad.endpoint(1), good.endpoint(2)];
        let counting = AppSettings {
            max_failures: 3,
            ..unhealthy(&[500])
        };
        let mut stage = stage(counting, &endpoints);
        for _ in 0..10 {
            assert_eq!(
                ask(front, stage.addr, &GET).await.body,
                "good",
                "{front:?} {back:?}"
            );
        }
        assert_eq!(bad.requests(), 3, "{front:?} {back:?}");
        assert_eq!(endpoints[0].meter.gate(), Gate::Excluded);
        let report = stage.reports.recv().await.unwrap();
        assert_eq!((report.id.as_str(), report.signal), ("b1", Signal::StreakReached));
    }
}

#[tokio::test]
async fn an_unhealthy_status_of_a_grpc_call_counts_and_is_passed_on() {
    let call = Ask {
        method: "POST",
        path: "/a.B/C",
        fields: &[("content-type", "application/grpc")],
        body: b"\0\0\0\0\0",
        ..GET
    };
    for back in BACKS {
        let backends = [
            Answering::start(back, |_, _| (503, "busy".to_owned())).await,
            Answering::start(back, |_, _| (503, "busy".to_owned())).await,
        ];
        let endpoints = [backends[0].endpoint(1), backends[1].endpoint(2)];
        let stage = stage(unhealthy(&[503]), &endpoints);
        let told = ask(Front::Http2, stage.addr, &call).await;
        assert_eq!(
            (told.status, &*told.word, &*told.body),
            (503, "", "busy"),
            "{back:?}"
        );
        assert_eq!(backends[0].requests() + backends[1].requests(), 1, "{back:?}");
        let failures = endpoints[0].meter.totals().1 + endpoints[1].meter.totals().1;
        assert_eq!(failures, 1, "{back:?}");
    }
}

#[tokio::test]
async fn interim_responses_don_t_count_whatever_is_listed() {
    let early = "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx";
    let backend = Backend::start(move |_, _| Reply::Send(early.as_bytes().to_vec())).await;
    let all: Statuses = std::iter::once(100..=199).collect();
    let listed = AppSettings {
        unhealthy_responses: all,
        ..settings()
    };
    let (stage, endpoints) = Stage::having(one_worker(), listed, &[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().status, 103);
    assert_eq!(client.read().await.status, 200);
    let (sender, _conn) = http2::connect(stage.addr).await;
    assert_eq!(http2::get(&sender, "/").await.status, 200);
    assert_eq!(endpoints[0].meter.totals(), (2, 0));
}

#[tokio::test]
async fn a_response_that_has_begun_is_never_retried_and_the_client_sees_it_truncated() {
    for front in FRONTS {
        let half = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf";
        let bad = || Backend::start(move |_, _| Reply::SendAndClose(half.as_bytes().to_vec()));
        let backends = [bad().await, bad().await];
        let (stage, endpoints) = Stage::with(one_worker(), &backends.each_ref().map(|backend| backend.addr));
        assert_eq!(try_ask(front, stage.addr, &GET).await, None, "{front:?}");
        assert_eq!(
            backends[0].tally().requests + backends[1].tally().requests,
            1,
            "{front:?}"
        );
        let failures = endpoints[0].meter.totals().1 + endpoints[1].meter.totals().1;
        assert_eq!(failures, 0, "{front:?}: a response of any status is a success");
    }
}

#[tokio::test]
async fn at_most_max_attempts_are_made_and_none_twice_on_one_while_another_is_there() {
    for front in FRONTS {
        for max_attempts in [1, 2, 3, 4] {
            let mut backends = Vec::new();
            for _ in 0..4 {
                backends.push(Backend::start(|_, _| Reply::Close).await);
            }
            let addrs: Vec<SocketAddr> = backends.iter().map(|backend| backend.addr).collect();
            let bounded = AppSettings {
                max_attempts,
                ..settings()
            };
            let (stage, _) = Stage::having(one_worker(), bounded, &addrs);
            assert_eq!(ask(front, stage.addr, &GET).await.status, 502);
            let tried: Vec<usize> = backends.iter().map(|backend| backend.tally().requests).collect();
            assert_eq!(
                tried.iter().sum::<usize>(),
                max_attempts as usize,
                "{front:?} {tried:?}"
            );
            assert_eq!(tried.iter().max(), Some(&1), "{front:?} {tried:?}");
        }
    }
}

#[tokio::test]
async fn with_one_backend_only_there_is_nothing_to_retry_on() {
    for front in FRONTS {
        let bad = Backend::start(|_, _| Reply::Close).await;
        let (stage, _) = Stage::with(one_worker(), &[bad.addr]);
        assert_eq!(ask(front, stage.addr, &GET).await.own(), (502, "no_response"));
        assert_eq!(bad.tally().requests, 1, "{front:?}");
        let busy = Answering::start(Back::Http1, |_, _| (503, "busy".to_owned())).await;
        let stage = stage_of(&busy);
        assert_eq!(ask(front, stage.addr, &GET).await.body, "busy", "{front:?}");
        assert_eq!(busy.requests(), 1, "{front:?}");
    }
}

fn stage_of(answering: &Answering) -> Stage {
    stage(unhealthy(&[503]), &[answering.endpoint(1)])
}

#[tokio::test]
async fn the_budget_of_an_app_bounds_its_retries_and_no_others() {
    for front in FRONTS {
        let (backends, endpoints) = closing().await;
        // One token is held, and each request brings a fifth of another.
        let stingy = AppSettings {
            retry_budget_per_sec: 0,
            ..twice()
        };
        let mut one = app("one", &endpoints);
        one.settings = stingy.clone();
        let (others, endpoints) = closing().await;
        let mut other = app("other", &endpoints);
        other.settings = stingy;
        let stage = Stage::start(config(), [one, other]);
        let to = |host| Ask { host, ..GET };
        for _ in 0..20 {
            assert_eq!(ask(front, stage.addr, &to("one")).await.status, 502);
        }
        let requests: usize = backends.iter().map(|backend| backend.tally().requests).sum();
        assert_eq!(requests, 20 + 4, "{front:?}");
        assert_eq!(ask(front, stage.addr, &to("other")).await.status, 502);
        let requests: usize = others.iter().map(|backend| backend.tally().requests).sum();
        assert_eq!(requests, 2, "{front:?}");
    }
}

/// The failures that a backend is blamed for, after one request that it doesn't answer well.
async fn blamed(front: Front, settings: AppSettings, addr: SocketAddr, own: (u16, &str)) {
    let (stage, endpoints) = Stage::having(one_worker(), settings, &[addr]);
    assert_eq!(ask(front, stage.addr, &GET).await.own(), own, "{front:?}");
    assert_eq!(endpoints[0].meter.totals(), (1, 1), "{front:?} {own:?}");
    assert_eq!(endpoints[0].meter.streak(), 1, "{front:?} {own:?}");
}

#[tokio::test]
async fn a_failed_request_is_one_that_got_no_response() {
    let (_socket, crowded, _crowd) = crowded().await;
    let hurried = AppSettings {
        connect_timeout: Duration::from_millis(50),
        response_header_timeout: Duration::from_millis(50),
        ..settings()
    };
    for front in FRONTS {
        // Connect refused, or timed out.
        blamed(
            front,
            settings(),
            Backend::refusing().await,
            (502, "connect_failed"),
        )
        .await;
        blamed(front, hurried.clone(), crowded, (504, "connect_timeout")).await;
        // Reset.
        let backend = Backend::start(|_, _| Reply::Reset).await;
        blamed(front, settings(), backend.addr, (502, "no_response")).await;
        // Response header timed out.
        let backend = Backend::start(|_, _| Reply::Hang).await;
        blamed(front, hurried.clone(), backend.addr, (504, "response_timeout")).await;
        // Malformed response.
        let backend = Backend::start(|_, _| Reply::Send(b"SSH-2.0-x\r\n\r\n".to_vec())).await;
        blamed(front, settings(), backend.addr, (502, "bad_response")).await;
    }
}

#[tokio::test]
async fn a_response_of_any_status_is_a_success_and_resets_the_count_unless_it_is_listed() {
    for front in FRONTS {
        let backend = Backend::start(|n, _| match n {
            0 => Reply::Close,
            1 => Reply::Send(b"HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n".to_vec()),
            _ => Reply::Send(b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n".to_vec()),
        })
        .await;
        let (stage, endpoints) = Stage::having(one_worker(), unhealthy(&[503]), &[backend.addr]);
        for (status, streak) in [(502, 1), (503, 2), (500, 0)] {
            assert_eq!(ask(front, stage.addr, &GET).await.status, status, "{front:?}");
            assert_eq!(endpoints[0].meter.streak(), streak, "{front:?}");
        }
    }
}

#[tokio::test]
async fn what_the_client_aborted_or_is_to_blame_for_counts_for_neither() {
    let backend = Backend::start(|n, _| match n {
        0 => Reply::Close,
        _ => Reply::Hang,
    })
    .await;
    let (stage, endpoints) = Stage::with(one_worker(), &[backend.addr]);
    assert_eq!(Client::connect(stage.addr).await.get("/").await.status, 502);
    // Aborted, by either version.
    let mut client = Client::connect(stage.addr).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    backend.until(|t| t.requests == 2).await;
    client.stream.set_zero_linger().unwrap();
    drop(client);
    backend.until(|t| t.closed == 2).await;
    let (sender, conn) = http2::connect(stage.addr).await;
    let mut sender = sender.ready().await.unwrap();
    let (response, mut stream) = sender.send_request(http2::request("GET", "/"), true).unwrap();
    backend.until(|t| t.requests == 3).await;
    stream.send_reset(h2::Reason::CANCEL);
    drop(response);
    backend.until(|t| t.closed == 3).await;
    // The client's own fault.
    let mut client = Client::connect(stage.addr).await;
    client
        .write("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nno chunk\r\n")
        .await;
    assert_eq!(client.read().await.status, 400);
    let mut short = http2::request("POST", "/");
    short.headers_mut().insert("content-length", "9".parse().unwrap());
    if let Ok(told) = http2::exchange(&sender, short, b"half").await {
        assert_eq!(told.status, 400);
    }
    while endpoints[0].meter.in_flight() > 0 {
        tokio::task::yield_now().await;
    }
    let (_, failures) = endpoints[0].meter.totals();
    assert_eq!(
        (failures, endpoints[0].meter.streak()),
        (1, 1),
        "neither more nor reset"
    );
    drop(conn);
}
