use proptest::prelude::*;

use super::*;
use crate::Setting;

/// For each setting two values as a variable has them, with the same as the file has them. A setting that
/// is missing here fails the table below.
const SAMPLES: &[(&str, [(&str, &str); 2])] = &[
    (
        "listen_addr",
        [("127.0.0.1:1", "\"127.0.0.1:1\""), ("[::1]:2", "\"[::1]:2\"")],
    ),
    (
        "tcp_listen_addr",
        [
            ("127.0.0.1:1", "\"127.0.0.1:1\""),
            ("127.0.0.1:2", "\"127.0.0.1:2\""),
        ],
    ),
    ("tcp_app", [("db", "\"db\""), ("other", "\"other\"")]),
    (
        "region_order",
        [("eu,sa", "[\"eu\", \"sa\"]"), ("us", "[\"us\"]")],
    ),
    (
        "hash_key",
        [
            ("header:X-User", "\"header:X-User\""),
            ("cookie:id", "\"cookie:id\""),
        ],
    ),
    ("sticky", [("cookie", "\"cookie\""), ("header:a", "\"header:a\"")]),
    ("binding_ttl_secs", [("1", "1"), ("2", "2")]),
    ("sticky_cookie", [("a", "\"a\""), ("B", "\"B\"")]),
    ("max_bindings", [("8", "8"), ("1000", "1000")]),
    ("decision_header_percent", [("1", "1"), ("100", "100")]),
    ("slow_start_secs", [("1", "1"), ("2", "2")]),
    ("slow_start_aggression", [("0.5", "0.5"), ("2", "2.000")]),
    (
        "unhealthy_responses",
        [("500,502-504", "[500, \"502-504\"]"), ("404", "[404]")],
    ),
    ("max_ejection_percent", [("50", "50"), ("1", "1")]),
    ("panic_threshold", [("0.5", "0.5"), ("1", "1")]),
    (
        "initial",
        [("probe_first", "\"probe_first\""), ("routable", "\"routable\"")],
    ),
    ("max_concurrent_probes", [("1", "1"), ("2", "2")]),
    ("metrics_max_backends", [("1", "1"), ("2", "2")]),
    ("access_log", [("-", "\"-\""), ("a.log", "\"a.log\"")]),
    ("access_log_format", [("text", "\"text\""), ("json", "\"json\"")]),
    ("access_log_sample", [("0.5", "0.5"), ("0", "0")]),
    ("access_log_query", [("true", "true"), ("false", "false")]),
    (
        "traces_url",
        [
            ("http://a", "\"http://a\""),
            ("https://b:1/c", "\"https://b:1/c\""),
        ],
    ),
    ("traces_ca", [("a", "\"a\""), ("b", "\"b\"")]),
    ("traces_sample", [("0.5", "0.5"), ("0", "0")]),
    (
        "traces_follow",
        [("nobody", "\"nobody\""), ("everybody", "\"everybody\"")],
    ),
    ("header_timeout_secs", [("1", "1"), ("2", "2")]),
    ("idle_timeout_secs", [("1", "1"), ("2", "2")]),
    ("send_timeout_secs", [("1", "1"), ("2", "2")]),
    ("connect_timeout_secs", [("1", "1"), ("2", "2")]),
    ("response_header_timeout_secs", [("1", "1"), ("2", "2")]),
    ("response_body_timeout_secs", [("1", "1"), ("2", "2")]),
    ("tcp_idle_timeout_secs", [("1", "1"), ("2", "2")]),
    ("tunnel_idle_timeout_secs", [("1", "1"), ("2", "2")]),
    ("max_head_bytes", [("8192", "8_192"), ("9000", "9000")]),
    ("max_fields", [("1", "1"), ("2", "2")]),
    ("max_target_bytes", [("1", "1"), ("2", "2")]),
    ("max_body_bytes", [("0", "0"), ("unlimited", "\"unlimited\"")]),
    ("max_connections", [("1", "1"), ("2", "2")]),
    ("max_connections_per_client", [("0", "0"), ("2", "2")]),
    ("http2_max_streams", [("1", "1"), ("2", "2")]),
    ("http2_max_reset_streams", [("1", "1"), ("2", "2")]),
    ("pool_idle_timeout_secs", [("1", "1"), ("2", "2")]),
    ("pool_max_idle", [("0", "0"), ("2", "2")]),
    ("retry_enabled", [("true", "true"), ("false", "false")]),
    ("max_attempts", [("1", "1"), ("2", "2")]),
    ("replay_max_bytes", [("0", "0"), ("2", "2")]),
    ("retry_non_idempotent", [("true", "true"), ("false", "false")]),
    ("retry_budget_percent", [("0", "0"), ("2", "2")]),
    ("retry_budget_per_sec", [("0", "0"), ("2", "2")]),
    ("queue_max", [("0", "0"), ("2", "2")]),
    ("queue_timeout_secs", [("1", "1"), ("2", "2")]),
    ("tls_enabled", [("true", "true"), ("false", "false")]),
    (
        "tls_listen_addr",
        [("127.0.0.1:5", "\"127.0.0.1:5\""), ("0.0.0.0:0", "\"0.0.0.0:0\"")],
    ),
    ("tls_cert", [("a.pem", "\"a.pem\""), ("/b.pem", "\"/b.pem\"")]),
    ("tls_key", [("a.pem", "\"a.pem\""), ("/b.pem", "\"/b.pem\"")]),
    ("handshake_timeout_secs", [("1", "1"), ("2", "2")]),
    (
        "backend_tls_ca",
        [("a.pem", "\"a.pem\""), ("/b.pem", "\"/b.pem\"")],
    ),
    (
        "backend_tls_server_name",
        [("a.example", "\"a.example\""), ("B", "\"b\"")],
    ),
    ("backend_tls_insecure", [("true", "true"), ("false", "false")]),
    (
        "backend_tls_cert",
        [("a.pem", "\"a.pem\""), ("/b.pem", "\"/b.pem\"")],
    ),
    (
        "backend_tls_key",
        [("a.pem", "\"a.pem\""), ("/b.pem", "\"/b.pem\"")],
    ),
    ("region", [("eu", "\"eu\""), ("US", "\"US\"")]),
    (
        "regions",
        [
            ("mx:MX", "{ mx = \"MX\" }"),
            ("za:ZA,mx:MX", "{ za = \"ZA\", mx = \"MX\" }"),
        ],
    ),
    ("api_enabled", [("true", "true"), ("false", "false")]),
    (
        "api_listen_addr",
        [("127.0.0.1:3", "\"127.0.0.1:3\""), ("0.0.0.0:0", "\"0.0.0.0:0\"")],
    ),
    ("api_tokens_file", [("t.toml", "\"t.toml\""), ("/u", "\"/u\"")]),
    ("api_tls_cert", [("c", "\"c\""), ("d", "\"d\"")]),
    ("api_tls_key", [("k", "\"k\""), ("l", "\"l\"")]),
    ("api_tls_client_ca", [("c", "\"c\""), ("d", "\"d\"")]),
    (
        "api_tls_client_auth",
        [("off", "\"off\""), ("optional", "\"optional\"")],
    ),
    (
        "register_source",
        [("any", "\"any\""), ("same_address", "\"same_address\"")],
    ),
    (
        "audit_log",
        [("stderr", "\"stderr\""), ("./audit", "\"./audit\"")],
    ),
    ("api_insecure", [("true", "true"), ("false", "false")]),
    ("api_rate_per_peer", [("0", "0"), ("5", "5")]),
    (
        "allowed_backend_cidrs",
        [
            ("10.0.0.0/8", "[\"10.0.0.0/8\"]"),
            ("::1,10.0.0.1", "[\"::1\", \"10.0.0.1\"]"),
        ],
    ),
    (
        "api_allowed_hosts",
        [("lb", "[\"lb\"]"), ("a.example,B", "[\"a.example\", \"b\"]")],
    ),
    ("heartbeat_ttl_secs", [("5", "5"), ("3600", "3_600")]),
    ("max_backends", [("1", "1"), ("7", "7")]),
    (
        "store",
        [("memory", "\"memory\""), ("etcd://a:1", "\"etcd://a:1\"")],
    ),
    ("proxy_name", [("a", "\"a\""), ("b.1", "\"b.1\"")]),
    ("etcd_user", [("u", "\"u\""), ("v", "\"v\"")]),
    ("etcd_password_file", [("p", "\"p\""), ("/q", "\"/q\"")]),
    ("etcd_ca", [("c", "\"c\""), ("d", "\"d\"")]),
    ("etcd_cert", [("c", "\"c\""), ("d", "\"d\"")]),
    ("etcd_key", [("k", "\"k\""), ("l", "\"l\"")]),
    ("limits", [("shared", "\"shared\""), ("local", "\"local\"")]),
    ("data_dir", [("a", "\"a\""), ("/b", "\"/b\"")]),
    ("mass_expiry_guard", [("false", "false"), ("true", "true")]),
    (
        "algorithm",
        [("round_robin", "\"round_robin\""), ("weighted", "\"weighted\"")],
    ),
    ("spill", [("soft", "\"soft\""), ("hard", "\"hard\"")]),
    ("max_failures", [("5", "5"), ("6", "0x6")]),
    ("last_backend", [("eject", "\"eject\""), ("keep", "\"keep\"")]),
    (
        "health_monitor",
        [("tcp", "\"tcp\""), ("http:/up", "\"http:/up\"")],
    ),
    ("health_interval_secs", [("1", "1"), ("2", "2")]),
    ("workers", [("3", "3"), ("auto", "\"auto\"")]),
    ("drain_timeout_secs", [("0", "0"), ("1", "1")]),
    (
        "trusted_proxies",
        [("10.0.0.0/8", "[\"10.0.0.0/8\"]"), ("::1", "[\"::1\"]")],
    ),
    (
        "geoip_path",
        [("a.mmdb", "\"a.mmdb\""), ("/b.mmdb", "\"/b.mmdb\"")],
    ),
    (
        "country_header",
        [("a", "\"a\""), ("CF-IPCountry", "\"CF-IPCountry\"")],
    ),
    ("log_format", [("json", "\"json\""), ("text", "\"text\"")]),
    (
        "log_level",
        [("warn", "\"warn\""), ("info,a=debug", "\"info,a=debug\"")],
    ),
];

