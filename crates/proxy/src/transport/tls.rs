//! TLS as the data plane uses it: the configurations in force, and handshakes with clients and backends.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use arc_swap::ArcSwap;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::exchange::answer::Answer;
use crate::http1::response::Persist;
use crate::transport::encrypted::{Encrypted, Unshaken};
use crate::worker::Worker;

/// TLS at a listener: the configuration in force, which can be replaced at any time. Cheap to clone; a clone is
/// the same, and equal to no other.
#[derive(Clone)]
pub struct Tls(Arc<ArcSwap<ServerConfig>>);

impl Tls {
    /// Ends TLS by that configuration. Over HTTP its ALPN protocols say what clients may speak: `h2` and
    /// `http/1.1`.
    #[must_use]
    pub fn new(config: Arc<ServerConfig>) -> Self {
        Self(Arc::new(ArcSwap::new(config)))
    }

    /// Has every handshake that begins from now on go by another configuration. Connections that are there
    /// already go on as they are.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        self.0.store(config);
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Tls {}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// TLS to backends of protocol `https`: the configuration in force and the name that certificates have to be for,
/// which can be replaced at any time. Cheap to clone; a clone is the same.
#[derive(Clone)]
pub struct BackendTls(Arc<ArcSwap<Demands>>);

/// What is asked of backends.
struct Demands {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
    /// Of connections that are made by it.
    permit: Permit,
}

/// Whether a kept connection to a backend may take another request: not once backends are asked for something else.
#[derive(Clone)]
pub(crate) struct Permit(Arc<AtomicBool>);

impl Permit {
    fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    pub(crate) fn stands(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn revoke(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl BackendTls {
    /// Connects by that configuration, but for its ALPN protocols, which depend on what a connection is for. A backend's
    /// certificate has to be for its IP address.
    #[must_use]
    pub fn new(config: Arc<ClientConfig>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Demands {
            config,
            server_name: None,
            permit: Permit::new(),
        })))
    }

    /// Every backend's certificate has to be for `name`, a DNS name or an IP address, and that is whom they are
    /// asked for (SNI).
    ///
    /// # Errors
    /// When it is neither.
    pub fn with_server_name(self, name: &str) -> Result<Self, InvalidDnsNameError> {
        Ok(Self(Arc::new(ArcSwap::from_pointee(Demands {
            config: Arc::clone(&self.0.load().config),
            server_name: Some(ServerName::try_from(name)?.to_owned()),
            permit: Permit::new(),
        }))))
    }

    /// Has every connection that is made from now on go by another configuration, for the same name.
    pub fn replace(&self, config: Arc<ClientConfig>) {
        let before = self.0.load();
        self.0.store(Arc::new(Demands {
            config,
            server_name: before.server_name.clone(),
            permit: before.permit.clone(),
        }));
    }

    /// Has every connection that is made from now on go by what `other` does now, the name included.
    pub fn follow(&self, other: &Self) {
        let (before, other) = (self.0.load(), other.0.load());
        self.0.store(Arc::new(Demands {
            config: Arc::clone(&other.config),
            server_name: other.server_name.clone(),
            permit: before.permit.clone(),
        }));
    }

    /// Has every request from now on go by what `other` does now, the name included: connections that were made so far
    /// get no further one.
    pub fn renew(&self, other: &Self) {
        let other = other.0.load();
        let before = self.0.swap(Arc::new(Demands {
            config: Arc::clone(&other.config),
            server_name: other.server_name.clone(),
            permit: Permit::new(),
        }));
        before.permit.revoke();
    }

    /// What is in force now: the configuration, and the name that certificates have to be for, if it isn't the
    /// backend's IP address. For whoever else connects to backends, such as their probes.
    #[must_use]
    pub fn in_force(&self) -> (Arc<ClientConfig>, Option<ServerName<'static>>) {
        let demands = self.0.load();
        (Arc::clone(&demands.config), demands.server_name.clone())
    }

