//! How it ends, and how it refuses to begin.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use edgeproxy_tests::{Backend, Behaviour, Edgeproxy, PATIENCE, Registration, Wire, eventually};
use rustix::process::Signal;
use tokio::net::TcpStream;

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n";
/// What "at once" may take on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A proxy with one request under way and one connection at rest.
struct Busy {
    edgeproxy: Edgeproxy,
    backend: Backend,
    under_way: Wire,
    idle: Wire,
}

async fn busy(drain_secs: &str) -> Busy {
    let edgeproxy = Edgeproxy::setup()
        .set("DRAIN_TIMEOUT_SECS", drain_secs)
        .start()
        .await;
    let backend = Backend::start("b").await;
    edgeproxy
        .api()
        .register_new(&Registration::new("b", "shop", backend.addr()))
        .await;
    let mut idle = Wire::connect(edgeproxy.proxy()).await;
    idle.send(GET).await;
    assert_eq!(
        idle.reply().await.expect("an answer").header("connection"),
        None,
        "kept alive"
    );
    backend.behave(Behaviour::Hold);
    let mut under_way = Wire::connect(edgeproxy.proxy()).await;
    under_way.send(GET).await;
    backend.holds(1).await;
    Busy {
        edgeproxy,
        backend,
        under_way,
        idle,
    }
}

async fn accepts_no_more(edgeproxy: &Edgeproxy) {
    eventually(
        PATIENCE,
        "new connections are refused",
        async || match TcpStream::connect(edgeproxy.proxy()).await {
            Ok(_) => Err("a connection".to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(()),
            Err(error) => Err(error.to_string()),
        },
    )
    .await;
}

/// Asked to end by `signal`: what is under way completes, nothing new begins, and it exits with 0.
async fn drains(signal: Signal) {
    let Busy {
        mut edgeproxy,
        backend,
        mut under_way,
        mut idle,
    } = busy("30").await;
    let mut api = edgeproxy.api();
    let _ = api.get("/ready").await.expect(200);
    edgeproxy.signal(signal);
    accepts_no_more(&edgeproxy).await;
    let mut api = edgeproxy.api();
    assert_eq!(api.get("/ready").await.status, 503, "not ready while draining");
    let refused = api
        .register(&Registration::new("late", "shop", backend.addr()))
        .await;
    let _ = refused.problem(503);
    idle.closed().await;
    assert_eq!(backend.in_flight(), 1, "what is under way goes on");
    assert!(edgeproxy.is_running());
    backend.release();
    let reply = under_way.reply().await.expect("an answer").expect(200);
    assert_eq!((reply.text(), reply.header("connection")), ("b", Some("close")));
    under_way.closed().await;
    let status = edgeproxy.ended(PATIENCE).await;
    assert_eq!(status.code(), Some(0), "{status}");
}

#[tokio::test]
async fn sigterm_drains_and_exits_with_0() {
    drains(Signal::TERM).await;
}

#[tokio::test]
async fn ctrl_c_does_the_same() {
    drains(Signal::INT).await;
}

#[tokio::test]
async fn a_second_sigterm_exits_at_once() {
    let Busy {
        mut edgeproxy,
        backend,
        mut under_way,
        ..
    } = busy("30").await;
    edgeproxy.signal(Signal::TERM);
    accepts_no_more(&edgeproxy).await;
    assert_eq!(backend.in_flight(), 1);
    edgeproxy.signal(Signal::TERM);
    let status = edgeproxy.ended(AT_ONCE).await;
    assert_ne!(status.code(), Some(0), "it did not drain: {status}");
    under_way.closed().await;
}

#[tokio::test]
async fn what_outlasts_the_drain_deadline_is_cut() {
    let Busy {
        mut edgeproxy,
        backend,
        mut under_way,
        ..
    } = busy("1").await;
    let asked = Instant::now();
    edgeproxy.signal(Signal::TERM);
    accepts_no_more(&edgeproxy).await;
    assert_eq!(backend.in_flight(), 1);
    let status = edgeproxy.ended(Duration::from_secs(1) + AT_ONCE).await;
    assert!(
        asked.elapsed() >= Duration::from_secs(1),
        "it had a second: {:?}",
        asked.elapsed()
    );
    assert_eq!(status.code(), Some(0), "{status}");
    // Cut, or told: but never answered as if all were well.
    if let Ok(reply) = under_way.reply().await {
        assert!(reply.status.is_server_error(), "{reply:?}");
    }
}

#[tokio::test]
async fn with_nothing_under_way_it_ends_at_once() {
    let mut edgeproxy = Edgeproxy::setup().start().await;
    let mut idle = Wire::connect(edgeproxy.proxy()).await;
    edgeproxy.signal(Signal::TERM);
    let status = edgeproxy.ended(AT_ONCE).await;
    assert_eq!(status.code(), Some(0), "{status}");
    idle.closed().await;
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("an address").to_string();
    for setting in ["LISTEN_ADDR", "API_LISTEN_ADDR"] {
        let refused = Edgeproxy::setup().set(setting, &addr).refused().await;
        assert!(refused.code.is_some_and(|code| code != 0), "{refused:?}");
        assert!(
            refused.stderr.contains(&addr),
            "{setting}: it names the address: {refused:?}"
        );
        assert!(!refused.stderr.contains("panicked"), "{refused:?}");
    }
}

#[tokio::test]
async fn a_wrong_flag_is_refused_with_the_usage() {
    let refused = Edgeproxy::setup().arg("--listen-adr=127.0.0.1:0").refused().await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("--listen-adr") && refused.stderr.contains("--listen-addr"),
        "{refused:?}"
    );
    assert!(refused.stderr.contains("Usage"), "{refused:?}");
    assert_eq!(refused.stdout, "");
}

