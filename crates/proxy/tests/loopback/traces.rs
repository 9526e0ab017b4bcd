//! What is told of requests as spans, whatever either side speaks.

use std::sync::{Arc, Mutex};

use edgeproxy_proxy::{Config, Follow, RequestSpan, SpanSink, Tracing};
use http::HeaderValue;

use crate::backend;
use crate::client::Client;
use crate::http2;
use crate::stage::{Stage, config};

const CAME: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
const PARENT: u64 = 0x00f0_67aa_0ba9_02b7;

#[derive(Default)]
struct Told(Mutex<Vec<RequestSpan>>);

impl SpanSink for Told {
    fn take(&self, requests: Vec<RequestSpan>) {
        self.0.lock().unwrap().extend(requests);
    }
}

fn traced(told: &Arc<Told>) -> Config {
    Config {
        workers: 1,
        tracing: Some(Tracing {
            sink: Arc::clone(told) as _,
            sample_per_million: 0,
            follow: Follow::Everybody,
        }),
        ..config()
    }
}

/// All there is, once everything has ended.
async fn ended(stage: Stage, told: &Told) -> Vec<RequestSpan> {
    stage.running.drain();
    stage.stopped().await;
    told.0.lock().unwrap().clone()
}

/// A request that went to one who refuses, and then to one who answered and was told `traceparent`.
fn check(spans: &[RequestSpan], protocol: &str, traceparent: &str) {
    let [request] = spans else { panic!("{spans:#?}") };
    assert_eq!((request.trace, request.parent), (TRACE, Some(PARENT)));
    assert_eq!(
        (request.protocol, request.status, request.failure),
        (protocol, Some(200), None)
    );
    assert_eq!(
        (&*request.method, &*request.host, &*request.path),
        ("GET", "app", "/x")
    );
    let [refused, answered] = &request.attempts[..] else {
        panic!("{request:#?}")
    };
    assert_eq!((refused.status, refused.failure), (None, Some("connect")));
    assert_eq!((answered.status, answered.failure), (Some(200), None));
    assert!(
        refused.connect.is_some() && answered.connect.is_some(),
        "{request:#?}"
    );
    assert_ne!(refused.id, answered.id);
    assert!(refused.after + refused.took <= answered.after, "{request:#?}");
    assert!(answered.after + answered.took <= request.took, "{request:#?}");
    let told = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{:016x}-01", answered.id);
    assert_eq!(traceparent, told);
}

async fn ask_by_http1(stage: &Stage) {
    let mut client = Client::connect(stage.addr).await;
    let head = format!("GET /x?secret HTTP/1.1\r\nhost: app\r\ntraceparent: {CAME}\r\n\r\n");
    client.write(head).await;
    assert_eq!(client.read().await.status, 200);
}

async fn ask_by_http2(stage: &Stage) {
    let (sender, _connection) = http2::connect(stage.addr).await;
    let mut request = http2::request("GET", "/x?secret");
    let came = HeaderValue::from_static(CAME);
    request.headers_mut().insert("traceparent", came);
    let response = http2::exchange(&sender, request, b"").await;
    assert_eq!(response.unwrap().status, 200);
}

