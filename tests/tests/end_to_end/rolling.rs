//! Ten backends replaced one by one while 200 connections send requests without a rest.

use std::time::Duration;

use edgeproxy_tests::{
    Api, Backend, Behaviour, ChildBackend, Edgeproxy, Load, PATIENCE, Registration, eventually,
};
use http::Method;

const BACKENDS: usize = 10;
const CONNECTIONS: usize = 200;
/// How many of them send POSTs.
const POSTERS: usize = 20;
/// What a backend takes for a request, so that there is always something in flight on it.
const WORK: Duration = Duration::from_millis(2);

async fn gone(api: &mut Api, id: &str) {
    eventually(PATIENCE, &format!("{id} has drained"), async || {
        let reply = api.backend(id).await;
        if reply.status == 404 {
            Ok(())
        } else {
            Err(reply.text().to_owned())
        }
    })
    .await;
}

#[tokio::test]
async fn replaced_by_delete_with_drain_not_one_request_fails() {
    let edgeproxy = Edgeproxy::setup().start().await;
    let mut api = edgeproxy.api();
    let mut old = Vec::new();
    for n in 0..BACKENDS {
        let backend = Backend::start(&format!("old-{n}")).await;
        backend.behave(Behaviour::AnswerAfter(WORK));
        api.register_new(&Registration::new(backend.name(), "shop", backend.addr()))
            .await;
        old.push(backend);
    }
    let load = Load::start(edgeproxy.proxy(), Method::GET, "shop", CONNECTIONS - POSTERS);
    // These can't be repeated: that none of them fails shows that nothing had to be.
    let posts = Load::start(edgeproxy.proxy(), Method::POST, "shop", POSTERS);
    load.reaches("old-0", 20).await;
    let mut new = Vec::new();
    for (n, leaving) in old.into_iter().enumerate() {
        let joining = Backend::start(&format!("new-{n}")).await;
        joining.behave(Behaviour::AnswerAfter(WORK));
        api.register_new(&Registration::new(joining.name(), "shop", joining.addr()))
            .await;
        load.reaches(joining.name(), 20).await;

        let _ = api.delete(leaving.name(), "?drain=30s").await.expect(200);
        gone(&mut api, leaving.name()).await;
        assert_eq!(
            leaving.in_flight(),
            0,
            "{} was listed until its last request had ended",
            leaving.name()
        );
        // It stops as a process does that has been told that it may.
        leaving.kill().await;
        new.push(joining);
        for tally in [load.so_far(), posts.so_far()] {
            assert_eq!(tally.failed, 0, "after replacement {n}: {tally:?}");
        }
    }
    load.reaches("new-0", 20).await;
    for tally in [load.stop().await, posts.stop().await] {
        assert!(tally.failed == 0 && tally.ok > 0, "{tally:?}");
    }
    let (mut ids, total) = api.ids().await;
    ids.sort();
    let expected: Vec<_> = new.iter().map(|backend| backend.name().to_owned()).collect();
    assert_eq!((ids, total), (expected, 10));
}

/// The same id at a new address: the old incarnation drains by itself.
#[tokio::test]
async fn replaced_by_takeover_of_the_id_not_one_request_fails() {
    let edgeproxy = Edgeproxy::setup().start().await;
    let mut api = edgeproxy.api();
    let mut live = Vec::new();
    for n in 0..3 {
        let backend = Backend::start(&format!("first-{n}")).await;
        backend.behave(Behaviour::AnswerAfter(WORK));
        api.register_new(&Registration::new(&format!("b-{n}"), "shop", backend.addr()))
            .await;
        live.push(backend);
    }
    let load = Load::start(edgeproxy.proxy(), Method::GET, "shop", 32);
    let mut joined = Vec::new();
    for (n, leaving) in live.into_iter().enumerate() {
        let joining = Backend::start(&format!("second-{n}")).await;
        joining.behave(Behaviour::AnswerAfter(WORK));
        let reply = api
            .register(&Registration::new(&format!("b-{n}"), "shop", joining.addr()))
            .await;
        assert!(matches!(reply.status.as_u16(), 200 | 201), "{reply:?}");
        load.reaches(joining.name(), 20).await;
        leaving.holds(0).await;
        let reached = leaving.requests();
        load.reaches(joining.name(), 20).await;
        assert_eq!(
            leaving.requests(),
            reached,
            "a superseded incarnation gets no new request"
        );
        leaving.kill().await;
        let tally = load.so_far();
        assert_eq!(tally.failed, 0, "after takeover {n}: {tally:?}");
        joined.push(joining);
    }
    let tally = load.stop().await;
    assert_eq!(tally.failed, 0, "{tally:?}");
}

/// Killed by SIGKILL, unannounced: only what is in flight on the killed one may fail, and no GET, since that
/// can be repeated.
#[tokio::test]
async fn killed_by_sigkill_no_idempotent_request_fails() {
    let edgeproxy = Edgeproxy::setup().set("MAX_FAILURES", "5").start().await;
    let mut api = edgeproxy.api();
    let mut old = Vec::new();
    for n in 0..BACKENDS {
        let id = format!("old-{n}");
        let backend = ChildBackend::start(&id, 2).await;
        api.register_new(&Registration::new(&id, "shop", backend.addr()))
            .await;
        old.push(backend);
    }
    let gets = Load::start(edgeproxy.proxy(), Method::GET, "shop", CONNECTIONS - POSTERS);
    let posts = Load::start(edgeproxy.proxy(), Method::POST, "shop", POSTERS);
    gets.reaches("old-0", 20).await;
    let mut new = Vec::new();
    for (n, dying) in old.into_iter().enumerate() {
        let id = format!("new-{n}");
        let joining = ChildBackend::start(&id, 2).await;
        api.register_new(&Registration::new(&id, "shop", joining.addr()))
            .await;
        gets.reaches(&id, 20).await;

        let before = posts.so_far().failed;
        dying.kill().await;
        // Long enough for whatever was in flight to have been noticed.
        gets.reaches(&id, 20).await;
        posts.reaches(&id, 5).await;
        let (tally, failed_posts) = (gets.so_far(), posts.so_far().failed - before);
        assert_eq!(tally.failed, 0, "after kill {n}: {tally:?}");
        // A POST in flight on the killed one may fail: one for each connection that sends them at the most.
        assert!(
            failed_posts <= POSTERS as u64,
            "after kill {n}: {failed_posts} POSTs failed: {:?}",
            posts.so_far()
        );
        new.push(joining);
    }
    let posts = posts.stop().await;
    let gets = gets.stop().await;
    assert_eq!(gets.failed, 0, "{gets:?}");
    assert!(posts.ok > 0);
    for failure in &posts.failures {
        assert!(
            failure.contains("status: 502"),
            "what was in flight gets a 502 that says so: {failure}"
        );
    }
}
