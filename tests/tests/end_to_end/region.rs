//! Region affinity with `spill = hard` on two workers: a proxy in `eu` uses up `eu`, then goes elsewhere, and
//! comes back; and no backend ever has more under way than its hard limit, by its own count.

use std::time::Duration;

use edgeproxy_tests::{Backend, Behaviour, Client, Edgeproxy, Load, PATIENCE, Registration, eventually};
use http::Method;
use tokio::task::JoinSet;

const CLIENTS: usize = 64;

struct Member {
    backend: Backend,
    hard: usize,
}

struct World {
    edgeproxy: Edgeproxy,
    eu: Vec<Member>,
    elsewhere: Vec<Member>,
}

impl World {
    /// 16 places in `eu`, two by two so that someone is always at the limit; 80 elsewhere. So there is always
    /// room for 64 clients, and never in `eu` alone.
    async fn new() -> Self {
        let edgeproxy = Edgeproxy::setup()
            .set("REGION", "eu")
            .set("WORKERS", "2")
            .start()
            .await;
        let mut world = Self {
            edgeproxy,
            eu: Vec::new(),
            elsewhere: Vec::new(),
        };
        world.join("us-1", "us", 10, 20).await;
        for n in 0..8 {
            world.join(&format!("eu-{n}"), "eu", 1, 2).await;
        }
        world.join("sa-1", "sa", 30, 60).await;
        world
    }

    async fn join(&mut self, name: &str, region: &str, soft: usize, hard: usize) {
        let backend = Backend::start(name).await;
        let registration = Registration::new(name, "shop", backend.addr())
            .with("region", region)
            .with("soft_limit", soft)
            .with("hard_limit", hard);
        self.edgeproxy.api().register_new(&registration).await;
        let members = if region == "eu" {
            &mut self.eu
        } else {
            &mut self.elsewhere
        };
        members.push(Member { backend, hard });
    }

    fn all(&self) -> impl Iterator<Item = &Member> {
        self.eu.iter().chain(&self.elsewhere)
    }

    fn behave(&self, behaviour: &Behaviour) {
        for member in self.all() {
            member.backend.behave(behaviour.clone());
        }
    }

    /// Requests under way in `eu` and elsewhere.
    fn under_way(&self) -> (usize, usize) {
        let count = |members: &[Member]| members.iter().map(|member| member.backend.in_flight()).sum();
        (count(&self.eu), count(&self.elsewhere))
    }

    fn requests_elsewhere(&self) -> u64 {
        self.elsewhere
            .iter()
            .map(|member| member.backend.requests())
            .sum()
    }

    /// That many requests, held by the backends, each over a connection of its own.
    async fn hold(&self, requests: usize) -> JoinSet<()> {
        self.behave(&Behaviour::Hold);
        let mut held = JoinSet::new();
        let (eu, elsewhere) = self.under_way();
        for _ in 0..requests {
            let addr = self.edgeproxy.proxy();
            held.spawn(async move {
                let _ = Client::new(addr)
                    .get("shop", "/")
                    .await
                    .expect("an answer")
                    .expect(200);
            });
        }
        let wanted = eu + elsewhere + requests;
        eventually(
            PATIENCE,
            &format!("{wanted} requests are under way"),
            async || {
                let (eu, elsewhere) = self.under_way();
                if eu + elsewhere == wanted {
                    Ok(())
                } else {
                    Err(format!("{eu} in eu, {elsewhere} elsewhere"))
                }
            },
        )
        .await;
        held
    }

    async fn release(&self, held: JoinSet<()>) {
        for member in self.all() {
            member.backend.release();
        }
        held.join_all().await;
        self.settles().await;
    }

    /// Waits until the proxy has noticed the end of whatever has ended, and with it that places are free.
    async fn settles(&self) {
        let mut api = self.edgeproxy.api();
        for member in self.all() {
            let name = member.backend.name();
            eventually(PATIENCE, "the proxy and the backend count the same", async || {
                let counted = api.backend(name).await.expect(200).json()["in_flight"].clone();
                let found = member.backend.in_flight();
                if counted == found {
                    Ok(())
                } else {
                    Err(format!("{name}: {counted} and {found}"))
                }
            })
            .await;
        }
    }

    fn no_hard_limit_was_exceeded(&self) {
        for member in self.all() {
            let (name, most) = (member.backend.name(), member.backend.high_water());
            assert!(
                most <= member.hard,
                "{name} had {most} under way, its hard limit is {}",
                member.hard
            );
        }
    }
}

#[tokio::test]
async fn eu_until_all_of_it_is_at_the_hard_limit_then_elsewhere_and_back() {
    let world = World::new().await;

    // Up to the last place, all of it stays at home, also above the soft limits.
    let at_home = world.hold(16).await;
    assert_eq!(world.under_way(), (16, 0));
    // Every further one goes elsewhere, and nearer regions have no say: eu is full.
    let abroad = world.hold(48).await;
    assert_eq!(world.under_way(), (16, 48));
    for member in &world.eu {
        assert_eq!(
            member.backend.in_flight(),
            member.hard,
            "{}",
            member.backend.name()
        );
    }
    world.release(at_home).await;
    world.release(abroad).await;
    world.no_hard_limit_was_exceeded();

    // It comes back at once, and stays as long as there is a place.
    let before = world.requests_elsewhere();
    for _ in 0..3 {
        let held = world.hold(16).await;
        assert_eq!(world.under_way(), (16, 0));
        world.release(held).await;
    }
    assert_eq!(world.requests_elsewhere(), before);

    // Places become free at home while others are held abroad: the next requests get those.
    let full = world.hold(20).await;
    assert_eq!(world.under_way(), (16, 4));
    world.eu[0].backend.release();
    world.eu[0].backend.holds(0).await;
    world.settles().await;
    let next = world.hold(2).await;
    assert_eq!(world.under_way(), (16, 4));
    world.release(full).await;
    world.release(next).await;
    world.no_hard_limit_was_exceeded();
}

