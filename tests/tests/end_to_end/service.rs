//! Under a service manager that speaks as systemd does: what it is told, and the sockets that it passes.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use edgeproxy_tests::{Backend, Client, Edgeproxy, PATIENCE, Setup, within};
use rustix::process::Signal;
use tempfile::TempDir;

/// The manager's end of the socket that a service notifies.
struct Manager {
    socket: tokio::net::UnixDatagram,
    folder: TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = TempDir::with_prefix("edgeproxy-notify-").expect("a temporary folder can be made");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("it can be bound");
        socket.set_nonblocking(true).expect("it can be");
        let socket = tokio::net::UnixDatagram::from_std(socket).expect("a runtime is there");
        Self { socket, folder }
    }

    fn setup(&self) -> Setup {
        let path = self.folder.path().join("notify");
        Edgeproxy::setup().variable("NOTIFY_SOCKET", path.to_str().expect("it is text"))
    }

    /// The next thing that it is told, but for signs of life.
    async fn told(&self) -> String {
        loop {
            let told = self.next().await;
            if told != "WATCHDOG=1\n" {
                return told;
            }
        }
    }

    async fn next(&self) -> String {
        let mut told = [0; 4096];
        let receiving = self.socket.recv(&mut told);
        let length = within(PATIENCE, "the manager is told something", receiving).await;
        let told = &told[..length.expect("it is open")];
        String::from_utf8_lossy(told).into_owned()
    }
}

#[tokio::test]
async fn the_manager_is_told_of_the_start_a_reload_and_the_end() {
    let manager = Manager::new();
    let mut edgeproxy = manager.setup().toml("").start().await;
    assert_eq!(manager.told().await, "READY=1\nSTATUS=serving\n");
    edgeproxy.signal(Signal::HUP);
    let told = manager.told().await;
    let time = told
        .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
        .and_then(|rest| rest.split_once('\n'))
        .and_then(|(time, _)| time.parse::<u64>().ok());
    assert!(time.is_some_and(|time| time > 0), "{told:?}");
    assert_eq!(manager.told().await, "READY=1\nSTATUS=serving\n");
    edgeproxy.signal(Signal::TERM);
    assert_eq!(manager.told().await, "STOPPING=1\nSTATUS=draining\n");
    assert_eq!(edgeproxy.ended(PATIENCE).await.code(), Some(0));
}

#[tokio::test]
async fn the_watchdog_is_told_more_often_than_it_asks_for() {
    let manager = Manager::new();
    let limit = Duration::from_secs(3);
    let usec = limit.as_micros().to_string();
    let edgeproxy = manager.setup().variable("WATCHDOG_USEC", &usec).start().await;
    assert_eq!(manager.next().await, "READY=1\nSTATUS=serving\n");
    for _ in 0..3 {
        let told = within(limit, "a sign of life", manager.next()).await;
        assert_eq!(told, "WATCHDOG=1\n");
    }
    drop(edgeproxy);
}

#[tokio::test]
async fn the_manager_is_told_whom_it_has_handed_over_to_by_the_one_that_has() {
    let manager = Manager::new();
    let mut edgeproxy = manager.setup().start().await;
    assert_eq!(manager.told().await, "READY=1\nSTATUS=serving\n");
    for _ in 0..2 {
        edgeproxy.hand_over().await;
        let expected = format!("MAINPID={}\nREADY=1\n", edgeproxy.id());
        assert_eq!(manager.told().await, expected);
        assert_eq!(manager.told().await, "READY=1\nSTATUS=serving\n");
    }
}

#[tokio::test]
async fn the_watchdog_of_a_process_that_has_taken_over_is_its_own() {
    let manager = Manager::new();
    // With a socket, so that it is told whose watchdog it is.
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
    let setup = manager.setup().variable("WATCHDOG_USEC", "3000000");
    let mut edgeproxy = setup.activated("http", socket).start().await;
    assert_eq!(manager.told().await, "READY=1\nSTATUS=serving\n");
    edgeproxy.hand_over().await;
    edgeproxy.ended(PATIENCE).await;
    while manager.told().await != "READY=1\nSTATUS=serving\n" {}
    let told = within(Duration::from_secs(3), "a sign of life", manager.next()).await;
    assert_eq!(told, "WATCHDOG=1\n");
}

#[tokio::test]
async fn sockets_that_systemd_passes_are_the_listeners_that_they_are_called_after() {
    let backend = Backend::start("b").await;
    let socket = || std::net::TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
    let (http, api) = (socket(), socket());
    let addrs = [&http, &api].map(|socket| socket.local_addr().expect("it is bound"));
    // A client that came before the service: it is served, not refused.
    let early = tokio::spawn(async move { Client::new(addrs[0]).get("shop", "/").await });
    let mut edgeproxy = Edgeproxy::setup()
        .activated("http", http)
        .activated("api", api)
        .toml(&listed(&backend))
        .start()
        .await;
    assert_eq!([edgeproxy.proxy(), edgeproxy.api_addr()], addrs);
    let reply = within(PATIENCE, "the early client is served", early).await;
    let _ = reply.expect("no panic").expect("an answer").expect(200);
    // One socket is shared by two workers, and handed on.
    for _ in 0..3 {
        for _ in 0..10 {
            let reply = Client::new(addrs[0]).get("shop", "/").await;
            let _ = reply.expect("an answer").expect(200);
        }
        edgeproxy.hand_over().await;
        let _ = edgeproxy.api().get("/ready").await.expect(200);
    }
}

fn listed(backend: &Backend) -> String {
    let (ip, port) = (backend.addr().ip(), backend.addr().port());
    format!("[[backends]]\nid = \"b\"\napp = \"shop\"\nregion = \"eu\"\nip = \"{ip}\"\nport = {port}\n")
}

#[tokio::test]
async fn a_socket_that_is_for_no_listener_is_refused_with_the_names_that_there_are() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
    let addr = socket.local_addr().expect("it is bound").to_string();
    let refused = Edgeproxy::setup().activated("web", socket).refused().await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for part in [
        "\"web\"",
        &addr,
        "FileDescriptorName",
        "http (127.0.0.1:0)",
        "api",
    ] {
        assert!(refused.stderr.contains(part), "{part}: {refused:?}");
    }
}
