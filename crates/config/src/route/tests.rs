use proptest::prelude::*;

use super::*;
use crate::types::HostName;
use crate::{ConfigFile, Layers, Loaded};

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

/// Fields of a request, with their values.
type Fields = [(&'static str, &'static str)];

/// The app that a request goes to.
fn routed(routes: &[Route], host: &str, path: &str, fields: &Fields) -> Option<String> {
    let header = |name: &str| {
        fields
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| *value)
    };
    let route = routes.iter().find(|route| route.matches(host, path, header))?;
    Some(route.apps[0].0.to_string())
}

const ROUTES: &str = r#"
[[routes]]
app = "any"
[[routes]]
path_prefix = "/api"
app = "api"
[[routes]]
host = "*.shop.example"
app = "below"
[[routes]]
host = "shop.example"
app = "shop"
[[routes]]
host = "shop.example"
path_prefix = "/api/"
app = "shop-api"
[[routes]]
host = "shop.example"
path_prefix = "/api"
headers = { X-Canary = "*" }
app = "canary"
[[routes]]
host = "shop.example"
path_prefix = "/api"
headers = { X-Canary = "eu" }
app = "canary-eu"
"#;

#[test]
fn the_most_specific_route_wins_wherever_it_stands() {
    let (canary, eu) = (("x-canary", "us"), ("x-canary", "eu"));
    let rows: [(&str, &str, &Fields, &str); 11] = [
        ("shop.example", "/", &[], "shop"),
        ("shop.example", "/api", &[], "shop-api"),
        ("shop.example", "/api/v1", &[], "shop-api"),
        ("shop.example", "/apis", &[], "shop"),
        ("shop.example", "/api", &[canary], "canary"),
        ("shop.example", "/api", &[eu], "canary-eu"),
        ("shop.example", "/x", &[eu], "shop"),
        ("www.shop.example", "/api", &[], "below"),
        ("a.www.shop.example", "/", &[], "any"),
        ("blog.example", "/api/x", &[], "api"),
        ("blog.example", "/x", &[], "any"),
    ];
    let blocks: Vec<&str> = ROUTES.split("[[routes]]").skip(1).collect();
    let backwards: String = blocks
        .iter()
        .rev()
        .map(|block| format!("[[routes]]{block}"))
        .collect();
    for text in [ROUTES, &backwards] {
        let routes = loaded(text).topology.routes;
        for (host, path, fields, app) in rows {
            let found = routed(&routes, host, path, fields);
            assert_eq!(found.as_deref(), Some(app), "{host}{path} {fields:?}\n{text}");
        }
    }
}

#[test]
fn a_route_may_share_its_requests_between_apps() {
    let text =
        "[[routes]]\npath_prefix = \"/shop\"\nreplace_prefix = \"/\"\napps = { shop = 90, Shop-Next = 10 }\n";
    let route = &loaded(text).topology.routes[0];
    let apps: Vec<String> = route
        .apps
        .iter()
        .map(|(app, share)| format!("{app}={share}"))
        .collect();
    assert_eq!(apps, ["shop-next=10", "shop=90"]);
    assert_eq!(
        (route.replace_prefix.clone(), route.max_body),
        (Some(PathPrefix::root()), BodyLimit::OfApp)
    );
}

#[test]
fn a_route_may_have_a_limit_of_its_own_for_bodies() {
    let limit = |value: &str| {
        let text = format!("[[routes]]\napp = \"shop\"\nmax_body_bytes = {value}\n");
        loaded(&text).topology.routes[0].max_body
    };
    assert_eq!(limit("0"), BodyLimit::Bytes(0));
    assert_eq!(limit("1_000"), BodyLimit::Bytes(1_000));
    assert_eq!(limit("\"unlimited\""), BodyLimit::Unlimited);
}

