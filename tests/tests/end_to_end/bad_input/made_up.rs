//! Ten thousand bodies that proptest makes, against the real socket. An oracle of its own says what is wrong
//! with each of them: it is written from the specification's table, not from the product.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;

use edgeproxy_tests::Api;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use super::fixture::{Fixture, fields};

const CASES: u32 = 10_000;
/// Several at once, since one alone waits for most of its time.
const CONNECTIONS: u32 = 8;

/// A body, and what has to become of it.
#[derive(Clone, Debug)]
enum Body {
    /// Not JSON at all: 400.
    Broken(Vec<u8>),
    /// JSON, but no object: 400 or 422, as one likes to see it.
    NoObject(Value),
    /// An object with exactly these bad fields: 422.
    Bad {
        fields: Map<String, Value>,
        expected: BTreeSet<String>,
    },
}

impl Body {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Broken(bytes) => bytes.clone(),
            Self::NoObject(value) => value.to_string().into_bytes(),
            Self::Bad { fields, .. } => Value::Object(fields.clone()).to_string().into_bytes(),
        }
    }
}

/// A field of a registration that is left out, good, or bad.
#[derive(Clone, Debug)]
enum Field {
    Absent,
    Good(Value),
    Bad(Value),
}

fn good<T: Into<Value> + Clone + std::fmt::Debug + 'static>(values: &[T]) -> BoxedStrategy<Field> {
    select(values.to_vec())
        .prop_map(|value| Field::Good(value.into()))
        .boxed()
}

fn bad(values: Vec<Value>) -> BoxedStrategy<Field> {
    select(values).prop_map(Field::Bad).boxed()
}

/// Values of a wrong type for a field that wants text.
fn no_text() -> Vec<Value> {
    vec![
        json!(7),
        json!(1.5),
        json!(true),
        json!([]),
        json!(["eu"]),
        json!({"a": "b"}),
    ]
}

/// Values that are no whole number that fits.
fn no_number() -> Vec<Value> {
    vec![
        json!("80"),
        json!(-1),
        json!(1.5),
        json!(1e300),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(true),
        json!([1]),
        json!({}),
    ]
}

fn and(mut values: Vec<Value>, more: impl IntoIterator<Item = Value>) -> Vec<Value> {
    values.extend(more);
    values
}

/// Text that breaks the rule for ids: a good one with something illegal in it, or too long.
fn bad_id() -> BoxedStrategy<Field> {
    prop_oneof![
        (
            "[A-Za-z0-9._:-]{0,9}",
            select(vec![' ', '/', '\u{0}', '\n', 'é', '$', '"', '\u{1F980}', '%']),
            "[a-z]{0,9}"
        )
            .prop_map(|(head, illegal, tail)| Field::Bad(json!(format!("{head}{illegal}{tail}")))),
        "[a-z]{129,200}".prop_map(|text| Field::Bad(json!(text))),
        bad(and(no_text(), [json!(""), Value::Null])),
    ]
    .boxed()
}

fn bad_app() -> BoxedStrategy<Field> {
    prop_oneof![
        (
            "[a-z0-9]{1,9}",
            select(vec![' ', '_', '/', ':', '\u{0}', 'ß', '*']),
            "[a-z]{1,9}"
        )
            .prop_map(|(head, illegal, tail)| Field::Bad(json!(format!("{head}{illegal}{tail}")))),
        "[a-z]{254,300}".prop_map(|text| Field::Bad(json!(text))),
        bad(and(no_text(), [json!(""), Value::Null])),
    ]
    .boxed()
}

