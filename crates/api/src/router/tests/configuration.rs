//! What is in force, as it is told.

use std::sync::Mutex;

use super::*;
use crate::{Configuration, Configured, LastReload, Layer, ReloadProblem, SettingInForce};

/// A configuration that a test changes.
struct Told(Mutex<Arc<Configuration>>);

impl Configured for Told {
    fn configuration(&self) -> Arc<Configuration> {
        Arc::clone(&self.0.lock().unwrap())
    }
}

fn configuration() -> Configuration {
    Configuration {
        version: 1,
        unix_secs: 1_700_000_000,
        file: Some("edgeproxy.toml".to_owned()),
        settings: vec![SettingInForce {
            key: "max_failures",
            value: json!(5),
            from: Layer::File,
            place: Some("edgeproxy.toml:1:1".to_owned()),
            variable: "EDGEPROXY_MAX_FAILURES".to_owned(),
            flag: "--max-failures".to_owned(),
            live: true,
        }],
        listeners: Vec::new(),
        apps: Vec::new(),
        routes: Vec::new(),
        backends: Vec::new(),
        regions: serde_json::Map::new(),
        reloads: 0,
        last_reload: None,
    }
}

#[tokio::test(start_paused = true)]
async fn the_configuration_is_told_with_where_each_value_comes_from() {
    let told = Arc::new(Told(Mutex::new(Arc::new(configuration()))));
    let f = Fixture::with(Setup {
        configuration: Some(told.clone()),
        ..Setup::default()
    });
    let reply = f.get("/api/v1/config").await;
    assert_eq!(
        (reply.status, &reply.headers["etag"]),
        (StatusCode::OK, &"\"1.0\"".parse().unwrap())
    );
    assert_eq!(
        reply.body["settings"][0],
        json!({
            "key": "max_failures", "value": 5, "from": "file", "place": "edgeproxy.toml:1:1",
            "variable": "EDGEPROXY_MAX_FAILURES", "flag": "--max-failures", "live": true,
        })
    );
    assert_eq!(reply.body["last_reload"], Value::Null);

    let refused = Configuration {
        reloads: 1,
        last_reload: Some(LastReload {
            unix_secs: 1_700_000_001,
            by: "signal",
            applied: false,
            changes: Vec::new(),
            problems: vec![ReloadProblem {
                place: Some("edgeproxy.toml:1:9".to_owned()),
                message: "spill is \"sotf\"".to_owned(),
                help: None,
            }],
        }),
        ..configuration()
    };
    *told.0.lock().unwrap() = Arc::new(refused);
    let reply = f.get("/api/v1/config").await;
    assert_eq!(reply.headers["etag"], "\"1.1\"");
    assert_eq!(
        reply.body["last_reload"],
        json!({
            "unix_secs": 1_700_000_001, "by": "signal", "result": "refused", "changes": [],
            "problems": [{ "place": "edgeproxy.toml:1:9", "message": "spill is \"sotf\"", "help": null }],
        })
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_knows_the_configuration_already_is_told_so() {
    let told = Arc::new(Told(Mutex::new(Arc::new(configuration()))));
    let f = Fixture::with(Setup {
        configuration: Some(told),
        ..Setup::default()
    });
    for (known, status) in [
        ("\"1.0\"", 304),
        ("W/\"1.0\"", 304),
        ("\"0.9\", \"1.0\"", 304),
        ("*", 304),
        ("\"1.1\"", 200),
        ("1.0", 200),
    ] {
        let headers = [("host", "127.0.0.1"), ("if-none-match", known)];
        let reply = f.send("GET", "/api/v1/config", &headers, String::new()).await;
        assert_eq!(reply.status, status, "{known}");
        assert_eq!(reply.headers["etag"], "\"1.0\"");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_configuration_there_is_none_to_show() {
    let reply = Fixture::new().get("/api/v1/config").await;
    assert_eq!(reply.status, 404);
    assert!(reply.error().contains("not made from a configuration"));
}

#[tokio::test(start_paused = true)]
async fn other_terms_hold_from_the_next_request_on() {
    let (handle, driver) = registry(Config::default());
    let (sender, reports) = reports(16);
    tokio::spawn(async move {
        let _open = sender;
        driver.run(reports, |_| (), |_| ()).await;
    });
    let state = state(&handle);
    let terms = state.terms.clone();
    let mut f = Fixture {
        readiness: state.readiness.clone(),
        events: state.events.clone(),
        router: router(state),
        handle,
        peer: ([203, 0, 113, 9], 1).into(),
    };
    assert_eq!(f.get("/health").await.status, 401);
    let open = Access {
        insecure: true,
        allowed_hosts: vec!["edgeproxy.internal".to_owned()],
        granted: None,
    };
    let narrow = Admission {
        allowed_cidrs: vec!["192.0.2.0/24".parse().unwrap()],
        ..Admission::default()
    };
    let slow = Bounds {
        requests_per_sec: std::num::NonZeroU32::MIN,
        burst: std::num::NonZeroU32::MIN,
        ..Bounds::default()
    };
    terms.replace(narrow, open.clone(), slow);
    let headers = [
        ("host", "edgeproxy.internal"),
        ("content-type", "application/json"),
    ];
    let refused = f
        .send(
            "POST",
            "/api/v1/register",
            &headers,
            registration("a").to_string(),
        )
        .await;
    assert_eq!(refused.status, 422, "{}", refused.body);
    assert!(
        refused.body.to_string().contains("allowed_backend_cidrs"),
        "{}",
        refused.body
    );
    assert_eq!(f.get("/health").await.status, 200);
    assert_eq!(f.get("/health").await.status, 429);
    terms.replace(Admission::default(), open.clone(), slow);
    assert_eq!(
        f.get("/health").await.status,
        429,
        "what was used up is not forgotten"
    );
    terms.replace(Admission::default(), Access::default(), Bounds::default());
    f.peer = ([127, 0, 0, 1], 1).into();
    f.registered("a").await;
}
