//! The binary by itself. Because of these tests, whoever builds the workspace's tests builds the binary, which the
//! end-to-end tests start.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by a panic that says why"
)]

mod asking;
mod check;
mod import;
mod token;

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

fn edgeproxy(args: &[&str]) -> Output {
    edgeproxy_in(Path::new("."), args)
}

/// The binary, started in that folder with an empty environment.
fn edgeproxy_in<A: AsRef<OsStr> + std::fmt::Debug>(folder: &Path, args: &[A]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgeproxy"));
    command.args(args).env_clear().current_dir(folder);
    command
        .output()
        .unwrap_or_else(|error| panic!("{args:?}: {error}"))
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn version_is_printed() {
    let output = edgeproxy(&["--version"]);
    assert!(output.status.success());
    let expected = concat!("edgeproxy ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

#[test]
fn help_is_printed() {
    for args in [
        &["--help"][..],
        &["run", "--help"],
        &["check", "--help"],
        &["import", "--help"],
        &["import", "apigee", "--help"],
        &["explain", "--help"],
        &["backends", "--help"],
        &["apps", "--help"],
        &["drain", "--help"],
        &["token", "--help"],
        &["token", "new", "--help"],
        &["demo", "--help"],
    ] {
        let output = edgeproxy(args);
        assert!(output.status.success(), "{args:?}");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(printed.contains("Usage"), "{args:?}: {printed}");
    }
}

#[test]
fn wrong_usage_is_told_and_ends_with_2() {
    let output = edgeproxy(&["run", "--no-such-flag"]);
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("--no-such-flag"), "{told}");
    assert!(output.stdout.is_empty());
}
