//! What callers are told of what is kept, with a store that fails and hangs when the test says so.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edgeproxy_backend::{AppName, Backend, BackendAddr, BackendId, Country, Incarnation, Region};
use edgeproxy_registry::{
    Change, Config, DeregisterError, FencedError, LoadReport, Patch, Record, Registration, State, Write,
};
use edgeproxy_store::{CommitError, LoadError, Loaded, Memory, Store, Task, Update};
use tokio::sync::Notify;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use crate::{ControlError, Handle, Unkept, kept_registry, reports};

/// A memory store with a fault.
#[derive(Debug, Default)]
struct Faulty {
    memory: Memory,
    fails: AtomicBool,
    hangs: AtomicBool,
    released: Notify,
    commits: AtomicUsize,
    /// What others have changed.
    news: Mutex<VecDeque<Update>>,
    told: Notify,
}

impl Faulty {
    fn tell(&self, update: Update) {
        self.news.lock().unwrap().push_back(update);
        self.told.notify_one();
    }
}

impl Store for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn load(&self) -> Task<'_, Result<Loaded, LoadError>> {
        self.memory.load()
    }

    fn commit<'a>(&'a self, writes: &'a [Write]) -> Task<'a, Result<(), CommitError>> {
        Box::pin(async move {
            self.commits.fetch_add(1, Ordering::Relaxed);
            if self.hangs.load(Ordering::Relaxed) {
                self.released.notified().await;
            }
            if self.fails.load(Ordering::Relaxed) {
                return Err(CommitError {
                    message: "the folder cannot be written to".to_owned(),
                    source: Some("no space left on device".into()),
                });
            }
            self.memory.commit(writes).await
        })
    }

    fn update(&self) -> Task<'_, Update> {
        Box::pin(async {
            loop {
                let next = self.news.lock().unwrap().pop_front();
                match next {
                    Some(update) => return update,
                    None => self.told.notified().await,
                }
            }
        })
    }
}

fn registration(id: &str, port: u16) -> Registration {
    let backend = Backend::new(
        BackendId::parse(id).unwrap(),
        AppName::parse("shop").unwrap(),
        Region::parse("eu").unwrap(),
        Country::parse("DE").unwrap(),
        BackendAddr::parse("10.0.0.1", port).unwrap(),
    );
    Registration { backend, ttl: None }
}

fn id(text: &str) -> BackendId {
    BackendId::parse(text).unwrap()
}

async fn start(store: &Arc<Faulty>) -> Handle {
    let loaded = store.load().await.unwrap();
    let (handle, driver) = kept_registry(Config::default(), Arc::clone(store) as Arc<dyn Store>, &loaded);
    assert!(handle.restore(loaded, |_| Ok(())).is_empty());
    let (_, reports) = reports(1);
    tokio::task::spawn_local(driver.run(reports, |_| (), |_| ()));
    handle
}

