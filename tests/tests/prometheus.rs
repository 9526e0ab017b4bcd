//! Prometheus itself, on the real binary: its checks of what is told, of the alert rules, and a scrape.
//!
//! It takes `promtool` and `prometheus`, of Debian's package `prometheus`; see [`outside`].
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic, and reports on its standard output"
)]

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use edgeproxy_tests::{
    Backend, Behaviour, Client, Edgeproxy, PATIENCE, Registration, block_on, eventually, outside,
};
use http::{Response, StatusCode};

/// A name, and what is run.
type Test = (&'static str, fn());

const TESTS: [Test; 4] = [
    ("promtool_has_nothing_to_say_about_the_metrics", || {
        block_on(nothing_to_say());
    }),
    (
        "promtool_has_nothing_to_say_about_the_alert_rules",
        the_rules_are_right,
    ),
    ("a_real_prometheus_scrapes_what_was_counted", || {
        block_on(scraped());
    }),
    (
        "a_scrape_of_a_thousand_backends_is_as_prometheus_wants_it",
        || {
            block_on(a_thousand());
        },
    ),
];

fn main() -> ExitCode {
    outside(missing(), TESTS)
}

/// Why they can't run.
fn missing() -> Option<&'static str> {
    let runs = |program: &str| {
        let version = Command::new(program)
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        version.is_ok_and(|status| status.success())
    };
    let both = runs("promtool") && runs("prometheus");
    (!both).then_some("there is no prometheus: on Debian, apt-get install prometheus")
}

/// Asks, and gets that status.
async fn get(client: &mut Client, host: &str, path: &str, status: u16) {
    let reply = client.get(host, path).await.expect("an answer");
    assert_eq!(reply.status, status, "{host}{path}");
}

/// One app on a backend that answers every class of statuses, and another one that nobody serves.
async fn with_traffic() -> (Edgeproxy, Backend) {
    let edgeproxy = Edgeproxy::setup().toml("[apps.idle]\n").start().await;
    let backend = Backend::start("b").await;
    backend.behave(Behaviour::respond(|seen| {
        let status = seen.target.path().trim_start_matches('/').parse();
        let mut response = Response::new("hello".into());
        *response.status_mut() = status.unwrap_or(StatusCode::OK);
        response
    }));
    edgeproxy
        .api()
        .register_new(&Registration::new("b", "shop", backend.addr()))
        .await;
    let mut client = edgeproxy.client();
    for path in ["/200", "/200", "/301", "/404", "/500"] {
        client.get("shop.example", path).await.expect("an answer");
    }
    get(&mut client, "idle.example", "/", 503).await;
    get(&mut client, "nobody.example", "/", 404).await;
    (edgeproxy, backend)
}

async fn nothing_to_say() {
    let (edgeproxy, _backend) = with_traffic().await;
    let reply = edgeproxy.api().get("/metrics").await.expect(200);
    check_metrics(reply.text());
}

/// Has promtool look at them.
fn check_metrics(text: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    let mut stdin = promtool.stdin.take().expect("its standard input is a pipe");
    stdin.write_all(text.as_bytes()).expect("it reads");
    drop(stdin);
    let output = promtool.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

fn the_rules_are_right() {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics/alerts.yml");
    let output = Command::new("promtool")
        .args(["check", "rules", "--lint-fatal"])
        .arg(rules)
        .stdin(Stdio::null())
        .output()
        .expect("promtool runs");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// Prometheus, until it is dropped.
struct Prometheus {
    child: Child,
    addr: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// One that scrapes that address once a second.
    fn scraping(target: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let config = folder.path().join("prometheus.yml");
        let text = format!(
            "global: {{ scrape_interval: 1s }}\nscrape_configs:\n- job_name: edgeproxy\n  \
             static_configs: [{{ targets: [\"{target}\"] }}]\n"
        );
        std::fs::write(&config, text).expect("the folder can be written to");
        // It wants to know its port beforehand.
        let free = TcpListener::bind("127.0.0.1:0").expect("there is a port");
        let addr = free.local_addr().expect("it has an address");
        drop(free);
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={addr}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus runs");
        Self {
            child,
            addr,
            _folder: folder,
        }
    }

    /// The value of the only series that a query finds, as text.
    async fn ask(&self, query: &str) -> Result<String, String> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let path = format!("/api/v1/query?query={encoded}");
        let reply = Client::new(self.addr).get("prometheus", &path).await;
        let reply = reply.map_err(|error| format!("{error:#}"))?;
        if reply.status != StatusCode::OK {
            return Err(reply.text().to_owned());
        }
        let answer = reply.json();
        match answer["data"]["result"].as_array().map(Vec::as_slice) {
            Some([one]) => Ok(one["value"][1].as_str().unwrap_or_default().to_owned()),
            _ => Err(answer.to_string()),
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn scraped() {
    let (edgeproxy, _backend) = with_traffic().await;
    let prometheus = Prometheus::scraping(edgeproxy.api_addr());
    for (query, expected) in [
        ("up{job=\"edgeproxy\"}", "1"),
        ("edgeproxy_app_requests_total{app=\"shop\",class=\"2xx\"}", "2"),
        ("edgeproxy_app_requests_total{app=\"shop\",class=\"4xx\"}", "1"),
        (
            "edgeproxy_app_own_answers_total{app=\"idle\",reason=\"no_backend\"}",
            "1",
        ),
        ("edgeproxy_refused_requests_total{reason=\"no_route\"}", "1"),
        ("edgeproxy_app_request_duration_seconds_count{app=\"shop\"}", "5"),
        (
            "edgeproxy_app_request_duration_seconds_bucket{app=\"shop\",le=\"+Inf\"}",
            "5",
        ),
        (
            "edgeproxy_backend_responses_total{app=\"shop\",backend=\"b\",class=\"5xx\"}",
            "1",
        ),
        (
            "edgeproxy_backend_state{app=\"shop\",backend=\"b\",region=\"eu\",state=\"routable\"}",
            "1",
        ),
        ("edgeproxy_app_backends{app=\"shop\",state=\"routable\"}", "1"),
        ("edgeproxy_registrations_total{kind=\"new\"}", "1"),
        ("edgeproxy_ready", "1"),
    ] {
        eventually(PATIENCE, query, async || {
            let found = prometheus.ask(query).await?;
            if found == expected { Ok(()) } else { Err(found) }
        })
        .await;
    }
}

async fn a_thousand() {
    let edgeproxy = Edgeproxy::setup()
        .set("METRICS_MAX_BACKENDS", "900")
        .start()
        .await;
    // Several at a time, since each is answered once it is routed to.
    let registering = (0..8_u16).map(|begin| {
        let mut api = edgeproxy.api();
        tokio::spawn(async move {
            for number in (begin..1_000).step_by(8) {
                let addr = SocketAddr::from(([10, 0, 0, 1], 10_000 + number));
                let registration =
                    Registration::new(&format!("b{number}"), "shop", addr).with("ttl_secs", 3_600);
                api.register_new(&registration).await;
            }
        })
    });
    for registered in registering.collect::<Vec<_>>() {
        registered.await.expect("they are registered");
    }
    let mut api = edgeproxy.api();
    let reply = api.get("/metrics").await.expect(200);
    let text = reply.text();
    check_metrics(text);
    let states = text
        .lines()
        .filter(|line| line.starts_with("edgeproxy_backend_state{"));
    assert_eq!(states.count(), 900);
    assert!(text.contains("\nedgeproxy_metrics_backends_left_out 100\n"));
    assert!(text.contains("\nedgeproxy_app_backends{app=\"shop\",state=\"routable\"} 1000\n"));
}
