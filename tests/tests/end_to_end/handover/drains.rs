//! Backends that leave while two processes serve.

use edgeproxy_tests::{
    Api, Backend, Behaviour, Client, Edgeproxy, PATIENCE, Registration, Reply, eventually, within,
};
use serde_json::json;
use tokio::task::JoinHandle;

/// A backend of `shop` with a request under way, and another one that answers.
struct World {
    edgeproxy: Edgeproxy,
    leaves: Backend,
    _stays: Backend,
    under_way: JoinHandle<anyhow::Result<Reply>>,
    /// A connection to the old process that has no request.
    idle: Client,
}

impl World {
    async fn new() -> Self {
        let setup = Edgeproxy::setup().set("STORE", "file").set("DATA_DIR", "state");
        // Longer than any of these tests.
        let edgeproxy = setup.set("DRAIN_TIMEOUT_SECS", "300").start().await;
        let mut api = edgeproxy.api();
        let (leaves, stays) = (Backend::start("leaves").await, Backend::start("stays").await);
        api.register_new(&Registration::new("leaves", "shop", leaves.addr()))
            .await;
        leaves.behave(Behaviour::Hold);
        let addr = edgeproxy.proxy();
        let under_way = tokio::spawn(async move { Client::new(addr).post("shop", "/order", "one").await });
        leaves.holds(1).await;
        api.register_new(&Registration::new("other", "other", stays.addr()))
            .await;
        let mut idle = edgeproxy.client();
        let _ = idle.get("other", "/").await.expect("an answer").expect(200);
        api.register_new(&Registration::new("stays", "shop", stays.addr()))
            .await;
        Self {
            edgeproxy,
            leaves,
            _stays: stays,
            under_way,
            idle,
        }
    }

    /// One that has nothing under way is done, and it isn't.
    async fn is_waited_for(&self) {
        let mut api = self.edgeproxy.api();
        let _ = api.delete("other", "?drain=250s").await.expect(200);
        gone(&mut api, "other").await;
        let listed = api.backend("leaves").await.expect(200).json();
        assert_eq!(listed["state"], json!("draining"), "{listed}");
        assert!(!self.under_way.is_finished());
    }

    async fn ends(self) {
        self.leaves.release();
        let reply = within(PATIENCE, "what was under way ends", self.under_way).await;
        let reply = reply.expect("no panic").expect("an answer").expect(200);
        assert_eq!(reply.text(), "leaves");
        gone(&mut self.edgeproxy.api(), "leaves").await;
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
async fn a_drain_at_the_new_process_waits_for_what_the_old_one_has_under_way() {
    let mut world = World::new().await;
    world.edgeproxy.hand_over().await;
    let mut api = world.edgeproxy.api();
    let _ = api.delete("leaves", "?drain=250s").await.expect(200);
    world.is_waited_for().await;
    // The last request of a connection that the old process still has.
    let reply = world.idle.get("shop", "/").await.expect("an answer").expect(200);
    assert_eq!(reply.text(), "stays", "nor does the old one send it anything new");
    world.ends().await;
}

#[tokio::test]
async fn a_backend_that_drains_is_handed_over_draining() {
    let mut world = World::new().await;
    let _ = world
        .edgeproxy
        .api()
        .delete("leaves", "?drain=250s")
        .await
        .expect(200);
    world.edgeproxy.hand_over().await;
    let mut api = world.edgeproxy.api();
    let mut ids = api.ids().await.0;
    ids.sort();
    assert_eq!(ids, ["leaves", "other", "stays"]);
    world.is_waited_for().await;
    for _ in 0..10 {
        let reply = Client::new(world.edgeproxy.proxy()).get("shop", "/").await;
        assert_eq!(reply.expect("an answer").expect(200).text(), "stays");
    }
    world.ends().await;
}

#[tokio::test]
async fn a_drain_at_the_new_process_is_over_once_the_old_one_is_killed() {
    let mut world = World::new().await;
    let old = world.edgeproxy.hand_over().await;
    let mut api = world.edgeproxy.api();
    let _ = api.delete("leaves", "?drain=250s").await.expect(200);
    world.is_waited_for().await;
    world.edgeproxy.signal_to(old, rustix::process::Signal::KILL);
    gone(&mut api, "leaves").await;
}
