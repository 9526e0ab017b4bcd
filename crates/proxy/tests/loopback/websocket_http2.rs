//! WebSockets of HTTP/2 clients (RFC 8441).

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use edgeproxy_backend::Endpoint;
use edgeproxy_proxy::AppSettings;
use h2::Reason;
use h2::ext::Protocol;
use http::Request;
use sha1::Digest as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::backend::{self, Seen};
use crate::http2::{Sender, connect, drain, get, request, whole, within};
use crate::stage::{Stage, config, settings};

/// A backend that agrees to a WebSocket, and what becomes of the connection.
async fn agreeing<F, T>(
    spoil: &'static str,
    then: impl FnOnce(TcpStream) -> F + Send + 'static,
) -> (SocketAddr, JoinHandle<(Seen, T)>)
where
    F: Future<Output = T> + Send,
    T: Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let seen = Seen {
            head: String::from_utf8(head).unwrap(),
            body: Vec::new(),
        };
        let mut hash = sha1::Sha1::new();
        hash.update(seen.one("sec-websocket-key"));
        hash.update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
        let accept = base64::engine::general_purpose::STANDARD.encode(hash.finalize());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-accept: {spoil}{accept}\r\nsec-websocket-protocol: chat\r\n\r\nhello"
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        let after = then(stream).await;
        (seen, after)
    });
    (addr, task)
}

fn asking() -> Request<()> {
    let mut asking = request("CONNECT", "/chat?x=1");
    asking.extensions_mut().insert(Protocol::from_static("websocket"));
    let headers = asking.headers_mut();
    headers.insert("sec-websocket-version", "13".parse().unwrap());
    headers.insert("sec-websocket-protocol", "chat".parse().unwrap());
    headers.insert("origin", "http://app".parse().unwrap());
    asking
}

/// A client whom the proxy has told that it may ask.
async fn client(addr: SocketAddr) -> Sender {
    let (sender, _conn) = connect(addr).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !sender.is_extended_connect_protocol_enabled() {
        assert!(tokio::time::Instant::now() < deadline, "it was never enabled");
        tokio::task::yield_now().await;
    }
    sender
}

fn in_flight(endpoints: &[std::sync::Arc<Endpoint>]) -> u32 {
    endpoints[0].meter.in_flight()
}

#[tokio::test]
async fn an_extended_connect_becomes_an_upgrade_and_bytes_pass_both_ways_until_both_have_ended() {
    let (addr, backend) = agreeing("", |mut stream: TcpStream| async move {
        let mut word = [0; 4];
        stream.read_exact(&mut word).await.unwrap();
        stream.write_all(&word).await.unwrap();
        // The client ends its side, and still gets what is said then.
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        stream.write_all(b"bye").await.unwrap();
        rest
    })
    .await;
    let (stage, endpoints) = Stage::of(&[addr]);
    let mut sender = client(stage.addr).await;
    let (response, mut stream) = sender.send_request(asking(), false).unwrap();
    let response = within(response).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
    for gone in ["sec-websocket-accept", "upgrade", "connection"] {
        assert!(!response.headers().contains_key(gone), "{gone}");
    }
    let mut body = response.into_body();
    assert_eq!(within(body.data()).await.unwrap().unwrap(), "hello");
    stream.send_data(Bytes::from_static(b"ping"), false).unwrap();
    assert_eq!(within(body.data()).await.unwrap().unwrap(), "ping");
    assert_eq!(in_flight(&endpoints), 1, "it counts for as long as it lasts");
    stream.send_data(Bytes::from_static(b"end"), true).unwrap();
    assert_eq!(drain(&mut body).await.unwrap().0, b"bye");
    let (seen, rest) = backend.await.unwrap();
    assert_eq!(rest, b"end");
    assert_eq!(seen.line(), "GET /chat?x=1 HTTP/1.1");
    assert_eq!((seen.one("host"), seen.one("via")), ("app", "2 edge-test"));
    assert_eq!(
        (seen.one("upgrade"), seen.one("connection")),
        ("websocket", "upgrade")
    );
    assert_eq!(
        (seen.one("sec-websocket-version"), seen.one("origin")),
        ("13", "http://app")
    );
    let ended = async {
        while in_flight(&endpoints) > 0 {
            tokio::task::yield_now().await;
        }
    };
    within(ended).await;
    assert_eq!(endpoints[0].meter.totals(), (1, 0));
    let app = stage.running.counted().read().apps.remove(0).totals;
    assert_eq!(
        (app.answers, app.durations.total(), app.interrupted),
        ([0, 1, 0, 0, 0], 0, 0)
    );
}