    /// Shakes hands with the backend at `ip`, which may choose what is offered.
    pub(crate) async fn connect(
        &self,
        ip: IpAddr,
        offer: Offer,
        stream: TcpStream,
    ) -> io::Result<(Encrypted, Permit)> {
        let demands = self.0.load_full();
        let name = demands
            .server_name
            .clone()
            .unwrap_or_else(|| ServerName::from(ip.to_canonical()));
        let protocols: &[&[u8]] = match offer {
            Offer::Http1 => &[b"http/1.1"],
            Offer::Either => &[b"h2", b"http/1.1"],
        };
        let stream = Encrypted::connect(Arc::clone(&demands.config), name, protocols, stream).await?;
        Ok((stream, demands.permit.clone()))
    }
}

/// What may be spoken inside TLS to a backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Offer {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, or else HTTP/1.1.
    Either,
}

impl fmt::Debug for BackendTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackendTls")
            .field("server_name", &self.0.load().server_name)
            .finish_non_exhaustive()
    }
}

/// Shakes hands with a client of HTTP. `None`: it failed, or took too long. One that speaks in the clear is told
/// so, in the only words that it understands.
pub(crate) async fn accept_http(
    worker: &Worker,
    tls: &Tls,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<Encrypted> {
    match accept_or_not(worker, tls, stream, peer).await {
        Ok(stream) => Some(stream),
        Err(None) => None,
        Err(Some(stream)) => {
            let answer = Answer::bad_request("this port speaks TLS: connect by https");
            Box::pin(tell_and_part(
                worker,
                stream,
                &answer.into_bytes(Persist::Close, true),
            ))
            .await;
            None
        }
    }
}

/// Shakes hands with a client. `None`: it failed, or took too long.
pub(crate) async fn accept(
    worker: &Worker,
    tls: &Tls,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<Encrypted> {
    accept_or_not(worker, tls, stream, peer).await.ok()
}

/// A client that speaks in the clear gets its socket back.
async fn accept_or_not(
    worker: &Worker,
    tls: &Tls,
    stream: TcpStream,
    peer: SocketAddr,
) -> Result<Encrypted, Option<TcpStream>> {
    // In a box, since it is larger than what comes after it.
    let handshake = Box::pin(Encrypted::accept(tls.0.load_full(), stream));
    match within(worker, handshake).await {
        Some(Ok(stream)) => Ok(stream),
        Some(Err(Unshaken::Failed(error))) => {
            tracing::debug!(%peer, %error, "a TLS handshake failed");
            Err(None)
        }
        Some(Err(Unshaken::InTheClear(stream))) => {
            tracing::debug!(%peer, "a client speaks in the clear where TLS is spoken");
            Err(Some(stream))
        }
        None => {
            tracing::debug!(%peer, "a TLS handshake took too long");
            Err(None)
        }
    }
}

/// As much is taken of a client that has been told.
const PART_MAX: usize = 64 * 1024;

/// Tells a client whose connection ends, and takes what it is still sending: closing on that would make the system
/// reset the connection, and what was told could be lost.
pub(crate) async fn tell_and_part(worker: &Worker, mut client: TcpStream, words: &[u8]) {
    let told = async {
        client.write_all(words).await?;
        client.shutdown().await?;
        let (mut sink, mut left) = ([0; 512], PART_MAX);
        loop {
            match client.read(&mut sink).await? {
                count if count > 0 && count < left => left -= count,
                _ => return Ok::<_, io::Error>(()),
            }
        }
    };
    // Nobody is left to be told of an error.
    let _ = within(worker, told).await;
}

/// Waits for what a client has to say before it can be served, for as long as a handshake may take; when the
/// worker drains, for the grace only, as for any client that has not asked for anything yet. `None`: it took too
/// long.
pub(crate) async fn within<F: Future>(worker: &Worker, waited: F) -> Option<F::Output> {
    let (timer, config) = (worker.timers().timer(), worker.config());
    let due = Instant::now() + config.handshake_timeout;
    timer.arm(due);
    let mut waited = pin!(waited);
    let mut draining = false;
    poll_fn(|cx| {
        if timer.poll_due(cx).is_ready() {
            return Poll::Ready(None);
        }
        if worker.is_draining() && !draining {
            draining = true;
            if let Some(patience) = worker.patience(false) {
                timer.arm(due.min(Instant::now() + patience));
            }
        }
        waited.as_mut().poll(cx).map(Some)
    })
    .await
}
