//! Backends of protocol `https`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edgeproxy_backend::{Endpoint, Limits, Protocol};
use edgeproxy_proxy::{BackendTls, Config, Tls};
use edgeproxy_tls::{Client as ClientSide, ClientAuth, Server};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::backend::{Backend, Reply, ok};
use crate::certificates::{Authority, Issued, connect};
use crate::client::Client;
use crate::stage::{Stage, app, config, endpoint, endpoint_of};
use crate::tls::{SWITCHED, UPGRADE, soon};

fn trusting(authority: &Authority) -> BackendTls {
    showing(authority, None)
}

fn showing(authority: &Authority, identity: Option<&Issued>) -> BackendTls {
    let client = ClientSide {
        trust: Some(authority.trust()),
        identity: identity.map(Issued::identity),
    };
    BackendTls::new(client.build().unwrap())
}

fn with(tls: BackendTls) -> Config {
    Config {
        backend_tls: Some(tls),
        ..config()
    }
}

fn https(number: u64, addr: SocketAddr) -> Arc<Endpoint> {
    endpoint_of(Protocol::Https, number, addr, Limits::NONE)
}

fn stage(tls: BackendTls, endpoints: &[Arc<Endpoint>]) -> Stage {
    Stage::start(with(tls), [app("app", endpoints)])
}

async fn by_http2(stage: &Stage) -> SendRequest<Full<Bytes>> {
    let io = TokioIo::new(TcpStream::connect(stage.addr).await.unwrap());
    let (sender, conn) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(conn);
    sender
}

async fn echo(issued: &Issued) -> Backend {
    Backend::start_tls(issued.backend(), |_, seen| {
        ok(&String::from_utf8_lossy(&seen.body))
    })
    .await
}

#[tokio::test]
async fn a_backend_is_known_by_its_address_and_its_connection_is_kept_for_either_front() {
    let authority = Authority::new();
    let backend = echo(&authority.issue(&["127.0.0.1"])).await;
    let mut config = with(trusting(&authority));
    config.workers = 1;
    let endpoint = https(1, backend.addr);
    let stage = Stage::start(config, [app("app", &[Arc::clone(&endpoint)])]);
    let mut client = Client::connect(stage.addr).await;
    for _ in 0..3 {
        assert_eq!(client.get("/x").await.status, 200);
        assert_eq!(
            backend.take().one("x-forwarded-proto"),
            "http",
            "as the client came"
        );
    }
    assert_eq!(
        backend.tally().connections,
        1,
        "tickets that came meanwhile don't end it"
    );
    let mut sender = by_http2(&stage).await;
    for _ in 0..3 {
        let request = Request::post("http://app/").body(Full::from("hello")).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
    }
    assert_eq!(endpoint.meter.totals().1, 0);
    assert!(backend.tally().connections <= 3, "{:?}", backend.tally());
}

#[tokio::test]
async fn a_server_name_stands_for_all_backends() {
    let authority = Authority::new();
    let backend = echo(&authority.issue(&["backends.internal"])).await;
    let named = trusting(&authority)
        .with_server_name("backends.internal")
        .unwrap();
    let stage = stage(named, &[https(1, backend.addr)]);
    assert_eq!(Client::connect(stage.addr).await.get("/").await.status, 200);
    assert!(trusting(&authority).with_server_name("a b").is_err());
}

/// Says at once that this is no way to talk to it.
async fn speaks_in_the_clear() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    addr
}

#[tokio::test]
async fn who_cannot_be_verified_gets_nothing_and_that_is_a_failure() {
    let (authority, other) = (Authority::new(), Authority::new());
    let backends = [
        echo(&authority.issue(&["elsewhere.example"])).await,
        echo(&other.issue(&["127.0.0.1"])).await,
        echo(&authority.issue_expired(&["127.0.0.1"])).await,
    ];
    let plain = speaks_in_the_clear().await;
    let addrs = backends.iter().map(|backend| backend.addr).chain([plain]);
    for addr in addrs {
        let endpoint = https(1, addr);
        let stage = stage(trusting(&authority), &[Arc::clone(&endpoint)]);
        let mut client = Client::connect(stage.addr).await;
        let expected = (502, "tls_failed", "the TLS handshake with the backend failed");
        assert_eq!(client.get("/").await.own(), expected);
        let request = Request::get("http://app/").body(Full::default()).unwrap();
        let response = by_http2(&stage).await.send_request(request).await.unwrap();
        assert_eq!(response.status(), 502);
        assert_eq!(response.headers()["x-edgeproxy-error"], "tls_failed");
        assert_eq!(endpoint.meter.totals(), (2, 2));
    }
    assert!(backends.iter().all(|backend| backend.tally().requests == 0));
    // Without any set-up there is nobody to be trusted.
    let none = Stage::start(config(), [app("app", &[https(1, backends[0].addr)])]);
    assert_eq!(
        Client::connect(none.addr).await.get("/").await.own().1,
        "tls_failed"
    );
}

