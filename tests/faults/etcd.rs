//! The etcd that proxies share, and the names by which it is found.

use std::time::{Duration, Instant};

use edgeproxy_tests::{
    Api, Client, Edgeproxy, Etcd, PATIENCE, Passing, Registration, Relay, Reply, Setup, eventually,
};

use crate::beats::Beats;
use crate::process::{keeps_all, nothing};
use crate::report::seconds;
use crate::row::{Need, Row, Runs, Told};
use crate::scene::{Scene, TTL, setup};

const RULE: &str = "distributed.md#what-is-promised";
const LIMIT: Duration = Duration::from_secs(240);
/// How much later everything comes from an etcd that is slow.
const DELAY: Duration = Duration::from_millis(400);

macro_rules! row {
    ($name:literal, $needs:expr, $fault:literal, $expects:literal, $commit:expr) => {
        Row {
            name: $name,
            fault: $fault,
            expects: $expects,
            rule: RULE,
            limit: LIMIT,
            runs: Runs::Thorough,
            needs: $needs,
            commit: || Box::pin($commit),
        }
    };
}

pub(crate) const ROWS: &[Row] = &[
    row!(
        "etcd-killed",
        &[Need::Etcd],
        "all of etcd gets SIGKILL for longer than a lease of 5 s, and is started again",
        "the proxy routes on, takes registrations for its own use, says `degraded`, removes nobody; the other proxy is told all of it afterwards",
        killed()
    ),
    row!(
        "etcd-partitioned",
        &[Need::Etcd],
        "nothing passes between the proxy and etcd, in either direction, for longer than a lease; another proxy goes on",
        "the same; what was deregistered at the other proxy meanwhile is gone",
        partitioned()
    ),
    row!(
        "etcd-compacted",
        &[Need::Etcd],
        "the same, and etcd forgets what was changed meanwhile (compaction)",
        "all is read anew: what came and went meanwhile is known, and nothing flaps",
        compacted()
    ),
    row!(
        "etcd-slow",
        &[Need::Etcd],
        "all that passes between the proxy and etcd comes 0.4 s later",
        "a registration waits for it; no request and no heartbeat does, and no lease ends",
        slow()
    ),
    row!(
        "dns-gone",
        &[Need::Etcd, Need::Mounts],
        "no name can be resolved any more, while the connections to etcd, known by its name, are cut",
        "as if etcd were away; when names are back, so is etcd. Backends are addresses: no request is concerned",
        dns_gone()
    ),
];

/// Two proxies of one etcd: the first one is the scene's, by way of a relay.
struct Shared {
    etcd: Etcd,
    relay: Relay,
    other: Edgeproxy,
    beats: Beats,
}

fn named(name: &str, store: &str) -> Setup {
    setup().set("PROXY_NAME", name).set("STORE", store)
}

/// `host` is what the first proxy calls the machine.
async fn shared(host: &str, prepare: impl FnOnce(Setup) -> Setup) -> (Scene, Shared) {
    let etcd = Etcd::start(1);
    let relay = Relay::before(etcd.port(0)).await;
    let store = format!("etcd://{host}:{}/test", relay.port());
    let (scene, beats) = Scene::of_leases(prepare(named("a", &store))).await;
    // When etcd is back, what watches it and what asks it may have found it by a connection each. There are no more of them.
    let scene = scene.opens(1);
    let other = named("b", &etcd.address())
        .set("HEARTBEAT_TTL_SECS", &TTL.as_secs().to_string())
        .start()
        .await;
    let shared = Shared {
        etcd,
        relay,
        other,
        beats,
    };
    until_known(&mut shared.other.api(), "shop-0", true).await;
    (scene, shared)
}

async fn until_known(api: &mut Api, id: &str, is_known: bool) {
    eventually(
        3 * PATIENCE,
        &format!("{id} is known: {is_known}"),
        async || match api.backend(id).await.status.as_u16() {
            200 if is_known => Ok(()),
            404 if !is_known => Ok(()),
            status => Err(status.to_string()),
        },
    )
    .await;
}

