//! The clients in `examples/clients`: registered, forgotten and registered again, taken out before they end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use edgeproxy_tests::{Backend, Edgeproxy, FreePort, PATIENCE, has, within};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::{SLACK, state};

/// A third of the lease of 6 s.
const HEARTBEAT: Duration = Duration::from_secs(2);

async fn serves(interpreter: &str, script: &str, server: SocketAddr) {
    let edgeproxy = Edgeproxy::setup().start().await;
    let mut api = edgeproxy.api();
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../examples/clients")
        .join(script);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut client = Command::new(interpreter)
        .arg(&script)
        .env_clear()
        .envs([("ID", "b-1"), ("APP", "shop"), ("REGION", "eu"), ("TTL", "6")])
        .env("PATH", path)
        .env("API", format!("http://{}", edgeproxy.api_addr()))
        .env("IP", server.ip().to_string())
        .env("PORT", server.port().to_string())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the client can be started");
    let mut said = BufReader::new(client.stdout.take().expect("it was asked for")).lines();
    let mut line = async || within(PATIENCE, "the client says something", said.next_line()).await;
    assert_eq!(line().await.expect("a line").as_deref(), Some("registered b-1"));
    let reply = edgeproxy
        .client()
        .get("shop", "/")
        .await
        .expect("an answer")
        .expect(200);
    assert_eq!(reply.text(), "b-1");

    let _ = api.delete("b-1", "").await.expect(200);
    let forgotten = Instant::now();
    state(&mut api, "b-1", 200).await;
    assert!(
        forgotten.elapsed() < HEARTBEAT + SLACK,
        "{:?}",
        forgotten.elapsed()
    );

    let pid = client.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    kill_process(pid.expect("it is running"), Signal::TERM).expect("it is running");
    let ended = within(PATIENCE, "the client ends", client.wait()).await;
    assert!(ended.expect("it can be waited for").success());
    assert_eq!(api.backend("b-1").await.status, 404);
}

#[tokio::test]
async fn the_client_of_sh_and_curl_keeps_a_server_registered() {
    if has("curl") {
        let server = Backend::start("b-1").await;
        serves("sh", "edgeproxy.sh", server.addr()).await;
    }
}

/// A port that the client's own server can have: it sets no `SO_REUSEPORT`.
fn released() -> SocketAddr {
    FreePort::take().addr()
}

#[tokio::test]
async fn the_client_of_python_keeps_its_server_registered() {
    if has("python3") {
        serves("python3", "edgeproxy.py", released()).await;
    }
}

#[tokio::test]
async fn the_client_of_node_keeps_its_server_registered() {
    if has("node") {
        serves("node", "edgeproxy.mjs", released()).await;
    }
}
