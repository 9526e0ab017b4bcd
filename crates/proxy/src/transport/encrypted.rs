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

use crate::transport::socket::Socket;
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
    /// What had left before those.
    left_before: u64,
    /// Told by the next write: the latest one had left in part.
    failed: Option<io::Error>,
}

/// Why there is no connection inside TLS.
#[derive(Debug)]
pub(crate) enum Unshaken {
    /// The handshake failed.
    Failed(io::Error),
    /// The client speaks in the clear. Nothing was said to it, and some of what it said was read.
    InTheClear(TcpStream),
}

impl From<io::Error> for Unshaken {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl Encrypted {
    /// Shakes hands with a client. Give it a time-out.
    pub(crate) async fn accept(config: Arc<ServerConfig>, stream: TcpStream) -> Result<Self, Unshaken> {
        let mut stream = Ahead::new(stream);
        // No record of TLS or SSL begins with a letter, and every request of HTTP does.
        if stream
            .first()
            .await?
            .is_some_and(|first| first.is_ascii_uppercase())
        {
            return Err(Unshaken::InTheClear(stream.into_socket()));
        }
        let accepted = TlsAcceptor::from(config).accept(stream).await?;
        Ok(Self::new(accepted.into()))
    }

    /// Shakes hands with a backend that has to be `name`, and may choose one of `protocols`. Give it a time-out.
    pub(crate) async fn connect(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        protocols: &[&[u8]],
        stream: TcpStream,
    ) -> io::Result<Self> {
        let protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let connected = TlsConnector::from(config)
            .with_alpn(protocols)
            .connect(name, Ahead::new(stream))
            .await?;
        Ok(Self::new(connected.into()))
    }

    fn new(stream: TlsStream<Ahead>) -> Self {
        Self {
            stream: Box::new(stream),
            owed: 0,
            left_before: 0,
            failed: None,
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
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        if self.owed == 0 {
            self.left_before = self.left();
            match ready!(take(Pin::new(&mut *self.stream), cx)) {
                Ok(count) => self.owed = count,
                Err(error) => return Poll::Ready(self.fail(error)),
            }
        }
        if let Err(error) = ready!(self.poll_send(cx)) {
            return Poll::Ready(self.fail(error));
        }
        Poll::Ready(Ok(std::mem::take(&mut self.owed).min(offered)))
    }

    /// Encrypted bytes that the system has taken so far.
    fn left(&self) -> u64 {
        self.stream.get_ref().0.left()
    }

    /// A failed write of which something has left is reported as a byte that was written, and then the failure:
    /// whoever repeats what was not sent has to know that some was.
    fn fail(&mut self, error: io::Error) -> io::Result<usize> {
        self.owed = 0;
        if self.left() == self.left_before {
            return Err(error);
        }
        self.failed = Some(error);
        Ok(1)
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

    fn is_quiet(&self) -> bool {
        // A peer answers `close_notify` by its own.
        false
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use edgeproxy_tls::{Client, Identity, Server};
    use tokio::net::TcpListener;
    use tokio::sync::oneshot;

    use super::*;

    /// A connection whose other end is reset when it is told to, and its socket's send buffer is small.
    async fn pair() -> (Encrypted, oneshot::Sender<()>) {
        let made = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let identity = Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        let server = Server::new(identity).unwrap().build().unwrap();
        let anybody = Client {
            trust: None,
            identity: None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        socket2::SockRef::from(&stream)
            .set_send_buffer_size(8 * 1024)
            .unwrap();
        let (reset, told) = oneshot::channel();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let accepted = Encrypted::accept(server, stream).await.unwrap();
            let _ = told.await;
            accepted.reset();
        });
        let name = ServerName::try_from("a").unwrap();
        let connected = Encrypted::connect(anybody.build().unwrap(), name, &[], stream).await;
        (connected.unwrap(), reset)
    }

    async fn write(stream: &mut Encrypted, bytes: &[u8]) -> io::Result<usize> {
        poll_fn(|cx| Pin::new(&mut *stream).poll_write(cx, bytes)).await
    }

    #[tokio::test]
    async fn a_write_of_which_something_has_left_is_never_one_of_which_nothing_has() {
        let (mut stream, reset) = pair().await;
        let bytes = vec![0; 1 << 20];
        // Until the system takes no more, in the middle of what was encrypted.
        loop {
            let mut cx = Context::from_waker(Waker::noop());
            match Pin::new(&mut stream).poll_write(&mut cx, &bytes) {
                Poll::Ready(written) => assert!(written.unwrap() > 0),
                Poll::Pending if stream.owed > 0 && stream.left() > stream.left_before => break,
                Poll::Pending => tokio::task::yield_now().await,
            }
        }
        reset.send(()).unwrap();
        assert_eq!(write(&mut stream, &bytes).await.unwrap(), 1);
        assert!(write(&mut stream, &bytes).await.is_err());
        // And now nothing leaves any more.
        assert!(write(&mut stream, &bytes).await.is_err());
    }

    #[tokio::test]
    async fn tickets_are_nothing_to_be_read_and_a_reset_is_no_end() {
        let (mut stream, reset) = pair().await;
        let mut cx = Context::from_waker(Waker::noop());
        assert!(stream.poll_readable(&mut cx).is_pending());
        reset.send(()).unwrap();
        assert!(poll_fn(|cx| stream.poll_readable(cx)).await.is_err());
    }
}