/// One that speaks HTTP/2 and notes what it was told.
async fn h2c_backend(seen: &Arc<Mutex<Vec<String>>>) -> http2::Backend {
    let seen = Arc::clone(seen);
    http2::Backend::start(move |_, request, mut reply| {
        let values: Vec<_> = request.headers().get_all("traceparent").iter().collect();
        let values: Vec<_> = values.iter().map(|value| value.to_str().unwrap()).collect();
        seen.lock().unwrap().push(values.join(","));
        async move {
            reply.send_response(http2::ok(), true).unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn a_request_s_attempts_are_spans_and_each_backend_is_told_its_own_whatever_either_side_speaks() {
    for by_http2 in [false, true] {
        let protocol = if by_http2 { "HTTP/2" } else { "HTTP/1.1" };
        let refusing = backend::Backend::refusing().await;

        let told = Arc::<Told>::default();
        let backend = backend::Backend::start(|_, _| backend::ok("x")).await;
        let (stage, _) = Stage::with(traced(&told), &[refusing, backend.addr]);
        if by_http2 {
            ask_by_http2(&stage).await;
        } else {
            ask_by_http1(&stage).await;
        }
        let traceparent = backend.take().one("traceparent").to_owned();
        check(&ended(stage, &told).await, protocol, &traceparent);

        let (told, seen) = (Arc::<Told>::default(), Arc::default());
        let backend = h2c_backend(&seen).await;
        let (stage, _) = Stage::h2c(traced(&told), &[refusing, backend.addr]);
        if by_http2 {
            ask_by_http2(&stage).await;
        } else {
            ask_by_http1(&stage).await;
        }
        let traceparent = seen.lock().unwrap().join(" ");
        check(&ended(stage, &told).await, protocol, &traceparent);
    }
}

#[tokio::test]
async fn a_connection_is_told_of_where_it_is_new_whatever_either_side_speaks() {
    for by_http2 in [false, true] {
        for to_http2 in [false, true] {
            let told = Arc::<Told>::default();
            let (stage, _backends) = if to_http2 {
                let backend = h2c_backend(&Arc::default()).await;
                (
                    Stage::h2c(traced(&told), &[backend.addr]).0,
                    (Some(backend), None),
                )
            } else {
                let backend = backend::Backend::start(|_, _| backend::ok("x")).await;
                (
                    Stage::with(traced(&told), &[backend.addr]).0,
                    (None, Some(backend)),
                )
            };
            for _ in 0..2 {
                if by_http2 {
                    ask_by_http2(&stage).await;
                } else {
                    ask_by_http1(&stage).await;
                }
            }
            let spans = ended(stage, &told).await;
            let mut attempts: Vec<_> = spans.iter().map(|span| (span.began, &span.attempts[0])).collect();
            attempts.sort_by_key(|(began, _)| *began);
            let [first, second] = [0, 1].map(|n| attempts[n].1);
            let made = first.connect.is_some_and(|connect| connect <= first.took);
            assert!(
                made && second.connect.is_none(),
                "{by_http2} {to_http2}: {attempts:#?}"
            );
        }
    }
}

#[tokio::test]
async fn what_is_not_told_of_goes_on_with_the_traceparent_that_it_came_with() {
    let told = Arc::<Told>::default();
    let backend = backend::Backend::start(|_, _| backend::ok("x")).await;
    let (stage, _) = Stage::with(traced(&told), &[backend.addr]);
    let unsampled = CAME.replace("-01", "-00");
    let mut client = Client::connect(stage.addr).await;
    let head = format!("GET / HTTP/1.1\r\nhost: app\r\ntraceparent: {unsampled}\r\n\r\n");
    client.write(head).await;
    client.read().await;
    assert_eq!(backend.take().one("traceparent"), unsampled);
    // Without one nobody decides but the share, which is nothing.
    client.get("/").await;
    let made = backend.take().one("traceparent").to_owned();
    assert!(made.ends_with("-00"), "{made}");
    drop(client);
    assert_eq!(ended(stage, &told).await, []);
}

#[tokio::test]
async fn a_head_that_lacks_a_host_is_told_the_span_in_the_right_place() {
    let told = Arc::<Told>::default();
    let refusing = backend::Backend::refusing().await;
    let backend = backend::Backend::start(|_, _| backend::ok("x")).await;
    let (stage, _) = Stage::with(traced(&told), &[refusing, backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    let head = format!("GET / HTTP/1.0\r\ntraceparent: {CAME}\r\ntracestate: a=b\r\n\r\n");
    client.write(head).await;
    assert_eq!(client.read().await.status, 200);
    let seen = backend.take();
    let spans = ended(stage, &told).await;
    let answered = &spans[0].attempts[1];
    let expected = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{:016x}-01", answered.id);
    assert_eq!(
        (seen.one("traceparent"), seen.one("tracestate")),
        (&*expected, "a=b")
    );
    assert!(!seen.one("host").is_empty());
}
