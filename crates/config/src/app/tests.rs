use std::time::Duration;

use edgeproxy_backend::AppName;

use super::*;
use crate::policy::{HashKey, HeaderName};
use crate::policy::{Initial, Sticky};
use crate::{ConfigFile, LastBackend, Layers, Loaded, Spill};
use crate::{Scope, Settings};

fn layers(text: &str) -> Layers {
    Layers {
        file: Some(ConfigFile {
            path: "edgeproxy.toml".into(),
            text: text.to_owned(),
        }),
        ..Layers::default()
    }
}

fn loaded(text: &str) -> Loaded {
    layers(text)
        .load()
        .unwrap_or_else(|error| panic!("{text}\n{error}"))
}

fn app(loaded: &Loaded, name: &str) -> App {
    loaded
        .topology
        .app(&AppName::parse(name).unwrap())
        .unwrap()
        .clone()
}

#[test]
fn an_app_is_as_the_settings_say_where_it_says_nothing_itself() {
    let found = loaded("max_failures = 5\nspill = \"soft\"\n\n[apps.shop]\nmax_failures = 2\n");
    let shop = app(&found, "shop");
    assert_eq!(
        (shop.settings.max_failures, shop.settings.spill),
        (2, Spill::Soft)
    );
    assert_eq!(found.settings.max_failures, 5);
    assert_eq!(
        shop.says("max_failures").unwrap().to_string(),
        "edgeproxy.toml:5:1"
    );
    assert_eq!(shop.says("spill"), None);
    assert_eq!(shop.place.to_string(), "edgeproxy.toml:4:7");
}

#[test]
fn what_an_app_says_wins_over_flags_and_environment_too() {
    let layers = Layers {
        env: vec![
            ("EDGEPROXY_MAX_FAILURES".into(), "7".into()),
            ("EDGEPROXY_QUEUE_MAX".into(), "9".into()),
        ],
        ..layers("[apps.shop]\nmax_failures = 2\n")
    };
    let found = layers.load().unwrap();
    let settings = app(&found, "shop").settings;
    assert_eq!((settings.max_failures, settings.queue_max), (2, 9));
}

#[test]
fn every_setting_of_the_scope_app_is_a_key_of_an_app_with_the_same_values() {
    let of_app = Settings::ALL.iter().filter(|setting| setting.scope == Scope::App);
    let keys: Vec<&str> = of_app.map(|setting| setting.key).collect();
    assert_eq!(
        keys,
        fields(AppSettings::KEYS)
            .map(|field| field.key)
            .collect::<Vec<_>>()
    );
    for key in AppSettings::KEYS {
        let setting = Setting::by_key(key.field.key).unwrap();
        assert_eq!((setting.kind, setting.doc()), (key.field.kind, key.field.doc()));
    }
}

#[test]
fn an_app_of_the_file_takes_turns_unless_it_or_the_settings_say_otherwise() {
    let picking = |text: &str| app(&loaded(text), "shop").picking;
    assert_eq!(picking("[apps.shop]\n"), Picking::Anywhere(Picker::RoundRobin));
    for algorithm in ["weighted", "least_connections"] {
        let text = format!("algorithm = \"{algorithm}\"\n[apps.shop]\n");
        assert_eq!(picking(&text).as_str(), algorithm);
    }
    assert_eq!(
        picking("algorithm = \"weighted\"\n[apps.shop]\nalgorithm = \"ewma\"\n"),
        Picking::Anywhere(Picker::Ewma)
    );
    assert_eq!(
        picking("algorithm = \"region_affinity\"\n[apps.shop]\n"),
        Picking::NearestFirst(Picker::LeastConnections)
    );
    assert_eq!(
        picking(
            "[apps.shop]\nalgorithm = \"region_affinity\"\ninner = \"hash\"\nhash_key = \"header:X-User\"\n"
        ),
        Picking::NearestFirst(Picker::Hash(HashKey::Header(
            HeaderName::parse("x-user").unwrap()
        )))
    );
}

