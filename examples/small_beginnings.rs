//! The beginnings of `docs/embedding.md`, as programs. What stands there is taken from here, between the marks, so that it
//! compiles and does what the page says.
//!
//! ```sh
//! cargo run -p edgeproxy-examples --example small_beginnings
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use edgeproxy_agent::Agent;
use edgeproxy_backend::{
    Admission, AppName, Backend, BackendAddr, BackendId, Country, Endpoint, Incarnation, MonoTime, Region,
};
use edgeproxy_balance::{Algorithm, Balancer, Candidate, Claim, Client, Policy};
use edgeproxy_config::Settings;
use edgeproxy_proxy::{AppRoute, Listener, RouteTable, SharedTable};
use edgeproxy_registry::{Config, Registration, Registry};
use edgeproxy_server::App;
use tokio::sync::watch;

/// A port on this machine that the system chooses.
const ANY: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

fn backend(number: u16) -> anyhow::Result<Backend> {
    Ok(Backend::new(
        BackendId::parse(&format!("shop-{number}"))?,
        AppName::parse("shop")?,
        Region::parse("eu")?,
        Country::parse("DE")?,
        BackendAddr::parse("10.0.0.1", 8_000 + number)?,
    ))
}

fn candidates() -> anyhow::Result<Vec<Candidate<Arc<Endpoint>>>> {
    let candidate = |number: u16| {
        let incarnation = Incarnation::new(number.into()).ok_or_else(|| anyhow::anyhow!("0 is nobody's"))?;
        Ok(Candidate::new(Arc::new(Endpoint::new(
            backend(number)?,
            incarnation,
        ))))
    };
    [1, 2].map(candidate).into_iter().collect()
}

fn picking() -> anyhow::Result<()> {
    let (candidates, now) = (candidates()?, MonoTime::from_secs(1));
    // begin picking
    let policy = Policy {
        algorithm: Algorithm::LeastConnections,
        ..Policy::default()
    };
    let balancer = Balancer::prepare(&policy, candidates, now, None);
    // For each request; `admit` counts it, and refuses at the hard limit.
    let place = balancer.pick(&Client::default(), now, fastrand::u64(..), |endpoint| {
        Claim::of(endpoint, &[], || endpoint.admit(Admission::Regular))
    })?;
    // … the request goes to place.endpoint().addr, and its response has come to its end …
    place.succeeded(Duration::from_millis(3), now);
    // end picking
    Ok(())
}

fn a_loop_of_your_own() -> anyhow::Result<()> {
    let (backend, now) = (backend(1)?, MonoTime::from_secs(1));
    let mut registry = Registry::new(Config::default(), now);
    let (mut told, mut published) = (Vec::new(), Vec::new());
    let mut tell = |event: edgeproxy_registry::Event| told.push(event.kind);
    let mut publish = |snapshot| published.push(snapshot);
    let sleep_until = drop::<Option<MonoTime>>;
    // begin loop
    registry.handle_register(Registration { backend, ttl: None }, now)?;
    registry.handle_timeout(now);
    while let Some(event) = registry.poll_event() {
        tell(event);
    }
    if let Some(snapshot) = registry.poll_snapshot(now) {
        publish(snapshot); // prepare balancers of it
    }
    sleep_until(registry.poll_timeout());
    // end loop
    anyhow::ensure!((told.len(), published.len()) == (1, 1));
    Ok(())
}

async fn on_tokio() -> anyhow::Result<()> {
    let backend = backend(1)?;
    let (publisher, mut published) = watch::channel(0);
    let publish = move |snapshot: &edgeproxy_registry::Snapshot| {
        publisher.send_replace(snapshot.apps.len());
    };
    // begin tokio
    let (handle, driver) = edgeproxy_control::registry(Config::default());
    let (sender, reports) = edgeproxy_control::reports(1_024);
    tokio::spawn(driver.run(reports, publish, |event| println!("{:?}", event.kind)));
    handle.register(Registration { backend, ttl: None }).await?; // resolves once it is routed to
    // end tokio
    anyhow::ensure!(*published.borrow_and_update() == 1);
    drop(sender);
    Ok(())
}

