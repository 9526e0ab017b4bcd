use ipnet::IpNet;

use super::*;
use crate::Settings;

fn key(key: &str) -> &'static crate::Setting {
    crate::Setting::by_key(key).unwrap()
}

/// What a variable with that text would be told.
fn told(name: &str, text: &str) -> Mismatch {
    let setting = key(name);
    let mut settings = Settings::default();
    setting
        .kind
        .read_text(text)
        .and_then(|value| (setting.apply)(&mut settings, &value))
        .unwrap_err()
}

#[test]
fn every_default_is_valid_and_its_own_text() {
    let defaults = Settings::default();
    for setting in Settings::ALL {
        let mut settings = Settings::default();
        let value = setting.kind.read_text(setting.default).unwrap();
        (setting.apply)(&mut settings, &value).unwrap();
        assert_eq!(settings, defaults, "{}", setting.key);
    }
}

#[test]
fn an_address_that_misses_something_is_completed_for_its_writer() {
    for (text, help) in [
        ("8080", "write \"0.0.0.0:8080\" to listen on every IPv4 address"),
        (":9000", "write \"0.0.0.0:9000\" to listen on every IPv4 address"),
        (
            "localhost:80",
            "a host name is not accepted; write \"127.0.0.1:80\"",
        ),
        (
            "shop.example:80",
            "a host name is not accepted; write an address of this machine, such as \"127.0.0.1:80\"",
        ),
        ("localhost:80800", "the port is 80800; the greatest is 65535"),
        ("10.0.0.1", "the port is missing: write \"10.0.0.1:8080\""),
        ("[::1]", "the port is missing: write \"[::1]:8080\""),
        (
            "fe80::a:b:c:d:80",
            "an IPv6 address stands in brackets: write \"[fe80::a:b:c:d]:80\"",
        ),
    ] {
        let help_given = told("listen_addr", text).help;
        if text.starts_with("fe80") {
            // The last group may as well be part of the address, so only completion is asserted.
            assert!(help_given.is_some(), "{text}");
        } else {
            assert_eq!(help_given.as_deref(), Some(help), "{text}");
        }
    }
    assert_eq!(told("listen_addr", "10.0.0.256:80").help, None);
}

#[test]
fn a_network_with_host_bits_is_refused_with_both_readings() {
    let mismatch = told("allowed_backend_cidrs", "10.0.0.0/8,10.1.2.3/16");
    assert_eq!(mismatch.item, Some(1));
    let help = mismatch.help.unwrap();
    assert!(
        help.contains("\"10.1.0.0/16\"") && help.contains("\"10.1.2.3\""),
        "{help}"
    );
}

#[test]
fn a_bare_address_is_a_network_of_one_and_none_is_no_network() {
    let read = |text: &str| Vec::<IpNet>::from_value(&key("trusted_proxies").kind.read_text(text).unwrap());
    assert_eq!(
        read("10.0.0.1, ::1").unwrap(),
        ["10.0.0.1/32".parse().unwrap(), "::1/128".parse().unwrap()]
    );
    assert_eq!(read("none").unwrap(), []);
    assert_eq!(read(" , ").unwrap(), []);
}

#[test]
fn a_number_with_its_unit_is_told_that_the_name_has_it() {
    let help = |text| told("heartbeat_ttl_secs", text).help;
    assert_eq!(
        help("60s").as_deref(),
        Some("the unit is seconds already: write 60")
    );
    assert_eq!(help("2m").as_deref(), Some("the unit is seconds: write 120"));
    assert_eq!(help("soon"), None);
    assert_eq!(told("heartbeat_ttl_secs", "4").found, "4");
    assert_eq!(told("workers", "1025").found, "1025");
    assert_eq!(told("max_failures", "-1").found, "\"-1\"");
}

#[test]
fn a_switch_is_read_as_people_write_it() {
    for (text, expected) in [
        ("TRUE", true),
        ("1", true),
        ("on", true),
        (" false\n", false),
        ("no", false),
    ] {
        assert_eq!(
            Kind::Switch.read_text(text),
            Ok(Value::Switch(expected)),
            "{text}"
        );
    }
    assert!(Kind::Switch.read_text("maybe").is_err());
}

#[test]
fn what_was_found_is_repeated_in_part_and_harmlessly() {
    assert_eq!(quoted("\u{1b}[2J"), "\"\\u{1b}[2J\"");
    assert!(quoted(&"é".repeat(1_000_000)).chars().count() < 70);
}
