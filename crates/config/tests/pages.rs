//! The pages that are made of the lists are those in `docs/`. After a change run with `UPDATE_EXPECTED=1`.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::fs;
use std::path::Path;

use edgeproxy_config::{ConfigFile, Layers, Settings, fleet, fleet_reference, reference, schema};

fn compare(name: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(name);
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&path, made).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == made,
        "docs/{name} is out of date: run this test with UPDATE_EXPECTED=1"
    );
}

#[test]
fn the_reference_is_the_one_in_the_documents() {
    let made = reference();
    for setting in Settings::ALL {
        assert!(
            made.contains(&format!("| `{}` |", setting.key)),
            "{}",
            setting.key
        );
    }
    compare("configuration.md", &made);
}

#[test]
fn the_schema_is_json_and_the_one_in_the_documents() {
    let made = schema();
    let schema: serde_json::Value = serde_json::from_str(&made).unwrap();
    let properties = schema["properties"].as_object().unwrap();
    for setting in Settings::ALL {
        assert!(properties.contains_key(setting.key), "{}", setting.key);
    }
    assert_eq!(properties["max_failures"]["maximum"], 1_000_000);
    assert_eq!(properties["panic_threshold"]["default"], 0);
    let http = &properties["apps"]["additionalProperties"]["properties"]["health"]["properties"]["http"];
    assert_eq!(http["properties"]["tls"]["type"], "boolean");
    assert_eq!(properties["backends"]["items"]["required"][0], "id");
    compare("edgeproxy.schema.json", &made);
}

/// Settings that bound something, by how they are called.
fn is_limit(key: &str) -> bool {
    let bounds = [
        "max_",
        "_max",
        "_timeout_secs",
        "retry_budget_",
        "_per_peer",
        "_ttl_secs",
    ];
    // Of these two the one is how long a client is kept, and the other whether a backend is taken out.
    bounds.iter().any(|part| key.contains(part)) && !["binding_ttl_secs", "max_failures"].contains(&key)
}

#[test]
fn every_setting_that_bounds_something_is_among_the_limits_with_its_default() {
    let page = include_str!("../../../docs/limits.md");
    for setting in Settings::ALL.iter().filter(|setting| is_limit(setting.key)) {
        let row = format!("| `{}` | `{}` | ", setting.key, setting.default);
        assert!(page.contains(&row), "{row}");
    }
    for row in page.lines().filter_map(|line| line.strip_prefix("| `")) {
        let key = row.split('`').next().unwrap();
        assert!(Settings::ALL.iter().any(|setting| setting.key == key), "{key}");
    }
}

/// The examples are what people copy, so nothing about them may be wrong, or risky.
#[test]
fn the_examples_have_no_findings() {
    let readme = include_str!("../../../README.md");
    let of_readme = readme
        .split("```toml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    for text in [include_str!("example.toml"), of_readme.unwrap()] {
        let file = ConfigFile {
            path: "edgeproxy.toml".into(),
            text: text.to_owned(),
        };
        let layers = Layers {
            file: Some(file),
            ..Layers::default()
        };
        let loaded = layers.load().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(loaded.findings(), []);
    }
}

#[test]
fn the_tables_of_a_fleet_file_are_those_in_the_documents() {
    const MARKS: [&str; 2] = ["<!-- begin -->\n", "<!-- end -->"];
    let page = include_str!("../../../docs/simulate.md");
    let [begin, end] = MARKS.map(|mark| page.find(mark).unwrap());
    let begin = begin + MARKS[0].len();
    compare(
        "simulate.md",
        &format!("{}{}\n{}", &page[..begin], fleet_reference(), &page[end..]),
    );
}

#[test]
fn the_example_of_a_fleet_file_has_no_fault() {
    let page = include_str!("../../../docs/simulate.md");
    let text = page
        .split("```toml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .unwrap();
    let file = ConfigFile {
        path: "fleet.toml".into(),
        text: text.to_owned(),
    };
    let fleet = fleet(&file).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        (fleet.machines.len(), fleet.traffic.len(), fleet.events.len()),
        (4, 2, 1)
    );
}
