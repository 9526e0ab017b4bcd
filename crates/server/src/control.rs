//! The control thread: the registry's driver, the health monitor and the API, on one thread and one
//! runtime of their own, so that nothing they do costs a worker anything but the loading of a new table.

use std::cell::{Cell, RefCell};
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use edgeproxy_control::{Driver, Handle, Reports};
use edgeproxy_proxy as proxy;
use edgeproxy_proxy::SharedTable;
use edgeproxy_registry::{Event, Snapshot};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, LocalSet};
use tokio_util::sync::CancellationToken;

use crate::metrics::{Published, Seen};
use crate::plan::Plan;
use crate::probe_tls::ProbeTls;
use crate::probes::Probes;
use crate::publication::Publication;
use crate::publisher::{Publisher, Put};
use crate::reload::Applier;
use crate::table::TableBuilder;
use crate::watch::Watchlist;

/// What the control thread works with.
pub(crate) struct Control {
    pub(crate) handle: Handle,
    pub(crate) driver: Driver,
    pub(crate) reports: Reports,
    pub(crate) plan: Arc<Plan>,
    pub(crate) builder: TableBuilder,
    /// What the table that is there was built from.
    pub(crate) first: Option<Snapshot>,
    pub(crate) table: SharedTable,
    pub(crate) workers: Arc<proxy::Running>,
    pub(crate) watchlist: Watchlist,
    pub(crate) applier: Applier,
    pub(crate) max_concurrent_probes: u32,
    pub(crate) probe_tls: ProbeTls,
    pub(crate) published: Published,
    pub(crate) seen: Seen,
    pub(crate) api: Option<(TcpListener, edgeproxy_api::State)>,
}

/// The runtime of the control thread, before there is one: a start that fails drops it on a thread that has a runtime
/// already, where it can't be waited for.
pub(crate) struct ControlRuntime(Option<Runtime>);

impl ControlRuntime {
    pub(crate) fn new() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    pub(crate) const fn get(&self) -> Option<&Runtime> {
        self.0.as_ref()
    }
}

impl Drop for ControlRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The thread, and how to end it.
pub(crate) struct ControlThread {
    stop: CancellationToken,
    /// Has the API accept no more.
    left_api: CancellationToken,
    pulses: mpsc::Sender<oneshot::Sender<()>>,
    ended: oneshot::Receiver<()>,
    thread: JoinHandle<()>,
}

impl ControlThread {
    pub(crate) fn spawn(mut runtime: ControlRuntime, control: Control) -> std::io::Result<Self> {
        let stop = CancellationToken::new();
        let (sender, ended) = oneshot::channel();
        let (token, left) = (stop.clone(), CancellationToken::new());
        let left_api = left.clone();
        let (pulses, felt) = mpsc::channel(1);
        let thread = std::thread::Builder::new()
            .name("edgeproxy-control".to_owned())
            .spawn(move || {
                if let Some(runtime) = runtime.0.take() {
                    LocalSet::new().block_on(&runtime, control.run(token, left, felt));
                }
                // The receiver may be gone: then nobody waits.
                let _ = sender.send(());
            })?;
        Ok(Self {
            stop,
            left_api,
            pulses,
            ended,
            thread,
        })
    }