/// Every field of the table, with its rule's good values and bad ones. Absent is bad where it is required.
fn table() -> Vec<(&'static str, bool, BoxedStrategy<Field>, BoxedStrategy<Field>)> {
    let many: Map<String, Value> = (0..33).map(|n| (format!("k{n}"), json!("v"))).collect();
    vec![
        (
            "id",
            true,
            "[A-Za-z0-9._:-]{1,128}"
                .prop_map(|id| Field::Good(json!(id)))
                .boxed(),
            bad_id(),
        ),
        (
            "app",
            true,
            good(&["shop", "SHOP", "a", "api.example.com", "a-b"]),
            bad_app(),
        ),
        (
            "region",
            true,
            good(&["sa", "us", "eu", "ap"]),
            bad(and(
                no_text(),
                [json!(""), json!("mars"), json!("e u"), Value::Null],
            )),
        ),
        (
            "country",
            false,
            good(&["DE", "BR", "US", "JP"]),
            bad(and(
                no_text(),
                [json!("D"), json!("DEU"), json!("D1"), json!(""), json!("ÄÖ")],
            )),
        ),
        (
            "ip",
            true,
            good(&["127.0.0.1", "10.50.1.1", "::1", "2001:db8::1"]),
            bad(and(
                no_text(),
                [
                    "",
                    "0.0.0.0",
                    "::",
                    "224.0.0.1",
                    "255.255.255.255",
                    "169.254.0.1",
                    "fe80::1",
                    "ff02::1",
                    "1.2.3",
                    "host",
                    "1.2.3.4 ",
                ]
                .map(|ip| json!(ip)),
            )),
        ),
        (
            "port",
            true,
            // Never a port that something could listen on: nothing is sent there anyhow.
            (1_u16..=9).prop_map(|port| Field::Good(json!(port))).boxed(),
            bad(and(no_number(), [json!(0), json!(65_536), Value::Null])),
        ),
        (
            "weight",
            false,
            (0_u16..=1_000)
                .prop_map(|weight| Field::Good(json!(weight)))
                .boxed(),
            bad(and(no_number(), [json!(1_001)])),
        ),
        (
            "soft_limit",
            false,
            // With the default hard limit, and with every good one below, it agrees.
            (0_u16..=100).prop_map(|limit| Field::Good(json!(limit))).boxed(),
            bad(no_number()),
        ),
        (
            "hard_limit",
            false,
            (100_u16..=900)
                .prop_map(|limit| Field::Good(json!(limit)))
                .boxed(),
            bad(no_number()),
        ),
        (
            "fallback",
            false,
            good(&[true, false]),
            bad(vec![json!("yes"), json!(0), json!([]), json!({})]),
        ),
        (
            "protocol",
            false,
            good(&["http1"]),
            bad(and(no_text(), [json!(""), json!("spdy"), json!("HTTP/1.1")])),
        ),
        (
            "ttl_secs",
            false,
            (5_u16..=3_600).prop_map(|ttl| Field::Good(json!(ttl))).boxed(),
            bad(and(no_number(), [json!(0), json!(4), json!(3_601)])),
        ),
        (
            "metadata",
            false,
            "[a-z]{1,9}"
                .prop_map(|key| Field::Good(json!({key: "v"})))
                .boxed(),
            bad(vec![
                json!("a=b"),
                json!([]),
                json!(1),
                json!({"a": 1}),
                json!({"a": null}),
                json!({"a": {}}),
                json!(many),
                json!({"a": "x".repeat(5_000)}),
            ]),
        ),
    ]
}

fn field(required: bool, good: BoxedStrategy<Field>, bad: BoxedStrategy<Field>) -> BoxedStrategy<Field> {
    let absent = Just(Field::Absent).boxed();
    if required {
        prop_oneof![8 => good, 1 => bad, 1 => absent].boxed()
    } else {
        prop_oneof![2 => good, 1 => bad, 6 => absent].boxed()
    }
}

