use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{Api, Client, Listener, Logs, PATIENCE, built, within};

/// How a binary is to be started: its settings by environment, its flags, its file. What isn't set is the
/// test's own default: system-chosen ports on loopback, the API on, two workers, JSON logs.
#[derive(Debug)]
pub struct Setup {
    env: BTreeMap<String, String>,
    args: Vec<String>,
    folder: Arc<TempDir>,
}

impl Setup {
    fn new() -> Self {
        let folder = TempDir::with_prefix("edgeproxy-tests-").expect("a temporary folder can be made");
        let setup = Self {
            env: BTreeMap::new(),
            args: Vec::new(),
            folder: Arc::new(folder),
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
    pub async fn start(self) -> Edgeproxy {
        let mut command = Command::new(Edgeproxy::binary());
        command.arg("run").args(&self.args).envs(&self.env);
        self.start_as(command).await
    }

    /// Starts a script that ends in the binary, by `exec`, with the binary's folder in the `PATH` and none of
    /// this set-up's environment but the log format.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub async fn start_by_shell(self, script: &str) -> Edgeproxy {
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).env("EDGEPROXY_LOG_FORMAT", "json");
        self.start_as(command).await
    }

    async fn start_as(self, mut command: Command) -> Edgeproxy {
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
        command
            .env_clear()
            .env("PATH", path())
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(other);
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
    pub async fn refused(self) -> Refused {
        let mut command = Command::new(Edgeproxy::binary());
        command
            .arg("run")
            .args(&self.args)
            .env_clear()
            .env("PATH", path())
            .envs(&self.env);
        command
            .current_dir(self.folder.path())
            .kill_on_drop(true)
            .stdin(Stdio::null());
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

    /// Its process id.
    ///
    /// # Panics
    /// If it has ended.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child
            .as_ref()
            .and_then(Child::id)
            .expect("edgeproxy is running")
    }

    /// Sends it a signal, by its own process id.
    ///
    /// # Panics
    /// If it has ended.
    pub fn signal(&self, signal: Signal) {
        let id = self.id();
        let pid = i32::try_from(id)
            .ok()
            .and_then(Pid::from_raw)
            .expect("a process id is a positive i32");
        if let Err(error) = kill_process(pid, signal) {
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

impl Drop for Edgeproxy {
    fn drop(&mut self) {
        let mut unasked = None;
        if let Some(child) = &mut self.child {
            unasked = child.try_wait().ok().flatten();
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
