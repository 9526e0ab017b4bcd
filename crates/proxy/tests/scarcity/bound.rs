//! What becomes of a client that is bound to a backend to which no connection can be made, for want of a descriptor.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edgeproxy_backend::{Endpoint, Limits, MonoTime};
use edgeproxy_balance::retry::Allowance;
use edgeproxy_balance::{Algorithm, Balancer, Bindings, Bound, Candidate, Policy};
use edgeproxy_proxy::{AppRoute, AppSettings, Config, Keys, Listener, Queue, Sticky};
use http::{Response, header::HeaderName};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::backend::{Backend, Reply};
use crate::client::Client;
use crate::http2;
use crate::short::{Short, alone};
use crate::stage::{Stage, app, config, endpoint, h2c, settings};

/// So that the turns are known.
fn one_worker() -> Config {
    Config {
        workers: 1,
        ..config()
    }
}

/// An app whose clients stay where they were, and that has no retries.
fn sticking(endpoints: &[Arc<Endpoint>], sticky: impl FnOnce(Arc<Bindings>) -> Sticky) -> AppRoute {
    let policy = Policy {
        algorithm: Algorithm::RoundRobin,
        bound: Bound::Followed,
        ..Policy::default()
    };
    let candidates = endpoints.iter().cloned().map(Candidate::new).collect();
    let bindings = Arc::new(Bindings::new(1_024, Duration::from_secs(600)));
    let route = AppRoute {
        balancer: Balancer::prepare(&policy, candidates, MonoTime::ZERO, None),
        keys: Some(Keys {
            hash: None,
            sticky: Some(sticky(bindings)),
        }),
        settings: AppSettings {
            retry_budget_percent: 0,
            retry_budget_per_sec: 0,
            ..settings()
        },
        ..app("app", endpoints)
    };
    let none = Allowance {
        percent: 0,
        per_sec: 0,
    };
    // It begins with one.
    assert!(route.retry_budget.withdraw(none, MonoTime::ZERO));
    route
}

/// A backend whose connections serve one request each.
async fn of_one_request(name: &'static str) -> Backend {
    Backend::start(move |_, _| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            name.len()
        );
        Reply::SendAndClose(format!("{head}{name}").into_bytes())
    })
    .await
}

/// A backend whose one connection serves everybody; a request for `/held` waits for a permit.
async fn shared(name: &'static str, permits: Arc<Semaphore>) -> http2::Backend {
    http2::Backend::start(move |_, request, mut reply| {
        let permits = Arc::clone(&permits);
        async move {
            if request.uri().path() == "/held" {
                let _permit = permits.acquire().await.unwrap();
            }
            let mut stream = reply.send_response(Response::new(()), false).unwrap();
            stream
                .send_data(Bytes::from_static(name.as_bytes()), true)
                .unwrap();
        }
    })
    .await
}

/// A client of either version that says who it is.
enum Known {
    Http1(Client),
    Http2(http2::Sender),
}

impl Known {
    async fn ask(&mut self, session: &str) -> String {
        match self {
            Self::Http1(client) => {
                client
                    .write(format!(
                        "GET / HTTP/1.1\r\nhost: app\r\nx-session: {session}\r\n\r\n"
                    ))
                    .await;
                client.read().await.body
            }
            Self::Http2(sender) => {
                let mut request = http2::request("GET", "/");
                request
                    .headers_mut()
                    .insert("x-session", session.parse().unwrap());
                let whole = http2::exchange(sender, request, b"").await.unwrap();
                String::from_utf8(whole.body).unwrap()
            }
        }
    }
}

