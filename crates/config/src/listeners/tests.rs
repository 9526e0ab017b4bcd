use super::*;
use crate::{ClientAuth, ConfigFile, Layers, TlsVersion};

fn layers(text: &str) -> Layers {
    Layers {
        file: Some(ConfigFile {
            path: "edgeproxy.toml".into(),
            text: text.to_owned(),
        }),
        ..Layers::default()
    }
}

fn with_env(text: &str, env: &[(&str, &str)]) -> Layers {
    Layers {
        env: env
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        ..layers(text)
    }
}

fn refusal(layers: &Layers) -> String {
    layers.load().unwrap_err().to_string()
}

fn addrs(layers: &Layers) -> Vec<String> {
    let settings = layers.load().unwrap().settings;
    let listeners = settings.every_listener();
    listeners
        .iter()
        .map(|listener| format!("{} {}", listener.name, listener.addr))
        .collect()
}

#[test]
fn listeners_come_besides_listen_addr_unless_that_is_off() {
    assert_eq!(addrs(&layers("")), ["listen_addr 0.0.0.0:8080"]);
    let text = "[[listeners]]\nname = \"inside\"\naddr = \"127.0.0.1:1\"\nprotocol = \"http\"\n\
                [[listeners]]\naddr = \"127.0.0.1:2\"\nprotocol = \"tcp\"\napp = \"db\"\n";
    assert_eq!(
        addrs(&layers(text)),
        [
            "listen_addr 0.0.0.0:8080",
            "inside 127.0.0.1:1",
            "listener-2 127.0.0.1:2"
        ]
    );
    assert_eq!(
        addrs(&layers(&format!("listen_addr = \"off\"\n{text}"))),
        ["inside 127.0.0.1:1", "listener-2 127.0.0.1:2"]
    );
}

#[test]
fn everything_about_a_tcp_listener_is_read() {
    let text = "[[listeners]]\nname = \"db\"\naddr = \"[::1]:5432\"\nprotocol = \"tcp\"\napp = \"Database\"\n\
                proxy_protocol = true\nproxy_protocol_from = [\"10.0.0.0/8\"]\nsend_proxy = \"v2\"\n\
                idle_timeout_secs = 60\n";
    let expected = Listener {
        name: "db".to_owned(),
        addr: "[::1]:5432".parse().unwrap(),
        protocol: ListenerProtocol::Tcp {
            app: AppName::parse("Database").unwrap(),
            send_proxy: Some(ProxyVersion::V2),
            idle_timeout: Some(Duration::from_secs(60)),
        },
        proxy_protocol_from: vec!["10.0.0.0/8".parse().unwrap()],
        tls: None,
    };
    assert_eq!(
        layers(text).load().unwrap().settings.listeners,
        std::slice::from_ref(&expected)
    );
    let off = text.replace("proxy_protocol = true", "proxy_protocol = false");
    assert_eq!(
        layers(&off).load().unwrap().settings.listeners,
        [Listener {
            proxy_protocol_from: vec![],
            ..expected
        }]
    );
}

#[test]
fn one_tcp_listener_needs_no_file() {
    let (addr, app) = (
        ("EDGEPROXY_TCP_LISTEN_ADDR", "127.0.0.1:9"),
        ("EDGEPROXY_TCP_APP", "db"),
    );
    assert_eq!(
        addrs(&with_env("", &[addr, app])),
        ["listen_addr 0.0.0.0:8080", "tcp_listen_addr 127.0.0.1:9"]
    );
    assert_eq!(
        refusal(&with_env("", &[addr])),
        "the configuration has a problem:\n\n\
         environment: tcp_listen_addr is 127.0.0.1:9 and there is no tcp_app; expected both or neither\n  \
         help: name the app whose backends take the connections by tcp_app (EDGEPROXY_TCP_APP)\n"
    );
    assert_eq!(
        refusal(&with_env("", &[app])),
        "the configuration has a problem:\n\n\
         environment: tcp_app is \"db\" and there is no tcp_listen_addr; expected both or neither\n  \
         help: say where its clients connect by tcp_listen_addr (EDGEPROXY_TCP_LISTEN_ADDR)\n"
    );
}

