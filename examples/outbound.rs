//! A balanced HTTP client inside one's own program, as a gateway needs for the services that it calls on the way: two
//! backends, one of which is down, and nobody notices. Then both are, and the caller is told what to answer.
//!
//! ```sh
//! cargo run -p edgeproxy-examples --example outbound
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use edgeproxy_backend::{
    AppName, Backend, BackendAddr, BackendId, Country, Endpoint, Incarnation, MonoTime, Region,
};
use edgeproxy_balance::{Algorithm, Balancer, Candidate, Policy};
use edgeproxy_proxy::{
    AppRoute, AppSettings, CalledFrom, Config, Outbound, RouteTable, SharedTable, without_listeners,
};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tower_service::Service;

/// As small as a backend can be: one answer to each connection.
async fn answer(listener: TcpListener) -> std::io::Result<()> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await? > 0 {}
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nin stock";
        stream.write_all(answer).await?;
    }
}

fn backend(number: u64, addr: SocketAddr) -> anyhow::Result<Arc<Endpoint>> {
    let backend = Backend::new(
        BackendId::parse(&format!("stock-{number}"))?,
        AppName::parse("stock")?,
        Region::parse("eu")?,
        Country::parse("DE")?,
        BackendAddr::new(addr.ip(), addr.port())?,
    );
    let incarnation = Incarnation::new(number).ok_or_else(|| anyhow::anyhow!("0 is nobody's"))?;
    Ok(Arc::new(Endpoint::new(backend, incarnation)))
}

/// One app on those backends, which take turns.
fn table(endpoints: &[Arc<Endpoint>]) -> anyhow::Result<RouteTable> {
    let candidate = |endpoint: &Arc<Endpoint>| Candidate::new(Arc::clone(endpoint));
    let policy = Policy {
        algorithm: Algorithm::RoundRobin,
        ..Policy::default()
    };
    let candidates = endpoints.iter().map(candidate).collect();
    let app = AppRoute {
        balancer: Balancer::prepare(&policy, candidates, MonoTime::ZERO, None),
        settings: AppSettings {
            max_failures: 5,
            ..AppSettings::default()
        },
        ..AppRoute::new(AppName::parse("stock")?)
    };
    Ok(RouteTable::new(1, [Arc::new(app)], Arc::default()))
}

/// What the program does in the middle of a request of its own client.
async fn ask(outbound: &mut Outbound) -> anyhow::Result<Result<Bytes, StatusCode>> {
    let request = Request::get("http://stock/items/7").body(Empty::<Bytes>::new())?;
    match outbound.call(request).await {
        Ok(response) => Ok(Ok(response.into_body().collect().await?.to_bytes())),
        Err(error) => {
            println!("{error}");
            Ok(Err(error.status(CalledFrom::Flow)))
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let up = listener.local_addr()?;
    let answering = tokio::spawn(answer(listener));
    let down = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;

    let shared: SharedTable = Arc::new(ArcSwap::from_pointee(table(&[
        backend(1, down)?,
        backend(2, up)?,
    ])?));
    let config = Config {
        workers: 1,
        ..Config::default()
    };
    // Whoever counts ejections is told of failures in a row; here nobody does.
    let running = without_listeners(config)?.spawn(Arc::clone(&shared), Arc::new(drop))?;
    let mut outbound = running.outbound();
    for _ in 0..4 {
        let answered = ask(&mut outbound).await?;
        println!("{answered:?}");
        anyhow::ensure!(answered == Ok(Bytes::from_static(b"in stock")));
    }

    answering.abort();
    shared.store(Arc::new(table(&[backend(3, down)?])?));
    running.table_changed();
    let answered = ask(&mut outbound).await?;
    anyhow::ensure!(answered == Err(StatusCode::INTERNAL_SERVER_ERROR));
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