/// An object of which at least one field is bad.
fn bad_object() -> impl Strategy<Value = Body> {
    let table = table();
    let rules: Vec<(&str, bool)> = table
        .iter()
        .map(|(name, required, ..)| (*name, *required))
        .collect();
    let worst: Vec<_> = table.iter().map(|(.., bad)| bad.clone()).collect();
    let any: Vec<_> = table
        .into_iter()
        .map(|(_, required, good, bad)| field(required, good, bad))
        .collect();
    let one_surely_bad = Union::new(worst.into_iter().enumerate().map(|(n, bad)| {
        let mut strategies = any.clone();
        strategies[n] = bad;
        strategies
    }));
    let unknown = prop::option::weighted(0.2, ("x_[a-z]{1,9}", any_json()));
    (one_surely_bad, unknown).prop_map(move |(fields, unknown)| {
        let mut object = Map::new();
        let mut expected = BTreeSet::new();
        for ((name, required), field) in rules.iter().zip(fields) {
            match field {
                Field::Absent if *required => drop(expected.insert((*name).to_owned())),
                Field::Absent => {}
                Field::Good(value) => drop(object.insert((*name).to_owned(), value)),
                Field::Bad(value) => {
                    object.insert((*name).to_owned(), value);
                    expected.insert((*name).to_owned());
                }
            }
        }
        object.extend(unknown);
        Body::Bad {
            fields: object,
            expected,
        }
    })
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((".{0,8}", inner), 0..4).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

fn body() -> impl Strategy<Value = Body> {
    let bytes = vec(any::<u8>(), 0..200).prop_map(Body::Broken);
    // Cut anywhere before its last brace an object is no JSON any more.
    let cut = (bad_object(), any::<prop::sample::Index>()).prop_map(|(body, at)| {
        let mut bytes = body.bytes();
        bytes.truncate(at.index(bytes.len()));
        Body::Broken(bytes)
    });
    let trailing = (bad_object(), "[{}\\[\\]a-z,]{1,4}").prop_map(|(body, tail)| {
        let mut bytes = body.bytes();
        bytes.extend(tail.into_bytes());
        Body::Broken(bytes)
    });
    let deep = (100_usize..10_000, select(vec!["[", "{\"id\":"]))
        .prop_map(|(depth, open)| Body::Broken(open.repeat(depth.min(60_000 / open.len())).into_bytes()));
    prop_oneof![
        12 => bad_object(),
        2 => bytes.prop_filter("by chance it is JSON", |body| serde_json::from_slice::<Value>(&body.bytes()).is_err()),
        2 => cut,
        2 => trailing,
        2 => any_json().prop_filter("no object", |value| !value.is_object()).prop_map(Body::NoObject),
        1 => deep,
    ]
}

fn config(cases: u32) -> Config {
    Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 500,
        ..Config::default()
    }
}

async fn judge(api: &mut Api, body: &Body) {
    let reply = api.post("/api/v1/register", body.bytes()).await;
    match body {
        Body::Broken(_) => {
            let _ = reply.problem(400);
        }
        Body::NoObject(_) => {
            let status = reply.status.as_u16();
            assert!(matches!(status, 400 | 422), "{reply:?}");
            let _ = reply.problem(status);
        }
        Body::Bad { expected, .. } => {
            let _ = reply.problem(422);
            assert_eq!(&fields(&reply), expected, "{reply:?}");
        }
    }
}

/// As many cases as `count` over one connection: none of these bodies is a reason to close it.
fn judge_many(api_addr: SocketAddr, count: u32) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let api = RefCell::new(Api::new(api_addr));
    let judged = TestRunner::new(config(count)).run(&body(), |body| {
        runtime.block_on(judge(&mut api.borrow_mut(), &body));
        Ok(())
    });
    judged.map_err(|error| error.to_string())
}

#[tokio::test]
async fn ten_thousand_made_up_bodies_get_the_right_answer_and_change_nothing() {
    let mut fixture = Fixture::new().await;
    let api_addr = fixture.edgeproxy.api_addr();
    let mut judges = JoinSet::new();
    for _ in 0..CONNECTIONS {
        judges.spawn_blocking(move || judge_many(api_addr, CASES / CONNECTIONS));
    }
    // Each answer has its own time-out, and all together as long as the machine takes.
    for outcome in judges.join_all().await {
        if let Err(error) = outcome {
            panic!("{error}");
        }
    }
    fixture.unchanged().await;
    assert!(fixture.edgeproxy.is_running());
    assert_eq!(fixture.edgeproxy.logs().panic(), None);
}

/// The oracle's own test: what it calls broken is no JSON, and what it calls bad is an object.
#[test]
fn the_made_up_bodies_are_what_they_are_called() {
    let made = TestRunner::new(config(1_000)).run(&body(), |body| {
        let read = serde_json::from_slice::<Value>(&body.bytes());
        match body {
            Body::Broken(_) => prop_assert!(read.is_err()),
            Body::NoObject(_) => prop_assert!(read.is_ok_and(|value| !value.is_object())),
            Body::Bad { expected, .. } => {
                prop_assert!(read.is_ok_and(|value| value.is_object()) && !expected.is_empty());
            }
        }
        Ok(())
    });
    made.expect("every body is what it is called");
}
