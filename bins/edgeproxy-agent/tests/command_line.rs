//! The binary, as far as it goes without an API.
#![allow(clippy::expect_used, reason = "a test fails by a panic that says why")]

use std::process::{Command, Output};

fn agent(args: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgeproxy-agent"));
    command.args(args).env_clear().envs(variables.iter().copied());
    command.output().expect("the binary can be started")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn help_names_every_flag_its_variable_and_the_exit_codes() {
    let output = agent(&["--help"], &[]);
    assert_eq!(output.status.code(), Some(0));
    let help = text(&output.stdout);
    for expected in [
        "-- COMMAND",
        "--start-timeout",
        "EDGEPROXY_AGENT_START_TIMEOUT",
        "--token-file",
        "SIGTERM",
        "124",
        "125",
        "127",
    ] {
        assert!(help.contains(expected), "{expected}: {help}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let output = agent(&[], &[]);
    assert_eq!(output.status.code(), Some(2));
    let told = text(&output.stderr);
    for expected in ["--api", "--app", "--region", "--port"] {
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn what_is_wrong_is_said_whether_it_came_by_a_flag_or_by_a_variable() {
    let output = agent(
        &["--app", "shop", "--region", "eu", "--port", "9"],
        &[("EDGEPROXY_AGENT_API", "http://127.0.0.1:9/x")],
    );
    assert_eq!(output.status.code(), Some(2));
    let told = text(&output.stderr);
    assert!(told.contains("such as http://10.0.0.1:8081"), "{told}");
    let all = [
        ("EDGEPROXY_AGENT_API", "http://127.0.0.1:9"),
        ("EDGEPROXY_AGENT_APP", "shop"),
        ("EDGEPROXY_AGENT_REGION", "eu"),
        ("EDGEPROXY_AGENT_PORT", "9"),
    ];
    let output = agent(&["--", "/nowhere/server"], &all);
    assert_eq!(output.status.code(), Some(127));
    let told = text(&output.stderr);
    assert!(told.contains("/nowhere/server can't be started"), "{told}");
}