async fn until_degraded(scene: &Scene, is_degraded: bool) {
    let mut api = scene.api();
    eventually(
        3 * PATIENCE,
        &format!("it is degraded: {is_degraded}"),
        async || {
            let health = api.get("/health").await.expect(200).json();
            assert_eq!(health["status"], "ok", "it is well all the while: {health}");
            if health["store"]["degraded"].is_null() != is_degraded {
                Ok(())
            } else {
                Err(health.to_string())
            }
        },
    )
    .await;
}

/// In an app of its own, for an hour.
async fn registers(proxy: &mut Api, scene: &Scene, id: &str) -> Reply {
    let registration = Registration::new(id, "third", scene.shop[0].addr()).with("ttl_secs", 3_600);
    proxy.register(&registration).await.expect(201)
}

/// Waits until clients have been answered for so long.
async fn flows_for(scene: &Scene, lasts: Duration) {
    let began = Instant::now();
    while began.elapsed() < lasts {
        scene.flows().await;
    }
}

/// Nothing was lost and nobody was removed; what was registered during the fault is told to the other proxy.
async fn is_one_again(scene: &mut Scene, shared: &Shared) {
    let over = scene.is_over();
    until_degraded(scene, false).await;
    until_known(&mut shared.other.api(), "third", true).await;
    scene.flows().await;
    scene.has_recovered(over);
    let _ = scene.api().delete("third", "").await.expect(200);
    until_known(&mut shared.other.api(), "third", false).await;
    keeps_all(scene, &shared.beats, 2 * TTL).await;
}

/// What happens while it is away, whyever.
async fn meanwhile(scene: &Scene) {
    until_degraded(scene, true).await;
    let registered = registers(&mut scene.api(), scene, "third").await.json();
    let told = registered["warnings"][0].as_str().unwrap_or_default();
    assert!(told.starts_with("kept in memory only"), "{registered}");
    flows_for(scene, TTL + Duration::from_secs(3)).await;
}

async fn killed() -> Told {
    let (scene, mut shared) = shared("127.0.0.1", |setup| setup).await;
    scene
        .once(async |scene| {
            scene.begins(nothing);
            shared.etcd.kill(0);
            shared.relay.cut();
            meanwhile(scene).await;
            shared.etcd.start_again(0);
            is_one_again(scene, &shared).await;
        })
        .await
}

async fn partitioned() -> Told {
    let (scene, shared) = shared("127.0.0.1", |setup| setup).await;
    scene
        .once(async |scene| {
            let mut other = shared.other.api();
            let _ = registers(&mut other, scene, "leaves").await;
            until_known(&mut scene.api(), "leaves", true).await;
            scene.begins(nothing);
            shared.relay.set(Passing::Neither);
            let _ = other.delete("leaves", "").await.expect(200);
            meanwhile(scene).await;
            shared.relay.set(Passing::Both);
            is_one_again(scene, &shared).await;
            until_known(&mut scene.api(), "leaves", false).await;
        })
        .await
}

/// What has happened to backends, as the scene's proxy tells it: the events after that one, and the id to go on from.
async fn events(scene: &Scene, after: Option<&str>) -> serde_json::Value {
    let addr = scene.api_aim.get();
    let path = match after {
        Some(id) => format!("/api/v1/events?limit=4096&last_event_id={id}"),
        None => "/api/v1/events?limit=1".to_owned(),
    };
    let request = http::Request::get(path)
        .header("host", addr.to_string())
        .header("accept", "application/json")
        .body(bytes::Bytes::new().into())
        .expect("it is well formed");
    let reply = Client::new(addr).send(request).await.expect("an answer");
    reply.expect(200).json()
}

