//! A proxy of one worker with one backend, for one case. What reaches the backend can come from nobody else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use edgeproxy_backend::{
    AppName, Backend, BackendAddr, BackendId, Country, Endpoint, Incarnation, MonoTime, Region, TrafficReport,
};
use edgeproxy_balance::{Balancer, Candidate, Policy};
use edgeproxy_proxy::{AppRoute, AppSettings, Config, Listener, RouteTable, Running, bind};
use tokio::net::TcpStream;

use crate::arrival::Arrivals;
use crate::origin::{Origin, Record};
use crate::wire::{PATIENCE, Wire};

/// What the proxy calls itself in `Via`.
pub(crate) const PSEUDONYM: &str = "corpus";
/// `max_body_bytes`.
pub(crate) const MAX_BODY: u64 = 65_536;
/// For cases that stall: `header_timeout`.
const SHORT: Duration = Duration::from_millis(100);

pub(crate) struct Stage {
    pub(crate) addr: SocketAddr,
    pub(crate) origin: Origin,
    pub(crate) endpoint: Arc<Endpoint>,
    running: Running,
}

impl Stage {
    /// The backend keeps its connections.
    pub(crate) async fn keeping(arrivals: &Arrivals) -> Self {
        let origin = Origin::keeping(arrivals.clone()).await;
        Self::before(origin, Config::default().header_timeout)
    }

    /// As [`Stage::keeping`]; the proxy doesn't wait long for a head.
    pub(crate) async fn impatient(arrivals: &Arrivals) -> Self {
        Self::before(Origin::keeping(arrivals.clone()).await, SHORT)
    }

    /// Each plain answer of the backend asks for its connection's end.
    pub(crate) async fn closing(arrivals: &Arrivals) -> Self {
        let origin = Origin::closing(arrivals.clone()).await;
        Self::before(origin, Config::default().header_timeout)
    }

    fn before(origin: Origin, header_timeout: Duration) -> Self {
        let config = Config {
            listeners: vec![Listener::http(SocketAddr::from(([127, 0, 0, 1], 0)))],
            workers: 1,
            pseudonym: Some(PSEUDONYM.to_owned()),
            header_timeout,
            ..Config::default()
        };
        let endpoint = endpoint(origin.addr);
        let candidate = Candidate {
            fallback: endpoint.fallback,
            ..Candidate::new(Arc::clone(&endpoint))
        };
        let app = AppRoute {
            balancer: Balancer::prepare(&Policy::default(), vec![candidate], MonoTime::ZERO, None),
            settings: AppSettings {
                max_body_bytes: Some(MAX_BODY),
                queue_max: 0,
                ..AppSettings::default()
            },
            ..AppRoute::new(AppName::parse("app").unwrap())
        };
        let table = RouteTable::new(1, [Arc::new(app)], Arc::default());
        let table = Arc::new(ArcSwap::from_pointee(table));
        let bound = bind(config).unwrap();
        let addr = bound.local_addr();
        let running = bound.spawn(table, Arc::new(|_: TrafficReport| {})).unwrap();
        Self {
            addr,
            origin,
            endpoint,
            running,
        }
    }

    pub(crate) async fn connect(&self) -> Wire {
        let connected = tokio::time::timeout(PATIENCE, TcpStream::connect(self.addr));
        Wire::new(connected.await.expect("the proxy takes no connection").unwrap())
    }

    /// Ends the proxy; returns what reached the backend and was not taken.
    pub(crate) async fn end(self) -> Vec<Record> {
        self.running.abort();
        let stopped = tokio::time::timeout(PATIENCE, self.running.stopped());
        stopped.await.expect("the proxy doesn't end");
        self.origin.left_alone().await;
        self.origin.records()
    }
}

fn endpoint(addr: SocketAddr) -> Arc<Endpoint> {
    let backend = Backend::new(
        BackendId::parse("b1").unwrap(),
        AppName::parse("app").unwrap(),
        Region::parse("eu").unwrap(),
        Country::parse("DE").unwrap(),
        BackendAddr::new(addr.ip(), addr.port()).unwrap(),
    );
    Arc::new(Endpoint::new(backend, Incarnation::new(1).unwrap()))
}
