//! What a file says of backends and of how an app's are probed, in the real binary.

use std::io::{ErrorKind, Read as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use edgeproxy_tests::{
    Api, Backend, Behaviour, Client, Edgeproxy, PATIENCE, Registration, Setup, eventually, within,
};
use http::{HeaderMap, Response};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpListener;

fn listed(id: &str, addr: SocketAddr, more: &str) -> String {
    format!(
        "[[backends]]\nid = \"{id}\"\napp = \"shop\"\nregion = \"eu\"\nip = \"{}\"\nport = {}\n{more}\n",
        addr.ip(),
        addr.port()
    )
}

fn file(text: &str) -> Setup {
    Edgeproxy::setup().toml(text)
}

async fn becomes(api: &mut Api, id: &str, wanted: &str) {
    eventually(PATIENCE, &format!("{id} becomes {wanted}"), async || {
        let found = api.state(id).await;
        if found == wanted { Ok(()) } else { Err(found) }
    })
    .await;
}

/// Asks for the app, and expects that status.
async fn asks(client: &mut Client, app: &str, status: u16) {
    let _ = client.get(app, "/").await.expect("an answer").expect(status);
}

/// The same where it follows from what the registry has just said: the table of the workers comes a moment later.
async fn comes_to(client: &mut Client, app: &str, status: u16) {
    eventually(PATIENCE, &format!("{app} comes to {status}"), async || {
        let found = client.get(app, "/").await.expect("an answer").status;
        if found == status {
            Ok(())
        } else {
            Err(found.to_string())
        }
    })
    .await;
}

async fn enable(api: &mut Api, id: &str, enabled: Value) {
    let _ = api.patch(id, &json!({ "enabled": enabled })).await.expect(200);
}

#[tokio::test]
async fn backends_of_the_file_get_traffic_from_the_first_request_on_without_registering() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let text = format!(
        "[apps.shop]\nalgorithm = \"round_robin\"\n{}{}",
        listed("a", a.addr(), ""),
        listed("b", b.addr(), "weight = 3")
    );
    // Without an API nobody could register.
    let edgeproxy = file(&text).set("API_ENABLED", "false").start().await;
    let mut client = edgeproxy.client();
    for _ in 0..10 {
        asks(&mut client, "shop", 200).await;
    }
    assert_eq!((a.requests(), b.requests()), (5, 5));
}

#[tokio::test]
async fn a_backend_of_the_file_is_listed_with_its_source_and_is_nobodys_to_take_away() {
    let a = Backend::start("a").await;
    let edgeproxy = file(&listed("a", a.addr(), "")).start().await;
    let mut api = edgeproxy.api();
    let backend = api.backend("a").await.expect(200).json();
    assert_eq!(backend["source"], "file", "{backend}");
    assert_eq!(backend["state"], "routable");
    for none in ["ttl_secs", "expires_in_secs", "last_heartbeat_secs"] {
        assert!(backend[none].is_null(), "{none} in {backend}");
    }
    let words = api.delete("a", "").await.expect(409).json()["error"].to_string();
    assert!(words.contains("configuration file"), "{words}");
    let other = Registration::new("a", "shop", a.addr());
    let words = api.register(&other).await.expect(409).json()["error"].to_string();
    assert!(words.contains("configuration file"), "{words}");
    let heard = api
        .post("/api/v1/heartbeat/a", r#"{"draining":true}"#)
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&heard["renewed"], &heard["ttl_secs"]),
        (&json!(false), &json!(null))
    );
    assert_eq!(api.state("a").await, "draining", "its load report counts");
    let _ = api
        .post("/api/v1/heartbeat/a", r#"{"draining":false}"#)
        .await
        .expect(200);
    enable(&mut api, "a", json!(false)).await;
    assert_eq!(api.state("a").await, "disabled");
    enable(&mut api, "a", Value::Null).await;
    let mut client = edgeproxy.client();
    asks(&mut client, "shop", 200).await;
}

