//! Backends that do on command what no server should.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use edgeproxy_tests::{PATIENCE, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

/// What it does with a request, and with a probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Manner {
    /// 200, with its name and the target as the body.
    Serves,
    /// Takes the request, and that was all.
    NeverAnswers,
    /// Closes in the middle of its head.
    HalfHead,
    /// Closes in the middle of its body.
    HalfBody,
    /// Resets in the middle of its body.
    ResetsInBody,
    /// Has announced more than it sends, and stays.
    LengthTooLong,
    /// Sends more than it has announced: an answer that nobody asked for.
    LengthTooShort,
    /// What is no HTTP.
    Garbage,
    /// A head of 100 MB.
    HugeHead,
    /// A body without an end.
    EndlessBody,
}

impl Manner {
    /// Whether the proxy sees no response, so that it counts a failure.
    pub(crate) const fn is_counted(self) -> bool {
        matches!(
            self,
            Self::NeverAnswers | Self::HalfHead | Self::Garbage | Self::HugeHead
        )
    }
}

/// The target of what is read for ever and never answered.
pub(crate) const SINK: &str = "/sink";
/// The target of an answer that no socket's buffers hold.
pub(crate) const BIG: &str = "/big";
/// The target of an answer that takes its time, in which its request is in flight.
pub(crate) const SLOW: &str = "/slow";
/// How long.
const SLOW_TIME: Duration = Duration::from_millis(100);
/// How long the answer of [`BIG`] is, in bytes.
pub(crate) const BIG_LENGTH: usize = 32 << 20;

/// The longest request that it reads.
const REQUEST_MAX: usize = 64 * 1024;
/// The head of [`Manner::HugeHead`], in bytes.
const HUGE: usize = 100_000_000;

/// One of them, on a port of its own that nobody gets meanwhile. It ends when it is dropped.
pub(crate) struct Villain {
    shared: Arc<Shared>,
    addr: SocketAddr,
    /// Bound and never listening: the port stays its own while nobody listens on it.
    _reservation: TcpSocket,
    /// Ends the listener.
    listening: Mutex<CancellationToken>,
    /// What fills the backlog of a listener that accepts nothing.
    filling: Mutex<Vec<tokio::task::JoinHandle<Option<TcpStream>>>>,
    /// A listener that accepts nothing.
    deaf: Mutex<Option<TcpListener>>,
}

struct Shared {
    name: String,
    manner: Mutex<Manner>,
    /// Requests that it met in another manner than [`Manner::Serves`].
    wronged: AtomicU64,
    /// Requests that it has and has not begun to answer, and the most that there ever were.
    held: AtomicU64,
    most: AtomicU64,
    /// Ends every connection that is open.
    alive: Mutex<CancellationToken>,
}

