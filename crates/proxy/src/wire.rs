//! Connections to backends, in the clear or inside TLS: how they are made, and how they look to a codec.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use edgeproxy_backend::{Endpoint, Protocol};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use crate::Config;
use crate::encrypted::Encrypted;
use crate::pool::Keep;
use crate::retry::Failed;
use crate::socket::Socket;
use crate::tls::{BackendTls, Offer, Permit};

/// A connection to a backend. Which it is costs a branch for each call, and nothing is in a box that was not.
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Encrypted, Permit),
}

/// Connects to a backend, to speak HTTP/1.1 there. The caller bounds the time.
pub(crate) async fn connect(endpoint: &Endpoint, config: &Config) -> Result<Wire, Failed> {
    connect_for(endpoint, config.backend_tls.as_ref(), Offer::Http1).await
}

/// Connects to a backend, inside TLS if it has registered so, where `offer` may be spoken. The caller bounds the time.
pub(crate) async fn connect_for(
    endpoint: &Endpoint,
    tls: Option<&BackendTls>,
    offer: Offer,
) -> Result<Wire, Failed> {
    let addr = endpoint.addr.socket_addr();
    let begun = Instant::now();
    let stream = dial(addr).await?;
    endpoint.meter.connected(begun.elapsed());
    if endpoint.protocol != Protocol::Https {
        return Ok(Wire::Plain(stream));
    }
    let Some(tls) = tls else {
        tracing::debug!(%addr, "a backend wants TLS, which is not set up for backends");
        return Err(Failed::Tls);
    };
    // In a box, so that only who needs it pays for its size.
    match Box::pin(tls.connect(addr.ip(), offer, stream)).await {
        Ok((stream, permit)) => Ok(Wire::Tls(stream, permit)),
        Err(error) => {
            tracing::debug!(%addr, %error, "a TLS handshake with a backend failed");
            Err(Failed::Tls)
        }
    }
}

/// Connects in the clear. The caller bounds the time.
pub(crate) async fn dial(addr: SocketAddr) -> Result<TcpStream, Failed> {
    let connected = async {
        let socket = if addr.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        // A head and a body that leave in two writes would otherwise wait for an acknowledgement between them.
        socket.set_nodelay(true)?;
        socket.connect(addr).await
    };
    connected.await.map_err(|error: io::Error| {
        tracing::debug!(%addr, %error, "a backend could not be connected to");
        match error.kind() {
            io::ErrorKind::TimedOut => Failed::ConnectTimeout,
            _ => Failed::Connect,
        }
    })
}

impl Wire {
    /// How long it may be kept, where that depends on what is asked of backends.
    pub(crate) fn permit(&self) -> Option<Permit> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(_, permit) => Some(permit.clone()),
        }
    }

    /// Whether HTTP/2 was agreed on in a TLS handshake.
    pub(crate) fn has_chosen_http2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream, _) => stream.protocol() == Some(b"h2"),
        }
    }
}

impl Keep for Wire {
    fn is_ready(&mut self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_quiet(),
            // Session tickets may have come, which are nothing said; the attempt takes them in.
            Self::Tls(stream, permit) => {
                let mut cx = Context::from_waker(Waker::noop());
                permit.stands() && stream.poll_readable(&mut cx).is_pending()
            }
        }
    }
}

impl Socket for Wire {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Socket::poll_readable(stream, cx),
            Self::Tls(stream, _) => stream.poll_readable(cx),
        }
    }

    fn part(&mut self) {
        match self {
            Self::Plain(stream) => stream.part(),
            Self::Tls(stream, _) => stream.part(),
        }
    }

    fn is_quiet(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_quiet(),
            Self::Tls(stream, _) => stream.is_quiet(),
        }
    }

    fn reset(self) {
        match self {
            Self::Plain(stream) => stream.reset(),
            Self::Tls(stream, _) => stream.reset(),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream, _) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream, _) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream, _) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream, _) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream, _) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
