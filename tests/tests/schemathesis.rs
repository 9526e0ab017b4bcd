//! The real binary's API as another project reads its description: schemathesis makes requests of it, right and wrong ones,
//! and holds every answer to it.
//!
//! It takes python3 with schemathesis and openapi-spec-validator: `.ci/run` installs them into `target/schemathesis`. See
//! [`outside`].
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic, and reports on its standard output"
)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};

use edgeproxy_tests::{Edgeproxy, Setup, block_on, outside};
use tempfile::TempDir;

const TESTS: [(&str, fn()); 4] = [
    (
        "the_description_is_valid_openapi_and_the_same_without_a_server",
        is_valid,
    ),
    ("nothing_undocumented_is_answered_without_tokens", without_tokens),
    (
        "nothing_undocumented_is_answered_to_a_token_for_everything",
        to_an_operator,
    ),
    (
        "nothing_undocumented_is_answered_to_a_token_for_one_app",
        to_a_reader_of_one_app,
    ),
];

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schemathesis");
const LIBRARY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/schemathesis");

fn main() -> ExitCode {
    outside(missing(), TESTS)
}

fn python() -> Command {
    let mut path = OsString::from(LIBRARY);
    path.push(":");
    path.push(FOLDER);
    if let Some(more) = std::env::var_os("PYTHONPATH") {
        path.push(":");
        path.push(more);
    }
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", path).stdin(Stdio::null());
    python
}

/// Why they can't run.
fn missing() -> Option<&'static str> {
    let found = python()
        .args(["-c", "import schemathesis, openapi_spec_validator"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match found {
        Err(_) => Some("there is no python3"),
        Ok(status) if !status.success() => Some(
            "python3 has no schemathesis: python3 -m pip install --target target/schemathesis --requirement \
             tests/schemathesis/requirements.txt",
        ),
        Ok(_) => None,
    }
}

/// Backends on loopback and at the documentation's addresses alone; and nothing is sent to any: no client asks for one, and
/// without the guard nothing probes.
fn setup() -> Setup {
    Edgeproxy::setup()
        .set(
            "ALLOWED_BACKEND_CIDRS",
            "127.0.0.0/8,::1/128,10.50.0.0/16,fd00::/8",
        )
        .set("MASS_EXPIRY_GUARD", "false")
}

fn check(output: &Output) {
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The document in a file: of one that is read from the server, the endpoint that serves it isn't tried.
fn description(folder: &TempDir) -> PathBuf {
    let file = folder.path().join("openapi.json");
    let printed = Command::new(Edgeproxy::binary())
        .args(["openapi", "--output"])
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .expect("edgeproxy runs");
    check(&printed);
    file
}

fn is_valid() {
    let folder = TempDir::with_prefix("edgeproxy-openapi-").expect("a temporary folder can be made");
    let file = description(&folder);
    let validated = python()
        .args(["-m", "openapi_spec_validator", "--schema", "3.1"])
        .arg(&file)
        .output()
        .expect("python3 runs");
    check(&validated);
    let served = block_on(async {
        let edgeproxy = setup().start().await;
        edgeproxy.api().get("/openapi.json").await.expect(200).json()
    });
    let printed = std::fs::read(&file).expect("the file was written");
    let printed: serde_json::Value = serde_json::from_slice(&printed).expect("it is JSON");
    assert_eq!(printed, served);
}

fn without_tokens() {
    run(setup(), None);
}

fn to_an_operator() {
    with_token("operate", "*");
}

fn to_a_reader_of_one_app() {
    with_token("read", "myapp");
}

/// With a new token of that role for those apps.
fn with_token(role: &str, app: &str) {
    let folder = TempDir::with_prefix("edgeproxy-tokens-").expect("a temporary folder can be made");
    let file = folder.path().join("tokens.toml");
    let made = Command::new(Edgeproxy::binary())
        .args(["token", "new", "--name", "tested", "--role", role, "--app", app])
        .arg("--append")
        .arg(&file)
        .output()
        .expect("edgeproxy runs");
    check(&made);
    let token = String::from_utf8(made.stdout).expect("a token is text");
    let file = file.to_str().expect("the path is text");
    run(setup().set("API_TOKENS_FILE", file), Some(token.trim()));
}

fn run(setup: Setup, token: Option<&str>) {
    assert!(Path::new(FOLDER).join("hooks.py").exists(), "{FOLDER} is missing");
    block_on(async {
        let folder = TempDir::with_prefix("edgeproxy-openapi-").expect("a temporary folder can be made");
        let described = description(&folder);
        let edgeproxy = setup.start().await;
        let mut python = python();
        python
            .env("SCHEMATHESIS_HOOKS", "hooks")
            .args(["-m", "schemathesis.cli", "--config-file"])
            .arg(Path::new(FOLDER).join("schemathesis.toml"))
            .arg("run")
            .arg(&described)
            .args(["--url", &format!("http://{}", edgeproxy.api_addr())]);
        match token {
            // What is made up is the same as without; here it is who may that differs.
            Some(token) => python
                .args(["--phases", "examples,coverage", "--header"])
                .arg(format!("Authorization: Bearer {token}")),
            // Nobody has to show anything.
            None => python.args(["--exclude-checks", "ignored_auth"]),
        };
        let ran = tokio::task::spawn_blocking(move || python.output().expect("python3 runs"));
        let ran = ran.await.expect("it was waited for");
        check(&ran);
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(
            said.contains("Tested: 18"),
            "not every endpoint was tried:\n{said}"
        );
    });
}
