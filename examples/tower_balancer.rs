//! The balancer inside tower: a `Service` that picks a backend for each request, counts it there until the body's end, and
//! tells the registry of failures. What is above it (time-outs, retries, tracing) is tower's, what is beneath it (here
//! hyper's client) is anybody's.
//!
//! ```sh
//! cargo run -p edgeproxy-examples --example tower_balancer
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

mod balanced;

use std::net::SocketAddr;

use bytes::Bytes;
use edgeproxy_backend::{AppName, Backend, BackendAddr, BackendId, Country, Endpoint, Region};
use edgeproxy_balance::{Algorithm, Policy};
use edgeproxy_control::{registry, reports};
use edgeproxy_registry::{AppPolicy, Config, Event, EventKind, Registration};
use http::uri::{Authority, Scheme};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tower::{BoxError, Service, ServiceExt, service_fn};

use balanced::{Terms, balanced};

const MAX_FAILURES: u32 = 2;

/// Answers with `200`, and with the rest of the body once it is told to.
async fn slow(listener: TcpListener, mut go_on: mpsc::Receiver<()>) -> std::io::Result<()> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        read_head(&mut stream).await?;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\nfirst ")
            .await?;
        if go_on.recv().await.is_none() {
            return Ok(());
        }
        stream.write_all(b"second").await?;
    }
}

/// Answers everything with `503`.
async fn sick(listener: TcpListener) -> std::io::Result<()> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        read_head(&mut stream).await?;
        stream
            .write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .await?;
    }
}

async fn read_head(stream: &mut tokio::net::TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await? > 0 {}
    Ok(())
}

fn registration(id: &str, addr: SocketAddr) -> anyhow::Result<Registration> {
    let backend = Backend::new(
        BackendId::parse(id)?,
        AppName::parse("shop")?,
        Region::parse("eu")?,
        Country::parse("DE")?,
        BackendAddr::new(addr.ip(), addr.port())?,
    );
    Ok(Registration { backend, ttl: None })
}

/// What sends a request to one backend: hyper's client, which keeps connections to each by the name in the URI.
fn to(
    client: &Client<HttpConnector, Empty<Bytes>>,
    endpoint: &Endpoint,
) -> impl Service<
    Request<Empty<Bytes>>,
    Response = http::Response<hyper::body::Incoming>,
    Error = BoxError,
    Future: Send,
> + Clone
+ Send
+ Sync
+ use<> {
    let (client, addr) = (client.clone(), endpoint.addr.socket_addr());
    service_fn(move |mut request: Request<Empty<Bytes>>| {
        let client = client.clone();
        async move {
            let mut parts = request.uri().clone().into_parts();
            parts.scheme = Some(Scheme::HTTP);
            parts.authority = Some(Authority::try_from(addr.to_string())?);
            *request.uri_mut() = Uri::from_parts(parts)?;
            Ok::<_, BoxError>(client.request(request).await?)
        }
    })
}

async fn run() -> anyhow::Result<()> {
    let (well, ill) = (
        TcpListener::bind("127.0.0.1:0").await?,
        TcpListener::bind("127.0.0.1:0").await?,
    );
    let (well_addr, ill_addr) = (well.local_addr()?, ill.local_addr()?);
    let (go_on, told) = mpsc::channel(1);
    tokio::spawn(slow(well, told));
    tokio::spawn(sick(ill));

    // The registry, and where failures are reported to: bounded, and never waited for.
    let app = AppPolicy {
        max_failures: MAX_FAILURES,
        ..AppPolicy::default()
    };
    let (handle, driver) = registry(Config {
        app,
        ..Config::default()
    });
    let (sender, reports) = reports(1_024);
    let terms = Terms {
        app: AppName::parse("shop")?,
        policy: Policy {
            algorithm: Algorithm::RoundRobin,
            ..Policy::default()
        },
        max_failures: MAX_FAILURES,
        is_failure: |head| head.status.is_server_error(),
    };
    let client = Client::builder(TokioExecutor::new()).build_http();
    let connect = move |endpoint: &Endpoint| to(&client, endpoint);
    let (balanced, membership) = balanced(terms, handle.clone(), sender, connect);
    let (happened, mut events) = mpsc::unbounded_channel();
    tokio::spawn(driver.run(
        reports,
        move |snapshot| membership.publish(snapshot),
        move |event: &Event| drop(happened.send(event.clone())),
    ));
    let well = handle
        .register(registration("well", well_addr)?)
        .await?
        .outcome
        .endpoint;
    let ill = handle
        .register(registration("ill", ill_addr)?)
        .await?
        .outcome
        .endpoint;

    // They take turns, until the one that only fails is out.
    let mut statuses = Vec::new();
    for _ in 0..6 {
        let request = Request::get("/").body(Empty::new())?;
        let response = balanced.clone().oneshot(request).await?;
        statuses.push(response.status());
        if response.status() == StatusCode::OK {
            // The head has come and half of the body: the place is held.
            anyhow::ensure!(well.meter.in_flight() == 1);
            go_on.send(()).await?;
            let body = response.into_body().collect().await?.to_bytes();
            anyhow::ensure!(body == "first second");
            anyhow::ensure!(well.meter.in_flight() == 0);
        }
    }
    println!("{statuses:?}");
    let failures = statuses.iter().filter(|status| status.is_server_error()).count();
    anyhow::ensure!(
        failures == 2,
        "the second failure in a row was the last: {statuses:?}"
    );
    anyhow::ensure!(ill.meter.totals() == (2, 2));

    // The registry has heard of it, and says for how long.
    while let Some(event) = events.recv().await {
        println!("{} {}: {}", event.kind.as_str(), event.id, event.reason);
        if event.kind == EventKind::Ejected {
            anyhow::ensure!(event.id.as_str() == "ill");
            break;
        }
    }
    Ok(())
}

fn main() -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(run())
}

#[test]
fn it_runs() {
    main().unwrap();
}
