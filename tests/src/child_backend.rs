use std::net::SocketAddr;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use crate::{PATIENCE, built, within};

/// A backend in a process of its own, so that it can be killed as an operator's would be: by SIGKILL.
///
/// It ends when this is dropped, and also when the test itself is killed: it watches its standard input.
pub struct ChildBackend {
    child: Child,
    addr: SocketAddr,
    _stdin: ChildStdin,
}

impl ChildBackend {
    /// Starts one that answers with its name after `work_ms` milliseconds.
    ///
    /// # Panics
    /// If it doesn't start.
    pub async fn start(name: &str, work_ms: u64) -> Self {
        let program = built("sample_backend");
        let mut command = Command::new(&program);
        command.arg(name).arg(work_ms.to_string()).env_clear();
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => panic!("{} can't be started: {error}", program.display()),
        };
        let stdin = child.stdin.take().expect("it was asked for");
        let stdout = child.stdout.take().expect("it was asked for");
        let mut lines = BufReader::new(stdout).lines();
        let line = within(
            PATIENCE,
            "a sample backend says where it listens",
            lines.next_line(),
        )
        .await;
        let addr = line.ok().flatten().and_then(|line| line.parse().ok());
        Self {
            child,
            addr: addr.expect("it says where it listens"),
            _stdin: stdin,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Kills it by SIGKILL and waits for its end.
    ///
    /// # Panics
    /// If it can't be killed.
    pub async fn kill(mut self) {
        within(PATIENCE, "a killed process ends", self.child.kill())
            .await
            .expect("a child can be killed");
    }
}
