//! Requests that come round: a backend that is the proxy, and proxies in a ring.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use edgeproxy_tests::{Edgeproxy, Registration, Wire, within};
use http::Method;

use crate::frames::{Outcome, Raw, get, literal};
use crate::row::{Did, Row};
use crate::stage::Stage;

pub(crate) const ROWS: &[Row] = &[
    Row::new(
        "loop-own-listener",
        "backends at the proxy's own ports, by every address of this machine",
        |stage| Box::pin(own(stage)),
    )
    .with(|setup| {
        setup
            .set("LISTEN_ADDR", "0.0.0.0:0")
            .set("TCP_LISTEN_ADDR", "127.0.0.1:0")
            .set("TCP_APP", "ring")
    }),
    Row::new(
        "loop-ring",
        "two proxies, each the other's backend: HTTP/1.1, HTTP/2, gRPC, WebSocket",
        |stage| Box::pin(ring(stage)),
    )
    .quick(),
    Row::new(
        "loop-ring-without-via",
        "the same, with a hop between them that takes `Via` away",
        |stage| Box::pin(without_via(stage)),
    )
    .again(),
    Row::new(
        "loop-tcp",
        "two proxies, each the other's backend, for TCP",
        |stage| Box::pin(tcp(stage)),
    )
    .with(|setup| setup.set("TCP_LISTEN_ADDR", "127.0.0.1:0").set("TCP_APP", "ring")),
];

const RING: &str = "ring";

/// How many requests a backend may have at once that registers no limit of its own.
const HARD_LIMIT: u64 = 150;

async fn own(stage: &Stage) -> Result<Did> {
    let mut operator = stage.operator();
    let tcp = tcp_addr(&stage.edgeproxy).await?;
    let api = stage.edgeproxy.api_addr();
    let (mut sent, mut refused) = (0, 0);
    for (port, everywhere) in [
        (stage.proxy().port(), true),
        (tcp.port(), false),
        (api.port(), false),
    ] {
        let mut addrs = vec!["127.0.0.1", "::ffff:127.0.0.1"];
        if everywhere {
            addrs.extend(["127.0.0.2", "127.255.255.254"]);
        }
        for ip in addrs {
            let addr = SocketAddr::new(ip.parse()?, port);
            let reply = operator.register(&Registration::new("self", RING, addr)).await?;
            sent += 1;
            ensure!(
                reply.status == 422 && reply.text().contains("own listeners"),
                "{addr}: {reply:?}"
            );
            refused += 1;
        }
    }
    Ok(Did::new(
        sent,
        format!("{refused} refused (422), in every way to write them"),
    ))
}

/// Where it serves TCP, from the start-up log.
async fn tcp_addr(edgeproxy: &Edgeproxy) -> Result<SocketAddr> {
    let said = edgeproxy.logs().find(|line| {
        let (_, rest) = line.split_once("serves TCP on ")?;
        rest.split_once(", for app")?.0.parse().ok()
    });
    within(edgeproxy_tests::PATIENCE, "it says where it serves TCP", said)
        .await
        .context("edgeproxy is running")
}

/// Another proxy, whose only backend is `to`, and which is the first one's backend.
async fn other(stage: &Stage, protocol: &str, via: Option<SocketAddr>) -> Result<Edgeproxy> {
    let other = Edgeproxy::setup()
        .set("TCP_LISTEN_ADDR", "127.0.0.1:0")
        .set("TCP_APP", RING)
        .set("POOL_IDLE_TIMEOUT_SECS", "1")
        .start()
        .await;
    let (here, there) = if protocol == "tcp" {
        (tcp_addr(&stage.edgeproxy).await?, tcp_addr(&other).await?)
    } else {
        (stage.proxy(), other.proxy())
    };
    let back = Registration::new("back", RING, via.unwrap_or(here)).with("protocol", protocol);
    let _ = other.api().register(&back).await.expect(201);
    let forth = Registration::new("forth", RING, there).with("protocol", protocol);
    let _ = stage.operator().register(&forth).await?.expect(201);
    Ok(other)
}

async fn unregister(stage: &Stage) -> Result<()> {
    let _ = stage
        .operator()
        .call(Method::DELETE, "/api/v1/backends/forth", "")
        .await?
        .expect(200);
    Ok(())
}

/// How many requests an app's backend has had.
async fn requests(stage: &Stage, id: &str) -> Result<u64> {
    let backend = stage
        .operator()
        .get(&format!("/api/v1/backends/{id}"))
        .await?
        .expect(200)
        .json();
    let count = backend["requests_total"].as_u64();
    count.with_context(|| format!("no count in {backend}"))
}

