use std::net::IpAddr;
use std::sync::Arc;

use edgeproxy_backend::AppName;

use super::*;
use crate::telemetry::access_log::Asked;
use crate::{AppRoute, AppSettings};

fn pseudonym() -> Pseudonym {
    Pseudonym::parse("here").unwrap()
}

fn read_as(bytes: &[u8], client: Client) -> Result<Option<(Head, String)>, Stop> {
    let pseudonym = pseudonym();
    let app = AppRoute {
        settings: AppSettings {
            max_body_bytes: Some(1_000),
            ..AppSettings::default()
        },
        ..AppRoute::new(AppName::parse("app").unwrap())
    };
    let table = RouteTable::new(1, [Arc::new(app)], Arc::default());
    let rules = Rules {
        max_head_bytes: 1_024,
        max_fields: 12,
        max_target_bytes: 64,
        table: &table,
        pseudonym: &pseudonym,
        client,
        origins: None,
        sampling: None,
    };
    let mut out = Vec::new();
    let head = read(bytes, &rules, &mut out, || 1)?;
    Ok(head.map(|head| (head, String::from_utf8(out).unwrap())))
}

const ANYBODY: Client = Client {
    ip: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)),
    trusted: false,
    tls: false,
    whereabouts: NOWHERE,
};

fn forwarded(text: &str) -> (Head, String) {
    read_as(text.as_bytes(), ANYBODY)
        .unwrap()
        .expect("it is not whole")
}

fn refused(text: &str) -> (u16, String) {
    match read_as(text.as_bytes(), ANYBODY) {
        Err(Stop::Refused(answer)) => (answer.status.as_u16(), answer.error.into_owned()),
        other => panic!("{other:?} of {text:?}"),
    }
}

const OWN: &str = "x-forwarded-for: 192.0.2.7\r\nx-forwarded-proto: http\r\n";
const IDS: &str = "x-request-id: 00000000000000010000000000000001\r\n\
                   traceparent: 00-00000000000000010000000000000001-0000000000000001-00\r\n\
                   via: 1.1 here\r\n";

#[test]
fn lines_are_kept_as_they_came_and_the_proxys_own_follow() {
    let (head, out) = forwarded("GET /a?b HTTP/1.1\r\nHost: A:80\r\nX-Odd:\t 1 \r\nAccept: */*\r\n\r\nrest");
    assert_eq!(
        out,
        format!(
            "GET /a?b HTTP/1.1\r\nHost: A:80\r\nX-Odd:\t 1 \r\nAccept: */*\r\n{OWN}x-forwarded-host: A:80\r\n{IDS}\r\n"
        )
    );
    assert_eq!(
        (head.method, head.length, head.keep_alive),
        (Method::Get, Length::NONE, true)
    );
    assert_eq!(head.host, Some(25..26));
    assert_eq!(head.len, 58);
}

#[test]
fn what_is_between_neighbours_goes() {
    let (head, out) = forwarded(
        "POST / HTTP/1.1\r\nConnection: close, X-Hop\r\nHost: a\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\
         Proxy-Connection: x\r\nTE: gzip, trailers\r\nUpgrade: h2c\r\nContent-Length: 007\r\nX_Forwarded_For: 1\r\n\r\n",
    );
    assert_eq!(
        out,
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\n{OWN}x-forwarded-host: a\r\n{IDS}te: trailers\r\nconnection: te\r\n\
             content-length: 7\r\n\r\n"
        )
    );
    assert_eq!(
        (head.length, head.keep_alive, head.upgrade),
        (Length::Known(7), false, false)
    );
}

