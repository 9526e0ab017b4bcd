//! One process of a proxy: the real control, with a table of the real balancer and the real schedule of probes.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use edgeproxy_backend::{AppName, Endpoint, Incarnation};
use edgeproxy_balance::retry::RetryBudget;
use edgeproxy_balance::{Balancer, Policy};
use edgeproxy_control::{Handle, ReportSender, kept_registry, reports};
use edgeproxy_health::{self as health, Class, Monitor, Schedule, Target};
use edgeproxy_registry::{AppSnapshot, Config, EventKind, Snapshot, State};
use edgeproxy_simulate::wiring;
use edgeproxy_store::Store;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_local};

use crate::timeline::Answer;
use crate::trace::{B, P};

/// What tasks have to tell the world, in their order.
#[derive(Debug)]
pub(crate) enum Told {
    Event {
        proxy: P,
        process: u32,
        id: String,
        life: Incarnation,
        kind: EventKind,
        state: State,
    },
    Published(P),
    Answered {
        proxy: P,
        process: u32,
        call: crate::timeline::Call,
        answer: Answer,
        is_kept: bool,
    },
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Inbox {
    told: Rc<RefCell<VecDeque<Told>>>,
    pub(crate) touched: Rc<Notify>,
}

impl Inbox {
    pub(crate) fn tell(&self, told: Told) {
        self.told.borrow_mut().push_back(told);
        self.touched.notify_one();
    }

    pub(crate) fn take(&self) -> Option<Told> {
        self.told.borrow_mut().pop_front()
    }
}

/// How all proxies are configured.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) app: AppName,
    pub(crate) registry: Config,
    pub(crate) policy: Policy,
    pub(crate) monitor: Option<Arc<Monitor>>,
    pub(crate) shares_limits: bool,
}

/// A process that runs, unless it is frozen. Dropped it is killed.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) number: u32,
    /// When its clock began, in the world's time.
    pub(crate) began: u64,
    pub(crate) handle: Handle,
    pub(crate) reports: ReportSender,
    pub(crate) desk: Rc<RefCell<Desk>>,
    pub(crate) gate: Rc<Gate>,
    driver: JoinHandle<()>,
    calls: Vec<JoinHandle<()>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.driver.abort();
        self.calls.iter().for_each(JoinHandle::abort);
    }
}

/// What the data plane and the health monitors go by.
pub(crate) struct Desk {
    plan: Plan,
    pub(crate) latest: Option<Arc<AppSnapshot>>,
    pub(crate) balancer: Balancer<Arc<Endpoint>>,
    pub(crate) budget: RetryBudget,
    pub(crate) schedule: Schedule,
    suspects: Arc<Monitor>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk")
            .field("latest", &self.latest)
            .finish_non_exhaustive()
    }
}

impl Desk {
    fn new(plan: Plan, seed: u64, handle: &Handle) -> Self {
        Self {
            latest: None,
            balancer: Balancer::prepare(&plan.policy, Vec::new(), handle.now(), None),
            budget: RetryBudget::default(),
            schedule: Schedule::new(health::Config {
                seed,
                ..health::Config::default()
            }),
            suspects: Arc::new(Monitor::tcp()),
            plan,
        }
    }

    fn publish(&mut self, snapshot: &Snapshot, handle: &Handle) {
        let now = handle.now();
        self.latest = snapshot.apps.get(&self.plan.app).cloned();
        let members = || self.latest.iter().flat_map(|app| &app.members);
        let candidates = members().map(wiring::candidate).collect();
        self.balancer = Balancer::prepare(&self.plan.policy, candidates, now, Some(&self.balancer));
        let mut targets = Vec::new();
        for member in members() {
            let endpoint = &member.endpoint;
            let classes = wiring::probed_for(member, self.plan.monitor.is_some());
            for class in classes.into_iter().flatten() {
                let monitor = match class {
                    Class::Monitor => self.plan.monitor.as_ref(),
                    Class::Suspect => Some(&self.suspects),
                };
                targets.extend(monitor.map(|monitor| Target {
                    id: endpoint.id.clone(),
                    incarnation: endpoint.incarnation,
                    class,
                    addr: endpoint.addr,
                    monitor: Arc::clone(monitor),
                    first: wiring::first_probe(member),
                }));
            }
        }
        self.schedule.replace(targets, now);
    }
}