#[tokio::test]
async fn an_apps_own_monitor_takes_a_backend_out_by_codes_and_headers_and_brings_it_back() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    // Traffic is answered all the while: only the probes find something out.
    let (code, state) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
    let (says_code, says_state) = (Arc::clone(&code), Arc::clone(&state));
    a.behave(Behaviour::respond(move |seen| {
        let probed = seen.target.path() == "/up";
        let status = if probed && !says_code.load(Ordering::SeqCst) {
            200
        } else {
            204
        };
        let up = says_state.load(Ordering::SeqCst);
        Response::builder()
            .status(status)
            .header("x-state", if up { "up" } else { "down" })
            .header(
                "x-asked",
                seen.headers.get("x-probe").cloned().unwrap_or(0.into()),
            )
            .body(Full::default())
            .expect("a response")
    }));
    let text = format!(
        r#"
[apps.shop]
algorithm = "round_robin"
[apps.shop.health]
interval_secs = 1
fall = 2
[apps.shop.health.http]
method = "OPTIONS"
path = "/up"
headers = {{ X-Probe = "1" }}
success_codes = ["201-204"]
success_headers = {{ X-State = "up", X-Asked = "1" }}
[apps.other]
{}"#,
        listed("a", a.addr(), "")
    );
    let edgeproxy = file(&text).start().await;
    let mut api = edgeproxy.api();
    // Another app isn't probed: it would not pass.
    api.register_new(&Registration::new("b", "other", b.addr())).await;
    for broken in [&code, &state] {
        broken.store(false, Ordering::SeqCst);
        becomes(&mut api, "a", "unhealthy").await;
        let reason = api.backend("a").await.expect(200).json()["reason"].to_string();
        assert!(reason.contains("2 consecutive health checks failed"), "{reason}");
        let mut client = edgeproxy.client();
        asks(&mut client, "shop", 503).await;
        broken.store(true, Ordering::SeqCst);
        becomes(&mut api, "a", "routable").await;
        comes_to(&mut client, "shop", 204).await;
    }
    assert_eq!(api.state("b").await, "routable");
    assert_eq!(b.connections(), 0, "nobody has connected to it");
}

#[tokio::test]
async fn with_probe_first_a_backend_gets_traffic_after_its_first_passing_probe() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let passes = Arc::new(AtomicBool::new(false));
    for backend in [&a, &b] {
        let passes = Arc::clone(&passes);
        backend.behave(Behaviour::respond(move |seen| {
            let ready = seen.target.path() != "/ready" || passes.load(Ordering::SeqCst);
            Response::builder()
                .status(if ready { 200 } else { 503 })
                .body(Full::default())
                .expect("a response")
        }));
    }
    let text = format!(
        "[apps.shop]\ninitial = \"probe_first\"\n[apps.shop.health]\ninterval_secs = 1\nhttp = {{ path = \"/ready\" }}\n{}",
        listed("a", a.addr(), "")
    );
    let edgeproxy = file(&text).start().await;
    let mut api = edgeproxy.api();
    api.register_new(&Registration::new("b", "shop", b.addr())).await;
    let mut client = edgeproxy.client();
    for id in ["a", "b"] {
        assert_eq!(api.state(id).await, "unhealthy");
    }
    asks(&mut client, "shop", 503).await;
    passes.store(true, Ordering::SeqCst);
    for id in ["a", "b"] {
        becomes(&mut api, id, "routable").await;
    }
    comes_to(&mut client, "shop", 200).await;
}

/// A server of `grpc.health.v1` by hyper's HTTP/2, whose status is the switch's.
async fn grpc(serving: Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let serving = Arc::clone(&serving);
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let status = if serving.load(Ordering::SeqCst) { 1 } else { 2 };
                let asked = request.uri().path() == "/grpc.health.v1.Health/Check";
                async move {
                    let trailers: HeaderMap = [(
                        "grpc-status".parse().expect("a name"),
                        if asked { "0" } else { "12" }.parse().expect("a value"),
                    )]
                    .into_iter()
                    .collect();
                    let frames = [
                        Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(vec![
                            0, 0, 0, 0, 2, 8, status,
                        ]))),
                        Ok(Frame::trailers(trailers)),
                    ];
                    let body = StreamBody::new(futures_util::stream::iter(frames));
                    Response::builder()
                        .header("content-type", "application/grpc")
                        .body(body)
                }
            });
            tokio::spawn(
                http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    addr
}

#[tokio::test]
async fn a_grpc_monitor_takes_a_backend_out_while_it_says_not_serving() {
    let serving = Arc::new(AtomicBool::new(true));
    let addr = grpc(Arc::clone(&serving)).await;
    let text = format!(
        "[apps.shop.health]\ninterval_secs = 1\nfall = 1\ngrpc = {{ service = \"shop.v1.Cart\" }}\n{}",
        listed("a", addr, "protocol = \"h2c\"")
    );
    let edgeproxy = file(&text).start().await;
    let mut api = edgeproxy.api();
    assert_eq!(api.state("a").await, "routable");
    serving.store(false, Ordering::SeqCst);
    becomes(&mut api, "a", "unhealthy").await;
    serving.store(true, Ordering::SeqCst);
    becomes(&mut api, "a", "routable").await;
}

#[tokio::test]
async fn ledgers_are_by_app_and_one_app_s_failures_eject_nobody_in_another() {
    let broken = Backend::start("broken").await;
    broken.behave(Behaviour::CloseOnAccept);
    let well = Backend::start("well").await;
    let text = "[apps.strict]\nmax_failures = 1\n[apps.lenient]\n";
    let edgeproxy = file(text).start().await;
    let mut api = edgeproxy.api();
    for app in ["strict", "lenient"] {
        for (name, backend) in [("broken", &broken), ("well", &well)] {
            let id = format!("{app}-{name}");
            api.register_new(&Registration::new(&id, app, backend.addr()))
                .await;
        }
    }
    let mut client = edgeproxy.client();
    for _ in 0..20 {
        for app in ["lenient", "strict"] {
            asks(&mut client, app, 200).await;
        }
    }
    within(
        PATIENCE,
        "strict-broken is ejected",
        becomes(&mut api, "strict-broken", "ejected"),
    )
    .await;
    assert_eq!(api.state("lenient-broken").await, "routable", "it has no maximum");
}