#[tokio::test]
async fn a_failed_handshake_is_tried_elsewhere_whatever_the_method() {
    let (authority, other) = (Authority::new(), Authority::new());
    let stranger = echo(&other.issue(&["127.0.0.1"])).await;
    let plain = Backend::start(|_, seen| ok(&String::from_utf8_lossy(&seen.body))).await;
    let endpoints = [https(1, stranger.addr), endpoint(2, plain.addr, Limits::NONE)];
    let stage = stage(trusting(&authority), &endpoints);
    let mut client = Client::connect(stage.addr).await;
    for _ in 0..4 {
        client
            .write("POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 5\r\n\r\nhello")
            .await;
        assert_eq!(client.read().await.body, "hello");
    }
    assert_eq!(endpoints[0].meter.totals(), (4, 4), "its turn comes each time");
}

#[tokio::test]
async fn anybody_is_taken_only_where_that_was_asked_for() {
    let authority = Authority::new();
    let backend = echo(&authority.issue_expired(&["elsewhere.example"])).await;
    let anybody = ClientSide {
        trust: None,
        identity: None,
    };
    let stage = stage(
        BackendTls::new(anybody.build().unwrap()),
        &[https(1, backend.addr)],
    );
    assert_eq!(Client::connect(stage.addr).await.get("/").await.status, 200);
}

#[tokio::test]
async fn a_backend_that_asks_is_shown_a_certificate() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let asking = Server {
        client_auth: ClientAuth::Required(clients.trust()),
        ..Server::new(authority.issue(&["127.0.0.1"]).identity()).unwrap()
    };
    let backend = Backend::start_tls(asking.build().unwrap(), |_, _| ok("known")).await;
    let known = clients.issue(&["edgeproxy"]);
    let shown = stage(showing(&authority, Some(&known)), &[https(1, backend.addr)]);
    assert_eq!(Client::connect(shown.addr).await.get("/").await.body, "known");
    let not = stage(trusting(&authority), &[https(1, backend.addr)]);
    let refused = Client::connect(not.addr).await.get("/").await;
    // In TLS 1.3 the refusal comes after the handshake, in place of a response.
    assert_eq!((refused.status, refused.own().1), (502, "no_response"));
}

#[tokio::test]
async fn a_handshake_that_stalls_is_a_connection_that_takes_too_long() {
    let authority = Authority::new();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = silent.local_addr().unwrap();
    let mut hurried = app("app", &[https(1, addr)]);
    hurried.settings.connect_timeout = Duration::from_millis(200);
    let stage = Stage::start(with(trusting(&authority)), [hurried]);
    let refused = Client::connect(stage.addr).await.get("/").await;
    assert_eq!((refused.status, refused.own().1), (504, "connect_timeout"));
    let request = Request::get("http://app/").body(Full::default()).unwrap();
    let response = by_http2(&stage).await.send_request(request).await.unwrap();
    assert_eq!(response.headers()["x-edgeproxy-error"], "connect_timeout");
}

#[tokio::test]
async fn an_answer_without_a_length_is_whole_only_with_close_notify() {
    let authority = Authority::new();
    let answer = b"HTTP/1.1 200 OK\r\n\r\nabc".to_vec();
    let backend = Backend::start_tls(authority.issue(&["127.0.0.1"]).backend(), move |_, seen| {
        if seen.line().contains("/whole") {
            Reply::SendAndEnd(answer.clone())
        } else {
            Reply::SendAndClose(answer.clone())
        }
    })
    .await;
    let stage = stage(trusting(&authority), &[https(1, backend.addr)]);
    for _ in 0..3 {
        let mut client = Client::connect(stage.addr).await;
        assert_eq!(client.get("/whole").await.body, "abc");
        client.write("GET /cut HTTP/1.1\r\nhost: app\r\n\r\n").await;
        assert!(client.try_read(true).await.is_none(), "it is broken off");
        let mut sender = by_http2(&stage).await;
        let get = |uri: &str| Request::get(uri).body(Full::default()).unwrap();
        let whole = sender.send_request(get("http://app/whole")).await.unwrap();
        assert_eq!(whole.into_body().collect().await.unwrap().to_bytes(), "abc");
        let cut = sender.send_request(get("http://app/cut")).await.unwrap();
        assert!(cut.into_body().collect().await.is_err(), "it is broken off");
    }
}

