//! A wrong file of each kind, and what its author is told. `tests/wrong/NAME.toml` is the file, `NAME.txt` the whole
//! message; so it is with `tests/risky` and findings. After a change of wording run with `UPDATE_EXPECTED=1`, then read the difference as its reader would.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::fs;
use std::path::Path;

use edgeproxy_config::{ConfigFile, Layers, fleet};

fn told(text: String) -> String {
    let layers = Layers {
        file: Some(ConfigFile {
            path: "edgeproxy.toml".into(),
            text,
        }),
        ..Layers::default()
    };
    match layers.load() {
        Ok(loaded) => loaded
            .findings()
            .iter()
            .map(|finding| format!("{finding}\n\n"))
            .collect(),
        Err(error) => error.to_string(),
    }
}

/// The same for a fleet file.
fn told_of_fleet(text: String) -> String {
    let file = ConfigFile {
        path: "fleet.toml".into(),
        text,
    };
    fleet(&file)
        .err()
        .map_or_else(String::new, |error| error.to_string())
}

fn compare(folder: &str, cases: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut found: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".toml").map(str::to_owned))
        .collect();
    found.sort();
    assert_eq!(found, cases, "every file is a case");
    let mut differ = Vec::new();
    for case in cases {
        let told = if folder.ends_with("fleets") {
            told_of_fleet
        } else {
            told
        };
        let told = told(fs::read_to_string(folder.join(format!("{case}.toml"))).unwrap());
        let expected = folder.join(format!("{case}.txt"));
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected, &told).unwrap();
        }
        if fs::read_to_string(&expected).unwrap_or_default() != told {
            differ.push(format!("{case}:\n{told}"));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn a_risky_file_gets_findings_with_place_and_mend() {
    compare("risky", &["access", "failures", "routing"]);
}

#[test]
fn a_wrong_file_of_each_kind_is_told_with_place_and_mend() {
    compare(
        "wrong",
        &[
            "app",
            "app-effect",
            "backends",
            "backends-place",
            "health",
            "listening",
            "regions",
            "regions-together",
            "routes",
            "routes-ties",
            "shapes",
            "syntax",
            "top",
            "unclosed",
            "values",
        ],
    );
}

#[test]
fn a_wrong_fleet_file_of_each_kind_is_told_with_place_and_mend() {
    compare(
        "fleets",
        &["apps", "empty", "events", "groups", "keys", "names", "traffic"],
    );
}

#[test]
fn a_configuration_file_has_no_tables_of_fleets() {
    let told = told("[[traffic]]\nrate = 5\n".to_owned());
    assert!(told.contains("there is no setting \"traffic\""), "{told}");
}
