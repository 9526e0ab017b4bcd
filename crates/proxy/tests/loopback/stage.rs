use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use edgeproxy_backend::{
    AppName, Backend, BackendAddr, BackendId, Country, Endpoint, Incarnation, Limits, MonoTime, Protocol,
    Region, TrafficReport,
};
use edgeproxy_balance::{Algorithm, Balancer, Candidate, Policy};
use edgeproxy_proxy::{
    AppRoute, AppSettings, Config, Listener, Route, RouteTable, Routes, Running, SharedTable, bind,
};
use tokio::sync::mpsc::{self, UnboundedReceiver};

/// A data plane at work.
pub(crate) struct Stage {
    pub(crate) addr: SocketAddr,
    /// Of every listener, the first one's included.
    pub(crate) addrs: Vec<SocketAddr>,
    pub(crate) table: SharedTable,
    pub(crate) running: Running,
    pub(crate) reports: UnboundedReceiver<TrafficReport>,
}

/// Two workers on a free port; nothing that can't be waited for in a test.
pub(crate) fn config() -> Config {
    Config {
        listeners: vec![Listener::http(SocketAddr::from(([127, 0, 0, 1], 0)))],
        workers: 2,
        pseudonym: Some("edge-test".to_owned()),
        ..Config::default()
    }
}

pub(crate) fn endpoint(number: u64, addr: SocketAddr, limits: Limits) -> Arc<Endpoint> {
    endpoint_of(Protocol::Http1, number, addr, limits)
}

pub(crate) fn endpoint_of(
    protocol: Protocol,
    number: u64,
    addr: SocketAddr,
    limits: Limits,
) -> Arc<Endpoint> {
    let backend = Backend {
        limits,
        protocol,
        ..Backend::new(
            BackendId::parse(&format!("b{number}")).unwrap(),
            AppName::parse("app").unwrap(),
            Region::parse("eu").unwrap(),
            Country::parse("DE").unwrap(),
            BackendAddr::new(addr.ip(), addr.port()).unwrap(),
        )
    };
    Arc::new(Endpoint::new(backend, Incarnation::new(number).unwrap()))
}

/// The same of a backend that speaks HTTP/2 in the clear.
pub(crate) fn h2c(number: u64, addr: SocketAddr, limits: Limits) -> Arc<Endpoint> {
    let backend = Backend {
        protocol: Protocol::H2c,
        limits,
        ..Backend::new(
            BackendId::parse(&format!("b{number}")).unwrap(),
            AppName::parse("app").unwrap(),
            Region::parse("eu").unwrap(),
            Country::parse("DE").unwrap(),
            BackendAddr::new(addr.ip(), addr.port()).unwrap(),
        )
    };
    Arc::new(Endpoint::new(backend, Incarnation::new(number).unwrap()))
}

/// Where nobody waits for a place.
pub(crate) fn settings() -> AppSettings {
    AppSettings {
        queue_max: 0,
        ..AppSettings::default()
    }
}

/// An app that goes round its endpoints.
pub(crate) fn app(name: &str, endpoints: &[Arc<Endpoint>]) -> AppRoute {
    let candidate = |endpoint: &Arc<Endpoint>| Candidate {
        fallback: endpoint.fallback,
        ..Candidate::new(Arc::clone(endpoint))
    };
    let policy = Policy {
        algorithm: Algorithm::RoundRobin,
        ..Policy::default()
    };
    AppRoute {
        balancer: Balancer::prepare(
            &policy,
            endpoints.iter().map(candidate).collect(),
            MonoTime::ZERO,
            None,
        ),
        settings: settings(),
        ..AppRoute::new(AppName::parse(name).unwrap())
    }
}

impl Stage {
    pub(crate) fn start(config: Config, apps: impl IntoIterator<Item = AppRoute>) -> Self {
        Self::routed(config, apps, [])
    }

    /// With routes to the apps.
    pub(crate) fn routed(
        config: Config,
        apps: impl IntoIterator<Item = AppRoute>,
        routes: impl IntoIterator<Item = Route>,
    ) -> Self {
        let routes = Arc::new(Routes::new(routes));
        let table = RouteTable::new(1, apps.into_iter().map(Arc::new), routes);
        let table: SharedTable = Arc::new(ArcSwap::from_pointee(table));
        let (sender, reports) = mpsc::unbounded_channel();
        let reporter = Arc::new(move |report| drop(sender.send(report)));
        let bound = bind(config).unwrap();
        let (addr, addrs) = (bound.local_addr(), bound.local_addrs().to_vec());
        let running = bound.spawn(Arc::clone(&table), reporter).unwrap();
        Self {
            addr,
            addrs,
            table,
            running,
            reports,
        }
    }

    /// One app `app` on those backends.
    pub(crate) fn of(addrs: &[SocketAddr]) -> (Self, Vec<Arc<Endpoint>>) {
        Self::with(config(), addrs)
    }

    pub(crate) fn with(config: Config, addrs: &[SocketAddr]) -> (Self, Vec<Arc<Endpoint>>) {
        Self::having(config, settings(), addrs)
    }

    /// The same, treated as those settings say.
    pub(crate) fn having(
        config: Config,
        settings: AppSettings,
        addrs: &[SocketAddr],
    ) -> (Self, Vec<Arc<Endpoint>>) {
        let endpoints: Vec<_> = (1..)
            .zip(addrs)
            .map(|(number, addr)| endpoint(number, *addr, Limits::NONE))
            .collect();
        let app = AppRoute {
            settings,
            ..app("app", &endpoints)
        };
        (Self::start(config, [app]), endpoints)
    }

    /// One app `app` on backends that speak HTTP/2.
    pub(crate) fn h2c(config: Config, addrs: &[SocketAddr]) -> (Self, Vec<Arc<Endpoint>>) {
        Self::h2c_having(config, settings(), addrs)
    }

    /// The same, treated as those settings say.
    pub(crate) fn h2c_having(
        config: Config,
        settings: AppSettings,
        addrs: &[SocketAddr],
    ) -> (Self, Vec<Arc<Endpoint>>) {
        let endpoints: Vec<_> = (1..)
            .zip(addrs)
            .map(|(number, addr)| h2c(number, *addr, Limits::NONE))
            .collect();
        let app = AppRoute {
            settings,
            ..app("app", &endpoints)
        };
        (Self::start(config, [app]), endpoints)
    }

    pub(crate) async fn stopped(&self) {
        let stopped = tokio::time::timeout(Duration::from_secs(10), self.running.stopped());
        stopped.await.expect("it never stopped");
    }
}
