//! Region affinity with `spill = hard` on two workers: a proxy in `eu` uses up `eu`, then goes elsewhere, and
//! comes back; and no backend ever has more under way than its hard limit, by its own count.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic that says why"
)]

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
    /// 16 places in `eu`, 80 elsewhere: always room for 64 clients, never in `eu` alone.
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
        let mut api = world.edgeproxy.api();
        for (name, region, soft, hard) in [
            ("us-1", "us", 10, 20),
            ("eu-1", "eu", 4, 10),
            ("sa-1", "sa", 30, 60),
            ("eu-2", "eu", 2, 6),
        ] {
            let backend = Backend::start(name).await;
            let registration = Registration::new(name, "shop", backend.addr())
                .with("region", region)
                .with("soft_limit", soft)
                .with("hard_limit", hard);
            api.register_new(&registration).await;
            let member = Member { backend, hard };
            if region == "eu" {
                world.eu.push(member);
            } else {
                world.elsewhere.push(member);
            }
        }
        world
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
    abroad.join_all().await;
    world.no_hard_limit_was_exceeded();

    // It comes back at once, and stays as long as there is a place.
    let before = world.requests_elsewhere();
    for _ in 0..3 {
        let held = world.hold(16).await;
        assert_eq!(world.under_way(), (16, 0));
        world.release(held).await;
    }
    assert_eq!(world.requests_elsewhere(), before);

    // One place becomes free at home while others are held abroad: the next request gets it.
    let full = world.hold(20).await;
    assert_eq!(world.under_way(), (16, 4));
    world.eu[0].backend.release();
    world.eu[0].backend.holds(0).await;
    // The proxy has to have read the answers before the places are free.
    let mut api = world.edgeproxy.api();
    eventually(PATIENCE, "the places are free", async || {
        let found = api.backend(world.eu[0].backend.name()).await.json()["in_flight"].clone();
        if found == 0 {
            Ok(())
        } else {
            Err(found.to_string())
        }
    })
    .await;
    let next = world.hold(10).await;
    assert_eq!(world.under_way(), (16, 4));
    world.release(full).await;
    next.join_all().await;
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
    let mut api = world.edgeproxy.api();
    for member in world.all() {
        eventually(PATIENCE, "nothing is under way any more", async || {
            let found = api.backend(member.backend.name()).await.json()["in_flight"].clone();
            if found == 0 {
                Ok(())
            } else {
                Err(found.to_string())
            }
        })
        .await;
    }
    let before = world.requests_elsewhere();
    let held = world.hold(16).await;
    assert_eq!(world.under_way(), (16, 0));
    world.release(held).await;
    assert_eq!(world.requests_elsewhere(), before);
}

/// Every place taken: the next request is told so at once, with when to come back, and none is exceeded.
#[tokio::test]
async fn with_everyone_at_the_hard_limit_the_next_request_is_refused() {
    let edgeproxy = Edgeproxy::setup().start().await;
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