#[tokio::test]
async fn a_client_is_served_elsewhere_without_a_budget_and_stays_bound() {
    let _alone = alone().await;
    let by_session = |bindings| Sticky::Header(HeaderName::from_static("x-session"), bindings);
    for version in [1, 2] {
        let permits = Arc::new(Semaphore::new(0));
        let first = of_one_request("first").await;
        let second = shared("second", Arc::clone(&permits)).await;
        let endpoints = [
            endpoint(1, first.addr, Limits::NONE),
            h2c(2, second.addr, Limits::NONE),
        ];
        let other = app("other", &endpoints[1..]);
        let stage = Stage::start(one_worker(), [sticking(&endpoints, by_session), other]);
        let mut client = match version {
            1 => Known::Http1(Client::connect(stage.addr).await),
            _ => Known::Http2(http2::connect(stage.addr).await.0),
        };
        let mut bound = "0";
        for session in ["1", "2"] {
            if client.ask(session).await == "first" {
                bound = session;
            }
        }
        // So that its connection is not an idle one.
        let mut held = Client::connect(stage.addr).await;
        held.write("GET /held HTTP/1.1\r\nhost: other\r\n\r\n").await;
        second.until(|t| t.requests == 2).await;

        let _ = endpoints[0].meter.take_connect_time();
        let short = Short::of_all();
        let elsewhere = client.ask(bound).await;
        drop(short);
        assert_eq!(elsewhere, "second", "HTTP/{version}");
        assert_eq!(
            client.ask(bound).await,
            "first",
            "HTTP/{version}: its backend is well"
        );
        assert_eq!(
            endpoints[0].meter.totals().1,
            0,
            "HTTP/{version}: nobody is blamed"
        );
        permits.add_permits(1);
        assert_eq!(held.read().await.body, "second");
    }
}

async fn listener() -> (TcpListener, Arc<Endpoint>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let number = u64::from(addr.port());
    (listener, endpoint(number, addr, Limits::new(1, 1).unwrap()))
}

/// Whose connection has come.
async fn accepted(first: &TcpListener, second: &TcpListener) -> (usize, TcpStream) {
    http2::within(async {
        tokio::select! {
            came = first.accept() => (0, came.unwrap().0),
            came = second.accept() => (1, came.unwrap().0),
        }
    })
    .await
}

async fn until_waiting(queue: &Queue, is_empty: bool) {
    http2::within(async {
        while queue.is_empty() != is_empty {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_tcp_client_is_bound_to_whoever_took_its_connection() {
    let _alone = alone().await;
    let (backends, endpoints): (Vec<_>, Vec<_>) = [listener().await, listener().await].into_iter().unzip();
    let mut route = sticking(&endpoints, Sticky::ClientIp);
    route.settings = AppSettings {
        max_attempts: 2,
        queue_max: 1,
        queue_timeout: Duration::from_secs(60),
        ..route.settings
    };
    let queue = Arc::clone(&route.queue);
    let any = ([127, 0, 0, 1], 0).into();
    let only_tcp = Config {
        listeners: vec![Listener::tcp(any, "app".parse().unwrap())],
        ..one_worker()
    };
    let stage = Stage::start(only_tcp, [route]);
    let first = TcpStream::connect(stage.addr).await.unwrap();
    let (unbound, _first) = accepted(&backends[0], &backends[1]).await;
    // Its backend is full, so it goes to the other, and is bound to that.
    let second = TcpStream::connect(stage.addr).await.unwrap();
    let (bound, _second) = accepted(&backends[0], &backends[1]).await;
    assert_ne!(unbound, bound);
    let mut third = TcpStream::connect(stage.addr).await.unwrap();
    until_waiting(&queue, false).await;

    let short = Short::of_all();
    second.set_zero_linger().unwrap();
    drop(second);
    // It has its turn, fails on the one, and waits for the other.
    until_waiting(&queue, true).await;
    until_waiting(&queue, false).await;
    first.set_zero_linger().unwrap();
    drop(first);
    let read = http2::within(third.read(&mut [0; 1])).await;
    assert!(read.is_err(), "nothing could be connected to: {read:?}");
    drop(short);

    for endpoint in &endpoints {
        assert_eq!(endpoint.meter.in_flight(), 0);
    }
    let _fourth = TcpStream::connect(stage.addr).await.unwrap();
    let (again, _again) = accepted(&backends[0], &backends[1]).await;
    assert_eq!(again, bound, "nobody else has taken a connection of its");
    assert_eq!(endpoints[0].meter.totals().1 + endpoints[1].meter.totals().1, 0);
}
