use proptest::prelude::*;

use crate::{ConfigFile, Layers, Origin, Place, Settings};

fn layers(text: &str) -> Layers {
    Layers {
        file: Some(ConfigFile {
            path: "edgeproxy.toml".into(),
            text: text.to_owned(),
        }),
        ..Layers::default()
    }
}

fn refusal(text: &str) -> String {
    layers(text).load().unwrap_err().to_string()
}

#[test]
fn an_empty_file_is_the_defaults() {
    for text in ["", "\n\n# nothing\n", "\r\n"] {
        assert_eq!(layers(text).load().unwrap().settings, Settings::default());
    }
}

#[test]
fn all_problems_come_at_once_from_top_to_bottom() {
    let found = refusal(
        "# a comment\n\
         listen_adr = \"0.0.0.0:8080\"\n\
         api_enabled = \"yes\"\n\
         heartbeat_ttl_secs = 3\n\
         spill = \"sotf\"\n\
         allowed_backend_cidrs = [\"10.0.0.0/8\", \"10.1.2.3/16\"]\n",
    );
    assert_eq!(
        found,
        r#"the configuration has 5 problems:

edgeproxy.toml:2:1: there is no setting "listen_adr"
  2 | listen_adr = "0.0.0.0:8080"
    | ^^^^^^^^^^
  help: did you mean "listen_addr"?

edgeproxy.toml:3:15: api_enabled is the text "yes"; expected true or false, without quotes
  3 | api_enabled = "yes"
    |               ^^^^^
  help: write true, without quotes

edgeproxy.toml:4:22: heartbeat_ttl_secs is 3; expected a whole number of seconds from 5 to 3600
  4 | heartbeat_ttl_secs = 3
    |                      ^
edgeproxy.toml:5:9: spill is "sotf"; expected "hard" or "soft"
  5 | spill = "sotf"
    |         ^^^^^^
  help: did you mean "soft"?

edgeproxy.toml:6:40: an item of allowed_backend_cidrs is "10.1.2.3/16"; expected a network, such as "10.0.0.0/8" or "fd00::/8"
  6 | allowed_backend_cidrs = ["10.0.0.0/8", "10.1.2.3/16"]
    |                                        ^^^^^^^^^^^^^
  help: its address has bits beyond /16: write "10.1.0.0/16" for the network, or "10.1.2.3" for that address alone
"#
        .replace("^\nedgeproxy.toml:5", "^\n\nedgeproxy.toml:5")
    );
}

#[test]
fn a_file_that_is_not_toml_is_told_where_and_nothing_else() {
    let found = refusal("region = \"eu\"\nspill = soft\nnonsense = 1\n");
    assert!(
        found.starts_with("the configuration has a problem:\n\nedgeproxy.toml:2:9: not valid TOML: "),
        "{found}"
    );
    assert!(
        found.contains("  2 | spill = soft\n    |         ^^^^\n"),
        "{found}"
    );
    let twice = refusal("region = \"eu\"\nregion = \"us\"\n");
    assert!(
        twice.contains("edgeproxy.toml:2:1: not valid TOML: duplicate key"),
        "{twice}"
    );
}

#[test]
fn an_unknown_key_gets_the_name_that_was_meant() {
    for (text, help) in [
        ("listen-addr = \"0.0.0.0:1\"", "did you mean \"listen_addr\"?"),
        ("EDGEPROXY_REGION = \"eu\"", "did you mean \"region\"?"),
        (
            "[api]\nlisten_addr = \"0.0.0.0:1\"",
            "write `api_listen_addr = …` at the top of the file, outside any table",
        ),
        (
            "config = \"x\"",
            "a file can't name itself; use --config or EDGEPROXY_CONFIG",
        ),
        (
            "completely_different = 1",
            "remove it; `edgeproxy run --help` lists every setting",
        ),
    ] {
        let found = refusal(text);
        assert!(found.contains(&format!("help: {help}\n")), "{found}");
    }
    assert!(refusal("[api]\nx = 1").contains("there is no table \"api\""));
}

