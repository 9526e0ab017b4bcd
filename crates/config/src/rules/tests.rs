use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::report::every_rule;
use crate::{ConfigFile, HealthMonitor, LastBackend, Layers, Settings};

fn found(text: &str) -> Vec<&'static str> {
    let file = ConfigFile {
        path: "edgeproxy.toml".into(),
        text: format!("api_enabled = true\napi_listen_addr = \"127.0.0.1:8081\"\n{text}"),
    };
    let layers = Layers {
        file: Some(file),
        ..Layers::default()
    };
    let loaded = layers.load().unwrap_or_else(|error| panic!("{text}\n{error}"));
    check(&loaded).into_iter().map(|finding| finding.rule).collect()
}

fn rules(settings: &Settings) -> Vec<&'static str> {
    check(&Loaded::from(settings.clone()))
        .into_iter()
        .map(|finding| finding.rule)
        .collect()
}

#[test]
fn the_defaults_only_say_that_nothing_can_register() {
    assert_eq!(rules(&Settings::default()), ["api-off"]);
}

#[test]
fn an_api_on_loopback_is_no_finding_and_a_wider_one_is() {
    let mut settings = Settings {
        api_enabled: true,
        ..Settings::default()
    };
    assert_eq!(rules(&settings), ["api-open-address"]);
    settings.api_listen_addr = "127.0.0.1:8081".parse().unwrap();
    assert!(rules(&settings).is_empty());
    settings.api_insecure = true;
    assert_eq!(rules(&settings), ["api-insecure"]);
}

#[test]
fn tokens_go_through_tls_or_stay_on_this_machine() {
    let mut settings = Settings {
        api_enabled: true,
        api_tokens_file: Some("tokens.toml".into()),
        ..Settings::default()
    };
    assert_eq!(rules(&settings), ["tokens-in-the-clear"]);
    settings.api_tls_cert = Some("cert.pem".into());
    assert!(rules(&settings).is_empty());
    settings.api_tls_cert = None;
    settings.api_listen_addr = "[::1]:8081".parse().unwrap();
    assert!(rules(&settings).is_empty());
}

#[test]
fn an_etcd_beyond_loopback_is_spoken_to_in_the_clear() {
    for (store, rule) in [
        ("etcd://10.0.0.1:2379", true),
        ("etcd://127.0.0.1:2379,a.example", true),
        ("etcd://[fd00::1]:2379/shop", true),
        ("etcd://127.0.0.1:2379,localhost,[::1]:2379/shop", false),
        ("etcds://10.0.0.1:2379", false),
        ("file", false),
    ] {
        let found = found(&format!("store = {store:?}"));
        assert_eq!(found.contains(&"etcd-in-the-clear"), rule, "{store}: {found:?}");
    }
}

#[test]
fn what_is_for_an_etcd_needs_one_and_its_pairs_are_whole() {
    let refused = |text: &str| {
        let file = ConfigFile {
            path: "edgeproxy.toml".into(),
            text: text.to_owned(),
        };
        let layers = Layers {
            file: Some(file),
            ..Layers::default()
        };
        layers
            .load()
            .map_or_else(|error| error.to_string(), |_| String::new())
    };
    let plain = "store = \"etcd://127.0.0.1:2379\"\n";
    let inside = "store = \"etcds://127.0.0.1:2379\"\n";
    for (text, problem) in [
        (
            "limits = \"shared\"".to_owned(),
            "expected the address of an etcd",
        ),
        (
            format!("{plain}etcd_user = \"u\""),
            "name the file that holds the password by etcd_password_file (EDGEPROXY_ETCD_PASSWORD_FILE)",
        ),
        (
            format!("{plain}etcd_password_file = \"p\""),
            "give the user's name by etcd_user (EDGEPROXY_ETCD_USER)",
        ),
        (format!("{inside}etcd_cert = \"c\""), "etcd_key"),
        (format!("{plain}etcd_ca = \"c\""), "expected etcds://"),
        (format!("{inside}etcd_ca = \"c\"\nlimits = \"shared\""), ""),
    ] {
        let told = refused(&text);
        let agrees = told.contains(problem) && told.is_empty() == problem.is_empty();
        assert!(agrees, "{text}: {told}");
    }
}

