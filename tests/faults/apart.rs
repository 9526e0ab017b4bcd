//! A backend in a process of its own, to be killed and stopped as an operator's may be.

use std::io::Read as _;
use std::net::SocketAddr;
use std::process::{ExitCode, Stdio};

use edgeproxy_tests::{FreePort, PATIENCE, within};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use crate::villain::Villain;

/// The argument by which this program is one.
pub(crate) const APART: &str = "--apart";

/// A process that serves. Killed, it can be started again on the same port.
pub(crate) struct Apart {
    name: &'static str,
    port: FreePort,
    running: Option<(Child, ChildStdin)>,
}

impl Apart {
    pub(crate) async fn start(name: &'static str) -> Self {
        let mut apart = Self {
            name,
            port: FreePort::take(),
            running: None,
        };
        apart.start_again().await;
        apart
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    pub(crate) async fn start_again(&mut self) {
        let program = std::env::current_exe().expect("this program has a path");
        let mut child = Command::new(program)
            .args([APART, self.name, &self.addr().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("this program can be started");
        let stdin = child.stdin.take().expect("it was asked for");
        let stdout = child.stdout.take().expect("it was asked for");
        let mut lines = BufReader::new(stdout).lines();
        let line = within(PATIENCE, "it says that it listens", lines.next_line()).await;
        assert!(matches!(line, Ok(Some(_))), "it says that it listens: {line:?}");
        self.running = Some((child, stdin));
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.running.as_ref().and_then(|(child, _)| child.id());
        let pid = id.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        kill_process(pid.expect("it runs"), signal).expect("a child can be sent a signal");
    }

    /// By SIGKILL.
    pub(crate) async fn kill(&mut self) {
        let (mut child, _) = self.running.take().expect("it runs");
        within(PATIENCE, "a killed process ends", child.kill())
            .await
            .expect("a child can be killed");
    }
}

/// The process itself: `--apart NAME ADDRESS`. It ends with its standard input.
pub(crate) fn serve(mut args: impl Iterator<Item = String>) -> ExitCode {
    let (Some(name), Some(addr)) = (args.next(), args.next().and_then(|addr| addr.parse().ok())) else {
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    runtime.block_on(async {
        let _villain = Villain::start_at(&name, addr);
        println!("listening");
        let _ = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await;
    });
    ExitCode::SUCCESS
}
