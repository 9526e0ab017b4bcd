//! A gRPC client that balances by itself, call by call: it asks an edgeproxy who there is, follows what changes, and sends
//! each call to a server of its own choice, with no proxy in between. Calls that fail count, and a server whose calls fail
//! is out for a while, for this client.
//!
//! ```sh
//! cargo run -p edgeproxy-examples --example grpc_client
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

mod balanced;
mod discovery;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use edgeproxy_agent::{Agent, Registration};
use edgeproxy_backend::{AppName, BackendId, Endpoint, Protocol};
use edgeproxy_balance::{Algorithm, Policy};
use edgeproxy_config::Settings;
use edgeproxy_control::{Handle, registry, reports};
use edgeproxy_registry::{Change, Config, Event, EventKind, Patch, State};
use edgeproxy_server::App;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::health_reporter;

use balanced::{Balanced, Terms, balanced};
use discovery::Discovery;

const APP: &str = "shop";
const MAX_FAILURES: u32 = 2;
/// Of one call, first one included.
const ATTEMPTS: usize = 3;

/// A gRPC server that has registered: here the standard's own health service, so that nothing is generated.
struct Running {
    agent: Agent,
    stop: oneshot::Sender<()>,
}

async fn server(id: &str, api: SocketAddr) -> anyhow::Result<Running> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = NonZeroU16::try_from(listener.local_addr()?.port())?;
    let (_, health) = health_reporter();
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async { drop(stopped.await) };
    tokio::spawn(Server::builder().serve_with_incoming_shutdown(
        health,
        TcpIncoming::from(listener),
        stopped,
    ));
    let registration = Registration {
        protocol: Protocol::H2c,
        ip: Some([127, 0, 0, 1].into()),
        ..Registration::new(id.parse()?, APP.parse()?, "eu".parse()?, port)
    };
    let agent = Agent::builder()
        .api(format!("http://{api}").parse()?)
        .start(registration)?;
    agent.registered().await?;
    Ok(Running { agent, stop })
}

/// A channel that connects when it is first used, and again when it was broken off.
fn channel(endpoint: &Endpoint) -> Channel {
    let addr = endpoint.addr.socket_addr();
    // An address makes a URI.
    Channel::builder(format!("http://{addr}").parse().unwrap_or_default()).connect_lazy()
}

/// One call, again on another server while it is unavailable. Each attempt is a pick of its own.
async fn check(client: &HealthClient<Balanced<Channel>>) -> Result<(), Status> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        match client.clone().check(HealthCheckRequest::default()).await {
            Err(status) if status.code() == Code::Unavailable && attempts < ATTEMPTS => {}
            answer => return answer.map(drop),
        }
    }
}

/// Who has been called so far, and how often.
fn called(registry: &Handle) -> Vec<(String, u64, u64)> {
    let statuses = registry.list(0, 100, |_, _| true).items;
    let figures = |endpoint: &Arc<Endpoint>| {
        let (calls, failures) = endpoint.meter.totals();
        (endpoint.id.to_string(), calls, failures)
    };
    statuses.iter().map(|status| figures(&status.endpoint)).collect()
}

