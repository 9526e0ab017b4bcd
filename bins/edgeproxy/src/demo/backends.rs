//! The sample backends: a server each, and the agent that registers it and keeps its lease.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::client::Client;

/// The region that the proxy stands in.
pub(crate) const HOME: &str = "eu";
pub(crate) const APP: &str = "demo";
/// The shortest that the API grants, so that its end is seen in ten seconds.
pub(crate) const LEASE: Duration = Duration::from_secs(5);
/// Low enough for a few clients to fill a region, which is what makes traffic spill.
pub(crate) const SOFT_LIMIT: u32 = 4;
pub(crate) const HARD_LIMIT: u32 = 8;
/// What a request keeps a backend busy for.
const WORK_MS: std::ops::RangeInclusive<u64> = 50..=70;
pub(crate) const WORK_RANGE_TEXT: &str = "50 to 70";

/// The header by which a client knows who answered.
pub(crate) const SERVED_BY: &str = "x-demo-backend";
/// The path of a client's request, followed by its number.
pub(crate) const REQUEST_PATH: &str = "/request/";

/// Home first, then as the table shows them.
pub(crate) const REGIONS: [(&str, &[&str]); 3] = [
    (HOME, &["eu-1", "eu-2", "eu-3"]),
    ("us", &["us-1", "us-2"]),
    ("sa", &["sa-1", "sa-2"]),
];

/// The one that is killed: of the home region, so that the traffic has to move.
pub(crate) const VICTIM: &str = "eu-2";

/// Every backend's region and id, in the order of the table.
pub(crate) fn members() -> impl Iterator<Item = (&'static str, &'static str)> {
    REGIONS
        .iter()
        .flat_map(|(region, ids)| ids.iter().map(|id| (*region, *id)))
}

/// The fleet in a line.
pub(crate) fn described() -> String {
    let regions = REGIONS
        .iter()
        .map(|(region, ids)| format!("{} in {region}", ids.len()));
    regions.collect::<Vec<_>>().join(", ")
}

/// All of the backends.
pub(crate) struct Fleet {
    api: SocketAddr,
    members: Vec<Sample>,
}

impl Fleet {
    /// Starts and registers them, one after the other.
    pub(crate) async fn start(api: SocketAddr) -> anyhow::Result<Self> {
        let mut members = Vec::new();
        for (region, id) in self::members() {
            members.push(Sample::start(id, region, api).await?);
        }
        Ok(Self { api, members })
    }

    /// Ends the victim without a word to anybody: its listener, its connections, its heartbeats. Returns
    /// the numbers of the requests that it took with it.
    pub(crate) async fn kill(&mut self) -> HashSet<u64> {
        match self.members.iter().position(|member| member.id == VICTIM) {
            Some(victim) => self.members.swap_remove(victim).kill().await,
            None => HashSet::new(),
        }
    }

    /// Starts the victim again, on another port.
    pub(crate) async fn revive(&mut self) -> anyhow::Result<()> {
        self.members.push(Sample::start(VICTIM, HOME, self.api).await?);
        Ok(())
    }

    /// Deregisters all, then ends them.
    pub(crate) async fn leave(self) -> anyhow::Result<()> {
        let mut client = Client::new(self.api.to_string());
        for member in self.members {
            let path = format!("/api/v1/backends/{}", member.id);
            // Before the DELETE: a heartbeat after it would register anew.
            member.agent.abort();
            client
                .send(Method::DELETE, &path, None)
                .await
                .and_then(|answer| answer.json())?;
            member.kill().await;
        }
        Ok(())
    }
}

struct Sample {
    id: &'static str,
    unanswered: Arc<Mutex<HashSet<u64>>>,
    stop: CancellationToken,
    server: JoinHandle<()>,
    agent: JoinHandle<()>,
}

impl Sample {
    async fn start(id: &'static str, region: &'static str, api: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("no port for a backend")?;
        let addr = listener.local_addr()?;
        let unanswered = Arc::<Mutex<HashSet<u64>>>::default();
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listener, id, Arc::clone(&unanswered), stop.clone()));
        let mut agent = Agent {
            client: Client::new(api.to_string()),
            id,
            region,
            addr,
        };
        let every = agent
            .register()
            .await
            .with_context(|| format!("{id} could not register"))?;
        let agent = tokio::spawn(async move { agent.keep_alive(every).await });
        Ok(Self {
            id,
            unanswered,
            stop,
            server,
            agent,
        })
    }

    async fn kill(self) -> HashSet<u64> {
        self.agent.abort();
        self.stop.cancel();
        // An error would be a panic of the server's task, which has then ended as well.
        let _ = self.server.await;
        std::mem::take(&mut *self.unanswered.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn serve(
    listener: TcpListener,
    id: &'static str,
    unanswered: Arc<Mutex<HashSet<u64>>>,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            Ok((stream, _)) = listener.accept() => {
                connections.spawn(answer_all(stream, id, Arc::clone(&unanswered)));
            }
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn answer_all(stream: TcpStream, id: &'static str, unanswered: Arc<Mutex<HashSet<u64>>>) {
    let service = service_fn(|request: Request<Incoming>| answer(request, id, &unanswered));
    // A connection that breaks is the other side's to notice.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    id: &'static str,
    unanswered: &Mutex<HashSet<u64>>,
) -> http::Result<Response<Full<Bytes>>> {
    let held = || unanswered.lock().unwrap_or_else(PoisonError::into_inner);
    let number: Option<u64> = request
        .uri()
        .path()
        .strip_prefix(REQUEST_PATH)
        .and_then(|number| number.parse().ok());
    held().extend(number);
    sleep(Duration::from_millis(fastrand::u64(WORK_MS))).await;
    // Not by a guard: what is dropped here with the connection stays in the set, and is what a kill cost.
    held().retain(|held| Some(*held) != number);
    Response::builder()
        .header(SERVED_BY, id)
        .body(Full::from(format!("hello from {id}\n")))
}

/// What a backend's author would run beside it: three calls of the API.
struct Agent {
    client: Client,
    id: &'static str,
    region: &'static str,
    addr: SocketAddr,
}

impl Agent {
    /// Registers, and returns how often a heartbeat is wanted.
    async fn register(&mut self) -> anyhow::Result<Duration> {
        let registration = json!({
            "id": self.id,
            "app": APP,
            "region": self.region,
            "ip": self.addr.ip(),
            "port": self.addr.port(),
            "soft_limit": SOFT_LIMIT,
            "hard_limit": HARD_LIMIT,
        });
        let reply = self
            .client
            .send(Method::POST, "/api/v1/register", Some(&registration))
            .await?
            .json()?;
        let secs = reply["heartbeat_interval_secs"]
            .as_u64()
            .context("the reply has no heartbeat_interval_secs")?;
        Ok(Duration::from_secs(secs.max(1)))
    }

    async fn keep_alive(&mut self, every: Duration) {
        let path = format!("/api/v1/heartbeat/{}", self.id);
        let mut beat = interval(every);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            let outcome = match self.client.send(Method::POST, &path, None).await {
                Ok(answer) if answer.status == StatusCode::NOT_FOUND => self.register().await.map(|_| ()),
                Ok(answer) => answer.json().map(|_| ()),
                Err(error) => Err(error),
            };
            // The next one may succeed; the lease spans three.
            if let Err(error) = outcome {
                tracing::warn!("{}: heartbeat failed: {error:#}", self.id);
            }
        }
    }
}
