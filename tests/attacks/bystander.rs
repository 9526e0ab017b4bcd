//! Well-behaved clients, who must not notice that there is an attack.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::origin::BYSTANDER;

/// A request that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(10);

/// How many failures are kept word by word.
const KEPT: usize = 5;

/// Where they come from, so that no limit of the attacker's address is theirs.
const HOME: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 1);

/// What became of their requests.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    /// The first of them, in words.
    pub(crate) failures: Vec<String>,
    /// How long each took.
    times: Vec<Duration>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.failures.extend(other.failures);
        self.failures.truncate(KEPT);
        self.times.extend(other.times);
    }

    /// The time that 99 of 100 did not exceed.
    pub(crate) fn p99(&mut self) -> Duration {
        self.times.sort_unstable();
        let at = self.times.len().saturating_sub(1) * 99 / 100;
        self.times.get(at).copied().unwrap_or_default()
    }
}

/// Who they ask, and as whom.
#[derive(Clone)]
pub(crate) struct Ways {
    pub(crate) proxy: SocketAddr,
    pub(crate) api: SocketAddr,
    pub(crate) token: Option<String>,
    /// The backend that the agent keeps registered.
    pub(crate) kept: &'static str,
}

/// All of them, at it until they are told to stop.
pub(crate) struct Crowd {
    stop: CancellationToken,
    clients: JoinSet<Tally>,
}

impl Crowd {
    /// Two over connections that are kept, one with a new connection each time, one over HTTP/2, and two agents.
    pub(crate) fn start(ways: &Ways) -> Self {
        let mut crowd = Self {
            stop: CancellationToken::new(),
            clients: JoinSet::new(),
        };
        let every = Duration::from_millis;
        for name in ["kept-1", "kept-2"] {
            crowd.join(name, every(10), ways, How::Kept(None));
        }
        crowd.join("fresh", every(40), ways, How::Fresh);
        crowd.join("http2", every(20), ways, How::Http2(None));
        crowd.join("agent", every(40), ways, How::Agent(None));
        crowd.join("new-agent", every(200), ways, How::NewAgent);
        crowd
    }

    fn join(&mut self, name: &'static str, every: Duration, ways: &Ways, how: How) {
        let client = Client {
            name,
            ways: ways.clone(),
            how,
            number: 0,
        };
        self.clients.spawn(client.go_on(every, self.stop.clone()));
    }

    /// Lets everybody finish what is under way.
    pub(crate) async fn end(mut self) -> Tally {
        self.stop.cancel();
        let mut tally = Tally::default();
        while let Some(ended) = self.clients.join_next().await {
            tally.add(ended.expect("a client does not panic"));
        }
        tally
    }
}

type Body = Full<Bytes>;

enum How {
    Kept(Option<http1::SendRequest<Body>>),
    Fresh,
    Http2(Option<http2::SendRequest<Body>>),
    /// It sends heartbeats.
    Agent(Option<http1::SendRequest<Body>>),
    /// The same with a new connection each time.
    NewAgent,
}

struct Client {
    name: &'static str,
    ways: Ways,
    how: How,
    number: u64,
}

impl Client {
    async fn go_on(mut self, every: Duration, stop: CancellationToken) -> Tally {
        let mut tally = Tally::default();
        let mut turns = tokio::time::interval(every);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(turns.tick()).await.is_some() {
            let begun = Instant::now();
            let once = tokio::time::timeout(LIMIT, self.once()).await;
            let outcome = once.unwrap_or_else(|_| Err(anyhow::anyhow!("nothing within {LIMIT:?}")));
            tally.requests += 1;
            tally.times.push(begun.elapsed());
            if let Err(error) = outcome {
                tally.failed += 1;
                if tally.failures.len() < KEPT {
                    tally.failures.push(format!("{}: {error:#}", self.name));
                }
                self.forget();
            }
        }
        tally
    }

    fn forget(&mut self) {
        match &mut self.how {
            How::Kept(connection) | How::Agent(connection) => *connection = None,
            How::Http2(connection) => *connection = None,
            How::Fresh | How::NewAgent => {}
        }
    }

    /// One request, whose answer has to be its own.
    async fn once(&mut self) -> Result<()> {
        self.number += 1;
        let target = format!("{BYSTANDER}{}/{}", self.name, self.number);
        let (status, _, body) = match &mut self.how {
            How::Kept(connection) => {
                let request = request(Method::GET, &target, "shop", None)?;
                kept(connection, self.ways.proxy, request).await?
            }
            How::Fresh => {
                let request = request(Method::GET, &target, "shop", None)?;
                kept(&mut None, self.ways.proxy, request).await?
            }
            How::Http2(connection) => streamed(connection, self.ways.proxy, &target).await?,
            How::Agent(connection) => return heartbeat(connection, &self.ways).await,
            How::NewAgent => return heartbeat(&mut None, &self.ways).await,
        };
        ensure!(status == StatusCode::OK, "{status}: {body:?}");
        ensure!(body == target, "the answer to {target} is {body:?}");
        Ok(())
    }
}

async fn heartbeat(connection: &mut Option<http1::SendRequest<Body>>, ways: &Ways) -> Result<()> {
    let path = format!("/api/v1/heartbeat/{}", ways.kept);
    let request = request(Method::POST, &path, &ways.api.to_string(), ways.token.as_deref())?;
    let (status, _, body) = kept(connection, ways.api, request).await?;
    ensure!(status == StatusCode::OK, "{status}: {body:?}");
    Ok(())
}

fn request(method: Method, target: &str, host: &str, token: Option<&str>) -> Result<Request<Body>> {
    let mut request = Request::builder().method(method).uri(target).header("host", host);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    Ok(request.body(Full::default())?)
}

async fn connect(addr: SocketAddr) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((HOME, 0)))?;
    let stream = socket.connect(addr).await.context("it is not accepted")?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Over the connection that is there; a new one only if there is none, or its end was announced.
async fn kept(
    slot: &mut Option<http1::SendRequest<Body>>,
    addr: SocketAddr,
    request: Request<Body>,
) -> Result<(StatusCode, HeaderMap, String)> {
    let mut connection = match slot.take() {
        Some(connection) => connection,
        None => {
            let (sender, connection) = http1::handshake(TokioIo::new(connect(addr).await?)).await?;
            // What goes wrong with it is told to whoever waits for an answer.
            tokio::spawn(connection);
            sender
        }
    };
    connection.ready().await.context("closed unannounced")?;
    let response = connection.send_request(request).await.context("no answer")?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.context("a truncated answer")?.to_bytes();
    let closes = head
        .headers
        .get("connection")
        .is_some_and(|value| value == "close");
    if !closes {
        *slot = Some(connection);
    }
    Ok((
        head.status,
        head.headers,
        String::from_utf8_lossy(&body).into_owned(),
    ))
}

async fn streamed(
    slot: &mut Option<http2::SendRequest<Body>>,
    addr: SocketAddr,
    target: &str,
) -> Result<(StatusCode, HeaderMap, String)> {
    let connection = match slot {
        Some(connection) => connection,
        None => {
            let stream = TokioIo::new(connect(addr).await?);
            let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
            tokio::spawn(connection);
            slot.insert(sender)
        }
    };
    let request = Request::get(format!("http://shop{target}")).body(Full::default())?;
    let response = connection.send_request(request).await.context("no answer")?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.context("a truncated answer")?.to_bytes();
    Ok((
        head.status,
        head.headers,
        String::from_utf8_lossy(&body).into_owned(),
    ))
}
