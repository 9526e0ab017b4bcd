use edgeproxy_config::{ConfigFile, Layers};
use edgeproxy_health::Problem;

use super::*;

fn read(text: &str) -> Result<Option<Monitors>, MonitorError> {
    let layers = Layers {
        file: Some(ConfigFile {
            path: "edgeproxy.toml".into(),
            text: text.to_owned(),
        }),
        ..Layers::default()
    };
    let loaded = layers.load().unwrap();
    match loaded.topology.apps.first() {
        Some(app) => Monitors::of_app(app),
        None => Monitors::of_settings(&loaded.settings),
    }
}

fn monitors(text: &str) -> Monitors {
    read(text).unwrap().unwrap()
}

fn kind(monitors: &Monitors, protocol: Protocol) -> &Kind {
    monitors.of(protocol).kind()
}

fn http_of(monitors: &Monitors, protocol: Protocol) -> (Encryption, Version) {
    match kind(monitors, protocol) {
        Kind::Http(probe) => (probe.encryption(), probe.version()),
        other => panic!("{other:?}"),
    }
}

const CLEAR: (Encryption, Version) = (Encryption::Clear, Version::Http1);

#[test]
fn an_app_without_a_word_of_its_own_is_probed_as_the_settings_say() {
    assert_eq!(read("").unwrap(), None);
    assert_eq!(read("[apps.shop]\n").unwrap(), None);
    let settings = "health_monitor = \"http:/up\"\nhealth_interval_secs = 7\n";
    let (of_settings, of_app) = (monitors(settings), monitors(&format!("{settings}[apps.shop]\n")));
    assert_eq!(of_settings, of_app);
    for protocol in Protocol::ALL {
        assert_eq!(of_settings.of(protocol).interval().as_secs(), 7);
    }
    assert_eq!(
        read(&format!("{settings}[apps.shop.health]\nenabled = false\n")).unwrap(),
        None
    );
}

#[test]
fn every_setting_of_an_http_probe_is_in_force() {
    let monitors = monitors(
        r#"
[apps.shop.health]
interval_secs = 3
[apps.shop.health.http]
method = "POST"
path = "/up?deep=1"
headers = { Host = "shop.example", "X-Probe" = "1" }
body = "ping"
port = 9090
connect_timeout_secs = 2
read_timeout_secs = 4
success_codes = [200, "300-399"]
success_headers = { "X-State" = "up" }
health_check_id_header = true
"#,
    );
    assert_eq!(monitors.of(Protocol::Http1).interval().as_secs(), 3);
    let Kind::Http(found) = kind(&monitors, Protocol::Http1) else {
        panic!("no HTTP")
    };
    let expected = HttpProbe::get("/up?deep=1")
        .and_then(|probe| probe.with_method("POST"))
        .and_then(|probe| probe.with_header("host", "shop.example"))
        .and_then(|probe| probe.with_header("x-probe", "1"))
        .and_then(|probe| probe.with_body("ping"))
        .and_then(|probe| probe.with_port(9_090))
        .and_then(|probe| probe.with_connect_timeout(std::time::Duration::from_secs(2)))
        .and_then(|probe| probe.with_read_timeout(std::time::Duration::from_secs(4)))
        .and_then(|probe| probe.with_success_header("x-state", "up"))
        .unwrap()
        .with_success_codes("200,300-399".parse().unwrap())
        .with_id_header();
    assert_eq!(**found, expected);
}

#[test]
fn an_http_probe_speaks_as_the_backend_does_and_connects_where_that_is_tls() {
    let monitors = monitors("[apps.shop.health.http]\nconnect_timeout_secs = 2\n");
    assert_eq!(http_of(&monitors, Protocol::Http1), CLEAR);
    assert_eq!(http_of(&monitors, Protocol::Tcp), CLEAR);
    assert_eq!(
        http_of(&monitors, Protocol::H2c),
        (Encryption::Clear, Version::Http2)
    );
    match kind(&monitors, Protocol::Https) {
        Kind::Tcp(probe) => assert_eq!(probe.connect_timeout().as_secs(), 2),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tls_and_tls_insecure_are_for_every_backend_and_use_backend_tls_for_those_that_speak_it() {
    for (text, expected) in [
        ("tls = true", Encryption::Verified),
        ("tls = true\ntls_insecure = true", Encryption::Unverified),
    ] {
        let monitors = monitors(&format!("[apps.shop.health.http]\n{text}\n"));
        for protocol in Protocol::ALL {
            assert_eq!(http_of(&monitors, protocol).0, expected, "{text} {protocol:?}");
        }
    }
    let monitors = monitors("[apps.shop.health.http]\nuse_backend_tls = true\n");
    assert_eq!(http_of(&monitors, Protocol::Https).0, Encryption::AsTraffic);
    assert_eq!(http_of(&monitors, Protocol::Http1), CLEAR);
    assert_eq!(
        http_of(&monitors, Protocol::H2c),
        (Encryption::Clear, Version::Http2)
    );
}

#[test]
fn a_port_of_its_own_is_spoken_to_as_the_settings_say_whatever_the_backend_speaks() {
    let http = monitors("[apps.shop.health.http]\nport = 9090\n");
    let grpc = monitors("[apps.shop.health.grpc]\nport = 9090\n");
    for protocol in Protocol::ALL {
        assert_eq!(http_of(&http, protocol), CLEAR, "{protocol:?}");
        match kind(&grpc, protocol) {
            Kind::Grpc(probe) => assert_eq!(probe.encryption(), Encryption::Clear),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_grpc_probe_asks_for_the_service_and_goes_inside_the_backends_tls() {
    let monitors = monitors(
        "[apps.shop.health.grpc]\nservice = \"shop.v1.Cart\"\nconnect_timeout_secs = 2\nread_timeout_secs = 4\n",
    );
    for protocol in Protocol::ALL {
        let Kind::Grpc(probe) = kind(&monitors, protocol) else {
            panic!("no gRPC")
        };
        let encryption = match protocol {
            Protocol::Https => Encryption::AsTraffic,
            _ => Encryption::Clear,
        };
        assert_eq!(
            (probe.service(), probe.encryption()),
            ("shop.v1.Cart", encryption)
        );
        assert_eq!(
            (probe.connect_timeout().as_secs(), probe.read_timeout().as_secs()),
            (2, 4)
        );
    }
}

#[test]
fn a_tcp_probe_is_the_same_for_all() {
    let monitors = monitors("[apps.shop.health.tcp]\nconnect_timeout_secs = 2\nport = 81\n");
    for protocol in Protocol::ALL {
        match kind(&monitors, protocol) {
            Kind::Tcp(probe) => {
                assert_eq!(
                    (probe.connect_timeout().as_secs(), probe.port().unwrap().get()),
                    (2, 81)
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_can_t_be_is_told_with_the_app_s_table() {
    let error = read("[apps.shop.health.http]\nheaders = { Host = \"a b\" }\n").unwrap_err();
    assert!(matches!(error.error.problem, Problem::Host { .. }));
    let words = error.to_string();
    assert!(
        words.starts_with("apps.shop.health: http.headers has host \"a b\""),
        "{words}"
    );
}
