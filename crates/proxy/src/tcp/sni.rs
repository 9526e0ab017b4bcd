//! TLS that is passed on unopened: what a client says first is looked at for the server name, which names an app
//! as a `Host` would, and then the connection is one of TCP.
//!
//! The first message, the ClientHello, may come in any pieces: with a post-quantum key share it is longer than a
//! segment. It is read by rustls, which refuses what is none, and kept as it came, since the backend gets it
//! first. A client that can't be routed is told so by an alert: a silent end would look like a fault of the
//! network.

use std::io;
use std::net::SocketAddr;

use bytes::BufMut;
use edgeproxy_backend::AppName;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;

use crate::listen::proxy_protocol::Named;
use crate::transport::tls;
use crate::worker::Worker;
use crate::{Protocol, tcp};

/// The longest ClientHello that is read, with its records' heads.
pub(crate) const MAX_HELLO: usize = 16 * 1024;

/// As much as is read in one go. Most of them fit.
const CHUNK: usize = 2 * 1024;

/// Serves a connection until it ends. `peer` is the client, `named` what a proxy said of it. Nothing is done for a listener that
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
        // No memory for a client that says nothing.
        client.readable().await?;
        let name = hello(&mut client, &mut lead).await?;
        match route(worker, name.as_deref()) {
            Some(app) => Ok(app),
            None => Err(Refused::Unroutable(name)),
        }
    });
    let refused = match decided.await {
        Some(Ok(app)) => return tcp::pass(worker, listener, client, &app, lead, peer).await,
        Some(Err(refused)) => refused,
        None => Refused::Slow,
    };
    tracing::debug!(%peer, listener = listener.name.as_str(), "a TLS connection was refused: {refused}");
    if let Some(alert) = refused.alert() {
        tls::tell_and_part(worker, client, &alert).await;
    }
}

fn route(worker: &Worker, name: Option<&str>) -> Option<AppName> {
    let table = worker.table().load();
    table.route(name.unwrap_or_default()).map(|app| app.name.clone())
}

/// Why a client gets no backend.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
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
const UNEXPECTED_MESSAGE: u8 = 10;
const DECODE_ERROR: u8 = 50;
const UNRECOGNIZED_NAME: u8 = 112;

impl Refused {
    /// The record that tells the client.
    pub(crate) fn alert(self) -> Option<Vec<u8>> {
        // An alert (21) in a record of TLS 1.2, which every version begins with; fatal (2).
        let fatal = |alert| vec![21, 3, 3, 0, 2, 2, alert];
        match self {
            Self::Unroutable(_) => Some(fatal(UNRECOGNIZED_NAME)),
            Self::TooLong => Some(fatal(DECODE_ERROR)),
            // rustls has none for what is no message of a handshake at all.
            Self::Malformed { alert, .. } if alert.is_empty() => Some(fatal(UNEXPECTED_MESSAGE)),
            Self::Malformed { alert, .. } => Some(alert),
            Self::Slow | Self::Ended | Self::Io(_) => None,
        }
    }
}

