pub(crate) mod accept;
pub(crate) mod connection;
pub(crate) mod networks;
pub(crate) mod tls;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::serve::connection::Acceptor;
use crate::serve::networks::Network;
use crate::serve::tls::Handshakes;
use crate::state::State;

/// Serves the API on `listener` until `shutdown` resolves, and then until requests under way have ended,
/// or [`Bounds::drain_timeout`](crate::Bounds::drain_timeout) has passed. Runs on any tokio runtime; one
/// thread is enough.
///
/// # Errors
/// When the listener is no working socket. A connection that fails, or can't be accepted, costs itself
/// alone.
pub async fn serve(
    listener: TcpListener,
    state: State,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    serve_until_left(listener, state, std::future::pending(), shutdown).await
}

/// As [`serve`], but once `left` has resolved no more connections are accepted, since another process does on the same
/// socket. Those that there are go on until `shutdown`, and each is told with its next answer to connect anew.
///
/// # Errors
/// As of [`serve`].
pub async fn serve_until_left(
    listener: TcpListener,
    state: State,
    left: impl Future<Output = ()>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let bounds = state.bounds;
    let (tls, events) = (state.tls.clone(), state.events.clone());
    tracing::info!(addr = %listener.local_addr()?, tls = tls.is_some(), "serving the API");
    let places = Arc::new(Semaphore::new(
        bounds.connections.clamp(1, Semaphore::MAX_PERMITS),
    ));
    let (stop, stopping) = watch::channel(());
    let acceptor = Acceptor::new(state, Arc::clone(&places), stopping);
    let mut connections = JoinSet::new();
    let mut handshakes = Handshakes::new(bounds.handshakes);
    let (mut left, mut shutdown) = (pin!(left), pin!(shutdown));
    let mut listener = Some(listener);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            () = &mut left, if listener.is_some() => {
                listener = None;
                // From now on nobody keeps a connection between requests, however many places are free.
                places.close();
                // Who follows events goes on with the other one.
                events.end();
            }
            Some(_) = connections.join_next() => {}
            (stream, peer, place) = accept_with_place(listener.as_ref(), &places), if tls.is_none() => {
                connections.spawn(acceptor.clone().serve(stream, peer, place));
            }
            (stream, peer) = accept(listener.as_ref()), if tls.is_some() => {
                let Some(tls) = tls.clone() else { continue };
                let network = Network::of(peer.ip());
                if let Some(network) = network && let Err(why) = acceptor.check_handshake(network) {
                    acceptor.closings().tell(&why);
                    continue;
                }
                let acceptor = acceptor.clone();
                handshakes.begin(network, |under_way| {
                    connections.spawn(acceptor.serve_tls(tls, stream, peer, under_way))
                });
            }
        }
    }
    events.end();
    drop((listener, stop));
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(bounds.drain_timeout, ended).await.is_err() {
        tracing::warn!(
            left = connections.len(),
            "API requests did not end in time; closing their connections"
        );
        connections.shutdown().await;
    }
    Ok(())
}

/// A place first, then a connection: whoever finds no place waits in the kernel's queue, not in ours.
async fn accept_with_place(
    listener: Option<&TcpListener>,
    places: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    // It is closed once there is no listener any more, and then nothing comes of it.
    let place = Arc::clone(places).acquire_owned().await.ok();
    let (stream, peer) = accept(listener).await;
    (stream, peer, place)
}

async fn accept(listener: Option<&TcpListener>) -> (TcpStream, SocketAddr) {
    /// Out of file descriptors or memory: trying again at once would only burn a core.
    const PAUSE: Duration = Duration::from_millis(50);
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "the API can't accept a connection");
                sleep(PAUSE).await;
            }
        }
    }
}

/// The connection was gone before it was accepted.
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests;