#[test]
fn everything_that_an_app_can_say_is_read() {
    let text = "[apps.\"Shop.Example\"]\nalgorithm = \"region_affinity\"\nregion_order = [\"us\", \"sa\"]\n\
                spill = \"soft\"\nsticky = \"cookie\"\nsticky_cookie = \"Lb\"\nbinding_ttl_secs = 60\n\
                slow_start_secs = 30\nslow_start_aggression = 1.5\nmax_failures = 3\n\
                unhealthy_responses = [404, \"500-503\"]\nlast_backend = \"eject\"\npanic_threshold = 0.5\n\
                retry_enabled = true\nmax_attempts = 5\nretry_non_idempotent = true\nreplay_max_bytes = 0\n\
                queue_max = 7\nqueue_timeout_secs = 2\nconnect_timeout_secs = 1\nfallback = [\"b\"]\n\
                add_prefix = \"/test/\"\ninitial = \"probe_first\"\n[apps.\"Shop.Example\".health]\n";
    let found = app(&loaded(text), "shop.example");
    let settings = &found.settings;
    assert_eq!(settings.sticky, Sticky::Cookie);
    assert_eq!(
        settings.sticky_cookie.as_str(),
        "Lb",
        "the case of a cookie matters"
    );
    assert_eq!(settings.slow_start_aggression.to_string(), "1.5");
    assert!(settings.unhealthy_responses.contains(502) && !settings.unhealthy_responses.contains(504));
    assert_eq!(
        (settings.last_backend, settings.initial),
        (LastBackend::Eject, Initial::ProbeFirst)
    );
    assert_eq!(settings.panic_threshold.thousandths(), 500);
    assert_eq!(settings.connect_timeout, Duration::from_secs(1));
    assert_eq!(settings.region_order.len(), 2);
    assert_eq!(found.add_prefix.as_ref().map(PathPrefix::as_str), Some("/test"));
    assert_eq!(found.fallback.len(), 1);
    assert_eq!(found.health.unwrap().fall, 3, "as max_failures");
}

#[test]
fn a_health_table_has_the_defaults_of_the_specification() {
    let health = |text: &str| app(&loaded(text), "shop").health;
    assert_eq!(health("[apps.shop]\n"), None);
    let tcp = TcpProbe {
        connect_timeout: Duration::from_secs(10),
        port: None,
    };
    let expected = Health {
        interval: Duration::from_secs(5),
        fall: 3,
        rise: 1,
        probe: Probe::Tcp(tcp),
    };
    assert_eq!(health("[apps.shop.health]\n"), Some(expected.clone()));
    assert_eq!(health("[apps.shop.health.tcp]\n"), Some(expected.clone()));
    assert_eq!(
        health("health_monitor = \"tcp\"\n[apps.shop]\n"),
        Some(expected.clone())
    );
    assert_eq!(health("[apps.shop.health]\nenabled = false\ntcp = {}\n"), None);
    assert_eq!(
        health("health_monitor = \"tcp\"\n[apps.shop.health]\nenabled = false\n"),
        None
    );
    let slower = health("health_monitor = \"tcp\"\nhealth_interval_secs = 9\n[apps.shop.health]\nrise = 2\n");
    assert_eq!(
        slower,
        Some(Health {
            interval: Duration::from_secs(9),
            rise: 2,
            ..expected
        })
    );

    let Some(Probe::Http(http)) = health("[apps.shop.health.http]\n").map(|health| health.probe) else {
        panic!("no HTTP probe")
    };
    assert_eq!((http.method.as_str(), http.path.as_str()), ("GET", "/"));
    assert_eq!(
        (http.connect_timeout, http.read_timeout),
        (Duration::from_secs(30), Duration::from_secs(30))
    );
    assert_eq!(
        (http.tls, http.success_codes.ranges(), http.id_header),
        (ProbeTls::Off, &[200..=200][..], false)
    );
}