#[test]
fn equally_specific_routes_are_refused_where_a_request_is_for_both() {
    let route = |host: &str, path: &str, headers: &str| {
        format!("[[routes]]\nhost = \"{host}\"\npath_prefix = \"{path}\"\nheaders = {headers}\napp = \"a\"\n")
    };
    for (one, other, tie) in [
        (("a.b", "/x", "{}"), ("A.B", "/x/", "{}"), true),
        (("a.b", "/x", "{}"), ("a.b", "/y", "{}"), false),
        (("a.b", "/x", "{}"), ("*.b", "/x", "{}"), false),
        (("*.b", "/x", "{}"), ("*.b", "/x", "{}"), true),
        (
            ("a.b", "/x", "{ A = \"1\" }"),
            ("a.b", "/x", "{ a = \"2\" }"),
            false,
        ),
        (
            ("a.b", "/x", "{ A = \"1\" }"),
            ("a.b", "/x", "{ B = \"2\" }"),
            true,
        ),
        (
            ("a.b", "/x", "{ A = \"1\" }"),
            ("a.b", "/x", "{ A = \"*\" }"),
            false,
        ),
        (
            ("a.b", "/x", "{ A = \"*\" }"),
            ("a.b", "/x", "{ B = \"*\" }"),
            true,
        ),
        (
            ("a.b", "/x", "{ A = \"1\", B = \"1\" }"),
            ("a.b", "/x", "{ B = \"1\" }"),
            false,
        ),
    ] {
        let text = route(one.0, one.1, one.2) + &route(other.0, other.1, other.2);
        let found = layers(&text).load().map_err(|error| error.to_string());
        match found {
            Err(told) => assert!(tie && told.contains("on line 1"), "{text}\n{told}"),
            Ok(_) => assert!(!tie, "{text}"),
        }
    }
}

#[test]
fn routes_overlap_where_neither_is_a_part_of_the_other_and_no_third_one_settles_it() {
    let found = |text: &str| {
        let routes = loaded(text).topology.routes;
        let pairs: Vec<String> = overlaps(&routes)
            .iter()
            .map(|overlap| {
                format!(
                    "{} over {} by {}",
                    overlap.winner.apps[0].0, overlap.loser.apps[0].0, overlap.decided_by
                )
            })
            .collect();
        pairs
    };
    let shop = "[[routes]]\nhost = \"shop.example\"\napp = \"shop\"\n";
    let api = "[[routes]]\npath_prefix = \"/api\"\napp = \"api\"\n";
    let both = "[[routes]]\nhost = \"shop.example\"\npath_prefix = \"/api\"\napp = \"both\"\n";
    let any = "[[routes]]\napp = \"any\"\n";
    let canary = "[[routes]]\nheaders = { X-Canary = \"yes\" }\napp = \"canary\"\n";
    assert_eq!(found(&format!("{shop}{api}")), ["shop over api by host"]);
    assert!(found(&format!("{shop}{api}{both}")).is_empty());
    assert!(
        found(&format!("{shop}{any}")).is_empty(),
        "a part is an exception, and meant"
    );
    assert_eq!(found(&format!("{api}{canary}")), ["api over canary by path"]);
    let same = api.replace("\"api\"", "\"shop\"");
    assert!(
        found(&format!("{shop}{same}")).is_empty(),
        "they lead to the same place"
    );
}

fn header() -> impl Strategy<Value = (String, Option<String>)> {
    let value = prop::option::of(prop::sample::select(vec!["1".to_owned(), "2".to_owned()]));
    (prop::sample::select(vec!["a".to_owned(), "b".to_owned()]), value)
}

fn route() -> impl Strategy<Value = Route> {
    let name = |name: &str| HostName::parse(name).unwrap();
    let host = prop::sample::select(vec![
        HostMatch::Any,
        HostMatch::Below(name("b")),
        HostMatch::Exact(name("a.b")),
        HostMatch::Exact(name("b")),
    ]);
    let path = prop::sample::select(vec!["/", "/x", "/x/y", "/xy"])
        .prop_map(|path| PathPrefix::from_value(&Value::Text(path.to_owned())).unwrap());
    (
        host,
        path,
        prop::collection::btree_map("[ab]", header(), 0..3),
        0..9_u32,
    )
        .prop_map(|(host, path, headers, app)| Route {
            host,
            path,
            headers: headers
                .into_iter()
                .map(|(name, (_, value))| HeaderMatch {
                    name: HeaderName::parse(&name).unwrap(),
                    value,
                })
                .collect(),
            apps: vec![(AppName::parse(&format!("app-{app}")).unwrap(), 1)],
            replace_prefix: None,
            max_body: BodyLimit::OfApp,
            place: Place::Defaults,
        })
}