#[tokio::test]
async fn bodies_of_a_mebibyte_pass_both_ways_by_either_front() {
    let authority = Authority::new();
    let backend = echo(&authority.issue(&["127.0.0.1"])).await;
    let stage = stage(trusting(&authority), &[https(1, backend.addr)]);
    let body: String = (0..1 << 20)
        .map(|at| char::from(b'a' + (at % 23) as u8))
        .collect();
    let mut client = Client::connect(stage.addr).await;
    for _ in 0..2 {
        let head = format!(
            "PUT / HTTP/1.1\r\nhost: app\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        client.write(head + &body).await;
        assert!(client.read().await.body == body);
    }
    let mut sender = by_http2(&stage).await;
    let request = Request::put("http://app/")
        .body(Full::from(body.clone()))
        .unwrap();
    let response = soon("an answer", sender.send_request(request)).await.unwrap();
    assert!(response.into_body().collect().await.unwrap().to_bytes() == body);
}

#[tokio::test]
async fn an_upgrade_reaches_an_https_backend_and_half_closes() {
    let authority = Authority::new();
    let acceptor = TlsAcceptor::from(authority.issue(&["127.0.0.1"]).backend());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stage = stage(trusting(&authority), &[https(1, listener.local_addr().unwrap())]);
    let mut client = Client::connect(stage.addr).await;
    client.write(UPGRADE).await;
    let (stream, _) = listener.accept().await.unwrap();
    let mut server = acceptor.accept(stream).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon("a head", server.read_u8()).await.unwrap());
    }
    server.write_all(SWITCHED).await.unwrap();
    server.flush().await.unwrap();
    assert_eq!(client.head().await.unwrap().status, 101);
    for size in [1, 100, 200_000] {
        let (sent, mut got) = (vec![7; size], vec![0; size]);
        client.write(&sent).await;
        soon("bytes up", server.read_exact(&mut got)).await.unwrap();
        server.write_all(&got).await.unwrap();
        server.flush().await.unwrap();
        assert!(client.bytes(size).await.unwrap() == sent);
    }
    client.stream.shutdown().await.unwrap();
    assert_eq!(
        soon("an end", server.read(&mut [0; 1])).await.unwrap(),
        0,
        "close_notify"
    );
    server.write_all(b"last").await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(client.bytes(4).await.unwrap(), b"last");
    assert!(client.end().await.is_empty());
}

#[tokio::test]
async fn a_replaced_configuration_holds_for_new_connections() {
    let (before, after) = (Authority::new(), Authority::new());
    let backend = echo(&after.issue(&["127.0.0.1"])).await;
    let tls = trusting(&before);
    let stage = stage(tls.clone(), &[https(1, backend.addr)]);
    let mut client = Client::connect(stage.addr).await;
    assert_eq!(client.get("/").await.own().1, "tls_failed");
    let trusts = ClientSide {
        trust: Some(after.trust()),
        identity: None,
    };
    tls.replace(trusts.build().unwrap());
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_of_any_size_pass_unmixed_inside_tls_on_both_sides() {
    const CLIENTS: usize = 24;
    let authority = Authority::new();
    let backend = echo(&authority.issue(&["127.0.0.1"])).await;
    let front = Tls::new(authority.issue(&["app"]).server().build().unwrap());
    let mut config = with(trusting(&authority));
    config.listeners[0].tls = Some(front);
    let endpoint = https(1, backend.addr);
    let stage = Stage::start(config, [app("app", &[Arc::clone(&endpoint)])]);
    let side = Arc::new(authority.client(&[b"http/1.1"]));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (side, addr) = (Arc::clone(&side), stage.addr);
            tokio::spawn(async move {
                let mut client = connect(addr, side, "app").await;
                for round in 0..12 {
                    let size = (number * 7_919 + round * 104_729) % 150_000;
                    let body = format!("{number}/{round};").repeat(size / 6 + 1);
                    let framed = if round % 2 == 0 {
                        format!("content-length: {}\r\n\r\n{body}", body.len())
                    } else {
                        format!(
                            "transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
                            body.len()
                        )
                    };
                    let request = format!("POST / HTTP/1.1\r\nhost: app\r\n{framed}");
                    client.write(request).await;
                    client.stream.flush().await.unwrap();
                    let answer = client.read().await;
                    assert_eq!(answer.status, 200);
                    assert!(answer.body.contains(&body), "{number}/{round}");
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(endpoint.meter.totals(), (12 * CLIENTS as u64, 0));
    assert_eq!(endpoint.meter.in_flight(), 0);
}

#[tokio::test]
async fn connections_from_before_get_no_request_once_backends_are_asked_for_something_else() {
    let (authority, other) = (Authority::new(), Authority::new());
    let backend = echo(&authority.issue(&["127.0.0.1"])).await;
    let tls = trusting(&authority);
    let mut config = with(tls.clone());
    config.workers = 1;
    let stage = Stage::start(config, [app("app", &[https(1, backend.addr)])]);
    let mut client = Client::connect(stage.addr).await;
    let mut sender = by_http2(&stage).await;
    let mut ask = async || {
        let request = Request::post("http://app/").body(Full::from("hello")).unwrap();
        let by_http2 = sender.send_request(request).await.unwrap().status().as_u16();
        (client.get("/").await.status, by_http2)
    };
    assert_eq!(ask().await, (200, 200));
    let made = backend.tally().connections;
    assert_eq!(ask().await, (200, 200));
    assert_eq!(backend.tally().connections, made, "they are kept");
    tls.renew(&trusting(&other));
    assert_eq!(ask().await, (502, 502), "nobody trusts it any more");
    tls.renew(&trusting(&authority));
    assert_eq!(ask().await, (200, 200));
    assert!(backend.tally().connections > made);
}
