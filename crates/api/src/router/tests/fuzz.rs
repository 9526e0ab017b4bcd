//! Whatever comes: the status is one that is documented, the answer is JSON of its shape, and a refusal
//! changes nothing. 10,000 cases in all.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config as Cases, TestRunner};

use super::*;

const NAMES: [&str; 20] = [
    "id",
    "app",
    "region",
    "country",
    "ip",
    "port",
    "weight",
    "soft_limit",
    "hard_limit",
    "fallback",
    "protocol",
    "ttl_secs",
    "metadata",
    "in_flight",
    "utilization",
    "draining",
    "enabled",
    "wieght",
    "",
    "\u{0}",
];

/// Values that lie on the rules' edges, and some that lie nowhere near.
fn leaf() -> impl Strategy<Value = Value> {
    let texts = [
        "",
        "a",
        "b",
        "myapp",
        "other",
        "eu",
        "mars",
        "DE",
        "XX",
        "10.0.0.1",
        "::1",
        "0.0.0.0",
        "::ffff:0:0",
        "h2c",
        "http1",
        "8080",
        "true",
        "\u{0}",
        "\u{202e}é",
        "a b",
        "-a",
        "xn--",
        "255.255.255.255",
    ];
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        select(vec![
            0_i64,
            1,
            2,
            4,
            5,
            80,
            100,
            150,
            1000,
            1001,
            3600,
            3601,
            65_535,
            65_536,
            -1,
            i64::MIN,
            i64::MAX
        ])
        .prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        select(vec![0.0, 0.5, 1.0, 8080.0, 1e300, -0.0]).prop_map(Value::from),
        select(texts.to_vec()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![9 => select(NAMES.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

fn value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            btree_map(name(), inner, 0..4).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A valid registration with up to three of its members spoilt.
fn spoilt() -> impl Strategy<Value = Value> {
    let app = prop_oneof![19 => Just("myapp"), 1 => Just("other")];
    (select(vec!["a", "b", "c"]), app, vec((name(), value()), 0..4)).prop_map(|(id, app, spoilt)| {
        let mut body = registration(id);
        body["app"] = app.into();
        for (name, value) in spoilt {
            body[name] = value;
        }
        body
    })
}

/// A text that once was JSON.
fn broken() -> impl Strategy<Value = Vec<u8>> {
    (spoilt(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(body, at, byte)| {
        let mut bytes = body.to_string().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => spoilt().prop_map(|value| value.to_string().into_bytes()),
        2 => btree_map(name(), leaf(), 0..8)
            .prop_map(|members| Value::Object(members.into_iter().collect()).to_string().into_bytes()),
        1 => value().prop_map(|value| value.to_string().into_bytes()),
        2 => broken(),
        1 => vec(any::<u8>(), 0..200),
    ]
}

/// Sends `count` bodies and checks each answer; returns how often each status came.
fn bombard(count: u32, method: &str, path: &str, documented: &[u16]) -> std::collections::BTreeMap<u16, u32> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let f = runtime.block_on(async {
        let f = Fixture::new();
        f.registered("a").await;
        f
    });
    let mut seen = std::collections::BTreeMap::new();
    let mut runner = TestRunner::new(Cases {
        failure_persistence: None,
        ..Cases::with_cases(count)
    });
    let last = std::cell::RefCell::new(runtime.block_on(f.listing()));
    let statuses = std::cell::RefCell::new(&mut seen);
    runner
        .run(&body(), |body| {
            let (reply, listing) = runtime.block_on(async {
                let headers = [("content-type", "application/json")];
                // `send` checks the shape of the answer.
                let reply = f.send(method, path, &headers, body.clone()).await;
                (reply, f.listing().await)
            });
            let status = reply.status.as_u16();
            prop_assert!(documented.contains(&status), "{status}: {}", reply.body);
            if status >= 400 {
                prop_assert_eq!(&listing, &*last.borrow(), "a refused request changed something");
            }
            last.replace(listing);
            *statuses.borrow_mut().entry(status).or_insert(0) += 1;
            Ok(())
        })
        .unwrap();
    seen
}

#[test]
fn any_registration_gets_a_documented_answer_and_a_refusal_changes_nothing() {
    let seen = bombard(6_000, "POST", "/api/v1/register", &[200, 201, 400, 409, 422]);
    // The strategy reaches every answer.
    assert!(
        [200, 201, 400, 409, 422]
            .iter()
            .all(|status| seen.contains_key(status)),
        "{seen:?}"
    );
}

#[test]
fn any_heartbeat_gets_a_documented_answer_and_a_refusal_changes_nothing() {
    let seen = bombard(2_000, "POST", "/api/v1/heartbeat/a", &[200, 400, 422]);
    assert_eq!(seen.len(), 3, "{seen:?}");
}

#[test]
fn any_patch_gets_a_documented_answer_and_a_refusal_changes_nothing() {
    let seen = bombard(2_000, "PATCH", "/api/v1/backends/a", &[200, 400, 422]);
    assert_eq!(seen.len(), 3, "{seen:?}");
}

proptest! {
    #![proptest_config(Cases { failure_persistence: None, ..Cases::with_cases(500) })]

    #[test]
    fn any_head_gets_a_documented_answer(
        method in select(vec!["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "X"]),
        path in "/(health|ready|api/v1/(register|heartbeat/[!-~]{0,9}|backends(/[!-~]{0,9})?|apps(/[a-z%0-9]{0,4})?|explain))?(\\?[!-~]{0,20})?",
        headers in vec((select(vec!["accept", "content-type", "if-match", "host", "origin", "content-encoding", "expect"]), "[ -~]{0,12}"), 0..3),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let f = Fixture::new();
            let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(&path);
            if !headers.iter().any(|(name, _)| *name == "host") {
                request = request.header("host", "localhost");
            }
            for (name, value) in &headers {
                request = request.header(*name, value);
            }
            // Some paths are no URI at all; hyper refuses those.
            if let Ok(request) = request.body(Body::empty()) {
                let status = f.request(request).await.status.as_u16();
                let documented = [200, 204, 400, 403, 404, 405, 406, 412, 415, 422, 503];
                prop_assert!(documented.contains(&status), "{status}");
            }
            Ok(())
        })?;
    }
}
