//! A line for each request.

use std::path::Path;

use edgeproxy_tests::{Backend, Behaviour, Client, Edgeproxy, PATIENCE, Registration, eventually};
use http::StatusCode;
use rustix::process::Signal;
use serde_json::Value;

/// Asks, and gets that status.
async fn get(client: &mut Client, host: &str, path: &str, status: u16) {
    let reply = client.get(host, path).await.expect("an answer");
    assert_eq!(reply.status, status, "{host}{path}");
}

/// The lines of the file, once there are as many.
async fn lines(path: &Path, count: usize) -> Vec<Value> {
    let (lines, _) = eventually(PATIENCE, "the lines are written", async || {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("a line is JSON"))
            .collect();
        if lines.len() >= count {
            Ok(lines)
        } else {
            Err(text)
        }
    })
    .await;
    assert_eq!(lines.len(), count, "{lines:?}");
    lines
}

async fn with(settings: &[(&str, &str)]) -> (Edgeproxy, Backend) {
    let mut setup = Edgeproxy::setup().set("ACCESS_LOG", "./access.jsonl");
    for (name, value) in settings {
        setup = setup.set(name, value);
    }
    let edgeproxy = setup.toml("[apps.idle]\n").start().await;
    let backend = Backend::start("b").await;
    backend.behave(Behaviour::respond(|seen| {
        let mut response = http::Response::new("hello".into());
        let status = seen.target.path().trim_start_matches('/').parse();
        *response.status_mut() = status.unwrap_or(StatusCode::OK);
        response
    }));
    edgeproxy
        .api()
        .register_new(&Registration::new("b", "shop", backend.addr()))
        .await;
    (edgeproxy, backend)
}

#[tokio::test]
async fn every_request_is_a_line_with_where_it_went_and_how_long_it_took_and_without_its_query() {
    let (edgeproxy, backend) = with(&[]).await;
    let mut client = edgeproxy.client();
    get(&mut client, "shop.example", "/200?token=secret", 200).await;
    get(&mut client, "shop.example", "/404", 404).await;
    get(&mut client, "idle.example", "/", 503).await;
    get(&mut client, "nobody.example", "/", 404).await;
    let path = edgeproxy.config().with_file_name("access.jsonl");
    let lines = lines(&path, 4).await;
    let first = &lines[0];
    assert_eq!(first["client"], "127.0.0.1");
    assert_eq!(
        (
            &first["protocol"],
            &first["method"],
            &first["host"],
            &first["path"]
        ),
        (
            &"HTTP/1.1".into(),
            &"GET".into(),
            &"shop.example".into(),
            &"/200".into()
        )
    );
    assert_eq!(
        (&first["status"], &first["app"], &first["backend"]),
        (&200.into(), &"shop".into(), &"b".into())
    );
    assert_eq!((&first["attempts"], &first["failure"]), (&1.into(), &Value::Null));
    assert!(first["bytes"].as_u64() > Some(5), "{first}");
    assert!(first["connect_us"].is_u64(), "the first one connects: {first}");
    assert!(
        first["first_byte_us"].as_u64() <= first["total_us"].as_u64(),
        "{first}"
    );
    let seen = backend.seen();
    let parent = seen[0].headers["traceparent"].to_str().expect("text");
    assert_eq!(first["trace"].as_str(), parent.get(3..35), "{first}");
    assert_eq!(
        lines[1]["connect_us"],
        Value::Null,
        "a kept connection: {}",
        lines[1]
    );
    assert_eq!(
        (&lines[2]["app"], &lines[2]["failure"]),
        (&"idle".into(), &"no_backend".into())
    );
    assert_eq!(
        (&lines[3]["app"], &lines[3]["failure"]),
        (&Value::Null, &"no_route".into())
    );
}

#[tokio::test]
async fn what_went_well_is_left_out_by_the_sample_and_what_did_not_never_is() {
    let (edgeproxy, _backend) = with(&[("ACCESS_LOG_SAMPLE", "0")]).await;
    let mut client = edgeproxy.client();
    for path in ["/200", "/404", "/500", "/200"] {
        client.get("shop.example", path).await.expect("an answer");
    }
    get(&mut client, "idle.example", "/", 503).await;
    let path = edgeproxy.config().with_file_name("access.jsonl");
    let lines = lines(&path, 2).await;
    assert_eq!(
        (&lines[0]["status"], &lines[1]["status"]),
        (&500.into(), &503.into())
    );
}

#[tokio::test]
async fn a_file_that_is_moved_away_is_begun_anew_and_the_last_lines_are_written_before_the_end() {
    let (mut edgeproxy, _backend) = with(&[]).await;
    let mut client = edgeproxy.client();
    let path = edgeproxy.config().with_file_name("access.jsonl");
    get(&mut client, "shop.example", "/200", 200).await;
    lines(&path, 1).await;
    let moved = path.with_extension("1");
    std::fs::rename(&path, &moved).expect("it can be moved");
    get(&mut client, "shop.example", "/201", 201).await;
    assert_eq!(lines(&path, 1).await[0]["status"], 201);
    assert_eq!(lines(&moved, 1).await[0]["status"], 200);
    get(&mut client, "shop.example", "/202", 202).await;
    drop(client);
    edgeproxy.signal(Signal::TERM);
    edgeproxy.ended(PATIENCE).await;
    assert_eq!(lines(&path, 2).await[1]["status"], 202);
}

#[tokio::test]
async fn a_log_that_nobody_reads_keeps_the_process_from_nothing_its_end_included() {
    // Open for reading too, so that there is a reader, which reads nothing; and full, so that its first line waits.
    let script = "mkfifo log && exec 1<>log && dd if=/dev/zero of=log oflag=nonblock bs=4096 count=1024 2>/dev/null; \
                  EDGEPROXY_ACCESS_LOG=- EDGEPROXY_LISTEN_ADDR=127.0.0.1:0 EDGEPROXY_API_LISTEN_ADDR=127.0.0.1:0 \
                  EDGEPROXY_API_ENABLED=true exec edgeproxy run";
    let mut edgeproxy = Edgeproxy::setup().start_by_shell(script).await;
    get(&mut edgeproxy.client(), "nobody.example", "/", 404).await;
    edgeproxy.signal(Signal::TERM);
    assert!(edgeproxy.ended(PATIENCE).await.success());
}
