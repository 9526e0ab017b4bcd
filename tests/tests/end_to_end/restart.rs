//! What `kill -9` and a start after it promise: nothing that was acknowledged is lost, and nothing comes back that is gone.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use edgeproxy_tests::{Backend, ChildBackend, Edgeproxy, PATIENCE, Registration, Setup, eventually};
use fastrand::Rng;
use http::Request;
use http_body_util::Full;
use rustix::process::Signal;
use serde_json::json;

fn setup() -> Setup {
    Edgeproxy::setup().set("DATA_DIR", "state")
}

#[tokio::test]
async fn a_registration_an_operator_s_change_and_a_delete_survive_kill_9() {
    let edgeproxy = setup().start().await;
    let mut api = edgeproxy.api();
    let (stays, goes) = (Backend::start("stays").await, Backend::start("goes").await);
    let registered = api
        .register_new(&Registration::new("stays", "shop", stays.addr()))
        .await;
    api.register_new(&Registration::new("goes", "shop", goes.addr()))
        .await;
    let _ = api
        .patch("stays", &json!({"hard_limit": 7, "soft_limit": 5}))
        .await
        .expect(200);
    let _ = api.delete("goes", "").await.expect(200);

    let edgeproxy = edgeproxy.killed().await.start().await;
    // From the first request on, before anybody has sent a heartbeat.
    let reply = edgeproxy
        .client()
        .get("shop", "/")
        .await
        .expect("an answer")
        .expect(200);
    assert_eq!(reply.text(), "stays");
    let mut api = edgeproxy.api();
    assert_eq!(api.ids().await, (vec!["stays".to_owned()], 1));
    let listed = api.backend("stays").await.expect(200).json();
    assert_eq!(listed["incarnation"], registered["incarnation"]);
    assert_eq!(listed["overrides"], json!({"soft_limit": 5, "hard_limit": 7}));
    assert_eq!(listed["hard_limit"], 7);
    let _ = api.heartbeat("stays").await.expect(200);

    // What was cleared with null stays cleared.
    let _ = api
        .patch("stays", &json!({"hard_limit": null, "soft_limit": null}))
        .await
        .expect(200);
    let edgeproxy = edgeproxy.killed().await.start().await;
    let listed = edgeproxy.api().backend("stays").await.expect(200).json();
    assert!(listed["overrides"].is_null(), "{listed}");
}

#[tokio::test]
async fn a_restored_backend_whose_server_is_dead_leaves_within_a_probe_and_its_heartbeat_brings_it_back() {
    let edgeproxy = setup().start().await;
    let mut api = edgeproxy.api();
    let lives = Backend::start("lives").await;
    let dies = ChildBackend::start("dies", 0).await;
    api.register_new(&Registration::new("lives", "shop", lives.addr()))
        .await;
    api.register_new(&Registration::new("dies", "shop", dies.addr()))
        .await;
    let starting = edgeproxy.killed().await;
    dies.kill().await;

    let edgeproxy = starting.start().await;
    let mut api = edgeproxy.api();
    eventually(PATIENCE, "the dead one is out", async || {
        let state = api.state("dies").await;
        if state == "unhealthy" { Ok(()) } else { Err(state) }
    })
    .await;
    let listed = api.backend("dies").await.expect(200).json();
    let reason = listed["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("restored after a restart"), "{listed}");
    let mut client = edgeproxy.client();
    for _ in 0..4 {
        let reply = client.get("shop", "/").await.expect("an answer").expect(200);
        assert_eq!(reply.text(), "lives");
    }
    // The other one was reached, and nothing is doubted about it any more.
    eventually(PATIENCE, "the living one was reached", async || {
        let listed = api.backend("lives").await.expect(200).json();
        if listed["reason"] == "takes traffic" {
            Ok(())
        } else {
            Err(listed.to_string())
        }
    })
    .await;
    let _ = api.heartbeat("dies").await.expect(200);
    assert_eq!(api.state("dies").await, "routable");
}

#[tokio::test]
async fn a_stopped_process_s_late_delete_is_refused_across_restarts() {
    let edgeproxy = setup().start().await;
    let backend = Backend::start("b").await;
    let before = edgeproxy
        .api()
        .register_new(&Registration::new("b", "shop", backend.addr()))
        .await;
    let edgeproxy = edgeproxy.killed().await.start().await;
    let successor = Backend::start("successor").await;
    let after = edgeproxy
        .api()
        .register_new(&Registration::new("b", "shop", successor.addr()))
        .await;
    assert!(after["incarnation"].as_u64() > before["incarnation"].as_u64());
    let edgeproxy = edgeproxy.killed().await.start().await;
    let mut api = edgeproxy.api();
    let late = format!("\"{}\"", before["incarnation"]);
    let request = request(&edgeproxy, "DELETE", "/api/v1/backends/b")
        .header("if-match", late)
        .body(Full::default())
        .expect("a request");
    let refused = api.send(request).await.expect("an answer");
    assert_eq!(refused.status, 412, "{}", refused.text());
    assert_eq!(api.backend("b").await.status, 200);
}

#[tokio::test]
async fn what_was_registered_last_is_kept_when_it_is_stopped_in_order() {
    let mut edgeproxy = setup().start().await;
    let backend = Backend::start("b").await;
    edgeproxy
        .api()
        .register_new(&Registration::new("b", "shop", backend.addr()))
        .await;
    edgeproxy.signal(Signal::TERM);
    assert!(edgeproxy.ended(PATIENCE).await.success());
    let edgeproxy = edgeproxy.again().start().await;
    assert_eq!(edgeproxy.api().backend("b").await.status, 200);
}

#[tokio::test]
async fn a_folder_that_another_process_has_is_refused_with_what_to_do() {
    let edgeproxy = setup().start().await;
    let refused = edgeproxy.again().refused().await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("data_dir"), "{}", refused.stderr);
}