#[test]
fn the_absolute_form_replaces_host() {
    let (head, out) = forwarded("GET HTTP://b:81?q HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(
        out.starts_with("GET /?q HTTP/1.1\r\nhost: b:81\r\nx-forwarded-for"),
        "{out}"
    );
    assert_eq!(head.host, Some(11..12));
    let (_, out) = forwarded("OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(out.starts_with("OPTIONS * HTTP/1.1\r\nhost: b\r\n"), "{out}");
}

#[test]
fn http_1_0_is_made_1_1_and_may_lack_a_host() {
    let (head, out) = forwarded("GET / HTTP/1.0\r\nExpect: 100-continue\r\nA: b\r\n\r\n");
    assert!(
        out.starts_with("GET / HTTP/1.1\r\nA: b\r\n") && out.contains("via: 1.0 here"),
        "{out}"
    );
    assert_eq!((head.host, head.host_at, head.keep_alive), (None, 16, false));
    assert!(
        forwarded("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
            .0
            .keep_alive
    );
}

#[test]
fn an_upgrade_is_passed_on_if_it_is_not_of_http_and_no_body_is_before_it() {
    let (head, out) = forwarded(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    assert!(
        head.upgrade && out.ends_with("connection: upgrade\r\nupgrade: websocket\r\n\r\n"),
        "{out}"
    );
    let (_, out) = forwarded(
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: a, h2c\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: b\r\n\r\n",
    );
    assert!(out.ends_with("upgrade: a, b\r\n\r\n"), "{out}");
    for no in [
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\n",
    ] {
        let (head, out) = forwarded(no);
        assert!(
            !head.upgrade && !out.to_ascii_lowercase().contains("upgrade"),
            "{out}"
        );
    }
}

#[test]
fn nobody_can_have_the_proxys_own_fields_or_the_framing_removed() {
    let (_, out) = forwarded(
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: x-forwarded-for, via, host, x-request-id, traceparent, content-length\r\n\
         Via: 1.1 before\r\nX-Request-Id: ok\r\nContent-Length: 1\r\n\r\n",
    );
    for kept in [
        "Host: a",
        "x-forwarded-for: 192",
        "Via: 1.1 before",
        "via: 1.1 here",
        "x-request-id: 0",
        "content-length: 1",
    ] {
        assert!(out.contains(kept), "{kept} in {out}");
    }
    assert!(!out.contains("X-Request-Id: ok"), "{out}");
}

#[test]
fn a_trusted_proxys_word_is_continued_and_anybody_elses_dropped() {
    let text = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 198.51.100.2\r\n\
        X-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\nX-Real-Ip: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\n\r\n";
    let trusted = Client {
        trusted: true,
        ..ANYBODY
    };
    let (_, out) = read_as(text, trusted).unwrap().unwrap();
    assert!(
        out.contains("x-forwarded-for: 198.51.100.1, 198.51.100.2, 192.0.2.7\r\n"),
        "{out}"
    );
    for kept in [
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: b",
        "X-Real-Ip",
        "Forwarded: for",
    ] {
        assert!(out.contains(kept), "{kept} in {out}");
    }
    let (_, out) = read_as(text, ANYBODY).unwrap().unwrap();
    assert!(
        out.contains("x-forwarded-for: 192.0.2.7\r\nx-forwarded-proto: http\r\n"),
        "{out}"
    );
    assert!(!out.contains("198.51") && !out.contains("1.1.1.1"), "{out}");
}

#[test]
fn a_request_that_came_by_tls_says_so() {
    let tls = Client { tls: true, ..ANYBODY };
    let (_, out) = read_as(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", tls)
        .unwrap()
        .unwrap();
    assert!(out.contains("x-forwarded-proto: https\r\n"), "{out}");
}

#[test]
fn what_is_refused_says_why() {
    for (text, status, word) in [
        ("GET / HTTP/1.1\r\n\r\n", 400, "Host is missing"),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            400,
            "more than once",
        ),
        ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400, "Host holds"),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", 400, "CR LF"),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", 400, "CR LF"),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "request line"),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, "name"),
        ("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", 400, "name"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400, "value"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400, ""),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "request line"),
        ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "request line"),
        ("GET /\r\nHost: a\r\n\r\n", 400, "request line"),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", 400, "request line"),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "spoken"),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505, "spoken"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 405, "CONNECT"),
        ("GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target"),
        ("GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "contradict",
        ),
        (
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "HTTP/1.0",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n",
            413,
            "1000 bytes",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nExpect: magic\r\n\r\n",
            417,
            "100-continue",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nExpect: 100-continue\r\n\r\n",
            417,
            "100-continue",
        ),
        (
            "PUT / HTTP/1.1\r\nHost: a\r\nExpect: magic\r\nContent-Length: +1\r\n\r\n",
            400,
            "Content-Length",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nVia: 1.0 x, 1.1 here\r\n\r\n",
            508,
            "before",
        ),
        (
            "TRACE / HTTP/1.1\r\nHost: a\r\nMax-Forwards: x\r\n\r\n",
            400,
            "Max-Forwards",
        ),
    ] {
        let (found, error) = refused(text);
        assert_eq!(found, status, "{text:?}: {error}");
        assert!(error.contains(word), "{text:?}: {error}");
    }
}

