use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// For members to be well: beside a build and other tests they take a while.
const PATIENCE: Duration = Duration::from_secs(60);

/// Members of etcd on loopback, of one cluster. They end with it.
pub struct Etcd {
    members: Vec<Member>,
}

struct Member {
    child: Option<Child>,
    args: Vec<String>,
    client: u16,
    _data: TempDir,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Member {
    fn start(&mut self) {
        let mut command = Command::new("etcd");
        command
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.child = Some(command.spawn().expect("etcd starts"));
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Fails only if it has ended, which is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().map(Child::id);
        let pid = id.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(pid) = pid {
            kill_process(pid, signal).expect("it runs");
        }
    }
}

impl Etcd {
    /// Why there can be none.
    #[must_use]
    pub fn missing() -> Option<&'static str> {
        let runs = |program: &str, version: &str| {
            let mut command = Command::new(program);
            command.arg(version).env("ETCDCTL_API", "3");
            let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
            status.is_ok_and(|status| status.success())
        };
        let both = runs("etcd", "--version") && runs("etcdctl", "version");
        (!both).then_some("there is no etcd and etcdctl: apt-get install etcd-server etcd-client")
    }

    /// Starts so many, and waits until they are well. etcd wants to know its peers' ports beforehand, so that one that was
    /// free a moment ago may not be any more: then others are tried.
    ///
    /// # Panics
    /// If they aren't in time.
    #[must_use]
    pub fn start(count: usize) -> Self {
        for _ in 0..5 {
            let mut etcd = Self::with_ports(&free_ports(count * 2));
            etcd.members.iter_mut().for_each(Member::start);
            if etcd.is_well_soon() {
                return etcd;
            }
        }
        panic!("etcd did not start on five sets of ports");
    }

    fn with_ports(ports: &[u16]) -> Self {
        let (clients, peers) = ports.split_at(ports.len() / 2);
        let url = |port: &u16| format!("http://127.0.0.1:{port}");
        let cluster: Vec<_> = peers
            .iter()
            .enumerate()
            .map(|(at, port)| format!("m{at}={}", url(port)))
            .collect();
        let member = |(at, (client, peer)): (usize, (&u16, &u16))| {
            let data = TempDir::with_prefix("edgeproxy-etcd-").expect("a temporary folder can be made");
            let flags = [
                ("--name", format!("m{at}")),
                ("--data-dir", data.path().display().to_string()),
                ("--listen-client-urls", url(client)),
                ("--advertise-client-urls", url(client)),
                ("--listen-peer-urls", url(peer)),
                ("--initial-advertise-peer-urls", url(peer)),
                ("--initial-cluster", cluster.join(",")),
                (
                    "--initial-cluster-token",
                    format!("edgeproxy-{}", std::process::id()),
                ),
            ];
            let args = flags
                .into_iter()
                .flat_map(|(flag, value)| [flag.to_owned(), value]);
            Member {
                child: None,
                args: args.collect(),
                client: *client,
                _data: data,
            }
        };
        Self {
            members: clients.iter().zip(peers).enumerate().map(member).collect(),
        }
    }

    /// Whether it is; `false`: one has ended.
    fn is_well_soon(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let ended = |member: &mut Member| {
                let child = member.child.as_mut();
                child.is_none_or(|child| child.try_wait().expect("a child can be asked for").is_some())
            };
            if self.members.iter_mut().any(ended) {
                return false;
            }
            if self.control(&["endpoint", "health", "--command-timeout", "1s"]).0 {
                return true;
            }
        }
        panic!("etcd is not well within {PATIENCE:?}");
    }

    /// How many members there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.members.len()
    }

    /// The port of a member for clients.
    #[must_use]
    pub fn port(&self, member: usize) -> u16 {
        self.members[member].client
    }

    /// All of them, as the setting `store` names them.
    #[must_use]
    pub fn address(&self) -> String {
        let ports: Vec<_> = self.members.iter().map(|member| member.client).collect();
        Self::address_of(&ports)
    }

    /// The setting `store` for these ports.
    #[must_use]
    pub fn address_of(ports: &[u16]) -> String {
        let members: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("etcd://{}/test", members.join(","))
    }

    /// `kill -9`.
    pub fn kill(&mut self, member: usize) {
        self.members[member].kill();
    }

    /// Starts one again that was killed, with what it knew.
    pub fn start_again(&mut self, member: usize) {
        self.members[member].start();
    }

    /// All of them stand still.
    pub fn freeze(&self) {
        self.members.iter().for_each(|member| member.signal(Signal::STOP));
    }

    /// They go on.
    pub fn thaw(&self) {
        self.members.iter().for_each(|member| member.signal(Signal::CONT));
    }

    /// Waits until those that run answer.
    ///
    /// # Panics
    /// If they don't in time.
    pub fn wait(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.control(&["endpoint", "health", "--command-timeout", "1s"]).0 {
            assert!(Instant::now() < deadline, "etcd is not well within {PATIENCE:?}");
        }
    }

    /// The member that leads, as they tell.
    ///
    /// # Panics
    /// If nobody does in time.
    #[must_use]
    pub fn leader(&self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let leads = |at: &usize| {
                let endpoint = format!("127.0.0.1:{}", self.port(*at));
                let (_, out) = control_at(&endpoint, &["endpoint", "status", "-w", "fields"]);
                let field = |name: &str| {
                    let line = out.lines().find(|line| line.starts_with(name))?;
                    Some(line.split_once(" : ")?.1.to_owned())
                };
                field("\"MemberID\"").is_some_and(|id| field("\"Leader\"") == Some(id))
            };
            if let Some(leader) = (0..self.members.len()).find(leads) {
                return leader;
            }
            assert!(Instant::now() < deadline, "nobody leads");
        }
    }

    /// What is kept under a key of the prefix; empty if nothing is.
    #[must_use]
    pub fn get(&self, key: &str) -> String {
        self.control(&["get", "--print-value-only", &format!("/test/{key}")])
            .1
    }

    /// Forgets all that was before now, so that nobody can be told of it any more.
    ///
    /// # Panics
    /// If it doesn't.
    pub fn compact(&self) {
        let (_, out) = self.control(&["endpoint", "status", "-w", "fields"]);
        let line = out.lines().find(|line| line.starts_with("\"Revision\""));
        let revision = line.and_then(|line| Some(line.split_once(" : ")?.1.trim().to_owned()));
        let revision = revision.expect("it tells its revision");
        assert!(
            self.control(&["compact", "--physical", &revision]).0,
            "it compacts"
        );
    }

    fn control(&self, args: &[&str]) -> (bool, String) {
        let running = self.members.iter().filter(|member| member.child.is_some());
        let endpoints: Vec<_> = running
            .map(|member| format!("127.0.0.1:{}", member.client))
            .collect();
        control_at(&endpoints.join(","), args)
    }
}

fn control_at(endpoints: &str, args: &[&str]) -> (bool, String) {
    let mut command = Command::new("etcdctl");
    command
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", endpoints])
        .args(args);
    let output = command.stdin(Stdio::null()).output().expect("etcdctl starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), text)
}

/// Ports that nobody has, all different.
fn free_ports(count: usize) -> Vec<u16> {
    let sockets: Vec<_> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("loopback can be bound"))
        .collect();
    sockets
        .iter()
        .map(|socket| socket.local_addr().expect("it is bound").port())
        .collect()
}