/// Reads until the ClientHello is whole, and appends all that has come to `lead`, [`MAX_HELLO`] bytes at most. The
/// server name that it asks for, in lower case.
pub(crate) async fn hello(
    client: &mut (impl AsyncRead + Unpin),
    lead: &mut Vec<u8>,
) -> Result<Option<String>, Refused> {
    let begins = lead.len();
    let mut acceptor = Acceptor::default();
    loop {
        let seen = lead.len();
        let left = MAX_HELLO.saturating_sub(seen - begins);
        if left == 0 {
            return Err(Refused::TooLong);
        }
        lead.reserve(CHUNK.min(left));
        // There may be more room than was asked for.
        if client.read_buf(&mut (&mut *lead).limit(left)).await? == 0 {
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
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Poll};

    use rustls::crypto::aws_lc_rs;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};
    use tokio::io::ReadBuf;

    use super::*;

    /// Gives out its pieces, and has nothing between two of them.
    struct Pieces(VecDeque<Option<Vec<u8>>>);

    impl Pieces {
        fn of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
            let pieces = pieces.into_iter().filter(|piece| !piece.is_empty());
            Self(pieces.flat_map(|piece| [Some(piece.to_vec()), None]).collect())
        }
    }

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            match self.0.pop_front() {
                Some(Some(mut piece)) => {
                    let rest = piece.split_off(piece.len().min(buf.remaining()));
                    buf.put_slice(&piece);
                    if !rest.is_empty() {
                        self.0.push_front(Some(rest));
                    }
                }
                Some(None) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                None => {}
            }
            Poll::Ready(Ok(()))
        }
    }

    /// What a client says first.
    fn hello_for(name: &str) -> Vec<u8> {
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    async fn read<'a>(
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> (Result<Option<String>, Refused>, Vec<u8>) {
        let mut lead = b"before ".to_vec();
        let name = hello(&mut Pieces::of(pieces), &mut lead).await;
        (name, lead)
    }

    #[tokio::test]
    async fn a_hello_may_be_cut_at_every_byte_and_is_kept_as_it_came() {
        let bytes = hello_for("Shop.example");
        // With a post-quantum key share it is longer than a segment.
        assert!(bytes.len() > 1_460, "{}", bytes.len());
        let whole = [b"before ", &bytes[..]].concat();
        for cut in 0..=bytes.len() {
            let (name, lead) = read([&bytes[..cut], &bytes[cut..]]).await;
            assert_eq!(name.unwrap().as_deref(), Some("shop.example"), "cut at {cut}");
            assert!(lead == whole, "cut at {cut}");
        }
        let (name, lead) = read(bytes.chunks(1)).await;
        assert_eq!(name.unwrap().as_deref(), Some("shop.example"));
        assert!(lead == whole);
    }

    #[tokio::test]
    async fn what_comes_behind_a_hello_is_kept_too() {
        let bytes = [&hello_for("a")[..], b"behind"].concat();
        let (name, lead) = read([&bytes[..]]).await;
        assert_eq!(name.unwrap().as_deref(), Some("a"));
        assert!(lead.ends_with(b"behind"));
    }

    #[tokio::test]
    async fn an_address_is_no_name() {
        let (name, _) = read([&hello_for("192.0.2.1")[..]]).await;
        assert_eq!(name.unwrap(), None);
    }

    #[tokio::test]
    async fn an_end_within_it_is_one_and_garbage_is_told_by_an_alert() {
        let bytes = hello_for("a");
        let (ended, _) = read([&bytes[..100]]).await;
        assert!(matches!(ended, Err(Refused::Ended)));
        let (garbage, _) = read([&b"GET / HTTP/1.1\r\n\r\n"[..]]).await;
        let Err(refused @ Refused::Malformed { .. }) = garbage else {
            panic!("{garbage:?}")
        };
        assert_eq!(refused.alert().unwrap()[0], 21);
    }

    #[tokio::test]
    async fn one_that_never_ends_is_refused_at_the_limit() {
        // A message of 64 KiB, announced and begun, in records of 4 KiB.
        let mut bytes = vec![22, 3, 1, 16, 0, 1, 0, 255, 255, 3, 3];
        bytes.resize(5 + 4_096, 0);
        for _ in 0..8 {
            bytes.extend([22, 3, 1, 16, 0]);
            bytes.resize(bytes.len() + 4_096, 0);
        }
        let (refused, lead) = read([&bytes[..]]).await;
        assert!(matches!(refused, Err(Refused::TooLong)), "{refused:?}");
        assert_eq!(lead.len(), b"before ".len() + MAX_HELLO);
    }

    /// One of this length, in records of 4 KiB.
    fn hello_of(length: usize) -> Vec<u8> {
        let records = length.div_ceil(5 + 4_096);
        let message = length - 5 * records;
        let two = |number: usize| u16::try_from(number).unwrap().to_be_bytes();
        let fixed = [&[3, 3][..], &[0; 32], &[0, 0, 2, 0x13, 1, 1, 0]].concat();
        let extensions = message - 4 - fixed.len() - 2;
        let mut bytes = [&[1, 0][..], &two(message - 4), &fixed, &two(extensions)].concat();
        // Signatures, and padding (RFC 7685).
        bytes.extend([0, 13, 0, 4, 0, 2, 4, 3, 0, 21]);
        bytes.extend(two(extensions - 12));
        bytes.resize(message, 0);
        let record = |part: &[u8]| [&[22, 3, 1][..], &two(part.len()), part].concat();
        bytes.chunks(4_096).flat_map(record).collect()
    }

    #[tokio::test]
    async fn the_limit_is_the_same_however_it_is_cut() {
        let (longest, longer) = (hello_of(MAX_HELLO), hello_of(MAX_HELLO + 1));
        assert_eq!((longest.len(), longer.len()), (MAX_HELLO, MAX_HELLO + 1));
        for cut in [0, 1, CHUNK, 8_192, MAX_HELLO - 1] {
            let (name, lead) = read([&longest[..cut], &longest[cut..]]).await;
            assert_eq!(name.unwrap(), None, "cut at {cut}");
            assert!(lead.ends_with(&longest), "cut at {cut}");
            let (refused, lead) = read([&longer[..cut], &longer[cut..]]).await;
            assert!(
                matches!(refused, Err(Refused::TooLong)),
                "cut at {cut}: {refused:?}"
            );
            assert_eq!(lead.len(), b"before ".len() + MAX_HELLO, "cut at {cut}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300), cut in 0usize..300) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let mut damaged = hello_for("a");
            let end = (cut + bytes.len()).min(damaged.len());
            damaged.splice(cut..end, bytes.iter().copied());
            for bytes in [bytes, damaged] {
                let _ = runtime.block_on(read([&bytes[..]]));
            }
        }
    }
}