#[test]
fn everything_about_a_probe_is_read() {
    let text = "[apps.shop.health]\ninterval_secs = 60\nfall = 2\nrise = 4\n[apps.shop.health.http]\nmethod = \"POST\"\n\
                path = \"/up?full=1\"\nheaders = { Host = \"shop.example\" }\nbody = \"ping\"\nport = 81\n\
                connect_timeout_secs = 1\nread_timeout_secs = 2\ntls = true\ntls_insecure = true\n\
                success_codes = [200, \"202-204\"]\nsuccess_headers = { X-Up = \"yes\" }\nhealth_check_id_header = true\n";
    let health = app(&loaded(text), "shop").health.unwrap();
    let Probe::Http(http) = health.probe.clone() else {
        panic!("{health:?}")
    };
    assert_eq!(
        (health.fall, health.rise, health.probe.longest()),
        (2, 4, Duration::from_secs(3))
    );
    assert_eq!(
        (http.method.as_str(), http.path.as_str(), http.body.as_str()),
        ("POST", "/up?full=1", "ping")
    );
    assert_eq!(
        (http.headers[0].0.as_str(), http.success_headers[0].1.as_str()),
        ("host", "yes")
    );
    assert_eq!(
        (http.port.map(u16::from), http.tls, http.id_header),
        (Some(81), ProbeTls::Insecure, true)
    );
    assert!(http.success_codes.contains(203));
    let as_traffic = "[apps.shop.health.http]\nuse_backend_tls = true\n";
    let Probe::Http(http) = app(&loaded(as_traffic), "shop").health.unwrap().probe else {
        panic!()
    };
    assert_eq!(http.tls, ProbeTls::AsTraffic);
    let grpc = "[apps.shop.health.grpc]\nservice = \"shop.v1.Cart\"\n";
    let Probe::Grpc(grpc) = app(&loaded(grpc), "shop").health.unwrap().probe else {
        panic!()
    };
    assert_eq!(grpc.service, "shop.v1.Cart");
}

#[test]
fn a_fault_in_a_setting_is_not_told_again_for_every_app_that_takes_it_over() {
    let text = "retry_enabled = 1\nalgorithm = \"x\"\n[apps.a]\nmax_attempts = 2\nspill = \"soft\"\n[apps.b]\ninner = \"ewma\"\n";
    assert_eq!(layers(text).load().unwrap_err().problems.len(), 2);
}

#[test]
fn ten_thousand_apps_are_the_most() {
    use std::fmt::Write;
    let mut text = String::new();
    for number in 0..10_001 {
        writeln!(text, "[apps.a{number}]").unwrap();
    }
    let found = layers(&text).load().unwrap_err().to_string();
    assert!(
        found.contains("there are 10001 apps; expected at most 10000"),
        "{found}"
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_app_makes_it_panic(lines in proptest::collection::vec(line(), 0..12)) {
        let _ = layers(&lines.concat()).load().map_err(|error| error.to_string());
    }
}

fn line() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let keys = fields(OWN)
        .chain(fields(AppSettings::KEYS))
        .map(|field| field.key);
    let key = prop::sample::select(keys.chain(["healt", "health"]).collect::<Vec<_>>());
    let value = prop::sample::select(vec![
        "\"region_affinity\"",
        "\"hash\"",
        "\"soft\"",
        "\"cookie\"",
        "\"cookie:a\"",
        "\"header:\"",
        "[\"eu\"]",
        "[500]",
        "[1]",
        "0",
        "0.5",
        "7",
        "true",
        "false",
        "\"/a\"",
        "\"\"",
        "{}",
        "{ tcp = {} }",
        "{ http = { path = 1 }, grpc = {} }",
        "\"probe_first\"",
        "\"é\"",
    ]);
    let head = prop::sample::select(vec![
        "[apps.a]\n",
        "[apps.A]\n",
        "[apps.b.health]\n",
        "[apps]\n",
        "[apps.\"\"]\n",
    ]);
    prop_oneof![
        1 => head.prop_map(str::to_owned),
        3 => (key, value).prop_map(|(key, value)| format!("{key} = {value}\n")),
    ]
}
