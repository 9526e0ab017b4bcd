//! The control thread: the registry's driver, the health monitor and the API, on one thread and one
//! runtime of their own, so that nothing they do costs a worker anything but the loading of a new table.

use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use edgeproxy_control::{Driver, Handle, Reports};
use edgeproxy_proxy as proxy;
use edgeproxy_proxy::SharedTable;
use edgeproxy_registry::{Event, Snapshot};
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use crate::plan::Plan;
use crate::probes::Probes;
use crate::publication::Publication;
use crate::table::TableBuilder;
use crate::watch::{self, Watched};

/// What the control thread works with.
pub(crate) struct Control {
    pub(crate) handle: Handle,
    pub(crate) driver: Driver,
    pub(crate) reports: Reports,
    pub(crate) plan: Arc<Plan>,
    pub(crate) table: SharedTable,
    pub(crate) workers: Arc<proxy::Running>,
    pub(crate) watched: Vec<Watched>,
    pub(crate) api: Option<(TcpListener, edgeproxy_api::State)>,
}

/// The thread, and how to end it.
pub(crate) struct ControlThread {
    stop: CancellationToken,
    ended: oneshot::Receiver<()>,
    thread: JoinHandle<()>,
}

impl ControlThread {
    pub(crate) fn spawn(control: Control) -> std::io::Result<Self> {
        let stop = CancellationToken::new();
        let (sender, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let token = stop.clone();
        let thread = std::thread::Builder::new()
            .name("edgeproxy-control".to_owned())
            .spawn(move || {
                LocalSet::new().block_on(&runtime, control.run(token));
                // The receiver may be gone: then nobody waits.
                let _ = sender.send(());
            })?;
        Ok(Self { stop, ended, thread })
    }

    /// Ends the API, which has `grace` to finish its replies, then everything.
    pub(crate) async fn stop(self, grace: Duration) {
        self.stop.cancel();
        match tokio::time::timeout(grace, self.ended).await {
            Ok(_) => {
                if self.thread.join().is_err() {
                    tracing::error!("the control thread panicked");
                }
            }
            // The process is about to end, and the thread with it.
            Err(_) => tracing::warn!("the control thread did not end in time"),
        }
    }
}

impl Control {
    async fn run(self, stop: CancellationToken) {
        let Self {
            handle,
            driver,
            reports,
            plan,
            table,
            workers,
            watched,
            api,
        } = self;
        let registry = handle.clone();
        let (mut probes, prober) = Probes::new(handle, plan.others().monitor.clone());
        let put = move |built| {
            table.store(Arc::new(built));
            workers.table_changed();
        };
        let publication = Rc::new(Publication::new(TableBuilder::new(plan), registry, put));
        let (published, keeper) = (Rc::clone(&publication), Rc::clone(&publication));
        let publish = move |snapshot: &Snapshot| {
            published.publish(snapshot);
            probes.update(snapshot);
        };
        let background = [
            tokio::task::spawn_local(driver.run(reports, publish, log)),
            tokio::task::spawn_local(async move { keeper.keep_up().await }),
            tokio::task::spawn_local(async move { publication.measure().await }),
            tokio::task::spawn_local(prober),
            tokio::task::spawn_local(watch::watch(watched)),
        ];
        match api {
            None => stop.cancelled().await,
            Some((listener, state)) => serve(listener, state, stop).await,
        }
        for task in background {
            task.abort();
        }
    }
}

async fn serve(listener: TcpListener, state: edgeproxy_api::State, stop: CancellationToken) {
    let served = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => edgeproxy_api::serve(listener, state, stop.clone().cancelled_owned()).await,
        Err(error) => Err(error),
    };
    if let Err(error) = served {
        tracing::error!(%error, "the API has stopped; the proxy goes on with the last routing table");
        stop.cancelled().await;
    }
}

fn log(event: &Event) {
    tracing::info!(
        kind = event.kind.as_str(),
        backend = %event.id,
        app = %event.app,
        incarnation = %event.incarnation,
        "registry"
    );
}