async fn ids(store: &Faulty) -> Vec<String> {
    let loaded = store.load().await.unwrap();
    loaded
        .records
        .iter()
        .map(|record| record.backend.id.to_string())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_acknowledged_is_kept_and_restored() {
    LocalSet::new()
        .run_until(async {
            let store = Arc::new(Faulty::default());
            let handle = start(&store).await;
            let registered = handle.register(registration("a", 1)).await.unwrap();
            assert_eq!(registered.unkept, None);
            handle.register(registration("b", 1)).await.unwrap();
            handle.deregister(&id("b"), None, None).await.unwrap();
            let off = Patch {
                enabled: Change::Set(false),
                ..Patch::default()
            };
            handle.patch(&id("a"), None, &off).await.unwrap();
            assert_eq!(ids(&store).await, ["a"]);

            let commits = store.commits.load(Ordering::Relaxed);
            handle.heartbeat(&id("a"), None, &LoadReport::default()).unwrap();
            let renewed = handle.register(registration("a", 1)).await.unwrap();
            assert_eq!(renewed.unkept, None);
            assert_eq!(
                store.commits.load(Ordering::Relaxed),
                commits,
                "nothing has changed"
            );

            let again = start(&store).await;
            let status = again.get(&id("a")).unwrap();
            assert_eq!(status.endpoint.incarnation, registered.endpoint.incarnation);
            assert_eq!(status.state, State::Disabled);
            let new = again.register(registration("c", 1)).await.unwrap();
            assert!(new.endpoint.incarnation > registered.endpoint.incarnation.next());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_storm_shares_its_commits() {
    LocalSet::new()
        .run_until(async {
            let store = Arc::new(Faulty::default());
            let handle = start(&store).await;
            let all: Vec<_> = (0..500)
                .map(|n| {
                    let handle = handle.clone();
                    tokio::task::spawn_local(async move {
                        handle
                            .register(registration(&format!("b{n}"), 1))
                            .await
                            .unwrap()
                            .unkept
                    })
                })
                .collect();
            for one in all {
                assert_eq!(one.await.unwrap(), None);
            }
            assert_eq!(ids(&store).await.len(), 500);
            let commits = store.commits.load(Ordering::Relaxed);
            assert!(commits <= 3, "{commits} commits");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_stops_nobody_and_is_told_of_everything_once_it_can_be_written() {
    LocalSet::new()
        .run_until(async {
            let store = Arc::new(Faulty::default());
            store.fails.store(true, Ordering::Relaxed);
            let handle = start(&store).await;
            let registered = handle.register(registration("a", 1)).await.unwrap();
            let told = registered.unkept.as_ref().unwrap().to_string();
            assert!(
                told.starts_with("kept in memory only: the store cannot be written:")
                    && told.contains("no space left on device"),
                "{told}"
            );
            handle.register(registration("b", 1)).await.unwrap();
            handle.deregister(&id("b"), None, None).await.unwrap();
            let status = handle.store_status();
            assert!(status.degraded.is_some() && status.pending >= 1, "{status:?}");

            store.fails.store(false, Ordering::Relaxed);
            assert!(handle.flush(Duration::from_secs(60)).await);
            let status = handle.store_status();
            assert_eq!((status.degraded, status.pending), (None, 0));
            assert_eq!(ids(&store).await, ["a"]);
            let kept = handle.register(registration("c", 1)).await.unwrap();
            assert_eq!(kept.unkept, None);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_hangs_holds_up_no_heartbeat_and_a_caller_for_five_seconds_at_the_most() {
    LocalSet::new()
        .run_until(async {
            let store = Arc::new(Faulty::default());
            let handle = start(&store).await;
            store.hangs.store(true, Ordering::Relaxed);
            let began = Instant::now();
            let registered = handle.register(registration("a", 1)).await.unwrap();
            assert!(registered.unkept.is_some());
            assert_eq!(began.elapsed().as_secs(), 5);
            handle.heartbeat(&id("a"), None, &LoadReport::default()).unwrap();
            // It is known to be slow by now, and nobody waits for it again.
            let next = handle.register(registration("b", 1)).await.unwrap();
            assert!(
                matches!(next.unkept, Some(Unkept::Failing { .. })),
                "{:?}",
                next.unkept
            );
            assert!(!handle.flush(Duration::from_secs(1)).await);

            store.hangs.store(false, Ordering::Relaxed);
            store.released.notify_one();
            assert!(handle.flush(Duration::from_secs(60)).await);
            assert_eq!(ids(&store).await, ["a", "b"]);
        })
        .await;
}

const MOMENT: Duration = Duration::from_millis(10);

#[tokio::test(start_paused = true)]
async fn what_another_proxy_does_to_one_that_is_being_written_is_taken_in_after_that() {
    LocalSet::new()
        .run_until(async {
            let store = Arc::new(Faulty::default());
            let handle = start(&store).await;
            store.hangs.store(true, Ordering::Relaxed);
            let register = {
                let handle = handle.clone();
                tokio::task::spawn_local(async move { handle.register(registration("a", 1)).await.unwrap() })
            };
            sleep(MOMENT).await;
            let later = Record {
                backend: registration("a", 2).backend,
                incarnation: Incarnation::new(1_000_000_000).unwrap(),
                ttl: Duration::from_secs(60),
            };
            store.tell(Update::Changed(Write::Registered(later.clone())));
            sleep(MOMENT).await;
            store.hangs.store(false, Ordering::Relaxed);
            store.released.notify_one();
            register.await.unwrap();
            sleep(MOMENT).await;
            let found = handle.get(&id("a")).unwrap().endpoint;
            assert_eq!(found.backend, later.backend);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_others_change_has_its_turn_while_registrations_never_end() {
    LocalSet::new()
        .run_until(async {
            let store = Arc::new(Faulty::default());
            let handle = start(&store).await;
            let storm = {
                let handle = handle.clone();
                tokio::task::spawn_local(async move {
                    for n in 0.. {
                        handle
                            .register(registration(&format!("b{}", n % 8), 1 + n % 9_999))
                            .await
                            .unwrap();
                    }
                })
            };
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            let theirs = Record {
                backend: registration("theirs", 2).backend,
                incarnation: Incarnation::new(1_000_000_000).unwrap(),
                ttl: Duration::from_secs(60),
            };
            store.tell(Update::Changed(Write::Registered(theirs)));
            while handle.get(&id("theirs")).is_none() {
                tokio::task::yield_now().await;
            }
            storm.abort();
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_what_was_gone_again_before_it_was_written() {
    LocalSet::new()
        .run_until(async {
            let store = Arc::new(Faulty::default());
            let handle = start(&store).await;
            store.hangs.store(true, Ordering::Relaxed);
            let register = |id: &'static str| {
                let handle = handle.clone();
                tokio::task::spawn_local(
                    async move { handle.register(registration(id, 1)).await.unwrap().unkept },
                )
            };
            let a = register("a");
            sleep(MOMENT).await;
            let b = register("b");
            sleep(MOMENT).await;
            let gone = {
                let handle = handle.clone();
                tokio::task::spawn_local(async move { handle.deregister(&id("b"), None, None).await })
            };
            sleep(MOMENT).await;
            let began = Instant::now();
            store.hangs.store(false, Ordering::Relaxed);
            store.released.notify_one();
            assert_eq!((a.await.unwrap(), b.await.unwrap()), (None, None));
            assert_eq!(gone.await.unwrap().unwrap().unkept, None);
            let renewed = handle.register(registration("a", 1)).await.unwrap();
            assert_eq!((renewed.unkept, began.elapsed()), (None, Duration::ZERO));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_deregistration_that_is_asked_for_again_is_kept_when_that_is_told() {
    LocalSet::new()
        .run_until(async {
            let store = Arc::new(Faulty::default());
            let handle = start(&store).await;
            handle.register(registration("a", 1)).await.unwrap();
            store.hangs.store(true, Ordering::Relaxed);
            let deregister = || {
                let handle = handle.clone();
                tokio::task::spawn_local(async move { handle.deregister(&id("a"), None, None).await })
            };
            let first = deregister();
            sleep(MOMENT).await;
            let second = deregister();
            sleep(MOMENT).await;
            assert!(!first.is_finished() && !second.is_finished());
            store.hangs.store(false, Ordering::Relaxed);
            store.released.notify_one();
            let unknown = DeregisterError::Fenced(FencedError::Unknown(id("a")));
            assert_eq!(second.await.unwrap().unwrap_err(), ControlError::Refused(unknown));
            assert_eq!(ids(&store).await, [""; 0]);
            assert_eq!(first.await.unwrap().unwrap().unkept, None);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_registered_is_kept_however_long_stopping_takes() {
    LocalSet::new()
        .run_until(async {
            let store = Arc::new(Faulty::default());
            let handle = start(&store).await;
            let all = ["a", "b", "c", "d", "e", "f", "g", "h"];
            for id in all {
                handle.register(registration(id, 1)).await.unwrap();
            }
            // The others are renewed, so that the lease of one that is silent runs out without a doubt.
            sleep(Duration::from_secs(50)).await;
            for other in &all[1..] {
                handle
                    .heartbeat(&id(other), None, &LoadReport::default())
                    .unwrap();
            }
            handle.stop();
            sleep(Duration::from_secs(600)).await;
            assert!(handle.flush(Duration::from_secs(5)).await);
            assert_eq!(ids(&store).await, all);
            assert!(handle.get(&id("a")).is_some());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_gets_through_does_not_hide_that_the_store_is_lost() {
    LocalSet::new()
        .run_until(async {
            let store = Arc::new(Faulty::default());
            let handle = start(&store).await;
            let reason = "no leader".to_owned();
            store.tell(Update::Lost { reason });
            while handle.store_status().degraded.is_none() {
                tokio::task::yield_now().await;
            }
            let kept = handle.register(registration("a", 1)).await.unwrap();
            assert!(kept.unkept.is_some(), "{kept:?}");
            while ids(&store).await != ["a"] || handle.store_status().pending > 0 {
                tokio::task::yield_now().await;
            }
            assert!(
                handle.store_status().degraded.is_some(),
                "nobody has said that it is back"
            );
            store.tell(Update::Restored);
            while handle.store_status().degraded.is_some() {
                tokio::task::yield_now().await;
            }
        })
        .await;
}
