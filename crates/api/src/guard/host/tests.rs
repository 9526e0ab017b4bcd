use axum::body::Body;

use super::*;

fn hosts() -> Hosts {
    Hosts::new(&["Registry.Example".to_owned()])
}

fn verdict(method: &str, headers: &[(&str, &str)]) -> Option<Kind> {
    let mut request = Request::builder().method(method).uri("/api/v1/register");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    hosts().check(&request).err().map(|problem| problem.kind())
}

#[test]
fn addresses_localhost_the_machine_and_configured_names_are_the_listeners_own() {
    let machine = rustix::system::uname().nodename().to_str().unwrap().to_owned();
    for own in [
        "10.0.0.1",
        "10.0.0.1:8081",
        "[::1]:8081",
        "[::1]",
        "localhost",
        "LOCALHOST:8081",
        "a.localhost",
        "localhost.",
        "registry.example:80",
        "REGISTRY.EXAMPLE.",
        &machine,
    ] {
        assert_eq!(verdict("POST", &[("host", own)]), None, "{own}");
    }
}

#[test]
fn any_other_name_is_refused_on_changing_requests_only() {
    for foreign in [
        "evil.example",
        "localhost.evil.example",
        "10.0.0.1.evil.example:8081",
        "notlocalhost",
    ] {
        for method in ["POST", "PUT", "PATCH", "DELETE", "BREW"] {
            assert_eq!(
                verdict(method, &[("host", foreign)]),
                Some(Kind::ForeignHost),
                "{foreign}"
            );
        }
        for method in ["GET", "HEAD", "OPTIONS"] {
            assert_eq!(verdict(method, &[("host", foreign)]), None, "{foreign}");
        }
    }
}

#[test]
fn a_cross_site_origin_is_refused_and_a_missing_one_is_not() {
    let host = ("host", "localhost:8081");
    assert_eq!(verdict("POST", &[host]), None);
    assert_eq!(
        verdict("POST", &[host, ("origin", "http://localhost:8081")]),
        None
    );
    assert_eq!(
        verdict(
            "POST",
            &[("host", "localhost"), ("origin", "http://localhost:80")]
        ),
        None
    );
    assert_eq!(
        verdict(
            "POST",
            &[("host", "localhost:443"), ("origin", "https://LOCALHOST")]
        ),
        None
    );
    for origin in [
        "null",
        "http://evil.example",
        "http://localhost:9999",
        "http://localhost",
        "https://localhost",
        "",
        "localhost:8081",
        "file://localhost:8081",
        "http://localhost:8081.evil.example",
    ] {
        assert_eq!(
            verdict("POST", &[host, ("origin", origin)]),
            Some(Kind::ForeignOrigin),
            "{origin}"
        );
        assert_eq!(verdict("GET", &[host, ("origin", origin)]), None, "{origin}");
    }
    let twice = [
        host,
        ("origin", "http://localhost:8081"),
        ("origin", "http://evil.example"),
    ];
    assert_eq!(verdict("POST", &twice), Some(Kind::ForeignOrigin));
}

#[test]
fn a_host_that_is_missing_repeated_or_malformed_is_400() {
    for headers in [
        &[][..],
        &[("host", "a"), ("host", "a")],
        &[("host", "a b")],
        &[("host", "me@localhost")],
    ] {
        assert_eq!(verdict("GET", headers), Some(Kind::Malformed), "{headers:?}");
    }
}
