//! TLS that is passed on unopened: what a client says first is looked at for the server name, which names an app
//! as a `Host` would, and then the connection is one of TCP.
//!
//! The first message, the ClientHello, may come in any pieces: with a post-quantum key share it is longer than a
//! segment. It is read by rustls, which refuses what is none, and kept as it came, since the backend gets it
//! first. A client that can't be routed is told so by an alert: a silent end would look like a fault of the
//! network.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::server::Acceptor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::proxy_protocol::Named;
use crate::worker::Worker;
use crate::{AppRoute, Protocol, tcp, tls};

/// The longest ClientHello that is read, with its records' heads.
const MAX_HELLO: usize = 16 * 1024;

/// As much as is read in one go. Most of them fit.
const CHUNK: usize = 2 * 1024;

/// Serves a connection until it ends. `named` is what a proxy said of it. Nothing is done for a listener that
/// doesn't pass TLS on.
pub(crate) async fn serve(
    worker: &Worker,
    listener: usize,
    mut client: TcpStream,
    peer: SocketAddr,
    named: Option<Named>,
) {
    let Some(listener) = worker.config().listeners.get(listener) else {
        return;
    };
    let Protocol::Sni { .. } = &listener.protocol else {
        return;
    };
    let mut lead = tcp::lead(listener, named, peer, || client.local_addr());
    let decided = tls::within(worker, async {
        let name = hello(&mut client, &mut lead).await?;
        match route(worker, name.as_deref()) {
            Some(route) => Ok(route),
            None => Err(Refused::Unroutable(name)),
        }
    });
    let refused = match decided.await {
        Some(Ok(route)) => return tcp::pass(worker, listener, client, &route, lead, peer).await,
        Some(Err(refused)) => refused,
        None => Refused::Slow,
    };
    tracing::debug!(%peer, listener = listener.name.as_str(), "a TLS connection was refused: {refused}");
    if let Some(alert) = refused.alert() {
        tls::within(worker, part(&mut client, &alert)).await;
    }
}

fn route(worker: &Worker, name: Option<&str>) -> Option<Arc<AppRoute>> {
    worker.table().load().route(name.unwrap_or_default()).cloned()
}

/// Why a client gets no backend.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("its server name {0:?} names no app, nor does its first label")]
    Unroutable(Option<String>),
    #[error("it does not begin with a ClientHello: {error}")]
    Malformed { error: rustls::Error, alert: Vec<u8> },
    #[error("its ClientHello is longer than 16384 bytes")]
    TooLong,
    #[error("its ClientHello took too long")]
    Slow,
    #[error("it ended within the ClientHello")]
    Ended,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// RFC 8446 §6.2 and RFC 6066 §3.
const DECODE_ERROR: u8 = 50;
const UNRECOGNIZED_NAME: u8 = 112;

impl Refused {
    /// The record that tells the client.
    fn alert(self) -> Option<Vec<u8>> {
        // An alert (21) in a record of TLS 1.2, which every version begins with; fatal (2).
        let fatal = |alert| vec![21, 3, 3, 0, 2, 2, alert];
        match self {
            Self::Unroutable(_) => Some(fatal(UNRECOGNIZED_NAME)),
            Self::TooLong => Some(fatal(DECODE_ERROR)),
            Self::Malformed { alert, .. } => Some(alert),
            Self::Slow | Self::Ended | Self::Io(_) => None,
        }
    }
}

/// Reads until the ClientHello is whole, and appends all that has come to `lead`. The server name that it asks
/// for, in lower case.
async fn hello(client: &mut TcpStream, lead: &mut Vec<u8>) -> Result<Option<String>, Refused> {
    let begins = lead.len();
    let mut acceptor = Acceptor::default();
    loop {
        let seen = lead.len();
        lead.reserve(CHUNK);
        if client.read_buf(lead).await? == 0 {
            return Err(Refused::Ended);
        }
        let mut news = lead.get(seen..).unwrap_or_default();
        while !news.is_empty() {
            acceptor.read_tls(&mut news)?;
            match acceptor.accept() {
                Ok(Some(accepted)) => {
                    let name = accepted.client_hello().server_name().map(str::to_ascii_lowercase);
                    return Ok(name);
                }
                Ok(None) => {}
                Err((error, mut pending)) => {
                    let mut alert = Vec::new();
                    // To memory it can't fail.
                    let _ = pending.write_all(&mut alert);
                    return Err(Refused::Malformed { error, alert });
                }
            }
        }
        if lead.len() - begins >= MAX_HELLO {
            return Err(Refused::TooLong);
        }
    }
}

/// Says why, and takes what the client is still sending: closing on it would make the system reset the
/// connection, and the alert could be lost.
async fn part(client: &mut TcpStream, alert: &[u8]) {
    let told = async {
        client.write_all(alert).await?;
        client.shutdown().await?;
        let (mut sink, mut left) = ([0; 512], MAX_HELLO);
        loop {
            match client.read(&mut sink).await? {
                count if count > 0 && count < left => left -= count,
                _ => return Ok::<_, io::Error>(()),
            }
        }
    };
    // Nobody is left to be told of an error.
    let _ = told.await;
}
