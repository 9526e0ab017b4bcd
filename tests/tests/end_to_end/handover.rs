//! One process takes another's place, on the same sockets.

mod drains;
mod failures;
mod registrations;
mod under_load;

use std::net::SocketAddr;

use edgeproxy_tests::{Edgeproxy, PATIENCE, within};
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

/// A backend as the file has it.
fn listed(id: &str, app: &str, addr: SocketAddr) -> String {
    let (ip, port) = (addr.ip(), addr.port());
    format!("[[backends]]\nid = \"{id}\"\napp = \"{app}\"\nregion = \"eu\"\nip = \"{ip}\"\nport = {port}\n")
}

/// Waits for a line of the log that says this.
async fn logged(edgeproxy: &Edgeproxy, what: &str) -> String {
    let line = edgeproxy
        .logs()
        .find(|line| line.contains(what).then(|| line.to_owned()));
    let line = within(PATIENCE, what, line).await;
    line.expect("edgeproxy is running")
}

/// A backend of WebSockets that sends every message back.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("loopback can be bound");
    let addr = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut socket = accept_async(stream).await?;
                while let Some(message) = socket.next().await {
                    let message = message?;
                    if message.is_text() {
                        socket.send(message).await?;
                    }
                }
                Ok::<(), Error>(())
            });
        }
    });
    addr
}

/// A WebSocket through the proxy.
struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    async fn open(proxy: SocketAddr, host: &str) -> Self {
        let stream = TcpStream::connect(proxy).await.expect("it accepts");
        let opened = client_async(format!("ws://{host}/"), stream).await;
        Self(opened.unwrap_or_else(|error| panic!("the WebSocket: {error}")).0)
    }

    /// Sends a message, and gets it back.
    async fn says(&mut self, text: &str) -> Result<(), String> {
        let message = Message::text(text);
        self.0
            .send(message.clone())
            .await
            .map_err(|error| format!("not sent: {error}"))?;
        match within(PATIENCE, "a message", self.0.next()).await {
            Some(Ok(back)) if back == message => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }

    /// Waits for its end.
    async fn ended(&mut self) {
        while let Some(Ok(_)) = self.0.next().await {}
    }
}
