//! One test for each row of the registration's table, and some for what no row names.

use serde_json::{Value, json};

use super::*;
use crate::extract::json::Text;

/// The seed's example.
fn valid() -> Value {
    json!({
        "id": "backend-eu-1", "app": "myapp", "region": "eu", "ip": "10.50.1.1", "port": 8080,
        "weight": 2, "soft_limit": 100, "hard_limit": 150
    })
}

fn minimal() -> Value {
    json!({ "id": "b", "app": "a", "region": "eu", "ip": "10.0.0.1", "port": 80 })
}

fn read(value: Value) -> Result<Parsed, Value> {
    read_with(value, &Admission::default())
}

fn read_with(value: Value, admission: &Admission) -> Result<Parsed, Value> {
    let fields = Fields::of(Text {
        value,
        duplicates: Vec::new(),
    })
    .expect("an object");
    registration(fields, admission, &Config::default()).map_err(body)
}

fn body(problem: Problem) -> Value {
    use axum::response::IntoResponse;
    use http_body_util::BodyExt;
    let response = problem.into_response();
    assert_eq!(response.status(), 422);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let bytes = runtime
        .block_on(response.into_body().collect())
        .unwrap()
        .to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}

fn with(name: &str, value: Value) -> Value {
    let mut registration = minimal();
    registration[name] = value;
    registration
}

/// The field and the problem of the only thing that is wrong.
fn only_problem(value: Value) -> (String, String) {
    let problem = read(value).unwrap_err();
    let [only] = &problem["fields"].as_array().unwrap()[..] else {
        panic!("not one problem: {problem}")
    };
    (
        only["field"].as_str().unwrap().to_owned(),
        only["problem"].as_str().unwrap().to_owned(),
    )
}

fn backend(value: Value) -> Backend {
    read(value).unwrap().registration.backend
}

#[track_caller]
fn assert_refused(name: &str, values: &[Value]) {
    for value in values {
        let (field, problem) = only_problem(with(name, value.clone()));
        assert_eq!(field, name, "{value}");
        assert!(!problem.is_empty(), "{value}");
    }
}

fn missing(name: &str) {
    let mut registration = minimal();
    registration.as_object_mut().unwrap().remove(name);
    assert_eq!(
        only_problem(registration),
        (name.to_owned(), "is required".to_owned())
    );
    assert_eq!(
        only_problem(with(name, Value::Null)),
        (name.to_owned(), "is required".to_owned())
    );
}

#[test]
fn the_example_of_the_documentation_is_read_as_it_stands() {
    let parsed = read(valid()).unwrap();
    let backend = parsed.registration.backend;
    assert_eq!(backend.id.as_str(), "backend-eu-1");
    assert_eq!(backend.app.as_str(), "myapp");
    assert_eq!((backend.region.as_str(), backend.country.as_str()), ("eu", "DE"));
    assert_eq!(backend.addr.to_string(), "10.50.1.1:8080");
    assert_eq!(
        (backend.weight.get(), backend.limits.soft(), backend.limits.hard()),
        (2, 100, 150)
    );
    assert!(!backend.fallback && parsed.warnings.is_empty() && parsed.registration.ttl.is_none());
}

#[test]
fn row_id() {
    missing("id");
    assert_eq!(backend(with("id", json!("AZaz09._:-"))).id.as_str(), "AZaz09._:-");
    assert!(read(with("id", json!("x".repeat(128)))).is_ok());
    assert_refused(
        "id",
        &[
            json!(""),
            json!("x".repeat(129)),
            json!("a b"),
            json!("ä"),
            json!("a/b"),
            json!(7),
        ],
    );
}

#[test]
fn row_app() {
    missing("app");
    assert_eq!(
        backend(with("app", json!("My-App.Example"))).app.as_str(),
        "my-app.example"
    );
    assert_refused(
        "app",
        &[
            json!(""),
            json!("a_b"),
            json!("a..b"),
            json!("-a"),
            json!("x".repeat(254)),
            json!([]),
        ],
    );
}

#[test]
fn row_region() {
    missing("region");
    for known in ["sa", "us", "eu", "ap", "EU"] {
        assert!(read(with("region", json!(known))).is_ok(), "{known}");
    }
    let (field, problem) = only_problem(with("region", json!("mars")));
    assert_eq!(field, "region");
    assert!(problem.ends_with("known are sa, us, eu, ap"), "{problem}");
    assert_refused(
        "region",
        &[json!(""), json!("e u"), json!("x".repeat(10_000)), json!(1)],
    );
}

