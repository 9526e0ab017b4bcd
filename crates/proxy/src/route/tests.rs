use http::header::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

fn name(name: &str) -> AppName {
    AppName::parse(name).unwrap()
}

fn path(text: &str) -> PathPrefix {
    PathPrefix::parse(text).unwrap()
}

fn table(names: &[&str], routes: Vec<Route>) -> RouteTable {
    let apps = names.iter().map(|app| Arc::new(AppRoute::new(name(app))));
    RouteTable::new(1, apps, Arc::new(Routes::new(routes)))
}

fn named(table: &RouteTable, host: &str) -> Option<String> {
    table.route(host).map(|app| app.name.to_string())
}

struct Given<'a>(&'a [(&'a str, &'a str)]);

impl Lines for Given<'_> {
    fn values(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        let found = self.0.iter().filter(move |(found, _)| name == found);
        found.map(|(_, value)| value.as_bytes())
    }
}

/// A request without fields.
fn bare<'t>(table: &'t RouteTable, host: &str, target: &str) -> Option<Destination<'t>> {
    asked(table, host, target, &[]).unwrap()
}

fn asked<'t>(
    table: &'t RouteTable,
    host: &str,
    target: &str,
    fields: &[(&str, &str)],
) -> Result<Option<Destination<'t>>, DotSegments> {
    let request = Request {
        host: host.as_bytes(),
        target,
    };
    table.destination(request, &Given(fields), || 0)
}

fn app_of(destination: Option<Destination<'_>>) -> Option<String> {
    destination.map(|destination| destination.app.name.to_string())
}

fn rewritten(destination: Destination<'_>, target: &str) -> String {
    let mut out = String::new();
    match destination.rewrite {
        Some(rewrite) => rewrite.each(target, |part| out.push_str(part)),
        None => out.push_str(target),
    }
    out
}

#[test]
fn one_app_gets_everything() {
    let table = table(&["shop"], Vec::new());
    assert_eq!(named(&table, "127.0.0.1").as_deref(), Some("shop"));
    assert_eq!(named(&table, "").as_deref(), Some("shop"));
    assert_eq!(app_of(bare(&table, "", "/../x")).as_deref(), Some("shop"));
}

#[test]
fn several_apps_are_told_apart_by_the_whole_host_or_its_first_label() {
    let table = table(&["shop", "blog", "shop.example"], Vec::new());
    for (host, app) in [
        ("SHOP.internal", Some("shop")),
        ("blog", Some("blog")),
        ("shop.example", Some("shop.example")),
        ("www.shop", None),
        ("2001:db8::1", None),
        (&"x".repeat(254), None),
        ("", None),
    ] {
        assert_eq!(named(&table, host).as_deref(), app, "{host}");
        assert_eq!(app_of(bare(&table, host, "/x")).as_deref(), app, "{host}");
    }
}

#[test]
fn no_app_routes_nothing() {
    assert_eq!(named(&RouteTable::default(), "shop"), None);
    assert!(bare(&RouteTable::default(), "shop", "/").is_none());
}

#[test]
fn where_there_are_routes_nobody_is_found_by_name() {
    let route = Route {
        host: HostPattern::Exact("shop.example".to_owned()),
        ..Route::to(name("shop"))
    };
    let table = table(&["shop", "blog"], vec![route]);
    assert_eq!(
        app_of(bare(&table, "Shop.Example", "/x")).as_deref(),
        Some("shop")
    );
    assert!(bare(&table, "blog", "/x").is_none());
    assert!(bare(&table, "shop", "/x").is_none());
    assert_eq!(
        named(&table, "blog").as_deref(),
        Some("blog"),
        "by which TLS is passed on"
    );
}

#[test]
fn an_app_that_only_a_route_names_is_there_without_backends() {
    let table = table(&["blog"], vec![Route::to(name("shop"))]);
    let found = bare(&table, "blog", "/").unwrap();
    assert_eq!(
        (found.app.name.as_str(), found.app.balancer.routable()),
        ("shop", 0)
    );
    assert!(Arc::ptr_eq(found.app, table.at(found.place).unwrap()));
    assert_eq!(table.apps().len(), 2);
}

#[test]
fn a_wildcard_is_for_one_label() {
    let route = Route {
        host: HostPattern::Below("Shop.example".to_owned()),
        ..Route::to(name("shop"))
    };
    let table = table(&[], vec![route]);
    assert!(bare(&table, "www.SHOP.example", "/").is_some());
    for host in [
        "shop.example",
        "a.www.shop.example",
        "wwwshop.example",
        "",
        ".",
        "example",
    ] {
        assert!(bare(&table, host, "/").is_none(), "{host}");
    }
}

