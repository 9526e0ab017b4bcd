//! Which requests go to which app, and what of their path a backend gets, by both versions of HTTP on both sides.

use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::{AppName, Limits};
use edgeproxy_proxy::{
    AppRoute, AppSettings, BodyLimit, FieldPattern, HostPattern, PathPrefix, Route, RouteTable, Routes,
};

use crate::asking::{Answering, Ask, BACKS, Back, FRONTS, Front, GET, ask};
use crate::backend::{Backend, Reply, ok};
use crate::client::Client;
use crate::http2;
use crate::stage::{Stage, app, config, endpoint, settings};

fn name(name: &str) -> AppName {
    AppName::parse(name).unwrap()
}

fn path(text: &str) -> PathPrefix {
    PathPrefix::parse(text).unwrap()
}

/// A route to an app by its path.
fn below(prefix: &str, app: &str) -> Route {
    Route {
        path: path(prefix),
        ..Route::to(name(app))
    }
}

/// An app whose only backend, of that number, says its name and what it was asked for.
async fn echo(back: Back, number: u64, app_name: &'static str) -> (Answering, AppRoute) {
    let backend = Answering::start(back, move |_, asked| (200, format!("{app_name}: {asked}"))).await;
    let route = app(app_name, &[backend.endpoint(number)]);
    (backend, route)
}

/// Status, and a backend's answer or the proxy's word.
async fn told(front: Front, stage: &Stage, asked: &Ask<'_>) -> (u16, String) {
    let told = ask(front, stage.addr, asked).await;
    let text = if told.word.is_empty() {
        told.body
    } else {
        told.word
    };
    (told.status, text)
}

#[tokio::test]
async fn a_request_goes_by_host_path_and_fields_and_the_narrowest_route_wins() {
    for (front, back) in FRONTS
        .into_iter()
        .flat_map(|front| BACKS.map(|back| (front, back)))
    {
        let (_shop_backend, shop) = echo(back, 1, "shop").await;
        let (_api_backend, api) = echo(back, 2, "api").await;
        let (_next_backend, next) = echo(back, 3, "next").await;
        let canary = FieldPattern {
            name: "x-canary".parse().unwrap(),
            value: Some("yes".parse().unwrap()),
        };
        let of = |host: &str, route: Route| Route {
            host: match host.strip_prefix("*.") {
                Some(parent) => HostPattern::Below(parent.to_owned()),
                None => HostPattern::Exact(host.to_owned()),
            },
            ..route
        };
        let routes = [
            of("shop.example", below("/", "shop")),
            of("shop.example", below("/api", "api")),
            of(
                "shop.example",
                Route {
                    fields: vec![canary],
                    ..below("/api", "next")
                },
            ),
            of("*.shop.example", below("/api", "next")),
        ];
        let stage = Stage::routed(config(), [shop, api, next], routes);
        let canary: &[(&str, &str)] = &[("x-canary", "yes")];
        for (host, path, fields, expected) in [
            ("shop.example", "/x", &[][..], "shop: GET /x"),
            ("SHOP.example:80", "/apis?a=/api", &[], "shop: GET /apis?a=/api"),
            ("shop.example", "/api", &[], "api: GET /api"),
            ("shop.example", "/api/x?y", &[], "api: GET /api/x?y"),
            ("shop.example", "/api/x", canary, "next: GET /api/x"),
            ("shop.example", "/x", canary, "shop: GET /x"),
            ("www.shop.example", "/api/%2F", &[], "next: GET /api/%2F"),
        ] {
            let asked = Ask {
                host,
                path,
                fields,
                ..GET
            };
            let expected = (200, expected.to_owned());
            assert_eq!(told(front, &stage, &asked).await, expected, "{front:?} {back:?}");
        }
        for (host, path) in [
            ("www.shop.example", "/x"),
            ("shop", "/"),
            ("a.www.shop.example", "/api"),
        ] {
            let asked = Ask { host, path, ..GET };
            let expected = (404, "no_route".to_owned());
            assert_eq!(
                told(front, &stage, &asked).await,
                expected,
                "{front:?} {host}{path}"
            );
        }
    }
}

