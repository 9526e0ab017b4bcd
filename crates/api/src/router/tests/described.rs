//! The OpenAPI document and the router say the same: every answer that any of these tests gets is held to it.

use std::collections::BTreeSet;

use super::*;
use crate::endpoint::Endpoint;

fn document() -> Value {
    serde_json::from_str(crate::openapi()).unwrap()
}

/// Read once: ten thousand answers are held to it.
static DOCUMENT: std::sync::LazyLock<Value> = std::sync::LazyLock::new(document);

/// What the document says of that request, if the path has that method.
fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let method = if method == "HEAD" {
        "get"
    } else {
        &method.to_ascii_lowercase()
    };
    let fits = |template: &str| {
        let (mut known, mut asked) = (template.split('/'), path.split('/'));
        loop {
            match (known.next(), asked.next()) {
                (None, None) => return true,
                (Some(known), Some(asked))
                    if known == asked || (known.starts_with('{') && !asked.is_empty()) => {}
                _ => return false,
            }
        }
    };
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let (_, found) = paths.iter().find(|(template, _)| fits(template))?;
    found.get(method)
}

fn resolved(value: &'static Value) -> &'static Value {
    let Some(place) = value.get("$ref").and_then(Value::as_str) else {
        return value;
    };
    let (kind, name) = place
        .strip_prefix("#/components/")
        .and_then(|at| at.split_once('/'))
        .expect(place);
    resolved(&DOCUMENT["components"][kind][name])
}

/// Holds an answer to what the document says of the request.
#[track_caller]
pub(super) fn check(method: &Method, path: &str, reply: &Reply) {
    let Some(operation) = operation(method.as_str(), path) else {
        // No such path or method: the document says so in its conventions.
        assert!(
            [204, 400, 401, 403, 404, 405, 406, 429].contains(&reply.status.as_u16()),
            "{method} {path}"
        );
        return;
    };
    let what = format!("{method} {path}: {} {}", reply.status, reply.body);
    let described = resolved(&operation["responses"][reply.status.as_str()]);
    assert!(described.is_object(), "not documented: {what}");
    for (name, header) in described["headers"].as_object().unwrap() {
        assert!(reply.headers.contains_key(name), "without {name}: {what}");
        assert!(resolved(header)["required"] == true, "{name}");
    }
    let Some(content) = described.get("content") else {
        return;
    };
    let media = reply.headers["content-type"].to_str().unwrap();
    let media = media.split(';').next().unwrap();
    let content = content
        .get(media)
        .unwrap_or_else(|| panic!("{media} isn't documented: {what}"));
    if media.contains("json") && !reply.body.is_null() {
        let mut problems = Vec::new();
        hold(&content["schema"], &reply.body, BODY, &mut problems);
        assert!(problems.is_empty(), "{problems:?}: {what}");
    }
}

/// Where in a body something is. Linked, so that a place costs nothing until it is told.
#[derive(Clone, Copy)]
struct At<'a> {
    within: Option<&'a At<'a>>,
    member: &'a str,
}

const BODY: At<'static> = At {
    within: None,
    member: "the body",
};

impl std::fmt::Display for At<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(within) = self.within {
            write!(f, "{within}.")?;
        }
        f.write_str(self.member)
    }
}

/// The part of JSON Schema that the document uses; but members that an object's schema doesn't have are a problem, so that
/// none can be added without being described.
fn hold(schema: &'static Value, value: &Value, at: At<'_>, problems: &mut Vec<String>) {
    let schema = resolved(schema);
    let mut problem = |what: &str| problems.push(format!("{at} {what}: {value}"));
    if let Some(wanted) = schema.get("const")
        && wanted != value
    {
        problem("is another");
    }
    if let Some(wanted) = schema.get("enum").and_then(Value::as_array)
        && !wanted.contains(value)
    {
        problem("is none of those");
    }
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other}"),
    };
    let fits = match &schema["type"] {
        Value::Null => true,
        Value::String(name) => is(name),
        names => names
            .as_array()
            .unwrap()
            .iter()
            .any(|name| is(name.as_str().unwrap())),
    };
    if !fits {
        problem("has another type");
    }
    if let Some(number) = value.as_f64() {
        let beyond = |key: &str, by: fn(&f64, &f64) -> bool| {
            schema
                .get(key)
                .and_then(Value::as_f64)
                .is_some_and(|bound| by(&number, &bound))
        };
        if beyond("minimum", f64::lt) || beyond("maximum", f64::gt) {
            problem("is out of range");
        }
    }
    if let Some(text) = value.as_str() {
        let len = text.chars().count() as u64;
        let bound = |key: &str| schema.get(key).and_then(Value::as_u64);
        if bound("maxLength").is_some_and(|max| len > max) || bound("minLength").is_some_and(|min| len < min)
        {
            problem("has another length");
        }
    }
    if let Some(any) = schema.get("anyOf").and_then(Value::as_array) {
        let fits = any.iter().any(|one| {
            let mut problems = Vec::new();
            hold(one, value, at, &mut problems);
            problems.is_empty()
        });
        if !fits {
            problem("is none of either");
        }
    }
    for one in schema
        .get("allOf")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        hold(one, value, at, problems);
    }
    if let Some(items) = schema.get("items") {
        for item in value.as_array().into_iter().flatten() {
            let item_at = At {
                within: Some(&at),
                member: "[]",
            };
            hold(items, item, item_at, problems);
        }
    }
    let Some(members) = value.as_object() else { return };
    for name in schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        if !members.contains_key(name.as_str().unwrap()) {
            problems.push(format!("{at} lacks {name}"));
        }
    }
    let is_whole = schema.get("type").is_some() && schema.get("properties").is_some();
    for (name, member) in members {
        let at = At {
            within: Some(&at),
            member: name,
        };
        match (schema["properties"].get(name), schema.get("additionalProperties")) {
            (Some(schema), _) => hold(schema, member, at, problems),
            (None, Some(schema)) if schema.is_object() => hold(schema, member, at, problems),
            (None, Some(_)) => {}
            (None, None) if is_whole => problems.push(format!("{at} isn't described")),
            (None, None) => {}
        }
    }
}

