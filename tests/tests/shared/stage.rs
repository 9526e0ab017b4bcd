//! Three proxies, an etcd, and backends that are kept registered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use edgeproxy_tests::{Api, Backend, Client, Edgeproxy, Etcd, Load, Registration, Setup, eventually};
use http::Method;
use serde_json::Value;
use tokio::task::JoinHandle;

/// The shortest lease that there is.
pub(crate) const TTL: Duration = Duration::from_secs(5);
/// For what is promised to come about, on a machine that does much besides.
pub(crate) const SOON: Duration = Duration::from_secs(60);

pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be made");
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(420), test)
            .await
            .expect("the test hangs");
    });
}

pub(crate) fn setup(store: &str, name: &str) -> Setup {
    Edgeproxy::setup()
        .set("STORE", store)
        .set("PROXY_NAME", name)
        .set("HEARTBEAT_TTL_SECS", "5")
        .set("WORKERS", "1")
}

pub(crate) async fn three(etcd: &Etcd) -> [Edgeproxy; 3] {
    let address = etcd.address();
    [
        setup(&address, "a").start().await,
        setup(&address, "b").start().await,
        setup(&address, "c").start().await,
    ]
}

/// In the app that the [traffic](Traffic) is for.
pub(crate) async fn register(proxy: &Edgeproxy, backend: &Backend) -> Value {
    register_in("shop", proxy, backend).await
}

/// In one that nobody asks for: who dies before its lease ends fails whoever is sent to it.
pub(crate) async fn register_aside(proxy: &Edgeproxy, backend: &Backend) -> Value {
    register_in("aside", proxy, backend).await
}

async fn register_in(app: &str, proxy: &Edgeproxy, backend: &Backend) -> Value {
    let registration = Registration::new(backend.name(), app, backend.addr());
    proxy.api().register_new(&registration).await
}

/// Which life of it that proxy knows.
pub(crate) async fn life(proxy: &Edgeproxy, id: &str) -> Option<u64> {
    let reply = proxy.api().backend(id).await;
    (reply.status == 200).then(|| reply.json()["incarnation"].as_u64().expect("a number"))
}

/// Waits until each of these knows the backend, or doesn't, and gives the time that it took.
pub(crate) async fn until_known(proxies: &[&Edgeproxy], id: &str, known: bool) -> Duration {
    let began = Instant::now();
    eventually(SOON, &format!("{id} is known: {known}"), async || {
        for proxy in proxies {
            let life = life(proxy, id).await;
            if life.is_some() != known {
                return Err(format!("{:?} at {}", life, proxy.api_addr()));
            }
        }
        Ok(())
    })
    .await;
    began.elapsed()
}

pub(crate) async fn is_degraded(proxy: &Edgeproxy) -> bool {
    let health = proxy.api().get("/health").await.expect(200).json();
    assert_eq!(health["status"], "ok");
    !health["store"]["degraded"].is_null()
}

pub(crate) async fn until_degraded(proxies: &[&Edgeproxy], degraded: bool) {
    eventually(SOON, &format!("they are degraded: {degraded}"), async || {
        for proxy in proxies {
            if is_degraded(proxy).await != degraded {
                return Err(proxy.api_addr().to_string());
            }
        }
        Ok(())
    })
    .await;
}

/// An agent as simple as can be: a heartbeat each second at the first proxy of its list that answers.
pub(crate) struct Beating {
    task: JoinHandle<()>,
    /// How often a proxy didn't know the backend.
    forgotten: Arc<AtomicUsize>,
}

impl Drop for Beating {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Beating {
    pub(crate) fn of(backend: &Backend, apis: Vec<SocketAddr>) -> Self {
        let path = format!("/api/v1/heartbeat/{}", backend.name());
        let forgotten = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&forgotten);
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1));
            loop {
                ticks.tick().await;
                for api in &apis {
                    match Client::new(*api).post(&api.to_string(), &path, "").await {
                        Ok(reply) if reply.status == 404 => {
                            count.fetch_add(1, Ordering::Relaxed);
                            break;
                        }
                        Ok(_) => break,
                        Err(_) => {}
                    }
                }
            }
        });
        Self { task, forgotten }
    }

    pub(crate) fn forgotten(&self) -> usize {
        self.forgotten.load(Ordering::Relaxed)
    }
}

/// Requests to an app by way of each of these proxies.
pub(crate) struct Traffic(Vec<Load>);

impl Traffic {
    pub(crate) fn by(proxies: &[&Edgeproxy]) -> Self {
        let load = |proxy: &&Edgeproxy| Load::start(proxy.proxy(), Method::GET, "shop", 2);
        Self(proxies.iter().map(load).collect())
    }

    /// Waits until each way has had so many answers more of that backend.
    pub(crate) async fn flows(&self, backend: &str) {
        for load in &self.0 {
            load.reaches(backend, 50).await;
        }
    }

    /// Ends it. No request was lost.
    pub(crate) async fn ends(self) {
        for load in self.0 {
            let tally = load.stop().await;
            assert_eq!(tally.failed, 0, "{tally:?}");
            println!("{} requests, none lost", tally.ok);
        }
    }
}

/// A call of the API that may take long.
pub(crate) async fn heartbeat(api: &mut Api, id: &str) {
    let _ = api.heartbeat(id).await.expect(200);
}
