//! Requests as spans, as a collector of OpenTelemetry gets them, read by that project's own types.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use edgeproxy_tests::{Backend, Behaviour, Client, Edgeproxy, PATIENCE, Registration, Setup, eventually};
use http::{Request, Response, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as Outcome;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use prost::Message as _;
use rustix::process::Signal;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00f067aa0ba902b7";

/// Takes spans as a collector does.
struct Collector {
    server: Backend,
    taken: Arc<Mutex<Vec<ResourceSpans>>>,
}

impl Collector {
    async fn start() -> Self {
        let server = Backend::start("collector").await;
        let taken = Arc::<Mutex<Vec<ResourceSpans>>>::default();
        let into = Arc::clone(&taken);
        server.behave(Behaviour::respond(move |seen| {
            assert_eq!(seen.target.path(), "/v1/traces");
            assert_eq!(seen.headers["content-type"], "application/x-protobuf");
            let export = ExportTraceServiceRequest::decode(seen.body.clone());
            into.lock()
                .expect("nobody panicked")
                .extend(export.expect("an export").resource_spans);
            Response::new("".into())
        }));
        Self { server, taken }
    }

    fn url(&self) -> String {
        format!("http://{}", self.server.addr())
    }

    fn spans(&self) -> Vec<Span> {
        let taken = self.taken.lock().expect("nobody panicked");
        let scopes = taken.iter().flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    /// Once there are as many.
    async fn holds(&self, count: usize) -> Vec<Span> {
        let (spans, _) = eventually(PATIENCE, "the spans are there", async || {
            let spans = self.spans();
            if spans.len() >= count {
                Ok(spans)
            } else {
                Err(format!("{spans:#?}"))
            }
        })
        .await;
        assert_eq!(spans.len(), count, "{spans:#?}");
        spans
    }
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.clone()? {
        AnyValue {
            value: Some(Value::StringValue(text)),
        } => Some(text),
        AnyValue {
            value: Some(Value::IntValue(number)),
        } => Some(number.to_string()),
        AnyValue {
            value: Some(Value::BoolValue(truth)),
        } => Some(truth.to_string()),
        other => panic!("{key} is {other:?}"),
    }
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    text(&span.attributes, key)
}

fn is_error(span: &Span) -> bool {
    span.status
        .as_ref()
        .is_some_and(|status| status.code() == Outcome::Error)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The one of that kind.
fn only(spans: &[Span], kind: SpanKind) -> &Span {
    let mut found = spans.iter().filter(|span| span.kind() == kind);
    let span = found.next().unwrap_or_else(|| panic!("no {kind:?}: {spans:#?}"));
    assert!(found.next().is_none(), "{spans:#?}");
    span
}

fn setup(collector: &Collector, sample: &str) -> Setup {
    Edgeproxy::setup()
        .set("TRACES_URL", &collector.url())
        .set("TRACES_SAMPLE", sample)
        .set("PROXY_NAME", "edge-7")
}

/// With a backend whose answer has the status that the path names.
async fn with_backend(setup: Setup) -> (Edgeproxy, Backend) {
    let edgeproxy = setup.start().await;
    let backend = Backend::start("shop-1").await;
    backend.behave(Behaviour::respond(|seen| {
        let mut response = Response::new("hello".into());
        let status = seen.target.path().trim_start_matches('/').parse();
        *response.status_mut() = status.unwrap_or(StatusCode::OK);
        response
    }));
    let registration = Registration::new("shop-1", "shop", backend.addr());
    edgeproxy.api().register_new(&registration).await;
    (edgeproxy, backend)
}

async fn get(client: &mut Client, path: &str, traceparent: Option<&str>) -> u16 {
    let mut request = Request::get(path).header("host", "shop.example");
    if let Some(traceparent) = traceparent {
        request = request.header("traceparent", traceparent);
    }
    let request = request.body(http_body_util::Full::default()).expect("a request");
    client.send(request).await.expect("an answer").status.as_u16()
}

#[tokio::test]
async fn a_client_s_trace_goes_on_through_the_proxy_to_the_backend() {
    let collector = Collector::start().await;
    let (edgeproxy, backend) = with_backend(setup(&collector, "1")).await;
    let mut client = edgeproxy.client();
    let came = format!("00-{TRACE}-{PARENT}-00");
    get(&mut client, "/200?token=secret", Some(&came)).await;
    let spans = collector.holds(2).await;
    let (server, call) = (only(&spans, SpanKind::Server), only(&spans, SpanKind::Client));
    assert_eq!(
        (hex(&server.trace_id), hex(&server.parent_span_id)),
        (TRACE.to_owned(), PARENT.to_owned())
    );
    assert_eq!(call.trace_id, server.trace_id);
    assert_eq!(call.parent_span_id, server.span_id);
    let told = format!("00-{TRACE}-{}-01", hex(&call.span_id));
    assert_eq!(backend.last_seen().headers["traceparent"], told.as_str());
    assert!(server.start_time_unix_nano <= call.start_time_unix_nano);
    assert!(call.start_time_unix_nano < call.end_time_unix_nano);
    assert!(call.end_time_unix_nano <= server.end_time_unix_nano);
    assert_eq!(server.name, "GET shop");
    for (span, key, expected) in [
        (server, "http.request.method", "GET"),
        (server, "url.scheme", "http"),
        (server, "url.path", "/200"),
        (server, "server.address", "shop.example"),
        (server, "client.address", "127.0.0.1"),
        (server, "network.protocol.version", "1.1"),
        (server, "http.response.status_code", "200"),
        (server, "edgeproxy.app", "shop"),
        (server, "edgeproxy.attempts", "1"),
        (call, "http.request.method", "GET"),
        (call, "server.address", "127.0.0.1"),
        (call, "server.port", &backend.addr().port().to_string()),
        (call, "http.response.status_code", "200"),
        (call, "edgeproxy.backend", "shop-1"),
    ] {
        assert_eq!(
            attribute(span, key).as_deref(),
            Some(expected),
            "{key}: {span:#?}"
        );
    }
    assert!(!is_error(server) && !is_error(call), "{spans:#?}");
    assert!(!format!("{spans:?}").contains("secret"), "{spans:#?}");
    let resource = collector.taken.lock().unwrap()[0].resource.clone();
    let resource = resource.expect("a resource").attributes;
    assert_eq!(text(&resource, "service.name").as_deref(), Some("edgeproxy"));
    assert_eq!(text(&resource, "service.instance.id").as_deref(), Some("edge-7"));
}

#[tokio::test]
async fn every_attempt_is_a_span_of_its_own_and_its_backend_is_told_so() {
    let collector = Collector::start().await;
    let file = "[apps.shop]\nalgorithm = \"round_robin\"\nretry_enabled = true\n\
                unhealthy_responses = [503]\n";
    let setup = setup(&collector, "1").set("WORKERS", "1").toml(file);
    let (edgeproxy, good) = with_backend(setup).await;
    let mut api = edgeproxy.api();
    let (ill, away) = (Backend::start("ill").await, Backend::start("away").await);
    ill.behave(Behaviour::respond(|_| {
        let mut response = Response::new("no".into());
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response
    }));
    for backend in [&ill, &away] {
        let registration = Registration::new(backend.name(), "shop", backend.addr());
        api.register_new(&registration).await;
    }
    away.refuse().await;
    // Round robin begins with each of them once.
    let mut client = edgeproxy.client();
    for _ in 0..3 {
        assert_eq!(get(&mut client, "/200", None).await, 200);
    }
    let (spans, _) = eventually(PATIENCE, "three requests are told of", async || {
        let spans = collector.spans();
        let count = spans
            .iter()
            .filter(|span| span.kind() == SpanKind::Server)
            .count();
        if count == 3 {
            Ok(spans)
        } else {
            Err(count.to_string())
        }
    })
    .await;
    let failed = |backend: &str| {
        let is_of = |span: &&Span| attribute(span, "edgeproxy.backend").as_deref() == Some(backend);
        let found = spans.iter().find(is_of);
        found.unwrap_or_else(|| panic!("none of {backend}: {spans:#?}"))
    };
    let (refused, unhealthy) = (failed("away"), failed("ill"));
    assert_eq!(attribute(refused, "error.type").as_deref(), Some("connect"));
    assert_eq!(attribute(refused, "http.response.status_code"), None);
    assert_eq!(
        (
            attribute(unhealthy, "error.type"),
            attribute(unhealthy, "http.response.status_code")
        ),
        (Some("unhealthy_status".to_owned()), Some("503".to_owned()))
    );
    assert!(is_error(refused) && is_error(unhealthy));
    // Whoever came last answered, and knows itself by another id than the one before.
    let told: Vec<_> = ill.seen().iter().chain(&good.seen()).map(told_span).collect();
    for span in spans.iter().filter(|span| span.kind() == SpanKind::Client) {
        let is_told = told.contains(&hex(&span.span_id));
        let is_refused = attribute(span, "error.type").as_deref() == Some("connect");
        assert!(is_told != is_refused, "{told:?} {span:#?}");
    }
    let retried: Vec<_> = spans
        .iter()
        .filter_map(|span| attribute(span, "edgeproxy.retry.reason"))
        .collect();
    assert!(retried.contains(&"connect".to_owned()), "{retried:?}");
    assert!(retried.contains(&"unhealthy_status".to_owned()), "{retried:?}");
}

/// The span that a backend was told.
fn told_span(seen: &edgeproxy_tests::Seen) -> String {
    let told = seen.headers["traceparent"].to_str().expect("text");
    told[36..52].to_owned()
}

#[tokio::test]
async fn who_is_followed_decides_which_requests_are_told_of_and_otherwise_the_share_does() {
    let collector = Collector::start().await;
    let sampled = format!("00-{TRACE}-{PARENT}-01");
    let unsampled = format!("00-{TRACE}-{PARENT}-00");
    for (sample, follow, trusted, came, expected) in [
        ("0", "trusted", "", &sampled, false),
        ("0", "trusted", "127.0.0.0/8", &sampled, true),
        ("1", "trusted", "127.0.0.0/8", &unsampled, false),
        ("0", "everybody", "", &sampled, true),
        ("1", "nobody", "127.0.0.0/8", &unsampled, true),
    ] {
        let setup = setup(&collector, sample)
            .set("TRACES_FOLLOW", follow)
            .set("TRUSTED_PROXIES", trusted);
        let (mut edgeproxy, backend) = with_backend(setup).await;
        let mut client = edgeproxy.client();
        get(&mut client, "/200", Some(came)).await;
        let told = backend.last_seen().headers["traceparent"].clone();
        // What is not told of is passed on as it came.
        assert_eq!(told.as_bytes() == came.as_bytes(), !expected, "{sample} {follow}");
        // All that there is is sent before the end.
        drop(client);
        edgeproxy.signal(Signal::TERM);
        edgeproxy.ended(PATIENCE).await;
        let spans = std::mem::take(&mut *collector.taken.lock().unwrap());
        assert_eq!(!spans.is_empty(), expected, "{sample} {follow} {trusted}");
    }
}

#[tokio::test]
async fn what_the_proxy_answers_itself_is_told_of_with_the_reason() {
    let collector = Collector::start().await;
    let setup = setup(&collector, "1").toml("[apps.idle]\n");
    let (edgeproxy, _backend) = with_backend(setup).await;
    let mut client = edgeproxy.client();
    client.get("idle.example", "/").await.expect("an answer");
    client.get("nobody.example", "/").await.expect("an answer");
    client.get("shop.example", "/404").await.expect("an answer");
    let spans = collector.holds(4).await;
    let by_status = |status: &str| {
        let is_it = |span: &&Span| {
            span.kind() == SpanKind::Server
                && attribute(span, "http.response.status_code").as_deref() == Some(status)
                && attribute(span, "edgeproxy.app").as_deref() != Some("shop")
        };
        spans.iter().find(is_it).expect("a span")
    };
    let (idle, nobody) = (by_status("503"), by_status("404"));
    assert_eq!(
        attribute(idle, "edgeproxy.failure").as_deref(),
        Some("no_backend")
    );
    assert_eq!(attribute(idle, "error.type").as_deref(), Some("no_backend"));
    assert!(is_error(idle));
    assert_eq!(
        attribute(nobody, "edgeproxy.failure").as_deref(),
        Some("no_route")
    );
    assert!(!is_error(nobody), "the client's own fault: {nobody:#?}");
    // A backend's 404 is an error of the call, and none of the server.
    let call = only(&spans, SpanKind::Client);
    assert_eq!(attribute(call, "error.type").as_deref(), Some("404"));
}

#[tokio::test]
async fn a_collector_that_is_away_costs_spans_and_no_request_and_the_end_does_not_wait_for_it() {
    let collector = Collector::start().await;
    collector.server.refuse().await;
    let (mut edgeproxy, _backend) = with_backend(setup(&collector, "1")).await;
    let mut client = edgeproxy.client();
    for _ in 0..20 {
        assert_eq!(get(&mut client, "/200", None).await, 200);
    }
    let complained = edgeproxy.logs().find(|line| {
        line.contains("spans could not be sent; it is tried again")
            .then_some(())
    });
    complained.await.expect("the log says so");
    // It is tried again, and gets what has come meanwhile.
    collector.server.listen();
    collector.holds(40).await;
    collector.server.behave(Behaviour::Hold);
    assert_eq!(get(&mut client, "/200", None).await, 200);
    collector.server.holds(1).await;
    drop(client);
    let began = std::time::Instant::now();
    edgeproxy.signal(Signal::TERM);
    assert!(edgeproxy.ended(PATIENCE).await.success());
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_a_collector_refuses_is_counted() {
    let collector = Collector::start().await;
    collector.server.behave(Behaviour::respond(|_| {
        let mut response = Response::new("".into());
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        response
    }));
    let (edgeproxy, _backend) = with_backend(setup(&collector, "1")).await;
    let mut client = edgeproxy.client();
    assert_eq!(get(&mut client, "/200", None).await, 200);
    eventually(PATIENCE, "they are counted", async || {
        let metrics = edgeproxy.api().get("/metrics").await.expect(200);
        let text = metrics.text();
        let is_counted = text.contains("\nedgeproxy_traces_dropped_total 2\n");
        if is_counted { Ok(()) } else { Err(text.to_owned()) }
    })
    .await;
}

#[tokio::test]
async fn a_reload_changes_which_requests_are_told_of() {
    let collector = Collector::start().await;
    let url = collector.url();
    let setup = Edgeproxy::setup()
        .set("TRACES_URL", &url)
        .toml("traces_sample = 0\n");
    let (edgeproxy, _backend) = with_backend(setup).await;
    let mut client = edgeproxy.client();
    get(&mut client, "/200", None).await;
    edgeproxy.rewrite("traces_sample = 1\n");
    edgeproxy.signal(Signal::HUP);
    eventually(PATIENCE, "a span comes", async || {
        // A connection keeps what held when it began.
        get(&mut edgeproxy.client(), "/201", None).await;
        if collector.spans().is_empty() {
            Err("none".to_owned())
        } else {
            Ok(())
        }
    })
    .await;
    let statuses: Vec<_> = collector
        .spans()
        .iter()
        .filter_map(|span| attribute(span, "http.response.status_code"))
        .collect();
    assert!(statuses.iter().all(|status| status == "201"), "{statuses:?}");
}

#[tokio::test]
async fn of_a_target_with_an_authority_the_path_is_told_and_of_a_connection_only_that_it_is_new() {
    let collector = Collector::start().await;
    let (edgeproxy, backend) = with_backend(setup(&collector, "1").set("WORKERS", "1")).await;
    let mut client = edgeproxy.client();
    // The first one connects, the second doesn't, and the third can't.
    get(&mut client, "http://shop.example/200?token=secret", None).await;
    get(&mut client, "/200", None).await;
    backend.kill().await;
    get(&mut client, "/200", None).await;
    let spans = collector.holds(6).await;
    for span in spans.iter().filter(|span| span.kind() == SpanKind::Server) {
        assert_eq!(attribute(span, "url.path").as_deref(), Some("/200"), "{span:#?}");
    }
    let mut calls: Vec<_> = spans
        .iter()
        .filter(|span| span.kind() == SpanKind::Client)
        .collect();
    calls.sort_by_key(|span| span.start_time_unix_nano);
    let new: Vec<_> = calls
        .iter()
        .map(|span| attribute(span, "edgeproxy.connection.new"))
        .collect();
    let yes = || Some("true".to_owned());
    assert_eq!(new, [yes(), None, yes()], "{calls:#?}");
    let connected = calls[2]
        .attributes
        .iter()
        .any(|one| one.key == "edgeproxy.connect_us");
    assert!(connected, "{calls:#?}");
}