#[tokio::test]
async fn a_bad_value_is_refused_with_what_was_expected_wherever_it_stands() {
    let expected = [
        "fastest",
        "round_robin",
        "weighted",
        "least_connections",
        "region_affinity",
    ];
    for setup in [
        Edgeproxy::setup().set("ALGORITHM", "fastest"),
        Edgeproxy::setup().arg("--algorithm=fastest"),
        Edgeproxy::setup().toml("algorithm = \"fastest\"\n"),
    ] {
        let refused = setup.refused().await;
        assert_eq!(refused.code, Some(2), "{refused:?}");
        for word in expected {
            assert!(refused.stderr.contains(word), "{word}: {refused:?}");
        }
    }
}

#[tokio::test]
async fn a_broken_file_is_refused_with_line_and_column() {
    let refused = Edgeproxy::setup()
        .toml("region = \"eu\"\nworkers = = 2\n")
        .refused()
        .await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("edgeproxy.toml:2:11"), "{refused:?}");

    let refused = Edgeproxy::setup()
        .toml("\nregion = \"eu\"\n  heartbeat_ttl_secs = 1\n")
        .refused()
        .await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("edgeproxy.toml:3:24"), "{refused:?}");
    assert!(
        refused.stderr.contains('5') && refused.stderr.contains("3600"),
        "it says what is expected: {refused:?}"
    );
}

#[tokio::test]
async fn an_unknown_key_is_refused_with_a_suggestion() {
    let refused = Edgeproxy::setup()
        .toml("# one\nmax_failure = 5\n")
        .refused()
        .await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("edgeproxy.toml:2:1"), "{refused:?}");
    assert!(refused.stderr.contains("max_failures"), "{refused:?}");
}

/// Flags over environment over file over defaults.
#[tokio::test]
async fn the_layers_win_in_their_order() {
    let backend = Backend::start("b").await;
    let ttl = async |setup: edgeproxy_tests::Setup| {
        let edgeproxy = setup.start().await;
        let reply = edgeproxy
            .api()
            .register_new(&Registration::new("b", "shop", backend.addr()))
            .await;
        reply["ttl_secs"].as_u64().expect("a number")
    };
    let file = "heartbeat_ttl_secs = 70\n";
    assert_eq!(ttl(Edgeproxy::setup()).await, 60);
    assert_eq!(ttl(Edgeproxy::setup().toml(file)).await, 70);
    assert_eq!(
        ttl(Edgeproxy::setup().toml(file).set("HEARTBEAT_TTL_SECS", "80")).await,
        80
    );
    let all = Edgeproxy::setup()
        .toml(file)
        .set("HEARTBEAT_TTL_SECS", "80")
        .arg("--heartbeat-ttl-secs=90");
    assert_eq!(ttl(all).await, 90);
}

#[tokio::test]
async fn the_api_is_off_unless_it_is_asked_for() {
    let edgeproxy = Edgeproxy::setup().unset("API_ENABLED").start().await;
    let reply = edgeproxy.client().get("shop", "/").await.expect("an answer");
    assert_eq!(reply.status, 404, "{reply:?}");
    assert!(
        !edgeproxy.logs().text().contains("/api/v1/register"),
        "{}",
        edgeproxy.logs().text()
    );
}