async fn data_plane() -> anyhow::Result<()> {
    let config = edgeproxy_proxy::Config {
        listeners: vec![Listener::http(SocketAddr::from(ANY))],
        workers: 1,
        ..edgeproxy_proxy::Config::default()
    };
    let app = AppRoute {
        balancer: Balancer::prepare(&Policy::default(), candidates()?, MonoTime::ZERO, None),
        ..AppRoute::new(AppName::parse("shop")?)
    };
    let reporter = Arc::new(drop);
    // begin data plane
    let table: SharedTable = Arc::new(ArcSwap::from_pointee(RouteTable::default()));
    let running = edgeproxy_proxy::bind(config)?.spawn(Arc::clone(&table), reporter)?;
    table.store(Arc::new(RouteTable::new(1, [Arc::new(app)], Arc::default())));
    running.table_changed();
    // end data plane
    running.drain();
    running.stopped().await;
    Ok(())
}

async fn everything() -> anyhow::Result<()> {
    let registration = Registration {
        backend: backend(1)?,
        ttl: None,
    };
    // begin everything
    let settings = Settings {
        listen_addr: Some("127.0.0.1:0".parse()?),
        api_enabled: true,
        api_listen_addr: "127.0.0.1:0".parse()?,
        ..Settings::default()
    };
    let running = App::build(settings.into())?.spawn()?;
    running.handle().register(registration).await?;
    // … until the program ends …
    running.drain().await;
    // end everything
    Ok(())
}

async fn a_backend() -> anyhow::Result<()> {
    let settings = Settings {
        listen_addr: Some(SocketAddr::from(ANY)),
        api_enabled: true,
        api_listen_addr: SocketAddr::from(ANY),
        ..Settings::default()
    };
    let proxy = App::build(settings.into())?.spawn()?;
    let api = proxy.api_addr().ok_or_else(|| anyhow::anyhow!("the API is on"))?;
    let api = format!("http://{api}");
    // begin backend
    let port = "8080".parse()?;
    let registration =
        edgeproxy_agent::Registration::new("shop-1".parse()?, "shop".parse()?, "eu".parse()?, port);
    let agent = Agent::builder().api(api.parse()?).start(registration)?;
    agent.registered().await?;
    // … requests come; serve them until it is time to stop …
    agent.leave().await; // resolves when nothing is in flight any more
    // end backend
    proxy.drain().await;
    Ok(())
}

async fn run() -> anyhow::Result<()> {
    picking()?;
    a_loop_of_your_own()?;
    on_tokio().await?;
    data_plane().await?;
    everything().await?;
    a_backend().await
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

#[cfg(test)]
mod page {
    use std::fs;
    use std::path::Path;

    /// What stands between the marks of that name, without its indentation.
    fn passage(source: &str, name: &str) -> String {
        let (begin, end) = (format!("    // begin {name}\n"), format!("    // end {name}\n"));
        let rest = source
            .split_once(&begin)
            .unwrap_or_else(|| panic!("no mark {begin:?}"))
            .1;
        let passage = rest
            .split_once(&end)
            .unwrap_or_else(|| panic!("no mark {end:?}"))
            .0;
        passage.lines().fold(String::new(), |text, line| {
            text + line.strip_prefix("    ").unwrap_or(line) + "\n"
        })
    }

    /// After a change here run it with `UPDATE_EXPECTED=1`.
    #[test]
    fn docs_embedding_shows_what_is_compiled_here() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let page = root.join("../docs/embedding.md");
        let text = fs::read_to_string(&page).unwrap();
        let source = include_str!("small_beginnings.rs");
        let (before, beginnings) = text.split_once("## Small beginnings\n").unwrap();
        let (beginnings, after) = beginnings.split_once("\n## ").unwrap();
        let mut parts = beginnings.split("```rust\n");
        let mut made = parts.next().unwrap().to_owned();
        let names = ["picking", "loop", "tokio", "data plane", "everything", "backend"];
        assert_eq!(
            parts.clone().count(),
            names.len(),
            "a block of `rust` for each of {names:?}, and nothing else"
        );
        for (part, name) in parts.zip(names) {
            let (_, prose) = part.split_once("```\n").unwrap();
            made += &format!("```rust\n{}```\n{prose}", passage(source, name));
        }
        let made = format!("{before}## Small beginnings\n{made}\n## {after}");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&page, &made).unwrap();
        }
        assert!(
            made == fs::read_to_string(&page).unwrap(),
            "docs/embedding.md is out of date: run this test with UPDATE_EXPECTED=1"
        );
        assert!(!text.contains("rust,ignore"), "what is ignored rots");
    }
}
