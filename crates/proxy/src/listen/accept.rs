//! Accepting: from every listener of a worker, as long as it has room, and on to what each of them speaks.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;

use crate::headers::forwarded::is_trusted;
use crate::listen::clients::Counted;
use crate::listen::front;
use crate::listen::proxy_protocol;
use crate::listen::proxy_protocol::Named;
use crate::tcp::sni;
use crate::telemetry::counts::{BY_CLIENT_LIMIT, BY_INTRODUCTION, Entered};
use crate::transport::tls;
use crate::worker::news::News;
use crate::worker::scarcity;
use crate::worker::{Latest, Worker};
use crate::{Protocol, tcp};

/// Accepts for as long as it is polled.
pub(crate) async fn accept_all(latest: &Latest, sockets: &[(usize, TcpListener)]) {
    let (mut pause, mut first) = (PAUSE_MIN, 0);
    let mut news = News::NONE;
    let slots = latest.slots();
    loop {
        // One slot for all listeners: with one each, a quiet listener would keep what a busy one needs.
        let Some(slot) = slots.take().await else {
            return;
        };
        // What is given back is for the requests that are here already.
        scarcity::over().await;
        match next(sockets, &mut first).await {
            Ok((listener, stream, peer)) => {
                pause = PAUSE_MIN;
                begin(&latest.worker(), listener, stream, peer, slot);
            }
            Err(error) if is_of_the_connection(&error) => {}
            Err(error) => {
                if news.is_due() {
                    tracing::warn!(%error, "no connection can be accepted; trying again and again");
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// Out of descriptors or memory, accepting fails at once, again and again.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The next connection of any listener, and which that was. The socket that had one last is asked last.
async fn next(
    sockets: &[(usize, TcpListener)],
    first: &mut usize,
) -> io::Result<(usize, TcpStream, SocketAddr)> {
    poll_fn(|cx| {
        let (before, from) = sockets.split_at((*first).min(sockets.len()));
        let indices = (before.len()..sockets.len()).chain(0..before.len());
        for (index, (listener, socket)) in indices.zip(from.iter().chain(before)) {
            if let Poll::Ready(accepted) = socket.poll_accept(cx) {
                *first = (index + 1) % sockets.len();
                return Poll::Ready(accepted.map(|(stream, peer)| (*listener, stream, peer)));
            }
        }
        Poll::Pending
    })
    .await
}

/// The client left before it was accepted; the next one is not concerned.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

thread_local! {
    /// When a refused introduction was last told.
    static TOLD: Cell<News> = const { Cell::new(News::NONE) };
}

/// What the system has accepted for a listener is lost when that is closed, so it is taken first.
pub(crate) fn accept_queued(latest: &Latest, sockets: Vec<(usize, TcpListener)>) {
    let worker = latest.worker();
    for (listener, socket) in sockets {
        let Ok(socket) = socket.into_std() else { continue };
        while let Some(slot) = latest.slots().try_take() {
            // It doesn't block: an empty queue is an error too.
            match socket.accept().and_then(|(stream, peer)| {
                stream.set_nonblocking(true)?;
                Ok((TcpStream::from_std(stream)?, peer))
            }) {
                Ok((stream, peer)) => begin(&worker, listener, stream, peer, slot),
                Err(error) if is_of_the_connection(&error) => {}
                Err(_) => break,
            }
        }
    }
}

/// Lets a connection in, unless it is refused, and serves it.
fn begin(
    worker: &Rc<Worker>,
    listener: usize,
    stream: TcpStream,
    peer: SocketAddr,
    slot: OwnedSemaphorePermit,
) {
    let Some(entrance) = worker.config().listeners.get(listener) else {
        return;
    };
    let arrival = Arrival {
        listener,
        stream,
        peer,
        ends: None,
        slot,
        entered: Entered::new(&worker.books().own, listener),
    };
    if is_trusted(peer.ip(), &entrance.proxy_protocol_from) {
        let worker = Rc::clone(worker);
        // A task before its own, so that only who needs it pays for its size.
        tokio::task::spawn_local(async move {
            if let Some(arrival) = introduce(arrival, &worker).await {
                admit(&worker, arrival);
            }
        });
    } else {
        admit(worker, arrival);
    }
}

/// A connection that was accepted.
struct Arrival {
    listener: usize,
    stream: TcpStream,
    peer: SocketAddr,
    /// The ends that a proxy named.
    ends: Option<Named>,
    slot: OwnedSemaphorePermit,
    entered: Entered,
}

impl Arrival {
    /// Whom it comes from: the peer, or for whom that connects.
    fn client(&self) -> SocketAddr {
        self.ends.map_or(self.peer, |ends| ends.client)
    }
}

/// Reads for whom a proxy connects. `None`: it did not say so as it should.
async fn introduce(mut arrival: Arrival, worker: &Worker) -> Option<Arrival> {
    let timeout = worker.config().header_timeout;
    let header = proxy_protocol::read(&mut arrival.stream);
    let refused = match tokio::time::timeout(timeout, header).await {
        Ok(Ok(named)) => {
            arrival.ends = named;
            return Some(arrival);
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("its PROXY protocol header did not come within {timeout:?}"),
    };
    arrival.entered.turned_away(BY_INTRODUCTION);
    let listener = worker.config().listeners.get(arrival.listener);
    let (peer, listener) = (arrival.peer, listener.map(|l| l.name.as_str()));
    let mut told = TOLD.get();
    // A proxy that is set up wrongly does so with each connection. All are counted.
    if told.is_due() {
        tracing::warn!(%peer, listener, "a connection was refused: {refused}");
    }
    TOLD.set(told);
    None
}

/// Serves a connection in a task of its own, if its client may have another. A panic in there ends with the task: the
/// connection is closed, the slot free.
fn admit(worker: &Rc<Worker>, arrival: Arrival) {
    let client = arrival.client();
    let Ok(counted) = count(worker, client) else {
        return arrival.entered.turned_away(BY_CLIENT_LIMIT);
    };
    let Arrival {
        listener,
        stream,
        ends,
        slot,
        entered,
        ..
    } = arrival;
    let Some(entrance) = worker.config().listeners.get(listener) else {
        return;
    };
    let (worker, tls) = (Rc::clone(worker), entrance.tls.clone());
    // What it takes up for as long as it lasts.
    let hold = (slot, counted, entered);
    // A task of its own kind for each, since one is as large as the largest thing that it may do.
    match (&entrance.protocol, tls) {
        (Protocol::Http, None) => {
            drop(tokio::task::spawn_local(front::serve(
                worker, stream, client, hold,
            )));
        }
        (Protocol::Http, Some(tls)) => drop(tokio::task::spawn_local(async move {
            let shaken = tls::accept_http(&worker, &tls, stream, client).await;
            hold.2.shook_hands(shaken.is_some());
            if let Some(stream) = shaken {
                front::serve_tls(worker, stream, client).await;
            }
            drop(hold);
        })),
        (Protocol::Tcp { .. }, None) => drop(tokio::task::spawn_local(async move {
            tcp::serve(&worker, listener, stream, client, ends).await;
            drop(hold);
        })),
        (Protocol::Tcp { .. }, Some(tls)) => drop(tokio::task::spawn_local(async move {
            let shaken = tls::accept(&worker, &tls, stream, client).await;
            hold.2.shook_hands(shaken.is_some());
            if let Some(stream) = shaken {
                tcp::serve_tls(&worker, listener, stream, client, ends).await;
            }
            drop(hold);
        })),
        (Protocol::Sni { .. }, _) => drop(tokio::task::spawn_local(async move {
            sni::serve(&worker, listener, stream, client, ends).await;
            drop(hold);
        })),
    }
}

/// Counts a client's connection, unless nobody has a limit or the client is a proxy, whose connections are many
/// clients'. An error: it has as many as it may.
fn count(worker: &Worker, client: SocketAddr) -> Result<Option<Counted>, TooMany> {
    let config = worker.config();
    let limit = config.max_connections_per_client;
    if limit == 0 || is_trusted(client.ip(), &config.trusted_proxies) {
        return Ok(None);
    }
    let counted = worker.clients().enter(client.ip(), limit);
    if counted.is_none() {
        tracing::debug!(%client, limit, "a connection was closed: its client has as many as it may");
    }
    counted.map(Some).ok_or(TooMany)
}

struct TooMany;
