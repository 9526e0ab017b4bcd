//! Backends of protocol `https` that choose HTTP/2, or don't.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use edgeproxy_backend::{Endpoint, Limits, Protocol};
use edgeproxy_proxy::{BackendTls, Config};
use edgeproxy_tls::Client as ClientSide;
use http::{HeaderMap, Request};
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;

use crate::backend;
use crate::certificates::Authority;
use crate::client::Client;
use crate::http2::{Backend, connect, drain, exchange, get, ok, request, send_all, within};
use crate::stage::{Stage, app, config, endpoint_of};

const EITHER: &[&[u8]] = &[b"h2", b"http/1.1"];

fn trusting(authority: &Authority) -> Config {
    let client = ClientSide {
        trust: Some(authority.trust()),
        identity: None,
    };
    Config {
        workers: 1,
        backend_tls: Some(BackendTls::new(client.build().unwrap())),
        ..config()
    }
}

fn stage(config: Config, addr: SocketAddr) -> (Stage, Arc<Endpoint>) {
    let endpoint = endpoint_of(Protocol::Https, 1, addr, Limits::NONE);
    (
        Stage::start(config, [app("app", &[Arc::clone(&endpoint)])]),
        endpoint,
    )
}

/// Answers every request with what it got.
async fn echo(config: Arc<ServerConfig>) -> Backend {
    Backend::start_tls(config, |_, request, mut reply| async move {
        let (parts, mut body) = request.into_parts();
        let (data, trailers) = drain(&mut body).await.unwrap();
        let mut response = ok();
        let line = format!("{} {}", parts.method, parts.uri);
        response.headers_mut().insert("x-line", line.parse().unwrap());
        let mut stream = reply.send_response(response, false).unwrap();
        send_all(&mut stream, Bytes::from(data)).await.unwrap();
        stream.send_trailers(trailers.unwrap_or_default()).unwrap();
    })
    .await
}

#[tokio::test]
async fn requests_of_http2_share_a_connection_inside_tls_with_trailers_both_ways() {
    let authority = Authority::new();
    let permits = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&permits);
    let backend = Backend::start_tls(
        authority.issue(&["127.0.0.1"]).backend_of(EITHER),
        move |_, request, mut reply| {
            let held = Arc::clone(&held);
            async move {
                held.acquire().await.unwrap().forget();
                assert_eq!(request.uri().scheme_str(), Some("https"));
                assert_eq!(
                    request.headers()["x-forwarded-proto"],
                    "http",
                    "as the client came"
                );
                let (_, trailers) = drain(&mut request.into_body()).await.unwrap();
                let mut stream = reply.send_response(ok(), false).unwrap();
                stream.send_trailers(trailers.unwrap()).unwrap();
            }
        },
    )
    .await;
    let (stage, endpoint) = stage(trusting(&authority), backend.addr);
    let (sender, _conn) = connect(stage.addr).await;
    let streams: Vec<_> = (0..20)
        .map(|_| {
            let mut sender = sender.clone();
            tokio::spawn(async move {
                let (response, mut stream) = sender.send_request(request("POST", "/"), false).unwrap();
                let mut trailers = HeaderMap::new();
                trailers.insert("x-sum", "5".parse().unwrap());
                stream.send_trailers(trailers).unwrap();
                crate::http2::whole(within(response).await.unwrap())
                    .await
                    .unwrap()
            })
        })
        .collect();
    let tally = backend.until(|t| t.requests == 20).await;
    assert_eq!(tally.connections, 1);
    assert_eq!(endpoint.meter.in_flight(), 20);
    permits.add_permits(20);
    for stream in streams {
        let got = stream.await.unwrap();
        assert_eq!(
            (got.status, &got.trailers.unwrap()["x-sum"]),
            (200, &"5".parse().unwrap())
        );
        assert_eq!(got.headers["via"], "2 edge-test");
    }
    assert_eq!(endpoint.meter.in_flight(), 0);
    assert_eq!(endpoint.meter.totals(), (20, 0));
}

#[tokio::test]
async fn large_bodies_pass_both_ways_by_http2_inside_tls() {
    let authority = Authority::new();
    let backend = echo(authority.issue(&["127.0.0.1"]).backend_of(EITHER)).await;
    let (stage, _) = stage(trusting(&authority), backend.addr);
    let (mut sender, _conn) = connect(stage.addr).await;
    let (response, mut stream) = sender.send_request(request("POST", "/"), false).unwrap();
    let sent = Bytes::from((0..4 << 20).map(|n: u32| n.to_le_bytes()[1]).collect::<Vec<_>>());
    let all = sent.clone();
    tokio::spawn(async move {
        send_all(&mut stream, all).await.unwrap();
        stream.send_data(Bytes::new(), true).unwrap();
    });
    let response = within(response).await.unwrap();
    assert!(crate::http2::whole(response).await.unwrap().body == sent);
}

