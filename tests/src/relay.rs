use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What passes a [`Relay`]. What doesn't is kept back, as a network would send it again, and comes late.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Passing {
    /// Everything.
    Both,
    /// What is asked arrives, the answers don't.
    OnlyThere,
    /// Nothing.
    Neither,
    /// Everything, each piece so much later.
    Late(Duration),
}

/// A TCP proxy before a port on loopback, that can lose what passes in one direction or both.
pub struct Relay {
    address: SocketAddr,
    passing: watch::Sender<Passing>,
    /// Counts how often all connections were ended.
    cuts: watch::Sender<u64>,
    accepting: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Relay {
    /// Everything passes at first.
    ///
    /// # Panics
    /// If loopback can't be bound.
    pub async fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback can be bound");
        let address = listener.local_addr().expect("it is bound");
        let (passing, seen) = watch::channel(Passing::Both);
        let (cuts, cut) = watch::channel(0);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (seen, mut cut) = (seen.clone(), cut.clone());
                tokio::spawn(async move {
                    cut.mark_unchanged();
                    tokio::select! {
                        () = carry(client, port, seen) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self {
            address,
            passing,
            cuts,
            accepting,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on only that passes.
    pub fn set(&self, passing: Passing) {
        self.passing.send_replace(passing);
    }

    /// Ends every connection that there is.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn carry(client: TcpStream, port: u16, passing: watch::Receiver<Passing>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    let (client, server) = (client.into_split(), server.into_split());
    tokio::join!(
        pump(client.0, server.1, passing.clone(), |now| now != Passing::Neither),
        pump(server.0, client.1, passing, |now| {
            matches!(now, Passing::Both | Passing::Late(_))
        }),
    );
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut passing: watch::Receiver<Passing>,
    passes: impl Fn(Passing) -> bool,
) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        let Ok(now) = passing.wait_for(|now| passes(*now)).await.map(|now| *now) else {
            return;
        };
        if let Passing::Late(delay) = now {
            tokio::time::sleep(delay).await; // what is to be modelled, not a wait for anything
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
