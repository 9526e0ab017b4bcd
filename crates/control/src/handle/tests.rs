use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use edgeproxy_backend::{
    Admission, AppName, Backend, BackendAddr, BackendId, Country, MonoTime, Region, TrafficReport,
};
use edgeproxy_registry::{
    Config, Configuration, Event, EventKind, LoadReport, RegisteredKind, Registration, Snapshot, State,
    StaticError,
};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use super::*;
use crate::reports::{ReportSender, reports};

const SECOND: Duration = Duration::from_secs(1);

/// A registry whose driver runs on the test's own thread, and all that it has published.
struct Running {
    handle: Handle,
    sender: ReportSender,
    snapshots: Rc<RefCell<Vec<Snapshot>>>,
    events: Rc<RefCell<Vec<Event>>>,
}

fn start(config: Config, queue: usize) -> Running {
    let (handle, driver) = registry(config);
    let (sender, reports) = reports(queue);
    let (snapshots, events) = (Rc::<RefCell<Vec<_>>>::default(), Rc::<RefCell<Vec<_>>>::default());
    let (to, log) = (Rc::clone(&snapshots), Rc::clone(&events));
    tokio::task::spawn_local(driver.run(
        reports,
        move |snapshot| to.borrow_mut().push(snapshot.clone()),
        move |event| log.borrow_mut().push(event.clone()),
    ));
    Running {
        handle,
        sender,
        snapshots,
        events,
    }
}

fn registration(id: &str, port: u16) -> Registration {
    let backend = Backend::new(
        BackendId::parse(id).unwrap(),
        AppName::parse("myapp").unwrap(),
        Region::parse("eu").unwrap(),
        Country::parse("DE").unwrap(),
        BackendAddr::parse("10.0.0.1", port).unwrap(),
    );
    Registration { backend, ttl: None }
}

impl Running {
    async fn registered(&self, id: &str, port: u16) -> Registered {
        self.handle
            .register(registration(id, port))
            .await
            .unwrap()
            .outcome
    }

    fn members(&self) -> usize {
        let snapshots = self.snapshots.borrow();
        let newest = snapshots.last();
        newest.map_or(0, |newest| {
            newest.apps.values().map(|app| app.members.len()).sum()
        })
    }

    fn saw(&self, kind: EventKind) -> bool {
        self.events.borrow().iter().any(|event| event.kind == kind)
    }
}

