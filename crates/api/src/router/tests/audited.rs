//! The audit log: what is in it, and what is not.

use edgeproxy_access::Role;
use tempfile::TempDir;

use super::granted::{access, entries, token};
use super::*;
use edgeproxy_lines::{Target, Writer};

use crate::Audit;

struct Audited {
    fixture: Fixture,
    folder: TempDir,
    writer: Writer,
}

impl Audited {
    fn new(access: Access) -> Self {
        let folder = TempDir::new().unwrap();
        let target = Target::File(folder.path().join("audit"));
        let (audit, writer) = Audit::open(target).unwrap();
        let mut fixture = Fixture::new();
        fixture.router = router(State {
            terms: Terms::new(Admission::default(), access, Bounds::default()),
            audit: Some(audit),
            ..state(&fixture.handle)
        });
        Self {
            fixture,
            folder,
            writer,
        }
    }

    /// Everything that was written, once all of it is.
    fn lines(self) -> (Vec<Value>, String) {
        self.writer.finish();
        let text = std::fs::read_to_string(self.folder.path().join("audit")).unwrap();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        (lines, text)
    }
}

/// Anybody who can connect can have a path written down: it is refused with 401, and told.
#[tokio::test(start_paused = true)]
async fn a_path_that_a_terminal_would_obey_is_told_in_ascii() {
    let audited = Audited::new(access(&entries(&[("all", Role::Operate, "*")])));
    let f = &audited.fixture;
    for path in ["/api/v1/backends/a\u{9b}31m", "/\u{202e}b%1b", "/\u{e9}"] {
        let _ = f.json("DELETE", path, &Value::Null).await;
    }
    let (lines, text) = audited.lines();
    let paths: Vec<_> = lines.iter().map(|line| line["path"].as_str().unwrap()).collect();
    assert_eq!(
        paths,
        ["/api/v1/backends/a%C2%9B31m", "/%E2%80%AEb%1b", "/%C3%A9"]
    );
    assert!(text.is_ascii(), "{text:?}");
}

#[tokio::test(start_paused = true)]
async fn every_change_is_told_with_who_what_from_where_and_how_it_ended() {
    let audited = Audited::new(access(&entries(&[
        ("all", Role::Operate, "*"),
        ("eye", Role::Read, "*"),
    ])));
    let f = &audited.fixture;
    let mut secretive = registration("a");
    secretive["metadata"] = json!({"password": "hunter2"});
    let registered = f.as_of("all", "POST", "/api/v1/register", &secretive).await;
    let patch = json!({"weight": 7, "enabled": null});
    let _ = f.as_of("all", "PATCH", "/api/v1/backends/a", &patch).await;
    let _ = f
        .as_of("all", "POST", "/api/v1/heartbeat/a", &json!({"in_flight": 1}))
        .await;
    let _ = f
        .as_of("all", "POST", "/api/v1/heartbeat/a", &json!({"draining": true}))
        .await;
    let _ = f.as_of("eye", "GET", "/api/v1/backends", &Value::Null).await;
    let _ = f.as_of("eye", "DELETE", "/api/v1/backends/a", &Value::Null).await;
    let _ = f.json("DELETE", "/api/v1/backends/a", &Value::Null).await;
    let authorization = format!("Bearer {}", token("all").reveal());
    let dead = [("authorization", authorization.as_str()), ("if-match", "\"9\"")];
    let _ = f.send("DELETE", "/api/v1/backends/a", &dead, "").await;
    let _ = f
        .as_of("all", "DELETE", "/api/v1/backends/a?drain=5s", &Value::Null)
        .await;
    let (lines, text) = audited.lines();
    let told: Vec<(u64, &str, &str, Value)> = lines
        .iter()
        .map(|line| {
            let text = |member: &str| line[member].as_str().unwrap();
            (
                line["status"].as_u64().unwrap(),
                text("method"),
                text("outcome"),
                line["who"].clone(),
            )
        })
        .collect();
    let all = json!({"kind": "token", "name": "all", "role": "operate"});
    let eye = json!({"kind": "token", "name": "eye", "role": "read"});
    assert_eq!(
        told,
        [
            (201, "POST", "done", all.clone()),
            (200, "PATCH", "done", all.clone()),
            (200, "POST", "done", all.clone()),
            (403, "DELETE", "refused", eye),
            (401, "DELETE", "refused", Value::Null),
            (412, "DELETE", "refused", all.clone()),
            (200, "DELETE", "done", all),
        ]
    );
    assert_eq!(
        lines[0]["request_id"],
        registered.headers["x-request-id"].to_str().unwrap()
    );
    assert_eq!(lines[0]["fields"]["ip"], "10.50.1.1");
    assert_eq!(lines[1]["fields"], json!({"enabled": null, "weight": 7}));
    assert_eq!(lines[2]["fields"], json!({"draining": true}));
    assert_eq!(lines[6]["fields"], json!({"drain_secs": 5}));
    for line in [&lines[0], &lines[1], &lines[6]] {
        assert_eq!(
            (&line["id"], &line["app"], &line["incarnation"]),
            (&json!("a"), &json!("myapp"), &json!(1))
        );
        assert_eq!(line["peer"], "127.0.0.1:50000");
    }
    assert!(lines[5]["error"].as_str().unwrap().contains("incarnation"));
    for secret in ["hunter2", "test-token", &token("all").digest().to_string()] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_from_outside_is_escaped_and_bounded() {
    let audited = Audited::new(Access::default());
    let f = &audited.fixture;
    let long = format!("/api/v1/{}", "x".repeat(5_000));
    let _ = f.json("POST", &long, &Value::Null).await;
    let _ = f
        .json("DELETE", "/api/v1/backends/%22%0a%1b[2J", &Value::Null)
        .await;
    let mut odd = registration("a");
    odd["region"] = json!("\u{1b}[2J\n{\"who\":null}");
    let _ = f.register(&odd).await;
    let (lines, text) = audited.lines();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["path"].as_str().unwrap().len(), 256);
    assert_eq!(lines[2]["who"], json!({"kind": "network"}));
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    assert!(text.lines().all(|line| line.len() < 2_000));
}

#[tokio::test(start_paused = true)]
async fn refusals_of_one_peer_do_not_fill_the_disk() {
    let audited = Audited::new(access(&entries(&[("all", Role::Operate, "*")])));
    for _ in 0..1_000 {
        let _ = audited.fixture.get("/api/v1/backends").await;
    }
    let _ = audited
        .fixture
        .as_of("all", "POST", "/api/v1/register", &registration("a"))
        .await;
    let (lines, _) = audited.lines();
    let lost: u64 = lines.iter().filter_map(|line| line["lost_lines"].as_u64()).sum();
    let refused = lines.iter().filter(|line| line["status"] == 401).count() as u64;
    assert!((120..200).contains(&refused), "{refused}");
    assert_eq!(refused + lost, 1_000);
    assert!(
        lines.iter().any(|line| line["status"] == 201),
        "a change is written all the same"
    );
}
