//! A request as a line of the access log.

use std::net::IpAddr;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use edgeproxy_backend::{AppName, BackendId};
use humantime::format_rfc3339_micros;
use tokio::time::Instant;

use super::{Gathered, LineFormat};
use crate::Config;
use crate::counts::Tally;

/// What is written down of a request, as far as it is known.
pub(crate) struct Entry {
    gathered: Rc<Gathered>,
    /// With the configuration that the client's connection began with.
    config: Arc<Config>,
    /// Whether it is written down though all went well.
    is_sampled: bool,
    began: SystemTime,
    client: IpAddr,
    protocol: &'static str,
    method: Box<str>,
    host: Box<str>,
    path: Box<str>,
    trace: Option<[u8; TRACE]>,
    pub(crate) app: Option<AppName>,
    /// What the client was told; `None`: it left before.
    pub(crate) status: Option<u16>,
    /// What went wrong, in a word.
    pub(crate) failure: Option<&'static str>,
    backend: Option<BackendId>,
    pub(crate) attempts: u32,
    pub(crate) bytes: u64,
    connect: Option<Duration>,
    first_byte: Option<Duration>,
}

/// What of a request's head is written down.
#[derive(Clone, Copy, Default)]
pub(crate) struct Asked<'a> {
    pub(crate) protocol: &'static str,
    pub(crate) method: &'a [u8],
    pub(crate) host: &'a [u8],
    /// With its query.
    pub(crate) target: &'a [u8],
    /// The value of `traceparent`, as the backend gets it.
    pub(crate) traceparent: &'a [u8],
}

/// Hexadecimal digits of a trace id (W3C Trace Context §3.2.2.3).
const TRACE: usize = 32;
/// So much of a host, and of a path, is written down.
const HOST_MAX: usize = 255;
const PATH_MAX: usize = 1_024;
const METHOD_MAX: usize = 32;

impl<'a> Asked<'a> {
    /// Of a request of HTTP/1, by what came and by the head that the backend gets; `host` is where that stands.
    pub(crate) fn of_head(came: &'a [u8], host: Option<Range<usize>>, forwarded: &'a [u8]) -> Self {
        let end = came.iter().position(|byte| *byte == b'\r').unwrap_or(came.len());
        let mut words = came.get(..end).unwrap_or_default().split(|byte| *byte == b' ');
        let mut word = || words.next().unwrap_or_default();
        let (method, target) = (word(), word());
        let protocol = if word() == b"HTTP/1.0" {
            "HTTP/1.0"
        } else {
            "HTTP/1.1"
        };
        let mut lines = forwarded.split(|byte| *byte == b'\n');
        let traceparent = lines.find_map(|line| {
            let (name, value) = line.split_at_checked(TRACEPARENT.len())?;
            name.eq_ignore_ascii_case(TRACEPARENT).then(|| value.trim_ascii())
        });
        Self {
            protocol,
            method,
            host: host.and_then(|host| came.get(host)).unwrap_or_default(),
            target,
            traceparent: traceparent.unwrap_or_default(),
        }
    }
}

const TRACEPARENT: &[u8] = b"traceparent:";

impl Entry {
    /// One of a request that has just come; `random` is 64 bits.
    pub(crate) fn new(
        (config, gathered): (&Arc<Config>, &Rc<Gathered>),
        client: IpAddr,
        asked: &Asked<'_>,
        random: impl FnOnce() -> u64,
    ) -> Option<Box<Self>> {
        let log = config.access_log.as_ref()?;
        let path = match asked.target.iter().position(|byte| *byte == b'?') {
            Some(end) if !log.with_query => asked.target.get(..end).unwrap_or_default(),
            _ => asked.target,
        };
        Some(Box::new(Self {
            gathered: Rc::clone(gathered),
            is_sampled: log.sample_per_million >= MILLION
                || random() % u64::from(MILLION) < log.sample_per_million.into(),
            config: Arc::clone(config),
            began: SystemTime::now(),
            client,
            protocol: asked.protocol,
            method: text(asked.method, METHOD_MAX),
            host: text(asked.host, HOST_MAX),
            path: text(path, PATH_MAX),
            trace: trace(asked.traceparent),
            app: None,
            status: None,
            failure: None,
            backend: None,
            attempts: 0,
            bytes: 0,
            connect: None,
            first_byte: None,
        }))
    }

    /// A connection was made for it.
    pub(crate) fn connected(&mut self, before: Instant, now: Instant) {
        let took = now.saturating_duration_since(before);
        self.connect = Some(self.connect.unwrap_or_default() + took);
    }

    /// A backend's answer has begun.
    pub(crate) fn answered(&mut self, status: u16, after: Duration, tally: &Tally) {
        self.status = Some(status);
        self.first_byte = Some(after);
        self.app = Some(tally.app.name().clone());
        self.backend = Some(tally.backend.id().clone());
    }

    /// It has ended.
    pub(crate) fn end(self, took: Duration) {
        let Some(log) = &self.config.access_log else {
            return;
        };
        let went_well = self.failure.is_none() && self.status.is_some_and(|status| status < 500);
        if went_well && !self.is_sampled {
            return;
        }
        self.gathered.add(log, |out| match log.format {
            LineFormat::Json => self.write_json(out, took),
            LineFormat::Text => self.write_text(out, took),
        });
    }

