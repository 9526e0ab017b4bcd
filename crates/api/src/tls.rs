//! TLS around the API: the configuration in force, and handshakes, whose number is bounded apart from that of connections.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// TLS around the API: the configuration in force, which can be replaced at any time. Cheap to clone; a clone is the same.
#[derive(Clone)]
pub struct Tls(Arc<ArcSwap<ServerConfig>>);

impl Tls {
    /// By that configuration. Of the protocols that its ALPN offers only `http/1.1` is spoken.
    #[must_use]
    pub fn new(config: Arc<ServerConfig>) -> Self {
        Self(Arc::new(ArcSwap::new(config)))
    }

    /// Has every handshake that begins from now on go by another configuration. Connections that are there
    /// already go on as they are.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        self.0.store(config);
    }

    pub(crate) async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.0.load_full()).accept(stream).await
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// The names in the certificate that a client has shown and an authority has vouched for.
#[derive(Clone, Debug)]
pub(crate) struct ClientNames(pub(crate) Arc<[String]>);

impl ClientNames {
    /// `None`: it has shown none.
    pub(crate) fn of(stream: &TlsStream<TcpStream>) -> Option<Self> {
        let (_, connection) = stream.get_ref();
        let certificate = connection.peer_certificates()?.first()?;
        Some(Self(edgeproxy_tls::subjects(certificate).into()))
    }
}

/// Handshakes that are under way, the oldest first.
///
/// A client that begins one and says nothing more costs its own time-out. When there are too many, the oldest ends: it is
/// the likeliest to stall, since a handshake takes milliseconds.
pub(crate) struct Handshakes {
    most: usize,
    under_way: VecDeque<(Weak<()>, AbortHandle)>,
}

/// Held while a handshake is under way.
pub(crate) struct UnderWay(#[expect(dead_code, reason = "it counts by being there")] Arc<()>);

impl Handshakes {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            under_way: VecDeque::new(),
        }
    }

    /// Makes room for one more.
    pub(crate) fn make_room(&mut self) {
        self.under_way.retain(|(held, _)| held.strong_count() > 0);
        while self.under_way.len() >= self.most {
            let Some((_, oldest)) = self.under_way.pop_front() else {
                return;
            };
            oldest.abort();
        }
    }

    /// One more: what its task holds meanwhile, and what is to be told of the task.
    pub(crate) fn begin(&mut self, spawn: impl FnOnce(UnderWay) -> AbortHandle) {
        self.make_room();
        let held = Arc::new(());
        let counted = Arc::downgrade(&held);
        self.under_way.push_back((counted, spawn(UnderWay(held))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_handshake_too_many_ends_the_oldest() {
        let mut handshakes = Handshakes::new(2);
        let mut tasks = Vec::new();
        for _ in 0..3 {
            handshakes.begin(|under_way| {
                let task = tokio::spawn(async move {
                    let _held = under_way;
                    std::future::pending::<()>().await;
                });
                let handle = task.abort_handle();
                tasks.push(task);
                handle
            });
        }
        let oldest = tasks.remove(0).await.unwrap_err();
        assert!(oldest.is_cancelled());
        assert!(tasks.iter().all(|task| !task.is_finished()));
    }

    #[tokio::test]
    async fn one_that_has_ended_counts_no_more() {
        let mut handshakes = Handshakes::new(1);
        let begin = |handshakes: &mut Handshakes| {
            let mut begun = None;
            handshakes.begin(|under_way| {
                let task = tokio::spawn(async move {
                    drop(under_way);
                    std::future::pending::<()>().await;
                });
                let handle = task.abort_handle();
                begun = Some(task);
                handle
            });
            begun.unwrap()
        };
        let first = begin(&mut handshakes);
        tokio::task::yield_now().await;
        let _second = begin(&mut handshakes);
        tokio::task::yield_now().await;
        assert!(
            !first.is_finished(),
            "its handshake was over, so its connection stays"
        );
    }
}