#[tokio::test]
async fn a_route_replaces_its_prefix_and_an_app_puts_one_before_it() {
    for (front, back) in FRONTS
        .into_iter()
        .flat_map(|front| BACKS.map(|back| (front, back)))
    {
        let (_backend, mut shop) = echo(back, 1, "shop").await;
        shop.settings.add_prefix = path("/base");
        let (_other, plain) = echo(back, 2, "plain").await;
        let replaced = |prefix: &str, by: &str, app: &str| Route {
            replace_prefix: Some(path(by)),
            ..below(prefix, app)
        };
        let routes = [
            below("/", "shop"),
            replaced("/api", "/v1", "shop"),
            replaced("/out", "/", "plain"),
        ];
        let stage = Stage::routed(config(), [shop, plain], routes);
        for (asked, expected) in [
            ("/x?y=/api", "shop: GET /base/x?y=/api"),
            ("/", "shop: GET /base/"),
            ("/api/a%2Fb?c", "shop: GET /base/v1/a%2Fb?c"),
            ("/api", "shop: GET /base/v1"),
            ("/out", "plain: GET /"),
            ("/out?q", "plain: GET /?q"),
            ("/out/", "plain: GET /"),
            ("/out//evil.example/", "plain: GET /evil.example/"),
        ] {
            let told = told(front, &stage, &Ask { path: asked, ..GET }).await;
            assert_eq!(told, (200, expected.to_owned()), "{front:?} {back:?} {asked}");
        }
    }
}

#[tokio::test]
async fn absolute_targets_and_the_asterisk_are_rewritten_as_what_they_mean() {
    for back in BACKS {
        let (_backend, mut shop) = echo(back, 1, "shop").await;
        shop.settings.add_prefix = path("/base");
        let route = Route {
            host: HostPattern::Exact("shop.example".to_owned()),
            ..below("/", "shop")
        };
        let stage = Stage::routed(config(), [shop], [route]);
        for (line, expected) in [
            ("GET http://shop.example/x?y HTTP/1.1", "shop: GET /base/x?y"),
            ("GET http://shop.example?y HTTP/1.1", "shop: GET /base/?y"),
            ("GET http://shop.example HTTP/1.1", "shop: GET /base/"),
            ("OPTIONS * HTTP/1.1", "shop: OPTIONS *"),
            ("OPTIONS http://shop.example HTTP/1.1", "shop: OPTIONS *"),
            ("GET /x HTTP/1.0", "shop: GET /base/x"),
        ] {
            let mut client = Client::connect(stage.addr).await;
            client
                .write(format!("{line}\r\nhost: shop.example\r\n\r\n"))
                .await;
            assert_eq!(client.read().await.body, expected, "{back:?} {line}");
        }
    }
}

#[tokio::test]
async fn a_path_that_would_escape_its_route_is_refused_before_a_backend_sees_it() {
    for front in FRONTS {
        let (backend, shop) = echo(Back::Http1, 1, "shop").await;
        let routes = [Route {
            replace_prefix: Some(path("/v1")),
            ..below("/api", "shop")
        }];
        let stage = Stage::routed(config(), [shop], routes);
        for path in [
            "/api/../x",
            "/api/%2e%2E/x",
            "/api/x%2f..%2f..",
            "/api/..;/x",
            "/api/.",
            "/api/..?x",
        ] {
            let told = told(front, &stage, &Ask { path, ..GET }).await;
            assert_eq!(told, (400, "bad_request".to_owned()), "{front:?} {path}");
        }
        assert_eq!(backend.requests(), 0);
        let told = told(
            front,
            &stage,
            &Ask {
                path: "/api/x?a=../..",
                ..GET
            },
        )
        .await;
        assert_eq!(told, (200, "shop: GET /v1/x?a=../..".to_owned()), "{front:?}");
    }
}

