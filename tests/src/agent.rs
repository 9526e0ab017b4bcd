use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpSocket;
use tokio::process::{Child, ChildStdin, Command};

use crate::backend::reusable_socket;
use crate::{Api, Logs, PATIENCE, built, eventually, within};

/// A port of 127.0.0.1 that nobody else is given while this is held, and on which a
/// [`Backend`](crate::Backend) may listen, in this process or in another one.
pub struct FreePort(TcpSocket);

impl FreePort {
    /// One of the system's choice.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn take() -> Self {
        Self(reusable_socket(SocketAddr::from(([127, 0, 0, 1], 0))))
    }

    /// The same for other people's servers, which set `SO_REUSEADDR` alone.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn for_anybody() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket can be made");
        socket.set_reuseaddr(true).expect("SO_REUSEADDR can be set");
        socket.set_reuseport(true).expect("SO_REUSEPORT can be set");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(any).expect("loopback can be bound");
        Self(socket)
    }

    /// Its address.
    ///
    /// # Panics
    /// Never: it is bound.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.0.local_addr().expect("a bound socket has an address")
    }
}

/// A running `edgeproxy-agent`. Dropped: it is killed, what it started ends with its standard input, and its logs are
/// printed if the test has failed.
pub struct AgentProcess {
    child: Child,
    logs: Logs,
    thread: Option<JoinHandle<()>>,
    /// Taken to end the servers.
    stdin: Option<ChildStdin>,
}

impl AgentProcess {
    /// Starts it with these flags and that command, and nothing of this environment.
    ///
    /// # Panics
    /// If it can't be started.
    #[must_use]
    pub fn start(flags: &[&str], command: &[OsString]) -> Self {
        Self::start_by(Command::new(built("edgeproxy-agent")), flags, command)
    }

    /// The same, by a program that becomes the agent: its path is that program's last argument.
    ///
    /// # Panics
    /// If it can't be started.
    #[must_use]
    pub fn start_under(program: &[&str], flags: &[&str], command: &[OsString]) -> Self {
        let (name, args) = program.split_first().expect("a program has a name");
        let mut wrapped = Command::new(name);
        wrapped.args(args).arg(built("edgeproxy-agent"));
        Self::start_by(wrapped, flags, command)
    }

    fn start_by(mut agent: Command, flags: &[&str], command: &[OsString]) -> Self {
        let (reader, writer) = std::io::pipe().expect("a pipe can be made");
        let other = writer.try_clone().expect("a pipe can be shared");
        agent.args(flags).env_clear();
        if !command.is_empty() {
            agent.arg("--").args(command);
        }
        agent
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(writer)
            .stderr(other)
            .kill_on_drop(true);
        let mut child = match agent.spawn() {
            Ok(child) => child,
            Err(error) => panic!("{agent:?} can't be started: {error}"),
        };
        // It holds the pipe's other end, and the logs end only when nobody does.
        drop(agent);
        let stdin = child.stdin.take();
        let (logs, thread) = Logs::read(reader);
        Self {
            child,
            logs,
            thread: Some(thread),
            stdin,
        }
    }

    /// A sample backend of that name and work on that port, and an agent for it of the app `shop` in `eu`; it is
    /// registered under its name.
    #[must_use]
    pub fn of_a_sample(name: &str, work_ms: u64, port: &FreePort, api: SocketAddr, more: &[&str]) -> Self {
        let (api, addr) = (format!("http://{api}"), port.addr().port().to_string());
        let mut flags = vec!["--api", &api, "--app", "shop", "--region", "eu"];
        flags.extend(["--id", name, "--port", &addr]);
        flags.extend(more);
        let program = built("sample_backend").into_os_string();
        let work = work_ms.to_string();
        Self::start(&flags, &[program, name.into(), work.into(), addr.clone().into()])
    }

    /// What it and its server have printed.
    #[must_use]
    pub fn logs(&self) -> &Logs {
        &self.logs
    }

    /// The process id of its server, once it is started.
    ///
    /// # Panics
    /// If it isn't.
    pub async fn server(&self) -> Pid {
        let find = |line: &str| {
            let (_, rest) = line.split_once("started the server, process ")?;
            let id = rest.split(';').next()?.parse().ok()?;
            Pid::from_raw(id)
        };
        let found = within(PATIENCE, "the server is started", self.logs.find(find)).await;
        found.expect("the agent says which process it has started")
    }

    /// Waits until it is registered.
    ///
    /// # Panics
    /// If it isn't in time.
    pub async fn registered(&self, api: &mut Api, id: &str) {
        eventually(PATIENCE, &format!("{id} is registered"), async || {
            let reply = api.backend(id).await;
            if reply.status == 200 {
                Ok(())
            } else {
                Err(format!("{reply:?}; the agent said\n{}", self.logs.text()))
            }
        })
        .await;
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it has ended.
    pub fn signal(&self, signal: Signal) {
        let pid = self
            .child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        kill_process(pid.expect("the agent is running"), signal).expect("the agent is running");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it doesn't end in time.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        within(limit, "the agent ends", self.child.wait())
            .await
            .expect("a child can be waited for")
    }
}

impl Drop for AgentProcess {
    #[allow(clippy::print_stderr, reason = "a failed test shows what the agent said")]
    fn drop(&mut self) {
        drop(self.stdin.take());
        // Fails only if it has ended.
        let _ = self.child.start_kill();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if std::thread::panicking() {
            eprintln!("---- an agent's logs\n{}----", self.logs.text());
        } else if let Some(line) = self.logs.panic() {
            panic!("an agent panicked during the test: {line}");
        }
    }
}
