//! A picking algorithm of one's own, in the data plane and with everything around it: it fills one backend before it
//! begins the next, so that those that are left empty can be switched off.
//!
//! ```sh
//! cargo run -p edgeproxy-examples --example own_picker
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use edgeproxy_backend::{
    AppName, Backend, BackendAddr, BackendId, Country, Endpoint, Incarnation, Limits, MonoTime, Region,
};
use edgeproxy_balance::{Asked, Balancer, Candidate, Cost, Own, Policy, Target};
use edgeproxy_proxy::{AppRoute, Config, Listener, RouteTable, SharedTable, bind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

/// The fuller, the cheaper; of those that are alike always the same one. That nobody is filled beyond the soft limit while
/// another has room, that a nearer region comes first, and who is asked when one refuses, is not this one's to see to.
#[derive(Debug)]
struct Packed;

/// More than a backend ever has in flight, and few enough bits to leave room for an order below them.
const MANY: u64 = 1 << 24;

impl Cost for Packed {
    fn cost(&self, member: &dyn Target, _: &Asked<'_>) -> u64 {
        let free = MANY.saturating_sub(u64::from(member.in_flight()));
        // 40 bits: the load first, and then who it is.
        free << 16 | member.identity() & 0xFFFF
    }
}

/// Says that a request has come, and answers it once it is told to.
async fn backend(
    listener: TcpListener,
    number: u64,
    came: mpsc::Sender<u64>,
    go_on: watch::Receiver<bool>,
) -> std::io::Result<()> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        let (came, mut go_on) = (came.clone(), go_on.clone());
        tokio::spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await? > 0 {}
            // Nobody waits for either any more once the example is over.
            let _ = came.send(number).await;
            let _ = go_on.wait_for(|go_on| *go_on).await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .await
        });
    }
}

fn endpoint(number: u64, addr: SocketAddr) -> anyhow::Result<Arc<Endpoint>> {
    let mut backend = Backend::new(
        BackendId::parse(&format!("shop-{number}"))?,
        AppName::parse("shop")?,
        Region::parse("eu")?,
        Country::parse("DE")?,
        BackendAddr::new(addr.ip(), addr.port())?,
    );
    backend.limits = Limits::new(2, 4)?;
    let incarnation = Incarnation::new(number).ok_or_else(|| anyhow::anyhow!("0 is nobody's"))?;
    Ok(Arc::new(Endpoint::new(backend, incarnation)))
}

async fn ask(proxy: SocketAddr) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(proxy).await?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    anyhow::ensure!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    Ok(())
}

async fn run() -> anyhow::Result<()> {
    let (came, mut coming) = mpsc::channel(16);
    let (go_on, told) = watch::channel(false);
    let mut candidates = Vec::new();
    for number in 1..=4 {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        candidates.push(Candidate::new(endpoint(number, listener.local_addr()?)?));
        tokio::spawn(backend(listener, number, came.clone(), told.clone()));
    }
    let policy = Policy {
        own: Some(Own::new(Packed)),
        ..Policy::default()
    };
    let app = AppRoute {
        balancer: Balancer::prepare(&policy, candidates, MonoTime::ZERO, None),
        ..AppRoute::new(AppName::parse("shop")?)
    };
    let table: SharedTable = Arc::new(ArcSwap::from_pointee(RouteTable::new(
        1,
        [Arc::new(app)],
        Arc::default(),
    )));
    let config = Config {
        listeners: vec![Listener::http(SocketAddr::from(([127, 0, 0, 1], 0)))],
        workers: 2,
        ..Config::default()
    };
    // Nobody ejects here, so nobody is told of failures.
    let bound = bind(config)?;
    let proxy = bound.local_addr();
    let running = bound.spawn(table, Arc::new(drop))?;

    // Five requests, none of which ends: two fill one backend to its soft limit, two the next, and one begins a third. Each
    // comes after the one before has arrived, since of two in the same instant each could see a place that the other takes;
    // only the hard limit is exact then.
    let mut asking = Vec::new();
    let mut per_backend = BTreeMap::<u64, usize>::new();
    for _ in 0..5 {
        asking.push(tokio::spawn(ask(proxy)));
        let number = coming
            .recv()
            .await
            .ok_or_else(|| anyhow::anyhow!("the backends are gone"))?;
        *per_backend.entry(number).or_default() += 1;
    }
    println!("requests in flight by backend: {per_backend:?}");
    let mut counts: Vec<usize> = per_backend.into_values().collect();
    counts.sort_unstable();
    anyhow::ensure!(counts == [1, 2, 2], "the fourth has nothing to do: {counts:?}");

    go_on.send(true)?;
    for asked in asking {
        asked.await??;
    }
    running.drain();
    running.stopped().await;
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