#[test]
fn row_country() {
    for (region, country) in [("sa", "BR"), ("us", "US"), ("eu", "DE"), ("ap", "JP")] {
        assert_eq!(backend(with("region", json!(region))).country.as_str(), country);
    }
    assert_eq!(backend(with("country", json!("fr"))).country.as_str(), "FR");
    assert_eq!(backend(with("country", Value::Null)).country.as_str(), "DE");
    assert_refused(
        "country",
        &[json!(""), json!("XX"), json!("DEU"), json!("Germany"), json!(49)],
    );
    let admission = Admission {
        regions: vec![(Region::parse("af").unwrap(), Country::parse("ZA").unwrap())],
        ..Admission::default()
    };
    let parsed = read_with(with("region", json!("af")), &admission).unwrap();
    assert_eq!(parsed.registration.backend.country.as_str(), "ZA");
    assert!(read_with(minimal(), &admission).is_err());
}

#[test]
fn row_ip() {
    missing("ip");
    for good in ["10.0.0.1", "127.0.0.1", "::1", "2001:db8::1", "::ffff:10.0.0.1"] {
        assert!(read(with("ip", json!(good))).is_ok(), "{good}");
    }
    assert_refused(
        "ip",
        &[
            json!("0.0.0.0"),
            json!("::"),
            json!("224.0.0.1"),
            json!("ff02::1"),
            json!("255.255.255.255"),
            json!("169.254.0.1"),
            json!("fe80::1"),
            json!("::ffff:0.0.0.0"),
            json!("localhost"),
            json!("10.0.0.1:80"),
            json!("10.0.0"),
            json!(""),
            json!(10),
            json!(["10.0.0.1"]),
        ],
    );
    let loops = Admission {
        own_listeners: std::sync::Arc::new(|addr| addr == ([10, 0, 0, 1], 80).into()),
        ..Admission::default()
    };
    let problem = read_with(minimal(), &loops).unwrap_err();
    assert!(
        problem["fields"][0]["problem"].as_str().unwrap().contains("loop"),
        "{problem}"
    );
    let narrow = Admission {
        allowed_cidrs: vec!["192.168.0.0/16".parse().unwrap()],
        ..Admission::default()
    };
    let problem = read_with(minimal(), &narrow).unwrap_err();
    assert_eq!(problem["fields"][0]["field"], "ip");
}

#[test]
fn row_port() {
    missing("port");
    assert_eq!(backend(with("port", json!(65_535))).addr.port(), 65_535);
    assert_eq!(backend(with("port", json!(8080.0))).addr.port(), 8_080);
    assert_refused(
        "port",
        &[
            json!(0),
            json!(65_536),
            json!(-1),
            json!(80.5),
            json!("80"),
            json!(u64::MAX),
            json!(1e300),
        ],
    );
}

#[test]
fn row_weight() {
    assert_eq!(backend(minimal()).weight.get(), 2);
    assert_eq!(backend(with("weight", json!(0))).weight.get(), 0);
    assert_eq!(backend(with("weight", json!(1_000))).weight.get(), 1_000);
    assert_refused(
        "weight",
        &[json!(1_001), json!(-1), json!(0.5), json!("2"), json!(true)],
    );
}

#[test]
fn row_soft_limit_and_hard_limit() {
    let limits = |soft: Value, hard: Value| {
        let mut registration = minimal();
        registration["soft_limit"] = soft;
        registration["hard_limit"] = hard;
        read(registration).map(|parsed| {
            let limits = parsed.registration.backend.limits;
            (limits.soft(), limits.hard())
        })
    };
    assert_eq!(limits(Value::Null, Value::Null).unwrap(), (100, 150));
    assert_eq!(limits(json!(0), json!(1)).unwrap(), (0, 1));
    assert_eq!(limits(json!(500), json!(0)).unwrap(), (500, 0));
    assert_eq!(limits(json!(7), json!(7)).unwrap(), (7, 7));
    for (soft, hard, found) in [
        (json!(2), json!(1), "is 1, below the soft_limit of 2;"),
        (
            json!(200),
            Value::Null,
            "is 150 (the default, since none is given), below the soft_limit of 200;",
        ),
        (
            Value::Null,
            json!(50),
            "is 50, below the soft_limit of 100 (the default, since none is given);",
        ),
    ] {
        let problem = limits(soft, hard).unwrap_err();
        assert_eq!(problem["fields"][0]["field"], "hard_limit");
        assert!(
            problem["fields"][0]["problem"]
                .as_str()
                .unwrap()
                .starts_with(found),
            "{problem}"
        );
    }
    assert_refused(
        "soft_limit",
        &[json!(-1), json!(1u64 << 32), json!("100"), json!(1.5)],
    );
    assert_refused(
        "hard_limit",
        &[json!(-1), json!(1u64 << 32), json!("100"), json!(1.5)],
    );
}