#[test]
fn all_problems_of_a_listener_come_at_once() {
    let found = refusal(&layers(
        "[[listeners]]\nadr = \"127.0.0.1:1\"\nprotocol = \"htp\"\n\n\
         [[listeners]]\naddr = 5\nprotocol = \"tcp\"\nsend_proxy = \"v3\"\n",
    ));
    assert_eq!(
        found,
        r#"the configuration has 6 problems:

edgeproxy.toml:1:1: a listener has no addr; expected an IP address and a port, such as "0.0.0.0:8080" or "[::]:8080"
  1 | [[listeners]]
    | ^^^^^^^^^^^^^
  help: add `addr = "0.0.0.0:8080"`

edgeproxy.toml:2:1: a listener has no setting "adr"
  2 | adr = "127.0.0.1:1"
    | ^^^
  help: did you mean "addr"?

edgeproxy.toml:3:12: a listener's protocol is "htp"; expected "http", "tcp" or "sni"
  3 | protocol = "htp"
    |            ^^^^^
  help: did you mean "http"?

edgeproxy.toml:5:1: a listener has no app; expected the name of an app, such as "database"
  5 | [[listeners]]
    | ^^^^^^^^^^^^^
  help: add `app = "database"`

edgeproxy.toml:6:8: a listener's addr is the number 5; expected an IP address and a port, such as "0.0.0.0:8080" or "[::]:8080"
  6 | addr = 5
    |        ^
  help: put it in quotes

edgeproxy.toml:8:14: a listener's send_proxy is "v3"; expected "v1" or "v2"
  8 | send_proxy = "v3"
    |              ^^^^
  help: did you mean "v1"?
"#
    );
}

#[test]
fn what_contradicts_itself_is_told_with_what_to_do() {
    let http = "[[listeners]]\naddr = \"127.0.0.1:1\"\nprotocol = \"http\"\n";
    for (text, expected) in [
        (
            format!("{http}app = \"shop\"\n"),
            "app is for protocol \"tcp\"; this one's is \"http\"",
        ),
        (
            format!("{http}send_proxy = \"v1\"\n"),
            "help: remove it: backends get X-Forwarded-For",
        ),
        (
            format!("{http}proxy_protocol = true\n"),
            "proxy_protocol_from names nobody; expected the networks",
        ),
        (
            format!("{http}name = \"a b\"\n"),
            "a listener's name is \"a b\"; expected a name of 1 to 64 of",
        ),
        (format!("{http}name = \"listen_addr\"\n"), "which another one has"),
        (
            format!("{http}name = \"api\"\n"),
            "a listener's name is \"api\", which the API's own is called; expected another name",
        ),
        (
            format!("{http}name = \"api_listen_addr\"\n"),
            "which the API's own is called",
        ),
        (
            http.replace("http", "https"),
            "write \"http\", and give it `tls`; or \"sni\" to pass TLS on unopened",
        ),
        (
            format!("{http}name = \"x\"\n{http}name = \"x\"\n").replacen(":1\"", ":2\"", 1),
            "edgeproxy.toml:8:1: a listener's name is \"x\", which another one has",
        ),
        (
            format!("{http}name = \"x\"\n{http}"),
            "edgeproxy.toml:5:1: listener \"x\" 127.0.0.1:1 and listener \"listener-2\" 127.0.0.1:1 can't both be listened on",
        ),
        (
            http.replace("127.0.0.1:1", "127.0.0.1:8080"),
            "edgeproxy.toml:1:1: listen_addr 0.0.0.0:8080 and listener \"listener-1\" 127.0.0.1:8080 can't both",
        ),
        (
            "listeners = 5\n".to_owned(),
            "listeners is the number 5; expected tables, each under a line [[listeners]]",
        ),
        (
            "[listeners]\naddr = 5\n".to_owned(),
            "help: write [[listeners]], with two brackets",
        ),
        (
            "listeners = [1]\n".to_owned(),
            "an item of listeners is the number 1; expected tables, each under a line [[listeners]]",
        ),
        ("[[listener]]\n".to_owned(), "help: did you mean \"listeners\"?"),
        (
            "listen_addr = \"off\"\n".to_owned(),
            "listen_addr is off and there is no other listener; expected at least one",
        ),
        (
            "[[listeners]]\n".repeat(65),
            "there are 65 listeners; expected at most 64",
        ),
    ] {
        let found = refusal(&layers(&text));
        assert!(found.contains(expected), "{text}\n{found}");
    }
}

