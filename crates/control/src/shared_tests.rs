//! Several proxies that share a store, which fails when the test says so: each row of what is promised of them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::{AppName, Backend, BackendAddr, BackendId, Country, Incarnation, Limits, Region};
use edgeproxy_registry::{Config, Configuration, LoadReport, Member, Probe, Registration, Snapshot, State};
use edgeproxy_store::Store;
use edgeproxy_store::testing::Hub;
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::{Instant, sleep};

use crate::{Handle, kept_registry, reports};

const TTL: Duration = Duration::from_secs(6);
const SECOND: Duration = Duration::from_secs(1);
/// How often the proxies probe.
const PROBES: Duration = Duration::from_millis(200);

/// All proxies, and which backends take connections.
#[derive(Default)]
struct Site {
    hub: Hub,
    refusing: Rc<RefCell<BTreeSet<BackendId>>>,
}

/// One proxy. Dropped it is killed.
struct Proxy {
    name: &'static str,
    handle: Handle,
    snapshot: Rc<RefCell<Snapshot>>,
    /// How many snapshots were published in which that one was not routed to, since it first was.
    gaps: Rc<Cell<usize>>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Site {
    async fn start(&self, name: &'static str) -> Proxy {
        let store: Arc<dyn Store> = Arc::new(self.hub.proxy(name));
        let loaded = store.load().await.unwrap();
        let (handle, driver) = kept_registry(Config::default(), store, &loaded);
        assert!(handle.restore(loaded, |_| Ok(())).is_empty());
        let (_, reports) = reports(1);
        let snapshot = Rc::<RefCell<Snapshot>>::default();
        let gaps = Rc::<Cell<usize>>::default();
        let (published, counted) = (Rc::clone(&snapshot), Rc::clone(&gaps));
        let was_there = Cell::new(false);
        let publish = move |snapshot: &Snapshot| {
            *published.borrow_mut() = snapshot.clone();
            let is_there = members(snapshot).any(|member| routes_to(member, "steady"));
            counted.set(counted.get() + usize::from(was_there.get() && !is_there));
            was_there.set(was_there.get() || is_there);
        };
        let running = tokio::task::spawn_local(driver.run(reports, publish, |_| ()));
        let (prober, seen, refusing) = (handle.clone(), Rc::clone(&snapshot), Rc::clone(&self.refusing));
        let probing = tokio::task::spawn_local(async move {
            loop {
                sleep(PROBES).await;
                let snapshot = seen.borrow().clone();
                for member in members(&snapshot).filter(|member| member.in_doubt) {
                    let (id, incarnation) = (&member.endpoint.id, member.endpoint.incarnation);
                    let passed = !refusing.borrow().contains(id);
                    let _ = prober.report_probe(id, incarnation, Probe::Suspect, passed);
                }
            }
        });
        Proxy {
            name,
            handle,
            snapshot,
            gaps,
            tasks: [running, probing],
        }
    }

    async fn three(&self) -> [Proxy; 3] {
        [
            self.start("a").await,
            self.start("b").await,
            self.start("c").await,
        ]
    }

    fn refuses(&self, name: &str) {
        self.refusing.borrow_mut().insert(id(name));
    }

    fn owner(&self, name: &str) -> Option<String> {
        self.hub.owner(&id(name)).map(|(_, owner)| owner.to_string())
    }
}

fn members(snapshot: &Snapshot) -> impl Iterator<Item = &Member> {
    snapshot.apps.values().flat_map(|app| &app.members)
}

fn routes_to(member: &Member, name: &str) -> bool {
    member.endpoint.id.as_str() == name && member.state.takes_traffic()
}

impl Proxy {
    async fn register(&self, name: &str, port: u16) -> Option<String> {
        let registered = self.handle.register(registration(name, port)).await.unwrap();
        registered.unkept.map(|unkept| unkept.to_string())
    }

    fn beat(&self, name: &str) -> bool {
        self.handle
            .heartbeat(&id(name), None, &LoadReport::default())
            .is_ok()
    }

    fn routes(&self, name: &str) -> bool {
        members(&self.snapshot.borrow()).any(|member| routes_to(member, name))
    }

    fn doubts(&self, name: &str) -> bool {
        let snapshot = self.snapshot.borrow();
        members(&snapshot).any(|member| member.endpoint.id.as_str() == name && member.in_doubt)
    }

    fn knows(&self, name: &str) -> bool {
        self.handle.get(&id(name)).is_some()
    }

    fn life(&self, name: &str) -> Incarnation {
        self.handle.get(&id(name)).unwrap().endpoint.incarnation
    }

