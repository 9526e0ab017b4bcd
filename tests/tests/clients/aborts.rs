//! Clients that leave in the middle: the backend is told, and the place is free again.

use std::process::Stdio;

use edgeproxy_tests::{PATIENCE, Wire, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::raw::RawBackend;
use crate::stage::{before, in_flight};

#[tokio::test]
async fn in_an_upload_of_a_length() {
    let backend = RawBackend::start().await;
    let edgeproxy = before(backend.addr()).await;
    let mut client = Wire::connect(edgeproxy.proxy()).await;
    client
        .send(b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000000\r\n\r\nbegun")
        .await;
    let mut seen = backend.accept().await;
    seen.head().await;
    assert_eq!(seen.body(5).await, b"begun");
    in_flight(&edgeproxy, 1).await;
    drop(client);
    let (more, _) = seen.until_it_ends().await;
    assert_eq!(more, 0, "a body that broke off is not completed");
    in_flight(&edgeproxy, 0).await;
}

#[tokio::test]
async fn in_an_upload_in_chunks() {
    let backend = RawBackend::start().await;
    let edgeproxy = before(backend.addr()).await;
    let mut client = Wire::connect(edgeproxy.proxy()).await;
    client
        .send(b"POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n")
        .await;
    let mut seen = backend.accept().await;
    seen.head().await;
    assert_eq!(seen.body(10).await, b"5\r\nbegun\r\n");
    in_flight(&edgeproxy, 1).await;
    drop(client);
    let (more, _) = seen.until_it_ends().await;
    assert_eq!(more, 0, "no last chunk is made up");
    in_flight(&edgeproxy, 0).await;
}

#[tokio::test]
async fn in_a_download() {
    let backend = RawBackend::start().await;
    let edgeproxy = before(backend.addr()).await;
    let mut client = TcpStream::connect(edgeproxy.proxy()).await.expect("it accepts");
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
        .await
        .expect("it is taken");
    let mut seen = backend.accept().await;
    seen.head().await;
    seen.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nbegun")
        .await;
    let mut read = vec![0; 64];
    client.read_exact(&mut read).await.expect("the answer begins");
    in_flight(&edgeproxy, 1).await;
    drop(client);
    // It is told by the proxy's taking no more: what is sent here, nobody wants.
    let writing = async { while seen.stream.write_all(&[0; 64 * 1024]).await.is_ok() {} };
    within(PATIENCE, "the backend can't go on", writing).await;
    in_flight(&edgeproxy, 0).await;
}

/// As a person's Ctrl-C, or worse.
#[tokio::test]
async fn a_killed_curl_in_a_download() {
    let backend = RawBackend::start().await;
    let edgeproxy = before(backend.addr()).await;
    let mut curl = Command::new("curl")
        .args(["--silent", "--no-buffer", "--noproxy", "*"])
        .arg(format!("http://{}/", edgeproxy.proxy()))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("these tests need curl");
    let mut seen = backend.accept().await;
    seen.head().await;
    seen.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n")
        .await;
    let mut read = vec![0; 5];
    let mut output = curl.stdout.take().expect("it was asked for");
    within(PATIENCE, "curl prints it", output.read_exact(&mut read))
        .await
        .expect("curl is running");
    assert_eq!(read, b"begun");
    in_flight(&edgeproxy, 1).await;
    curl.kill().await.expect("it can be killed");
    let writing = async { while seen.stream.write_all(b"4\r\nmore\r\n").await.is_ok() {} };
    within(PATIENCE, "the backend can't go on", writing).await;
    in_flight(&edgeproxy, 0).await;
}

/// A client that resets its connection before there is an answer.
#[tokio::test]
async fn before_the_answer() {
    let backend = RawBackend::start().await;
    let edgeproxy = before(backend.addr()).await;
    let mut client = TcpStream::connect(edgeproxy.proxy()).await.expect("it accepts");
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
        .await
        .expect("it is taken");
    let mut seen = backend.accept().await;
    seen.head().await;
    in_flight(&edgeproxy, 1).await;
    client.set_zero_linger().expect("it can be reset");
    drop(client);
    let (more, _) = seen.until_it_ends().await;
    assert_eq!(more, 0);
    in_flight(&edgeproxy, 0).await;
}