#[tokio::test]
async fn an_app_of_a_route_that_has_no_backends_is_503() {
    for front in FRONTS {
        let stage = Stage::routed(config(), [], [below("/", "shop")]);
        assert_eq!(
            told(front, &stage, &GET).await,
            (503, "no_backend".to_owned()),
            "{front:?}"
        );
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_of_its_route_is_413_before_it_is_sent_on() {
    for front in FRONTS {
        let backend = Backend::start(|_, _| ok("took it")).await;
        let mut shop = app("shop", &[endpoint(1, backend.addr, Limits::NONE)]);
        shop.settings.max_body_bytes = Some(4);
        let limited = |prefix, max_body| Route {
            max_body,
            ..below(prefix, "shop")
        };
        let routes = [
            limited("/", BodyLimit::OfApp),
            limited("/small", BodyLimit::Bytes(2)),
            limited("/large", BodyLimit::Unlimited),
        ];
        let stage = Stage::routed(config(), [shop], routes);
        let put = |path, body| Ask {
            method: "PUT",
            path,
            body,
            ..GET
        };
        for asked in [put("/", b"12345"), put("/small", b"123")] {
            let told = told(front, &stage, &asked).await;
            assert_eq!(
                told,
                (413, "body_too_large".to_owned()),
                "{front:?} {}",
                asked.path
            );
        }
        assert_eq!(backend.tally().requests, 0, "{front:?}");
        for asked in [
            put("/", b"1234"),
            put("/small", b"12"),
            put("/large", b"12345678"),
        ] {
            assert_eq!(
                told(front, &stage, &asked).await,
                (200, "took it".to_owned()),
                "{front:?}"
            );
            assert_eq!(backend.take().body, asked.body);
        }
    }
    // Of a length that only shows as it comes.
    let backend = Backend::start(|_, _| ok("took it")).await;
    let shop = app("shop", &[endpoint(1, backend.addr, Limits::NONE)]);
    let limited = Route {
        max_body: BodyLimit::Bytes(4),
        ..Route::to(name("shop"))
    };
    let stage = Stage::routed(config(), [shop], [limited]);
    let mut client = Client::connect(stage.addr).await;
    client
        .write("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        .await;
    assert_eq!(client.read().await.own().1, "body_too_large");
    let (sender, _conn) = http2::connect(stage.addr).await;
    let told = http2::exchange(&sender, http2::request("POST", "/"), b"hello")
        .await
        .unwrap();
    assert_eq!(told.own(), (413, "body_too_large"));
    assert_eq!(backend.tally().requests, 0, "none of it came through whole");
}

#[tokio::test]
async fn ninety_to_ten_is_what_two_apps_get_about() {
    for front in FRONTS {
        let (most, shop) = echo(Back::Http1, 1, "shop").await;
        let (few, next) = echo(Back::Http1, 2, "shop-next").await;
        let split = Route {
            apps: vec![(name("shop"), 90), (name("shop-next"), 10), (name("none"), 0)],
            ..Route::to(name("shop"))
        };
        let stage = Stage::routed(config(), [shop, next], [split]);
        let (sender, _conn) = http2::connect(stage.addr).await;
        let mut client = Client::connect(stage.addr).await;
        for _ in 0..1_000 {
            let status = match front {
                Front::Http1 => client.get("/").await.status,
                Front::Http2 => http2::get(&sender, "/").await.status,
            };
            assert_eq!(status, 200);
        }
        assert_eq!(most.requests() + few.requests(), 1_000);
        // The standard deviation is 9.5: seven of them, which one run in 10^11 is beyond.
        assert!(
            (34..=166).contains(&few.requests()),
            "{front:?}: {} of 100",
            few.requests()
        );
    }
}

#[tokio::test]
async fn each_app_has_its_own_time_outs_and_retries() {
    for front in FRONTS {
        let slow = Backend::start(|_, _| Reply::Hang).await;
        let (bad, also) = (
            Backend::start(|_, _| Reply::Close).await,
            Backend::start(|_, _| Reply::Close).await,
        );
        let mut hurried = app("hurried", &[endpoint(1, slow.addr, Limits::NONE)]);
        hurried.settings.response_header_timeout = Duration::from_millis(50);
        let both = [
            endpoint(2, bad.addr, Limits::NONE),
            endpoint(3, also.addr, Limits::NONE),
        ];
        let mut once = app("once", &both);
        once.settings.retry_enabled = false;
        let mut twice = app("twice", &both);
        twice.settings.max_attempts = 2;
        let stage = Stage::start(config(), [hurried, once, twice]);
        let to = |host| Ask { host, ..GET };
        let late = (504, "response_timeout".to_owned());
        assert_eq!(told(front, &stage, &to("hurried")).await, late, "{front:?}");
        let requests = || bad.tally().requests + also.tally().requests;
        assert_eq!(told(front, &stage, &to("once")).await.0, 502);
        assert_eq!(requests(), 1, "{front:?}");
        assert_eq!(told(front, &stage, &to("twice")).await.0, 502);
        assert_eq!(requests(), 3, "{front:?}");
    }
}

#[tokio::test]
async fn an_upgrade_goes_by_its_route_too() {
    let switched = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    let backend = Backend::start(move |_, _| Reply::SendAndEnd(switched.as_bytes().to_vec())).await;
    let shop = app("shop", &[endpoint(1, backend.addr, Limits::NONE)]);
    let route = Route {
        replace_prefix: Some(path("/v1")),
        ..below("/ws", "shop")
    };
    let stage = Stage::routed(config(), [shop], [route]);
    let mut client = Client::connect(stage.addr).await;
    client
        .write("GET /ws/chat?x HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
        .await;
    assert_eq!(client.head().await.unwrap().status, 101);
    assert_eq!(backend.take().line(), "GET /v1/chat?x HTTP/1.1");
}

#[tokio::test]
async fn new_routes_are_in_force_for_the_next_request_of_a_kept_connection() {
    let (_one, one) = echo(Back::Http1, 1, "one").await;
    let (_two, two) = echo(Back::Http1, 2, "two").await;
    let stage = Stage::routed(config(), [one, two], [below("/", "one")]);
    let mut client = Client::connect(stage.addr).await;
    assert_eq!(client.get("/x").await.body, "one: GET /x");
    let apps: Vec<_> = stage.table.load().apps().cloned().collect();
    let rewriting = Route {
        replace_prefix: Some(path("/v2")),
        ..below("/x", "two")
    };
    let table = RouteTable::new(2, apps, Arc::new(Routes::new([rewriting])));
    stage.table.store(Arc::new(table));
    stage.running.table_changed();
    assert_eq!(client.get("/x").await.body, "two: GET /v2");
    assert_eq!(client.get("/y").await.own().1, "no_route");
}

#[tokio::test]
async fn a_queue_that_is_handed_on_is_as_long_as_the_new_settings_say() {
    let held = Arc::new(tokio::sync::Semaphore::new(0));
    let permits = Arc::clone(&held);
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx".to_vec();
    let backend =
        Backend::start(move |_, _| Reply::Hold(Vec::new(), Arc::clone(&permits), answer.clone())).await;
    let only = endpoint(1, backend.addr, Limits::new(1, 1).unwrap());
    let built = |settings: AppSettings, before: Option<&AppRoute>| {
        let app = app("app", std::slice::from_ref(&only));
        AppRoute {
            settings,
            queue: before.map_or(Arc::clone(&app.queue), |before| Arc::clone(&before.queue)),
            ..app
        }
    };
    let stage = Stage::start(config(), [built(settings(), None)]);
    let mut first = Client::connect(stage.addr).await;
    first.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    backend.until(|t| t.in_flight == 1).await;
    assert_eq!(
        ask(Front::Http1, stage.addr, &GET).await.own(),
        (503, "backends_full")
    );
    let before = stage.table.load().apps().next().cloned().unwrap();
    let longer = AppSettings {
        queue_max: 1,
        ..settings()
    };
    let next = built(longer, Some(&before));
    stage
        .table
        .store(Arc::new(RouteTable::new(2, [Arc::new(next)], Arc::default())));
    stage.running.table_changed();
    let mut second = Client::connect(stage.addr).await;
    second.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    while before.queue.is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        ask(Front::Http2, stage.addr, &GET).await.own(),
        (503, "backends_full")
    );
    held.add_permits(2);
    for client in [&mut first, &mut second] {
        assert_eq!(client.read().await.status, 200);
    }
}
