//! What becomes of a request that is under way on a backend that leaves.

use std::time::{Duration, Instant};

use edgeproxy_tests::{
    Api, Backend, Behaviour, Client, Edgeproxy, PATIENCE, Registration, Reply, eventually, within,
};
use serde_json::json;
use tokio::task::JoinHandle;

/// An app of one backend that holds a POST, which nobody may repeat, and of another that answers.
struct Leaving {
    edgeproxy: Edgeproxy,
    api: Api,
    leaves: Backend,
    stays: Backend,
    under_way: JoinHandle<anyhow::Result<Reply>>,
}

impl Leaving {
    async fn new() -> Self {
        let edgeproxy = Edgeproxy::setup().start().await;
        let mut api = edgeproxy.api();
        let leaves = Backend::start("leaves").await;
        leaves.behave(Behaviour::Hold);
        api.register_new(&Registration::new("leaves", "shop", leaves.addr()))
            .await;
        let addr = edgeproxy.proxy();
        let under_way = tokio::spawn(async move { Client::new(addr).post("shop", "/order", "one").await });
        leaves.holds(1).await;
        let stays = Backend::start("stays").await;
        api.register_new(&Registration::new("stays", "shop", stays.addr()))
            .await;
        Self {
            edgeproxy,
            api,
            leaves,
            stays,
            under_way,
        }
    }

    /// New requests go to the other one, and the one under way is left alone.
    async fn gets_nothing_new(&self) {
        let mut client = self.edgeproxy.client();
        for _ in 0..20 {
            let reply = client.get("shop", "/").await.expect("an answer").expect(200);
            assert_eq!(reply.text(), "stays");
        }
        assert_eq!((self.leaves.requests(), self.leaves.in_flight()), (1, 1));
        assert!(!self.under_way.is_finished());
    }

    async fn ends_in_peace(self) {
        self.leaves.release();
        let reply = within(PATIENCE, "what was under way ends", self.under_way)
            .await
            .expect("no panic");
        assert_eq!(reply.expect("an answer").expect(200).text(), "leaves");
        assert_eq!(self.stays.requests(), 20, "nothing was sent twice");
    }
}

async fn gone(api: &mut Api, id: &str) {
    eventually(PATIENCE, &format!("{id} is gone"), async || {
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
async fn a_drain_lets_it_end_and_lists_the_backend_until_then() {
    let mut leaving = Leaving::new().await;
    let reply = leaving.api.delete("leaves", "?drain=30s").await.expect(200);
    assert_eq!(
        (&reply.json()["draining"], &reply.json()["in_flight"]),
        (&json!(true), &json!(1))
    );
    leaving.gets_nothing_new().await;
    let listed = leaving.api.backend("leaves").await.expect(200).json();
    assert_eq!(
        (&listed["state"], &listed["healthy"], &listed["in_flight"]),
        (&json!("draining"), &json!(false), &json!(1)),
        "{listed}"
    );
    let mut api = leaving.edgeproxy.api();
    leaving.leaves.release();
    gone(&mut api, "leaves").await;
    leaving.ends_in_peace().await;
}

#[tokio::test]
async fn the_end_of_a_drain_cuts_it() {
    let mut leaving = Leaving::new().await;
    let asked = Instant::now();
    let _ = leaving.api.delete("leaves", "?drain=1s").await.expect(200);
    let reply = within(Duration::from_secs(3), "it is cut", leaving.under_way)
        .await
        .expect("no panic");
    assert!(
        asked.elapsed() >= Duration::from_secs(1),
        "it had a second: {:?}",
        asked.elapsed()
    );
    assert!(reply.is_err() || reply.is_ok_and(|reply| reply.status == 502 || reply.status == 503));
    gone(&mut leaving.api, "leaves").await;
    leaving.leaves.holds(0).await;
    assert_eq!(
        leaving.stays.requests(),
        0,
        "a POST that may have been acted upon is not sent elsewhere"
    );
}

#[tokio::test]
async fn without_a_drain_the_backend_is_gone_at_once_and_it_still_ends_in_peace() {
    let mut leaving = Leaving::new().await;
    let _ = leaving.api.delete("leaves", "").await.expect(200);
    assert_eq!(leaving.api.backend("leaves").await.status, 404);
    leaving.gets_nothing_new().await;
    leaving.ends_in_peace().await;
}

#[tokio::test]
async fn disabled_by_an_operator_it_ends_in_peace() {
    let mut leaving = Leaving::new().await;
    let _ = leaving
        .api
        .patch("leaves", &json!({"enabled": false}))
        .await
        .expect(200);
    leaving.gets_nothing_new().await;
    assert_eq!(leaving.api.state("leaves").await, "disabled");
    leaving.ends_in_peace().await;
}

#[tokio::test]
async fn superseded_by_another_address_it_ends_in_peace() {
    let mut leaving = Leaving::new().await;
    let reply = leaving
        .api
        .register(&Registration::new("leaves", "shop", leaving.stays.addr()))
        .await;
    assert_eq!(reply.status, 201, "a new incarnation: {reply:?}");
    leaving.gets_nothing_new().await;
    leaving.ends_in_peace().await;
}
