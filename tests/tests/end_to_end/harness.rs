//! The parts of the harness that need a process of their own.

use edgeproxy_tests::{ChildBackend, Client};

#[tokio::test]
async fn a_child_backend_answers_and_can_be_killed() {
    let backend = ChildBackend::start("c1", 0).await;
    let addr = backend.addr();
    assert_eq!(Client::new(addr).get("a", "/").await.unwrap().text(), "c1");
    backend.kill().await;
    assert!(Client::new(addr).get("a", "/").await.is_err());
}