/// A host, a path, and fields.
type Request = (&'static str, &'static str, Vec<(&'static str, &'static str)>);

/// Every request that such routes can tell apart.
fn requests() -> Vec<Request> {
    let mut requests = Vec::new();
    for host in ["a.b", "c.b", "b", "c.a.b", "c"] {
        for path in ["/", "/x", "/x/y", "/x/y/z", "/xy", "/q"] {
            for a in [None, Some("1"), Some("2"), Some("3")] {
                for b in [None, Some("1"), Some("2"), Some("3")] {
                    let fields = [("a", a), ("b", b)];
                    requests.push((
                        host,
                        path,
                        fields
                            .iter()
                            .filter_map(|(name, value)| Some((*name, (*value)?)))
                            .collect(),
                    ));
                }
            }
        }
    }
    requests
}

fn is_for(route: &Route, (host, path, fields): &Request) -> bool {
    route.matches(host, path, |name| {
        fields
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| *value)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The claim that the order rests on: what is asked first is never wider, so no route is hidden.
    #[test]
    fn a_route_that_is_a_part_of_another_is_asked_before_it(a in route(), b in route()) {
        let requests = requests();
        let part = requests.iter().all(|request| !is_for(&a, request) || is_for(&b, request));
        let whole = requests.iter().all(|request| !is_for(&b, request) || is_for(&a, request));
        if part && !whole {
            prop_assert!(order::rank(&a) > order::rank(&b), "{a:?} {b:?}");
        }
    }

    /// Ties are found exactly where two routes of one rank have a request in common.
    #[test]
    fn a_tie_is_a_common_request_of_one_rank(a in route(), b in route()) {
        let common = requests().iter().any(|request| is_for(&a, request) && is_for(&b, request));
        let routes = [a, b];
        let tie = !order::ties(&routes, |route| route).is_empty();
        prop_assert_eq!(tie, common && order::rank(&routes[0]) == order::rank(&routes[1]), "{:?}", routes);
    }

    /// An overlap is told exactly where there is a common request, neither is a part, and the ends differ.
    #[test]
    fn overlaps_of_two_are_those_of_their_requests(a in route(), b in route()) {
        prop_assume!(order::rank(&a) != order::rank(&b) && a.apps != b.apps);
        let requests = requests();
        let both = requests.iter().any(|request| is_for(&a, request) && is_for(&b, request));
        let only = |one: &Route, other: &Route| requests.iter().any(|request| is_for(one, request) && !is_for(other, request));
        let expected = both && only(&a, &b) && only(&b, &a);
        let routes = [a, b];
        prop_assert_eq!(!overlaps(&routes).is_empty(), expected, "{:?}", routes);
    }

    /// What isn't compared, since hosts or paths say that it needn't be, has nothing in common.
    #[test]
    fn overlaps_of_many_are_those_of_each_with_every_other(routes in prop::collection::vec(route(), 0..8)) {
        prop_assert_eq!(overlaps(&routes), overlap::tests::overlaps_of_all_pairs(&routes));
    }

    #[test]
    fn no_route_makes_it_panic(lines in prop::collection::vec(line(), 0..12)) {
        let _ = layers(&lines.concat()).load().map(|loaded| loaded.findings()).map_err(|error| error.to_string());
    }
}

fn line() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "host",
        "path_prefix",
        "headers",
        "app",
        "apps",
        "replace_prefix",
        "hots",
    ]);
    let value = prop::sample::select(vec![
        "\"shop\"",
        "\"*.a\"",
        "\"*\"",
        "\"/\"",
        "\"/a/b\"",
        "\"é\"",
        "{}",
        "{ a = 1 }",
        "{ a = \"1\", A = \"2\" }",
        "{ a = -1 }",
        "{ a = 99999999999999999999 }",
        "1",
        "[]",
        "\"http://a:1/\"",
        "\"://\"",
        "\":\"",
        "\"\"",
    ]);
    prop_oneof![
        1 => Just("[[routes]]\n".to_owned()),
        3 => (key, value).prop_map(|(key, value)| format!("{key} = {value}\n")),
    ]
}