    fn write_json(&self, out: &mut Vec<u8>, total: Duration) {
        out.extend_from_slice(b"{\"time\":\"");
        let began = format_rfc3339_micros(self.began);
        write(out, format_args!("{began}\",\"client\":\"{}\"", self.client));
        for (key, value) in [
            ("protocol", Some(self.protocol)),
            ("method", Some(&*self.method)),
            ("host", Some(&*self.host)),
            ("path", Some(&*self.path)),
        ] {
            write_member(out, key, value);
        }
        match self.status {
            Some(status) => write(out, format_args!(",\"status\":{status}")),
            None => out.extend_from_slice(b",\"status\":null"),
        }
        write(out, format_args!(",\"bytes\":{}", self.bytes));
        write_member(out, "app", self.app.as_ref().map(AppName::as_str));
        write_member(out, "backend", self.backend.as_ref().map(BackendId::as_str));
        write(out, format_args!(",\"attempts\":{}", self.attempts));
        write(out, format_args!(",\"total_us\":{}", total.as_micros()));
        for (key, took) in [("connect_us", self.connect), ("first_byte_us", self.first_byte)] {
            match took {
                Some(took) => write(out, format_args!(",\"{key}\":{}", took.as_micros())),
                None => write(out, format_args!(",\"{key}\":null")),
            }
        }
        write_member(out, "failure", self.failure);
        write_member(out, "trace", self.trace());
        out.extend_from_slice(b"}\n");
    }

    fn write_text(&self, out: &mut Vec<u8>, total: Duration) {
        let began = format_rfc3339_micros(self.began);
        write(out, format_args!("{began} {} ", self.client));
        for word in [&*self.method, &*self.host, &*self.path, self.protocol] {
            write_word(out, Some(word));
        }
        match self.status {
            Some(status) => write(out, format_args!("{status} {} ", self.bytes)),
            None => write(out, format_args!("- {} ", self.bytes)),
        }
        write_word(out, self.app.as_ref().map(AppName::as_str));
        write_word(out, self.backend.as_ref().map(BackendId::as_str));
        write(
            out,
            format_args!("attempts={} total={}us", self.attempts, total.as_micros()),
        );
        for (key, took) in [("connect", self.connect), ("first_byte", self.first_byte)] {
            if let Some(took) = took {
                write(out, format_args!(" {key}={}us", took.as_micros()));
            }
        }
        if let Some(failure) = self.failure {
            write(out, format_args!(" failure={failure}"));
        }
        if let Some(trace) = self.trace() {
            write(out, format_args!(" trace={trace}"));
        }
        out.push(b'\n');
    }

    fn trace(&self) -> Option<&str> {
        self.trace
            .as_ref()
            .and_then(|trace| std::str::from_utf8(trace).ok())
    }
}

const MILLION: u32 = 1_000_000;

/// What is no UTF-8 is shown as that, and what is too long is cut.
fn text(bytes: &[u8], max: usize) -> Box<str> {
    let (kept, cut) = match bytes.get(..max) {
        Some(kept) if bytes.len() > max => (kept, "…"),
        _ => (bytes, ""),
    };
    match std::str::from_utf8(kept) {
        Ok(text) if cut.is_empty() => text.into(),
        _ => format!("{}{cut}", String::from_utf8_lossy(kept)).into_boxed_str(),
    }
}

fn trace(traceparent: &[u8]) -> Option<[u8; TRACE]> {
    let id = traceparent.get(3..3 + TRACE)?;
    id.iter().all(u8::is_ascii_hexdigit).then(|| id.try_into().ok())?
}

/// Writing to memory can't fail.
fn write(out: &mut Vec<u8>, what: std::fmt::Arguments<'_>) {
    let _ = std::io::Write::write_fmt(out, what);
}

fn write_member(out: &mut Vec<u8>, key: &str, value: Option<&str>) {
    write(out, format_args!(",\"{key}\":"));
    match value {
        Some(value) => {
            out.push(b'"');
            write_escaped(out, value);
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
}

fn write_word(out: &mut Vec<u8>, word: Option<&str>) {
    match word {
        None | Some("") => out.push(b'-'),
        // As it is written in JSON, so that a space is no end of it.
        Some(word) if word.contains([' ', '"', '\\']) || word.contains(char::is_control) => {
            out.push(b'"');
            write_escaped(out, word);
            out.push(b'"');
        }
        Some(word) => out.extend_from_slice(word.as_bytes()),
    }
    out.push(b' ');
}

/// RFC 8259 §7; and no control character gets to a terminal, DEL and those of Latin-1 included.
fn write_escaped(out: &mut Vec<u8>, text: &str) {
    if text
        .bytes()
        .all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\')
    {
        return out.extend_from_slice(text.as_bytes());
    }
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            c if c.is_control() => write(out, format_args!("\\u{:04x}", u32::from(c))),
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
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
        let mut entry = Entry::new((&config, &gathered), client, asked, || 500_000).unwrap();
        entry.began = SystemTime::UNIX_EPOCH + Duration::from_micros(1_709_210_096_000_007);
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
        traceparent: b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
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
}