    fn is_degraded(&self) -> bool {
        self.handle.store_status().degraded.is_some()
    }
}

fn registration(name: &str, port: u16) -> Registration {
    let backend = Backend::new(
        id(name),
        AppName::parse("shop").unwrap(),
        Region::parse("eu").unwrap(),
        Country::parse("DE").unwrap(),
        BackendAddr::parse("10.0.0.1", port).unwrap(),
    );
    Registration {
        backend,
        ttl: Some(TTL),
    }
}

fn id(text: &str) -> BackendId {
    BackendId::parse(text).unwrap()
}

/// Heartbeats of each of these at each third of a TTL, for as long as told.
async fn beat_for(time: Duration, beats: &[(&Proxy, &str)]) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        for (proxy, name) in beats {
            assert!(proxy.beat(name), "{} doesn't know {name}", proxy.name);
        }
        sleep(TTL / 3).await;
    }
}

/// Waits until it is so, and gives the time that it took.
async fn until(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < 600 * SECOND, "it never came about: {what}");
        sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}

async fn on_one_thread(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn a_backend_registers_at_one_proxy_and_the_others_route_to_it_within_a_second() {
    on_one_thread(async {
        let site = Site::default();
        let [a, b, c] = site.three().await;
        assert_eq!(a.register("x", 1).await, None);
        assert!(a.routes("x"));
        let took = until("the others route to it", || b.routes("x") && c.routes("x")).await;
        assert!(took < SECOND, "{took:?}");
        assert_eq!(site.owner("x").as_deref(), Some("a"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn heartbeats_at_any_proxy_keep_a_lease_alive_everywhere() {
    on_one_thread(async {
        let site = Site::default();
        let proxies = site.three().await;
        proxies[0].register("steady", 1).await;
        sleep(SECOND).await;
        for turn in 0..120 {
            assert!(proxies[turn % 3].beat("steady"));
            sleep(TTL / 3).await;
        }
        for proxy in &proxies {
            assert_eq!(proxy.handle.get(&id("steady")).unwrap().state, State::Routable);
            assert_eq!(proxy.gaps.get(), 0);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_wanders_is_adopted_by_whom_it_beats_at() {
    on_one_thread(async {
        let site = Site::default();
        let [a, b, c] = site.three().await;
        a.register("steady", 1).await;
        sleep(SECOND).await;
        beat_for(TTL * 2, &[(&b, "steady")]).await;
        assert_eq!(site.owner("steady").as_deref(), Some("b"));
        assert!([&a, &b, &c].iter().all(|proxy| proxy.gaps.get() == 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_backend_expires_or_deregisters_and_is_gone_from_every_proxy_within_a_second() {
    on_one_thread(async {
        let site = Site::default();
        let [a, b, c] = site.three().await;
        a.register("dead", 1).await;
        a.register("left", 1).await;
        sleep(TTL / 3).await;
        assert!(a.beat("left"));
        b.handle.deregister(&id("left"), None, None).await.unwrap();
        let took = until("it has left", || ![&a, &b, &c].iter().any(|p| p.knows("left"))).await;
        assert!(took < SECOND, "{took:?}");
        site.refuses("dead");
        sleep(TTL - TTL / 3).await;
        // Others may have heard it, and telling takes a second; then it is probed.
        let took = until("it has expired", || ![&a, &b, &c].iter().any(|p| p.knows("dead"))).await;
        assert!(took < 2 * SECOND, "{took:?}");
        assert!(site.hub.is_empty());
        assert_eq!(a.handle.stats().expiries, 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn alone_a_lease_ends_on_time() {
    on_one_thread(async {
        let site = Site::default();
        let a = site.start("a").await;
        a.register("x", 1).await;
        let took = until("it has expired", || !a.knows("x")).await;
        assert!(took >= TTL && took < TTL + SECOND / 10, "{took:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_proxy_is_killed_and_nobody_s_registration_is_lost() {
    on_one_thread(async {
        let site = Site::default();
        let [a, b, c] = site.three().await;
        a.register("steady", 1).await;
        a.register("dead", 1).await;
        sleep(SECOND).await;
        drop(a);
        site.refuses("dead");
        beat_for(TTL * 6, &[(&b, "steady")]).await;
        assert_eq!(site.owner("steady").as_deref(), Some("b"));
        assert!(b.routes("steady") && c.routes("steady") && b.gaps.get() + c.gaps.get() == 0);
        assert!(!b.knows("dead") && !c.knows("dead"), "whom nobody hears is gone");
        // It starts again, and owns what it owned.
        let a = site.start("a").await;
        assert!(a.knows("steady") && !a.knows("dead"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_store_is_away_and_every_proxy_routes_on_registers_for_itself_and_removes_only_who_refuses() {
    on_one_thread(async {
        let site = Site::default();
        let [a, b, c] = site.three().await;
        a.register("steady", 1).await;
        a.register("silent", 1).await;
        a.register("dead", 1).await;
        sleep(SECOND).await;
        site.hub.cut_all();
        site.refuses("dead");
        let told = a.register("new", 1).await.expect("it is not kept");
        assert!(told.starts_with("kept in memory only"), "{told}");
        until("that is told", || a.is_degraded()).await;
        assert!(a.routes("new"));
        beat_for(TTL * 20, &[(&a, "steady"), (&a, "new")]).await;
        for proxy in [&a, &b, &c] {
            assert!(proxy.is_degraded());
            assert!(proxy.routes("steady") && proxy.routes("silent"), "{}", proxy.name);
        }
        for proxy in [&a, &b, &c] {
            assert!(!proxy.routes("dead"), "{}'s own probe refuses", proxy.name);
        }
        assert!(!b.knows("new"));

        site.hub.heal_all();
        let took = until("what is new is everywhere", || b.routes("new") && c.routes("new")).await;
        assert!(took < 5 * SECOND, "{took:?}");
        let took = until("who answers is in doubt nowhere", || {
            let doubted = |proxy: &&Proxy| ["steady", "silent", "new"].iter().any(|name| proxy.doubts(name));
            ![&a, &b, &c].iter().any(doubted)
        })
        .await;
        assert!(took < TTL, "{took:?}");
        beat_for(TTL, &[(&a, "steady"), (&a, "new")]).await;
        for proxy in [&a, &b, &c] {
            assert!(!proxy.is_degraded() && proxy.gaps.get() == 0, "nothing flaps");
        }
        until("who refuses is gone", || {
            ![&a, &b, &c].iter().any(|p| p.knows("dead"))
        })
        .await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn changes_are_forgotten_before_they_were_told_and_everything_is_read_again() {
    on_one_thread(async {
        let site = Site::default();
        let [a, b, c] = site.three().await;
        a.register("steady", 1).await;
        a.register("left", 1).await;
        sleep(SECOND).await;
        site.hub.cut("c");
        a.handle.deregister(&id("left"), None, None).await.unwrap();
        b.register("new", 1).await;
        site.hub.compact();
        beat_for(2 * SECOND, &[(&a, "steady"), (&b, "new")]).await;
        assert!(c.knows("left") && !c.knows("new"));
        site.hub.heal("c");
        until("it knows what there is", || c.routes("new") && !c.knows("left")).await;
        assert_eq!(c.gaps.get(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn two_proxies_change_one_backend_and_the_later_life_wins_everywhere() {
    on_one_thread(async {
        let site = Site::default();
        let [a, b, c] = site.three().await;
        a.register("steady", 1).await;
        sleep(SECOND).await;
        // At once, each at another address.
        let (_, _) = tokio::join!(a.register("steady", 2), b.register("steady", 3));
        sleep(SECOND).await;
        let life = a.life("steady");
        assert_eq!((b.life("steady"), c.life("steady")), (life, life));
        let found = site.hub.owner(&id("steady")).map(|(life, _)| life);
        assert_eq!(found, Some(life));
        let ports = [&a, &b, &c].map(|p| p.handle.get(&id("steady")).unwrap().endpoint.addr.port());
        assert!(ports[0] == ports[1] && ports[1] == ports[2], "{ports:?}");
        assert!([&a, &b, &c].iter().all(|proxy| proxy.gaps.get() == 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_partition_longer_than_the_ttl_removes_nobody_who_is_heard_and_brings_nobody_back() {
    on_one_thread(async {
        let site = Site::default();
        let [a, b, c] = site.three().await;
        a.register("steady", 1).await;
        b.register("other", 1).await;
        a.register("left", 1).await;
        sleep(SECOND).await;
        site.hub.cut("a");
        // Heard on the other side of the cut only, or on this one.
        let beats = [(&a, "steady"), (&b, "other")];
        beat_for(TTL, &beats).await;
        b.handle.deregister(&id("left"), None, None).await.unwrap();
        beat_for(TTL * 10, &beats).await;
        for proxy in [&a, &b, &c] {
            assert!(proxy.routes("steady") && proxy.routes("other"), "{}", proxy.name);
        }
        assert!(a.is_degraded() && !b.is_degraded());
        site.hub.heal("a");
        until("it is one again", || !a.is_degraded() && !a.knows("left")).await;
        beat_for(TTL * 5, &beats).await;
        for proxy in [&a, &b, &c] {
            assert!(proxy.routes("steady") && proxy.routes("other") && !proxy.knows("left"));
            assert_eq!(proxy.gaps.get(), 0, "{}", proxy.name);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_proxy_starts_while_the_store_is_away_and_what_it_registers_survives_the_reunion() {
    on_one_thread(async {
        let site = Site::default();
        let a = site.start("a").await;
        a.register("steady", 1).await;
        site.hub.cut("b");
        let b = site.start("b").await;
        b.register("new", 1).await.expect("it is not kept");
        until("that is told", || b.is_degraded()).await;
        assert!(b.routes("new") && !b.knows("steady"));
        beat_for(TTL * 3, &[(&a, "steady"), (&b, "new")]).await;
        site.hub.heal("b");
        until("they are one", || a.routes("new") && b.routes("steady")).await;
        beat_for(TTL * 3, &[(&a, "steady"), (&b, "new")]).await;
        assert!(a.routes("new") && b.routes("new") && !b.is_degraded());
        assert_eq!(a.gaps.get() + b.gaps.get(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_leaves_is_not_waited_for() {
    on_one_thread(async {
        let site = Site::default();
        let [a, b, _c] = site.three().await;
        a.register("steady", 1).await;
        sleep(SECOND).await;
        a.handle.leave_store(SECOND).await;
        sleep(SECOND / 10).await;
        // Nobody has to miss it first.
        assert!(b.beat("steady"));
        let took = until("it is adopted", || site.owner("steady").as_deref() == Some("b")).await;
        assert!(took < SECOND, "{took:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn another_process_takes_a_proxy_s_place_and_is_no_stranger_of_the_same_name() {
    on_one_thread(async {
        let site = Site::default();
        let [a, b, _c] = site.three().await;
        a.register("steady", 1).await;
        sleep(SECOND).await;
        a.handle.pause();
        assert!(a.handle.flush(SECOND).await);
        a.handle.give_store().await;
        let next = site.start("a").await;
        a.handle.stop();
        a.handle.leave_store(SECOND).await;
        drop(a);
        until("it routes", || next.routes("steady")).await;
        beat_for(TTL * 5, &[(&next, "steady")]).await;
        assert_eq!(site.owner("steady").as_deref(), Some("a"), "its lease is its own");
        assert!(!next.is_degraded() && next.register("new", 1).await.is_none());
        until("b routes to what is new", || b.routes("new")).await;
        assert_eq!(b.gaps.get() + next.gaps.get(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_hand_over_that_fails_leaves_the_old_process_at_work() {
    on_one_thread(async {
        let site = Site::default();
        let [a, b, _c] = site.three().await;
        a.register("steady", 1).await;
        a.register("left", 1).await;
        sleep(SECOND).await;
        a.handle.pause();
        assert!(a.handle.flush(SECOND).await);
        a.handle.give_store().await;
        // The new one has begun, and ends at once.
        drop(site.start("a").await);
        b.handle.deregister(&id("left"), None, None).await.unwrap();
        a.handle.resume();
        until("it knows what has changed", || !a.knows("left")).await;
        beat_for(TTL * 5, &[(&a, "steady")]).await;
        assert_eq!(a.register("new", 1).await, None);
        until("b routes to what is new", || b.routes("new")).await;
        assert_eq!(a.gaps.get() + b.gaps.get(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn limits_are_shared_among_the_proxies_that_are_there() {
    on_one_thread(async {
        let site = Site::default();
        let [a, b, c] = site.three().await;
        for proxy in [&a, &b, &c] {
            proxy.handle.share_limits();
        }
        let mut asked = registration("steady", 1);
        asked.backend.limits = Limits::new(5, 10).unwrap();
        a.handle.register(asked).await.unwrap();
        sleep(SECOND).await;
        let hard = |proxies: &[&Proxy]| {
            let hard = |proxy: &&Proxy| proxy.handle.get(&id("steady")).unwrap().endpoint.limits.hard();
            proxies.iter().map(hard).collect::<Vec<_>>()
        };
        assert_eq!(hard(&[&a, &b, &c]), [4, 3, 3]);
        assert_eq!(
            members(&b.snapshot.borrow())
                .next()
                .unwrap()
                .endpoint
                .limits
                .hard(),
            3
        );
        drop(c);
        beat_for(TTL * 3, &[(&a, "steady")]).await;
        assert_eq!(hard(&[&a, &b]), [5, 5]);
        let c = site.start("c").await;
        c.handle.share_limits();
        sleep(SECOND).await;
        assert_eq!(hard(&[&a, &b, &c]), [4, 3, 3]);
    })
    .await;
}

mod ends;