#[test]
fn row_fallback() {
    assert!(!backend(minimal()).fallback);
    assert!(backend(with("fallback", json!(true))).fallback);
    assert_refused("fallback", &[json!("true"), json!(1), json!({})]);
}

#[test]
fn row_protocol() {
    assert_eq!(backend(minimal()).protocol, Protocol::Http1);
    for protocol in Protocol::ALL {
        assert_eq!(
            backend(with("protocol", json!(protocol.as_str()))).protocol,
            protocol
        );
    }
    assert_refused("protocol", &[json!("http2"), json!(""), json!("HTTP1"), json!(1)]);
}

#[test]
fn row_ttl_secs() {
    let ttl = |value| read(with("ttl_secs", value)).unwrap().registration.ttl;
    assert_eq!(ttl(Value::Null), None);
    assert_eq!(ttl(json!(5)), Some(Duration::from_secs(5)));
    assert_eq!(ttl(json!(3_600)), Some(Duration::from_secs(3_600)));
    assert_refused(
        "ttl_secs",
        &[
            json!(4),
            json!(3_601),
            json!(0),
            json!(-1),
            json!(60.5),
            json!("60"),
        ],
    );
}

#[test]
fn row_metadata() {
    let metadata = backend(with("metadata", json!({ "rack": "12", "build": "" }))).metadata;
    assert_eq!(
        metadata.iter().collect::<Vec<_>>(),
        [("build", ""), ("rack", "12")]
    );
    let pairs = |count: usize, len: usize| {
        let pairs = (0..count)
            .map(|n| (format!("{n:04}"), json!("v".repeat(len))))
            .collect();
        Value::Object(pairs)
    };
    assert!(read(with("metadata", pairs(32, 124))).is_ok());
    assert_refused(
        "metadata",
        &[pairs(33, 0), pairs(32, 125), json!([]), json!("a=b")],
    );
    let problem = read(with("metadata", json!({ "a": 1, "b": "x", "c": null, "d": {} }))).unwrap_err();
    let fields: Vec<&str> = problem["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| field["field"].as_str().unwrap())
        .collect();
    assert_eq!(fields, ["metadata.a", "metadata.c", "metadata.d"]);
}

#[test]
fn no_value_of_metadata_is_repeated() {
    for secret in [
        json!({ "pin": 84_721_193 }),
        json!({ "pin": [84_721_193] }),
        json!("pin=84721193"),
        json!(84_721_193),
    ] {
        let problem = read(with("metadata", secret)).unwrap_err().to_string();
        assert!(problem.contains("is not a"), "{problem}");
        assert!(!problem.contains("84721193"), "{problem}");
    }
}

#[test]
fn every_bad_field_is_listed_at_once() {
    let problem = read(json!({
        "id": "a b", "app": "a_b", "region": "mars", "country": "XX", "ip": "0.0.0.0", "port": 0, "weight": 1001,
        "soft_limit": -1, "hard_limit": "x", "fallback": 1, "protocol": "spdy", "ttl_secs": 1, "metadata": []
    }))
    .unwrap_err();
    let fields: Vec<&str> = problem["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| field["field"].as_str().unwrap())
        .collect();
    let mut expected = MEMBERS.to_vec();
    let mut found = fields.clone();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(problem["error"], "13 fields break their rules; see fields");
    assert!(problem.get("id").is_none());
    let problem = read(with("port", json!(0))).unwrap_err();
    assert_eq!(problem["id"], "b");
    let problem = read(json!({})).unwrap_err();
    assert_eq!(problem["fields"].as_array().unwrap().len(), 5);
}

#[test]
fn an_unknown_member_is_accepted_and_named() {
    let parsed = read(with("wieght", json!(3))).unwrap();
    assert_eq!(
        parsed.warnings,
        ["unknown member \"wieght\"; did you mean \"weight\"?"]
    );
    let parsed = read(with("zone", json!("a"))).unwrap();
    assert_eq!(parsed.warnings, ["unknown member \"zone\""]);
}
