use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{Api, Client, Listener, Logs, PATIENCE, built, eventually, within};

/// How a binary is to be started: its settings by environment, its flags, its file. What isn't set is the
/// test's own default: system-chosen ports on loopback, the API on, two workers, JSON logs.
#[derive(Debug)]
pub struct Setup {
    env: BTreeMap<String, String>,
    args: Vec<String>,
    folder: Arc<TempDir>,
    /// The names of the sockets of a service manager, and those.
    activated: Vec<(String, TcpListener)>,
    /// What a shell does before it becomes the binary, in a mount namespace of its own.
    prepared: Option<String>,
}

impl Setup {
    fn new() -> Self {
        let folder = TempDir::with_prefix("edgeproxy-tests-").expect("a temporary folder can be made");
        let setup = Self {
            env: BTreeMap::new(),
            args: Vec::new(),
            folder: Arc::new(folder),
            activated: Vec::new(),
            prepared: None,
        };
        setup
            .set("LISTEN_ADDR", "127.0.0.1:0")
            .set("API_ENABLED", "true")
            .set("API_LISTEN_ADDR", "127.0.0.1:0")
            .set("WORKERS", "2")
            .set("LOG_FORMAT", "json")
    }

    /// Sets `EDGEPROXY_<name>`.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.env.insert(format!("EDGEPROXY_{name}"), value.to_string());
        self
    }

    /// Sets a variable that is not the product's own.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// What is free goes back to the system at once instead of some seconds later, so that what is resident is in use.
    #[must_use]
    pub fn gives_back_at_once(self) -> Self {
        self.variable("_RJEM_MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0")
    }

    /// Passes a socket on as systemd does, by `LISTEN_FDS`, under that name. At most two.
    #[must_use]
    pub fn activated(mut self, name: &str, socket: TcpListener) -> Self {
        self.activated.push((name.to_owned(), socket));
        self
    }

    /// Has a shell do this before it becomes the binary, in its folder and in a mount namespace of its own: what is
    /// mounted there is nobody else's, and gone with it.
    #[must_use]
    pub fn prepared(mut self, script: &str) -> Self {
        self.prepared = Some(script.to_owned());
        self
    }

    /// The folder that it is started in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The command that starts it.
    fn command(&mut self) -> Command {
        let mut activated = std::mem::take(&mut self.activated);
        if activated.is_empty() {
            let mut command = match &self.prepared {
                None => Command::new(Edgeproxy::binary()),
                Some(script) => {
                    let mut shell = Command::new("unshare");
                    let script = format!("set -eu; {script}; exec \"$@\"");
                    shell
                        .args(["--mount", "sh", "-c", &script, "sh"])
                        .arg(Edgeproxy::binary());
                    shell
                }
            };
            command
                .arg("run")
                .args(&self.args)
                .envs(&self.env)
                .stdin(Stdio::null());
            return command;
        }
        // A shell passes what it has as standard input and output on where systemd puts it, and knows its process id.
        let names: Vec<_> = activated.iter().map(|(name, _)| name.clone()).collect();
        let mut command = Command::new("sh");
        let second = if names.len() > 1 { "4<&1" } else { "" };
        let count = names.len();
        command
            .arg("-c")
            .arg(format!(
                "exec 3<&0 {second} </dev/null >&2; LISTEN_PID=$$ WATCHDOG_PID=$$ LISTEN_FDS={count} exec edgeproxy run \"$@\""
            ))
            .arg("sh")
            .args(&self.args)
            .envs(&self.env)
            .env("LISTEN_FDNAMES", names.join(":"));
        let second = (count > 1).then(|| activated.remove(1).1);
        let first = activated.remove(0).1;
        command.stdin(Stdio::from(std::os::fd::OwnedFd::from(first)));
        if let Some(second) = second {
            command.stdout(Stdio::from(std::os::fd::OwnedFd::from(second)));
        }
        command
    }

    /// Leaves `EDGEPROXY_<name>` to the product's own default.
    #[must_use]
    pub fn unset(mut self, name: &str) -> Self {
        self.env.remove(&format!("EDGEPROXY_{name}"));
        self
    }

    /// Adds a flag after `run`.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// Writes `edgeproxy.toml` into the folder that it is started in.
    #[must_use]
    pub fn toml(self, text: &str) -> Self {
        self.file("edgeproxy.toml", text)
    }

    /// Writes a file into the folder that it is started in.
    #[must_use]
    pub fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.folder.path().join(name), text).expect("the folder can be written to");
        self
    }

    /// Starts it and waits until it says what it listens on.
    ///
    /// # Panics
    /// If it ends, or takes more than 20 seconds.
    pub async fn start(mut self) -> Edgeproxy {
        let has_output = self.activated.len() > 1;
        let command = self.command();
        self.start_as(command, has_output).await
    }

    /// Starts a script that ends in the binary, by `exec`, with the binary's folder in the `PATH` and none of
    /// this set-up's environment but the log format.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub async fn start_by_shell(self, script: &str) -> Edgeproxy {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(script)
            .env("EDGEPROXY_LOG_FORMAT", "json")
            .stdin(Stdio::null());
        self.start_as(command, false).await
    }

    async fn start_as(self, mut command: Command, has_output: bool) -> Edgeproxy {
        let api = self
            .env
            .get("EDGEPROXY_API_ENABLED")
            .is_some_and(|enabled| enabled == "true");
        let (reader, writer) = std::io::pipe().expect("a pipe can be made");
        let other = writer.try_clone().expect("a pipe can be shared");
        let wanted: Vec<_> = command
            .as_std()
            .get_envs()
            .map(|(k, v)| (k.to_owned(), v.map(ToOwned::to_owned)))
            .collect();
        command.env_clear().env("PATH", path()).stderr(other);
        if !has_output {
            command.stdout(writer);
        }
        for (name, value) in wanted {
            command.env(name, value.unwrap_or_default());
        }
        command.current_dir(self.folder.path()).kill_on_drop(true);
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) => panic!("edgeproxy does not start: {error}"),
        };
        // It holds the pipe's other end, and the logs end only when nobody does.
        drop(command);
        let (logs, thread) = Logs::read(reader);
        let mut started = Edgeproxy {
            child: Some(child),
            logs,
            thread: Some(thread),
            proxy: SocketAddr::from(([127, 0, 0, 1], 0)),
            api: None,
            folder: self.folder,
            env: self.env,
            args: self.args,
            prepared: self.prepared,
            successors: Vec::new(),
        };
        started.proxy = started.address(Listener::Proxy).await;
        if api {
            started.api = Some(started.address(Listener::Api).await);
        }
        started
    }

    /// Starts it, and expects that it ends by itself without ever listening.
    ///
    /// # Panics
    /// If it is still there after 20 seconds.
    pub async fn refused(mut self) -> Refused {
        let mut command = self.command();
        let wanted: Vec<_> = command
            .as_std()
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        command.env_clear().env("PATH", path()).envs(wanted);
        command.current_dir(self.folder.path()).kill_on_drop(true);
        let output = within(PATIENCE, "edgeproxy refuses this set-up", command.output()).await;
        let output = output.expect("edgeproxy can be started");
        Refused {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// How a start was refused.
#[derive(Debug)]
pub struct Refused {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it printed for programs.
    pub stdout: String,
    /// What it printed for people.
    pub stderr: String,
}

/// A running edgeproxy. Dropped: it is killed, its logs are printed if the test has failed, and the test
/// fails if edgeproxy panicked or ended unasked.
pub struct Edgeproxy {
    /// `None` once its end was awaited.
    child: Option<Child>,
    logs: Logs,
    thread: Option<JoinHandle<()>>,
    proxy: SocketAddr,
    api: Option<SocketAddr>,
    folder: Arc<TempDir>,
    env: BTreeMap<String, String>,
    args: Vec<String>,
    prepared: Option<String>,
    /// The processes that took its place, one after the other.
    successors: Vec<u32>,
}

impl Edgeproxy {
    /// The binary under test.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn binary() -> PathBuf {
        let path = std::env::var_os("EDGEPROXY_BIN").map_or_else(|| built("edgeproxy"), PathBuf::from);
        assert!(
            path.is_file(),
            "there is no edgeproxy at {}: build it with `cargo build -p edgeproxy` in the tests' profile, or name \
             one by EDGEPROXY_BIN",
            path.display()
        );
        std::path::absolute(path).expect("the path is not empty")
    }

    /// A set-up to be filled and started.
    #[must_use]
    pub fn setup() -> Setup {
        Setup::new()
    }

    async fn address(&self, listener: Listener) -> SocketAddr {
        let found = within(PATIENCE, "edgeproxy listens", self.logs.listening(listener)).await;
        let Some(mut addr) = found else {
            panic!("edgeproxy ended before it said where the {listener:?} listens")
        };
        if addr.ip().is_unspecified() {
            addr.set_ip(if addr.is_ipv4() {
                Ipv4Addr::LOCALHOST.into()
            } else {
                Ipv6Addr::LOCALHOST.into()
            });
        }
        addr
    }

    /// Where the proxy listens.
    #[must_use]
    pub fn proxy(&self) -> SocketAddr {
        self.proxy
    }

    /// Where the API listens.
    ///
    /// # Panics
    /// If it is off.
    #[must_use]
    pub fn api_addr(&self) -> SocketAddr {
        self.api.expect("the API is on")
    }

    /// A client of the proxy, with a connection of its own.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(self.proxy)
    }

    /// A client of the API, with a connection of its own.
    ///
    /// # Panics
    /// If it is off.
    #[must_use]
    pub fn api(&self) -> Api {
        Api::new(self.api_addr())
    }

    /// Puts another `edgeproxy.toml` in the place of the one that is there, as a whole.
    ///
    /// # Panics
    /// If it can't be written.
    pub fn rewrite(&self, text: &str) {
        let beside = self.folder.path().join("edgeproxy.toml.next");
        std::fs::write(&beside, text).expect("the folder can be written to");
        std::fs::rename(beside, self.config()).expect("the folder can be written to");
    }

    /// The folder that it was started in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its `edgeproxy.toml`.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("edgeproxy.toml")
    }

    /// What it has printed.
    #[must_use]
    pub fn logs(&self) -> &Logs {
        &self.logs
    }

    /// The id of the process that serves.
    ///
    /// # Panics
    /// If it has ended.
    #[must_use]
    pub fn id(&self) -> u32 {
        let child = || self.child.as_ref().and_then(Child::id);
        let latest = self.successors.last().copied();
        latest.or_else(child).expect("edgeproxy is running")
    }

    /// Has the process that serves hand over to a new one, and waits until that serves; returns the id of the old one.
    ///
    /// # Panics
    /// If it doesn't in time.
    pub async fn hand_over(&mut self) -> u32 {
        let before = self.id();
        self.signal(Signal::USR2);
        let (successor, _) = eventually(PATIENCE, "it has handed over", async || {
            let text = self.logs.text();
            let handed = text
                .lines()
                .filter(|line| line.contains("handed over: draining"))
                .count();
            let serving = text
                .lines()
                .filter(|line| line.contains("this one serves"))
                .count();
            let wanted = self.successors.len() + 1;
            if handed >= wanted && serving >= wanted {
                self.started().last().copied().ok_or_else(|| "nobody".to_owned())
            } else {
                Err(format!("{handed} and {serving} of {wanted}"))
            }
        })
        .await;
        self.successors.push(successor);
        before
    }

    /// The ids of all processes that were started to take its place, whether they did or not.
    #[must_use]
    pub fn started(&self) -> Vec<u32> {
        let text = self.logs.text();
        let lines = text
            .lines()
            .filter(|line| line.contains("a new process was started"));
        let id = |line: &str| {
            let (_, rest) = line.split_once("\"successor\":")?;
            let end = rest.find(|c: char| !c.is_ascii_digit())?;
            rest[..end].parse().ok()
        };
        lines.filter_map(id).collect()
    }

    /// Waits until one of the processes has ended.
    ///
    /// # Panics
    /// If it doesn't in time.
    pub async fn gone(&mut self, id: u32, limit: Duration) {
        let what = format!("process {id} ends");
        eventually(limit, &what, async || {
            // Nobody else waits for the first one.
            if let Some(child) = &mut self.child {
                let _ = child.try_wait();
            }
            if runs(id) {
                Err("it runs".to_owned())
            } else {
                Ok(())
            }
        })
        .await;
    }

    /// Sends it a signal, by its own process id.
    ///
    /// # Panics
    /// If it has ended.
    pub fn signal(&self, signal: Signal) {
        self.signal_to(self.id(), signal);
    }

    /// Sends a signal to one of the processes.
    ///
    /// # Panics
    /// If it has ended.
    pub fn signal_to(&self, id: u32, signal: Signal) {
        if let Err(error) = kill_process(pid(id), signal) {
            panic!("edgeproxy ({id}) cannot be sent {signal:?}: {error}");
        }
    }

    /// Kills it by SIGKILL, and gives the set-up that it was started with, in the same folder.
    ///
    /// # Panics
    /// If it doesn't end in time.
    pub async fn killed(mut self) -> Setup {
        self.signal(Signal::KILL);
        self.ended(PATIENCE).await;
        self.again()
    }

    /// The set-up that it was started with, in the same folder.
    #[must_use]
    pub fn again(&self) -> Setup {
        Setup {
            env: self.env.clone(),
            args: self.args.clone(),
            folder: Arc::clone(&self.folder),
            activated: Vec::new(),
            prepared: self.prepared.clone(),
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it doesn't end in time.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let child = self.child.as_mut().expect("its end is awaited once");
        let status = within(limit, "edgeproxy ends", child.wait())
            .await
            .expect("a child can be waited for");
        self.child = None;
        status
    }

    /// Whether it is still running.
    ///
    /// # Panics
    /// If the system can't tell.
    pub fn is_running(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| child.try_wait().expect("a child can be asked for").is_none())
    }
}

