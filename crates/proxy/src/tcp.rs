//! A TCP connection: a backend is picked for it as for a request, and then bytes go both ways until both sides
//! have said all, or one of them breaks.
//!
//! Connecting is what is tried again and what the backend's ledger hears of: once connected, who closes, when
//! and why is a matter between the two ends. A connection holds its place on the backend to its end. Whatever
//! ends it other than both sides' own FIN or silence ends it by a reset, so that neither side takes the part
//! for the whole: the other side's reset, the backend's cut, the end of a drain, an abort. So does a client
//! for which there is no backend. One that finds every backend at its hard limit waits in the app's queue, as
//! a request does.

mod bounds;
mod connecting;
mod direction;
mod relay;
pub(crate) mod sni;
mod supplies;
mod terminated;

#[cfg(any(test, not(target_os = "linux")))]
mod copy;
#[cfg(target_os = "linux")]
mod splice;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use edgeproxy_backend::{AppName, InFlight};
use tokio::net::TcpStream;

use crate::listen::proxy_protocol::{self, Named};
use crate::telemetry::counts::Open;
use crate::transport::encrypted::Encrypted;
use crate::worker::Worker;
use crate::{AppRoute, Listener, Protocol};
use connecting::{Connected, connected};
pub(crate) use relay::Ended;
use relay::relay;
pub(crate) use supplies::Supplies;

/// Serves a connection until it ends. `peer` is the client, `named` what a proxy said of it. Nothing is done for a listener that
/// doesn't speak TCP.
pub(crate) async fn serve(
    worker: &Worker,
    listener: usize,
    client: TcpStream,
    peer: SocketAddr,
    named: Option<Named>,
) {
    let Some(listener) = worker.config().listeners.get(listener) else {
        return;
    };
    let Protocol::Tcp { app, .. } = &listener.protocol else {
        return;
    };
    let lead = lead(listener, named, peer, || client.local_addr());
    pass(worker, listener, client, app, lead, peer).await;
}

/// Serves a connection whose TLS ends here until it ends: what is inside is passed on.
pub(crate) async fn serve_tls(
    worker: &Worker,
    listener: usize,
    client: Encrypted,
    peer: SocketAddr,
    named: Option<Named>,
) {
    let Some(listener) = worker.config().listeners.get(listener) else {
        return;
    };
    let Protocol::Tcp { app, .. } = &listener.protocol else {
        return;
    };
    let lead = lead(listener, named, peer, || client.local_addr());
    terminated::pass(worker, listener, client, app, &lead, peer).await;
}

/// What a backend gets before anything that the client says.
pub(crate) fn lead(
    listener: &Listener,
    named: Option<Named>,
    peer: SocketAddr,
    local_addr: impl FnOnce() -> io::Result<SocketAddr>,
) -> Vec<u8> {
    let (Protocol::Tcp { send_proxy, .. } | Protocol::Sni { send_proxy, .. }) = &listener.protocol else {
        return Vec::new();
    };
    let header = send_proxy.map(|version| {
        let ends = named.unwrap_or_else(|| Named {
            client: peer,
            // A socket whose own address can't be told is one that is gone already.
            server: local_addr().unwrap_or(peer),
        });
        proxy_protocol::header(version, ends)
    });
    header.unwrap_or_default()
}

fn idle_timeout(listener: &Listener, app: &AppRoute) -> Duration {
    match &listener.protocol {
        Protocol::Tcp { idle_timeout, .. } | Protocol::Sni { idle_timeout, .. } => *idle_timeout,
        Protocol::Http => None,
    }
    .unwrap_or(app.settings.tcp_idle_timeout)
}

/// Passes a connection on to a backend of `app`, which gets `lead` first, until it ends.
pub(crate) async fn pass(
    worker: &Worker,
    listener: &Listener,
    client: TcpStream,
    app: &AppName,
    lead: Vec<u8>,
    peer: SocketAddr,
) {
    let mut ends = Ends::new(client);
    let Some(Connected { taken, backend, app }) = connected(worker, app, &lead, peer).await else {
        return;
    };
    drop(lead);
    let backend = ends.backend.insert(backend);
    // Held to the end, so that it can be cut.
    let place = &taken.place;
    let upstream = worker.upstream(place.endpoint());
    let idle = idle_timeout(listener, &app);
    drop(app);
    let open = Open::new(Rc::clone(upstream.tally()));
    let relayed = relay(&ends.client, backend, (worker.supplies(), &open), idle);
    let ended = tokio::select! {
        biased;
        ended = relayed => ended,
        () = upstream.cut().cancelled() => Ended::Cut,
    };
    ends.whole = ended.is_whole();
    tell_end(&ended, listener, place, peer);
}

fn tell_end(ended: &Ended, listener: &Listener, place: &InFlight, peer: SocketAddr) {
    let (backend, listener) = (&place.endpoint().id, listener.name.as_str());
    match ended {
        Ended::Broken(error) => {
            tracing::debug!(%peer, listener, %backend, %error, "a TCP connection broke");
        }
        ended => tracing::debug!(%peer, listener, %backend, ?ended, "a TCP connection ended"),
    }
}

/// Both sockets. Dropped before they have said all, they are closed by a reset.
struct Ends {
    client: TcpStream,
    backend: Option<TcpStream>,
    whole: bool,
}

impl Ends {
    fn new(client: TcpStream) -> Self {
        Self {
            client,
            backend: None,
            whole: false,
        }
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        if self.whole {
            return;
        }
        for stream in std::iter::once(&self.client).chain(&self.backend) {
            // A socket that can't be told to has no peer to hear it.
            let _ = stream.set_zero_linger();
        }
    }
}
