mod connection;

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, Uri, Version};
use http_body_util::Full;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::eventually;

/// The path of health checks. What comes here counts as a probe, not as a request.
pub const PROBE_PATH: &str = "/healthz";

/// How many of the latest requests are kept to be looked at.
const SEEN: usize = 64;

/// What a [`Behaviour::Respond`] calls.
pub type Responder = dyn Fn(&Seen) -> Response<Full<Bytes>> + Send + Sync;

/// What a backend does with a request.
#[derive(Clone)]
pub enum Behaviour {
    /// 200, with the backend's name as the body and as `X-Backend`.
    Answer,
    /// The same after some work. Probes are answered at once.
    AnswerAfter(Duration),
    /// The same once [`Backend::release`] is called. Probes are answered at once.
    Hold,
    /// What the function makes of it.
    Respond(Arc<Responder>),
    /// Reads the request and closes the connection.
    CloseUnanswered,
    /// Closes every new connection before it reads anything.
    CloseOnAccept,
    /// Reads the request and resets the connection.
    Reset,
    /// Reads the request and answers with something that is not HTTP.
    Garbage,
}

impl Behaviour {
    /// What the function makes of a request.
    pub fn respond(with: impl Fn(&Seen) -> Response<Full<Bytes>> + Send + Sync + 'static) -> Self {
        Self::Respond(Arc::new(with))
    }
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answer => "Answer",
            Self::AnswerAfter(_) => "AnswerAfter",
            Self::Hold => "Hold",
            Self::Respond(_) => "Respond",
            Self::CloseUnanswered => "CloseUnanswered",
            Self::CloseOnAccept => "CloseOnAccept",
            Self::Reset => "Reset",
            Self::Garbage => "Garbage",
        })
    }
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When its head had been read.
    pub at: Instant,
    /// Its method.
    pub method: Method,
    /// Its target as written.
    pub target: Uri,
    /// Its protocol.
    pub version: Version,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its whole body.
    pub body: Bytes,
}

/// A backend on loopback that counts for itself and misbehaves on command. It stops when it is dropped.
///
/// Its port is its own for its whole life, also while nobody listens on it.
pub struct Backend {
    shared: Arc<Shared>,
    /// Bound but never listening: keeps the port from being given away while there is no listener.
    _reservation: TcpSocket,
    /// Ends the listener.
    listening: Mutex<CancellationToken>,
}

struct Shared {
    name: String,
    addr: SocketAddr,
    behaviour: Mutex<Behaviour>,
    in_flight: AtomicUsize,
    high_water: AtomicUsize,
    requests: AtomicU64,
    probes: AtomicU64,
    connections: AtomicU64,
    seen: Mutex<VecDeque<Seen>>,
    released: watch::Sender<u64>,
    /// Ends every connection that is open now, with a reset.
    killed: Mutex<CancellationToken>,
}

impl Backend {
    /// Starts one that answers, on a port of the system's choice.
    ///
    /// # Panics
    /// If no port can be had.
    pub async fn start(name: &str) -> Self {
        Self::start_at(name, SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts one that answers, on that address; it may be one that a [`FreePort`](crate::FreePort) holds.
    ///
    /// # Panics
    /// If it can't be had.
    pub async fn start_at(name: &str, addr: SocketAddr) -> Self {
        let reservation = reusable_socket(addr);
        let addr = reservation.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            addr,
            behaviour: Mutex::new(Behaviour::Answer),
            in_flight: AtomicUsize::new(0),
            high_water: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            probes: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            seen: Mutex::default(),
            released: watch::Sender::new(0),
            killed: Mutex::default(),
        });
        let backend = Self {
            shared,
            _reservation: reservation,
            listening: Mutex::default(),
        };
        backend.listen();
        backend
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.shared.addr
    }

    /// What it does from the next request on.
    pub fn behave(&self, behaviour: Behaviour) {
        *lock(&self.shared.behaviour) = behaviour;
    }

    /// Answers every request that is [held](Behaviour::Hold) now.
    pub fn release(&self) {
        self.shared.released.send_modify(|count| *count += 1);
    }

    /// Requests under way: from the head read to the answer handed over. Never more than what the client
    /// has under way, so a count above a limit is a limit broken.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::Relaxed)
    }

    /// The most that were ever under way at once.
    #[must_use]
    pub fn high_water(&self) -> usize {
        self.shared.high_water.load(Ordering::Relaxed)
    }

    /// Requests so far, probes apart.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Requests for [`PROBE_PATH`] so far.
    #[must_use]
    pub fn probes(&self) -> u64 {
        self.shared.probes.load(Ordering::Relaxed)
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// The latest requests, oldest first, probes apart; at most 64.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).iter().cloned().collect()
    }

    /// The latest request.
    ///
    /// # Panics
    /// If there was none.
    #[must_use]
    pub fn last_seen(&self) -> Seen {
        lock(&self.shared.seen)
            .back()
            .cloned()
            .expect("a request has arrived")
    }

    /// Waits until that many requests are under way.
    ///
    /// # Panics
    /// If they aren't in time.
    pub async fn holds(&self, count: usize) {
        eventually(
            crate::PATIENCE,
            &format!("{} holds {count} requests", self.name()),
            async || {
                let found = self.in_flight();
                if found == count {
                    Ok(())
                } else {
                    Err(format!("{found}"))
                }
            },
        )
        .await;
    }

    /// Refuses every new connection from now on; those that are open stay.
    pub async fn refuse(&self) {
        lock(&self.listening).cancel();
        // Cancelled is not yet closed.
        eventually(
            crate::PATIENCE,
            "the listener is closed",
            async || match tokio::net::TcpStream::connect(self.addr()).await {
                Ok(_) => Err("a connection".to_owned()),
                Err(_) => Ok(()),
            },
        )
        .await;
    }

    /// Accepts connections again after [`refuse`](Self::refuse) or [`kill`](Self::kill).
    ///
    /// # Panics
    /// If the port can't be listened on.
    pub fn listen(&self) {
        let stop = CancellationToken::new();
        *lock(&self.listening) = stop.clone();
        let listener = reusable_socket(self.addr())
            .listen(1024)
            .expect("the port is reserved for this");
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move { stop.run_until_cancelled(accept(&listener, &shared)).await });
    }

    /// Dies as a killed process does: the port refuses, every connection is reset.
    pub async fn kill(&self) {
        lock(&self.listening).cancel();
        std::mem::take(&mut *lock(&self.shared.killed)).cancel();
        self.refuse().await;
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        lock(&self.listening).cancel();
        lock(&self.shared.killed).cancel();
    }
}

async fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        // A failed accept is the peer's or the moment's; there is nothing to do but go on.
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        shared.connections.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(connection::serve(stream, Arc::clone(shared)));
    }
}

/// A socket that shares its address with the backend's other one.
pub(crate) fn reusable_socket(addr: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket can be made");
    socket.set_reuseport(true).expect("SO_REUSEPORT can be set");
    socket.bind(addr).expect("loopback can be bound");
    socket
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