const TLS: &str = "[[listeners]]\naddr = \"127.0.0.1:1\"\nprotocol = \"http\"\n";

fn tls_of(table: &str) -> Option<ListenerTls> {
    let loaded = layers(&format!("{TLS}tls = {table}\n")).load().unwrap();
    loaded.settings.listeners[0].tls.clone()
}

#[test]
fn everything_about_tls_is_read_inline_and_as_tables() {
    let expected = ListenerTls {
        certificates: vec![
            Certificate {
                cert: "a.pem".into(),
                key: "a.key".into(),
                names: vec!["shop.example".to_owned(), "*.shop.example".to_owned()],
            },
            Certificate {
                cert: "b.pem".into(),
                key: "b.key".into(),
                names: vec![],
            },
        ],
        min_version: TlsVersion::Tls13,
        client_auth: ClientAuth::Optional,
        client_ca: Some("ca.pem".into()),
    };
    let tables = format!(
        "{TLS}[listeners.tls]\nmin_version = \"1.3\"\nclient_ca = \"ca.pem\"\nclient_auth = \"optional\"\n\
         [[listeners.tls.certificates]]\ncert = \"a.pem\"\nkey = \"a.key\"\n\
         names = [\"Shop.example\", \"*.shop.example\"]\n\
         [[listeners.tls.certificates]]\ncert = \"b.pem\"\nkey = \"b.key\"\n"
    );
    assert_eq!(
        layers(&tables).load().unwrap().settings.listeners[0].tls,
        Some(expected)
    );
    let small = tls_of("{ certificates = [{ cert = \"c\", key = \"k\" }] }").unwrap();
    assert_eq!(small, ListenerTls::of("c".into(), "k".into()));
    let asks = tls_of("{ certificates = [{ cert = \"c\", key = \"k\" }], client_ca = \"ca\" }").unwrap();
    assert_eq!(asks.client_auth, ClientAuth::Required);
}

#[test]
fn what_is_wrong_with_tls_is_told_and_never_a_listener_without_it() {
    for (tls, expected) in [
        (
            "true",
            "a listener's tls is true; expected a table with the certificates",
        ),
        (
            "{}",
            "a listener's tls has no certificates; expected at least one",
        ),
        ("{ certificate = [] }", "help: did you mean \"certificates\"?"),
        (
            "{ certificates = [] }",
            "a listener has 0 certificates; expected 1 to 1024",
        ),
        (
            "{ certificates = {} }",
            "help: put it in brackets: there may be several",
        ),
        (
            "{ certificates = [1] }",
            "is an array with the number 1 in it; expected tables",
        ),
        (
            "{ certificates = [{ cert = \"a\" }] }",
            "a certificate has no key; expected the path of a PEM file",
        ),
        (
            "{ certificates = [{ cert = \"\", key = \"b\" }] }",
            "a certificate's cert is \"\"; expected the path",
        ),
        (
            "{ certificates = [{ crt = \"a\" }] }",
            "help: did you mean \"cert\"?",
        ),
        (
            "{ certificates = [{ cert = \"a\", key = \"b\", names = [\"*.*.a\"] }] }",
            "an item of a certificate's names is \"*.*.a\"; expected a DNS name",
        ),
        (
            "{ certificates = [{ cert = \"a\", key = \"b\" }], min_version = \"1.1\" }",
            "a listener's tls.min_version is \"1.1\"; expected \"1.2\" or \"1.3\"",
        ),
        (
            "{ certificates = [{ cert = \"a\", key = \"b\" }], client_auth = \"required\" }",
            "a listener's client_auth is \"required\" and there is no client_ca",
        ),
    ] {
        let found = refusal(&layers(&format!("{TLS}tls = {tls}\n")));
        assert!(found.contains(expected), "{tls}\n{found}");
    }
    let sni = TLS.replace("http", "sni");
    let good = "tls = { certificates = [{ cert = \"a\", key = \"b\" }] }\n";
    let found = refusal(&layers(&format!("{sni}{good}")));
    assert!(
        found.contains("tls is for protocol \"http\" or \"tcp\"; this one's is \"sni\""),
        "{found}"
    );
    let found = refusal(&layers(&format!("{sni}app = \"x\"\n")));
    assert!(
        found.contains("help: remove it: the app follows from the server name"),
        "{found}"
    );
    let listeners = layers(&format!("{sni}idle_timeout_secs = 5\n"))
        .load()
        .unwrap()
        .settings
        .listeners;
    let ListenerProtocol::Sni { idle_timeout, .. } = listeners[0].protocol else {
        panic!("{listeners:?}")
    };
    assert_eq!(idle_timeout, Some(Duration::from_secs(5)));
}

