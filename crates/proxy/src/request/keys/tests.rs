use std::time::Duration;

use edgeproxy_backend::{AppName, Backend, BackendAddr, BackendId, Country, Incarnation, Region};
use http::HeaderMap;

use super::*;

const TTL: Duration = Duration::from_secs(640);
const NOW: MonoTime = MonoTime::from_secs(1_000);

fn endpoint(id: &str) -> Endpoint {
    let backend = Backend::new(
        BackendId::parse(id).unwrap(),
        AppName::parse("app").unwrap(),
        Region::parse("eu").unwrap(),
        Country::parse("DE").unwrap(),
        BackendAddr::parse("10.0.0.1", 80).unwrap(),
    );
    Endpoint::new(backend, Incarnation::FIRST)
}

fn hashing(hash: HashKey) -> Keys {
    Keys {
        hash: Some(hash),
        sticky: None,
    }
}

fn sticking(sticky: Sticky) -> Keys {
    Keys {
        hash: None,
        sticky: Some(sticky),
    }
}

fn bindings() -> Arc<Bindings> {
    Arc::new(Bindings::new(64, TTL))
}

fn header(name: &'static str) -> HeaderName {
    HeaderName::from_static(name)
}

fn named(name: &str) -> CookieName {
    CookieName::parse(name).unwrap()
}

