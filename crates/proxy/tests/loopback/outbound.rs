//! Requests of the program's own: `Outbound`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edgeproxy_backend::{Endpoint, Limits};
use edgeproxy_proxy::{
    CalledFrom, Config, Outbound, OutboundBody, OutboundError, RouteTable, Running, without_listeners,
};
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tower_service::Service;

use crate::backend::{Backend, Reply, ok};
use crate::http2::{self, within};
use crate::stage::{app, config, endpoint, h2c};
use crate::tls::until_free;

/// Workers that nobody can connect to, with one app `app` on those endpoints.
fn inside(config: Config, endpoints: &[Arc<Endpoint>]) -> Running {
    let table = RouteTable::new(1, [Arc::new(app("app", endpoints))], Arc::default());
    let table = Arc::new(arc_swap::ArcSwap::from_pointee(table));
    let bound = without_listeners(config).unwrap();
    assert!(bound.local_addrs().is_empty());
    bound.spawn(table, Arc::new(drop)).unwrap()
}

fn on(backends: &[&Backend]) -> (Running, Vec<Arc<Endpoint>>) {
    let endpoints: Vec<_> = (1..)
        .zip(backends)
        .map(|(number, backend)| endpoint(number, backend.addr, Limits::NONE))
        .collect();
    (inside(config(), &endpoints), endpoints)
}

async fn get(outbound: &Outbound, path: &str) -> Result<Response<OutboundBody>, OutboundError> {
    let request = Request::get(format!("http://app{path}"))
        .body(Empty::new())
        .unwrap();
    within(outbound.clone().call(request)).await
}