#[test]
fn the_server_as_a_whole_is_the_root_and_keeps_its_asterisk() {
    let whole = Route {
        replace_prefix: Some(path("/v1")),
        ..Route::to(name("whole"))
    };
    let part = Route {
        path: path("/api"),
        ..Route::to(name("part"))
    };
    let both = table(&[], vec![whole, part.clone()]);
    let found = bare(&both, "a", "*").unwrap();
    assert_eq!((found.app.name.as_str(), found.rewrite), ("whole", None));
    assert!(bare(&table(&[], vec![part]), "a", "*").is_none());
}

#[test]
fn nothing_in_place_of_a_path_is_the_root() {
    let table = table(&[], vec![Route::to(name("shop"))]);
    for target in ["", "?q"] {
        assert!(bare(&table, "a", target).is_some(), "{target:?}");
    }
}

#[test]
fn a_route_replaces_its_prefix_and_the_app_puts_its_own_before_it() {
    let shop = AppRoute {
        settings: AppSettings {
            add_prefix: path("/base"),
            ..AppSettings::default()
        },
        ..AppRoute::new(name("shop"))
    };
    let route = Route {
        path: path("/api"),
        replace_prefix: Some(path("/")),
        ..Route::to(name("shop"))
    };
    let routes = Arc::new(Routes::new([route]));
    let table = RouteTable::new(1, [Arc::new(shop)], routes);
    let found = bare(&table, "a", "/api/x?y").unwrap();
    assert_eq!(rewritten(found, "/api/x?y"), "/base/x?y");
    let apart = RouteTable::new(1, [Arc::clone(found.app)], Arc::default());
    let found = bare(&apart, "a", "/api/x?y").unwrap();
    assert_eq!(rewritten(found, "/api/x?y"), "/base/api/x?y");
    assert_eq!(asked(&apart, "a", "/x/..", &[]).unwrap_err(), DotSegments);
}

#[test]
fn a_path_that_would_escape_what_a_route_says_is_refused() {
    let api = Route {
        path: path("/api"),
        ..Route::to(name("api"))
    };
    let by_path = table(&[], vec![Route::to(name("rest")), api]);
    for target in ["/api/../x", "/api%2f..%2fx", "/x/../api", "/%2E%2e/", "/api/.;/x"] {
        assert_eq!(
            asked(&by_path, "a", target, &[]).unwrap_err(),
            DotSegments,
            "{target}"
        );
    }
    assert_eq!(
        app_of(bare(&by_path, "a", "/api/x?../..")).as_deref(),
        Some("api")
    );
    // Where nobody looks at paths they are the backend's business.
    let by_host = table(&[], vec![Route::to(name("rest"))]);
    assert!(bare(&by_host, "a", "/api/../x").is_some());
}

#[test]
fn a_routes_limit_of_a_body_goes_before_the_apps() {
    let limited = AppRoute {
        settings: AppSettings {
            max_body_bytes: Some(5),
            ..AppSettings::default()
        },
        ..AppRoute::new(name("shop"))
    };
    let route = |prefix, max_body| Route {
        path: path(prefix),
        max_body,
        ..Route::to(name("shop"))
    };
    let routes = Arc::new(Routes::new([
        route("/", BodyLimit::OfApp),
        route("/small", BodyLimit::Bytes(1)),
        route("/large", BodyLimit::Unlimited),
    ]));
    let table = RouteTable::new(1, [Arc::new(limited)], routes);
    for (target, max) in [("/", Some(5)), ("/small/x", Some(1)), ("/large", None)] {
        assert_eq!(bare(&table, "a", target).unwrap().max_body, max, "{target}");
    }
}

#[test]
fn a_field_that_comes_twice_is_looked_at_line_by_line() {
    let route = Route {
        fields: vec![FieldPattern {
            name: HeaderName::from_static("x-canary"),
            value: Some(HeaderValue::from_static("yes")),
        }],
        ..Route::to(name("next"))
    };
    let table = table(&[], vec![route, Route::to(name("shop"))]);
    let to = |fields: &[(&str, &str)]| app_of(asked(&table, "a", "/", fields).unwrap());
    assert_eq!(
        to(&[("x-canary", "no"), ("x-canary", "yes")]).as_deref(),
        Some("next")
    );
    for fields in [
        &[("x-canary", "no, yes")][..],
        &[("x-canary", "Yes")],
        &[("x-canary", "")],
        &[],
    ] {
        assert_eq!(to(fields).as_deref(), Some("shop"), "{fields:?}");
    }
}

#[test]
fn of_four_thousand_hosts_each_has_its_own_app() {
    let host = |n: usize| format!("h{n}.example");
    let routes = (0..4_096).map(|n| Route {
        host: HostPattern::Exact(host(n)),
        ..Route::to(name(&format!("a{n}")))
    });
    let table = table(&[], routes.collect());
    for n in [0, 1, 2_047, 4_095] {
        assert_eq!(app_of(bare(&table, &host(n), "/x")), Some(format!("a{n}")));
    }
    assert!(bare(&table, "h4096.example", "/x").is_none());
}

