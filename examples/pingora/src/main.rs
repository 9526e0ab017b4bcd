//! Edgeproxy's picking and registry inside a proxy that is made with Pingora: Pingora has the sockets, HTTP and the
//! connections; which backend gets a request, how many it may have at once, and whether it is out, is edgeproxy's.
//!
//! ```sh
//! cd examples/pingora && cargo run -- 127.0.0.1:3001 127.0.0.1:3002
//! ```
//!
//! The backends stand on the command line here. To let them register over HTTP, serve `edgeproxy_api` with the same
//! handle.

mod edge;
mod fleet;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use edgeproxy_backend::{AppName, Backend, BackendAddr, BackendId, Country, Region};
use edgeproxy_control::{Driver, Handle, Reports, registry, reports};
use edgeproxy_registry::{AppPolicy, Config, Configuration, Event};
use pingora_core::server::{Server, ShutdownWatch};
use pingora_core::services::background::{BackgroundService, background_service};

use edge::Edge;
use fleet::Fleet;

const APP: &str = "shop";
const MAX_FAILURES: u32 = 3;
/// Reports that may wait for the registry. One that doesn't fit is not lost for good: the registry then compares itself with
/// every meter.
const REPORTS: usize = 1_024;

/// The registry's own turn: leases, ejections and their end, as a service of Pingora's.
struct Ledgers<E> {
    fleet: Arc<Fleet>,
    on_event: E,
    driver: Mutex<Option<(Driver, Reports)>>,
}

#[async_trait]
impl<E: Fn(&Event) + Send + Sync> BackgroundService for Ledgers<E> {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((driver, reports)) = driver else { return };
        tokio::select! {
            () = driver.run(reports, |snapshot| self.fleet.publish(snapshot), &self.on_event) => {}
            _ = shutdown.changed() => {}
        }
    }
}

/// The two halves, and what tells the registry of backends.
fn assemble<E>(on_event: E) -> anyhow::Result<(Arc<Fleet>, Ledgers<E>, Handle)> {
    let config = Config {
        app: policy(),
        ..Config::default()
    };
    let (handle, driver) = registry(config);
    let (sender, reports) = reports(REPORTS);
    let fleet = Arc::new(Fleet::new(
        AppName::parse(APP)?,
        MAX_FAILURES,
        handle.clone(),
        sender,
    ));
    let ledgers = Ledgers {
        fleet: Arc::clone(&fleet),
        on_event,
        driver: Mutex::new(Some((driver, reports))),
    };
    Ok((fleet, ledgers, handle))
}

fn policy() -> AppPolicy {
    AppPolicy {
        max_failures: MAX_FAILURES,
        ..AppPolicy::default()
    }
}

/// Backends that need no heartbeat.
fn configure(handle: &Handle, addrs: &[SocketAddr]) -> anyhow::Result<()> {
    let backend = |(number, addr): (usize, &SocketAddr)| {
        Ok(Backend::new(
            BackendId::parse(&format!("{APP}-{number}"))?,
            AppName::parse(APP)?,
            Region::parse("eu")?,
            Country::parse("DE")?,
            BackendAddr::new(addr.ip(), addr.port())?,
        ))
    };
    let backends = (1..).zip(addrs).map(backend).collect::<anyhow::Result<_>>()?;
    handle.configure(Configuration {
        others: policy(),
        apps: Vec::new(),
        backends,
    })?;
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let addrs = std::env::args().skip(1).map(|addr| addr.parse());
    let addrs = addrs.collect::<Result<Vec<SocketAddr>, _>>()?;
    let (fleet, ledgers, handle) = assemble(|event: &Event| {
        println!("{} {}: {}", event.kind.as_str(), event.id, event.reason);
    })?;
    configure(&handle, &addrs)?;

    let mut server = Server::new(None)?;
    server.bootstrap();
    let mut proxy = pingora_proxy::http_proxy_service(&server.configuration, Edge(fleet));
    proxy.add_tcp("127.0.0.1:8080");
    server.add_service(background_service("ledgers", ledgers));
    server.add_service(proxy);
    server.run_forever()
}