async fn on_one_thread(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn a_registration_resolves_when_it_is_published() {
    on_one_thread(async {
        let running = start(Config::default(), 16);
        let registered = running.handle.register(registration("a", 1)).await.unwrap();
        assert_eq!((registered.kind, running.members()), (RegisteredKind::New, 1));
        running
            .handle
            .deregister(&registered.endpoint.id, None, None)
            .await
            .unwrap();
        assert_eq!(running.members(), 0);
        assert!(running.handle.get(&registered.endpoint.id).is_none());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_takeover_leaves_nobody_without_a_backend_before_it_is_published() {
    on_one_thread(async {
        let running = start(Config::default(), 16);
        let old = running.registered("a", 1).await.endpoint;
        let mut takeover = Box::pin(running.handle.register(registration("a", 2)));
        assert!(polled(&mut takeover).is_none());
        drop(old.admit(Admission::Regular).unwrap());
        let new = takeover.await.unwrap().outcome.endpoint;
        assert!(old.admit(Admission::Regular).is_err());
        // One that nobody waits for any more shuts it all the same.
        let mut given_up = Box::pin(running.handle.register(registration("a", 3)));
        assert!(polled(&mut given_up).is_none());
        drop(given_up);
        assert!(new.admit(Admission::Regular).is_err());
    })
    .await;
}

fn polled<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(future).poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

/// What the file says of one backend.
fn configuration(id: &str) -> Configuration {
    Configuration {
        backends: vec![registration(id, 1).backend],
        ..Configuration::default()
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_configured_before_anything_runs_is_in_the_first_snapshot_and_in_no_other() {
    on_one_thread(async {
        let (handle, mut driver) = registry(Config::default());
        handle.configure(configuration("a")).unwrap();
        let first = driver.first().expect("there is something to publish");
        assert_eq!(first.apps.len(), 1);
        assert!(driver.first().is_none());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_configured_later_is_published() {
    on_one_thread(async {
        let running = start(Config::default(), 16);
        let reconciled = running.handle.configure(configuration("a")).unwrap();
        assert_eq!((reconciled.added, running.members()), (1, 0));
        // A registration resolves with everything that came before it.
        running.registered("b", 2).await;
        assert_eq!(running.members(), 2);
        let twice = Configuration {
            backends: vec![registration("a", 1).backend, registration("a", 2).backend],
            ..Configuration::default()
        };
        let id = BackendId::parse("a").unwrap();
        let refused = running.handle.configure(twice).unwrap_err();
        assert_eq!(refused, ControlError::Refused(StaticError::Twice(id)));
        running.handle.stop();
        let stopping = running.handle.configure(configuration("a")).unwrap_err();
        assert_eq!(stopping, ControlError::Stopping);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_burst_shares_one_snapshot() {
    on_one_thread(async {
        let running = start(Config::default(), 16);
        let tasks: Vec<_> = (1..=1_000)
            .map(|port| {
                let handle = running.handle.clone();
                tokio::task::spawn_local(async move {
                    handle
                        .register(registration(&format!("backend-{port}"), port))
                        .await
                        .unwrap();
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(running.members(), 1_000);
        assert!(
            running.snapshots.borrow().len() <= 2,
            "{} snapshots",
            running.snapshots.borrow().len()
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_undone_before_it_is_published_leaves_nobody_waiting() {
    on_one_thread(async {
        let running = start(Config::default(), 16);
        let came = running.handle.register(registration("a", 1));
        let id = BackendId::parse("a").unwrap();
        let went = running.handle.deregister(&id, None, None);
        let both = async { tokio::join!(biased; came, went) };
        let (came, went) = timeout(SECOND, both).await.expect("both resolve");
        assert!(came.is_ok() && went.is_ok());
        assert_eq!(running.members(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_expires_on_time_and_a_heartbeat_prevents_it() {
    on_one_thread(async {
        let running = start(Config::default(), 16);
        let registered = running.handle.register(registration("a", 1)).await.unwrap();
        let id = registered.endpoint.id.clone();
        sleep(50 * SECOND).await;
        running
            .handle
            .heartbeat(&id, None, &LoadReport::default())
            .unwrap();
        let renewed = Instant::now();
        while running.members() == 1 {
            sleep(Duration::from_millis(1)).await;
        }
        let late = renewed.elapsed().saturating_sub(60 * SECOND);
        assert!(
            renewed.elapsed() >= 60 * SECOND && late < Duration::from_millis(100),
            "{late:?} late"
        );
        assert!(running.saw(EventKind::Expired));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn heartbeats_publish_nothing() {
    on_one_thread(async {
        let running = start(Config::default(), 16);
        let id = running.registered("a", 1).await.endpoint.id.clone();
        let before = running.snapshots.borrow().len();
        for _ in 0..100 {
            running
                .handle
                .heartbeat(&id, None, &LoadReport::default())
                .unwrap();
            sleep(SECOND).await;
        }
        assert_eq!(running.snapshots.borrow().len(), before);
    })
    .await;
}

/// Fails `count` requests in a row on the endpoint, and gives the reports that come of it.
fn fail(registered: &Registered, count: u32) -> Vec<TrafficReport> {
    let endpoint = &registered.endpoint;
    let mut reports = Vec::new();
    for _ in 0..count {
        let request = endpoint.admit(Admission::Regular).unwrap();
        reports.extend(
            request
                .failed(count, MonoTime::ZERO)
                .map(|signal| request.report(signal)),
        );
    }
    reports
}

async fn until(mut holds: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if holds() {
            return;
        }
        sleep(Duration::from_millis(1)).await;
    }
    panic!("it never came about");
}

#[tokio::test(start_paused = true)]
async fn an_ejection_that_the_queue_had_no_room_for_is_not_lost() {
    on_one_thread(async {
        let running = start(Config::default(), 1);
        let mut all = Vec::new();
        for (id, port) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
            all.push(running.handle.register(registration(id, port)).await.unwrap());
        }
        for registered in &all[..3] {
            for report in fail(registered, 5) {
                running.sender.send(report);
            }
        }
        until(|| {
            let states = all
                .iter()
                .map(|one| running.handle.get(&one.endpoint.id).unwrap().state);
            states.collect::<Vec<_>>() == [State::Ejected, State::Ejected, State::Ejected, State::Routable]
        })
        .await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stopping_server_refuses_changes_and_answers_questions() {
    on_one_thread(async {
        let running = start(Config::default(), 16);
        let id = running.registered("a", 1).await.endpoint.id.clone();
        running.handle.stop();
        assert_eq!(
            running
                .handle
                .heartbeat(&id, None, &LoadReport::default())
                .unwrap_err(),
            ControlError::Stopping
        );
        assert!(running.handle.register(registration("b", 2)).await.is_err());
        assert_eq!(running.handle.stats().backends, 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_costs_no_lease_whatever_is_probed_meanwhile_and_the_lease_runs_on_after_it() {
    on_one_thread(async {
        let running = start(Config::default(), 16);
        let endpoint = running.registered("a", 1).await.endpoint;
        let left = || {
            let status = running.handle.get(&endpoint.id)?;
            Some(status.lease?.expires_in)
        };
        sleep(50 * SECOND).await;
        running.handle.pause();
        let before = left().unwrap();
        for _ in 0..120 {
            sleep(SECOND).await;
            let _ = running
                .handle
                .report_probe(&endpoint.id, endpoint.incarnation, Probe::Monitor, true);
            assert_eq!(left(), Some(before));
        }
        running.handle.resume();
        sleep(before - SECOND).await;
        assert_eq!(left(), Some(SECOND));
        assert!(!running.saw(EventKind::Expired));
        sleep(2 * SECOND).await;
        assert!(left().is_none());
        assert!(running.saw(EventKind::Expired));
    })
    .await;
}