#[tokio::test]
async fn an_accept_that_is_not_the_keys_is_a_bad_response() {
    let (addr, _backend) = agreeing("x", |_: TcpStream| async {}).await;
    let (stage, endpoints) = Stage::of(&[addr]);
    let mut sender = client(stage.addr).await;
    let (response, _stream) = sender.send_request(asking(), false).unwrap();
    let response = whole(within(response).await.unwrap()).await.unwrap();
    assert_eq!(response.own(), (502, "bad_response"));
    assert_eq!(endpoints[0].meter.totals().1, 1);
}

#[tokio::test]
async fn a_backend_that_does_not_agree_is_passed_on_but_never_as_a_success() {
    let backend = backend::Backend::start(|number, _| {
        backend::Reply::Send(match number {
            0 => b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno".to_vec(),
            _ => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhm".to_vec(),
        })
    })
    .await;
    let (stage, endpoints) = Stage::of(&[backend.addr]);
    let mut sender = client(stage.addr).await;
    let (response, _stream) = sender.send_request(asking(), false).unwrap();
    let response = whole(within(response).await.unwrap()).await.unwrap();
    assert_eq!((response.status, &response.body[..]), (403, &b"no"[..]));
    let mut sender = sender.ready().await.unwrap();
    let (response, _stream) = sender.send_request(asking(), false).unwrap();
    let response = whole(within(response).await.unwrap()).await.unwrap();
    assert_eq!(response.own(), (502, "bad_response"));
    assert_eq!(in_flight(&endpoints), 0);
}

#[tokio::test]
async fn another_protocol_is_not_implemented() {
    let backend = backend::Backend::start(|_, _| backend::ok("never")).await;
    let (stage, _) = Stage::of(&[backend.addr]);
    let mut sender = client(stage.addr).await;
    let mut other = asking();
    other
        .extensions_mut()
        .insert(Protocol::from_static("connect-udp"));
    let (response, _stream) = sender.send_request(other, false).unwrap();
    let response = whole(within(response).await.unwrap()).await.unwrap();
    assert_eq!(response.own(), (501, "protocol_unknown"));
    assert_eq!(backend.tally().connections, 0);
    assert_eq!(get(&sender, "/").await.status, 200);
}

#[tokio::test]
async fn a_client_that_resets_its_websocket_ends_it_at_the_backend() {
    let (addr, backend) = agreeing("", |mut stream: TcpStream| async move {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    })
    .await;
    let (stage, endpoints) = Stage::of(&[addr]);
    let mut sender = client(stage.addr).await;
    let (response, mut stream) = sender.send_request(asking(), false).unwrap();
    let mut body = within(response).await.unwrap().into_body();
    assert_eq!(within(body.data()).await.unwrap().unwrap(), "hello");
    stream.send_reset(Reason::CANCEL);
    within(backend).await.unwrap();
    let ended = async {
        while in_flight(&endpoints) > 0 {
            tokio::task::yield_now().await;
        }
    };
    within(ended).await;
}

#[tokio::test]
async fn a_websocket_on_which_nothing_is_said_is_ended_after_its_time() {
    let (addr, backend) = agreeing("", |mut stream: TcpStream| async move {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    })
    .await;
    let short = AppSettings {
        tunnel_idle_timeout: Duration::from_millis(100),
        ..settings()
    };
    let (stage, _) = Stage::having(config(), short, &[addr]);
    let mut sender = client(stage.addr).await;
    let (response, _stream) = sender.send_request(asking(), false).unwrap();
    let mut body = within(response).await.unwrap().into_body();
    let error = drain(&mut body).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::CANCEL));
    within(backend).await.unwrap();
}
