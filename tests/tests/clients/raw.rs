//! A backend whose every byte the test writes itself.

use std::io;
use std::net::SocketAddr;

use edgeproxy_tests::{PATIENCE, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) struct RawBackend {
    listener: TcpListener,
}

impl RawBackend {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        Self {
            listener: listener.expect("loopback can be bound"),
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.listener.local_addr().expect("it is bound")
    }

    /// The next connection of the proxy's.
    pub(crate) async fn accept(&self) -> Conversation {
        let (stream, _) = within(PATIENCE, "the proxy connects", self.listener.accept())
            .await
            .expect("a connection");
        Conversation {
            stream,
            read: Vec::new(),
        }
    }
}

/// One of the proxy's connections.
pub(crate) struct Conversation {
    pub(crate) stream: TcpStream,
    read: Vec<u8>,
}

impl Conversation {
    /// The next request's head.
    pub(crate) async fn head(&mut self) -> String {
        within(PATIENCE, "a head comes", async {
            loop {
                if let Some(at) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                    let rest = self.read.split_off(at + 4);
                    let head = std::mem::replace(&mut self.read, rest);
                    return String::from_utf8(head).expect("a head is text");
                }
                let count = self.stream.read_buf(&mut self.read).await.expect("no reset");
                assert!(count > 0, "it ended within a head: {:?}", self.read);
            }
        })
        .await
    }

    /// That much of a body.
    pub(crate) async fn body(&mut self, length: usize) -> Vec<u8> {
        within(PATIENCE, "a body comes", async {
            while self.read.len() < length {
                let count = self.stream.read_buf(&mut self.read).await.expect("no reset");
                assert!(count > 0, "it ended after {} of {length} bytes", self.read.len());
            }
            let rest = self.read.split_off(length);
            std::mem::replace(&mut self.read, rest)
        })
        .await
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        within(PATIENCE, "the proxy takes it", self.stream.write_all(bytes))
            .await
            .expect("the proxy is there");
    }

    /// How much more comes until the proxy ends the connection, by an end or a reset.
    pub(crate) async fn until_it_ends(mut self) -> (usize, io::Result<()>) {
        within(PATIENCE, "the proxy ends the connection", async {
            let mut count = self.read.len();
            let mut buffer = vec![0; 64 * 1024];
            loop {
                match self.stream.read(&mut buffer).await {
                    Ok(0) => return (count, Ok(())),
                    Ok(more) => count += more,
                    Err(error) => return (count, Err(error)),
                }
            }
        })
        .await
    }
}