/// How a backend of a reloaded file is probed: its probes fail at `/up` and pass at `/down`.
async fn probed_twofold() -> Backend {
    let backend = Backend::start("a").await;
    backend.behave(Behaviour::respond(|seen| {
        let status = if seen.target.path() == "/up" { 503 } else { 200 };
        Response::builder()
            .status(status)
            .body(Full::default())
            .expect("a response")
    }));
    backend
}

#[tokio::test]
async fn a_reload_swaps_monitors_and_keeps_the_ledgers_but_for_probes_that_nobody_makes_any_more() {
    let a = probed_twofold().await;
    let text = |health: &str| format!("[apps.shop]\n{health}{}", listed("a", a.addr(), ""));
    let at = |path: &str, rise: u32| {
        format!(
            "[apps.shop.health]\ninterval_secs = 1\nfall = 2\nrise = {rise}\nhttp = {{ path = \"{path}\" }}\n"
        )
    };
    let edgeproxy = file(&text(&at("/up", 1))).start().await;
    let mut api = edgeproxy.api();
    becomes(&mut api, "a", "unhealthy").await;
    let failed = async |api: &mut Api| {
        let reason = api.backend("a").await.expect(200).json()["reason"].to_string();
        let digits: String = reason.chars().filter(char::is_ascii_digit).collect();
        digits.parse::<u32>().unwrap_or(0)
    };
    let before = failed(&mut api).await;
    let incarnation = api.backend("a").await.expect(200).json()["incarnation"].clone();

    // Another monitor, that passes: what the one before has found is there until it has passed often enough.
    edgeproxy.rewrite(&text(&at("/down", 3)));
    becomes(&mut api, "a", "routable").await;
    let kept = a.seen();
    let passed = kept.iter().filter(|seen| seen.target.path() == "/down").count();
    assert!(passed >= 3, "{passed} probes have passed");
    assert!(before >= 2, "{before} had failed");

    // And back; then nobody probes, and nothing is against it.
    edgeproxy.rewrite(&text(&at("/up", 1)));
    becomes(&mut api, "a", "unhealthy").await;
    edgeproxy.rewrite(&text(""));
    becomes(&mut api, "a", "routable").await;
    assert_eq!(
        api.backend("a").await.expect(200).json()["incarnation"],
        incarnation,
        "it was the same one all the while"
    );
    let policy = api.get("/api/v1/apps/shop").await.expect(200).json()["policy"].clone();
    assert_eq!(policy["probed"], false, "{policy}");
}

/// Connections that were accepted and are never answered.
#[derive(Default)]
struct Kept {
    streams: Vec<std::net::TcpStream>,
    accepted: usize,
    most: usize,
}

impl Kept {
    /// Keeps one more, and notes how many are open. What has been given up before this one was made is closed by now.
    fn keep(&mut self, stream: std::net::TcpStream) {
        stream
            .set_nonblocking(true)
            .expect("a socket can be told not to block");
        self.streams.retain_mut(|stream| {
            let mut sink = [0; 1_024];
            loop {
                match stream.read(&mut sink) {
                    Ok(0) => return false,
                    Ok(_) => {}
                    Err(error) => return error.kind() == ErrorKind::WouldBlock,
                }
            }
        });
        self.streams.push(stream);
        self.accepted += 1;
        self.most = self.most.max(self.streams.len());
    }
}

#[tokio::test]
async fn max_concurrent_probes_are_under_way_at_once_and_no_more() {
    let kept = Arc::new(Mutex::new(Kept::default()));
    let mut text = "[apps.shop.health]\ninterval_secs = 1\nhttp = { read_timeout_secs = 1 }\n".to_owned();
    for n in 0..6 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        text += &listed(&format!("b{n}"), listener.local_addr().expect("an address"), "");
        let kept = Arc::clone(&kept);
        // Not on the test's own thread, so that each is counted as it comes.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut kept = kept.lock().expect("nobody has panicked");
                kept.keep(stream.expect("a connection"));
            }
        });
    }
    let _edgeproxy = file(&text).set("MAX_CONCURRENT_PROBES", "2").start().await;
    eventually(PATIENCE, "each has been probed", async || {
        let probes = kept.lock().expect("nobody has panicked").accepted;
        if probes >= 6 {
            Ok(())
        } else {
            Err(format!("{probes} probes so far"))
        }
    })
    .await;
    assert_eq!(kept.lock().expect("nobody has panicked").most, 2);
}