#[tokio::test]
async fn a_backend_that_chooses_http1_gets_that_on_the_connection_on_which_it_did() {
    let authority = Authority::new();
    let issued = authority.issue(&["127.0.0.1"]);
    for alpn in [&[&b"http/1.1"[..]][..], &[]] {
        let backend = backend::Backend::start_tls(issued.backend_of(alpn), |_, seen| {
            backend::ok(&String::from_utf8_lossy(&seen.body))
        })
        .await;
        let (stage, endpoint) = stage(trusting(&authority), backend.addr);
        let (sender, _conn) = connect(stage.addr).await;
        for _ in 0..3 {
            let mut post = request("POST", "/x");
            post.headers_mut().insert("content-length", "5".parse().unwrap());
            let got = exchange(&sender, post, b"hello").await.unwrap();
            assert_eq!((got.status, &got.body[..]), (200, &b"hello"[..]));
            assert_eq!(backend.take().line(), "POST /x HTTP/1.1");
        }
        assert_eq!(Client::connect(stage.addr).await.get("/").await.status, 200);
        assert_eq!(backend.tally().connections, 1, "and it is kept for either front");
        assert_eq!(endpoint.meter.totals(), (4, 0));
    }
}

#[tokio::test]
async fn many_that_wait_while_a_backend_chooses_http1_each_get_a_connection() {
    let authority = Authority::new();
    let permits = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&permits);
    let issued = authority.issue(&["127.0.0.1"]);
    let backend = backend::Backend::start_tls(issued.backend_of(&[b"http/1.1"]), move |_, _| {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec();
        backend::Reply::Hold(Vec::new(), Arc::clone(&held), whole)
    })
    .await;
    let (stage, endpoint) = stage(trusting(&authority), backend.addr);
    let (sender, _conn) = connect(stage.addr).await;
    let streams: Vec<_> = (0..8)
        .map(|_| {
            let sender = sender.clone();
            tokio::spawn(async move { get(&sender, "/").await.status })
        })
        .collect();
    let tally = backend.until(|t| t.in_flight == 8).await;
    assert_eq!(tally.connections, 8);
    permits.add_permits(8);
    for stream in streams {
        assert_eq!(stream.await.unwrap(), 200);
    }
    assert_eq!(endpoint.meter.in_flight(), 0);
}

#[tokio::test]
async fn http1_is_all_that_is_offered_for_requests_of_http1_and_for_a_websocket() {
    let authority = Authority::new();
    let acceptor = TlsAcceptor::from(authority.issue(&["127.0.0.1"]).backend_of(EITHER));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (stage, _) = stage(trusting(&authority), listener.local_addr().unwrap());
    let (chosen, mut chose) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = acceptor.accept(stream).await.unwrap();
            let _ = chosen.send(stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec));
            stream.shutdown().await.unwrap();
        }
    });
    let mut client = Client::connect(stage.addr).await;
    assert_eq!(client.get("/").await.status, 502);
    assert_eq!(
        within(chose.recv()).await.unwrap().as_deref(),
        Some(&b"http/1.1"[..])
    );
    let (sender, _conn) = connect(stage.addr).await;
    let mut sender = sender.ready().await.unwrap();
    let asked = Request::builder()
        .method("CONNECT")
        .uri("http://app/")
        .extension(h2::ext::Protocol::from_static("websocket"));
    let (response, _stream) = sender.send_request(asked.body(()).unwrap(), false).unwrap();
    assert_eq!(within(response).await.unwrap().status(), 502);
    while let Ok(protocol) = chose.try_recv() {
        assert_eq!(protocol.as_deref(), Some(&b"http/1.1"[..]));
    }
    let (sender, _conn) = connect(stage.addr).await;
    assert_eq!(get(&sender, "/").await.status, 502);
    assert_eq!(within(chose.recv()).await.unwrap().as_deref(), Some(&b"h2"[..]));
}

#[tokio::test]
async fn who_cannot_be_verified_is_not_spoken_to_by_http2_either() {
    let (authority, other) = (Authority::new(), Authority::new());
    let backend = echo(other.issue(&["127.0.0.1"]).backend_of(EITHER)).await;
    let (stage, endpoint) = stage(trusting(&authority), backend.addr);
    let (sender, _conn) = connect(stage.addr).await;
    assert_eq!(get(&sender, "/").await.own(), (502, "tls_failed"));
    assert_eq!(backend.tally().requests, 0);
    assert_eq!(endpoint.meter.totals(), (1, 1));
}

#[tokio::test]
async fn a_call_of_grpc_reaches_a_backend_that_speaks_http2_alone() {
    let authority = Authority::new();
    let backend = echo(authority.issue(&["127.0.0.1"]).backend_of(&[b"h2"])).await;
    let (stage, _) = stage(trusting(&authority), backend.addr);
    let (mut sender, _conn) = connect(stage.addr).await;
    let mut call = request("POST", "/pkg.Service/Call");
    call.headers_mut()
        .insert("content-type", "application/grpc".parse().unwrap());
    let (response, mut stream) = sender.send_request(call, false).unwrap();
    stream
        .send_data(Bytes::from_static(b"\0\0\0\0\0"), false)
        .unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    stream.send_trailers(trailers).unwrap();
    let got = crate::http2::whole(within(response).await.unwrap())
        .await
        .unwrap();
    assert_eq!(got.headers["x-line"], "POST https://app/pkg.Service/Call");
    assert_eq!(got.trailers.unwrap()["grpc-status"], "0");
}