/// What is known of a request from `ip` with these fields, which may be a proxy that is trusted.
fn known(keys: &Keys, (ip, trusted): (&str, bool), fields: &[(&str, &str)]) -> (Client, Standing) {
    let networks = ["10.0.0.0/8".parse().unwrap()];
    let from = request::Client {
        ip: ip.parse().unwrap(),
        trusted,
        tls: fields.contains(&BY_TLS),
        whereabouts: Client::default(),
    };
    let (mut map, mut head) = (HeaderMap::new(), "GET / HTTP/1.1\r\n".to_owned());
    for (name, value) in fields {
        map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    let mut client = Client::default();
    let asked = Asked {
        client: from,
        trusted: &networks,
        fields: &map,
    };
    let standing = keys.complete(&mut client, &asked, NOW);
    // In place it is the same.
    let mut other = Client::default();
    let in_place = Asked {
        client: from,
        trusted: &networks,
        fields: RawFields(head.as_bytes()),
    };
    assert_eq!(keys.complete(&mut other, &in_place, NOW), standing);
    assert_eq!(other, client);
    (client, standing)
}

fn key(keys: &Keys, from: (&str, bool), fields: &[(&str, &str)]) -> Option<Key> {
    known(keys, from, fields).0.key
}

/// Stands for a connection inside TLS.
const BY_TLS: (&str, &str) = ("by", "tls");

const STRANGER: (&str, bool) = ("192.0.2.1", false);

#[test]
fn hash_by_client_address_header_or_cookie() {
    let address = Some(Key::of(&[192, 0, 2, 1]));
    let by_address = hashing(HashKey::ClientIp);
    assert_eq!(key(&by_address, STRANGER, &[("x-user", "7")]), address);
    let by_header = hashing(HashKey::Header(header("x-user")));
    assert_eq!(key(&by_header, STRANGER, &[("x-user", "7")]), Some(Key::of(b"7")));
    let by_cookie = hashing(HashKey::Cookie(named("session")));
    let cookies = [("cookie", "theme=dark"), ("cookie", "a=b; session=7; session=8")];
    assert_eq!(key(&by_cookie, STRANGER, &cookies), Some(Key::of(b"7")));
    // The address where a request lacks it.
    for fields in [&[][..], &[("x-user", "")], &[("cookie", "session=")]] {
        assert_eq!(key(&by_header, STRANGER, fields), address);
        assert_eq!(key(&by_cookie, STRANGER, fields), address);
    }
    assert_eq!(key(&sticking(Sticky::ClientIp(bindings())), STRANGER, &[]), None);
}

#[test]
fn of_a_header_that_comes_twice_the_first_counts() {
    let keys = hashing(HashKey::Header(header("x-user")));
    let twice = [("x-user", "7"), ("x-user", "8")];
    assert_eq!(key(&keys, STRANGER, &twice), Some(Key::of(b"7")));
}

#[test]
fn a_client_behind_a_trusted_proxy_is_the_client_of_its_x_forwarded_for() {
    let keys = hashing(HashKey::ClientIp);
    let chain = [
        ("x-forwarded-for", "198.51.100.9, 203.0.113.5"),
        ("x-forwarded-for", "10.0.0.7"),
    ];
    assert_eq!(
        key(&keys, ("10.0.0.1", true), &chain),
        Some(Key::of(&[203, 0, 113, 5]))
    );
    assert_eq!(key(&keys, STRANGER, &chain), Some(Key::of(&[192, 0, 2, 1])));
    assert_eq!(key(&keys, ("10.0.0.1", true), &[]), Some(Key::of(&[10, 0, 0, 1])));
}

#[test]
fn sticky_client_ip_and_header_are_bound_to_whoever_answered() {
    let (first, second) = (endpoint("first"), endpoint("second"));
    let by_header = sticking(Sticky::Header(header("x-session"), bindings()));
    for keys in [sticking(Sticky::ClientIp(bindings())), by_header] {
        let fields = [("x-session", "s1")];
        let (client, standing) = known(&keys, STRANGER, &fields);
        assert_eq!(client.bound, None);
        assert!(keys.settle(standing, &first, NOW).is_none());
        let kept = |endpoint: &Endpoint| Some(endpoint.identity() & (u64::MAX >> 24));
        let (client, standing) = known(&keys, STRANGER, &fields);
        assert_eq!(client.bound, kept(&first));
        keys.settle(standing, &second, NOW);
        assert_eq!(known(&keys, STRANGER, &fields).0.bound, kept(&second));
        // Somebody else.
        let other = known(&keys, ("192.0.2.2", false), &[("x-session", "s2")]).0;
        assert_eq!(other.bound, None);
    }
}

#[test]
fn a_request_without_the_header_is_bound_to_nobody() {
    let keys = sticking(Sticky::Header(header("x-session"), bindings()));
    let (client, standing) = known(&keys, STRANGER, &[]);
    assert_eq!((client.bound, standing), (None, Standing::Unknown));
    keys.settle(standing, &endpoint("first"), NOW);
    assert_eq!(known(&keys, STRANGER, &[]).0.bound, None);
}

#[test]
fn sticky_cookie_needs_no_table() {
    let keys = sticking(Sticky::Cookie(StickyCookie::new(named("edgeproxy"), TTL)));
    let first = endpoint("first");
    let (client, standing) = known(&keys, STRANGER, &[]);
    assert_eq!(client.bound, None);
    let set = keys.settle(standing, &first, NOW).unwrap().to_string();
    let (pair, attributes) = set.split_once(';').unwrap();
    assert!(attributes.contains("Max-Age=640") && !attributes.contains("Secure"));
    let (client, standing) = known(&keys, STRANGER, &[("cookie", pair)]);
    assert_eq!(client.bound, Some(first.identity()));
    assert!(keys.settle(standing, &first, NOW).is_none(), "it has one");
    assert!(
        keys.settle(standing, &endpoint("second"), NOW).is_some(),
        "its backend changed"
    );
}

#[test]
fn the_cookie_is_secure_where_the_client_came_by_tls() {
    let keys = sticking(Sticky::Cookie(StickyCookie::new(named("edgeproxy"), TTL)));
    let is_secure = |from, fields: &[(&str, &str)]| {
        let (_, standing) = known(&keys, from, fields);
        let set = keys.settle(standing, &endpoint("first"), NOW).unwrap();
        set.to_string().ends_with("; Secure")
    };
    let https = [("x-forwarded-proto", "https")];
    assert!(is_secure(("10.0.0.1", true), &https));
    assert!(!is_secure(("10.0.0.1", true), &[("x-forwarded-proto", "http")]));
    assert!(!is_secure(STRANGER, &https), "a stranger's word");
    assert!(is_secure(STRANGER, &[BY_TLS]));
}

#[test]
fn over_tcp_there_is_the_address_alone() {
    let address = "192.0.2.1".parse().unwrap();
    let mut client = Client::default();
    let keys = hashing(HashKey::Header(header("x-user")));
    assert_eq!(keys.complete_tcp(&mut client, address, NOW), Standing::Unknown);
    assert_eq!(client.key, Some(Key::of(&[192, 0, 2, 1])));
    let keys = sticking(Sticky::ClientIp(bindings()));
    let standing = keys.complete_tcp(&mut client, address, NOW);
    keys.settle(standing, &endpoint("first"), NOW);
    keys.complete_tcp(&mut client, address, NOW);
    assert!(client.bound.is_some());
    // The same client over HTTP.
    assert_eq!(known(&keys, STRANGER, &[]).0.bound, client.bound);
}

#[test]
fn keys_that_were_changed_meanwhile_bind_nobody() {
    let cookie = sticking(Sticky::Cookie(StickyCookie::new(named("edgeproxy"), TTL)));
    let address = sticking(Sticky::ClientIp(bindings()));
    let (_, holds) = known(&cookie, STRANGER, &[]);
    let (_, knows) = known(&address, STRANGER, &[]);
    assert!(address.settle(holds, &endpoint("first"), NOW).is_none());
    assert!(cookie.settle(knows, &endpoint("first"), NOW).is_none());
    assert_eq!(known(&address, STRANGER, &[]).0.bound, None);
}

#[test]
fn an_explanation_knows_what_a_client_would_bring_and_uses_no_binding() {
    let table = bindings();
    let keys = Keys {
        hash: Some(HashKey::Cookie(named("session"))),
        sticky: Some(Sticky::ClientIp(Arc::clone(&table))),
    };
    let explained = |brought| {
        let mut client = Client::default();
        keys.explain(&mut client, brought);
        client
    };
    let ip = Some("192.0.2.1".parse().unwrap());
    table.bind(TABLES.key(&[192, 0, 2, 1]), 7, crate::worker::clock::now());
    let client = explained(Brought {
        ip,
        ..Brought::default()
    });
    assert_eq!(
        (client.key, client.bound),
        (Some(Key::of(&[192, 0, 2, 1])), Some(7))
    );
    let client = explained(Brought {
        hash: Some(b"s1"),
        ..Brought::default()
    });
    assert_eq!((client.key, client.bound), (Some(Key::of(b"s1")), None));
    assert_eq!(explained(Brought::default()), Client::default());
}