#[tokio::test]
async fn with_memory_a_restart_forgets_all() {
    let edgeproxy = setup().set("STORE", "memory").start().await;
    let backend = Backend::start("b").await;
    edgeproxy
        .api()
        .register_new(&Registration::new("b", "shop", backend.addr()))
        .await;
    let edgeproxy = edgeproxy.killed().await.start().await;
    assert_eq!(edgeproxy.api().ids().await, (Vec::new(), 0));
}

/// Killed at a dozen moments, or at as many as `EDGEPROXY_TEST_KILLS` says; `EDGEPROXY_TEST_SEED` replays them.
#[tokio::test]
async fn killed_at_random_moments_it_loses_nothing_that_was_acknowledged() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let kills = number("EDGEPROXY_TEST_KILLS").unwrap_or(12);
    let seed = number("EDGEPROXY_TEST_SEED").unwrap_or_else(|| fastrand::u64(..));
    let mut rng = Rng::with_seed(seed);
    let backend = Backend::start("b").await;
    let mut known = BTreeMap::<String, Known>::new();
    let mut starting = setup().set("WORKERS", "1");
    for kill in 0..kills {
        let edgeproxy = starting.start().await;
        let mut api = edgeproxy.api();
        let (ids, _) = api.ids().await;
        for (id, known) in &mut known {
            let is_there = ids.contains(id);
            let agrees = match known {
                Known::There => is_there,
                Known::Gone => !is_there,
                Known::Asked => true,
            };
            assert!(
                agrees,
                "seed {seed}, kill {kill}: {id} is {known:?}, but {ids:?} are there"
            );
            *known = if is_there { Known::There } else { Known::Gone };
        }
        assert!(
            ids.iter().all(|id| known.contains_key(id)),
            "seed {seed}: {ids:?}"
        );

        let pid = edgeproxy.id();
        let delay = Duration::from_micros(rng.u64(0..60_000));
        let killer = std::thread::spawn(move || {
            std::thread::sleep(delay); // the moment, not a wait for anything
            let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
            rustix::process::kill_process(pid.expect("a process id"), Signal::KILL)
        });
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let id = format!("b{}", rng.u32(0..24));
            let weight = rng.u32(1..9);
            let was = known.insert(id.clone(), Known::Asked);
            let registration = Registration::new(&id, "shop", backend.addr()).with("weight", weight);
            let gone = matches!(was, Some(Known::There)) && rng.bool();
            let request = if gone {
                request(&edgeproxy, "DELETE", &format!("/api/v1/backends/{id}")).body(Full::default())
            } else {
                request(&edgeproxy, "POST", "/api/v1/register")
                    .header("content-type", "application/json")
                    .body(Full::from(registration.to_json()))
            };
            let Ok(reply) = api.send(request.expect("a request")).await else {
                break;
            };
            assert!(matches!(reply.status.as_u16(), 200 | 201), "{}", reply.text());
            if reply.json()["warnings"].is_null() {
                known.insert(id, if gone { Known::Gone } else { Known::There });
            }
        }
        killer.join().expect("it kills").expect("it was there");
        starting = edgeproxy.killed().await;
    }
}

fn request(edgeproxy: &Edgeproxy, method: &str, path: &str) -> http::request::Builder {
    let host = edgeproxy.api_addr().to_string();
    Request::builder().method(method).uri(path).header("host", host)
}

/// What the client of the API knows of an id.
#[derive(Clone, Copy, Debug)]
enum Known {
    There,
    Gone,
    /// It was asked for something, and there was no answer.
    Asked,
}
