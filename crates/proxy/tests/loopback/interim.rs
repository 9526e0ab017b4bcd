//! Interim responses (1xx) and `Expect: 100-continue`, for HTTP/2 clients.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use http::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::backend::{self, Reply};
use crate::http2::{Backend, Sender, Whole, connect, ok, request, whole, within};
use crate::stage::{Stage, config};

/// Every interim response that comes, in order, and then the answer.
async fn all(sender: &Sender, request: Request<()>) -> (Vec<Response<()>>, Result<Whole, h2::Error>) {
    let mut sender = sender.clone().ready().await.unwrap();
    let (mut response, _) = sender.send_request(request, true).unwrap();
    let mut interims = Vec::new();
    let answer = poll_fn(|cx| {
        while let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
            interims.push(interim);
        }
        pin!(&mut response).poll(cx)
    });
    let answer = match within(answer).await {
        Ok(answer) => whole(answer).await,
        Err(error) => Err(error),
    };
    (interims, answer)
}

fn hints(status: u16, link: &'static str) -> Response<()> {
    Response::builder()
        .status(status)
        .header("link", link)
        .body(())
        .unwrap()
}

#[tokio::test]
async fn interim_responses_of_an_http1_backend_reach_an_http2_client_in_order() {
    let answer = "HTTP/1.1 103 Early Hints\r\nlink: a\r\nconnection: x-hop\r\nx-hop: 1\r\n\r\n\
                  HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: b\r\n\r\n\
                  HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let backend = backend::Backend::start(move |_, _| Reply::Send(answer.into())).await;
    let (stage, endpoints) = Stage::of(&[backend.addr]);
    let (sender, _conn) = connect(stage.addr).await;
    let (interims, answer) = all(&sender, request("GET", "/")).await;
    let got: Vec<_> = interims.iter().map(|interim| interim.status().as_u16()).collect();
    assert_eq!(got, [103, 102, 103]);
    assert_eq!(
        (&interims[0].headers()["link"], &interims[2].headers()["link"]),
        (&"a".parse().unwrap(), &"b".parse().unwrap())
    );
    assert_eq!(interims[0].headers()["via"], "1.1 edge-test");
    assert!(!interims[0].headers().contains_key("x-hop") && !interims[0].headers().contains_key("date"));
    let answer = answer.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (200, &b"ok"[..]));
    assert!(!answer.headers.contains_key("link"));
    assert_eq!(endpoints[0].meter.in_flight(), 0);
}

#[tokio::test]
async fn interim_responses_of_an_h2c_backend_reach_an_http2_client_in_order() {
    let backend = Backend::start(|_, _, mut reply| async move {
        reply.send_informational(hints(103, "a")).unwrap();
        reply.send_informational(hints(103, "b")).unwrap();
        reply.send_response(ok(), true).unwrap();
    })
    .await;
    let (stage, _) = Stage::h2c(config(), &[backend.addr]);
    let (sender, _conn) = connect(stage.addr).await;
    let (interims, answer) = all(&sender, request("GET", "/")).await;
    let got: Vec<_> = interims
        .iter()
        .map(|interim| interim.headers()["link"].clone())
        .collect();
    assert_eq!(got, ["a", "b"]);
    assert_eq!(interims[0].headers()["via"], "2 edge-test");
    assert_eq!(answer.unwrap().status, 200);
}

#[tokio::test]
async fn an_expectation_is_passed_on_and_answered_as_the_backend_does() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (stage, _) = Stage::of(&[listener.local_addr().unwrap()]);
    let (sender, _conn) = connect(stage.addr).await;
    let mut sender = sender.ready().await.unwrap();
    let mut post = request("POST", "/");
    post.headers_mut().insert("content-length", "4".parse().unwrap());
    post.headers_mut()
        .insert("expect", "100-continue".parse().unwrap());
    let (mut response, mut body) = sender.send_request(post, false).unwrap();
    let (mut backend, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(backend.read_u8()).await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.contains("\r\nexpect: 100-continue\r\n"), "{head}");
    backend.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
    let interim = within(poll_fn(|cx| response.poll_informational(cx))).await;
    assert_eq!(interim.unwrap().unwrap().status(), 100);
    body.send_data(Bytes::from_static(b"body"), true).unwrap();
    let mut got = [0; 4];
    within(backend.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"body");
    backend
        .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(within(response).await.unwrap().status(), 204);
}

#[tokio::test]
async fn a_backend_that_sends_33_interim_responses_has_sent_none_that_counts() {
    let many = |count: usize| {
        let mut bytes = b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(count);
        bytes.extend(b"HTTP/1.1 204 No Content\r\n\r\n");
        bytes
    };
    let backend = backend::Backend::start(move |number, _| Reply::Send(many(32 + number))).await;
    let (stage, _) = Stage::of(&[backend.addr]);
    let (sender, _conn) = connect(stage.addr).await;
    let (interims, answer) = all(&sender, request("GET", "/")).await;
    assert_eq!((interims.len(), answer.unwrap().status), (32, 204));
    let (_, answer) = all(&sender, request("GET", "/")).await;
    assert_eq!(answer.unwrap().own(), (502, "bad_response"));

    let backend = Backend::start(|number, _, mut reply| async move {
        for _ in 0..32 + number {
            reply.send_informational(hints(103, "a")).unwrap();
        }
        let _ = reply.send_response(ok(), true);
    })
    .await;
    let (stage, _) = Stage::h2c(config(), &[backend.addr]);
    let (sender, _conn) = connect(stage.addr).await;
    let (interims, answer) = all(&sender, request("GET", "/")).await;
    assert_eq!((interims.len(), answer.unwrap().status), (32, 200));
    let (_, answer) = all(&sender, request("GET", "/")).await;
    assert_eq!(answer.unwrap().own(), (502, "bad_response"));
}

#[tokio::test]
async fn a_101_of_an_h2c_backend_is_malformed() {
    let backend = Backend::start(|_, _, mut reply| async move {
        reply.send_informational(hints(101, "a")).unwrap();
        let _ = reply.send_response(ok(), true);
    })
    .await;
    let (stage, _) = Stage::h2c(config(), &[backend.addr]);
    let (sender, _conn) = connect(stage.addr).await;
    let (interims, answer) = all(&sender, request("GET", "/")).await;
    assert!(interims.is_empty());
    assert_eq!(answer.unwrap().own(), (502, "bad_response"));
}