#[test]
fn a_client_authority_needs_a_certificate_and_a_file_that_says_what_clients_may_do() {
    let refused = |text: &str| {
        let file = ConfigFile {
            path: "edgeproxy.toml".into(),
            text: text.to_owned(),
        };
        let layers = Layers {
            file: Some(file),
            ..Layers::default()
        };
        layers
            .load()
            .map_or_else(|error| error.to_string(), |_| String::new())
    };
    let pair = "api_tls_cert = \"c\"\napi_tls_key = \"k\"\n";
    for (text, expected) in [
        (
            "api_tls_cert = \"c\"",
            "there is a api_tls_cert and no api_tls_key",
        ),
        (
            "api_tls_client_ca = \"ca\"\napi_tokens_file = \"t\"",
            "no api_tls_cert; expected both",
        ),
        (
            &*format!("{pair}api_tls_client_ca = \"ca\""),
            "no api_tokens_file; expected both",
        ),
        (
            "api_insecure = true\napi_tokens_file = \"t\"",
            "there is an api_tokens_file; expected one of them",
        ),
        (
            &*format!("{pair}api_tls_client_ca = \"ca\"\napi_tokens_file = \"t\""),
            "",
        ),
    ] {
        let told = refused(text);
        assert!(
            told.contains(expected) && told.is_empty() == expected.is_empty(),
            "{text}\n{told}"
        );
    }
}

#[test]
fn a_certificate_that_nobody_is_shown_and_certificates_that_nobody_looks_at_are_told() {
    let mut settings = Settings {
        tls_cert: Some("c".into()),
        backend_tls_insecure: true,
        ..Settings::default()
    };
    assert_eq!(rules(&settings), ["api-off", "tls-off", "backend-tls-insecure"]);
    settings.tls_enabled = true;
    assert_eq!(rules(&settings), ["api-off", "backend-tls-insecure"]);
}

#[test]
fn the_anti_pattern_is_named_with_what_to_write_instead() {
    let base = Settings {
        api_enabled: true,
        api_listen_addr: "127.0.0.1:8081".parse().unwrap(),
        max_failures: 5,
        max_ejection_percent: 50,
        ..Settings::default()
    };
    assert_eq!(rules(&base), ["max-failures-without-monitor"]);
    assert!(
        check(&Loaded::from(base.clone()))[0]
            .advice
            .contains("health_monitor = \"tcp\"")
    );
    assert!(
        rules(&Settings {
            health_monitor: HealthMonitor::Tcp,
            ..base.clone()
        })
        .is_empty()
    );
    let eject = Settings {
        last_backend: LastBackend::Eject,
        ..base
    };
    assert_eq!(
        rules(&eject),
        ["max-failures-without-monitor", "eject-last-without-monitor"]
    );
}

const ONE: &str = "[[backends]]\nid = \"a\"\napp = \"shop\"\nregion = \"eu\"\nip = \"10.0.0.1\"\nport = 80\n";

#[test]
fn one_backend_with_max_failures_and_no_monitor_is_the_anti_pattern_and_two_are_not() {
    let app = "[apps.shop]\nmax_failures = 5\nmax_ejection_percent = 50\n";
    assert_eq!(found(&format!("{app}{ONE}")), ["single-backend-max-failures"]);
    let other = ONE.replace("\"a\"", "\"b\"").replace("0.1", "0.2");
    assert_eq!(
        found(&format!("{app}{ONE}{other}")),
        ["max-failures-without-monitor"]
    );
    assert!(found(&format!("{app}[apps.shop.health]\n{ONE}{other}")).is_empty());
    assert!(found(&format!("{app}[apps.shop.health]\n{ONE}")).is_empty());
    assert!(found(&format!("[apps.shop]\n{ONE}")).is_empty());
}

#[test]
fn a_first_probe_that_nobody_makes_is_told() {
    let first = "initial = \"probe_first\"\n";
    assert_eq!(found(first), ["probe-first-without-monitor"]);
    assert!(found(&format!("{first}health_monitor = \"tcp\"\n")).is_empty());
    let own = "[apps.shop]\ninitial = \"probe_first\"\n[apps.shop.health]\ntcp = {}\n";
    assert!(found(own).is_empty());
}