/// Every operation with its path and method.
fn operations() -> impl Iterator<Item = (&'static str, &'static str, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().iter();
        methods.map(move |(method, operation)| (&**path, &**method, operation))
    })
}

#[tokio::test(start_paused = true)]
async fn each_route_and_method_of_the_router_is_described_and_nothing_else_is() {
    let f = Fixture::new();
    let mut described = BTreeSet::new();
    for (path, method, _) in operations() {
        described.insert((path, method.to_ascii_uppercase()));
    }
    let endpoints: BTreeSet<(&str, String)> = Endpoint::ALL
        .iter()
        .map(|endpoint| (endpoint.path, endpoint.method.to_owned()))
        .collect();
    assert_eq!(described, endpoints);
    for path in DOCUMENT["paths"].as_object().unwrap().keys() {
        let asked = path
            .replace("{id}", "b-1")
            .replace("{app}", "a")
            .replace("{file}", "app.js");
        let reply = f.send("OPTIONS", &asked, &[], "").await;
        assert_eq!(reply.status, 204, "{path}");
        let allowed: BTreeSet<&str> = reply.headers["allow"].to_str().unwrap().split(',').collect();
        let mut expected: BTreeSet<&str> = described
            .iter()
            .filter(|(at, _)| at == path)
            .map(|(_, method)| &**method)
            .collect();
        if expected.contains("GET") {
            expected.insert("HEAD");
        }
        assert_eq!(allowed, expected, "{path}");
    }
}

#[test]
fn every_example_is_as_its_schema_says_and_every_operation_has_a_name_of_its_own() {
    let mut names = BTreeSet::new();
    let mut examples = 0;
    let mut held = |schema: &'static Value, example: &Value, of: &str| {
        let mut problems = Vec::new();
        hold(schema, example, BODY, &mut problems);
        assert!(problems.is_empty(), "{of}: {problems:?}");
        examples += 1;
    };
    for (path, method, operation) in operations() {
        let name = operation["operationId"].as_str().unwrap();
        assert!(names.insert(name), "{method} {path}");
        for content in operation["requestBody"]["content"]
            .as_object()
            .into_iter()
            .flatten()
        {
            for (_, example) in content.1["examples"].as_object().unwrap() {
                held(&content.1["schema"], &example["value"], name);
            }
        }
        for (_, response) in operation["responses"].as_object().unwrap() {
            for (_, content) in resolved(response)["content"].as_object().into_iter().flatten() {
                if let Some(example) = content.get("example") {
                    held(&content["schema"], example, name);
                }
            }
        }
    }
    assert!(examples > 20, "{examples}");
}

#[tokio::test(start_paused = true)]
async fn the_examples_of_requests_work_to_the_letter() {
    let f = Fixture::new();
    let of = |method: &str, path: &str| {
        let operation = operation(method, path).unwrap();
        operation["requestBody"]["content"]["application/json"]["examples"]
            .as_object()
            .unwrap()
    };
    for (name, example) in of("POST", "/api/v1/register") {
        let reply = f.register(&example["value"]).await;
        assert!(reply.status.is_success(), "{name}: {}", reply.body);
        assert!(reply.body.get("warnings").is_none(), "{name}: {}", reply.body);
    }
    for (name, example) in of("POST", "/api/v1/heartbeat/x") {
        let reply = f
            .json("POST", "/api/v1/heartbeat/backend-eu-1", &example["value"])
            .await;
        assert_eq!(
            (reply.status, reply.body.get("warnings")),
            (StatusCode::OK, None),
            "{name}"
        );
    }
    for (name, example) in of("PATCH", "/api/v1/backends/x") {
        let reply = f
            .json("PATCH", "/api/v1/backends/backend-eu-1", &example["value"])
            .await;
        assert_eq!(reply.status, 200, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_document_is_served_to_everybody_and_not_sent_again() {
    let f = Fixture::new();
    let reply = f.get("/openapi.json").await;
    assert_eq!(
        (reply.status, &reply.body["openapi"]),
        (StatusCode::OK, &"3.1.0".into())
    );
    assert_eq!(reply.body, document());
    let tag = reply.headers["etag"].to_str().unwrap().to_owned();
    let reply = f
        .send("GET", "/openapi.json", &[("if-none-match", &tag)], "")
        .await;
    assert_eq!(reply.status, 304);
}

#[test]
fn every_reference_leads_somewhere_and_every_component_is_needed() {
    fn named(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(place)) = members.get("$ref") {
                    found.insert(place.clone());
                }
                members.values().for_each(|member| named(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| named(item, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    named(&DOCUMENT, &mut found);
    let there = |kind: &str| {
        let components = DOCUMENT["components"][kind].as_object().unwrap();
        components
            .keys()
            .map(|name| format!("#/components/{kind}/{name}"))
            .collect::<BTreeSet<String>>()
    };
    let all: BTreeSet<String> = ["schemas", "headers", "responses"]
        .into_iter()
        .flat_map(there)
        .collect();
    assert_eq!(found, all);
}
