//! Final answers to requests whose bodies have not come, and may never come.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::client::Client;
use crate::stage::Stage;

/// A client that has sent this, and the backend's side of it, where all of it has arrived.
async fn sent(stage: &Stage, listener: &TcpListener, request: &str) -> (Client, TcpStream) {
    let mut client = Client::connect(stage.addr).await;
    client.write(request).await;
    let (mut stream, _) = listener.accept().await.unwrap();
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    let mut received = Vec::new();
    while !received.ends_with(format!("\r\n\r\n{body}").as_bytes()) {
        assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0);
    }
    (client, stream)
}

/// Everything up to the end of the backend's connection.
async fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    rest
}

/// RFC 9110 §10.1.1: the client may now send its body, or leave it and send its next request. Nobody can tell which
/// it is, so nothing more is read from it, and it is told.
#[tokio::test]
async fn an_answer_instead_of_100_ends_the_connection() {
    for length in ["content-length: 64", "transfer-encoding: chunked"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (stage, endpoints) = Stage::of(&[listener.local_addr().unwrap()]);
        let request = format!("PUT / HTTP/1.1\r\nhost: a\r\n{length}\r\nexpect: 100-continue\r\n\r\n");
        let (mut client, mut stream) = sent(&stage, &listener, &request).await;
        stream
            .write_all(b"HTTP/1.1 417 Expectation Failed\r\ncontent-length: 2\r\n\r\nno")
            .await
            .unwrap();
        let answer = client.read().await;
        assert_eq!((answer.status, answer.one("connection")), (417, "close"));
        assert_eq!(endpoints[0].meter.in_flight(), 0, "nobody waits for a body");
        client.write("GET /next HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(client.end().await, b"", "what comes next is no request");
        assert_eq!(rest(stream).await, b"", "and no body");
    }
}

#[tokio::test]
async fn an_expectation_whose_body_has_begun_is_a_body_like_any_other() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (stage, _) = Stage::of(&[listener.local_addr().unwrap()]);
    let request = "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\nexpect: 100-continue\r\n\r\nhalf";
    let (mut client, mut stream) = sent(&stage, &listener, request).await;
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly")
        .await
        .unwrap();
    let answer = client.read().await;
    assert_eq!((answer.status, answer.all("connection")), (200, vec![]));
    client.write("half").await;
    let mut received = [0; 4];
    stream.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"half");
}

#[tokio::test]
async fn a_body_that_is_granted_and_not_waited_for_is_still_taken() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (stage, _) = Stage::of(&[listener.local_addr().unwrap()]);
    let request = "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n";
    let (mut client, mut stream) = sent(&stage, &listener, request).await;
    stream
        .write_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly")
        .await
        .unwrap();
    assert_eq!(client.head().await.unwrap().status, 100);
    let answer = client.read().await;
    assert_eq!((answer.status, answer.all("connection")), (200, vec![]));
    client.write("body").await;
    let mut received = [0; 4];
    stream.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"body");
}

/// A client that goes on sending would do so in vain, and one that pauses is not waited for.
#[tokio::test]
async fn an_early_answer_of_a_backend_that_closes_says_so_and_frees_its_place() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (stage, endpoints) = Stage::of(&[listener.local_addr().unwrap()]);
    let request = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\nhalf";
    let (mut client, mut stream) = sent(&stage, &listener, request).await;
    stream
        .write_all(b"HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 3\r\n\r\nbig")
        .await
        .unwrap();
    let answer = client.read().await;
    assert_eq!((answer.status, answer.one("connection")), (413, "close"));
    assert_eq!(endpoints[0].meter.in_flight(), 1, "the backend may read on");
    drop(stream);
    assert_eq!(client.end().await, b"");
    assert_eq!(endpoints[0].meter.in_flight(), 0);
}
