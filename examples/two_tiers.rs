//! Two tiers of proxies: an edge that clients come to, and origins behind it, each with backends of its own that the edge
//! never hears of. A proxy is a backend like any other: it registers with the edge, and leaves it before it stops.
//!
//! ```text
//!              ┌─▶ origin eu ─▶ eu-1, eu-2
//! client ─▶ edge
//!              └─▶ origin us ─▶ us-1
//! ```
//!
//! ```sh
//! cargo run -p edgeproxy-examples --example two_tiers
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU16;

use edgeproxy_agent::{Agent, ApiUrl, Registration};
use edgeproxy_backend::{AppName, Backend, BackendAddr, BackendId, Country, Region};
use edgeproxy_config::Settings;
use edgeproxy_server::{App, Running};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Both tiers call it the same, since the `Host` that names it goes through unchanged.
const APP: &str = "shop";

/// Answers each request with its own name and for whom it was asked.
async fn backend(name: &'static str) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.is_ok_and(|read| read > 0)
            {
            }
            let head = String::from_utf8_lossy(&head).to_lowercase();
            let seen = |field: &str| {
                let lines = head.lines().filter_map(|line| line.strip_prefix(field));
                lines.collect::<Vec<_>>().join(", ")
            };
            let body = format!("{name} for {} via {}", seen("x-forwarded-for: "), seen("via: "));
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            // A client that is gone is none of its business.
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    Ok(addr)
}

/// The tier that clients see. Its API is where origins register.
fn edge() -> anyhow::Result<Running> {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let settings = Settings {
        listen_addr: Some(anywhere),
        api_enabled: true,
        api_listen_addr: anywhere,
        // One origin that fails is not asked again for a while.
        max_failures: 3,
        ..Settings::default()
    };
    Ok(App::build(settings.into())?.spawn()?)
}

/// A tier behind it, with backends that only it knows, and its membership of the edge.
struct Origin {
    proxy: Running,
    agent: Agent,
}

impl Origin {
    async fn start(region: &str, backends: &[&'static str], edge: &ApiUrl) -> anyhow::Result<Self> {
        let settings = Settings {
            listen_addr: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            // What the edge says of the client is believed; what clients say of themselves the edge has put an end to.
            trusted_proxies: vec!["127.0.0.0/8".parse()?],
            ..Settings::default()
        };
        let proxy = App::build(settings.into())?.spawn()?;
        for name in backends {
            let addr = backend(name).await?;
            let backend = Backend::new(
                BackendId::parse(name)?,
                AppName::parse(APP)?,
                Region::parse(region)?,
                Country::parse("DE")?,
                BackendAddr::new(addr.ip(), addr.port())?,
            );
            proxy
                .handle()
                .register(edgeproxy_registry::Registration { backend, ttl: None })
                .await?;
        }
        // Only now: from here on the edge sends requests.
        let port = NonZeroU16::try_from(proxy.proxy_addr().port())?;
        let registration = Registration {
            ip: Some(proxy.proxy_addr().ip()),
            ..Registration::new(
                format!("origin-{region}").parse()?,
                APP.parse()?,
                region.parse()?,
                port,
            )
        };
        let agent = Agent::builder().api(edge.clone()).start(registration)?;
        agent.registered().await?;
        Ok(Self { proxy, agent })
    }

    /// Out of the edge first, and only then out of service: no request finds it gone.
    async fn stop(self) {
        self.agent.leave().await;
        self.proxy.drain().await;
    }
}

/// Who answered, and what it saw.
async fn ask(proxy: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(proxy).await?;
    let request = format!("GET / HTTP/1.1\r\nHost: {APP}.example\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    anyhow::ensure!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    Ok(answer.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned())
}

async fn asked(proxy: SocketAddr, times: usize) -> anyhow::Result<BTreeMap<String, usize>> {
    let mut by = BTreeMap::new();
    for _ in 0..times {
        let body = ask(proxy).await?;
        // Both proxies have signed, and neither has taken the other for a loop; the client's address came through.
        anyhow::ensure!(
            body.contains("for 127.0.0.1") && body.matches("1.1 edgeproxy").count() == 2,
            "{body}"
        );
        let name = body.split(' ').next().unwrap_or_default();
        *by.entry(name.to_owned()).or_default() += 1;
    }
    println!("{by:?}");
    Ok(by)
}

async fn run() -> anyhow::Result<()> {
    let edge = edge()?;
    let api = edge.api_addr().ok_or_else(|| anyhow::anyhow!("the API is off"))?;
    let api: ApiUrl = format!("http://{api}").parse()?;
    let eu = Origin::start("eu", &["eu-1", "eu-2"], &api).await?;
    let us = Origin::start("us", &["us-1"], &api).await?;

    let by = asked(edge.proxy_addr(), 40).await?;
    anyhow::ensure!(
        by.len() == 3,
        "each origin gets its share, and shares that among its own: {by:?}"
    );

    eu.stop().await;
    let by = asked(edge.proxy_addr(), 10).await?;
    anyhow::ensure!(by == BTreeMap::from([("us-1".to_owned(), 10)]));

    us.stop().await;
    edge.drain().await;
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
