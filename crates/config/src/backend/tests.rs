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

const SHORT: &str =
    "[[backends]]\nid = \"a\"\napp = \"Shop\"\nregion = \"eu\"\nip = \"10.0.0.1\"\nport = 80\n";

fn backends(text: &str) -> Vec<StaticBackend> {
    layers(text)
        .load()
        .unwrap_or_else(|error| panic!("{text}\n{error}"))
        .topology
        .backends
}

fn refusal(text: &str) -> String {
    layers(text).load().unwrap_err().to_string()
}

#[test]
fn a_short_backend_has_the_defaults_of_a_registration() {
    let found = backends(SHORT);
    let id = BackendId::parse("a").unwrap();
    let addr = BackendAddr::parse("10.0.0.1", 80).unwrap();
    let (region, country) = (Region::parse("eu").unwrap(), Country::parse("DE").unwrap());
    assert_eq!(
        found[0].backend,
        Backend::new(id, AppName::parse("shop").unwrap(), region, country, addr)
    );
    assert_eq!(found[0].place.to_string(), "edgeproxy.toml:1:1");
}

#[test]
fn every_member_is_read() {
    let text = format!(
        "{SHORT}country = \"FR\"\nweight = 0\nsoft_limit = 0\nhard_limit = 7\nfallback = true\nprotocol = \"h2c\"\n\
         metadata = {{ zone = \"a\" }}\n"
    );
    let backend = &backends(&text)[0].backend;
    assert_eq!((backend.country.as_str(), backend.weight.get()), ("FR", 0));
    assert_eq!((backend.limits.soft(), backend.limits.hard()), (0, 7));
    assert_eq!((backend.fallback, backend.protocol), (true, Protocol::H2c));
    assert_eq!(backend.metadata.iter().collect::<Vec<_>>(), [("zone", "a")]);
    let read = text
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(key, _)| key);
    let mut read: Vec<&str> = read.collect();
    let mut known: Vec<&str> = FIELDS.iter().map(|field| field.key).collect();
    read.sort_unstable();
    known.sort_unstable();
    assert_eq!(read, known, "the reference has every member, and no other");
}

#[test]
fn the_country_is_that_of_a_region_wherever_the_region_is_from() {
    let text = SHORT.replace("\"eu\"", "\"mx\"");
    let known = Layers {
        env: vec![("EDGEPROXY_REGIONS".into(), "mx:MX".into())],
        ..layers(&text)
    };
    assert_eq!(
        known.load().unwrap().topology.backends[0]
            .backend
            .country
            .as_str(),
        "MX"
    );
    assert!(refusal(&text).contains(
        "a backend's region is \"mx\", which is not a configured region; known are sa, us, eu, ap"
    ));
    let broken = format!("regions = 5\n{text}");
    assert_eq!(
        layers(&broken).load().unwrap_err().problems.len(),
        1,
        "nothing is known of the regions"
    );
}

/// The sentences of the API's tests, which are its promise.
#[test]
fn a_member_is_refused_in_the_words_of_the_api() {
    for (from, to, problem) in [
        (
            "port = 80",
            "port = 0",
            "a backend's port is 0; expected a whole number between 1 and 65535",
        ),
        (
            "port = 80",
            "port = 80.0",
            "a backend's port is 80.0; expected a whole number between 1 and 65535",
        ),
        (
            "port = 80",
            "port = [1]",
            "a backend's port is an array; expected a whole number between 1 and 65535",
        ),
        ("\"a\"", "\"\"", "a backend's id must not be empty"),
        ("\"a\"", "5", "a backend's id is 5; expected a string"),
        (
            "\"Shop\"",
            "\"a..b\"",
            "a backend's app is not a DNS name: the label \"\" is empty",
        ),
        (
            "\"10.0.0.1\"",
            "\"0.0.0.0\"",
            "a backend's ip is refused: 0.0.0.0 is the unspecified address; a backend needs",
        ),
        (
            "\"10.0.0.1\"",
            "\"255.255.255.255\"",
            "a backend's ip is refused: 255.255.255.255 is the broadcast address",
        ),
        (
            "\"eu\"",
            "\"zona franca\"",
            "a backend's region \"zona franca\" is not a region name",
        ),
        (
            "port = 80",
            "port = 80\nfallback = 1",
            "a backend's fallback is 1; expected true or false",
        ),
        (
            "port = 80",
            "port = 80\nmetadata = \"x\"",
            "a backend's metadata is the string \"x\"; expected a table of strings",
        ),
    ] {
        let text = SHORT.replace(from, to);
        let found = refusal(&text);
        assert!(found.contains(problem), "{text}\n{found}");
    }
}

#[test]
fn a_listener_of_this_proxy_is_no_backend_as_far_as_it_is_known() {
    let at = |ip: &str, port: u16| {
        SHORT
            .replace("10.0.0.1", ip)
            .replace("80\n", &format!("{port}\n"))
    };
    assert!(refusal(&at("127.0.0.1", 8080)).contains("is one of this proxy's own listeners"));
    assert!(refusal(&format!("listen_addr = \"10.0.0.1:80\"\n{SHORT}")).contains("own listeners"));
    assert!(
        refusal(&format!("api_enabled = true\n{}", at("::1", 8081)))
            .is_empty()
            .eq(&false)
    );
    for fine in [at("127.0.0.1", 8081), at("10.0.0.1", 8080)] {
        assert_eq!(backends(&fine).len(), 1);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_backend_makes_it_panic(lines in proptest::collection::vec(line(), 0..14)) {
        let _ = layers(&lines.concat()).load().map(|loaded| loaded.findings()).map_err(|error| error.to_string());
    }
}

fn line() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let key = prop::sample::select(
        FIELDS
            .iter()
            .map(|field| field.key)
            .chain(["ttl_secs", "adr"])
            .collect::<Vec<_>>(),
    );
    let value = prop::sample::select(vec![
        "\"a\"",
        "\"eu\"",
        "\"10.0.0.1\"",
        "\"::ffff:0.0.0.0\"",
        "80",
        "-1",
        "0x50",
        "99999999999999999999",
        "1.5",
        "true",
        "{}",
        "{ a = 1, b = \"c\" }",
        "[]",
        "1979-05-27",
        "\"é\"",
    ]);
    prop_oneof![
        1 => Just(SHORT.to_owned()),
        1 => Just("[[backends]]\n".to_owned()),
        3 => (key, value).prop_map(|(key, value)| format!("{key} = {value}\n")),
    ]
}
