use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A request as a backend read it off the wire.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    /// The values of a field.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        fields
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }

    pub(crate) fn one(&self, name: &str) -> &str {
        let all = self.all(name);
        assert_eq!(all.len(), 1, "{name} in {}", self.head);
        all[0]
    }

    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }
}

/// What a backend does with a request.
pub(crate) enum Reply {
    /// Answers and keeps the connection.
    Send(Vec<u8>),
    /// Answers and closes; inside TLS without a word, which is what a truncated answer looks like.
    SendAndClose(Vec<u8>),
    /// Answers, ends its side in peace, and closes.
    SendAndEnd(Vec<u8>),
    /// Closes without a word.
    Close,
    /// Resets the connection.
    Reset,
    /// Never answers.
    Hang,
    /// Sends the first part, waits for a permit, sends the second.
    Hold(Vec<u8>, Arc<Semaphore>, Vec<u8>),
}

/// What has happened at a backend so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) connections: usize,
    pub(crate) closed: usize,
    pub(crate) requests: usize,
    pub(crate) in_flight: usize,
    pub(crate) peak: usize,
}

/// A backend that reads HTTP/1.1 by hand and does as it is told.
pub(crate) struct Backend {
    pub(crate) addr: SocketAddr,
    tally: Arc<watch::Sender<Tally>>,
    seen: Arc<Mutex<VecDeque<Seen>>>,
    task: JoinHandle<()>,
}

pub(crate) fn ok(body: &str) -> Reply {
    Reply::Send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

impl Backend {
    /// `behave` gets each request and its number, from 0.
    pub(crate) async fn start(behave: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_on(None, behave).await
    }

    /// The same, inside TLS.
    pub(crate) async fn start_tls(
        config: Arc<ServerConfig>,
        behave: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start_on(Some(config.into()), behave).await
    }

    async fn start_on(
        tls: Option<TlsAcceptor>,
        behave: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (tally, seen) = (Arc::new(watch::Sender::new(Tally::default())), Arc::default());
        let shared = (Arc::clone(&tally), Arc::clone(&seen), Arc::new(behave));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tally, seen, behave) = shared.clone();
                let tls = tls.clone();
                tally.send_modify(|t| t.connections += 1);
                tokio::spawn(async move {
                    match tls {
                        None => drop(converse(stream, &tally, &seen, &*behave).await),
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                drop(converse(stream, &tally, &seen, &*behave).await);
                            }
                        }
                    }
                    tally.send_modify(|t| t.closed += 1);
                });
            }
        });
        Self {
            addr,
            tally,
            seen,
            task,
        }
    }

    /// An address where nobody listens.
    pub(crate) async fn refusing() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap()
    }

    pub(crate) fn tally(&self) -> Tally {
        *self.tally.borrow()
    }

    /// Waits until something has happened.
    pub(crate) async fn until(&self, what: impl FnMut(&Tally) -> bool) -> Tally {
        let mut tally = self.tally.subscribe();
        let waited = tokio::time::timeout(Duration::from_secs(10), tally.wait_for(what));
        *waited
            .await
            .unwrap_or_else(|_| panic!("it never happened: {:?}", self.tally()))
            .unwrap()
    }

    /// The oldest request that was not taken yet.
    pub(crate) fn take(&self) -> Seen {
        self.seen.lock().unwrap().pop_front().expect("no request came")
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a backend speaks on.
pub(crate) trait Peer: AsyncRead + AsyncWrite + Unpin {
    fn tcp(&self) -> &TcpStream;
}

impl Peer for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Peer for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

async fn converse(
    mut stream: impl Peer,
    tally: &watch::Sender<Tally>,
    seen: &Mutex<VecDeque<Seen>>,
    behave: &(impl Fn(usize, &Seen) -> Reply + ?Sized),
) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await? {
        let mut number = 0;
        tally.send_modify(|t| {
            number = t.requests;
            t.requests += 1;
            t.in_flight += 1;
            t.peak = t.peak.max(t.in_flight);
        });
        let reply = behave(number, &request);
        seen.lock().unwrap().push_back(request);
        let leave = || tally.send_modify(|t| t.in_flight -= 1);
        match reply {
            Reply::Send(bytes) => {
                leave();
                stream.write_all(&bytes).await?;
                stream.flush().await?;
            }
            Reply::SendAndClose(bytes) => {
                leave();
                stream.write_all(&bytes).await?;
                return stream.flush().await;
            }
            Reply::SendAndEnd(bytes) => {
                leave();
                stream.write_all(&bytes).await?;
                return stream.shutdown().await;
            }
            Reply::Close => {
                leave();
                return Ok(());
            }
            Reply::Reset => {
                leave();
                return stream.tcp().set_zero_linger();
            }
            Reply::Hang => {
                let _ = stream.read(&mut [0; 1]).await;
                leave();
                return Ok(());
            }
            Reply::Hold(first, permits, second) => {
                stream.write_all(&first).await?;
                stream.flush().await?;
                let mut byte = [0; 1];
                let gone = tokio::select! {
                    permit = permits.acquire() => { permit.unwrap().forget(); false }
                    read = stream.read(&mut byte) => { assert!(matches!(read, Ok(0) | Err(_))); true }
                };
                leave();
                if gone {
                    return Ok(());
                }
                stream.write_all(&second).await?;
                stream.flush().await?;
            }
        }
    }
    Ok(())
}

async fn read_request(stream: &mut impl Peer, buffer: &mut Vec<u8>) -> std::io::Result<Option<Seen>> {
    let end = loop {
        if let Some(at) = find(buffer, b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8(buffer.drain(..end).collect()).unwrap();
    let seen = Seen {
        head,
        body: Vec::new(),
    };
    let length = match (
        seen.all("content-length").first(),
        seen.all("transfer-encoding").first(),
    ) {
        (Some(length), _) => length.parse().unwrap(),
        (None, Some(_)) => loop {
            if buffer.starts_with(b"0\r\n") && find(buffer, b"\r\n\r\n").is_some() {
                break find(buffer, b"\r\n\r\n").unwrap() + 4;
            }
            if let Some(at) = find(buffer, b"\r\n0\r\n")
                && let Some(end) = find(&buffer[at + 2..], b"\r\n\r\n")
            {
                break at + 2 + end + 4;
            }
            if stream.read_buf(buffer).await? == 0 {
                return Ok(None);
            }
        },
        (None, None) => 0,
    };
    while buffer.len() < length {
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(Seen {
        body: buffer.drain(..length).collect(),
        ..seen
    }))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
