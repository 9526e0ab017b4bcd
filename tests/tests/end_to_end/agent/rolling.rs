//! A deployment by agents: each old server is stopped by SIGTERM to its agent once a new one is registered.

use edgeproxy_tests::{AgentProcess, Edgeproxy, FreePort, Load, PATIENCE};
use http::Method;
use rustix::process::Signal;

use super::says;

const SERVERS: usize = 5;

#[tokio::test]
async fn a_rolling_deployment_of_agents_under_load_fails_no_request() {
    let edgeproxy = Edgeproxy::setup().start().await;
    let mut api = edgeproxy.api();
    let mut old = Vec::new();
    for n in 0..SERVERS {
        let port = FreePort::take();
        let id = format!("old-{n}");
        let agent = AgentProcess::of_a_sample(&id, 2, &port, edgeproxy.api_addr(), &[]);
        agent.registered(&mut api, &id).await;
        old.push((agent, port));
    }
    let gets = Load::start(edgeproxy.proxy(), Method::GET, "shop", 40);
    // These can't be repeated: that none of them fails shows that nothing had to be.
    let posts = Load::start(edgeproxy.proxy(), Method::POST, "shop", 10);
    gets.reaches("old-0", 20).await;
    let mut new = Vec::new();
    for (n, (mut leaving, _port)) in old.into_iter().enumerate() {
        let id = format!("new-{n}");
        let port = FreePort::take();
        let joining = AgentProcess::of_a_sample(&id, 2, &port, edgeproxy.api_addr(), &[]);
        joining.registered(&mut api, &id).await;
        gets.reaches(&id, 20).await;
        leaving.signal(Signal::TERM);
        let ended = leaving.ended(PATIENCE).await;
        assert_eq!(ended.code(), Some(128 + 15), "{ended:?}");
        for tally in [gets.so_far(), posts.so_far()] {
            assert_eq!(tally.failed, 0, "after replacement {n}: {tally:?}");
        }
        new.push((joining, port));
    }
    gets.reaches("new-0", 20).await;
    for tally in [gets.stop().await, posts.stop().await] {
        assert!(tally.failed == 0 && tally.ok > 0, "{tally:?}");
    }
    let (mut ids, _) = api.ids().await;
    ids.sort();
    let expected: Vec<_> = (0..SERVERS).map(|n| format!("new-{n}")).collect();
    assert_eq!(ids, expected);
}

/// The same id: the new server takes the old one's place, and the old one's farewell does not take it out.
#[tokio::test]
async fn a_successor_under_the_same_id_is_not_taken_out_by_its_predecessor() {
    let edgeproxy = Edgeproxy::setup().start().await;
    let mut api = edgeproxy.api();
    let ports = [FreePort::take(), FreePort::take()];
    let mut old = AgentProcess::of_a_sample("b-1", 2, &ports[0], edgeproxy.api_addr(), &["--ttl", "6s"]);
    // Listed it would be a moment earlier than it is routed to.
    says(&old, "registered b-1").await;
    let load = Load::start(edgeproxy.proxy(), Method::GET, "shop", 8);
    load.reaches("b-1", 20).await;
    let new = AgentProcess::of_a_sample("b-1", 2, &ports[1], edgeproxy.api_addr(), &["--ttl", "6s"]);
    let superseded = old
        .logs()
        .find(|line| line.contains("has registered as b-1").then_some(()));
    assert!(superseded.await.is_some(), "{}", old.logs().text());
    old.signal(Signal::TERM);
    let _ = old.ended(PATIENCE).await;
    load.reaches("b-1", 50).await;
    let tally = load.stop().await;
    assert_eq!(tally.failed, 0, "{tally:?}");
    let listed = api.backend("b-1").await.expect(200).json();
    assert_eq!(listed["port"], ports[1].addr().port());
    drop(new);
}