#[test]
fn what_an_app_takes_over_is_told_once_and_at_its_source() {
    let five = "max_failures = 5\nmax_ejection_percent = 50\n";
    assert_eq!(
        found(&format!("{five}[apps.a]\n[apps.b]\n")),
        ["max-failures-without-monitor"]
    );
    let watched = format!("{five}health_monitor = \"tcp\"\n");
    assert!(found(&format!("{watched}[apps.a]\nmax_failures = 2\n")).is_empty());
    let off = format!("{watched}[apps.a.health]\nenabled = false\n");
    assert_eq!(found(&off), ["max-failures-without-monitor"]);
}

#[test]
fn ejections_without_a_bound_are_told_where_there_may_be_more_than_two_backends() {
    let rule = "ejections-unbounded";
    let watched = "health_monitor = \"tcp\"\n";
    assert_eq!(found(&format!("{watched}max_failures = 5\n[apps.a]\n")), [rule]);
    assert_eq!(found(&format!("{watched}[apps.a]\nmax_failures = 5\n")), [rule]);
    for bounded in [
        "max_ejection_percent = 99",
        "panic_threshold = 0.001",
        "max_failures = 0",
    ] {
        let all = format!("{watched}max_failures = 5\n{bounded}\n").replacen(
            "max_failures = 5\nmax_failures",
            "max_failures",
            1,
        );
        assert!(found(&all).is_empty(), "{bounded}");
    }
    assert_eq!(
        found(&format!(
            "{watched}max_failures = 5\nmax_ejection_percent = 50\n[apps.a]\nmax_ejection_percent = 100\n"
        )),
        [rule],
        "an app that takes the bound away"
    );
    // Nobody can register: it is as many as the file has.
    let with = |above: &str, backends: usize| {
        let backends: String = (0..backends)
            .map(|n| {
                ONE.replace("\"a\"", &format!("\"b{n}\""))
                    .replace("0.1", &format!("0.{}", n + 1))
            })
            .collect();
        let file = ConfigFile {
            path: "edgeproxy.toml".into(),
            text: format!("{watched}{above}{backends}"),
        };
        let layers = Layers {
            file: Some(file),
            ..Layers::default()
        };
        check(&layers.load().unwrap())
            .iter()
            .any(|finding| finding.rule == rule)
    };
    let closed = |backends| with("[apps.shop]\nmax_failures = 5\n", backends);
    assert_eq!([closed(1), closed(2), closed(3)], [false, false, true]);
    let all_bounded = "max_failures = 5\n[apps.shop]\nmax_ejection_percent = 50\n";
    assert!(
        !with(all_bounded, 3),
        "each app bounds itself, and there can be no other"
    );
    let one_more = "max_failures = 5\n[apps.cart]\nmax_ejection_percent = 50\n[apps.shop]\n";
    assert!(
        with(one_more, 3),
        "one that sets nothing takes over what is unbounded"
    );
}

#[test]
fn an_interval_is_held_against_the_time_outs_only_where_somebody_chose_one() {
    let health = |lines: &str| found(&format!("[apps.shop.health]\n{lines}"));
    assert!(health("tcp = {}\n").is_empty(), "the defaults");
    assert_eq!(health("interval_secs = 2\n"), ["interval-below-timeout"]);
    assert_eq!(
        health("interval_secs = 5\ntcp = { connect_timeout_secs = 10 }\n"),
        ["interval-below-timeout"]
    );
    assert!(health("interval_secs = 2\ntcp = { connect_timeout_secs = 2 }\n").is_empty());
    assert_eq!(
        health("interval_secs = 3\nhttp = { connect_timeout_secs = 2, read_timeout_secs = 2 }\n"),
        ["interval-below-timeout"]
    );
}

#[test]
fn a_lease_holds_three_heartbeats() {
    assert_eq!(found("heartbeat_ttl_secs = 14\n"), ["ttl-below-three-heartbeats"]);
    assert!(found("heartbeat_ttl_secs = 15\n").is_empty());
}

