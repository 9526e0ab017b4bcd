//! HTTP/2 in front, by prior knowledge, HTTP/1.1 behind.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::backend::{Backend, Reply, ok};
use crate::client::Client;
use crate::stage::Stage;

type Sender = SendRequest<Full<Bytes>>;

async fn connect(addr: SocketAddr) -> (Sender, JoinHandle<hyper::Result<()>>) {
    let io = TokioIo::new(TcpStream::connect(addr).await.unwrap());
    let (sender, conn) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    (sender, tokio::spawn(conn))
}

fn get(uri: &str) -> Request<Full<Bytes>> {
    Request::builder().uri(uri).body(Full::default()).unwrap()
}

#[tokio::test]
async fn http2_requests_become_http_1_1_and_trailers_come_back() {
    let backend = Backend::start(|_, _| {
        Reply::Send(
            b"HTTP/1.1 200 OK\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
              3\r\nabc\r\n0\r\nx-sum: 6\r\n\r\n"
                .to_vec(),
        )
    })
    .await;
    let (stage, endpoints) = Stage::of(&[backend.addr]);
    let (mut sender, _conn) = connect(stage.addr).await;
    let mut request = get("http://app.example:81/x?y=1");
    request.headers_mut().append("cookie", "a=1".parse().unwrap());
    request.headers_mut().append("cookie", "b=2".parse().unwrap());
    request.headers_mut().insert("te", "trailers".parse().unwrap());
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.version()),
        (200, Version::HTTP_2)
    );
    assert_eq!(response.headers()["via"], "1.1 edge-test");
    assert!(!response.headers().contains_key("connection"));
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-sum"], "6");
    assert_eq!(body.to_bytes(), "abc");
    let seen = backend.take();
    assert_eq!(seen.line(), "GET /x?y=1 HTTP/1.1");
    assert_eq!(seen.one("host"), "app.example:81");
    assert_eq!(seen.one("cookie"), "a=1; b=2");
    assert_eq!(seen.one("via"), "2 edge-test");
    assert_eq!(seen.one("te"), "trailers");
    assert!(seen.all("transfer-encoding").is_empty() && seen.all("content-length").is_empty());
    assert_eq!(endpoints[0].meter.in_flight(), 0);
}

#[tokio::test]
async fn a_request_body_passes_with_its_length() {
    let backend = Backend::start(|_, seen| ok(&String::from_utf8_lossy(&seen.body))).await;
    let (stage, _) = Stage::of(&[backend.addr]);
    let (mut sender, _conn) = connect(stage.addr).await;
    let request = Request::post("http://app/").body(Full::from("hello")).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
}

#[tokio::test]
async fn an_authority_that_contradicts_host_is_refused() {
    let backend = Backend::start(|_, _| ok("never")).await;
    let (stage, _) = Stage::of(&[backend.addr]);
    let (mut sender, _conn) = connect(stage.addr).await;
    let mut request = get("http://app/");
    request.headers_mut().insert("host", "other".parse().unwrap());
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 400);
    assert_eq!(response.headers()["x-edgeproxy-error"], "bad_request");
    assert_eq!(backend.tally().connections, 0);
}

#[tokio::test]
async fn many_streams_share_a_connection_and_a_reset_one_gives_its_place_back() {
    let permits = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&permits);
    let backend = Backend::start(move |_, seen| match seen.line() {
        "GET /hang HTTP/1.1" => Reply::Hang,
        line => Reply::Hold(
            Vec::new(),
            Arc::clone(&held),
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{line}", line.len()).into_bytes(),
        ),
    })
    .await;
    let (stage, endpoints) = Stage::of(&[backend.addr]);
    let (sender, _conn) = connect(stage.addr).await;
    let streams: Vec<_> = (0..32)
        .map(|n| {
            let mut sender = sender.clone();
            tokio::spawn(async move {
                let response = sender
                    .send_request(get(&format!("http://app/{n}")))
                    .await
                    .unwrap();
                let body = response.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(body, format!("GET /{n} HTTP/1.1"));
            })
        })
        .collect();
    let hanging = tokio::spawn({
        let mut sender = sender.clone();
        async move { sender.send_request(get("http://app/hang")).await }
    });
    backend.until(|t| t.in_flight == 33).await;
    hanging.abort();
    backend.until(|t| t.closed == 1).await;
    // Which is before the place is given back; what the worker answers itself comes behind both.
    let last = Request::options("http://app/").header("max-forwards", "0");
    let answer = sender.clone().send_request(last.body(Full::default()).unwrap());
    assert_eq!(answer.await.unwrap().status(), 204);
    assert_eq!(endpoints[0].meter.in_flight(), 32);
    permits.add_permits(32);
    for stream in streams {
        stream.await.unwrap();
    }
    assert_eq!(endpoints[0].meter.in_flight(), 0);
    assert_eq!(endpoints[0].meter.totals(), (33, 0));
}