async fn text(response: Response<OutboundBody>) -> String {
    let bytes = within(response.into_body().collect()).await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn a_request_reaches_a_backend_as_a_client_s_does() {
    let backend = Backend::start(|_, _| ok("hello")).await;
    let (running, endpoints) = on(&[&backend]);
    let mut outbound = running.outbound();
    let request = Request::post("http://app/items?x=1")
        .header("x-own", "1")
        .header("connection", "close")
        .header("x-forwarded-for", "203.0.113.9")
        .body(Full::new(Bytes::from_static(b"body")))
        .unwrap();
    let response = within(outbound.call(request)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(text(response).await, "hello");
    let seen = backend.take();
    assert_eq!(
        (seen.line(), &*seen.body),
        ("POST /items?x=1 HTTP/1.1", &b"body"[..])
    );
    assert_eq!(
        (seen.one("host"), seen.one("x-own"), seen.one("content-length")),
        ("app", "1", "4")
    );
    assert_eq!(seen.one("x-forwarded-for"), "203.0.113.9, 127.0.0.1");
    assert!(seen.all("connection").is_empty());
    assert_eq!(endpoints[0].meter.totals(), (1, 0));
    // On the same connection, and the same one to the backend.
    assert_eq!(text(get(&outbound, "/").await.unwrap()).await, "hello");
}

#[tokio::test]
async fn what_fails_is_tried_again_and_counted() {
    let (refusing, good) = (Backend::refusing().await, Backend::start(|_, _| ok("good")).await);
    let endpoints = [
        endpoint(1, refusing, Limits::NONE),
        endpoint(2, good.addr, Limits::NONE),
    ];
    let running = inside(config(), &endpoints);
    let outbound = running.outbound();
    for _ in 0..8 {
        assert_eq!(text(get(&outbound, "/").await.unwrap()).await, "good");
    }
    let (_, failures) = endpoints[0].meter.totals();
    assert!(failures >= 1 && endpoints[1].meter.totals() == (8, 0));
}

/// 500 where the caller goes on with it, as after a service callout; 503 where it is the answer, as of a target endpoint.
#[tokio::test]
async fn a_failure_is_500_in_a_flow_and_503_at_an_endpoint() {
    let running = inside(config(), &[endpoint(1, Backend::refusing().await, Limits::NONE)]);
    let error = get(&running.outbound(), "/").await.unwrap_err();
    assert_eq!(error.status(CalledFrom::Flow), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(
        error.status(CalledFrom::Endpoint),
        StatusCode::SERVICE_UNAVAILABLE
    );
    let OutboundError::Unanswered { word, told, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(
        (word.as_str(), *told),
        ("connect_failed", StatusCode::BAD_GATEWAY)
    );
    assert!(error.to_string().ends_with(" (connect_failed)"), "{error}");
}

#[tokio::test]
async fn nobody_to_ask_is_told_at_once_with_why_and_when_to_ask_again() {
    let running = inside(config(), &[]);
    let error = get(&running.outbound(), "/").await.unwrap_err();
    let OutboundError::Unanswered {
        word, retry_after, ..
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!(word, "no_backend");
    assert!(retry_after.is_some());
    let nowhere = Request::get("/items").body(Empty::<Bytes>::new()).unwrap();
    let error = within(running.outbound().call(nowhere)).await.unwrap_err();
    assert!(matches!(error, OutboundError::NoHost), "{error:?}");
}

/// Each side sends a megabyte in pieces, and neither is held up by the other.
#[tokio::test]
async fn bodies_stream_in_both_directions() {
    const PIECE: usize = 64 * 1024;
    const PIECES: usize = 16;
    let backend = http2::Backend::start(|_, request, mut respond| async move {
        let mut body = request.into_body();
        let mut stream = respond.send_response(http2::ok(), false).unwrap();
        while let Some(Ok(data)) = body.data().await {
            let _ = body.flow_control().release_capacity(data.len());
            http2::send_all(&mut stream, data).await.unwrap();
        }
        stream.send_data(Bytes::new(), true).unwrap();
    })
    .await;
    let running = inside(config(), &[h2c(1, backend.addr, Limits::NONE)]);
    let (sender, pieces) = mpsc::channel::<Result<Frame<Bytes>, std::io::Error>>(1);
    let body = StreamBody::new(ReceiverStream::new(pieces));
    let request = Request::post("http://app/").body(body).unwrap();
    let response = within(running.outbound().call(request)).await.unwrap();
    let mut body = response.into_body();
    let mut echoed = 0;
    for _ in 0..PIECES {
        let piece = Frame::data(Bytes::from(vec![7; PIECE]));
        let mut sent = Some(sender.send(Ok(piece)));
        let target = echoed + PIECE;
        while echoed < target {
            // What is sent leaves only while the answer is waited for.
            let frame = match sent.take() {
                Some(sending) => within(async { tokio::join!(sending, body.frame()) }).await.1,
                None => within(body.frame()).await,
            };
            echoed += frame.unwrap().unwrap().into_data().unwrap().len();
        }
    }
    drop(sender);
    assert!(within(body.frame()).await.is_none_or(|frame| frame.is_ok()));
    assert_eq!(echoed, PIECE * PIECES);
}

#[tokio::test]
async fn whoever_wants_the_answer_no_more_gives_its_place_back() {
    let backend = Backend::start(|_, _| Reply::Hang).await;
    let (running, endpoints) = on(&[&backend]);
    let outbound = running.outbound();
    let calling = tokio::spawn({
        let outbound = outbound.clone();
        async move { get(&outbound, "/").await }
    });
    backend.until(|tally| tally.in_flight == 1).await;
    assert_eq!(endpoints[0].meter.in_flight(), 1);
    calling.abort();
    backend.until(|tally| tally.closed == 1).await;
    until_free(&endpoints[0]).await;
}

/// A client that gave up as many would have been closed.
#[tokio::test]
async fn many_that_are_given_up_do_not_end_the_others() {
    let release = Arc::new(Semaphore::new(0));
    let permits = Arc::clone(&release);
    let backend = Backend::start(move |_, seen| {
        if seen.line().contains("/held") {
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n".to_vec();
            Reply::Hold(head, Arc::clone(&permits), b"held".to_vec())
        } else {
            Reply::Hang
        }
    })
    .await;
    let one = Config {
        workers: 1,
        ..config()
    };
    let running = inside(one, &[endpoint(1, backend.addr, Limits::NONE)]);
    let outbound = running.outbound();
    let held = get(&outbound, "/held").await.unwrap();
    for _ in 0..600 {
        let given_up = tokio::time::timeout(Duration::ZERO, get(&outbound, "/hang")).await;
        assert!(given_up.is_err());
    }
    release.add_permits(1);
    assert_eq!(text(held).await, "held");
}

#[tokio::test]
async fn a_drain_lets_what_is_in_flight_end_and_takes_no_more() {
    let release = Arc::new(Semaphore::new(0));
    let permits = Arc::clone(&release);
    let backend = Backend::start(move |_, _| {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n".to_vec();
        Reply::Hold(head, Arc::clone(&permits), b"held".to_vec())
    })
    .await;
    let (running, _) = on(&[&backend]);
    let outbound = running.outbound();
    let held = get(&outbound, "/").await.unwrap();
    running.drain();
    release.add_permits(1);
    assert_eq!(text(held).await, "held");
    within(running.stopped()).await;
    let error = get(&outbound, "/").await.unwrap_err();
    assert!(matches!(error, OutboundError::Ended), "{error:?}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error_of_its_body() {
    let backend = Backend::start(|_, _| {
        Reply::SendAndClose(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".to_vec())
    })
    .await;
    let (running, _) = on(&[&backend]);
    let response = get(&running.outbound(), "/").await.unwrap();
    let error = within(response.into_body().collect()).await.unwrap_err();
    assert!(matches!(error, OutboundError::Broken { .. }), "{error:?}");
}