#[test]
fn a_value_of_the_wrong_type_gets_what_to_write() {
    for (text, expected) in [
        (
            "region = 5",
            "region is the number 5; expected the name of a region, such as \"eu\"",
        ),
        ("region = 5", "help: put it in quotes"),
        ("max_failures = \"5\"", "help: write 5, without quotes"),
        (
            "heartbeat_ttl_secs = \"60s\"",
            "help: the unit is seconds already: write 60",
        ),
        (
            "heartbeat_ttl_secs = 60.5",
            "is the number 60.5; expected a whole number of seconds from 5 to 3600",
        ),
        (
            "max_failures = -1",
            "max_failures is -1; expected a whole number from 0 to 1000000",
        ),
        (
            "max_failures = 99999999999999999999",
            "is 99999999999999999999; expected",
        ),
        ("trusted_proxies = \"10.0.0.0/8\"", "help: write [\"10.0.0.0/8\"]"),
        (
            "trusted_proxies = [1]",
            "an item of trusted_proxies is the number 1; expected a network",
        ),
        (
            "regions = [\"mx\"]",
            "regions is an array; expected a table of names and country codes",
        ),
        (
            "workers = \"all\"",
            "expected a whole number of threads from 1 to 1024 or \"auto\"",
        ),
        (
            "[regions]\nmx = \"QQ\"",
            "edgeproxy.toml:2:1: an item of regions is mx:QQ",
        ),
        (
            "[regions]\n\"zona franca\" = \"BR\"",
            "is not a region name: 1 to 15 of a-z 0-9 -",
        ),
        ("health_monitor = \"/up\"", "help: write \"http:/up\""),
    ] {
        let found = refusal(text);
        assert!(found.contains(expected), "{text}\n{found}");
    }
}

#[test]
fn regions_are_a_table_and_keep_their_line() {
    let loaded = layers("region = \"mx\"\n\n[regions]\nmx = \"MX\"\nza = \"ZA\"\n")
        .load()
        .unwrap();
    let listed: Vec<String> = loaded
        .settings
        .regions
        .iter()
        .map(|(r, c)| format!("{r}:{c}"))
        .collect();
    assert_eq!(listed, ["sa:BR", "us:US", "eu:DE", "ap:JP", "mx:MX", "za:ZA"]);
    assert_eq!(loaded.origin("regions"), Origin::File { line: 3 });
}

#[test]
fn an_excerpt_of_a_long_or_hostile_line_stays_short_and_harmless() {
    let found = refusal(&format!("region = \"{}\" # \u{1b}", "x".repeat(100_000)));
    assert!(found.len() < 2_000 && !found.contains('\u{1b}'), "{found}");
    let tab = refusal("\tspill\t=\t\"x\"");
    assert!(
        tab.contains("  1 |  spill = \"x\"\n    |          ^^^\n"),
        "{tab}"
    );
}

#[test]
fn a_place_counts_characters_and_a_windows_line_end_is_none() {
    let error = layers("# é\r\nspill = \"é\"\r\nspil = 1\r\n").load().unwrap_err();
    let places: Vec<String> = error
        .problems
        .iter()
        .map(|problem| problem.place.to_string())
        .collect();
    assert_eq!(places, ["edgeproxy.toml:2:9", "edgeproxy.toml:3:1"]);
    assert!(matches!(
        &error.problems[0].place,
        Place::Line {
            line: 2,
            column: 9,
            ..
        }
    ));
}

#[test]
fn a_file_of_another_kind_is_summed_up() {
    let found = refusal(&"this is not toml\n".repeat(1_000));
    assert!(found.lines().count() < 100 && found.contains("more"), "{found}");
}

/// Something like a configuration file: right and wrong keys, right and wrong values, and noise.
fn garbage() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        prop::sample::select(Settings::ALL.iter().map(|s| s.key.to_owned()).collect::<Vec<_>>()),
        "[a-z_.\"]{0,12}",
        Just("[regions]\nx".to_owned()),
    ];
    let value = prop_oneof![
        prop::sample::select(
            Settings::ALL
                .iter()
                .map(|s| format!("{:?}", s.default))
                .collect::<Vec<_>>()
        ),
        any::<i64>().prop_map(|n| n.to_string()),
        Just("true".to_owned()),
        "\\PC{0,20}",
        "\"[a-z0-9:/.,\\[\\]é-]{0,20}\"",
        "\\[(\"[0-9a-f:./]{0,12}\",? ?){0,3}\\]",
        "\\{ ?([a-z]{0,3} = \"[A-Z]{0,3}\",? ?){0,3}\\}",
    ];
    prop::collection::vec(
        (key, value).prop_map(|(key, value)| format!("{key} = {value}\n")),
        0..6,
    )
    .prop_map(|lines| lines.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_file_makes_it_panic_and_every_refusal_has_a_place(text in garbage()) {
        if let Err(error) = layers(&text).load() {
            prop_assert!(!error.problems.is_empty());
            let told = error.to_string();
            prop_assert!(!told.contains('\u{1b}'), "a control character reached the terminal");
        }
    }

    #[test]
    fn nor_does_any_text_at_all(text in any::<String>()) {
        let _ = layers(&text).load().map_err(|error| error.to_string());
    }
}
