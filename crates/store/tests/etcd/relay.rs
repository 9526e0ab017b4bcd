//! A TCP proxy between a store and a member that can lose what passes, in one direction or both.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What passes. What doesn't is kept back, as the network would send it again, and comes late.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Traffic {
    Both,
    /// What is asked arrives, the answers don't.
    OnlyThere,
    /// What the server sends arrives, the questions don't.
    OnlyBack,
    Neither,
}

pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    traffic: watch::Sender<Traffic>,
    accepting: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Relay {
    pub(crate) async fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (traffic, seen) = watch::channel(Traffic::Both);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, port, seen.clone()));
            }
        });
        Self {
            address,
            traffic,
            accepting,
        }
    }

    pub(crate) fn set(&self, traffic: Traffic) {
        self.traffic.send_replace(traffic);
    }
}

async fn carry(client: TcpStream, port: u16, traffic: watch::Receiver<Traffic>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    let (client, server) = (client.into_split(), server.into_split());
    let there = |traffic| matches!(traffic, Traffic::Both | Traffic::OnlyThere);
    let back = |traffic| matches!(traffic, Traffic::Both | Traffic::OnlyBack);
    tokio::join!(
        pump(client.0, server.1, traffic.clone(), there),
        pump(server.0, client.1, traffic, back),
    );
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut traffic: watch::Receiver<Traffic>,
    passes: impl Fn(Traffic) -> bool,
) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        if traffic.wait_for(|now| passes(*now)).await.is_err()
            || to.write_all(&buffer[..count]).await.is_err()
        {
            return;
        }
    }
}
