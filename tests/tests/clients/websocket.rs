//! WebSockets by a library of other people's on both sides.

use std::net::SocketAddr;

use edgeproxy_tests::{PATIENCE, within};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use crate::raw::RawBackend;
use crate::stage::{before, in_flight};

type Socket = WebSocketStream<TcpStream>;

/// A backend that sends back every message, and closes with its client.
pub(crate) async fn echo_backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("loopback can be bound");
    let addr = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo(stream));
        }
    });
    addr
}

async fn echo(stream: TcpStream) -> Result<(), Error> {
    let mut socket = accept_async(stream).await?;
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}

/// Opens one through the proxy.
pub(crate) async fn open(proxy: SocketAddr) -> Socket {
    let opening = async {
        let stream = TcpStream::connect(proxy).await.expect("it accepts");
        client_async("ws://shop/socket", stream).await
    };
    let (socket, response) = within(PATIENCE, "it opens", opening).await.expect("it opens");
    assert_eq!(response.status(), 101);
    socket
}

/// The next message.
pub(crate) async fn next(socket: &mut Socket) -> Message {
    within(PATIENCE, "a message comes", socket.next())
        .await
        .expect("it is open")
        .expect("it is well formed")
}

#[tokio::test]
async fn messages_pings_and_the_closing_handshake_pass() {
    let edgeproxy = before(echo_backend().await).await;
    let mut socket = open(edgeproxy.proxy()).await;
    let messages = [
        Message::text("hello"),
        Message::text(""),
        Message::binary(vec![0, 255, 13, 10]),
        Message::binary(vec![7; 3 << 20]),
    ];
    for message in messages {
        socket.send(message.clone()).await.expect("it is taken");
        assert!(next(&mut socket).await == message);
    }
    socket
        .send(Message::Ping(Bytes::from_static(b"there?")))
        .await
        .expect("it is taken");
    assert_eq!(
        next(&mut socket).await,
        Message::Pong(Bytes::from_static(b"there?"))
    );
    in_flight(&edgeproxy, 1).await;

    let close = CloseFrame {
        code: CloseCode::Away,
        reason: "that was all".into(),
    };
    socket.close(Some(close.clone())).await.expect("it is taken");
    let answered = next(&mut socket).await;
    assert!(
        matches!(&answered, Message::Close(Some(frame)) if frame.code == close.code),
        "{answered:?}"
    );
    let ended = within(PATIENCE, "it ends", socket.next()).await;
    assert!(
        matches!(ended, None | Some(Err(Error::ConnectionClosed))),
        "{ended:?}"
    );
    // RFC 6455 §7.1.1: the server closes first, and then the client.
    drop(socket);
    in_flight(&edgeproxy, 0).await;
}

/// A side that has said all may shut its half; the other goes on.
#[tokio::test]
async fn each_half_closes_on_its_own() {
    const REQUEST: &[u8] =
        b"GET /socket HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    const SWITCHED: &[u8] =
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let backend = RawBackend::start().await;
    let edgeproxy = before(backend.addr()).await;
    for client_first in [true, false] {
        let mut client = TcpStream::connect(edgeproxy.proxy()).await.expect("it accepts");
        client.write_all(REQUEST).await.expect("it is taken");
        let mut seen = backend.accept().await;
        seen.head().await;
        seen.send(SWITCHED).await;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.expect("the switch is passed on"));
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "));
        in_flight(&edgeproxy, 1).await;
        let server = &mut seen.stream;
        let (first, second) = if client_first {
            (&mut client, server)
        } else {
            (server, &mut client)
        };
        says_and_shuts(first, second, b"all that I say").await;
        in_flight(&edgeproxy, 1).await;
        second.write_all(b"more").await.expect("it is taken");
        let mut more = [0; 4];
        within(PATIENCE, "it gets through", first.read_exact(&mut more))
            .await
            .expect("that half is open");
        assert_eq!(&more, b"more");
        says_and_shuts(second, first, b"the rest").await;
        in_flight(&edgeproxy, 0).await;
    }
}

async fn says_and_shuts(from: &mut TcpStream, to: &mut TcpStream, words: &[u8]) {
    from.write_all(words).await.expect("it is taken");
    from.shutdown().await.expect("half of it is closed");
    let mut heard = Vec::new();
    within(PATIENCE, "an end comes", to.read_to_end(&mut heard))
        .await
        .expect("an end, not a reset");
    assert_eq!(heard, words);
}

/// A backend that does not want to switch says so, and the connection serves on.
#[tokio::test]
async fn a_refusal_to_switch_is_an_answer_like_any_other() {
    let backend = RawBackend::start().await;
    let edgeproxy = before(backend.addr()).await;
    let stream = TcpStream::connect(edgeproxy.proxy()).await.expect("it accepts");
    let (refused, ()) = tokio::join!(client_async("ws://shop/socket", stream), async {
        let mut seen = backend.accept().await;
        let head = seen.head().await.to_ascii_lowercase();
        for line in [
            "connection: upgrade",
            "upgrade: websocket",
            "sec-websocket-version: 13",
        ] {
            assert!(head.contains(&format!("\r\n{line}\r\n")), "{head}");
        }
        seen.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
            .await;
        in_flight(&edgeproxy, 0).await;
    });
    match refused {
        Err(Error::Http(response)) => assert_eq!(response.status(), 403),
        other => panic!("expected 403, found {other:?}"),
    }
}
