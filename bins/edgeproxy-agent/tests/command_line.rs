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

#[test]
fn the_manual_page_and_completions_are_made_from_the_command_line() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let output = folder.path().join("man");
    let path = output.to_str().expect("the path is text");
    assert_eq!(agent(&["man", "--output", path], &[]).status.code(), Some(0));
    let page = std::fs::read_to_string(output.join("edgeproxy-agent.1")).expect("the page is there");
    assert_eq!(text(&agent(&["man"], &[]).stdout), page);
    let page = page.replace("\\-", "-");
    for expected in ["--start-timeout", "EDGEPROXY_AGENT_START_TIMEOUT", "-- COMMAND"] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = agent(&["completions", shell], &[]);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains("start-timeout"), "{shell}");
    }
    // Also where variables say what would be kept registered.
    let told = agent(&["man"], &[("EDGEPROXY_AGENT_API", "http://127.0.0.1:9")]);
    assert_eq!(told.status.code(), Some(0), "{}", text(&told.stderr));
    // Neither is a server's name, nor a way round what is needed.
    let told = agent(&["--app", "shop", "man"], &[]);
    assert_eq!(told.status.code(), Some(2), "{}", text(&told.stderr));
}