#[test]
fn every_limit_has_its_status() {
    let target = "a".repeat(64);
    assert_eq!(
        refused(&format!("GET /{target} HTTP/1.1\r\nHost: a\r\n\r\n")).0,
        414
    );
    assert_eq!(refused(&format!("GET /{}", "a".repeat(1_024))).0, 414);
    let value = "a".repeat(1_024);
    assert_eq!(
        refused(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {value}\r\n\r\n")).0,
        431
    );
    assert_eq!(
        refused(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {value}")).0,
        431
    );
    let fields = "A: b\r\n".repeat(12);
    assert_eq!(
        refused(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).0,
        431
    );
    let many = "A: b\r\n".repeat(300);
    assert_eq!(
        refused(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")).0,
        431
    );
}

#[test]
fn max_forwards_is_counted_and_ends_here() {
    let (_, out) = forwarded("OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 5\r\n\r\n");
    assert!(
        out.contains("max-forwards: 4\r\n") && !out.contains("Max-Forwards"),
        "{out}"
    );
    let (_, out) = forwarded("GET / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n");
    assert!(out.contains("Max-Forwards: 0"), "{out}");
    let trace = b"TRACE / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\nCookie: x\r\n\r\nrest";
    let Err(Stop::LastHop(last)) = read_as(trace, ANYBODY) else {
        panic!("it went on");
    };
    assert!(last.keep);
    let len = last.len;
    let answer = String::from_utf8(last.into_bytes(true, &[b'd'; 29])).unwrap();
    assert!(
        answer.ends_with("\r\n\r\nTRACE / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n"),
        "{answer}"
    );
    assert_eq!(len, trace.len() - 4);
}

#[test]
fn a_version_is_read_whole_before_it_is_refused() {
    let text = b"GET / HTTP/3.0\r\nHost: a\r\n\r\n";
    for end in 0..15 {
        assert!(matches!(read_as(&text[..end], ANYBODY), Ok(None)), "{end}");
    }
    for bad in [
        "GET / HTTX",
        "GET / HTTP/x",
        "GET / HTTP/3x",
        "GET / HTTP/3\r\n",
        "GET / HTTP/3.0x",
    ] {
        assert_eq!(refused(bad).0, 400, "{bad}");
    }
}

#[test]
fn a_head_is_waited_for_until_it_is_whole() {
    let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for end in 0..text.len() {
        assert!(matches!(read_as(&text[..end], ANYBODY), Ok(None)), "{end}");
    }
    assert!(matches!(read_as(text, ANYBODY), Ok(Some(_))));
}

/// A request that routes look at: where it goes, and its first line to there.
fn routed(text: &str) -> (Option<String>, String) {
    let yes = crate::FieldPattern {
        name: "x-canary".parse().unwrap(),
        value: Some("yes".parse().unwrap()),
    };
    let prefix = |text| crate::PathPrefix::parse(text).unwrap();
    let canary = crate::Route {
        fields: vec![yes],
        path: prefix("/api"),
        replace_prefix: Some(prefix("/")),
        ..crate::Route::to(AppName::parse("next").unwrap())
    };
    let rest = crate::Route::to(AppName::parse("rest").unwrap());
    let table = RouteTable::new(1, [], Arc::new(crate::Routes::new([canary, rest])));
    let pseudonym = pseudonym();
    let rules = Rules {
        max_head_bytes: 1_024,
        max_fields: 12,
        max_target_bytes: 64,
        table: &table,
        pseudonym: &pseudonym,
        client: ANYBODY,
        origins: None,
        sampling: None,
    };
    let mut out = Vec::new();
    let head = read(text.as_bytes(), &rules, &mut out, || 1).unwrap().unwrap();
    let app = head.app.and_then(|place| table.at(place));
    let out = String::from_utf8(out).unwrap();
    let line = out.lines().next().unwrap_or_default().to_owned();
    (app.map(|app| app.name.to_string()), line)
}

#[test]
fn a_route_sees_values_without_the_spaces_around_them_and_names_in_any_case() {
    for (field, app, line) in [
        ("X-CANARY: \t yes \t", "next", "GET /x?y HTTP/1.1"),
        ("x-canary:yes", "next", "GET /x?y HTTP/1.1"),
        ("x-canary: yes\r\nx-canary: no", "next", "GET /x?y HTTP/1.1"),
        ("x-canary: YES", "rest", "GET /api/x?y HTTP/1.1"),
        ("x-canary2: yes", "rest", "GET /api/x?y HTTP/1.1"),
    ] {
        let found = routed(&format!("GET /api/x?y HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n"));
        assert_eq!(found, (Some(app.to_owned()), line.to_owned()), "{field}");
    }
}

#[test]
fn a_rewritten_first_line_is_one_of_http_1_1_whatever_form_the_target_had() {
    for (line, expected) in [
        ("GET http://a/api?y HTTP/1.1", "GET /?y HTTP/1.1"),
        ("GET /api HTTP/1.0", "GET / HTTP/1.1"),
        ("OPTIONS * HTTP/1.1", "OPTIONS * HTTP/1.1"),
    ] {
        let (_, found) = routed(&format!("{line}\r\nHost: a\r\nx-canary: yes\r\n\r\n"));
        assert_eq!(found, expected);
    }
}

#[test]
fn of_a_head_the_request_line_the_host_and_the_trace_are_written_down() {
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let came = format!(
        "GET /a HTTP/1.0\r\nHost: shop.example\r\nx: traceparent: no\r\nTraceparent:  {PARENT} \r\n\r\n"
    );
    let (head, out) = forwarded(&came);
    let asked = Asked::of_head(came.as_bytes(), &head, out.as_bytes());
    assert_eq!(
        (asked.method, asked.target, asked.protocol),
        (&b"GET"[..], &b"/a"[..], "HTTP/1.0")
    );
    assert_eq!(
        (asked.host, asked.trace),
        (&b"shop.example"[..], PARENT.as_bytes()[3..].first_chunk())
    );
    // One that nobody has sent is the one that the backend gets, as is one that makes no sense.
    for field in [
        "",
        "traceparent: 00-1\r\n",
        "connection: traceparent\r\ntraceparent: 00-1\r\n",
    ] {
        let came = format!("GET / HTTP/1.1\r\nhost: app\r\n{field}\r\n");
        let (head, out) = forwarded(&came);
        let asked = Asked::of_head(came.as_bytes(), &head, out.as_bytes());
        assert_eq!(
            (asked.protocol, asked.trace),
            ("HTTP/1.1", Some(b"00000000000000010000000000000001")),
            "{field}"
        );
    }
}

#[test]
fn a_traced_request_is_told_the_attempt_s_span_wherever_that_stands() {
    let pseudonym = pseudonym();
    let table = RouteTable::new(1, [], Arc::default());
    let tracing = crate::Tracing {
        sink: Arc::new(Nowhere),
        sample_per_million: 1_000_000,
        follow: crate::Follow::Nobody,
    };
    let rules = Rules {
        max_head_bytes: 1_024,
        max_fields: 12,
        max_target_bytes: 64,
        table: &table,
        pseudonym: &pseudonym,
        client: ANYBODY,
        origins: None,
        sampling: Some(tracing.sampling(false)),
    };
    for came in [
        "GET / HTTP/1.1\r\nhost: app\r\n\r\n",
        "GET / HTTP/1.0\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00\r\n\r\n",
    ] {
        let mut out = Vec::new();
        let head = read(came.as_bytes(), &rules, &mut out, || 1).unwrap().unwrap();
        let told = head.traced.unwrap();
        out.splice(head.host_at..head.host_at, *b"x: y\r\n");
        told.step(&mut out, 0xabcd);
        let out = String::from_utf8(out).unwrap();
        let expected = format!(
            "\r\ntraceparent: 00-{:032x}-000000000000abcd-01\r\n",
            told.traced.trace
        );
        assert_eq!(out.matches("traceparent").count(), 1, "{out}");
        assert!(out.contains(&expected), "{out}");
    }
}

struct Nowhere;

impl crate::SpanSink for Nowhere {
    fn take(&self, _: Vec<crate::RequestSpan>) {}
}
