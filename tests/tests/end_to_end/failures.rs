//! Failure counting: the documentation's two targets with `MaxFailures` 5, and its anti-pattern, one target,
//! where nothing may ever get stuck.

use std::time::{Duration, Instant};

use edgeproxy_tests::{
    Api, Backend, Behaviour, Client, Edgeproxy, PATIENCE, PROBE_PATH, Registration, Setup, eventually,
};

fn five_failures() -> Setup {
    Edgeproxy::setup()
        .set("ALGORITHM", "round_robin")
        .set("MAX_FAILURES", "5")
}

async fn two_targets(api: &mut Api) -> (Backend, Backend) {
    let target1 = Backend::start("target1").await;
    let target2 = Backend::start("target2").await;
    api.register_new(&Registration::new("target1", "shop", target1.addr()))
        .await;
    api.register_new(&Registration::new("target2", "shop", target2.addr()))
        .await;
    (target1, target2)
}

/// One request after the other; each has to be answered by a backend.
async fn answered(client: &mut Client, requests: usize) {
    for request in 0..requests {
        match client.get("shop", "/").await {
            Ok(reply) if reply.status == 200 => {}
            other => panic!("request {request} is no success: {other:?}"),
        }
    }
}

async fn becomes(api: &mut Api, id: &str, wanted: &str) {
    eventually(PATIENCE, &format!("{id} becomes {wanted}"), async || {
        let found = api.state(id).await;
        if found == wanted { Ok(()) } else { Err(found) }
    })
    .await;
}

