//! What an HTTP/1.1 backend sees of HTTP/2 clients, and what they see of it.

use bytes::Bytes;
use http::HeaderMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::backend::{self, Reply};
use crate::client::Client;
use crate::http2::{connect, drain, exchange, get, request, send_all, whole, within};
use crate::stage::{Stage, config};

/// Reads until what has come ends so.
async fn until(stream: &mut TcpStream, end: &[u8]) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end) {
        bytes.push(within(stream.read_u8()).await.unwrap());
    }
    String::from_utf8(bytes).unwrap()
}

async fn listener() -> (TcpListener, Stage) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (stage, _) = Stage::of(&[listener.local_addr().unwrap()]);
    (listener, stage)
}

#[tokio::test]
async fn a_body_without_length_goes_in_chunks_with_its_trailers_behind() {
    let (listener, stage) = listener().await;
    let (sender, _conn) = connect(stage.addr).await;
    let mut sender = sender.ready().await.unwrap();
    let (response, mut stream) = sender.send_request(request("POST", "/up"), false).unwrap();
    stream.send_data(Bytes::from_static(b"abc"), false).unwrap();
    let (mut backend, _) = listener.accept().await.unwrap();
    let head = until(&mut backend, b"\r\n\r\n").await;
    assert!(head.starts_with("POST /up HTTP/1.1\r\nhost: app\r\n"), "{head}");
    assert!(head.contains("\r\ntransfer-encoding: chunked\r\n"), "{head}");
    assert_eq!(until(&mut backend, b"abc\r\n").await, "3\r\nabc\r\n");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "6".parse().unwrap());
    trailers.insert("via", "1.1 nobody".parse().unwrap());
    stream.send_trailers(trailers).unwrap();
    assert_eq!(until(&mut backend, b"\r\n\r\n").await, "0\r\nx-sum: 6\r\n\r\n");
    backend
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(within(response).await.unwrap().status(), 200);
}

#[tokio::test]
async fn responses_of_1xx_are_not_the_answer() {
    let answer = "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
                  HTTP/1.1 204 No Content\r\nx-last: 1\r\n\r\n";
    let backend = backend::Backend::start(move |_, _| Reply::Send(answer.into())).await;
    let (stage, _) = Stage::of(&[backend.addr]);
    let (sender, _conn) = connect(stage.addr).await;
    let got = get(&sender, "/").await;
    assert_eq!((got.status, &got.headers["x-last"]), (204, &"1".parse().unwrap()));
    assert!(!got.headers.contains_key("link"));
}

#[tokio::test]
async fn both_kinds_of_clients_share_the_connections_to_a_backend() {
    let backend = backend::Backend::start(|_, _| backend::ok("x")).await;
    let config = edgeproxy_proxy::Config {
        workers: 1,
        ..config()
    };
    let (stage, _) = Stage::with(config, &[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    assert_eq!(client.get("/").await.status, 200);
    let (sender, _conn) = connect(stage.addr).await;
    assert_eq!(get(&sender, "/").await.body, b"x");
    assert_eq!(backend.tally().connections, 1);
}

#[tokio::test]
async fn the_rest_of_an_upload_goes_on_behind_its_answer_and_then_the_connection_is_kept() {
    let (listener, stage) = listener().await;
    let (sender, _conn) = connect(stage.addr).await;
    let mut sender = sender.ready().await.unwrap();
    let mut post = request("POST", "/");
    post.headers_mut().insert("content-length", "8".parse().unwrap());
    let (response, mut stream) = sender.send_request(post, false).unwrap();
    stream.send_data(Bytes::from_static(b"half"), false).unwrap();
    let (mut backend, _) = listener.accept().await.unwrap();
    until(&mut backend, b"\r\n\r\nhalf").await;
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    backend.write_all(answer).await.unwrap();
    let answered = whole(within(response).await.unwrap()).await.unwrap();
    assert_eq!(answered.body, b"ok");
    stream.send_data(Bytes::from_static(b"rest"), true).unwrap();
    until(&mut backend, b"rest").await;
    // On another connection if the proxy has not seen yet that all of it has left.
    let next = tokio::spawn(async move { get(&sender, "/next").await });
    let head = tokio::select! {
        head = until(&mut backend, b"\r\n\r\n") => head,
        accepted = listener.accept() => {
            (backend, _) = accepted.unwrap();
            until(&mut backend, b"\r\n\r\n").await
        }
    };
    assert!(head.starts_with("GET /next "), "{head}");
    backend.write_all(answer).await.unwrap();
    assert_eq!(next.await.unwrap().body, b"ok");
}

#[tokio::test]
async fn an_upload_goes_on_while_the_client_takes_none_of_the_response() {
    const UP: usize = 4 * 1024 * 1024;
    const DOWN: usize = 1024 * 1024;
    let (listener, stage) = listener().await;
    let (sender, _conn) = connect(stage.addr).await;
    let mut sender = sender.ready().await.unwrap();
    let mut post = request("POST", "/");
    post.headers_mut()
        .insert("content-length", UP.to_string().parse().unwrap());
    let (response, mut stream) = sender.send_request(post, false).unwrap();
    let (mut backend, _) = listener.accept().await.unwrap();
    until(&mut backend, b"\r\n\r\n").await;
    let answering = tokio::spawn(async move {
        let (mut read, mut write) = backend.into_split();
        let down = tokio::spawn(async move {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {DOWN}\r\n\r\n");
            write.write_all(head.as_bytes()).await.unwrap();
            write.write_all(&vec![b'd'; DOWN]).await.unwrap();
            write
        });
        let mut all = vec![0; UP];
        read.read_exact(&mut all).await.unwrap();
        (read, down.await.unwrap())
    });
    let response = within(response).await.unwrap();
    within(send_all(&mut stream, Bytes::from(vec![b'u'; UP])))
        .await
        .unwrap();
    stream.send_data(Bytes::new(), true).unwrap();
    let (body, _) = drain(&mut response.into_body()).await.unwrap();
    assert_eq!(body.len(), DOWN);
    within(answering).await.unwrap();
}

#[tokio::test]
async fn a_length_given_twice_is_written_once_and_two_lengths_are_malformed() {
    let backend = backend::Backend::start(|_, _| backend::ok("x")).await;
    let (stage, _) = Stage::of(&[backend.addr]);
    let (sender, _conn) = connect(stage.addr).await;
    let post = |second: &str| {
        let mut post = request("POST", "/");
        post.headers_mut().append("content-length", "3".parse().unwrap());
        post.headers_mut()
            .append("content-length", second.parse().unwrap());
        post
    };
    let refused = exchange(&sender, post("4"), b"abc").await;
    assert_eq!(refused.unwrap_err().reason(), Some(h2::Reason::PROTOCOL_ERROR));
    let answered = exchange(&sender, post("3"), b"abc").await.unwrap();
    assert_eq!(answered.status, 200);
    let seen = backend.take();
    assert_eq!((seen.one("content-length"), &*seen.body), ("3", &b"abc"[..]));
    assert_eq!(backend.tally().requests, 1);
}