/// The same limits under 64 clients that never rest, where places come free and are taken by two workers at
/// the same time.
#[tokio::test]
async fn nobody_ever_exceeds_a_hard_limit_under_64_clients() {
    let world = World::new().await;
    world.behave(&Behaviour::AnswerAfter(Duration::from_millis(2)));
    let requests = 6_400;
    let load = Load::limited(world.edgeproxy.proxy(), Method::GET, "shop", CLIENTS, requests);
    let tally = load.done().await;
    assert_eq!((tally.ok, tally.failed), (requests, 0), "{tally:?}");
    world.no_hard_limit_was_exceeded();
    assert!(
        world.requests_elsewhere() > 0,
        "64 clients are more than eu has places for"
    );
    assert_eq!(tally.by_backend.values().sum::<u64>(), requests);
    for member in &world.eu {
        assert_eq!(
            member.backend.high_water(),
            member.hard,
            "{} was used up",
            member.backend.name()
        );
    }
    // The load is over, and not one place has leaked.
    world.settles().await;
    let before = world.requests_elsewhere();
    let held = world.hold(16).await;
    assert_eq!(world.under_way(), (16, 0));
    world.release(held).await;
    assert_eq!(world.requests_elsewhere(), before);
}

/// Every place taken: the next request is told so at once, with when to come back, and none is exceeded.
#[tokio::test]
async fn with_everyone_at_the_hard_limit_and_no_queue_the_next_request_is_refused() {
    let edgeproxy = Edgeproxy::setup().set("QUEUE_MAX", "0").start().await;
    let backend = Backend::start("b").await;
    let registration = Registration::new("b", "shop", backend.addr())
        .with("soft_limit", 1)
        .with("hard_limit", 3);
    edgeproxy.api().register_new(&registration).await;
    backend.behave(Behaviour::Hold);
    let addr = edgeproxy.proxy();
    let mut held = JoinSet::new();
    for _ in 0..3 {
        held.spawn(async move { Client::new(addr).get("shop", "/").await });
    }
    backend.holds(3).await;
    let reply = edgeproxy.client().get("shop", "/").await.expect("an answer");
    let _ = reply.problem(503);
    assert!(
        reply.header("retry-after").is_some() && reply.header("x-edgeproxy-error").is_some(),
        "{reply:?}"
    );
    backend.release();
    for reply in held.join_all().await {
        let _ = reply.expect("an answer").expect(200);
    }
    assert_eq!(backend.high_water(), 3);
}

/// One place and two workers after it all the time: only who takes it in one step, look and take, never has
/// two on it.
#[tokio::test]
async fn a_hard_limit_of_one_is_one_for_all_workers_together() {
    let setup = Edgeproxy::setup().set("WORKERS", "2").set("QUEUE_MAX", "0");
    let edgeproxy = setup.start().await;
    let mut api = edgeproxy.api();
    let mut backends = Vec::new();
    for n in 0..4 {
        let backend = Backend::start(&format!("b{n}")).await;
        let registration = Registration::new(backend.name(), "shop", backend.addr());
        api.register_new(&registration.with("soft_limit", 0).with("hard_limit", 1))
            .await;
        backend.behave(Behaviour::AnswerAfter(Duration::from_millis(1)));
        backends.push(backend);
    }
    let tally = Load::limited(edgeproxy.proxy(), Method::GET, "shop", CLIENTS, 10_000)
        .done()
        .await;
    assert!(tally.ok > 0 && tally.failed > 0, "{tally:?}");
    assert_eq!(tally.ok, backends.iter().map(Backend::requests).sum::<u64>());
    for failure in &tally.failures {
        assert!(
            failure.contains("status: 503") && failure.contains("backends_full"),
            "{failure}"
        );
    }
    for backend in &backends {
        assert_eq!(backend.high_water(), 1, "{}", backend.name());
    }
}

/// The database has loopback's networks in Uruguay.
#[tokio::test]
async fn with_a_database_of_countries_a_client_is_near_its_own() {
    let database = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../crates/geo/fixtures/countries.mmdb"
    );
    let edgeproxy = Edgeproxy::setup()
        .set("REGION", "eu")
        .set("GEOIP_PATH", database)
        .start()
        .await;
    let mut api = edgeproxy.api();
    let mut backends = Vec::new();
    for (name, region, country) in [("eu-1", "eu", "DE"), ("sa-1", "sa", "BR"), ("sa-2", "sa", "UY")] {
        let backend = Backend::start(name).await;
        let registration = Registration::new(name, "shop", backend.addr())
            .with("region", region)
            .with("country", country);
        api.register_new(&registration).await;
        backends.push(backend);
    }
    let mut client = edgeproxy.client();
    for _ in 0..4 {
        assert_eq!(
            client.get("shop", "/").await.unwrap().expect(200).text(),
            "sa-2",
            "its country"
        );
    }
    let explained = api
        .get("/api/v1/explain?app=shop&client_ip=127.0.0.1")
        .await
        .expect(200)
        .json();
    assert_eq!(explained["client"]["country"], "UY", "{explained}");
    assert_eq!(explained["client"]["region"], "sa", "{explained}");
    let _ = api.delete("sa-2", "").await.expect(200);
    assert_eq!(
        client.get("shop", "/").await.unwrap().expect(200).text(),
        "sa-1",
        "its country's region"
    );
}
