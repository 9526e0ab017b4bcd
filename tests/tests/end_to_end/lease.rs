//! A lease of five seconds, the shortest there is: what its end promises, and what a pause does to it.

use std::time::{Duration, Instant};

use edgeproxy_tests::{Backend, Behaviour, Edgeproxy, Load, Registration, Wire, eventually};
use http::Method;
use rustix::process::Signal;
use tokio::time::sleep_until;

const TTL: Duration = Duration::from_secs(5);
/// It leaves rotation within 100 ms of the deadline.
const PROMPT: Duration = Duration::from_millis(100);

#[tokio::test]
async fn the_last_request_comes_before_five_seconds_and_a_tenth_after_the_last_heartbeat() {
    let edgeproxy = Edgeproxy::setup().set("ALGORITHM", "round_robin").start().await;
    let mut api = edgeproxy.api();
    let lasting = Backend::start("lasting").await;
    let silent = Backend::start("silent").await;
    let beating = Backend::start("beating").await;
    let held = Backend::start("held").await;

    // An app of two, of which one stays silent, under a steady stream of requests.
    api.register_new(&Registration::new("lasting", "shop", lasting.addr()))
        .await;
    api.register_new(&Registration::new("silent", "shop", silent.addr()).with("ttl_secs", 5))
        .await;
    let load = Load::start(edgeproxy.proxy(), Method::GET, "shop", 2);
    load.reaches("silent", 10).await;

    // Apps of one: one that sends a heartbeat in the middle, one with a request under way at its end.
    api.register_new(&Registration::new("beating", "beating", beating.addr()).with("ttl_secs", 5))
        .await;
    held.behave(Behaviour::Hold);
    api.register_new(&Registration::new("held", "held", held.addr()).with("ttl_secs", 5))
        .await;
    let mut under_way = Wire::connect(edgeproxy.proxy()).await;
    under_way.send(b"GET / HTTP/1.1\r\nhost: held\r\n\r\n").await;
    held.holds(1).await;

    let earliest = Instant::now();
    let _ = api.heartbeat("silent").await.expect(200);
    let latest = Instant::now();
    sleep_until((earliest + TTL / 2).into()).await;
    let _ = api.heartbeat("beating").await.expect(200);
    let beaten = Instant::now();

    // It is not cut short either: half a second before its end it still takes its turn.
    sleep_until((earliest + TTL - Duration::from_millis(500)).into()).await;
    let before = silent.requests();
    let listed = api.backend("silent").await.status;
    load.reaches("lasting", 6).await;
    let asked_in_time = Instant::now() < earliest + TTL;
    assert!(
        !asked_in_time || (listed == 200 && silent.requests() > before),
        "the lease was cut short: {listed}, {before} requests before and {} after",
        silent.requests()
    );

    sleep_until((latest + TTL + PROMPT).into()).await;
    assert_eq!(
        api.backend("silent").await.status,
        404,
        "gone from the listing in time"
    );
    let (ids, total) = api.ids().await;
    assert_eq!(
        (ids, total),
        (vec!["lasting".to_owned(), "beating".to_owned()], 2)
    );
    assert_eq!(
        api.heartbeat("silent").await.status,
        404,
        "a late heartbeat is told to register again"
    );

    let last = silent.last_seen().at;
    assert!(
        last < latest + TTL + PROMPT,
        "the last request came {:?} after the heartbeat",
        last - latest
    );
    let after = silent.requests();
    load.reaches("lasting", 50).await;
    assert_eq!(silent.requests(), after, "an expired backend gets none");
    let tally = load.stop().await;
    assert_eq!(tally.failed, 0, "{tally:?}");

    // What was under way when its backend expired is not cut.
    assert_eq!(api.backend("held").await.status, 404);
    held.release();
    assert_eq!(under_way.reply().await.expect("an answer").text(), "held");

    // And the one that sent a heartbeat is there for as long as that lasts.
    let reply = edgeproxy
        .client()
        .get("beating", "/")
        .await
        .expect("an answer")
        .expect(200);
    assert_eq!(reply.text(), "beating");
    sleep_until((beaten + TTL + PROMPT).into()).await;
    assert_eq!(api.backend("beating").await.status, 404);
    // Only one app is left, and that gets everything.
    let reply = edgeproxy
        .client()
        .get("beating", "/")
        .await
        .expect("an answer")
        .expect(200);
    assert_eq!(reply.text(), "lasting");
}

#[tokio::test]
async fn a_pause_of_the_process_extends_every_lease() {
    const PAUSE: Duration = Duration::from_secs(7);
    let edgeproxy = Edgeproxy::setup().start().await;
    let mut api = edgeproxy.api();
    let backend = Backend::start("b").await;
    let mut client = edgeproxy.client();
    let _ = client.get("shop", "/").await.expect("an answer").expect(404);
    let registered = Instant::now();
    api.register_new(&Registration::new("b", "shop", backend.addr()).with("ttl_secs", 5))
        .await;

    edgeproxy.signal(Signal::STOP);
    let stopped = Instant::now();
    // Waiting in the socket while the process sleeps, so that it is the first thing seen on waking, before
    // any timer can have told that time has passed.
    let mut asked = Wire::connect(edgeproxy.api_addr()).await;
    asked
        .send(b"GET /api/v1/backends/b HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    let mut routed = Wire::connect(edgeproxy.proxy()).await;
    routed.send(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n").await;
    sleep_until((stopped + PAUSE).into()).await;
    edgeproxy.signal(Signal::CONT);
    let woken = Instant::now();

    assert_eq!(
        asked.reply().await.expect("an answer").status,
        200,
        "still listed on waking"
    );
    assert_eq!(
        routed.reply().await.expect("an answer").status,
        200,
        "still routed to on waking"
    );
    let used = stopped - registered;
    let left = TTL - used;
    // One second of grace: how long the process had been idle when it was stopped is not known to anyone.
    sleep_until((woken + left - Duration::from_secs(1)).into()).await;
    let _ = client.get("shop", "/").await.expect("an answer").expect(200);
    // And the lease is extended, not given away.
    let grace = Duration::from_secs(2);
    let limit = (woken + left + grace + PROMPT) - Instant::now();
    eventually(limit, "the lease ends, by what was left of it", async || {
        let reply = client.get("shop", "/").await.expect("an answer");
        if reply.status == 404 {
            Ok(())
        } else {
            Err(format!("{reply:?}"))
        }
    })
    .await;
    assert_eq!(edgeproxy.api().heartbeat("b").await.status, 404);
}

/// The mass-expiry guard's other side: what was registered once by hand, and never renewed, expires on time
/// however many it is.
#[tokio::test]
async fn backends_that_were_registered_once_expire_together_on_time() {
    let edgeproxy = Edgeproxy::setup().start().await;
    let mut api = edgeproxy.api();
    let backend = Backend::start("b").await;
    for n in 0..5 {
        api.register_new(&Registration::new(&format!("b-{n}"), "shop", backend.addr()).with("ttl_secs", 5))
            .await;
    }
    let registered = Instant::now();
    sleep_until((registered + TTL + PROMPT).into()).await;
    assert_eq!(api.ids().await, (Vec::new(), 0));
}
