//! What `GET /metrics` tells agrees with what was sent.

use std::collections::BTreeMap;

use edgeproxy_tests::{Backend, Behaviour, Edgeproxy, PATIENCE, Registration, Reply, eventually};
use http::{Request, StatusCode};

/// Every sample by its name and labels.
struct Samples(BTreeMap<String, f64>);

impl Samples {
    fn of(reply: &Reply) -> Self {
        let lines = reply.text().lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().expect("a number"))
        };
        Self(lines.map(sample).collect())
    }

    fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or_else(|| panic!("no {name}"))
    }
}

async fn samples(edgeproxy: &Edgeproxy) -> Samples {
    Samples::of(&edgeproxy.api().get("/metrics").await.expect(200))
}

#[tokio::test]
async fn every_status_class_a_failure_a_retry_and_both_histograms_agree_with_what_was_sent() {
    let file = "[apps.shop]\nalgorithm = \"round_robin\"\nretry_enabled = true\n";
    let edgeproxy = Edgeproxy::setup().set("WORKERS", "1").toml(file).start().await;
    let (good, bad) = (Backend::start("good").await, Backend::start("bad").await);
    good.behave(Behaviour::respond(|seen| {
        let mut response = http::Response::new("hello".into());
        let status = seen.target.path().trim_start_matches('/').parse();
        *response.status_mut() = status.unwrap_or(StatusCode::OK);
        response
    }));
    let mut api = edgeproxy.api();
    for backend in [&good, &bad] {
        api.register_new(&Registration::new(backend.name(), "shop", backend.addr()))
            .await;
    }
    bad.refuse().await;
    let mut client = edgeproxy.client();
    for path in ["/200", "/204", "/302", "/404", "/410", "/503"] {
        client.get("shop.example", path).await.expect("an answer");
    }
    let requests = "edgeproxy_app_request_duration_seconds_count{app=\"shop\"}";
    let (found, _) = eventually(PATIENCE, "six are counted", async || {
        let found = samples(&edgeproxy).await;
        let count = found.0.get(requests).copied().unwrap_or_default();
        if (count - 6.0).abs() < 0.5 {
            Ok(found)
        } else {
            Err(count.to_string())
        }
    })
    .await;
    for (class, expected) in [
        ("1xx", 0.0),
        ("2xx", 2.0),
        ("3xx", 1.0),
        ("4xx", 2.0),
        ("5xx", 1.0),
    ] {
        let of_app = format!("edgeproxy_app_requests_total{{app=\"shop\",class=\"{class}\"}}");
        assert_eq!(found.get(&of_app), expected, "{of_app}");
        let of_backend =
            format!("edgeproxy_backend_responses_total{{app=\"shop\",backend=\"good\",class=\"{class}\"}}");
        assert_eq!(found.get(&of_backend), expected, "{of_backend}");
    }
    let failed = found.get("edgeproxy_backend_failures_total{app=\"shop\",backend=\"bad\",kind=\"connect\"}");
    assert!(failed >= 1.0, "{failed}");
    assert_eq!(found.get("edgeproxy_app_retries_total{app=\"shop\"}"), failed);
    assert_eq!(
        found.get("edgeproxy_backend_response_seconds_count{app=\"shop\",backend=\"good\"}"),
        6.0
    );
    assert_eq!(
        found.get("edgeproxy_client_open_connections{worker=\"0\",listener=\"listen_addr\"}"),
        1.0
    );
    assert_eq!(found.get("edgeproxy_registrations_total{kind=\"new\"}"), 2.0);
    assert_eq!(
        found.get("edgeproxy_api_requests_total{method=\"POST\",path=\"/api/v1/register\",status=\"201\"}"),
        2.0
    );
    assert!(found.get("process_resident_memory_bytes") > 1e6);
    assert!(found.get("process_open_fds") > 3.0 && found.get("process_cpu_seconds_total") > 0.0);
}

#[tokio::test]
async fn who_asks_for_openmetrics_gets_it_and_everybody_else_the_text_format() {
    let edgeproxy = Edgeproxy::setup().start().await;
    let mut api = edgeproxy.api();
    let plain = api.get("/metrics").await.expect(200);
    assert_eq!(
        plain.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    assert!(
        plain
            .text()
            .contains("# TYPE edgeproxy_heartbeats_total counter\n")
    );
    let wanted = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let request = Request::get("/metrics")
        .header("host", edgeproxy.api_addr().to_string())
        .header("accept", wanted)
        .body(http_body_util::Full::default())
        .expect("a request");
    let open = api.send(request).await.expect("an answer").expect(200);
    assert_eq!(
        open.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(open.text().contains("# TYPE edgeproxy_heartbeats counter\n"));
    assert!(open.text().ends_with("# EOF\n"));
}
