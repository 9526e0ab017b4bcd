//! A backend that comes back while a thousand clients wait.

use edgeproxy_tests::{Backend, Behaviour, Edgeproxy, Load, PATIENCE, PROBE_PATH, Registration, eventually};
use http::Method;

/// As many as may be under way on each of the two.
const STEADY: usize = 20;
const RETURNING: usize = 50;
/// Of those, what one gets at the beginning of its ramp: a tenth.
const FIRST_PART: usize = 5;
const WAITING: usize = 1_000;

#[tokio::test]
async fn a_thousand_waiting_clients_do_not_fall_on_a_backend_that_has_just_come_back() {
    let edgeproxy = Edgeproxy::setup()
        .set("ALGORITHM", "round_robin")
        .set("WORKERS", "2")
        .set("MAX_FAILURES", "5")
        .set("HEALTH_MONITOR", &format!("http:{PROBE_PATH}"))
        .set("HEALTH_INTERVAL_SECS", "1")
        // Longer than any test: the ramp stays at its beginning.
        .set("SLOW_START_SECS", "3600")
        .set("QUEUE_MAX", &WAITING.to_string())
        .set("QUEUE_TIMEOUT_SECS", "120")
        .start()
        .await;
    let mut api = edgeproxy.api();
    let (steady, returning) = (Backend::start("steady").await, Backend::start("returning").await);
    for (backend, limit) in [(&steady, STEADY), (&returning, RETURNING)] {
        let registration = Registration::new(backend.name(), "shop", backend.addr())
            .with("soft_limit", limit)
            .with("hard_limit", limit);
        api.register_new(&registration).await;
    }
    returning.behave(Behaviour::CloseUnanswered);
    let mut client = edgeproxy.client();
    eventually(PATIENCE, "it is out for failed requests and probes", async || {
        let reply = client.get("shop", "/").await.expect("the other one answers");
        assert_eq!(reply.status, 200);
        let state = api.state("returning").await;
        let listed = api.backend("returning").await.expect(200).json();
        let failed = listed["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("consecutive"));
        let is_out = state == "unhealthy" && failed && returning.requests() >= 5;
        if is_out { Ok(()) } else { Err(state) }
    })
    .await;
    let in_vain = returning.requests();

    steady.behave(Behaviour::Hold);
    let load = Load::limited(
        edgeproxy.proxy(),
        Method::GET,
        "shop",
        STEADY + WAITING + 1,
        (STEADY + WAITING + 1) as u64,
    );
    eventually(PATIENCE, "the queue is full, and one is refused", async || {
        let failed = load.so_far().failed;
        if failed == 1 && steady.in_flight() == STEADY {
            Ok(())
        } else {
            Err(failed.to_string())
        }
    })
    .await;

    // It is well again, and the next probe says so.
    returning.behave(Behaviour::Hold);
    returning.holds(1).await;
    let probes = returning.probes();
    eventually(PATIENCE, "three probes more", async || {
        if returning.probes() >= probes + 3 {
            Ok(())
        } else {
            Err(returning.probes().to_string())
        }
    })
    .await;
    assert_eq!(returning.requests(), in_vain + 1, "one request in its trial");
    assert_eq!(api.state("returning").await, "trial");

    returning.release();
    eventually(PATIENCE, "the first part of its ramp", async || {
        if returning.in_flight() >= FIRST_PART {
            Ok(())
        } else {
            Err(returning.in_flight().to_string())
        }
    })
    .await;
    assert_eq!(api.state("returning").await, "routable");
    steady.behave(Behaviour::Answer);
    returning.behave(Behaviour::Answer);
    eventually(PATIENCE, "everybody is served", async || {
        steady.release();
        returning.release();
        let tally = load.so_far();
        if tally.ok == (STEADY + WAITING) as u64 {
            Ok(())
        } else {
            Err(tally.ok.to_string())
        }
    })
    .await;
    let tally = load.done().await;
    assert_eq!(
        (tally.ok, tally.failed),
        ((STEADY + WAITING) as u64, 1),
        "{:?}",
        tally.failures
    );
    // Two workers that pick at the same instant may each think that the last place is theirs.
    assert!(
        returning.high_water() <= FIRST_PART + 1,
        "{}",
        returning.high_water()
    );
    assert!(
        tally.by_backend.contains_key("returning"),
        "{:?}",
        tally.by_backend
    );
}
