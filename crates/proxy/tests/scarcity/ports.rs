//! A host that has few local ports, and one without IPv6: a network namespace of a test's own.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

use edgeproxy_backend::Limits;
use edgeproxy_proxy::Config;
use tokio::sync::Semaphore;

use crate::backend::{Backend, Reply};
use crate::client::Client;
use crate::short::{alone, alone_blocking};
use crate::stage::{Stage, config, endpoint, settings};

/// Set where there is such a namespace, so that nobody's own network is changed.
const INSIDE: &str = "EDGEPROXY_TEST_NAMESPACE";

/// Runs another test of this program in a namespace of its own, of which `script` is made. Where there can be none, it is skipped; in CI, where
/// `CI=true` and `.ci/run` installs what is needed, that is a failure.
#[allow(clippy::print_stderr, reason = "whoever runs it is to know")]
fn in_a_namespace(script: &str, test: &str) {
    // A process can't be started without descriptors.
    let _alone = alone_blocking();
    let unshare = |script: &str, args: &[&str]| {
        let script = format!("set -eu; ip link set lo up; {script}; exec \"$@\"");
        let program = std::env::current_exe().unwrap();
        let mut command = Command::new("unshare");
        command
            .args(["--net", "sh", "-c", &script, "sh"])
            .env(INSIDE, "1");
        command.arg(program).args(args).output()
    };
    // To list nothing shows whether it can be done.
    if !unshare(script, &["--list", "--exact", "none"]).is_ok_and(|output| output.status.success()) {
        let why = "it takes root, unshare and ip to have a network of one's own";
        let in_ci = matches!(std::env::var("CI").as_deref(), Ok("true" | "1"));
        assert!(!in_ci, "{why}");
        eprintln!("SKIPPED: {why}");
        return;
    }
    let output = unshare(script, &["--exact", test, "--ignored", "--nocapture"]).unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

/// Towards each address.
const PORTS: usize = 4;
const RANGE: &str = "20000 20003";

#[test]
fn without_a_local_port_a_connection_that_is_given_back_serves_and_nobody_is_blamed() {
    in_a_namespace(":", "ports::among_four_ports");
}

#[tokio::test]
#[ignore = "it runs in a network namespace of its own"]
async fn among_four_ports() {
    assert!(
        std::env::var_os(INSIDE).is_some(),
        "this would be everybody's range"
    );
    let _alone = alone().await;
    let permits = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&permits);
    let backend = Backend::start(move |_, _| {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n".to_vec();
        Reply::Hold(head, Arc::clone(&held), b"x".to_vec())
    })
    .await;
    let one_worker = Config {
        workers: 1,
        ..config()
    };
    let (stage, endpoints) = Stage::having(one_worker, settings(), &[backend.addr]);
    let mut clients = Vec::new();
    for _ in 0..=PORTS {
        clients.push(Client::connect(stage.addr).await);
    }
    // From now on.
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", RANGE).unwrap();
    let mut late = clients.pop().unwrap();
    for client in &mut clients {
        client.write("GET / HTTP/1.1\r\nhost: app\r\n\r\n").await;
    }
    backend.until(|t| t.in_flight == PORTS).await;
    late.write("GET / HTTP/1.1\r\nhost: app\r\n\r\n").await;
    while endpoints[0].meter.in_flight() < u32::try_from(PORTS + 1).unwrap() {
        tokio::task::yield_now().await;
    }
    permits.add_permits(PORTS + 1);
    let answer = late.read().await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "x"), "{answer:?}");
    for client in &mut clients {
        assert_eq!(client.read().await.body, "x");
    }
    assert_eq!(backend.tally().connections, PORTS);
    assert_eq!(endpoints[0].meter.totals().1, 0);
}

#[test]
fn a_backend_of_ipv6_is_to_blame_where_there_is_none() {
    in_a_namespace(
        "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6",
        "ports::without_ipv6",
    );
}

#[tokio::test]
#[ignore = "it runs in a network namespace of its own"]
async fn without_ipv6() {
    let _alone = alone().await;
    let nowhere: SocketAddr = "[::1]:9".parse().unwrap();
    let error = tokio::net::TcpStream::connect(nowhere).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrNotAvailable);
    let backend = endpoint(1, nowhere, Limits::NONE);
    let app = crate::stage::app("app", &[Arc::clone(&backend)]);
    let stage = Stage::start(config(), [app]);
    let answer = Client::connect(stage.addr).await.get("/").await;
    assert_eq!((answer.status, answer.own().1), (502, "connect_failed"));
    assert_eq!(backend.meter.totals(), (1, 1));
}
