//! gRPC's own library, from Python, on both sides of the real binary.
//!
//! It takes python3 with grpcio: `.ci/run` installs it into `target/grpcio`. See [`outside`].
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic, and reports on its standard output"
)]

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use edgeproxy_tests::{Edgeproxy, PATIENCE, Registration, block_on, eventually, outside};

/// Its backends get traffic once gRPC's own server has said that the service `t` is serving.
const FILE: &str =
    "[apps.calls]\ninitial = \"probe_first\"\n[apps.calls.health]\ngrpc = { service = \"t\" }\n";

const NAME: &str = "every_kind_of_call_passes";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/grpcio/calls.py");
const LIBRARY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/grpcio");

fn main() -> ExitCode {
    outside(missing(), [(NAME, every_kind_of_call_passes)])
}

fn python() -> Command {
    let mut path = OsString::from(LIBRARY);
    if let Some(more) = std::env::var_os("PYTHONPATH") {
        path.push(":");
        path.push(more);
    }
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", path);
    python
}

/// Why it can't run.
fn missing() -> Option<&'static str> {
    let found = python()
        .args(["-c", "import grpc"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match found {
        Err(_) => Some("there is no python3"),
        Ok(status) if !status.success() => {
            Some("python3 has no grpcio: python3 -m pip install --target target/grpcio grpcio")
        }
        Ok(_) => None,
    }
}

fn every_kind_of_call_passes() {
    assert!(Path::new(SCRIPT).exists(), "{SCRIPT} is missing");
    // Its standard input ends with this process, and so does it.
    let mut server = python()
        .args([SCRIPT, "serve"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    let mut port = String::new();
    let printed = server.stdout.take().expect("its standard output is a pipe");
    BufReader::new(printed)
        .read_line(&mut port)
        .expect("the server prints its port");
    let port = port.trim().parse().expect("a port is a number");
    block_on(async {
        let edgeproxy = Edgeproxy::setup().toml(FILE).start().await;
        let backend = SocketAddr::from(([127, 0, 0, 1], port));
        let registration = Registration::new("b", "calls", backend).with("protocol", "h2c");
        let mut api = edgeproxy.api();
        api.register_new(&registration).await;
        eventually(PATIENCE, "its server passes a health check", async || {
            let state = api.state("b").await;
            if state == "routable" { Ok(()) } else { Err(state) }
        })
        .await;
        let target = edgeproxy.proxy().to_string();
        let called = tokio::task::spawn_blocking(move || {
            python()
                .args([SCRIPT, "call", &target])
                .stdin(Stdio::null())
                .output()
                .expect("python3 runs")
        });
        let called = called.await.expect("it was waited for");
        assert!(
            called.status.success(),
            "{}{}",
            String::from_utf8_lossy(&called.stdout),
            String::from_utf8_lossy(&called.stderr)
        );
    });
    drop(server.stdin.take());
    let _ = server.wait();
}
