//! Servers of etcd, and what they hold.

use std::future::Future;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use edgeproxy_store::{Etcd, EtcdSettings, ProxyName};
use tempfile::TempDir;

/// Whatever takes longer than this has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Why the tests can't run.
pub(crate) fn missing() -> Option<&'static str> {
    let runs = |program: &str, version: &str| {
        let mut command = Command::new(program);
        let status = command
            .arg(version)
            .env("ETCDCTL_API", "3")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    };
    if !runs("etcd", "--version") {
        return Some("there is no etcd: apt-get install etcd-server etcd-client");
    }
    if !runs("etcdctl", "version") {
        return Some("there is no etcdctl: apt-get install etcd-client");
    }
    None
}

/// One or more members of a cluster. They end with it.
pub(crate) struct Servers {
    members: Vec<Member>,
    /// Given to every call of etcdctl.
    access: Vec<String>,
}

struct Member {
    child: Option<Child>,
    args: Vec<String>,
    client: u16,
    _data: TempDir,
}

impl Drop for Servers {
    fn drop(&mut self) {
        for member in &mut self.members {
            member.kill();
        }
    }
}

impl Member {
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn start(&mut self) {
        let mut command = Command::new("etcd");
        command
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.child = Some(command.spawn().expect("etcd starts"));
    }
}

/// What its members have beyond the usual.
#[derive(Clone, Default)]
pub(crate) struct Extras {
    /// For clients.
    pub(crate) tls: Option<Tls>,
}

/// Paths of PEM files.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) ca: String,
    pub(crate) server: (String, String),
    pub(crate) client: (String, String),
}

impl Servers {
    pub(crate) fn one() -> Self {
        Self::start(1, &Extras::default())
    }

    pub(crate) fn three() -> Self {
        Self::start(3, &Extras::default())
    }

    /// etcd wants to know its peers' ports beforehand, so that one that was free a moment ago may not be any more:
    /// then others are tried.
    pub(crate) fn start(count: usize, extras: &Extras) -> Self {
        for _ in 0..5 {
            let mut servers = Self::with_ports(&free_ports(count * 2), extras);
            for member in &mut servers.members {
                member.start();
            }
            if servers.are_well() {
                return servers;
            }
        }
        panic!("etcd did not start on five sets of ports");
    }

    fn with_ports(ports: &[u16], extras: &Extras) -> Self {
        let (clients, peers) = ports.split_at(ports.len() / 2);
        let name = |at: usize| format!("m{at}");
        let cluster: Vec<_> = peers
            .iter()
            .enumerate()
            .map(|(at, port)| format!("{}=http://127.0.0.1:{port}", name(at)))
            .collect();
        let scheme = if extras.tls.is_some() { "https" } else { "http" };
        let member = |(at, (client, peer)): (usize, (&u16, &u16))| {
            let data = tempfile::tempdir().unwrap();
            let client_url = format!("{scheme}://127.0.0.1:{client}");
            let peer_url = format!("http://127.0.0.1:{peer}");
            let mut args: Vec<String> = [
                ("--name", name(at)),
                ("--data-dir", data.path().display().to_string()),
                ("--listen-client-urls", client_url.clone()),
                ("--advertise-client-urls", client_url),
                ("--listen-peer-urls", peer_url.clone()),
                ("--initial-advertise-peer-urls", peer_url),
                ("--initial-cluster", cluster.join(",")),
                (
                    "--initial-cluster-token",
                    format!("edgeproxy-{}", std::process::id()),
                ),
            ]
            .into_iter()
            .flat_map(|(flag, value)| [flag.to_owned(), value])
            .collect();
            if let Some(tls) = &extras.tls {
                args.extend(["--cert-file", &tls.server.0, "--key-file", &tls.server.1].map(str::to_owned));
                args.extend(["--client-cert-auth", "--trusted-ca-file", &tls.ca].map(str::to_owned));
            }
            Member {
                child: None,
                args,
                client: *client,
                _data: data,
            }
        };
        let mut access = Vec::new();
        if let Some(tls) = &extras.tls {
            access.extend(
                [
                    "--cacert",
                    &tls.ca,
                    "--cert",
                    &tls.client.0,
                    "--key",
                    &tls.client.1,
                ]
                .map(str::to_owned),
            );
        }
        Self {
            members: clients.iter().zip(peers).enumerate().map(member).collect(),
            access,
        }
    }

