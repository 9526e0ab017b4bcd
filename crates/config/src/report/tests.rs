use serde_json::Value;

use super::*;
use crate::{ConfigFile, Layers};

fn report(text: &str) -> Report {
    let layers = Layers {
        file: Some(ConfigFile {
            path: "conf/edge proxy.toml".into(),
            text: text.to_owned(),
        }),
        env: vec![("EDGEPROXY_REGOIN".into(), "eu".into())],
        ..Layers::default()
    };
    Report::of(&layers.load())
}

fn wrong() -> Report {
    report("spill = \"sotf\"\n")
}

fn risky() -> Report {
    report(
        "api_enabled = true\napi_listen_addr = \"127.0.0.1:8081\"\nmax_failures = 5\nmax_ejection_percent = 50\n",
    )
}

#[test]
fn people_get_place_excerpt_and_mend() {
    assert_eq!(
        wrong().text(Paint::Plain),
        "conf/edge proxy.toml:1:9: error: spill is \"sotf\"; expected \"hard\" or \"soft\"\n  \
         1 | spill = \"sotf\"\n    |         ^^^^^^\n  help: did you mean \"soft\"?\n\n"
    );
    assert_eq!(wrong().summary(), "1 problem");
    let told = risky().text(Paint::Plain);
    assert!(
        told.contains("conf/edge proxy.toml:3:1: warning: max_failures is 5 "),
        "{told}"
    );
    assert!(
        told.contains("environment: warning: the environment variable EDGEPROXY_REGOIN"),
        "{told}"
    );
    assert_eq!(risky().summary(), "2 findings: 2 warnings");
    assert_eq!(Report::default().summary(), "no problems, no findings");
    assert_eq!(
        wrong().and(risky()).summary(),
        "1 problem; 2 findings: 2 warnings"
    );
}

#[test]
fn colours_change_nothing_but_colours() {
    let both = wrong().and(risky());
    let mut plain = String::new();
    let coloured = both.text(Paint::Colours);
    let mut pieces = coloured.split('\u{1b}');
    plain.push_str(pieces.next().unwrap());
    for piece in pieces {
        plain.push_str(piece.split_once('m').unwrap().1);
    }
    assert_eq!(plain, both.text(Paint::Plain));
    assert_ne!(coloured, plain);
}

#[test]
fn scripts_get_every_part_by_itself() {
    let read: Value = serde_json::from_str(&wrong().and(risky()).json()).unwrap();
    let problem = &read["problems"][0];
    assert_eq!(problem["place"]["file"], "conf/edge proxy.toml");
    assert_eq!(
        (&problem["place"]["line"], &problem["place"]["column"]),
        (&1.into(), &9.into())
    );
    assert_eq!(problem["help"], "did you mean \"soft\"?");
    assert_eq!(read["findings"][0]["rule"], "unknown-variable");
    assert_eq!(read["findings"][0]["place"]["source"], "environment");
    assert_eq!(read["findings"][1]["severity"], "warning");
}

/// What the schema of SARIF 2.1.0 requires, and what viewers need besides.
#[test]
fn viewers_get_sarif_with_every_rule_explained() {
    let log: Value = serde_json::from_str(&wrong().and(risky()).sarif()).unwrap();
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let driver = &run["tool"]["driver"];
    assert_eq!(driver["name"], "edgeproxy");
    let rules = driver["rules"].as_array().unwrap();
    for rule in rules {
        let name = rule["id"].as_str().unwrap();
        assert_eq!(
            rules.iter().filter(|other| other["id"] == name).count(),
            1,
            "{name}"
        );
        for text in [
            &rule["shortDescription"]["text"],
            &rule["help"]["text"],
            &rule["help"]["markdown"],
        ] {
            assert!(
                text.as_str().is_some_and(|text| text.len() > 20),
                "{name}: {text}"
            );
        }
        let uri = rule["helpUri"].as_str().unwrap();
        assert!(
            uri.ends_with(name) && uri.contains(':') && !uri.contains(' '),
            "{uri}"
        );
        let level = &rule["defaultConfiguration"]["level"];
        assert!(level == "warning" || level == "error", "{name}: {level}");
    }
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), 3);
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(
            result["message"]["text"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        );
        assert_eq!(result["locations"].as_array().map(Vec::len), Some(1));
    }
    let place = &results[0]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "conf/edge%20proxy.toml");
    assert_eq!(
        (&place["region"]["startLine"], &place["region"]["startColumn"]),
        (&1.into(), &9.into())
    );
    let elsewhere = &results[1]["locations"][0]["logicalLocations"][0];
    assert_eq!(elsewhere["fullyQualifiedName"], "environment");
}
