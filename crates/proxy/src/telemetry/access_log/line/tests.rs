use std::sync::Mutex;

use super::*;
use crate::{AccessLog, LineSink};

#[derive(Default)]
struct Lines(Mutex<Vec<u8>>);

impl LineSink for Lines {
    fn take(&self, lines: Vec<u8>, _count: u32) {
        self.0.lock().unwrap().extend(lines);
    }
}

fn written_of(asked: &[Asked<'_>]) -> String {
    let lines = Arc::new(Lines::default());
    let config = Arc::new(Config {
        access_log: Some(AccessLog {
            sink: Arc::clone(&lines) as _,
            format: LineFormat::Json,
            sample_per_million: MILLION,
            with_query: false,
        }),
        ..Config::default()
    });
    let gathered = Rc::<Gathered>::default();
    for asked in asked {
        let client = "192.0.2.1".parse().unwrap();
        let from = Asker {
            client,
            tls: false,
            traced: None,
        };
        let entry = Entry::new((&config, &gathered), from, asked, Instant::now(), || 0).unwrap();
        entry.end(Duration::ZERO);
    }
    gathered.flush();
    let lines = lines.0.lock().unwrap();
    String::from_utf8(lines.clone()).unwrap()
}

fn written(log: impl FnOnce(&mut AccessLog), asked: &Asked<'_>, (status, failure): Ended) -> String {
    let lines = Arc::new(Lines::default());
    let sink: Arc<dyn LineSink> = Arc::clone(&lines) as _;
    let mut access_log = AccessLog {
        sink,
        format: LineFormat::Json,
        sample_per_million: MILLION,
        with_query: false,
    };
    log(&mut access_log);
    let config = Arc::new(Config {
        access_log: Some(access_log),
        ..Config::default()
    });
    let gathered = Rc::<Gathered>::default();
    let client = "192.0.2.1".parse().unwrap();
    let from = Asker {
        client,
        tls: false,
        traced: None,
    };
    let now = Instant::now();
    gathered
        .clock
        .set(Some((now, Duration::from_micros(1_709_210_096_000_008))));
    let began = now - Duration::from_micros(1);
    let mut entry = Entry::new((&config, &gathered), from, asked, began, || 500_000).unwrap();
    (entry.status, entry.failure) = (status, failure);
    entry.end(Duration::from_micros(1_234));
    gathered.flush();
    let lines = lines.0.lock().unwrap();
    String::from_utf8(lines.clone()).unwrap()
}

const ASKED: Asked<'static> = Asked {
    protocol: "HTTP/1.1",
    method: b"GET",
    host: b"shop.example",
    target: b"/a\"b\x7f?token=secret",
    trace: Some(b"0af7651916cd43dd8448eb211c80319c"),
};
/// The status, and what went wrong.
type Ended = (Option<u16>, Option<&'static str>);
const WELL: Ended = (Some(200), None);

#[test]
fn a_line_is_json_without_the_query_and_control_characters_are_escaped() {
    let line = written(|_| {}, &ASKED, WELL);
    assert_eq!(
        line,
        "{\"time\":\"2024-02-29T12:34:56.000007Z\",\"client\":\"192.0.2.1\",\"protocol\":\"HTTP/1.1\",\
            \"method\":\"GET\",\"host\":\"shop.example\",\"path\":\"/a\\\"b\\u007f\",\"status\":200,\"bytes\":0,\
            \"app\":null,\"backend\":null,\"attempts\":0,\"total_us\":1234,\"connect_us\":null,\
            \"first_byte_us\":null,\"failure\":null,\"trace\":\"0af7651916cd43dd8448eb211c80319c\"}\n"
    );
}

#[test]
fn the_calendar_is_right_whatever_second_was_written_before() {
    let gathered = Gathered::default();
    for second in [0, 1, 951_782_399, 951_782_400, 1_709_210_096, 4_102_444_800, 0] {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let expected = humantime::format_rfc3339_micros(time).to_string();
        for _ in 0..2 {
            let written = gathered.calendar(second);
            assert_eq!(std::str::from_utf8(&written), Ok(&expected[..20]));
        }
    }
}

#[test]
fn a_request_writes_nothing_of_the_one_before_whose_memory_it_has() {
    let lines = written_of(&[
        ASKED,
        Asked {
            target: b"/",
            host: b"a",
            ..ASKED
        },
    ]);
    let second = lines.lines().nth(1).unwrap();
    assert!(
        second.contains("\"method\":\"GET\",\"host\":\"a\",\"path\":\"/\",\"status\""),
        "{second}"
    );
}

#[test]
fn the_query_is_written_down_where_that_is_asked_for() {
    let line = written(|log| log.with_query = true, &ASKED, WELL);
    assert!(line.contains("?token=secret"), "{line}");
}

#[test]
fn as_text_a_line_is_words_and_what_holds_a_space_is_quoted() {
    let asked = Asked {
        target: b"/a b\n",
        ..ASKED
    };
    let line = written(|log| log.format = LineFormat::Text, &asked, WELL);
    assert_eq!(
        line,
        "2024-02-29T12:34:56.000007Z 192.0.2.1 GET shop.example \"/a b\\u000a\" HTTP/1.1 200 0 - - attempts=0 \
            total=1234us trace=0af7651916cd43dd8448eb211c80319c\n"
    );
}

#[test]
fn what_went_well_is_sampled_and_what_did_not_never_is() {
    let half = |log: &mut AccessLog| log.sample_per_million = 500_000;
    // The lot is 500,000, which is not below.
    assert_eq!(written(half, &ASKED, WELL), "");
    let one_more = |log: &mut AccessLog| log.sample_per_million = 500_001;
    assert!(!written(one_more, &ASKED, WELL).is_empty());
    for bad in [
        (Some(502), None),
        (None, Some("client_left")),
        (Some(200), Some("truncated")),
    ] {
        assert!(!written(half, &ASKED, bad).is_empty(), "{bad:?}");
    }
}

#[test]
fn what_is_too_long_is_cut_and_what_is_no_text_is_shown_as_that() {
    let long = [b'a'; 2_000];
    let line = written(
        |_| {},
        &Asked {
            target: &long,
            ..ASKED
        },
        WELL,
    );
    assert!(line.contains(&format!("\"{}…\"", "a".repeat(PATH_MAX))), "{line}");
    let line = written(
        |_| {},
        &Asked {
            target: b"/\xff",
            ..ASKED
        },
        WELL,
    );
    assert!(line.contains("\"/\u{fffd}\""), "{line}");
}