fn file(text: &str) -> Option<ConfigFile> {
    Some(ConfigFile {
        path: "edgeproxy.toml".into(),
        text: text.to_owned(),
    })
}

fn env(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

fn flags(pairs: &[(&'static str, &str)]) -> RawFlags {
    RawFlags {
        config: None,
        values: pairs.iter().map(|(key, value)| (*key, value.into())).collect(),
    }
}

/// What settings of an etcd go with.
const ETCDS: (&str, &str) = ("EDGEPROXY_STORE", "etcds://e");

#[test]
fn each_layer_overrides_the_next_for_every_setting() {
    assert_eq!(SAMPLES.len(), Settings::ALL.len());
    for setting in Settings::ALL {
        let (_, [(text_a, toml_a), (text_b, toml_b)]) =
            SAMPLES.iter().find(|(key, _)| *key == setting.key).unwrap();
        let written = |toml: &str| file(&format!("{} = {toml}", setting.key));
        // These go together.
        let other = match setting.key {
            "tcp_listen_addr" => env(&[("EDGEPROXY_TCP_APP", "db")]),
            "tcp_app" => env(&[("EDGEPROXY_TCP_LISTEN_ADDR", "127.0.0.1:1")]),
            "tls_enabled" => env(&[("EDGEPROXY_TLS_CERT", "c"), ("EDGEPROXY_TLS_KEY", "k")]),
            "tls_cert" => env(&[("EDGEPROXY_TLS_KEY", "k")]),
            "tls_key" => env(&[("EDGEPROXY_TLS_CERT", "c")]),
            "api_tls_cert" => env(&[("EDGEPROXY_API_TLS_KEY", "k")]),
            "api_tls_key" => env(&[("EDGEPROXY_API_TLS_CERT", "c")]),
            "api_tls_client_ca" => env(&[
                ("EDGEPROXY_API_TLS_CERT", "c"),
                ("EDGEPROXY_API_TLS_KEY", "k"),
                ("EDGEPROXY_API_TOKENS_FILE", "t"),
            ]),
            "etcd_user" => env(&[("EDGEPROXY_ETCD_PASSWORD_FILE", "p"), ETCDS]),
            "etcd_password_file" => env(&[("EDGEPROXY_ETCD_USER", "u"), ETCDS]),
            "etcd_cert" => env(&[("EDGEPROXY_ETCD_KEY", "k"), ETCDS]),
            "etcd_key" => env(&[("EDGEPROXY_ETCD_CERT", "c"), ETCDS]),
            "etcd_ca" | "limits" => env(&[ETCDS]),
            "backend_tls_cert" => env(&[("EDGEPROXY_BACKEND_TLS_KEY", "k")]),
            "backend_tls_key" => env(&[("EDGEPROXY_BACKEND_TLS_CERT", "c")]),
            _ => vec![],
        };
        let with = |file, mut env: Vec<_>, flags| {
            env.extend(other.clone());
            Layers { flags, env, file }.load().unwrap()
        };
        let variable = setting.env();
        let none = RawFlags::default;

        let a = with(written(toml_a), vec![], none());
        let b = with(written(toml_b), vec![], none());
        assert_ne!(a.settings, b.settings, "{}", setting.key);
        assert_eq!(a.origin(setting.key), Origin::File { line: 1 });

        let over_file = with(written(toml_a), env(&[(&variable, text_b)]), none());
        assert_eq!(over_file.settings, b.settings, "{variable} over the file");
        assert_eq!(over_file.origin(setting.key), Origin::Env);

        let over_both = with(
            written(toml_b),
            env(&[(&variable, text_b)]),
            flags(&[(setting.key, text_a)]),
        );
        assert_eq!(over_both.settings, a.settings, "--{} over both", setting.flag());
        assert_eq!(over_both.origin(setting.key), Origin::Flag);
        assert_eq!(
            Layers::default().load().unwrap().origin(setting.key),
            Origin::Default
        );
    }
}

#[test]
fn the_three_names_of_a_setting_follow_from_its_key() {
    let names = |key: &str| {
        let setting = Setting::by_key(key).unwrap();
        (setting.env(), setting.flag())
    };
    assert_eq!(
        names("listen_addr"),
        ("EDGEPROXY_LISTEN_ADDR".to_owned(), "listen-addr".to_owned())
    );
    assert_eq!(
        names("log_level"),
        ("EDGEPROXY_LOG".to_owned(), "log-level".to_owned())
    );
    let mut all: Vec<String> = Settings::ALL.iter().map(Setting::env).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), Settings::ALL.len());
    for setting in Settings::ALL {
        assert!(
            setting.doc().ends_with('.') && !setting.doc().contains("  "),
            "{:?}",
            setting.doc()
        );
    }
}

#[test]
fn the_first_document_s_example_is_read_to_the_letter() {
    let layers = Layers {
        env: env(&[
            ("EDGEPROXY_API_ENABLED", "true"),
            ("EDGEPROXY_API_LISTEN_ADDR", "0.0.0.0:8081"),
            ("EDGEPROXY_HEARTBEAT_TTL_SECS", "60"),
        ]),
        ..Layers::default()
    };
    assert_eq!(
        layers.load().unwrap().settings,
        Settings {
            api_enabled: true,
            ..Settings::default()
        }
    );
}

#[test]
fn problems_of_all_layers_are_told_with_the_names_they_were_given_under() {
    let layers = Layers {
        file: file("max_failures = true\n"),
        env: env(&[("EDGEPROXY_SPILL", "sotf"), ("EDGEPROXY_API_ENABLED", "maybe")]),
        flags: flags(&[("listen_addr", "8080"), ("heartbeat_ttl_secs", "1h")]),
    };
    assert_eq!(
        layers.load().unwrap_err().to_string(),
        r#"the configuration has 5 problems:

edgeproxy.toml:1:16: max_failures is true; expected a whole number from 0 to 1000000
  1 | max_failures = true
    |                ^^^^

environment: EDGEPROXY_API_ENABLED is "maybe"; expected true or false

environment: EDGEPROXY_SPILL is "sotf"; expected hard or soft
  help: did you mean "soft"?

command line: --listen-addr is "8080"; expected an IP address and a port, such as "0.0.0.0:8080" or "[::]:8080", or "off"
  help: write "0.0.0.0:8080" to listen on every IPv4 address

command line: --heartbeat-ttl-secs is "1h"; expected a whole number of seconds from 5 to 3600
"#
    );
}

#[test]
fn a_fault_is_told_even_where_a_higher_layer_would_hide_it() {
    let layers = Layers {
        env: env(&[("EDGEPROXY_SPILL", "x")]),
        flags: flags(&[("spill", "soft")]),
        file: None,
    };
    assert_eq!(layers.load().unwrap_err().problems.len(), 1);
}

#[test]
fn an_unknown_variable_is_a_finding_and_an_empty_one_is_unset() {
    let layers = Layers {
        env: env(&[
            ("EDGEPROXY_LISTEN_ADRR", "x"),
            ("EDGEPROXY_REGION", ""),
            ("HOME", "/"),
            ("EDGEPROXY_CONFIG", "x"),
            ("EDGEPROXY_API", "http://127.0.0.1:8081"),
        ]),
        ..Layers::default()
    };
    let loaded = layers.load().unwrap();
    assert_eq!(loaded.settings, Settings::default());
    let finding = &loaded.findings()[0];
    assert_eq!(
        (finding.rule, finding.advice.as_str()),
        ("unknown-variable", "did you mean EDGEPROXY_LISTEN_ADDR?")
    );
    assert_eq!(loaded.findings().len(), 2, "and api-off");
}

#[test]
fn a_list_may_be_given_by_several_flags_and_a_single_value_by_the_last() {
    let given = flags(&[
        ("trusted_proxies", "10.0.0.0/8"),
        ("region", "eu"),
        ("trusted_proxies", "::1"),
        ("region", "us"),
    ]);
    let settings = Layers {
        flags: given,
        ..Layers::default()
    }
    .load()
    .unwrap()
    .settings;
    assert_eq!(settings.trusted_proxies.len(), 2);
    assert_eq!(settings.region.as_str(), "us");
}

#[test]
fn a_region_must_exist_and_one_that_the_file_adds_does() {
    let error = Layers {
        env: env(&[("EDGEPROXY_REGION", "mx")]),
        ..Layers::default()
    }
    .load()
    .unwrap_err();
    assert_eq!(
        error.problems[0].to_string(),
        "environment: region is \"mx\"; expected one of those known: sa, us, eu, ap\n  \
         help: add it with its country, in the file as `[regions]` with `mx = \"CC\"`"
    );
    let layers = Layers {
        env: env(&[("EDGEPROXY_REGION", "mx")]),
        file: file("[regions]\nmx = \"MX\""),
        ..Layers::default()
    };
    assert!(layers.load().is_ok());
    // What is wrong with the regions themselves must not turn into a second complaint.
    let broken = Layers {
        file: file("region = \"mx\"\nregions = 5"),
        ..Layers::default()
    };
    assert_eq!(broken.load().unwrap_err().problems.len(), 1);
}

#[test]
fn two_listeners_on_one_address_are_refused_where_both_would_be_opened() {
    let text = "listen_addr = \"0.0.0.0:8081\"\n";
    assert!(
        Layers {
            file: file(text),
            ..Layers::default()
        }
        .load()
        .is_ok(),
        "the API is off"
    );
    let error = Layers {
        file: file(text),
        env: env(&[("EDGEPROXY_API_ENABLED", "1")]),
        ..Layers::default()
    }
    .load();
    assert_eq!(
        error.unwrap_err().problems[0].to_string(),
        "edgeproxy.toml:1:1: listen_addr 0.0.0.0:8081 and api_listen_addr 0.0.0.0:8081 can't both be listened on\n  \
         1 | listen_addr = \"0.0.0.0:8081\"\n    | ^^^^^^^^^^^\n  help: give one of them another port"
    );
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf8_is_named() {
    use std::os::unix::ffi::OsStringExt;
    let layers = Layers {
        env: vec![("EDGEPROXY_REGION".into(), OsString::from_vec(vec![0xff]))],
        ..Layers::default()
    };
    let message = layers.load().unwrap_err().to_string();
    assert!(
        message.contains("EDGEPROXY_REGION is \"\u{fffd}\", which is not UTF-8; expected"),
        "{message}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_variable_or_flag_makes_it_panic(index in 0..Settings::ALL.len(), text in any::<String>(), near in "[0-9a-z:/.,\\[\\] -]{0,24}") {
        let setting = &Settings::ALL[index];
        for text in [text, near] {
            let layers = Layers {
                env: env(&[(&setting.env(), &text)]),
                flags: flags(&[(setting.key, &text)]),
                file: None,
            };
            let _ = layers.load().map_err(|error| error.to_string());
        }
    }

    #[test]
    fn no_name_of_a_variable_makes_it_panic(name in "EDGEPROXY_\\PC{0,100}") {
        let _ = Layers { env: env(&[(&name, "x")]), ..Layers::default() }.load();
    }
}