/// Whether a process is there and has not ended.
fn runs(id: u32) -> bool {
    // One that has ended may be left for somebody to wait for.
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

fn pid(id: u32) -> Pid {
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
    pid.expect("a process id is a positive i32")
}

impl Drop for Edgeproxy {
    fn drop(&mut self) {
        let mut unasked = None;
        let handed_over = !self.successors.is_empty();
        for id in self.started().into_iter().filter(|id| runs(*id)) {
            let command = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&command).contains("edgeproxy") {
                // Fails only if it has just ended, which is what is wanted.
                let _ = kill_process(pid(id), Signal::KILL);
            }
        }
        if let Some(child) = &mut self.child {
            unasked = child.try_wait().ok().flatten().filter(|_| !handed_over);
            // Fails only if it has just ended, which is what is wanted.
            let _ = child.start_kill();
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if std::thread::panicking() {
            print_logs(&self.logs, unasked);
            return;
        }
        if let Some(line) = self.logs.panic() {
            print_logs(&self.logs, unasked);
            panic!("edgeproxy panicked during the test: {line}");
        }
        if let Some(status) = unasked {
            print_logs(&self.logs, unasked);
            panic!("edgeproxy ended during the test, unasked: {status}");
        }
    }
}

#[allow(clippy::print_stderr, reason = "a failed test shows what edgeproxy said")]
fn print_logs(logs: &Logs, unasked: Option<ExitStatus>) {
    eprintln!("---- edgeproxy's logs\n{}----", logs.text());
    if let Some(status) = unasked {
        eprintln!("edgeproxy had ended: {status}");
    }
}

/// The system's `PATH` with the binary's folder before it.
fn path() -> std::ffi::OsString {
    let binary = Edgeproxy::binary();
    let system = std::env::var_os("PATH").unwrap_or_default();
    let folders = binary
        .parent()
        .map(Path::to_path_buf)
        .into_iter()
        .chain(std::env::split_paths(&system));
    std::env::join_paths(folders).expect("no folder in the PATH has a colon")
}