#[test]
fn retries_are_bounded_by_half_of_the_requests() {
    assert_eq!(found("retry_budget_percent = 51\n"), ["retries-multiply"]);
    assert!(found("retry_budget_percent = 50\n").is_empty());
    assert!(found("retry_budget_percent = 80\nmax_attempts = 1\n").is_empty());
    assert!(found("retry_budget_percent = 80\nretry_enabled = false\n").is_empty());
    assert_eq!(found("retry_non_idempotent = true\n"), ["retry-non-idempotent"]);
}

#[test]
fn a_share_starves_below_one_of_a_thousand() {
    let shares = |a: u32, b: u32| found(&format!("[[routes]]\napps = {{ a = {a}, b = {b} }}\n"));
    assert!(shares(1, 999).is_empty());
    assert_eq!(shares(1, 1_000), ["share-starves"]);
    assert_eq!(shares(1, 0), ["share-starves"]);
    let weights = |weight: u32| {
        let other = ONE.replace("\"a\"", "\"b\"").replace("0.1", "0.2");
        found(&format!("{ONE}weight = {weight}\n{other}weight = 1000\n"))
    };
    assert!(weights(0).is_empty() && weights(2).is_empty());
    assert_eq!(weights(1), ["weight-starves"]);
}

#[test]
fn an_app_that_nothing_can_serve_is_told_only_while_nobody_can_register() {
    let route = "[[routes]]\napp = \"shop\"\n";
    assert!(found(route).is_empty());
    let off = Layers {
        file: Some(ConfigFile {
            path: "edgeproxy.toml".into(),
            text: route.to_owned(),
        }),
        ..Layers::default()
    };
    let rules: Vec<&str> = check(&off.load().unwrap())
        .iter()
        .map(|finding| finding.rule)
        .collect();
    assert_eq!(rules, ["api-off", "app-without-backends"]);
}

#[test]
fn a_name_that_nearly_is_another_one_s_is_told() {
    assert_eq!(
        found("[apps.shop]\n[[routes]]\napp = \"shpo\"\n"),
        ["app-misspelt"]
    );
    assert!(found("[apps.shop]\n[[routes]]\napp = \"search\"\n").is_empty());
    assert!(found("[apps.shop]\n[apps.shpo]\n[[routes]]\napp = \"shpo\"\n").is_empty());
}

#[test]
fn a_route_that_no_request_reaches_is_told() {
    let tcp = "listen_addr = \"off\"\ntcp_listen_addr = \"127.0.0.1:1\"\ntcp_app = \"shop\"\n[[routes]]\napp = \"shop\"\n";
    assert_eq!(found(tcp), ["unreachable-route"]);
    let long = "max_target_bytes = 3\n[[routes]]\npath_prefix = \"/abc\"\napp = \"shop\"\n";
    assert_eq!(found(long), ["unreachable-route"]);
}

#[test]
fn a_fallback_is_a_backend_of_the_same_app_as_far_as_is_known() {
    assert_eq!(
        found(&format!("[apps.blog]\nfallback = [\"a\"]\n{ONE}")),
        ["fallback-elsewhere"]
    );
    assert!(
        found(&format!(
            "[apps.shop]\nfallback = [\"a\", \"registers-later\"]\n{ONE}"
        ))
        .is_empty()
    );
}

#[test]
fn every_rule_has_a_section_in_the_documents_and_every_section_a_rule() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rules.md");
    let page = std::fs::read_to_string(page).unwrap();
    let sections: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .collect();
    let rules = every_rule();
    let names: Vec<&str> = rules.iter().map(|(name, _)| *name).collect();
    assert_eq!(sections, names, "in the same order");
    assert_eq!(
        names.iter().collect::<BTreeSet<_>>().len(),
        names.len(),
        "a name of its own each"
    );
    for (name, severity) in rules {
        let section = page.split(&format!("### {name}\n\n")).nth(1).unwrap();
        assert!(
            section.to_lowercase().starts_with(&severity.to_string()),
            "{name} is of severity {severity}"
        );
    }
}
