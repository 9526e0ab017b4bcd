use super::*;
use crate::{ConfigFile, Layers, Loaded, Setting, Settings};

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

fn setting(key: &str, settings: &Settings) -> String {
    Setting::by_key(key).unwrap().shown(settings).to_string()
}

/// So nothing can be shown as anything but what it is: the defaults are written down a second time, as text.
#[test]
fn every_default_is_shown_as_it_is_written() {
    let settings = Settings::default();
    for one in Settings::ALL {
        let read = one.kind.read_text(one.default);
        let expected = match (one.key, read.unwrap()) {
            ("regions", _) => "{ sa = \"BR\", us = \"US\", eu = \"DE\", ap = \"JP\" }".to_owned(),
            (_, crate::value::Value::Text(text)) if text.is_empty() => "none".to_owned(),
            (_, crate::value::Value::Text(text)) => format!("{text:?}"),
            (_, crate::value::Value::List(items)) => format!("[{}]", items.join(", ")),
            (_, crate::value::Value::Switch(switch)) => switch.to_string(),
            (_, crate::value::Value::Number(number)) => number.to_string(),
            (_, crate::value::Value::Decimal(_)) => one.default.to_owned(),
            (_, other) => panic!("{}: {other:?}", one.key),
        };
        assert_eq!(one.shown(&settings).to_string(), expected, "{}", one.key);
    }
}

#[test]
fn values_are_shown_as_the_file_would_have_them() {
    let text = "workers = 3\ntrusted_proxies = [\"10.0.0.0/8\"]\nunhealthy_responses = [404, \"500-503\"]\n\
                hash_key = \"header:X-User\"\nsticky = \"header:X-Session\"\nslow_start_aggression = 1.5\n\
                health_monitor = \"http:/ready?x=1\"\nmax_body_bytes = 10\nlisten_addr = \"off\"\n\
                tcp_listen_addr = \"127.0.0.1:1\"\ntcp_app = \"db\"\n";
    let settings = loaded(text).settings;
    for (key, expected) in [
        ("workers", "3"),
        ("trusted_proxies", "[\"10.0.0.0/8\"]"),
        ("unhealthy_responses", "[404, \"500-503\"]"),
        ("hash_key", "\"header:X-User\""),
        ("sticky", "\"header:X-Session\""),
        ("slow_start_aggression", "1.5"),
        ("health_monitor", "\"http:/ready?x=1\""),
        ("max_body_bytes", "10"),
        ("listen_addr", "\"off\""),
        ("tcp_app", "\"db\""),
    ] {
        let shown = setting(key, &settings);
        // A header's name is in lower case, whatever was written.
        assert!(shown.eq_ignore_ascii_case(expected), "{key}: {shown}");
    }
}

#[test]
fn a_secret_setting_is_never_shown() {
    let secret = Setting {
        key: "password",
        default: "",
        kind: crate::Kind::Switch,
        scope: crate::Scope::Proxy,
        reload: crate::Reload::Live,
        secret: true,
        env_name: None,
        doc_text: "",
        apply: |_, _| Ok(()),
        show: |settings| settings.tls_cert.show(),
    };
    let mut settings = Settings::default();
    assert_eq!(secret.shown(&settings), Shown::Nothing, "there is none");
    settings.tls_cert = Some("hunter2".into());
    assert_eq!(secret.shown(&settings), Shown::Secret);
    assert_eq!(secret.shown(&settings).to_string(), "***");
}

#[test]
fn the_password_of_a_url_is_left_out_and_nothing_else() {
    for (text, expected) in [
        (
            "https://user:hunter2@etcd.internal:2379/a?b=c:d@e",
            "https://user:***@etcd.internal:2379/a?b=c:d@e",
        ),
        ("https://user@etcd.internal", "https://user@etcd.internal"),
        (
            "https://etcd.internal:2379/a:b@c",
            "https://etcd.internal:2379/a:b@c",
        ),
        ("https://a:b@c@etcd", "https://a:***@etcd"),
        ("/etc/a:b@c", "/etc/a:b@c"),
    ] {
        assert_eq!(
            Shown::text(text).without_passwords(),
            Shown::text(expected),
            "{text}"
        );
    }
    let list = Shown::List(vec![Shown::text("a://b:c@d")]);
    assert_eq!(list.without_passwords().to_string(), "[\"a://b:***@d\"]");
}

#[test]
fn what_probes_send_is_secret_and_what_they_expect_is_not() {
    let text = "[apps.shop.health.http]\nheaders = { authorization = \"Bearer hunter2\" }\nbody = \"hunter2\"\n\
                success_headers = { x-ready = \"yes\" }\n";
    let shown = loaded(text).topology.apps[0].shown().to_string();
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("headers = { authorization = *** }"), "{shown}");
    assert!(shown.contains("body = ***"), "{shown}");
    assert!(
        shown.contains("success_headers = { x-ready = \"yes\" }"),
        "{shown}"
    );
}

#[test]
fn every_table_is_shown_by_the_keys_of_the_file() {
    let loaded = loaded(include_str!("../../tests/example.toml"));
    let known: Vec<&str> = crate::shape::shapes()
        .iter()
        .flat_map(|shape| shape.fields.iter().map(|field| field.key))
        .collect();
    let tables = loaded.topology.apps.iter().map(crate::App::shown);
    let tables = tables.chain(loaded.topology.routes.iter().map(crate::Route::shown));
    let tables = tables.chain(loaded.topology.backends.iter().map(crate::StaticBackend::shown));
    let tables = tables.chain(loaded.settings.listeners.iter().map(crate::Listener::shown));
    let mut seen = 0;
    for table in tables {
        let Shown::Table(entries) = table else {
            panic!("{table}")
        };
        for (key, _) in entries {
            assert!(
                known.contains(&&*key) || ["health", "tls"].contains(&&*key),
                "{key}"
            );
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
    let regions = loaded.topology.regions(&loaded.settings);
    assert!(regions.iter().any(|(name, _)| name == "sa"));
}
