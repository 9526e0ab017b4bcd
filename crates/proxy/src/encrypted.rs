//! A connection inside TLS, as the codec needs it.

mod ahead;

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::socket::Socket;
use ahead::Ahead;

/// A connection inside TLS, from either side.
///
/// What [`poll_write`](AsyncWrite::poll_write) has taken is with the system once it is `Ready`. rustls alone would
/// take it into memory and need a flush later, which the codec, made for sockets, has no place for; and a client
/// that takes nothing would not be noticed for as long as that memory lasts. The price is the rule of [`Socket`]:
/// after `Pending` the same bytes are offered again.
///
/// The end of the TCP connection without `close_notify` is an error, not an end (RFC 8446 §6.1): who cuts a
/// connection could else pass a part off for the whole.
pub(crate) struct Encrypted {
    /// In a box, since a task that waits should be small, and a pooled connection cheap to move.
    stream: Box<TlsStream<Ahead>>,
    /// Bytes that are encrypted and were not reported as written yet.
    owed: usize,
}

impl Encrypted {
    /// Shakes hands with a client. Give it a time-out.
    pub(crate) async fn accept(config: Arc<ServerConfig>, stream: TcpStream) -> io::Result<Self> {
        let accepted = TlsAcceptor::from(config).accept(Ahead::new(stream)).await?;
        Ok(Self::new(accepted.into()))
    }

    /// Shakes hands with a backend that has to be `name`. Give it a time-out.
    pub(crate) async fn connect(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        stream: TcpStream,
    ) -> io::Result<Self> {
        let connected = TlsConnector::from(config)
            .connect(name, Ahead::new(stream))
            .await?;
        Ok(Self::new(connected.into()))
    }

    fn new(stream: TlsStream<Ahead>) -> Self {
        Self {
            stream: Box::new(stream),
            owed: 0,
        }
    }

    /// What was agreed on in the handshake (RFC 7301).
    pub(crate) fn protocol(&self) -> Option<&[u8]> {
        self.stream.get_ref().1.alpn_protocol()
    }

    /// The end that the client connected to.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.get_ref().0.socket().local_addr()
    }

    /// Sends what is encrypted.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.stream.get_ref().1.wants_write() {
            Pin::new(&mut *self.stream).poll_flush(cx)
        } else {
            Poll::Ready(Ok(()))
        }
    }

    fn poll_taken(
        &mut self,
        cx: &mut Context<'_>,
        offered: usize,
        take: impl FnOnce(Pin<&mut TlsStream<Ahead>>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if self.owed == 0 {
            self.owed = ready!(take(Pin::new(&mut *self.stream), cx))?;
        }
        ready!(self.poll_send(cx))?;
        Poll::Ready(Ok(std::mem::take(&mut self.owed).min(offered)))
    }

    /// Tickets and key updates leave with whatever is done next; that they can't yet is no reason not to read.
    fn send_along(&mut self, cx: &mut Context<'_>) {
        let _ = self.poll_send(cx);
    }
}

impl Socket for Encrypted {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.send_along(cx);
        // Ready with what is decrypted already, of which the system knows nothing any more; and not ready when
        // what has come is a part of a record, or none with content.
        Pin::new(&mut *self.stream).poll_fill_buf(cx).map_ok(drop)
    }

    fn part(&mut self) {
        // Nobody waits for it: the peer can do without.
        let _ = Pin::new(&mut *self.stream).poll_shutdown(&mut Context::from_waker(Waker::noop()));
    }

    fn reset(self) {
        // Without `close_notify`, so that it is seen even where a reset gets lost.
        let _ = self.stream.get_ref().0.socket().set_zero_linger();
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.send_along(cx);
        Pin::new(&mut *self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_taken(cx, buf.len(), |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let offered = bufs.iter().map(|buf| buf.len()).sum();
        self.poll_taken(cx, offered, |stream, cx| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(cx)
    }
}