    /// Resolves once the thread has answered, which it never does if something on it has ended unasked.
    pub(crate) async fn pulse(&self) {
        let (sender, answer) = oneshot::channel();
        if self.pulses.send(sender).await.is_err() || answer.await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Has the API accept no more, and let its clients go one after the other.
    pub(crate) fn leave_api(&self) {
        self.left_api.cancel();
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
    async fn run(
        self,
        stop: CancellationToken,
        left_api: CancellationToken,
        pulses: mpsc::Receiver<oneshot::Sender<()>>,
    ) {
        let Self {
            handle,
            driver,
            reports,
            plan,
            builder,
            first,
            table,
            workers,
            watchlist,
            applier,
            max_concurrent_probes,
            probe_tls,
            published,
            seen,
            api,
        } = self;
        let tls = Arc::new(probe_tls);
        let registry = handle.clone();
        let (probes, prober) = Probes::new(handle, plan, max_concurrent_probes, (tls, seen.clone()));
        let put: Put = Box::new(move |built| {
            table.store(Arc::new(built));
            workers.table_changed();
        });
        let publication = Rc::new(Publication::new(builder, registry, put));
        let (keeper, measuring) = (Rc::clone(&publication), Rc::clone(&publication));
        let publisher = Rc::new(RefCell::new(Publisher::new(publication, probes, published)));
        let mut publish = {
            let publisher = Rc::clone(&publisher);
            move |snapshot: &Snapshot| publisher.borrow_mut().publish(snapshot)
        };
        first.iter().for_each(&mut publish);
        let mut background = JoinSet::new();
        let events = api.as_ref().map(|(_, state)| state.events.clone());
        let told = move |event: &Event| {
            seen.event(event.kind);
            log(event);
            if let Some(events) = &events {
                events.tell(event);
            }
        };
        background.spawn_local(driver.run(reports, publish, told));
        background.spawn_local(async move { keeper.keep_up().await });
        background.spawn_local(async move { measuring.measure().await });
        background.spawn_local(prober);
        background.spawn_local(watchlist.watch());
        background.spawn_local(async move {
            applier.run(publisher).await;
            // It ends when nobody is there any more who could ask it.
            std::future::pending::<()>().await;
        });
        let whole = Rc::new(Cell::new(true));
        let watched = [
            tokio::task::spawn_local(supervise(background, Rc::clone(&whole))),
            tokio::task::spawn_local(answer(pulses, whole)),
        ];
        if let Some((listener, state)) = api {
            serve(listener, state, left_api, stop.clone()).await;
        }
        stop.cancelled().await;
        // The others end with the one that watches them.
        for task in watched {
            task.abort();
        }
    }
}

async fn serve(
    listener: TcpListener,
    state: edgeproxy_api::State,
    left: CancellationToken,
    stop: CancellationToken,
) {
    let served = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => {
            let (left, stop) = (left.cancelled_owned(), stop.clone().cancelled_owned());
            edgeproxy_api::serve_until_left(listener, state, left, stop).await
        }
        Err(error) => Err(error),
    };
    if let Err(error) = served {
        tracing::error!(%error, "the API has stopped; the proxy goes on with the last routing table");
        stop.cancelled().await;
    }
}

/// Notes when one of them ends, which none does by itself.
async fn supervise(mut background: JoinSet<()>, whole: Rc<Cell<bool>>) {
    while let Some(ended) = background.join_next().await {
        whole.set(false);
        let error = ended.err().map(tracing::field::display);
        tracing::error!(
            error,
            "a task of the control thread has ended: the process needs a restart, and gives no sign of life any more"
        );
    }
}

/// Answers for as long as the thread is whole.
async fn answer(mut pulses: mpsc::Receiver<oneshot::Sender<()>>, whole: Rc<Cell<bool>>) {
    while let Some(asked) = pulses.recv().await {
        if whole.get() {
            // Whoever asked may have lost patience.
            let _ = asked.send(());
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_of_which_a_task_has_ended_gives_no_sign_of_life() {
        let (pulses, felt) = mpsc::channel(1);
        let whole = Rc::new(Cell::new(true));
        let asking = async {
            let ask = async || {
                let (sender, answer) = oneshot::channel();
                pulses.send(sender).await.unwrap();
                answer.await
            };
            assert_eq!(ask().await, Ok(()));
            let mut background = JoinSet::new();
            background.spawn(async { panic!("as a defect would") });
            supervise(background, Rc::clone(&whole)).await;
            ask().await.unwrap_err();
        };
        tokio::select! {
            () = asking => {}
            () = answer(felt, Rc::clone(&whole)) => {}
        }
    }
}
