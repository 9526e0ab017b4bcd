//! Event streams on their way to the end of a connection.

use edgeproxy_registry::{Event, EventKind};
use tokio::time::interval;

use super::*;
use crate::events::tests::event;

/// Reads until that text has come.
async fn read_up_to(stream: &mut TcpStream, text: &str) -> String {
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains(text) {
        let got = stream.read_buf(&mut read).await.unwrap();
        assert!(got > 0, "it ended after {}", String::from_utf8_lossy(&read));
    }
    String::from_utf8_lossy(&read).into_owned()
}

const FOLLOW: &[u8] = b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";

#[tokio::test]
async fn shutdown_and_leaving_end_every_event_stream_cleanly_and_say_when_to_come_back() {
    for leaves in [false, true] {
        let mut server = Server::start(Bounds::default()).await;
        let mut following = server.connect().await;
        following.write_all(FOLLOW).await.unwrap();
        read_up_to(&mut following, "retry: 2000\n").await;
        server
            .exchange(&post("/api/v1/register", &registration("a").to_string()))
            .await;
        read_up_to(&mut following, "event: registered\n").await;
        if leaves {
            server.leave().await;
        } else {
            server.stop();
        }
        let rest = read_to_end(&mut following).await;
        // The last chunk says that it is whole (RFC 9112, section 7.1).
        assert!(
            rest.contains("retry: 300\n") && rest.ends_with("\r\n0\r\n\r\n"),
            "{leaves}: {rest}"
        );
        if leaves {
            server.stop();
        }
        server.serving.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_reader_of_events_that_takes_nothing_is_cut() {
    let server = Server::start(Bounds {
        write_timeout: Duration::from_millis(200),
        ..Bounds::default()
    })
    .await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut following = socket.connect(server.addr).await.unwrap();
    following.write_all(FOLLOW).await.unwrap();
    read_up_to(&mut following, "retry: 2000\n").await;
    // More and more, until all the buffers in between are full and the time for a write has passed.
    let long = Event {
        id: BackendId::parse(&"b".repeat(128)).unwrap(),
        app: AppName::parse(&"a".repeat(63)).unwrap(),
        ..event(0, EventKind::Changed)
    };
    let mut sequence = 0;
    // No quicker than it is written, or the ring would go on without the reader, and that would be a few bytes.
    let mut pace = interval(Duration::from_millis(20));
    while server.events.readers() > 0 {
        pace.tick().await;
        for _ in 0..256 {
            sequence += 1;
            server.events.tell(&Event {
                sequence,
                ..long.clone()
            });
        }
    }
    // It was cut, not kept: what it had got so far ends before the newest event, without a last chunk.
    let got = read_to_end(&mut following).await;
    assert!(!got.ends_with("\r\n0\r\n\r\n"));
    assert!(got.len() > 100_000, "{}", got.len());
}