impl Villain {
    /// One that serves.
    pub(crate) fn start(name: &str) -> Self {
        Self::start_at(name, SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// The same on that address.
    pub(crate) fn start_at(name: &str, addr: SocketAddr) -> Self {
        let reservation = socket(addr);
        let villain = Self {
            shared: Arc::new(Shared {
                name: name.to_owned(),
                manner: Mutex::new(Manner::Serves),
                wronged: AtomicU64::new(0),
                held: AtomicU64::new(0),
                most: AtomicU64::new(0),
                alive: Mutex::default(),
            }),
            addr: reservation.local_addr().expect("it is bound"),
            _reservation: reservation,
            listening: Mutex::default(),
            filling: Mutex::default(),
            deaf: Mutex::default(),
        };
        villain.listen();
        villain
    }

    pub(crate) fn name(&self) -> &str {
        &self.shared.name
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn behave(&self, manner: Manner) {
        *lock(&self.shared.manner) = manner;
        if manner == Manner::Serves {
            // Who was kept waiting, or half served, is let go.
            self.cut();
        }
    }

    /// Requests so far that it did wrong to.
    pub(crate) fn wronged(&self) -> u64 {
        self.shared.wronged.load(Ordering::Relaxed)
    }

    /// The most requests that it ever had at a time.
    pub(crate) fn most(&self) -> u64 {
        self.shared.most.load(Ordering::Relaxed)
    }

    /// Accepts, whatever was before.
    pub(crate) fn listen(&self) {
        lock(&self.filling).clear();
        lock(&self.deaf).take();
        let stop = CancellationToken::new();
        *lock(&self.listening) = stop.clone();
        let listener = socket(self.addr())
            .listen(1024)
            .expect("the port is reserved for this");
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move { stop.run_until_cancelled(accept(&listener, &shared)).await });
    }

    /// Refuses, and ends all connections.
    pub(crate) async fn refuse(&self) {
        lock(&self.listening).cancel();
        self.cut();
        eventually(PATIENCE, "its port refuses", async || {
            match TcpStream::connect(self.addr()).await {
                Ok(_) => Err("a connection".to_owned()),
                Err(_) => Ok(()),
            }
        })
        .await;
    }

    /// Accepts nothing more, and its backlog is full: who connects hears nothing, as from a black hole.
    pub(crate) async fn is_deaf(&self) {
        self.refuse().await;
        let listener = socket(self.addr())
            .listen(1)
            .expect("the port is reserved for this");
        *lock(&self.deaf) = Some(listener);
        let addr = self.addr();
        for _ in 0..4 {
            let filling = tokio::spawn(async move { TcpStream::connect(addr).await.ok() });
            lock(&self.filling).push(filling);
        }
        eventually(
            PATIENCE,
            "nobody gets through",
            async || match tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(addr)).await {
                Ok(_) => Err("a connection".to_owned()),
                Err(_) => Ok(()),
            },
        )
        .await;
    }

    fn cut(&self) {
        std::mem::take(&mut *lock(&self.shared.alive)).cancel();
    }
}

impl Drop for Villain {
    fn drop(&mut self) {
        lock(&self.listening).cancel();
        lock(&self.filling)
            .iter()
            .for_each(tokio::task::JoinHandle::abort);
        self.cut();
    }
}

fn socket(addr: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket can be made");
    socket.set_reuseport(true).expect("SO_REUSEPORT can be set");
    socket.bind(addr).expect("loopback can be bound");
    socket
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request that the backend has. It ends before the answer begins, since the proxy may send the next one once it has that.
struct Held<'a>(&'a Shared);

impl<'a> Held<'a> {
    fn by(shared: &'a Shared) -> Self {
        let now = shared.held.fetch_add(1, Ordering::Relaxed) + 1;
        shared.most.fetch_max(now, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let alive = lock(&shared.alive).clone();
        let shared = Arc::clone(shared);
        tokio::spawn(async move { alive.run_until_cancelled(serve(stream, &shared)).await });
    }
}

/// Until the connection ends, or its manner does so.
async fn serve(mut stream: TcpStream, shared: &Shared) -> Option<()> {
    let mut read = Vec::new();
    loop {
        let target = request(&mut stream, &mut read).await?;
        let manner = *lock(&shared.manner);
        let is_probe = target == "/healthz";
        if manner != Manner::Serves && !is_probe {
            shared.wronged.fetch_add(1, Ordering::Relaxed);
        }
        let held = (!is_probe).then(|| Held::by(shared));
        if target == SINK {
            // Whatever comes, for as long as it does.
            return gone(&mut stream).await;
        }
        if target == SLOW {
            tokio::time::sleep(SLOW_TIME).await;
        }
        drop(held);
        if target == BIG {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BIG_LENGTH}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.ok()?;
            for _ in 0..BIG_LENGTH / (1 << 16) {
                stream.write_all(&[b'b'; 1 << 16]).await.ok()?;
            }
            continue;
        }
        let body = format!("{} {target}", shared.name);
        let head = |length: usize| {
            let name = &shared.name;
            format!("HTTP/1.1 200 OK\r\nX-Backend: {name}\r\nContent-Length: {length}\r\n\r\n")
        };
        let (first, half) = (head(body.len()), body.split_at(body.len() / 2).0);
        match manner {
            Manner::Serves => stream.write_all((first + &body).as_bytes()).await.ok()?,
            Manner::NeverAnswers => return gone(&mut stream).await,
            Manner::HalfHead => {
                let half = first.split_at(first.len() / 2).0;
                stream.write_all(half.as_bytes()).await.ok()?;
                return None;
            }
            Manner::HalfBody => {
                stream.write_all((first + half).as_bytes()).await.ok()?;
                return None;
            }
            Manner::ResetsInBody => {
                stream.write_all((first + half).as_bytes()).await.ok()?;
                let _ = stream.set_zero_linger();
                return None;
            }
            Manner::LengthTooLong => {
                stream
                    .write_all((head(body.len() + 1_000) + &body).as_bytes())
                    .await
                    .ok()?;
                return gone(&mut stream).await;
            }
            Manner::LengthTooShort => {
                let more = "HTTP/1.1 200 OK\r\nX-Backend: nobody\r\nContent-Length: 6\r\n\r\nforged";
                stream.write_all((first + &body + more).as_bytes()).await.ok()?;
            }
            Manner::Garbage => {
                stream.write_all(b"\x00\x01nonsense\r\n\r\n").await.ok()?;
                return None;
            }
            Manner::HugeHead => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n").await.ok()?;
                let line = format!("X-Big: {}\r\n", "a".repeat(1_000)).into_bytes();
                for _ in 0..HUGE / line.len() {
                    stream.write_all(&line).await.ok()?;
                }
                return None;
            }
            Manner::EndlessBody => {
                let endless = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                stream.write_all(endless.as_bytes()).await.ok()?;
                let chunk = format!("4000\r\n{}\r\n", "e".repeat(0x4000)).into_bytes();
                loop {
                    stream.write_all(&chunk).await.ok()?;
                }
            }
        }
    }
}

/// Waits for the other side to go.
async fn gone(stream: &mut TcpStream) -> Option<()> {
    let mut bytes = vec![0; 1 << 16];
    while stream.read(&mut bytes).await.ok()? > 0 {}
    None
}

/// The target of the next request, once all of it was read.
async fn request(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some((target, length)) = whole(read) {
            read.drain(..length);
            return Some(target);
        }
        if read.len() > REQUEST_MAX {
            return None;
        }
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        read.extend_from_slice(&buffer[..count]);
    }
}

/// The target and the length of a request, if it is whole. Whoever asks frames it by a length, or not at all.
fn whole(read: &[u8]) -> Option<(String, usize)> {
    let end = read.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(read.get(..end)?).ok()?;
    let mut lines = head.split("\r\n");
    let target = lines.next()?.split(' ').nth(1)?.to_owned();
    let body = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(Some(0), |(_, value)| value.trim().parse::<usize>().ok())?;
    (read.len() >= end + body).then_some((target, end + body))
}
