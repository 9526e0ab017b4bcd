//! The proxy, its backends, and what is done to them.

use std::net::SocketAddr;
use std::time::Duration;

use edgeproxy_tests::{Api, Edgeproxy, PATIENCE, Registration, eventually, within};
use fastrand::Rng;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::backend::{Backend, Manner, Speaks};
use crate::fault::{App, Kind};
use crate::ledger::Ledger;

/// Backends of each app that are there from the beginning. Enough that one that fails leaves others to try.
const BACKENDS: usize = 4;

/// How long a fault lasts, and how long it is calm between two, milliseconds.
const FAULT_MS: std::ops::Range<u64> = 1_000..4_000;
const CALM_MS: std::ops::Range<u64> = 2_000..5_000;

/// One app's backends.
pub(crate) struct Fleet {
    app: App,
    api: Api,
    backends: Vec<(String, Backend)>,
}

impl Fleet {
    /// Starts and registers them.
    pub(crate) async fn start(app: App, api: Api) -> Self {
        let mut fleet = Self {
            app,
            api,
            backends: Vec::new(),
        };
        for number in 0..BACKENDS {
            let id = format!("{}-{number}", app.name());
            let backend = Backend::start(fleet.speaks());
            fleet
                .api
                .register_new(&fleet.registration(&id, backend.addr()))
                .await;
            fleet.backends.push((id, backend));
        }
        fleet
    }

    fn speaks(&self) -> Speaks {
        match self.app {
            App::Shop => Speaks::Http,
            App::Database => Speaks::Tcp,
        }
    }

    fn registration(&self, id: &str, addr: SocketAddr) -> Registration {
        let registration = Registration::new(id, self.app.name(), addr).with("ttl_secs", 3_600);
        match self.app {
            App::Shop => registration,
            App::Database => registration.with("protocol", "tcp"),
        }
    }

    /// Commits one fault after the other until it is told to stop. Which, to whom and for how long is decided by
    /// `rng` alone; every one is mended before this returns.
    pub(crate) async fn trouble(mut self, ledger: Ledger, mut rng: Rng, stop: CancellationToken) -> Self {
        let mut coming: Vec<Kind> = Vec::new();
        loop {
            let calm = Duration::from_millis(rng.u64(CALM_MS));
            if stop.run_until_cancelled(tokio::time::sleep(calm)).await.is_none() {
                return self;
            }
            if coming.is_empty() {
                // Each of them once, before any comes again.
                coming = Kind::of(self.app).to_vec();
                rng.shuffle(&mut coming);
            }
            let Some(kind) = coming.pop() else { return self };
            let victim = rng.usize(0..self.backends.len());
            let lasts = Duration::from_millis(rng.u64(FAULT_MS));
            let fault = ledger.commits(kind, self.app, &self.backends[victim].0);
            self.commit(kind, victim, lasts).await;
            ledger.mended(fault);
        }
    }

    async fn commit(&mut self, kind: Kind, victim: usize, lasts: Duration) {
        let (id, backend) = &self.backends[victim];
        let (id, addr) = (id.clone(), backend.addr());
        let api = &mut self.api;
        match kind {
            Kind::Killed => {
                backend.kill();
                tokio::time::sleep(lasts).await;
                backend.listen();
                self.starts_anew(&id, addr).await;
            }
            Kind::Refuses => {
                backend.refuse();
                tokio::time::sleep(lasts).await;
                backend.listen();
                self.starts_anew(&id, addr).await;
            }
            Kind::HangsUp => misbehaves(backend, Manner::HangsUp, lasts).await,
            Kind::Resets => misbehaves(backend, Manner::Resets, lasts).await,
            Kind::TalksNonsense => misbehaves(backend, Manner::TalksNonsense, lasts).await,
            Kind::Cut => self.leaves(&id, addr, "?drain=1s").await,
            Kind::Drains => self.leaves(&id, addr, "?drain=60s").await,
            Kind::Leaves => {
                let _ = api.delete(&id, "").await.expect(200);
                tokio::time::sleep(lasts).await;
                self.returns(&id, addr).await;
            }
            Kind::Joins => {
                let id = format!("{}-more", self.app.name());
                let more = Backend::start(self.speaks());
                self.returns(&id, more.addr()).await;
                tokio::time::sleep(lasts).await;
                let _ = self.api.delete(&id, "?drain=60s").await.expect(200);
                self.gone(&id).await;
            }
            Kind::Disabled => {
                let _ = api.patch(&id, &json!({"enabled": false})).await.expect(200);
                tokio::time::sleep(lasts).await;
                let _ = api.patch(&id, &json!({"enabled": null})).await.expect(200);
            }
            Kind::Reweighted => {
                let _ = api.patch(&id, &json!({"weight": 7})).await.expect(200);
                tokio::time::sleep(lasts).await;
                let _ = api.patch(&id, &json!({"weight": null})).await.expect(200);
            }
        }
    }

    /// As a process that is started again does: under another incarnation, whose ledger is clean. Those that only
    /// misbehaved stay ejected until their trial; were these as well, all of them would be in the end.
    async fn starts_anew(&mut self, id: &str, addr: SocketAddr) {
        let _ = self.api.delete(id, "").await.expect(200);
        self.returns(id, addr).await;
    }

    /// Drains it, waits until it is gone, and registers it again.
    async fn leaves(&mut self, id: &str, addr: SocketAddr, query: &str) {
        let _ = self.api.delete(id, query).await.expect(200);
        self.gone(id).await;
        self.returns(id, addr).await;
    }

    async fn gone(&mut self, id: &str) {
        let api = &mut self.api;
        eventually(2 * PATIENCE, &format!("{id} is gone"), async || {
            let reply = api.backend(id).await;
            if reply.status == 404 {
                Ok(())
            } else {
                Err(reply.text().to_owned())
            }
        })
        .await;
    }

    async fn returns(&mut self, id: &str, addr: SocketAddr) {
        let registration = self.registration(id, addr);
        self.api.register_new(&registration).await;
    }
}

async fn misbehaves(backend: &Backend, manner: Manner, lasts: Duration) {
    backend.behave(manner);
    tokio::time::sleep(lasts).await;
    backend.behave(Manner::Serves);
}

/// The product as it is released, and its own defaults but for what a soak needs.
pub(crate) async fn edgeproxy() -> Edgeproxy {
    Edgeproxy::setup()
        .set("TCP_LISTEN_ADDR", "127.0.0.1:0")
        .set("TCP_APP", App::Database.name())
        .set("MAX_FAILURES", "3")
        // So that idle connections to backends are gone soon after the traffic.
        .set("POOL_IDLE_TIMEOUT_SECS", "5")
        .set("API_RATE_PER_PEER", "0")
        .set("LOG", "warn,edgeproxy=info,edgeproxy_server=info")
        .gives_back_at_once()
        .start()
        .await
}

/// Where it serves TCP, from the start-up log.
pub(crate) async fn tcp_addr(edgeproxy: &Edgeproxy) -> SocketAddr {
    let said = edgeproxy.logs().find(|line| {
        let (_, rest) = line.split_once("serves TCP on ")?;
        rest.split_once(", for app")?.0.parse().ok()
    });
    within(PATIENCE, "it says where it serves TCP", said)
        .await
        .expect("edgeproxy is running")
}
