use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU16;
use std::time::Duration;

use edgeproxy_backend::BackendAddr;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

use super::probe::{OwnFault, Stop};
use super::{Failure, TlsClient};

/// Where a probe connects to.
pub(super) fn address(backend: BackendAddr, port: Option<NonZeroU16>) -> SocketAddr {
    SocketAddr::new(backend.ip(), port.map_or(backend.port(), NonZeroU16::get))
}

pub(super) async fn tcp(
    backend: BackendAddr,
    port: Option<NonZeroU16>,
    limit: Duration,
) -> Result<TcpStream, Stop> {
    let address = address(backend, port);
    match timeout(limit, TcpStream::connect(address)).await {
        Ok(connected) => judge(connected, || has_source(address)),
        Err(_) => Err(Failure::ConnectTimeout { limit }.into()),
    }
}

/// As [`tcp`], with a TLS handshake within the same time.
pub(super) async fn tls(
    (backend, port): (BackendAddr, Option<NonZeroU16>),
    limit: Duration,
    client: TlsClient,
    name: ServerName<'static>,
    protocols: &[&[u8]],
) -> Result<TlsStream<TcpStream>, Stop> {
    let began = Instant::now();
    let stream = tcp(backend, port, limit).await?;
    let protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let connector = TlsConnector::from(client.config);
    let handshake = connector.with_alpn(protocols).connect(name, stream);
    match timeout(limit.saturating_sub(began.elapsed()), handshake).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => {
            // What rustls says is in its words; what the system says is in few.
            let what = match error.get_ref() {
                Some(inner) => inner.to_string(),
                None => words(&error),
            };
            Err(Failure::Tls { what }.into())
        }
        Err(_) => Err(Failure::ConnectTimeout { limit }.into()),
    }
}

/// What the system's answer says about the backend.
pub(super) fn judge(
    connected: io::Result<TcpStream>,
    has_source: impl FnOnce() -> bool,
) -> Result<TcpStream, Stop> {
    match connected {
        Ok(stream) if met_itself(&stream) => Err(Failure::SelfConnect.into()),
        Ok(stream) => Ok(stream),
        Err(error) => Err(match own_fault(&error, has_source) {
            Some(fault) => Stop::OwnFault(fault(error)),
            None => Failure::Connect { what: words(&error) }.into(),
        }),
    }
}

/// Ends a connection that has told all it had to.
///
/// By FIN, not by RST (linger 0): many servers log a reset as an error, some count it against the peer,
/// and one that has not accepted yet may be handed a connection that is dead already. What FIN costs, a
/// socket in TIME-WAIT for a minute, falls to the prober and not to the backend, and is one of 28,000
/// ports for each backend and interval. Nothing is waited for: a server that closes late would hold one
/// of few places.
pub(super) fn leave(stream: TcpStream) {
    // A greeting that was not read would turn the FIN into an RST.
    let mut greeting = [0; 1024];
    let _ = stream.try_read(&mut greeting);
    drop(stream);
}

/// TCP's simultaneous open (RFC 9293 §3.5): a connection to a local port in the ephemeral range that
/// nobody listens on succeeds when the kernel picks that very port for our own end. It would report a
/// dead backend as alive.
fn met_itself(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(local), Ok(peer)) if local == peer)
}

/// What on this side a connection failed for want of, if anything.
///
/// To have no local port and to have no local address is the same error. Where no address of this host leads to a backend,
/// traffic fails there as well, and it is to be taken out.
fn own_fault(error: &io::Error, has_source: impl FnOnce() -> bool) -> Option<fn(io::Error) -> OwnFault> {
    /// The same numbers on every Unix.
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = if cfg!(target_os = "linux") { 105 } else { 55 };
    match (error.raw_os_error(), error.kind()) {
        (Some(ENFILE | EMFILE | ENOBUFS), _) | (_, io::ErrorKind::OutOfMemory) => Some(OwnFault::NothingLeft),
        (_, io::ErrorKind::AddrNotAvailable) if has_source() => Some(OwnFault::NoPort),
        _ => None,
    }
}

/// Whether this host has an address from which `address` can be reached. UDP is asked: its ports are others, and to connect
/// sends nothing.
pub(super) fn has_source(address: SocketAddr) -> bool {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let connected = UdpSocket::bind((any, 0)).and_then(|socket| socket.connect(address));
    !matches!(connected, Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable)
}

/// What an error is, in words alone where the standard library has some.
pub(super) fn words(error: &io::Error) -> String {
    match error.kind().to_string() {
        vague if matches!(vague.as_str(), "uncategorized error" | "other error") => error.to_string(),
        words => words,
    }
}
