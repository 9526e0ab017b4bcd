//! The clients in `examples/clients`: registered, forgotten and registered again, taken out before they end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use edgeproxy_tests::{Backend, Edgeproxy, FreePort, PATIENCE, curl, eventually, has, within};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use super::{SLACK, state};
use crate::access::Files;

/// A third of the lease of 6 s.
const HEARTBEAT: Duration = Duration::from_secs(2);

fn start(interpreter: &str, script: &str, api: SocketAddr, server: SocketAddr) -> Child {
    start_with(interpreter, script, api, server, &[])
}

fn start_with(
    interpreter: &str,
    script: &str,
    api: SocketAddr,
    server: SocketAddr,
    more: &[(&str, &str)],
) -> Child {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../examples/clients")
        .join(script);
    let path = std::env::var_os("PATH").unwrap_or_default();
    Command::new(interpreter)
        .arg(&script)
        .env_clear()
        .envs([
            ("ID", "b-1"),
            ("APP", "shop"),
            ("REGION", "eu"),
            ("TTL", "6"),
            ("DRAIN", "1s"),
        ])
        .env("PATH", path)
        .env("API", format!("http://{api}"))
        .env("IP", server.ip().to_string())
        .env("PORT", server.port().to_string())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .envs(more.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the client can be started")
}

fn stop(client: &Child) {
    let pid = client.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    kill_process(pid.expect("it is running"), Signal::TERM).expect("it is running");
}

async fn serves(interpreter: &str, script: &str, server: SocketAddr) {
    let edgeproxy = Edgeproxy::setup().start().await;
    let mut api = edgeproxy.api();
    let mut client = start(interpreter, script, edgeproxy.api_addr(), server);
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

    stop(&client);
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

/// Answers a request after the other, each over a connection of its own, and says what they were.
async fn answers(listener: &TcpListener, script: &[(&str, &str)]) {
    for (expected, answer) in script {
        let (mut stream, _) = within(PATIENCE, expected, listener.accept())
            .await
            .expect("a connection");
        let mut request = Vec::new();
        within(PATIENCE, expected, async {
            loop {
                let text = String::from_utf8_lossy(&request).to_lowercase();
                if let Some((head, body)) = text.split_once("\r\n\r\n") {
                    let length = head.split("content-length: ").nth(1);
                    let length = length.and_then(|rest| rest.lines().next()?.parse().ok());
                    if body.len() >= length.unwrap_or(0) {
                        break;
                    }
                }
                assert_ne!(stream.read_buf(&mut request).await.expect("a request"), 0);
            }
        })
        .await;
        let request = String::from_utf8_lossy(&request);
        assert!(request.starts_with(expected), "{expected}: {request}");
        stream.write_all(answer.as_bytes()).await.expect("it is read");
    }
}

const TRUNCATED: &str =
    "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 99\r\n\r\n{";

fn reply(status: u16, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// An API that is too slow, talks nonsense, and restarts while the client leaves.
async fn outlasts(interpreter: &str, script: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let api = listener.local_addr().expect("it is bound");
    let mut client = start(interpreter, script, api, released());
    let registered = reply(201, r#"{"incarnation":7,"heartbeat_interval_secs":1}"#);
    let slow = reply(408, "no json");
    let closing = reply(503, "{}");
    let beaten = reply(200, r#"{"incarnation":7}"#);
    let draining = reply(200, r#"{"incarnation":7,"draining":true}"#);
    let unknown = reply(404, "{}");
    answers(
        &listener,
        &[
            ("POST /api/v1/register ", &slow),
            ("POST /api/v1/register ", TRUNCATED),
            ("POST /api/v1/register ", &registered),
            ("POST /api/v1/heartbeat/b-1 ", "nonsense\r\n\r\n"),
            ("POST /api/v1/heartbeat/b-1 ", &beaten),
        ],
    )
    .await;
    stop(&client);
    answers(
        &listener,
        &[
            ("DELETE /api/v1/backends/b-1?drain=", TRUNCATED),
            ("DELETE /api/v1/backends/b-1?drain=", &closing),
            ("DELETE /api/v1/backends/b-1?drain=", &draining),
            ("GET /api/v1/backends/b-1 ", &closing),
            ("GET /api/v1/backends/b-1 ", &unknown),
        ],
    )
    .await;
    let ended = within(PATIENCE, "the client ends", client.wait()).await;
    assert!(ended.expect("it can be waited for").success());
}

#[tokio::test]
async fn the_clients_outlast_an_api_that_is_slow_talks_nonsense_and_restarts() {
    let clients = [
        ("curl", "sh", "edgeproxy.sh"),
        ("python3", "python3", "edgeproxy.py"),
        ("node", "node", "edgeproxy.mjs"),
    ];
    for (needed, interpreter, script) in clients {
        if has(needed) {
            outlasts(interpreter, script).await;
        }
    }
}

#[tokio::test]
async fn the_clients_register_heartbeat_and_leave_with_a_token_and_say_why_without_one() {
    let files = Files::new();
    let _ = files.token("agent", "register", "shop").await;
    let operator = files.token("operator", "operate", "*").await;
    let clients = [
        ("curl", "sh", "edgeproxy.sh"),
        ("python3", "python3", "edgeproxy.py"),
        ("node", "node", "edgeproxy.mjs"),
    ];
    for (needed, interpreter, script) in clients {
        if !has(needed) {
            continue;
        }
        let edgeproxy = files.setup().start().await;
        let api = edgeproxy.api_addr();
        let token = files.text("agent");
        let mut client = start_with(interpreter, script, api, released(), &[("TOKEN_FILE", &token)]);
        let mut said = BufReader::new(client.stdout.take().expect("it was asked for")).lines();
        let line = within(PATIENCE, script, said.next_line()).await.expect("a line");
        assert_eq!(line.as_deref(), Some("registered b-1"), "{script}");
        let header = format!("Authorization: Bearer {operator}");
        let url = format!("http://{api}/api/v1/backends/b-1");
        let listed = async || curl(&["-H", &header, &url]).await;
        // A heartbeat, which it shows the token with.
        let (_, _) = eventually(PATIENCE, "a heartbeat", async || {
            let listed = listed().await.expect(200).json();
            let age = listed["last_heartbeat_secs"].as_f64();
            let registered = listed["registered_secs"].as_f64();
            if age < registered {
                Ok(())
            } else {
                Err(listed.to_string())
            }
        })
        .await;
        stop(&client);
        let ended = within(PATIENCE, script, client.wait()).await;
        assert!(ended.expect("it can be waited for").success(), "{script}");
        let _ = listed().await.expect(404);

        let mut client = start(interpreter, script, api, released());
        let ended = within(PATIENCE, script, client.wait()).await;
        assert!(!ended.expect("it can be waited for").success(), "{script}");
        let mut told = String::new();
        let mut stderr = client.stderr.take().expect("it was asked for");
        stderr.read_to_string(&mut told).await.expect("text");
        assert!(told.contains("this API takes a token"), "{script}: {told}");
    }
}

#[tokio::test]
async fn a_client_that_has_never_reached_an_api_ends_by_a_signal() {
    for (needed, interpreter, script) in [
        ("curl", "sh", "edgeproxy.sh"),
        ("python3", "python3", "edgeproxy.py"),
    ] {
        if !has(needed) {
            continue;
        }
        let nobody = FreePort::take();
        let mut client = start(interpreter, script, nobody.addr(), released());
        let told = client.stderr.take().expect("it was asked for");
        let mut told = BufReader::new(told).lines();
        let line = within(PATIENCE, "the client has tried", told.next_line()).await;
        assert!(line.expect("a line").is_some());
        stop(&client);
        let ended = within(PATIENCE, "the client ends", client.wait()).await;
        assert!(ended.expect("it can be waited for").success(), "{script}");
    }
}

#[tokio::test]
async fn the_client_of_sh_says_that_it_could_tell_nobody() {
    if !has("curl") {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let api = listener.local_addr().expect("it is bound");
    let mut client = start("sh", "edgeproxy.sh", api, released());
    let registered = reply(201, r#"{"incarnation":7,"heartbeat_interval_secs":20}"#);
    answers(&listener, &[("POST /api/v1/register ", &registered)]).await;
    drop(listener);
    stop(&client);
    let ended = within(PATIENCE, "the client ends", client.wait()).await;
    assert_eq!(ended.expect("it can be waited for").code(), Some(1));
    let mut told = String::new();
    let mut stderr = client.stderr.take().expect("it was asked for");
    stderr.read_to_string(&mut told).await.expect("text");
    assert!(told.contains("b-1 is not deregistered (000)"), "{told}");
}
