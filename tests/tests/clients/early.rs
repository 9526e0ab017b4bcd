//! Answers that come while the client is still sending.

use edgeproxy_tests::{PATIENCE, Wire, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::raw::RawBackend;
use crate::stage::{before, in_flight};

const LENGTH: usize = 4 << 20;

fn head(length: usize) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: {length}\r\n\r\n").into_bytes()
}

/// The answer has to arrive although the backend closes on what is still being sent, which resets the connection.
/// Some times over, since what could lose it is a race.
#[tokio::test]
async fn a_413_of_a_backend_that_closes() {
    let backend = RawBackend::start().await;
    let edgeproxy = before(backend.addr()).await;
    for _ in 0..50 {
        let mut client = Wire::connect(edgeproxy.proxy()).await;
        client.send(&head(LENGTH)).await;
        client.send(&[7; 4_096]).await;
        let mut seen = backend.accept().await;
        seen.head().await;
        seen.send(
            b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 8\r\n\r\ntoo much",
        )
        .await;
        drop(seen);
        let sending = client.send(&[7; 200_000]);
        within(PATIENCE, "what is sent is taken or refused", sending).await;
        let reply = client.reply().await.expect("an answer").expect(413);
        assert_eq!(
            (reply.text(), reply.header("content-length")),
            ("too much", Some("8"))
        );
        client.closed().await;
    }
    in_flight(&edgeproxy, 0).await;
}

#[tokio::test]
async fn a_200_of_a_backend_that_reads_on() {
    let backend = RawBackend::start().await;
    let edgeproxy = before(backend.addr()).await;
    let mut client = Wire::connect(edgeproxy.proxy()).await;
    client.send(&head(LENGTH)).await;
    client.send(&[7; 1_000]).await;
    let mut seen = backend.accept().await;
    seen.head().await;
    seen.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly")
        .await;
    assert_eq!(
        client.reply().await.expect("an answer").expect(200).text(),
        "early"
    );
    // The place is taken for as long as the backend has something to do.
    in_flight(&edgeproxy, 1).await;
    let rest = vec![7; LENGTH - 1_000];
    let (body, ()) = tokio::join!(seen.body(LENGTH), client.send(&rest));
    assert!(body.iter().all(|byte| *byte == 7));
    in_flight(&edgeproxy, 0).await;
    // And both connections serve again.
    client.send(b"GET /next HTTP/1.1\r\nHost: shop\r\n\r\n").await;
    assert!(seen.head().await.starts_with("GET /next "));
    seen.send(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    let _ = client.reply().await.expect("an answer").expect(204);
}

/// Many a client reads nothing before all is sent, however large that is: closed on, it would know of a broken pipe
/// and nothing else.
#[tokio::test]
async fn a_413_for_a_client_that_reads_when_all_is_sent() {
    let backend = RawBackend::start().await;
    let edgeproxy = before(backend.addr()).await;
    let mut client = TcpStream::connect(edgeproxy.proxy()).await.expect("it accepts");
    client.write_all(&head(10 * LENGTH)).await.expect("it is taken");
    let mut seen = backend.accept().await;
    seen.head().await;
    seen.send(b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 8\r\n\r\ntoo much")
        .await;
    drop(seen);
    let body = vec![7; 10 * LENGTH];
    within(PATIENCE, "all is taken", client.write_all(&body))
        .await
        .expect("the proxy goes on taking it");
    let mut answer = String::new();
    within(PATIENCE, "the answer comes", client.read_to_string(&mut answer))
        .await
        .expect("an end, not a reset");
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("too much"),
        "{answer}"
    );
    in_flight(&edgeproxy, 0).await;
}

/// A backend that has answered and shuts its side, but reads no more: nobody waits for it.
#[tokio::test]
async fn a_200_of_a_backend_that_stops_reading() {
    let backend = RawBackend::start().await;
    let edgeproxy = before(backend.addr()).await;
    let mut client = Wire::connect(edgeproxy.proxy()).await;
    client.send(&head(LENGTH)).await;
    client.send(&[7; 1_000]).await;
    let mut seen = backend.accept().await;
    seen.head().await;
    seen.body(1_000).await;
    seen.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nearly")
        .await;
    drop(seen);
    assert_eq!(
        client.reply().await.expect("an answer").expect(200).text(),
        "early"
    );
    client.send(&vec![7; 500_000]).await;
    client.closed().await;
    in_flight(&edgeproxy, 0).await;
}