impl Process {
    /// Starts one, as `crates/server` does: the store is read, the registry begins, and the first table is there before
    /// anything is served.
    pub(crate) async fn start(
        (proxy, number): (P, u32),
        began: u64,
        store: Arc<dyn Store>,
        plan: &Plan,
        inbox: &Inbox,
    ) -> Self {
        let loaded = store.load().await.expect("a store that can be read");
        let seed = plan.registry.seed ^ (u64::from(number) << 8 | proxy.0 as u64);
        let config = Config {
            seed,
            ..plan.registry.clone()
        };
        let (handle, mut driver) = kept_registry(config, store, &loaded);
        assert!(
            handle.restore(loaded, |_| Ok(())).is_empty(),
            "there is room for all"
        );
        if plan.shares_limits {
            handle.share_limits();
        }
        let desk = Rc::new(RefCell::new(Desk::new(plan.clone(), seed, &handle)));
        let publish = {
            let (desk, handle, inbox) = (Rc::clone(&desk), handle.clone(), inbox.clone());
            move |snapshot: &Snapshot| {
                desk.borrow_mut().publish(snapshot, &handle);
                inbox.tell(Told::Published(proxy));
            }
        };
        driver.first().iter().for_each(&publish);
        let told = inbox.clone();
        let on_event = move |event: &edgeproxy_registry::Event| {
            told.tell(Told::Event {
                proxy,
                process: number,
                id: event.id.as_str().to_owned(),
                life: event.incarnation,
                kind: event.kind,
                state: event.state,
            });
        };
        let (sender, receiver) = reports(64);
        let gate = Rc::new(Gate::default());
        let driver = spawn_local(gate.pass(driver.run(receiver, publish, on_event)));
        Self {
            number,
            began,
            handle,
            reports: sender,
            desk,
            gate,
            driver,
            calls: Vec::new(),
        }
    }

    /// Serves a call of the API.
    pub(crate) fn serve(&mut self, call: impl Future<Output = ()> + 'static) {
        self.calls.retain(|call| !call.is_finished());
        self.calls.push(spawn_local(self.gate.pass(call)));
    }

    /// Calls that are being served.
    pub(crate) fn serving(&self) -> usize {
        self.calls.iter().filter(|call| !call.is_finished()).count()
    }

    /// It never ends by itself.
    pub(crate) fn has_ended(&self) -> bool {
        self.driver.is_finished()
    }
}

/// What a frozen process doesn't pass: no task of it is polled, whatever wakes it.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    is_shut: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Gate {
    pub(crate) fn pass<F: Future<Output = ()>>(self: &Rc<Self>, inner: F) -> Passing<F> {
        Passing {
            gate: Rc::clone(self),
            inner: Box::pin(inner),
        }
    }

    pub(crate) fn shut(&self) {
        self.is_shut.set(true);
    }

    pub(crate) fn open(&self) {
        self.is_shut.set(false);
        self.waiting.borrow_mut().drain(..).for_each(Waker::wake);
    }
}

#[derive(Debug)]
pub(crate) struct Passing<F> {
    gate: Rc<Gate>,
    inner: Pin<Box<F>>,
}

impl<F: Future<Output = ()>> Future for Passing<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.gate.is_shut.get() {
            self.gate.waiting.borrow_mut().push(cx.waker().clone());
            return Poll::Pending;
        }
        self.inner.as_mut().poll(cx)
    }
}

/// A machine's number is in its id.
pub(crate) fn machine_of(id: &str) -> B {
    B(id.trim_start_matches('b').parse().expect("an id of this world"))
}