#[test]
fn of_four_thousand_values_of_a_field_each_has_its_own_app() {
    let tenant = |n: usize| Route {
        fields: vec![FieldPattern {
            name: HeaderName::from_static("x-tenant"),
            value: Some(HeaderValue::from(n)),
        }],
        ..Route::to(name(&format!("a{n}")))
    };
    let table = table(&[], (0..4_096).map(tenant).collect());
    let to = |fields: &[(&str, &str)]| app_of(asked(&table, "h", "/", fields).unwrap());
    assert_eq!(to(&[("x-tenant", "4095")]).as_deref(), Some("a4095"));
    assert_eq!(
        to(&[("x-tenant", "x"), ("x-tenant", "7"), ("x-tenant", "3")]).as_deref(),
        Some("a3")
    );
    assert_eq!(to(&[("x-tenant", "4096")]), None);
}

/// Whether a route is for a request, told without anything clever.
fn is_for(route: &Route, host: &str, target: &str, fields: &[(&str, &str)]) -> bool {
    let host_fits = match &route.host {
        HostPattern::Any => true,
        HostPattern::Below(parent) => host.split_once('.').is_some_and(|(_, rest)| rest == parent),
        HostPattern::Exact(name) => host == name,
    };
    let prefix = route.path.to_string();
    let path_fits = prefix == "/"
        || target == prefix
        || target
            .strip_prefix(&prefix)
            .is_some_and(|rest| rest.starts_with('/'));
    let has = |wanted: &FieldPattern| {
        fields.iter().any(|(name, value)| {
            wanted.name == *name && wanted.value.as_ref().is_none_or(|wanted| wanted == value)
        })
    };
    host_fits && path_fits && route.fields.iter().all(has)
}

fn rank(route: &Route) -> (u8, usize, usize, usize) {
    let host = match &route.host {
        HostPattern::Any => 0,
        HostPattern::Below(_) => 1,
        HostPattern::Exact(_) => 2,
    };
    let by_value = route.fields.iter().filter(|field| field.value.is_some()).count();
    let path = route.path.to_string();
    let length = if path == "/" { 0 } else { path.len() };
    (host, length, by_value, route.fields.len() - by_value)
}

fn any_route() -> impl Strategy<Value = Route> {
    let host = prop_oneof![
        Just(HostPattern::Any),
        "[ab](\\.[ab])?".prop_map(HostPattern::Below),
        "[ab](\\.[ab]){0,2}".prop_map(HostPattern::Exact),
    ];
    let field = ("x-[ab]", proptest::option::of("[12]")).prop_map(|(name, value)| FieldPattern {
        name: name.parse().unwrap(),
        value: value.map(|value| value.parse().unwrap()),
    });
    let fields = proptest::collection::vec(field, 0..3);
    (host, "(/[ab!]){0,3}", fields, 0_u8..20).prop_map(|(host, prefix, fields, app)| Route {
        host,
        path: PathPrefix::parse(if prefix.is_empty() { "/" } else { &prefix }).unwrap(),
        fields,
        ..Route::to(AppName::parse(&format!("a{app}")).unwrap())
    })
}

proptest! {
    #[test]
    fn the_narrowest_of_all_routes_for_a_request_gets_it(
        routes in proptest::collection::vec(any_route(), 0..24),
        host in "[ab](\\.[ab]){0,2}",
        target in "(/[ab!]{0,2}){1,4}",
        fields in proptest::collection::vec(("x-[ab]", "[12]"), 0..4),
    ) {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut naive: Vec<&Route> = routes.iter().filter(|route| is_for(route, &host, &target, &fields)).collect();
        // The first of those that are equally narrow.
        naive.sort_by_key(|route| std::cmp::Reverse(rank(route)));
        let expected = naive.first().map(|route| route.apps[0].0.to_string());
        let table = table(&["a0"], routes.clone());
        let found = asked(&table, &host, &target, &fields).unwrap();
        if routes.is_empty() {
            prop_assert_eq!(app_of(found), Some("a0".to_owned()));
        } else {
            prop_assert_eq!(app_of(found), expected);
        }
    }

    #[test]
    fn nothing_that_is_asked_panics(routes in proptest::collection::vec(any_route(), 1..4), host in ".{0,300}", target in ".{0,40}") {
        let table = table(&[], routes);
        let request = Request { host: host.as_bytes(), target: &target };
        if let Ok(Some(found)) = table.destination(request, &Given(&[]), || u64::MAX) {
            rewritten(found, &target);
        }
    }
}
