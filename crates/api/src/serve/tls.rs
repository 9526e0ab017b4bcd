//! TLS around the API: the configuration in force, and handshakes, whose number is bounded apart from that of connections.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::problem::{Kind, Problem};
use crate::serve::networks::Network;

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

    /// Shakes hands with a client. One that speaks HTTP in the clear is told, in the only words that it understands, that
    /// this isn't; that is an error all the same. Give it a time-out.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let mut first = [0];
        // No record of TLS or SSL begins with a letter, and every request of HTTP does.
        if stream.peek(&mut first).await? > 0 && first[0].is_ascii_uppercase() {
            tell_and_part(stream).await?;
            return Err(io::Error::other(
                "it speaks HTTP in the clear, and was told to use https",
            ));
        }
        TlsAcceptor::from(self.0.load_full()).accept(stream).await
    }
}

/// How much of the rest of its request is read, so that the system doesn't throw the answer away with what is unread.
const REST: u64 = 64 * 1024;

/// A client that speaks in the clear is answered with what every error of the API is, so that agents can tell it.
async fn tell_and_part(mut stream: TcpStream) -> io::Result<()> {
    let error = "this port speaks TLS; use https:// instead of http://";
    let body = Problem::new(Kind::PlainHttp, error).to_json();
    let head = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    let answer = [head.as_bytes(), &body].concat();
    stream.write_all(&answer).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(REST), &mut tokio::io::sink()).await?;
    Ok(())
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
/// the likeliest to stall, since a handshake takes milliseconds. When a quarter of them are one network's, its own oldest does.
pub(crate) struct Handshakes {
    most: usize,
    under_way: VecDeque<Begun>,
}

struct Begun {
    held: Weak<()>,
    task: AbortHandle,
    network: Option<Network>,
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

    /// Makes room for one more of that network.
    fn make_room(&mut self, network: Option<Network>) {
        self.under_way.retain(|begun| begun.held.strong_count() > 0);
        let mut own = self.under_way.iter().enumerate();
        let mut own = own
            .by_ref()
            .filter(|(_, begun)| network.is_some() && begun.network == network);
        let oldest = own.next().map(|(place, _)| place);
        let has_its_share = own.count() + 1 >= (self.most / 4).max(1);
        let ended = match oldest.filter(|_| has_its_share) {
            Some(oldest) => self.under_way.remove(oldest),
            None if self.under_way.len() >= self.most => self.under_way.pop_front(),
            None => None,
        };
        if let Some(ended) = ended {
            ended.task.abort();
        }
    }

    /// One more: what its task holds meanwhile, and what is to be told of the task.
    pub(crate) fn begin(&mut self, network: Option<Network>, spawn: impl FnOnce(UnderWay) -> AbortHandle) {
        self.make_room(network);
        let held = Arc::new(());
        self.under_way.push_back(Begun {
            held: Arc::downgrade(&held),
            network,
            task: spawn(UnderWay(held)),
        });
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
            handshakes.begin(None, |under_way| {
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
    async fn a_network_that_has_a_quarter_of_them_ends_its_own_oldest() {
        let mut handshakes = Handshakes::new(8);
        let network = |ip: &str| Network::of(ip.parse().unwrap());
        let mut begin = |ip| {
            let mut begun = None;
            handshakes.begin(network(ip), |under_way| {
                let task = tokio::spawn(async move {
                    let _held = under_way;
                    std::future::pending::<()>().await;
                });
                let handle = task.abort_handle();
                begun = Some(task);
                handle
            });
            begun.unwrap()
        };
        let bystander = begin("198.51.100.1");
        let near: Vec<_> = (0..4).map(|_| begin("127.0.0.1")).collect();
        let first = begin("203.0.113.1");
        let second = begin("203.0.113.2");
        let third = begin("203.0.113.3");
        assert!(first.await.unwrap_err().is_cancelled());
        let others = near.iter().chain([&bystander, &second, &third]);
        assert!(others.into_iter().all(|task| !task.is_finished()));
    }

    #[tokio::test]
    async fn one_that_has_ended_counts_no_more() {
        let mut handshakes = Handshakes::new(1);
        let begin = |handshakes: &mut Handshakes| {
            let mut begun = None;
            handshakes.begin(None, |under_way| {
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