    fn are_well(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let ended = |member: &mut Member| {
                member
                    .child
                    .as_mut()
                    .is_none_or(|child| child.try_wait().unwrap().is_some())
            };
            if self.members.iter_mut().any(ended) {
                self.members.iter_mut().for_each(Member::kill);
                return false;
            }
            if self.ctl(&["endpoint", "health", "--command-timeout", "1s"]).0 {
                return true;
            }
            std::thread::yield_now();
        }
        panic!("etcd is not healthy within {PATIENCE:?}");
    }

    pub(crate) fn scheme(&self) -> &'static str {
        if self.access.is_empty() { "etcd" } else { "etcds" }
    }

    pub(crate) fn address(&self) -> String {
        let members: Vec<_> = (0..self.members.len())
            .map(|at| format!("127.0.0.1:{}", self.port(at)))
            .collect();
        format!("{}://{}/test", self.scheme(), members.join(","))
    }

    pub(crate) fn port(&self, member: usize) -> u16 {
        self.members[member].client
    }

    pub(crate) fn kill(&mut self, member: usize) {
        self.members[member].kill();
    }

    pub(crate) fn start_again(&mut self, member: usize) {
        self.members[member].start();
    }

    /// Waits until the members that run answer.
    pub(crate) fn wait(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.ctl(&["endpoint", "health", "--command-timeout", "1s"]).0 {
            assert!(
                Instant::now() < deadline,
                "etcd is not healthy within {PATIENCE:?}"
            );
        }
    }

    /// The member that leads, as they tell.
    pub(crate) fn leader(&self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let leads = |at: &usize| {
                let endpoint = format!("127.0.0.1:{}", self.port(*at));
                let (_, out) = self.ctl_at(&endpoint, &["endpoint", "status", "-w", "fields"]);
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

    /// Calls etcdctl with all members, and panics if it fails.
    pub(crate) fn control(&self, args: &[&str]) -> String {
        let (is_well, out) = self.ctl(args);
        assert!(is_well, "etcdctl {args:?}: {out}");
        out
    }

    /// As etcdctl shows the header of an answer.
    pub(crate) fn revision(&self) -> i64 {
        let out = self.control(&["get", "/none", "-w", "fields"]);
        let line = out.lines().find(|line| line.starts_with("\"Revision\"")).unwrap();
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    }

    pub(crate) fn add_access(&mut self, args: &[&str]) {
        self.access.extend(args.iter().map(|arg| (*arg).to_owned()));
    }

    fn ctl(&self, args: &[&str]) -> (bool, String) {
        let running = self.members.iter().filter(|member| member.child.is_some());
        let endpoints: Vec<_> = running
            .map(|member| format!("127.0.0.1:{}", member.client))
            .collect();
        self.ctl_at(&endpoints.join(","), args)
    }

    fn ctl_at(&self, endpoints: &str, args: &[&str]) -> (bool, String) {
        let mut command = Command::new("etcdctl");
        command
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", endpoints])
            .args(&self.access)
            .args(args);
        let output = command.stdin(Stdio::null()).output().expect("etcdctl starts");
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    }
}

/// Ports that nobody has, all different.
fn free_ports(count: usize) -> Vec<u16> {
    let sockets: Vec<_> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    sockets
        .iter()
        .map(|socket| socket.local_addr().unwrap().port())
        .collect()
}

/// A store of a proxy with that name, which isn't patient: a test waits for it.
pub(crate) fn settings(address: &str, proxy: &str) -> EtcdSettings {
    let seed = proxy.bytes().map(u64::from).sum();
    let mut settings = EtcdSettings::new(address.parse().unwrap(), ProxyName::parse(proxy).unwrap(), seed);
    settings.patience = Duration::from_secs(2);
    settings.request_timeout = Duration::from_secs(1);
    settings.connect_timeout = Duration::from_secs(1);
    settings
}

pub(crate) fn store(servers: &Servers, proxy: &str) -> Etcd {
    Etcd::new(settings(&servers.address(), proxy))
}

/// Runs a test, and fails it if it hangs.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(PATIENCE * 4, test)
            .await
            .expect("the test hangs");
    });
}
