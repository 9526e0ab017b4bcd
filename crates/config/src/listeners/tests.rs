use super::*;
use crate::{ConfigFile, Layers};

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
  help: add `addr = …`

edgeproxy.toml:2:1: a listener has no setting "adr"
  2 | adr = "127.0.0.1:1"
    | ^^^
  help: did you mean "addr"?

edgeproxy.toml:3:12: a listener's protocol is "htp"; expected "http" or "tcp"
  3 | protocol = "htp"
    |            ^^^^^
  help: did you mean "http"?

edgeproxy.toml:5:1: a listener has no app; expected the name of an app, such as "database"
  5 | [[listeners]]
    | ^^^^^^^^^^^^^
  help: add `app = …`

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
            http.replace("http", "sni"),
            "write \"tcp\" to pass it on to one app unopened",
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
            "listeners is an array of other things than tables",
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
            .map(|known| known.key)
            .chain(["adr"])
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
        "\"db\"",
        "\"\"",
    ]);
    prop_oneof![
        1 => Just("[[listeners]]\n".to_owned()),
        3 => (key, value).prop_map(|(key, value)| format!("{key} = {value}\n")),
    ]
}
