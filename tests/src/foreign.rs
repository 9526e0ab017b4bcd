use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use crate::{PATIENCE, within};

/// Whether a program of other people's is there. Where it isn't, the reason is printed, and the test that asks has
/// nothing to do; but with `CI=true` it fails, since there `.ci/run` installs them all.
///
/// # Panics
/// In CI, if there is no such program.
#[must_use]
#[allow(clippy::print_stderr, reason = "a test that can't be run says so")]
pub fn has(program: &str) -> bool {
    let there = is_installed(program);
    if !there {
        let said = format!("`{program}` is not installed: this test needs it");
        let ci = std::env::var("CI");
        assert!(!matches!(ci.as_deref(), Ok("true" | "1")), "{said}");
        eprintln!("SKIPPED: {said}");
    }
    there
}

/// Whether there is such a program in the `PATH`.
#[must_use]
pub fn is_installed(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(program).is_file())
}

/// A backend that is a program of other people's, or made of their library. It ends when this is dropped, and also
/// when the test itself is killed: it watches its standard input.
pub struct ForeignBackend {
    addr: SocketAddr,
    _child: Child,
    _stdin: ChildStdin,
}

impl ForeignBackend {
    /// Starts it and waits until it says where it listens.
    ///
    /// # Panics
    /// If it doesn't.
    pub async fn start(interpreter: &str, script: &Path) -> Self {
        let mut command = command(interpreter, script);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => panic!("{interpreter} can't be started: {error}"),
        };
        let stdin = child.stdin.take().expect("it was asked for");
        let stdout = child.stdout.take().expect("it was asked for");
        let mut lines = BufReader::new(stdout).lines();
        let line = within(PATIENCE, "it says where it listens", lines.next_line()).await;
        let addr = line.ok().flatten().and_then(|line| line.parse().ok());
        Self {
            addr: addr.unwrap_or_else(|| panic!("{} does not say where it listens", script.display())),
            _child: child,
            _stdin: stdin,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// Runs a client of other people's to its end, and returns what it printed.
///
/// # Panics
/// If it fails or takes longer than `limit`.
pub async fn foreign_client(interpreter: &str, script: &Path, args: &[&str], limit: Duration) -> String {
    let mut command = command(interpreter, script);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    let output = within(limit, &format!("{} ends", script.display()), command.output()).await;
    let output = match output {
        Ok(output) => output,
        Err(error) => panic!("{interpreter} can't be run: {error}"),
    };
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{} {args:?} failed ({}); it printed: {stdout}{}",
        script.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    stdout
}

/// With none of this environment's settings, of which a proxy could be one.
fn command(interpreter: &str, script: &Path) -> Command {
    let mut command = Command::new(interpreter);
    command.arg(script).env_clear();
    for name in ["PATH", "HOME"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}
