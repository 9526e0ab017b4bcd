use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};
use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_defaults_are_those_of_the_table() {
    let tcp = TcpProbe::default();
    assert_eq!(tcp.connect_timeout(), 10 * SECOND);
    assert_eq!(tcp.port(), None);
    let http = HttpProbe::default();
    assert_eq!((http.method().as_str(), http.path().as_str()), ("GET", "/"));
    assert!(http.headers().is_empty() && http.body().is_empty() && http.success_headers().is_empty());
    assert_eq!(
        (http.connect_timeout(), http.read_timeout()),
        (30 * SECOND, 30 * SECOND)
    );
    assert_eq!(http.success_codes().to_string(), "200");
    assert_eq!(http.port(), None);
    assert!(!http.sends_id_header());
    assert_eq!(Monitor::tcp().interval(), 5 * SECOND);
    assert_eq!(Monitor::tcp().kind(), &Kind::Tcp(tcp));
    assert_eq!(Monitor::http("/").unwrap().kind(), &Kind::from(http));
}

fn message<T: std::fmt::Debug>(result: Result<T, SettingError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn every_error_names_its_field_what_was_found_and_what_to_write() {
    let probe = HttpProbe::default;
    for (found, expected) in [
        (
            message(Monitor::tcp().with_interval(Duration::ZERO)),
            "interval is 0ns; allowed is 100ms to 3600s",
        ),
        (
            message(Monitor::tcp().with_interval(3601 * SECOND)),
            "interval is 3601s; allowed is 100ms to 3600s",
        ),
        (
            message(TcpProbe::default().with_connect_timeout(301 * SECOND)),
            "tcp.connect_timeout is 301s; allowed is 1ms to 300s",
        ),
        (
            message(TcpProbe::default().with_port(0)),
            "tcp.port is 0; a port is between 1 and 65535",
        ),
        (
            message(probe().with_port(0)),
            "http.port is 0; a port is between 1 and 65535",
        ),
        (
            message(probe().with_connect_timeout(Duration::ZERO)),
            "http.connect_timeout is 0ns; allowed is 1ms to 300s",
        ),
        (
            message(probe().with_read_timeout(Duration::ZERO)),
            "http.read_timeout is 0ns; allowed is 1ms to 300s",
        ),
        (
            message(probe().with_method("GE T")),
            "http.method is \"GE T\", which is no HTTP method; write GET, HEAD, OPTIONS, POST or PUT",
        ),
        (
            message(probe().with_method("CONNECT")),
            "http.method is CONNECT, which opens a tunnel; write GET, HEAD, OPTIONS, POST or PUT",
        ),
        (
            message(HttpProbe::get("/a b")),
            "http.path has the character ' ' at position 3; write it as %XX, or leave it out",
        ),
        (
            message(HttpProbe::get("/a#b")),
            "http.path has the character '#' at position 3; write it as %XX, or leave it out",
        ),
        (
            message(HttpProbe::get(&"/".repeat(9_000))),
            "http.path takes 9000 bytes; at most 8192 are allowed",
        ),
        (
            message(probe().with_body(vec![0; 65_537])),
            "http.body takes 65537 bytes; at most 65536 are allowed",
        ),
        (
            message(probe().with_header("a b", "c")),
            "http.headers has \"a b\", which is no header name; write letters, digits and hyphens, such as \"X-Probe\"",
        ),
        (
            message(probe().with_header("X-A", "b\r\nc: d")),
            "http.headers has a value for x-a with a control character; remove it",
        ),
        (
            message(probe().with_header("Content-Length", "5")),
            "http.headers has content-length, which the probe sets itself; remove it",
        ),
        (
            message(
                probe()
                    .with_header("Host", "a")
                    .and_then(|p| p.with_header("host", "b")),
            ),
            "http.headers has host twice; keep one",
        ),
        (
            message(probe().with_success_header("", "c")),
            "http.success_headers has \"\", which is no header name; write letters, digits and hyphens, such as \"X-Probe\"",
        ),
        (
            message("200,6x0".parse::<StatusCodes>()),
            "http.success_codes has \"6x0\"; a code is between 200 and 599, a range is such as 200-299",
        ),
        (
            message("".parse::<StatusCodes>()),
            "http.success_codes is empty, so that no probe could pass; write 200, or codes and ranges such as 200-299,404",
        ),
    ] {
        assert_eq!(found, expected);
    }
}

#[test]
fn header_fields_are_bounded_in_number_and_bytes() {
    let fill = |count: usize, len: usize| {
        (0..count).try_fold(HttpProbe::default(), |probe, n| {
            probe.with_header(&format!("x-{n:02}"), &"v".repeat(len))
        })
    };
    assert!(fill(32, 252).is_ok());
    assert_eq!(
        fill(33, 0).unwrap_err().problem,
        Problem::TooManyFields { max: 32 }
    );
    assert_eq!(
        fill(32, 253).unwrap_err().problem,
        Problem::TooLarge {
            found: 8_224,
            max: 8_192
        }
    );
}

#[test]
fn an_error_repeats_only_the_beginning_of_a_long_text() {
    assert!(message(HttpProbe::get(&"x".repeat(1_000_000))).len() < 200);
    assert!(message("9".repeat(1_000_000).parse::<StatusCodes>()).len() < 200);
}

#[test]
fn debug_shows_no_secret() {
    let probe = HttpProbe::default()
        .with_header("Authorization", "Bearer hunter2")
        .unwrap();
    assert!(!format!("{probe:?}").contains("hunter2"));
}

#[test]
fn several_success_codes_and_ranges() {
    let codes: StatusCodes = "200, 204,300-302 ,599".parse().unwrap();
    assert_eq!(codes.to_string(), "200,204,300-302,599");
    for (code, passes) in [
        (200, true),
        (201, false),
        (204, true),
        (302, true),
        (303, false),
        (599, true),
        (100, false),
    ] {
        assert_eq!(
            codes.contains(StatusCode::from_u16(code).unwrap()),
            passes,
            "{code}"
        );
    }
    assert!(!codes.contains(StatusCode::from_u16(999).unwrap()));
    for bad in [
        "199",
        "600",
        "300-200",
        "+200",
        "20",
        "200,",
        "200-",
        "-200",
        "101",
        "2xx",
        "200-299-300",
    ] {
        assert!(bad.parse::<StatusCodes>().is_err(), "{bad}");
    }
}

#[test]
fn a_success_header_must_be_there_with_exactly_its_value() {
    let probe = HttpProbe::default()
        .with_success_header("X-State", " ready ")
        .and_then(|probe| probe.with_success_header("X-Role", "primary"))
        .unwrap();
    let mut response = HeaderMap::new();
    assert_eq!(probe.missing_header(&response).unwrap().0, "x-state");
    response.append("x-state", HeaderValue::from_static("starting"));
    response.append("x-state", HeaderValue::from_static("ready"));
    assert_eq!(probe.missing_header(&response).unwrap().0, "x-role");
    response.append("x-role", HeaderValue::from_static("Primary"));
    assert_eq!(probe.missing_header(&response).unwrap().0, "x-role");
    response.append("x-role", HeaderValue::from_static("primary"));
    assert_eq!(probe.missing_header(&response), None);
}

proptest! {
    #[test]
    fn codes_survive_being_written_and_read(
        ranges in prop::collection::vec((200u16..600, 0u16..50), 1..10),
    ) {
        let ranges: Vec<_> = ranges.iter().map(|&(first, len)| first..=(first + len).min(599)).collect();
        let codes = StatusCodes::new(ranges.clone()).unwrap();
        prop_assert_eq!(codes.to_string().parse::<StatusCodes>().unwrap(), codes);
        for code in 200..600 {
            let expected = ranges.iter().any(|range| range.contains(&code));
            prop_assert_eq!(codes.contains(StatusCode::from_u16(code).unwrap()), expected);
        }
    }

    #[test]
    fn no_path_or_header_can_smuggle_a_line(text in "\\PC{0,5}[\\x00-\\x7f]{0,10}") {
        if let Ok(probe) = HttpProbe::get(&format!("/{text}")) {
            prop_assert_eq!(probe.path().as_str(), format!("/{text}"));
            prop_assert!(text.bytes().all(|b| b.is_ascii_graphic()));
        }
        if let Ok(probe) = HttpProbe::default().with_header("x-a", &text) {
            let bytes = probe.headers()[0].1.as_bytes();
            prop_assert!(!bytes.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)));
        }
    }
}