async fn ring(stage: &Stage) -> Result<Did> {
    const EACH: u64 = 50;
    let mut sent = 0;
    for protocol in ["http1", "h2c"] {
        let _other = other(stage, protocol, None).await?;
        let before = requests(stage, "forth").await?;
        for _ in 0..EACH {
            let mut wire = stage.wire().await;
            wire.send(b"GET /round HTTP/1.1\r\nHost: ring\r\nConnection: Via, close\r\n\r\n")
                .await;
            let reply = wire.reply().await?;
            ensure!(reply.status == 508, "{protocol}: {reply:?}");
            let mut wire = stage.wire().await;
            wire.send(b"GET /round HTTP/1.1\r\nHost: ring\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").await;
            let reply = wire.reply().await?;
            // A backend of HTTP/2 takes none, so the request doesn't even set out.
            let status = if protocol == "http1" { 508 } else { 503 };
            ensure!(reply.status == status, "{protocol}, WebSocket: {reply:?}");
            sent += 2;
        }
        // To a backend of HTTP/1.1 a call is a request as any other.
        if protocol == "h2c" {
            let status = grpc(stage).await?;
            ensure!(status != "0", "a call came to an end: {status}");
            sent += 1;
        }
        let count = requests(stage, "forth").await? - before;
        ensure!(count <= 2 * (2 * EACH + 1), "{count} requests came of {sent}");
        unregister(stage).await?;
    }
    // A ring so long that nobody in it has seen the request before.
    for (hops, status) in [(31, 200), (32, 200), (33, 508), (1_000, 508)] {
        let via = vec!["1.1 p"; hops].join(", ");
        let mut wire = stage.wire().await;
        wire.send(
            format!("GET /far HTTP/1.1\r\nHost: shop\r\nVia: {via}\r\nConnection: close\r\n\r\n").as_bytes(),
        )
        .await;
        let reply = wire.reply().await?;
        ensure!(reply.status == status, "{hops} hops: {reply:?}");
        let mut raw = Raw::connect(stage.proxy()).await?;
        raw.request(1, &[get("/far"), literal(b"via", via.as_bytes())].concat())
            .await?;
        let outcome = raw.outcome(1).await?;
        ensure!(
            outcome == Outcome::Answered(status),
            "{hops} hops over HTTP/2: {outcome:?}"
        );
        sent += 2;
    }
    Ok(Did::new(
        sent,
        "508 after one round for each, by `Via`, which `Connection` can't take away; and beyond 32 hops",
    ))
}

/// The `grpc-status` of a call.
async fn grpc(stage: &Stage) -> Result<String> {
    let stream = hyper_util::rt::TokioIo::new(tokio::net::TcpStream::connect(stage.proxy()).await?);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, stream).await?;
    tokio::spawn(connection);
    let request = http::Request::post("http://ring/round.Round/Go")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(http_body_util::Full::new(bytes::Bytes::from_static(&[0; 5])))?;
    let response = sender.send_request(request).await?;
    let (head, body) = response.into_parts();
    let trailers = http_body_util::BodyExt::collect(body)
        .await?
        .trailers()
        .cloned()
        .unwrap_or_default();
    let status = head.headers.get("grpc-status").or(trailers.get("grpc-status"));
    let status = status.with_context(|| format!("{} without a grpc-status", head.status))?;
    Ok(status.to_str()?.to_owned())
}

async fn without_via(stage: &Stage) -> Result<Did> {
    let stripping = strip::Hop::start(stage.proxy()).await?;
    let _other = other(stage, "http1", Some(stripping.addr)).await?;
    let mut wire = stage.wire().await;
    wire.send(b"GET /round HTTP/1.1\r\nHost: ring\r\nConnection: close\r\n\r\n")
        .await;
    let reply = within(Duration::from_secs(30), "an answer", wire.reply()).await?;
    let rounds = stripping.passed();
    unregister(stage).await?;
    ensure!(matches!(reply.status.as_u16(), 502..=504 | 508), "{reply:?}");
    // Neither more, nor fewer: something else would have ended it.
    ensure!(rounds == HARD_LIMIT, "{rounds} rounds");
    Ok(Did::new(
        1,
        format!("{} after {rounds} rounds", reply.status.as_u16()),
    ))
}

async fn tcp(stage: &Stage) -> Result<Did> {
    let addr = tcp_addr(&stage.edgeproxy).await?;
    let _other = other(stage, "tcp", None).await?;
    let mut wire = Wire::connect(addr).await;
    wire.send(b"round and round").await;
    let _ = within(Duration::from_secs(30), "the ring is broken", wire.rest()).await;
    let count = requests(stage, "forth").await?;
    unregister(stage).await?;
    ensure!(count == HARD_LIMIT, "{count} rounds");
    Ok(Did::new(
        1,
        format!("closed after {count} rounds, at the backend's `hard_limit`"),
    ))
}

/// A hop that forgets who has handled a message.
mod strip {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use anyhow::Result;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::JoinHandle;

    pub(super) struct Hop {
        pub(super) addr: SocketAddr,
        passed: Arc<AtomicU64>,
        task: JoinHandle<()>,
    }

    impl Hop {
        pub(super) async fn start(to: SocketAddr) -> Result<Self> {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let addr = listener.local_addr()?;
            let passed = Arc::new(AtomicU64::new(0));
            let counted = Arc::clone(&passed);
            let task = tokio::spawn(async move {
                while let Ok((from, _)) = listener.accept().await {
                    let counted = Arc::clone(&counted);
                    tokio::spawn(async move { pass(from, to, &counted).await.unwrap_or_default() });
                }
            });
            Ok(Self { addr, passed, task })
        }

        pub(super) fn passed(&self) -> u64 {
            self.passed.load(Ordering::Relaxed)
        }
    }

    impl Drop for Hop {
        fn drop(&mut self) {
            self.task.abort();
        }
    }

    /// One head without its `Via`, and whatever comes back.
    async fn pass(mut from: TcpStream, to: SocketAddr, counted: &AtomicU64) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if from.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
        counted.fetch_add(1, Ordering::Relaxed);
        let text = String::from_utf8_lossy(&head);
        let kept = text
            .split_inclusive("\r\n")
            .filter(|line| !line.to_ascii_lowercase().starts_with("via:"));
        let kept: String = kept.collect();
        let mut far = TcpStream::connect(to).await?;
        far.write_all(kept.as_bytes()).await?;
        tokio::io::copy_bidirectional(&mut from, &mut far).await?;
        Ok(())
    }
}
