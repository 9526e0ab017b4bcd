use http::Request;
use proptest::prelude::*;

use super::*;

fn parts(method: &str, uri: &str, version: Version, fields: &[(&'static str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(uri).version(version);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn run(parts: &mut Parts) -> Result<Inbound, Stop> {
    check(parts, &Config::default(), &Pseudonym::parse("here").unwrap())
}

fn http1(uri: &str, fields: &[(&'static str, &str)]) -> Result<Inbound, Stop> {
    run(&mut parts("GET", uri, Version::HTTP_11, fields))
}

fn http2(uri: &str, fields: &[(&'static str, &str)]) -> Result<Inbound, Stop> {
    run(&mut parts("GET", uri, Version::HTTP_2, fields))
}

fn refused(result: Result<Inbound, Stop>) -> (u16, &'static str) {
    match result {
        Err(Stop::Refused(answer)) => (answer.status.as_u16(), answer.word),
        other => panic!("not refused: {other:?}"),
    }
}

const BAD: (u16, &str) = (400, "bad_request");

#[test]
fn a_missing_repeated_or_malformed_host_is_400() {
    assert_eq!(refused(http1("/", &[])), BAD);
    assert_eq!(refused(http1("/", &[("host", "a"), ("host", "a")])), BAD);
    assert_eq!(refused(http1("/", &[("host", "a b")])), BAD);
    assert_eq!(refused(http1("/", &[("host", "")])), BAD);
    assert!(http1("/", &[("host", "a")]).is_ok());
    let old = run(&mut parts("GET", "/", Version::HTTP_10, &[])).unwrap();
    assert_eq!(old.host, None);
}

#[test]
fn an_absolute_form_replaces_host_and_goes_on_in_origin_form() {
    let inbound = http1("http://b.example:81/x?y=1", &[("host", "a")]).unwrap();
    assert_eq!(inbound.host.unwrap(), "b.example:81");
    assert_eq!(inbound.target, "/x?y=1");
    assert_eq!(refused(http1("http://user@b/", &[("host", "a")])), BAD);
    let options = run(&mut parts(
        "OPTIONS",
        "http://b",
        Version::HTTP_11,
        &[("host", "a")],
    ))
    .unwrap();
    assert_eq!(options.target, "*");
}

#[test]
fn a_target_over_http_2_may_hold_what_one_over_http_1_may() {
    for good in ["/a?b=[c]", "/a?b={%22c%22:1|2}"] {
        assert_eq!(http2(good, &[("host", "a")]).unwrap().target, good);
    }
    for bad in ["/a\"b", "/a\\b", "/\u{e9}", "/a?b=\u{e9}", "*"] {
        assert_eq!(refused(http2(bad, &[("host", "a")])), BAD, "{bad}");
    }
    let star = run(&mut parts("OPTIONS", "*", Version::HTTP_2, &[("host", "a")]));
    assert_eq!(star.unwrap().target, "*");
}

#[test]
fn an_authority_that_contradicts_host_is_refused() {
    assert_eq!(http2("http://a/", &[("host", "A")]).unwrap().host.unwrap(), "a");
    assert_eq!(refused(http2("http://a/", &[("host", "b")])), BAD);
    assert_eq!(http2("/", &[("host", "b")]).unwrap().host.unwrap(), "b");
    assert_eq!(refused(http2("/", &[])), BAD);
}

#[test]
fn connect_is_405_and_a_loop_is_508() {
    let mut connect = parts("CONNECT", "a:80", Version::HTTP_11, &[("host", "a:80")]);
    assert_eq!(refused(run(&mut connect)), (405, "method_not_allowed"));
    assert_eq!(
        refused(http1("/", &[("host", "a"), ("via", "1.1 here")])),
        (508, "loop_detected")
    );
    assert!(http1("/", &[("host", "a"), ("via", "1.1 there")]).is_ok());
}

#[test]
fn transfer_encoding_other_than_a_single_chunked_is_400() {
    for bad in ["gzip, chunked", "chunked, chunked", "gzip", "x"] {
        assert_eq!(
            refused(http1("/", &[("host", "a"), ("transfer-encoding", bad)])),
            BAD,
            "{bad}"
        );
    }
    let both = [
        ("host", "a"),
        ("transfer-encoding", "chunked"),
        ("content-length", "1"),
    ];
    assert_eq!(refused(http1("/", &both)), BAD);
    assert!(http1("/", &[("host", "a"), ("transfer-encoding", "Chunked")]).is_ok());
}

#[test]
fn every_limit_has_its_status() {
    let long = format!("/{}", "x".repeat(8 * 1024));
    assert_eq!(refused(http1(&long, &[("host", "a")])), (414, "target_too_long"));
    assert!(http1(&long[..8 * 1024], &[("host", "a")]).is_ok());
    let big = "x".repeat(32 * 1024);
    assert_eq!(
        refused(http1("/", &[("host", "a"), ("x", &big)])),
        (431, "head_too_large")
    );
    let mut many = vec![("x", "1"); 99];
    many.push(("host", "a"));
    assert!(http1("/", &many).is_ok());
    many.push(("x", "1"));
    assert_eq!(refused(http1("/", &many)), (431, "head_too_large"));
    let long = parts("PUT", "/", Version::HTTP_11, &[("content-length", "11")]);
    let answer = check_length(&long.headers, Some(10)).unwrap_err();
    assert_eq!((answer.status.as_u16(), answer.word), (413, "body_too_large"));
    assert!(check_length(&long.headers, Some(11)).is_ok() && check_length(&long.headers, None).is_ok());
}

#[test]
fn max_forwards_is_counted_down_on_options_and_trace_only() {
    for method in ["OPTIONS", "TRACE"] {
        let with = |n: &str| {
            parts(
                method,
                "/",
                Version::HTTP_11,
                &[("host", "a"), ("max-forwards", n)],
            )
        };
        let mut two = with("2");
        assert!(run(&mut two).is_ok());
        assert_eq!(two.headers["max-forwards"], "1");
        assert!(matches!(run(&mut with("0")), Err(Stop::LastHop)));
        assert_eq!(refused(run(&mut with("+1"))), BAD);
        assert!(run(&mut with("99999999999999999999999")).is_ok());
    }
    assert!(http1("/", &[("host", "a"), ("max-forwards", "0")]).is_ok());
}

#[test]
fn a_trace_for_us_is_sent_back_without_secrets() {
    let trace = parts(
        "TRACE",
        "/x",
        Version::HTTP_11,
        &[("host", "a"), ("cookie", "secret"), ("x", "1")],
    );
    let (status, headers, body) = last_hop(&trace);
    assert_eq!(status, 200);
    assert_eq!(headers["content-type"], "message/http");
    assert_eq!(
        String::from_utf8(body).unwrap(),
        "TRACE /x HTTP/1.1\r\nhost: a\r\nx: 1\r\n\r\n"
    );
    let (status, headers, body) = last_hop(&parts("OPTIONS", "/", Version::HTTP_11, &[]));
    assert_eq!((status.as_u16(), body.len()), (204, 0));
    assert!(headers.contains_key("allow"));
}

proptest! {
    #[test]
    fn what_passes_has_one_wellformed_host_and_an_origin_form_target(
        path in "/[a-z?&=/]{0,20}",
        hosts in proptest::collection::vec("[a-z@:\\[\\] .]{0,8}", 0..3),
        absolute in proptest::option::of("[a-z]{1,8}(:[0-9]{1,5})?"),
    ) {
        let uri = absolute.as_ref().map_or_else(|| path.clone(), |host| format!("http://{host}{path}"));
        let fields: Vec<_> = hosts.iter().map(|host| ("host", host.as_str())).collect();
        let Ok(request) = fields.iter().fold(Request::builder().uri(&uri), |r, (n, v)| r.header(*n, *v)).body(()) else {
            return Ok(());
        };
        if let Ok(inbound) = run(&mut request.into_parts().0) {
            prop_assert_eq!(hosts.len(), 1);
            prop_assert!(Authority::parse(inbound.host.unwrap().as_bytes()).is_ok());
            prop_assert!(inbound.target.authority().is_none());
            prop_assert_eq!(inbound.target.path_and_query().unwrap().as_str(), path.as_str());
        }
    }
}