/// One frame: its type, flags, stream and payload (RFC 9113 §4.1).
async fn frame(stream: &mut TcpStream) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let mut payload = vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
    stream.read_exact(&mut payload).await.ok()?;
    Some((
        head[3],
        head[4],
        u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
        payload,
    ))
}

const DATA: u8 = 0;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;

#[tokio::test]
async fn a_drain_sends_goaway_and_finishes_the_streams_that_are_there() {
    let permits = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&permits);
    let backend = Backend::start(move |_, _| {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx".to_vec();
        Reply::Hold(Vec::new(), Arc::clone(&held), whole)
    })
    .await;
    let (stage, _) = Stage::of(&[backend.addr]);
    let mut stream = TcpStream::connect(stage.addr).await.unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    // GET http://app/ as stream 1, with END_HEADERS and END_STREAM.
    stream
        .write_all(b"\0\0\x08\x01\x05\0\0\0\x01\x82\x84\x86\x41\x03app")
        .await
        .unwrap();
    backend.until(|t| t.in_flight == 1).await;
    stage.running.drain();
    let (mut goaways, mut body) = (Vec::new(), Vec::new());
    while let Some((kind, flags, id, payload)) = frame(&mut stream).await {
        match kind {
            SETTINGS if flags != ACK => stream.write_all(b"\0\0\0\x04\x01\0\0\0\0").await.unwrap(),
            PING if flags != ACK => {
                stream
                    .write_all(&[b"\0\0\x08\x06\x01\0\0\0\0", &payload[..]].concat())
                    .await
                    .unwrap();
            }
            GOAWAY => {
                goaways.push((payload[..4].to_vec(), payload[4..8].to_vec()));
                if goaways.len() == 1 {
                    permits.add_permits(1);
                }
            }
            DATA => {
                assert_eq!((id, flags & END_STREAM), (1, END_STREAM));
                body.extend(payload);
            }
            _ => {}
        }
    }
    assert_eq!(body, b"x");
    let no_error = vec![0; 4];
    assert_eq!(
        goaways[0],
        (vec![0x7f, 0xff, 0xff, 0xff], no_error.clone()),
        "first a warning"
    );
    assert_eq!(
        goaways[1],
        (vec![0, 0, 0, 1], no_error),
        "then the last stream that is served"
    );
    stage.stopped().await;
}

#[tokio::test]
async fn a_truncated_response_resets_its_stream_only() {
    let backend = Backend::start(|_, seen| match seen.line() {
        "GET /half HTTP/1.1" => Reply::SendAndClose(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n".to_vec(),
        ),
        _ => ok("x"),
    })
    .await;
    let (stage, _) = Stage::of(&[backend.addr]);
    let (mut sender, _conn) = connect(stage.addr).await;
    let response = sender.send_request(get("http://app/half")).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
    let response = sender.send_request(get("http://app/")).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "x");
}

#[tokio::test]
async fn the_same_port_still_speaks_http_1() {
    let backend = Backend::start(|_, _| ok("x")).await;
    let (stage, _) = Stage::of(&[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    // Begins as the preface does.
    client.write("P").await;
    client
        .write("UT / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
        .await;
    assert_eq!(client.read().await.body, "x");
}