/// Since `before` nothing has happened to those that were there all the while, and nothing twice to anybody.
async fn nothing_flapped(scene: &Scene, before: &serde_json::Value) {
    let last = before["last_event_id"].as_str().expect("a page has it");
    let page = events(scene, Some(last)).await;
    assert_eq!(page["reset"], false, "all are known: {page}");
    let mut seen = std::collections::BTreeSet::new();
    for event in page["events"].as_array().expect("a page has events") {
        let id = event["backend"].as_str().expect("it is about a backend");
        let stays = scene
            .shop
            .iter()
            .chain(&scene.other)
            .any(|villain| villain.name() == id);
        assert!(!stays, "it was there all the while: {event}");
        assert!(
            seen.insert((id, event["type"].as_str())),
            "for the second time: {event}"
        );
    }
    for happened in [
        ("leaves", "removed"),
        ("comes", "registered"),
        ("comes", "removed"),
    ] {
        assert!(
            seen.contains(&(happened.0, Some(happened.1))),
            "{happened:?} is missing: {seen:?}"
        );
    }
}

async fn compacted() -> Told {
    let (scene, shared) = shared("127.0.0.1", |setup| setup).await;
    scene
        .once(async |scene| {
            let mut other = shared.other.api();
            let _ = registers(&mut other, scene, "leaves").await;
            until_known(&mut scene.api(), "leaves", true).await;
            let before = events(scene, None).await;
            scene.begins(nothing);
            shared.relay.set(Passing::Neither);
            until_degraded(scene, true).await;
            let _ = other.delete("leaves", "").await.expect(200);
            for number in 0..10 {
                let _ = registers(&mut other, scene, &format!("brief-{number}")).await;
                let _ = other.delete(&format!("brief-{number}"), "").await.expect(200);
            }
            let _ = registers(&mut other, scene, "comes").await;
            shared.etcd.compact();
            meanwhile(scene).await;
            shared.relay.set(Passing::Both);
            shared.relay.cut();
            is_one_again(scene, &shared).await;
            let mut api = scene.api();
            until_known(&mut api, "leaves", false).await;
            until_known(&mut api, "comes", true).await;
            let _ = other.delete("comes", "").await.expect(200);
            until_known(&mut api, "comes", false).await;
            nothing_flapped(scene, &before).await;
        })
        .await
}

async fn slow() -> Told {
    let (scene, shared) = shared("127.0.0.1", |setup| setup).await;
    scene
        .once(async |scene| {
            scene.begins(nothing);
            shared.relay.set(Passing::Late(DELAY));
            let began = Instant::now();
            let registered = registers(&mut scene.api(), scene, "third").await;
            let took = began.elapsed();
            assert!(
                registered.json()["warnings"].is_null(),
                "it is in etcd: {registered:?}"
            );
            assert!(took >= DELAY, "it waited for etcd: {took:?}");
            let mut api = scene.api();
            let mut slowest = Duration::ZERO;
            let began = Instant::now();
            while began.elapsed() < 2 * TTL {
                let asked = Instant::now();
                let _ = api.heartbeat("shop-0").await.expect(200);
                slowest = slowest.max(asked.elapsed());
                scene.flows().await;
            }
            assert!(slowest < DELAY, "heartbeats don't wait: {slowest:?}");
            scene.note(format!(
                "a registration took {}, the slowest heartbeat {}",
                seconds(took),
                seconds(slowest)
            ));
            shared.relay.set(Passing::Both);
            is_one_again(scene, &shared).await;
        })
        .await
}

/// What the proxy knows of names: nothing but its own `/etc/hosts`, since nobody answers for DNS.
const NAMES: &str = "mount --bind hosts /etc/hosts; mount --bind resolv.conf /etc/resolv.conf";
const HOSTS: &str = "127.0.0.1 etcd.test\n";

async fn dns_gone() -> Told {
    let prepare = |setup: Setup| {
        setup
            .file("hosts", HOSTS)
            .file(
                "resolv.conf",
                "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
            )
            .prepared(NAMES)
    };
    let (scene, shared) = shared("etcd.test", prepare).await;
    scene
        .once(async |scene| {
            scene.begins(nothing);
            let hosts = scene.proxy().folder().join("hosts");
            // In place: it is this very file that is mounted.
            std::fs::write(&hosts, "").expect("it can be written");
            shared.relay.cut();
            meanwhile(scene).await;
            std::fs::write(&hosts, HOSTS).expect("it can be written");
            is_one_again(scene, &shared).await;
        })
        .await
}