/// Exactly five attempts reach the broken one, however it is broken; no client sees an error; then all goes
/// to the other.
async fn five_attempts_and_no_more(broken: Behaviour) {
    let what = format!("{broken:?}");
    let edgeproxy = five_failures().start().await;
    let mut api = edgeproxy.api();
    let (target1, target2) = two_targets(&mut api).await;
    target1.behave(broken);
    let mut client = edgeproxy.client();
    answered(&mut client, 40).await;
    assert_eq!(target1.connections(), 5, "{what}: attempts on target1");
    assert_eq!(
        target2.requests(),
        40,
        "{what}: every request was answered by target2, once"
    );
    becomes(&mut api, "target1", "ejected").await;
    let listed = api.backend("target1").await.expect(200).json();
    assert_eq!(listed["healthy"], false, "{listed}");
    assert!(
        listed["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains('5')),
        "{listed}"
    );
    assert_eq!(api.state("target2").await, "routable");
    // The registry's word is not needed for it, and changes nothing.
    let mut others: Vec<_> = (0..8).map(|_| edgeproxy.client()).collect();
    for client in &mut others {
        answered(client, 10).await;
    }
    assert_eq!((target1.connections(), target2.requests()), (5, 120), "{what}");
}

#[tokio::test]
async fn two_targets_one_closing_every_connection_unanswered() {
    five_attempts_and_no_more(Behaviour::CloseUnanswered).await;
}

#[tokio::test]
async fn two_targets_one_closing_every_connection_at_once() {
    five_attempts_and_no_more(Behaviour::CloseOnAccept).await;
}

#[tokio::test]
async fn two_targets_one_resetting_every_connection() {
    five_attempts_and_no_more(Behaviour::Reset).await;
}

#[tokio::test]
async fn two_targets_one_talking_garbage() {
    five_attempts_and_no_more(Behaviour::Garbage).await;
}

/// Consecutive failures count, not failures: a success in between begins anew.
#[tokio::test]
async fn a_success_resets_the_count() {
    let edgeproxy = five_failures().start().await;
    let mut api = edgeproxy.api();
    let (target1, _target2) = two_targets(&mut api).await;
    let mut client = edgeproxy.client();
    for round in 0..3 {
        target1.behave(Behaviour::CloseUnanswered);
        let before = target1.requests();
        while target1.requests() < before + 4 {
            answered(&mut client, 1).await;
        }
        target1.behave(Behaviour::Answer);
        let before = target1.requests();
        answered(&mut client, 4).await;
        assert_eq!(target1.requests(), before + 2, "round {round}: still in turn");
    }
    assert_eq!(api.state("target1").await, "routable");
    // A status is an answer, whatever it says.
    target1.behave(Behaviour::respond(|_| {
        http::Response::builder()
            .status(500)
            .body(Default::default())
            .expect("a legal response")
    }));
    let before = target1.requests();
    for _ in 0..20 {
        let _ = client.get("shop", "/").await.expect("an answer");
    }
    assert_eq!(
        (target1.requests() - before, api.state("target1").await.as_str()),
        (10, "routable")
    );
}

/// With a health monitor of one second it returns within two intervals of its recovery, with no restart.
#[tokio::test]
async fn with_a_health_monitor_it_returns_within_two_intervals_of_its_recovery() {
    let interval = Duration::from_secs(1);
    let edgeproxy = five_failures()
        .set("HEALTH_MONITOR", &format!("http:{PROBE_PATH}"))
        .set("HEALTH_INTERVAL_SECS", "1")
        .start()
        .await;
    let mut api = edgeproxy.api();
    let (target1, target2) = two_targets(&mut api).await;
    target1.behave(Behaviour::CloseUnanswered);
    let mut client = edgeproxy.client();
    answered(&mut client, 40).await;
    assert_eq!((target1.requests(), target2.requests()), (5, 40));

    // Broken for long enough that its probes have failed as well, more than once.
    let seen = target1.probes();
    eventually(PATIENCE, "probes go on while it is out", async || {
        answered(&mut client, 1).await;
        let found = target1.probes();
        if found >= seen + 3 {
            Ok(())
        } else {
            Err(found.to_string())
        }
    })
    .await;
    assert_eq!(target1.requests(), 5, "no request while it is out");

    target1.behave(Behaviour::Answer);
    let recovered = Instant::now();
    eventually(2 * interval, "target1 is back", async || {
        answered(&mut client, 1).await;
        let found = target1.requests();
        if found > 5 { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
    let back = target1.last_seen().at - recovered;
    assert!(back <= 2 * interval, "back after {back:?}");
    becomes(&mut api, "target1", "routable").await;
    let before = (target1.requests(), target2.requests());
    answered(&mut client, 20).await;
    assert_eq!(
        (target1.requests() - before.0, target2.requests() - before.1),
        (10, 10),
        "in full turn again"
    );
}

/// The anti-pattern: one target, five failures allowed, no monitor. Its users see its own errors, and the
/// very request after its recovery is answered.
#[tokio::test]
async fn one_target_is_never_stuck() {
    let edgeproxy = five_failures().start().await;
    let target1 = Backend::start("target1").await;
    edgeproxy
        .api()
        .register_new(&Registration::new("target1", "shop", target1.addr()))
        .await;
    let mut client = edgeproxy.client();
    for round in 0..3 {
        target1.behave(Behaviour::CloseUnanswered);
        for request in 0..20 {
            let reply = client.get("shop", "/").await.expect("an answer");
            assert_eq!(reply.status, 502, "round {round}, request {request}: {reply:?}");
        }
        target1.refuse().await;
        for request in 0..20 {
            let reply = client.get("shop", "/").await.expect("an answer");
            assert_eq!(
                reply.status, 502,
                "round {round}, refused request {request}: {reply:?}"
            );
            assert_eq!(
                reply.header("x-edgeproxy-error"),
                Some("connect_failed"),
                "{reply:?}"
            );
        }
        target1.behave(Behaviour::Answer);
        target1.listen();
        answered(&mut client, 5).await;
    }
    assert_eq!(edgeproxy.api().state("target1").await, "routable");
}

/// Two targets, and both break: the last one stays, and both come back.
#[tokio::test]
async fn the_last_of_two_is_kept() {
    let edgeproxy = five_failures().start().await;
    let mut api = edgeproxy.api();
    let (target1, target2) = two_targets(&mut api).await;
    target1.behave(Behaviour::CloseUnanswered);
    target2.behave(Behaviour::CloseUnanswered);
    let mut client = edgeproxy.client();
    for request in 0..40 {
        let reply = client.get("shop", "/").await.expect("an answer");
        assert_eq!(reply.status, 502, "request {request}: {reply:?}");
    }
    eventually(PATIENCE, "one is out and the last one is kept", async || {
        let states = [api.state("target1").await, api.state("target2").await];
        let out = states.iter().filter(|state| *state == "ejected").count();
        let kept = states.iter().filter(|state| *state == "routable").count();
        if (out, kept) == (1, 1) {
            Ok(())
        } else {
            Err(format!("{states:?}"))
        }
    })
    .await;
    target1.behave(Behaviour::Answer);
    target2.behave(Behaviour::Answer);
    answered(&mut client, 10).await;
}

/// Apigee's literal rule, for those who want it: five attempts, then 503 until the monitor sees it again.
#[tokio::test]
async fn with_eject_the_last_one_goes_and_the_monitor_brings_it_back() {
    let edgeproxy = five_failures()
        .set("LAST_BACKEND", "eject")
        .set("HEALTH_MONITOR", &format!("http:{PROBE_PATH}"))
        .set("HEALTH_INTERVAL_SECS", "1")
        .start()
        .await;
    let target1 = Backend::start("target1").await;
    edgeproxy
        .api()
        .register_new(&Registration::new("target1", "shop", target1.addr()))
        .await;
    target1.behave(Behaviour::CloseUnanswered);
    let mut client = edgeproxy.client();
    let mut statuses = Vec::new();
    for _ in 0..30 {
        statuses.push(client.get("shop", "/").await.expect("an answer").status.as_u16());
    }
    assert_eq!(target1.requests(), 5, "{statuses:?}");
    let first_503 = statuses
        .iter()
        .position(|status| *status == 503)
        .expect("it goes");
    assert!(
        first_503 <= 5 && statuses[..first_503].iter().all(|status| *status == 502),
        "{statuses:?}"
    );
    assert!(
        statuses[first_503..].iter().all(|status| *status == 503),
        "{statuses:?}"
    );
    let reply = client.get("shop", "/").await.expect("an answer");
    let problem = reply.problem(503);
    assert_eq!(reply.header("x-edgeproxy-error"), Some("no_backend"), "{reply:?}");
    assert!(reply.header("retry-after").is_some(), "{reply:?}");
    assert!(
        problem["error"]
            .as_str()
            .is_some_and(|error| error.contains("1 ejected") || error.contains("1 unhealthy")),
        "{problem}"
    );
    target1.behave(Behaviour::Answer);
    eventually(Duration::from_secs(2), "it is back", async || {
        let reply = client.get("shop", "/").await.expect("an answer");
        if reply.status == 200 {
            Ok(())
        } else {
            Err(format!("{reply:?}"))
        }
    })
    .await;
}

/// What was sent and may have been acted upon is not sent twice; what never left is sent elsewhere.
#[tokio::test]
async fn a_post_is_repeated_only_if_no_byte_of_it_was_sent() {
    let edgeproxy = Edgeproxy::setup().set("ALGORITHM", "round_robin").start().await;
    let mut api = edgeproxy.api();
    let (target1, target2) = two_targets(&mut api).await;
    let mut client = edgeproxy.client();
    target1.behave(Behaviour::CloseUnanswered);
    let mut statuses = Vec::new();
    for n in 0..10 {
        let reply = client
            .post("shop", "/order", format!("order {n}"))
            .await
            .expect("an answer");
        statuses.push(reply.status.as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(
        statuses,
        [200, 200, 200, 200, 200, 502, 502, 502, 502, 502],
        "half of the turns are target1's"
    );
    assert_eq!(
        (target1.requests(), target2.requests()),
        (5, 5),
        "nothing was sent twice"
    );
    target1.refuse().await;
    for n in 0..10 {
        let reply = client
            .post("shop", "/order", format!("order {n}"))
            .await
            .expect("an answer");
        assert_eq!(
            (reply.status.as_u16(), reply.text()),
            (200, "target2"),
            "{reply:?}"
        );
    }
    assert_eq!((target1.requests(), target2.requests()), (5, 15));
}
