use super::*;
use crate::{ConfigFile, Layers};

fn loaded(text: &str) -> Loaded {
    let file = ConfigFile {
        path: "edgeproxy.toml".into(),
        text: text.to_owned(),
    };
    let layers = Layers {
        file: Some(file),
        ..Layers::default()
    };
    layers.load().unwrap_or_else(|error| panic!("{error}"))
}

fn lines(old: &str, new: &str) -> Vec<String> {
    loaded(old).changes(&loaded(new)).lines().collect()
}

fn frozen(old: &str, new: &str) -> Vec<String> {
    let frozen = loaded(old).frozen(&loaded(new));
    frozen.iter().map(ToString::to_string).collect()
}

#[test]
fn what_takes_a_restart_is_told_with_its_place_and_both_values() {
    assert_eq!(
        frozen(
            "workers = 2\nlog_format = \"json\"\n",
            "max_failures = 3\nworkers = 4\n"
        ),
        [
            "edgeproxy.toml:2:1: workers is 4; 2 is in force, and it takes a restart to change it",
            "defaults: log_format is \"text\"; \"json\" is in force, and it takes a restart to change it",
        ]
    );
    assert_eq!(frozen("max_failures = 1\n", "max_failures = 2\n"), [""; 0]);
}

#[test]
fn a_listener_that_comes_or_goes_takes_a_restart_and_one_that_changes_does_not() {
    let tcp = |name: &str, port: u16, app: &str| {
        format!(
            "[[listeners]]\nname = \"{name}\"\naddr = \"127.0.0.1:{port}\"\nprotocol = \"tcp\"\napp = \"{app}\"\n"
        )
    };
    let (old, new) = (tcp("db", 1, "one"), tcp("db", 1, "two"));
    assert_eq!(frozen(&old, &new), [""; 0]);
    assert_eq!(lines(&old, &new), ["listener db has changed"]);
    let other = tcp("db", 2, "one");
    assert_eq!(
        frozen(&old, &other),
        [
            "edgeproxy.toml:1:1: a listener on \"127.0.0.1:2\" is new, and it takes a restart to bind it",
            "edgeproxy.toml: the listener on \"127.0.0.1:1\" is gone, and it takes a restart to close it",
        ]
    );
    let both = format!("{other}{old}");
    let swapped = format!("{old}{other}").replacen("\"db\"", "\"a\"", 1);
    let both = both.replacen("\"db\"", "\"a\"", 1);
    assert_eq!(frozen(&both, &swapped), [""; 0], "the order is nobody's business");
}

#[test]
fn what_has_changed_is_named_and_where_it_stands_makes_no_difference() {
    let old = "max_failures = 0\n[apps.shop]\nmax_failures = 7\n[apps.old]\n[[routes]]\nhost = \"a.example\"\napp = \"shop\"\n";
    assert_eq!(lines(old, &format!("\n\n# moved\n{old}")), [""; 0]);
    let new = "max_failures = 5\nregions = { mx = { country = \"MX\", rtt_ms = { us = 60 } } }\n\
               [apps.shop]\n[apps.new]\n[[routes]]\nhost = \"b.example\"\npath_prefix = \"/api\"\napp = \"shop\"\n\
               [[backends]]\nid = \"b1\"\napp = \"shop\"\nregion = \"eu\"\nip = \"10.0.0.1\"\nport = 80\n";
    let regions = "regions: { sa = \"BR\", us = \"US\", eu = \"DE\", ap = \"JP\" } -> \
                   { sa = \"BR\", us = \"US\", eu = \"DE\", ap = \"JP\", mx = \"MX\" }";
    assert_eq!(
        lines(old, new),
        [
            regions,
            "max_failures: 0 -> 5",
            "app new is new",
            "app old is gone",
            "app shop has changed",
            "route b.example/api is new",
            "route a.example/ is gone",
            "backend b1 is new",
            "regions have changed",
        ]
    );
}

#[test]
fn of_many_changes_a_few_are_named_on_the_line() {
    let many: String = (0..30)
        .map(|number| format!("[apps.app-{number:02}]\n"))
        .collect();
    let changes = loaded("").changes(&loaded(&many));
    let line = changes.to_string();
    assert!(
        line.starts_with("app app-00 is new; app app-01 is new; "),
        "{line}"
    );
    assert!(line.ends_with("app app-19 is new; and 10 more"), "{line}");
    assert_eq!(Changes::default().to_string(), "nothing has changed");
}