#[test]
fn one_tls_listener_needs_no_file() {
    let on = ("EDGEPROXY_TLS_ENABLED", "true");
    let (cert, key) = (("EDGEPROXY_TLS_CERT", "c.pem"), ("EDGEPROXY_TLS_KEY", "k.pem"));
    assert_eq!(
        addrs(&with_env("", &[on, cert, key])),
        ["listen_addr 0.0.0.0:8080", "tls_listen_addr 0.0.0.0:8443"]
    );
    assert_eq!(addrs(&with_env("", &[cert, key])), ["listen_addr 0.0.0.0:8080"]);
    assert_eq!(
        refusal(&with_env("", &[on])),
        "the configuration has a problem:\n\n\
         environment: tls_enabled is true and there is no tls_cert; expected a certificate and its key\n  \
         help: name the PEM files by tls_cert (EDGEPROXY_TLS_CERT) and tls_key (EDGEPROXY_TLS_KEY)\n"
    );
    assert_eq!(
        refusal(&with_env("", &[on, key])),
        "the configuration has a problem:\n\n\
         environment: there is a tls_key and no tls_cert; expected both or neither\n  \
         help: name the PEM file by tls_cert (EDGEPROXY_TLS_CERT)\n"
    );
    let backend = with_env(
        "backend_tls_cert = \"c\"\n",
        &[
            ("EDGEPROXY_BACKEND_TLS_INSECURE", "true"),
            ("EDGEPROXY_BACKEND_TLS_CA", "a"),
        ],
    );
    let found = refusal(&backend);
    assert!(
        found.contains("there is a backend_tls_cert and no backend_tls_key"),
        "{found}"
    );
    assert!(
        found.contains("backend_tls_insecure is true and there is a backend_tls_ca"),
        "{found}"
    );
}

#[test]
fn an_api_on_a_listeners_address_is_refused() {
    let text = "api_enabled = true\napi_listen_addr = \"127.0.0.1:1\"\n\
                [[listeners]]\naddr = \"127.0.0.1:1\"\nprotocol = \"http\"\n";
    let found = refusal(&layers(text));
    assert!(
        found.contains(
            "edgeproxy.toml:2:1: listener \"listener-1\" 127.0.0.1:1 and api_listen_addr 127.0.0.1:1"
        ),
        "{found}"
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_listener_makes_it_panic(lines in proptest::collection::vec(line(), 0..12)) {
        let _ = layers(&lines.concat()).load().map_err(|error| error.to_string());
    }
}

fn line() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let key = prop::sample::select(
        KEYS.iter()
            .map(|known| known.field.key)
            .chain(["adr", "tls"])
            .collect::<Vec<_>>(),
    );
    let value = prop::sample::select(vec![
        "\"127.0.0.1:0\"",
        "\"tcp\"",
        "\"http\"",
        "\"v1\"",
        "\"10.0.0.0/8\"",
        "[\"10.0.0.0/8\"]",
        "[1]",
        "true",
        "60",
        "{}",
        "{ certificates = [{ cert = \"a\", key = \"b\" }] }",
        "{ certificates = [{ cert = 1 }, 2], client_auth = \"optional\", min_version = \"1.1\" }",
        "\"db\"",
        "\"\"",
    ]);
    prop_oneof![
        1 => Just("[[listeners]]\n".to_owned()),
        3 => (key, value).prop_map(|(key, value)| format!("{key} = {value}\n")),
    ]
}
