//! Connections to backends, in the clear or inside TLS: how they are made, and how they look to a codec.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use edgeproxy_backend::{Endpoint, Protocol};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::Config;
use crate::exchange::retry::Failed;
use crate::telemetry::counts::{Open, Tally};
use crate::transport::encrypted::Encrypted;
use crate::transport::socket::Socket;
use crate::transport::tls::{BackendTls, Offer, Permit};
use crate::upstream::dialing::Dialing;
use crate::upstream::pool::Keep;

/// A connection to a backend, which counts what goes by it.
pub(crate) struct Wire {
    stream: Stream,
    open: Open,
}

/// Which it is costs a branch for each call, and nothing is in a box that was not.
enum Stream {
    Plain(TcpStream),
    Tls(Encrypted, Permit),
}

/// Connects to a backend, to speak HTTP/1.1 there. The caller bounds the time.
pub(crate) async fn connect(
    endpoint: &Endpoint,
    config: &Config,
    tally: &Rc<Tally>,
    dialing: &Dialing,
) -> Result<Wire, Failed> {
    connect_for(
        endpoint,
        config.backend_tls.as_ref(),
        Offer::Http1,
        (tally, dialing),
    )
    .await
}

/// Connects to a backend, inside TLS if it has registered so, where `offer` may be spoken. The caller bounds the time.
pub(crate) async fn connect_for(
    endpoint: &Endpoint,
    tls: Option<&BackendTls>,
    offer: Offer,
    (tally, dialing): (&Rc<Tally>, &Dialing),
) -> Result<Wire, Failed> {
    let addr = endpoint.addr.socket_addr();
    let stream = dialing.dial(addr).await?;
    if let Some(took) = dialing.took() {
        endpoint.meter.connected(took);
    }
    if endpoint.protocol != Protocol::Https {
        return Ok(Wire::plain(stream, Rc::clone(tally)));
    }
    let Some(tls) = tls else {
        tracing::debug!(%addr, "a backend wants TLS, which is not set up for backends");
        return Err(Failed::Tls);
    };
    // In a box, so that only who needs it pays for its size.
    match Box::pin(tls.connect(addr.ip(), offer, stream)).await {
        Ok((stream, permit)) => Ok(Wire {
            stream: Stream::Tls(stream, permit),
            open: Open::new(Rc::clone(tally)),
        }),
        Err(error) => {
            tracing::debug!(%addr, %error, "a TLS handshake with a backend failed");
            Err(Failed::Tls)
        }
    }
}

impl Wire {
    /// A connection in the clear.
    pub(crate) fn plain(stream: TcpStream, tally: Rc<Tally>) -> Self {
        Self {
            stream: Stream::Plain(stream),
            open: Open::new(tally),
        }
    }

    /// How long it may be kept, where that depends on what is asked of backends.
    pub(crate) fn permit(&self) -> Option<Permit> {
        match &self.stream {
            Stream::Plain(_) => None,
            Stream::Tls(_, permit) => Some(permit.clone()),
        }
    }

    /// Whether HTTP/2 was agreed on in a TLS handshake.
    pub(crate) fn has_chosen_http2(&self) -> bool {
        match &self.stream {
            Stream::Plain(_) => false,
            Stream::Tls(stream, _) => stream.protocol() == Some(b"h2"),
        }
    }
}

impl Keep for Wire {
    fn is_ready(&mut self) -> bool {
        match &mut self.stream {
            Stream::Plain(stream) => stream.is_quiet(),
            // Session tickets may have come, which are nothing said; the attempt takes them in.
            Stream::Tls(stream, permit) => {
                let mut cx = Context::from_waker(Waker::noop());
                permit.stands() && stream.poll_readable(&mut cx).is_pending()
            }
        }
    }
}

impl Socket for Wire {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Socket::poll_readable(stream, cx),
            Stream::Tls(stream, _) => stream.poll_readable(cx),
        }
    }

    fn part(&mut self) {
        match &mut self.stream {
            Stream::Plain(stream) => stream.part(),
            Stream::Tls(stream, _) => stream.part(),
        }
    }

    fn is_quiet(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_quiet(),
            Stream::Tls(stream, _) => stream.is_quiet(),
        }
    }

    fn reset(self) {
        match self.stream {
            Stream::Plain(stream) => stream.reset(),
            Stream::Tls(stream, _) => stream.reset(),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream, _) => Pin::new(stream).poll_read(cx, buf),
        };
        this.open.received((buf.filled().len() - before) as u64);
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream, _) => Pin::new(stream).poll_write(cx, buf),
        };
        if let Poll::Ready(Ok(count)) = polled {
            this.open.sent(count as u64);
        }
        polled
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(stream, _) => Pin::new(stream).poll_write_vectored(cx, bufs),
        };
        if let Poll::Ready(Ok(count)) = polled {
            this.open.sent(count as u64);
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream, _) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream, _) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