async fn run() -> anyhow::Result<()> {
    // Somewhere else: an edgeproxy, and two servers that have registered with it.
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let settings = Settings {
        listen_addr: Some(anywhere),
        api_enabled: true,
        api_listen_addr: anywhere,
        ..Settings::default()
    };
    let edgeproxy = App::build(settings.into())?.spawn()?;
    let api = edgeproxy
        .api_addr()
        .ok_or_else(|| anyhow::anyhow!("the API is off"))?;
    let one = server("one", api).await?;
    let two = server("two", api).await?;

    // Here: a registry of one's own, of which the listing is the configuration, and a balanced service over channels.
    let app = AppName::parse(APP)?;
    let config = Config {
        app: edgeproxy_registry::AppPolicy {
            max_failures: MAX_FAILURES,
            ..Default::default()
        },
        ..Config::default()
    };
    let discovery = Discovery::new(api, app.clone(), config.app);
    let (ledgers, driver) = registry(config);
    let (sender, reports) = reports(1_024);
    let terms = Terms {
        app,
        policy: Policy {
            algorithm: Algorithm::RoundRobin,
            ..Policy::default()
        },
        max_failures: MAX_FAILURES,
        // An answer of gRPC without a message has its status in the head; 14 is UNAVAILABLE.
        is_failure: |head| {
            head.headers
                .get("grpc-status")
                .is_some_and(|status| status == "14")
        },
    };
    let (balanced, membership) = balanced(terms, ledgers.clone(), sender, channel);
    let (happened, mut events) = mpsc::unbounded_channel();
    tokio::spawn(driver.run(
        reports,
        move |snapshot| membership.publish(snapshot),
        move |event: &Event| drop(happened.send(event.clone())),
    ));
    let following = {
        let ledgers = ledgers.clone();
        tokio::spawn(async move { discovery.follow(&ledgers).await })
    };
    let mut known = HashSet::new();
    until(&mut events, |event| {
        known.insert(event.id.clone());
        known.len() == 2
    })
    .await?;
    ledgers.settled().await;

    let client = HealthClient::new(balanced);
    for _ in 0..20 {
        check(&client).await?;
    }
    println!("{:?}", called(&ledgers));
    anyhow::ensure!(
        called(&ledgers)
            .iter()
            .all(|(_, calls, failures)| *calls > 0 && *failures == 0)
    );

    // An operator switches one off there, and it gets no calls from here either until it is switched on again.
    let id = BackendId::parse("one")?;
    let switch = |enabled| Patch {
        enabled,
        ..Patch::default()
    };
    edgeproxy
        .handle()
        .patch(&id, None, &switch(Change::Set(false)))
        .await?;
    until(&mut events, |event| {
        event.id == id && matches!(event.kind, EventKind::Draining | EventKind::Removed)
    })
    .await?;
    ledgers.settled().await;
    let calls_of_two = || {
        let figures = called(&ledgers);
        figures
            .iter()
            .find(|(id, ..)| id == "two")
            .map(|(_, calls, _)| *calls)
    };
    let before = calls_of_two();
    for _ in 0..20 {
        check(&client).await?;
    }
    println!("{:?}", called(&ledgers));
    anyhow::ensure!(calls_of_two() == before.map(|calls| calls + 20));
    edgeproxy
        .handle()
        .patch(&id, None, &switch(Change::Clear))
        .await?;
    until(&mut events, |event| {
        event.id == id && event.state == State::Routable
    })
    .await?;
    ledgers.settled().await;

    // A server dies without a word. Its lease goes on for a while, but its calls fail here: no caller notices.
    drop(two.stop);
    for _ in 0..20 {
        check(&client).await?;
    }
    until(&mut events, |event| {
        event.kind == EventKind::Ejected && event.id.as_str() == "two"
    })
    .await?;
    println!("{:?}", called(&ledgers));
    anyhow::ensure!(
        called(&ledgers)
            .iter()
            .any(|(id, _, failures)| id == "two" && *failures == 2)
    );

    // Another one comes, and one goes in good order.
    let three = server("three", api).await?;
    until(&mut events, |event| event.id.as_str() == "three").await?;
    one.agent.leave().await;
    until(&mut events, |event| {
        event.kind == EventKind::Draining && event.id.as_str() == "one"
    })
    .await?;
    ledgers.settled().await;
    drop(one.stop);
    for _ in 0..20 {
        check(&client).await?;
    }
    println!("{:?}", called(&ledgers));
    anyhow::ensure!(
        called(&ledgers)
            .iter()
            .any(|(id, calls, _)| id == "three" && *calls == 20)
    );

    following.abort();
    three.agent.leave().await;
    edgeproxy.drain().await;
    Ok(())
}

/// Waits for an event, and prints those that come before it.
async fn until(
    events: &mut mpsc::UnboundedReceiver<Event>,
    mut is_it: impl FnMut(&Event) -> bool,
) -> anyhow::Result<()> {
    while let Some(event) = events.recv().await {
        println!("{} {}: {}", event.kind.as_str(), event.id, event.reason);
        if is_it(&event) {
            return Ok(());
        }
    }
    anyhow::bail!("the registry has ended")
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
