//! What is registered, and what an operator has set, goes over with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use edgeproxy_tests::{Api, Backend, Client, Edgeproxy, PATIENCE, Registration, Setup, eventually};
use serde_json::{Value, json};

/// A folder of the proxy's own, which ends with the test.
fn in_a_file(setup: Setup) -> Setup {
    setup.set("STORE", "file").set("DATA_DIR", "state")
}

async fn incarnation(api: &mut Api, id: &str) -> Value {
    api.backend(id).await.expect(200).json()["incarnation"].clone()
}

async fn goes_over(setup: Setup) {
    let backends = [
        Backend::start("stays").await,
        Backend::start("off").await,
        Backend::start("gone").await,
    ];
    let mut edgeproxy = setup.start().await;
    let mut api = edgeproxy.api();
    for backend in &backends {
        api.register_new(&Registration::new(backend.name(), "shop", backend.addr()))
            .await;
    }
    let _ = api.patch("off", &json!({"enabled": false})).await.expect(200);
    let _ = api.delete("gone", "").await.expect(200);
    let before = [
        incarnation(&mut api, "stays").await,
        incarnation(&mut api, "off").await,
    ];
    for _ in 0..2 {
        edgeproxy.hand_over().await;
        let mut api = edgeproxy.api();
        let after = [
            incarnation(&mut api, "stays").await,
            incarnation(&mut api, "off").await,
        ];
        assert_eq!(after, before, "the same lives");
        assert_eq!(api.state("off").await, "disabled");
        assert_eq!(api.backend("gone").await.status, 404);
        let _ = api.heartbeat("stays").await.expect(200);
        for _ in 0..4 {
            let reply = Client::new(edgeproxy.proxy()).get("shop", "/").await;
            assert_eq!(reply.expect("an answer").expect(200).text(), "stays");
        }
    }
    // A number that was given is not given again.
    let registered = edgeproxy
        .api()
        .register_new(&Registration::new("new", "shop", backends[2].addr()))
        .await;
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
    assert!(
        number(&registered["incarnation"]) > number(&before[1]).map(|before| before + 1),
        "{registered} after {before:?} and the one that is gone"
    );
    assert_eq!(
        registered["warnings"].as_array().map_or(0, Vec::len),
        0,
        "{registered}"
    );
}

#[tokio::test]
async fn registrations_in_memory_go_over_with_their_incarnations_and_an_operators_changes() {
    goes_over(Edgeproxy::setup().set("STORE", "memory")).await;
}

#[tokio::test]
async fn registrations_in_a_file_go_over_with_it() {
    goes_over(in_a_file(Edgeproxy::setup())).await;
}

#[tokio::test]
async fn registrations_of_memory_are_kept_when_the_new_process_has_a_file() {
    let backend = Backend::start("b").await;
    let mut edgeproxy = Edgeproxy::setup().unset("STORE").toml("").start().await;
    edgeproxy
        .api()
        .register_new(&Registration::new("b", "shop", backend.addr()))
        .await;
    edgeproxy.rewrite("store = \"file\"\ndata_dir = \"state\"\n");
    edgeproxy.hand_over().await;
    let before = incarnation(&mut edgeproxy.api(), "b").await;
    // Only what the file says is there after this.
    let folder = edgeproxy
        .config()
        .parent()
        .expect("it is in a folder")
        .join("state");
    let kept = std::fs::read_dir(folder).expect("there is a folder");
    let kept: String = kept
        .filter_map(|file| std::fs::read_to_string(file.ok()?.path()).ok())
        .collect();
    let number = before.to_string();
    assert!(
        kept.contains("\"b\"") && kept.contains(number.trim_matches('"')),
        "{kept}"
    );
}

/// A backend that goes on with its heartbeats notices at most that it should try again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_and_registrations_meet_at_most_a_refusal_to_be_tried_again() {
    let backend = Backend::start("b").await;
    let mut edgeproxy = in_a_file(Edgeproxy::setup()).start().await;
    let registration = Registration::new("b", "shop", backend.addr());
    edgeproxy.api().register_new(&registration).await;
    let addr = edgeproxy.api_addr();
    let (stop, passed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (stopping, counted) = (Arc::clone(&stop), Arc::clone(&passed));
    let beating = tokio::spawn(async move {
        let (mut number, mut refused) = (0_u64, 0_u64);
        while !stopping.load(Ordering::Relaxed) {
            // As curl does, a connection for each.
            let mut api = Api::new(addr);
            let reply = if number.is_multiple_of(4) {
                api.register(&registration).await
            } else {
                api.heartbeat("b").await
            };
            match reply.status.as_u16() {
                200 => drop(counted.fetch_add(1, Ordering::Relaxed)),
                503 => {
                    assert!(reply.header("retry-after").is_some(), "{reply:?}");
                    refused += 1;
                }
                _ => panic!("{reply:?}"),
            }
            number += 1;
        }
        refused
    });
    for _ in 0..3 {
        let before = passed.load(Ordering::Relaxed);
        eventually(PATIENCE, "heartbeats pass", async || {
            let now = passed.load(Ordering::Relaxed);
            if now > before + 20 {
                Ok(())
            } else {
                Err(now.to_string())
            }
        })
        .await;
        edgeproxy.hand_over().await;
    }
    stop.store(true, Ordering::Relaxed);
    beating
        .await
        .expect("every call was answered, or is to be tried again");
    assert_eq!(edgeproxy.api().state("b").await, "routable");
}
