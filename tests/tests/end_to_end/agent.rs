//! The real agent before the real edgeproxy.

mod clients;
mod granted;
mod rolling;

use std::ffi::OsString;
use std::time::{Duration, Instant};

use edgeproxy_tests::{
    AgentProcess, Api, Backend, Client, Edgeproxy, FreePort, Load, PATIENCE, Wire, eventually, has, within,
};
use http::Method;
use rustix::process::{Signal, kill_process};

/// The shortest lease that the API grants.
const TTL: Duration = Duration::from_secs(5);
/// What this machine may be late.
const SLACK: Duration = Duration::from_millis(1_500);

async fn state(api: &mut Api, id: &str, expected: u16) {
    eventually(
        PATIENCE,
        &format!("{id} is answered with {expected}"),
        async || {
            let reply = api.backend(id).await;
            if reply.status == expected {
                Ok(())
            } else {
                Err(format!("{reply:?}"))
            }
        },
    )
    .await;
}

/// Now or later: what a process has printed is read by a thread.
async fn says(agent: &AgentProcess, words: &str) {
    let find = agent.logs().find(|line| line.contains(words).then_some(()));
    let found = within(PATIENCE, words, find).await;
    assert!(found.is_some(), "{words}: {}", agent.logs().text());
}

#[tokio::test]
async fn sigterm_deregisters_lets_what_is_in_flight_end_and_then_reaches_the_server() {
    let edgeproxy = Edgeproxy::setup().start().await;
    let mut api = edgeproxy.api();
    let port = FreePort::take();
    let mut agent = AgentProcess::of_a_sample("b-1", 1_000, &port, edgeproxy.api_addr(), &[]);
    // From then on it is routed to.
    says(&agent, "registered b-1").await;
    let mut under_way = Wire::connect(edgeproxy.proxy()).await;
    under_way.send(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n").await;
    eventually(PATIENCE, "the request is in flight", async || {
        let listed = api.backend("b-1").await.expect(200).json();
        if listed["in_flight"] == 1 {
            Ok(())
        } else {
            Err(listed.to_string())
        }
    })
    .await;
    agent.signal(Signal::TERM);
    let reply = under_way.reply().await.expect("an answer").expect(200);
    assert_eq!(reply.text(), "b-1");
    let ended = agent.ended(PATIENCE).await;
    assert_eq!(
        ended.code(),
        Some(128 + 15),
        "the server's end is the agent's: {ended:?}"
    );
    assert_eq!(api.ids().await, (Vec::new(), 0));
}

#[tokio::test]
async fn a_child_that_crashes_is_deregistered_before_the_agent_ends_with_its_code() {
    let edgeproxy = Edgeproxy::setup().start().await;
    let mut api = edgeproxy.api();
    let port = FreePort::take();
    let mut agent = AgentProcess::of_a_sample("b-1", 0, &port, edgeproxy.api_addr(), &[]);
    agent.registered(&mut api, "b-1").await;
    kill_process(agent.server().await, Signal::ABORT).expect("it is running");
    let ended = agent.ended(PATIENCE).await;
    assert_eq!(ended.code(), Some(128 + 6), "{ended:?}");
    assert_eq!(api.backend("b-1").await.status, 404);
}

#[tokio::test]
async fn one_that_never_opens_its_port_is_stopped_and_was_never_registered() {
    let edgeproxy = Edgeproxy::setup().start().await;
    let port = FreePort::take();
    let (api, addr) = (edgeproxy.api_addr().to_string(), port.addr().port().to_string());
    let flags = ["--api", &api, "--app", "shop", "--region", "eu", "--port", &addr];
    let flags = [&flags[..], &["--start-timeout", "300ms"]].concat();
    // It ends with its standard input, or by the signal.
    let mut agent = AgentProcess::start(&flags, &["cat".into()]);
    let ended = agent.ended(PATIENCE).await;
    assert_eq!(ended.code(), Some(124), "{ended:?}");
    let told = format!("127.0.0.1:{addr}: Connection refused");
    says(&agent, &told).await;
    assert_eq!(edgeproxy.api().ids().await, (Vec::new(), 0));
}

#[tokio::test]
async fn sigkill_of_the_agent_lets_the_lease_run_out_and_no_request_fails() {
    let edgeproxy = Edgeproxy::setup().set("ALGORITHM", "round_robin").start().await;
    let mut api = edgeproxy.api();
    let ports = [FreePort::take(), FreePort::take()];
    let ttl = ["--ttl", "5s"];
    let mut dies = AgentProcess::of_a_sample("dies", 0, &ports[0], edgeproxy.api_addr(), &ttl);
    let stays = AgentProcess::of_a_sample("stays", 0, &ports[1], edgeproxy.api_addr(), &ttl);
    // From then on they are routed to.
    says(&dies, "registered dies").await;
    says(&stays, "registered stays").await;
    let load = Load::start(edgeproxy.proxy(), Method::GET, "shop", 4);
    load.reaches("dies", 20).await;
    let killed = Instant::now();
    dies.signal(Signal::KILL);
    let _ = dies.ended(PATIENCE).await;
    // Its server serves on, for as long as the lease lasts.
    load.reaches("dies", 20).await;
    state(&mut api, "dies", 404).await;
    assert!(killed.elapsed() < TTL + SLACK, "{:?}", killed.elapsed());
    load.reaches("stays", 50).await;
    let tally = load.stop().await;
    assert_eq!(tally.failed, 0, "{tally:?}");
    // Longer than a lease, and registered all the while.
    assert_eq!(api.backend("stays").await.status, 200);
}

#[tokio::test]
async fn a_backend_that_the_proxy_has_forgotten_registers_again_within_one_heartbeat() {
    let edgeproxy = Edgeproxy::setup().start().await;
    let mut api = edgeproxy.api();
    let port = FreePort::take();
    let agent = AgentProcess::of_a_sample("b-1", 0, &port, edgeproxy.api_addr(), &["--ttl", "6s"]);
    agent.registered(&mut api, "b-1").await;
    let _ = api.delete("b-1", "").await.expect(200);
    let forgotten = Instant::now();
    agent.registered(&mut api, "b-1").await;
    // A third of the lease.
    let heartbeat = Duration::from_secs(2);
    assert!(
        forgotten.elapsed() < heartbeat + SLACK,
        "{:?}",
        forgotten.elapsed()
    );
}

#[tokio::test]
async fn after_an_outage_of_the_api_it_comes_back_by_itself() {
    let setup = || Edgeproxy::setup().set("HEARTBEAT_TTL_SECS", "60");
    let mut first = setup().start().await;
    let addr = first.api_addr();
    let port = FreePort::take();
    let agent = AgentProcess::of_a_sample("b-1", 0, &port, addr, &[]);
    agent.registered(&mut first.api(), "b-1").await;
    first.signal(Signal::KILL);
    let _ = first.ended(PATIENCE).await;
    let lost = Instant::now();
    agent
        .logs()
        .find(|line| line.contains("no connection").then_some(()))
        .await;
    let again = setup().set("API_LISTEN_ADDR", &addr.to_string()).start().await;
    agent.registered(&mut again.api(), "b-1").await;
    // It may be listed a moment before it is routed to.
    let mut client = again.client();
    eventually(PATIENCE, "the backend is routed to", async || {
        let reply = client.get("shop", "/").await.expect("an answer");
        if reply.status == 200 && reply.text() == "b-1" {
            Ok(())
        } else {
            Err(format!("{reply:?}"))
        }
    })
    .await;
    // The broken connection was noticed: nobody waited for the heartbeat, 15 s and more away.
    assert!(lost.elapsed() < Duration::from_secs(14), "{:?}", lost.elapsed());
}

#[tokio::test]
async fn several_apis_are_tried_in_turn() {
    let edgeproxy = Edgeproxy::setup().start().await;
    let (nobody, port) = (FreePort::take(), FreePort::take());
    let apis = format!("http://{},http://{}", nobody.addr(), edgeproxy.api_addr());
    let agent = AgentProcess::of_a_sample("b-1", 0, &port, nobody.addr(), &["--api", &apis]);
    agent.registered(&mut edgeproxy.api(), "b-1").await;
}

#[tokio::test]
async fn a_registration_that_is_refused_stops_the_server_and_says_why() {
    let edgeproxy = Edgeproxy::setup().start().await;
    let port = FreePort::take();
    let mut agent = AgentProcess::of_a_sample(
        "b-1",
        0,
        &port,
        edgeproxy.api_addr(),
        &["--fallback", "--ttl", "1s"],
    );
    let ended = agent.ended(PATIENCE).await;
    assert_eq!(ended.code(), Some(125), "{ended:?}");
    says(&agent, "refuses to register b-1: 422: ttl_secs").await;
    assert!(
        Client::new(port.addr()).get("a", "/").await.is_err(),
        "the server is stopped"
    );
}

#[tokio::test]
async fn a_command_that_is_not_there_ends_it_with_127() {
    let flags = [
        "--api",
        "http://127.0.0.1:9",
        "--app",
        "shop",
        "--region",
        "eu",
        "--port",
        "9",
    ];
    let mut agent = AgentProcess::start(&flags, &["/nowhere/server".into()]);
    assert_eq!(agent.ended(PATIENCE).await.code(), Some(127));
    let mut agent = AgentProcess::start(&flags, &["/".into()]);
    assert_eq!(agent.ended(PATIENCE).await.code(), Some(126));
}

#[tokio::test]
async fn a_server_that_runs_already_is_registered_watched_and_left_alone() {
    let edgeproxy = Edgeproxy::setup().start().await;
    let mut api = edgeproxy.api();
    let backend = Backend::start("b-1").await;
    let (url, port) = (
        edgeproxy.api_addr().to_string(),
        backend.addr().port().to_string(),
    );
    let flags = [
        "--api", &url, "--app", "shop", "--region", "eu", "--port", &port, "--id", "b-1",
    ];
    let flags = [
        &flags[..],
        &["--ttl", "5s", "--watch", "100ms", "--ready-path", "/healthz"],
    ]
    .concat();
    let mut agent = AgentProcess::start(&flags, &[]);
    agent.registered(&mut api, "b-1").await;
    // It stops answering: nothing is said until it does again.
    backend.refuse().await;
    let silent = Instant::now();
    state(&mut api, "b-1", 404).await;
    assert!(silent.elapsed() < TTL + SLACK, "{:?}", silent.elapsed());
    backend.listen();
    agent.registered(&mut api, "b-1").await;
    agent.signal(Signal::INT);
    assert_eq!(agent.ended(PATIENCE).await.code(), Some(0));
    assert_eq!(api.backend("b-1").await.status, 404);
    let reply = Client::new(backend.addr())
        .get("a", "/")
        .await
        .expect("it serves on");
    assert_eq!(reply.text(), "b-1");
}

#[tokio::test]
async fn other_signals_reach_the_server_at_once() {
    if !has("python3") {
        return;
    }
    let edgeproxy = Edgeproxy::setup().start().await;
    let port = FreePort::take();
    let script = "import os, signal, socket, sys\n\
                  for name in ('SIGHUP', 'SIGUSR1', 'SIGUSR2'):\n    \
                      signal.signal(getattr(signal, name), lambda n, _: os.write(1, b'got %d\\n' % n))\n\
                  server = socket.socket()\n\
                  server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)\n\
                  server.bind(('127.0.0.1', int(sys.argv[1])))\n\
                  server.listen()\n\
                  sys.stdin.read()\n";
    let (url, number) = (edgeproxy.api_addr().to_string(), port.addr().port().to_string());
    let flags = [
        "--api", &url, "--app", "shop", "--region", "eu", "--port", &number, "--id", "b-1",
    ];
    let command: [OsString; 4] = [
        "python3".into(),
        "-c".into(),
        script.into(),
        number.clone().into(),
    ];
    let agent = AgentProcess::start(&flags, &command);
    agent.registered(&mut edgeproxy.api(), "b-1").await;
    for signal in [Signal::HUP, Signal::USR1, Signal::USR2] {
        agent.signal(signal);
        let expected = format!("got {}", signal.as_raw());
        let found = agent.logs().find(|line| (line == expected).then_some(())).await;
        assert!(found.is_some(), "{expected}");
    }
    assert_eq!(edgeproxy.api().backend("b-1").await.status, 200);
}

/// Orphans are left to the first process of a container, and to whoever asks the kernel for them: so no container is
/// needed here.
#[tokio::test]
async fn it_buries_what_is_left_to_it_as_the_first_process_of_a_container_has_to() {
    /// `PR_SET_CHILD_SUBREAPER`, which outlives exec.
    const REAPER: &str = "import ctypes, os, sys\n\
                          assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0\n\
                          os.execv(sys.argv[1], sys.argv[1:])\n";
    if !has("python3") {
        return;
    }
    let edgeproxy = Edgeproxy::setup().start().await;
    let backend = Backend::start("b-1").await;
    let (url, port) = (
        edgeproxy.api_addr().to_string(),
        backend.addr().port().to_string(),
    );
    let flags = ["--api", &url, "--app", "shop", "--region", "eu", "--port", &port];
    // The inner shell leaves an orphan.
    let script = "sh -c 'sleep 60 & echo orphan $!'; exec sleep 60 </dev/null";
    let command: [OsString; 3] = ["sh".into(), "-c".into(), script.into()];
    let mut agent = AgentProcess::start_under(&["python3", "-c", REAPER], &flags, &command);
    let orphan = |line: &str| line.strip_prefix("orphan ")?.parse::<i32>().ok();
    let orphan = agent.logs().find(orphan).await.expect("it says who it is");
    let place = std::path::PathBuf::from(format!("/proc/{orphan}"));
    assert!(place.exists());
    let orphan = rustix::process::Pid::from_raw(orphan).expect("a process id");
    kill_process(orphan, Signal::KILL).expect("it is running");
    // A zombie would still be there.
    eventually(PATIENCE, "the orphan is buried", async || {
        if place.exists() {
            Err("it is there".to_owned())
        } else {
            Ok(())
        }
    })
    .await;
    // And the server's own end is not mistaken for it.
    kill_process(agent.server().await, Signal::KILL).expect("it is running");
    assert_eq!(agent.ended(PATIENCE).await.code(), Some(128 + 9));
}
