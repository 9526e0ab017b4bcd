//! A request as a line of the access log.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use edgeproxy_backend::AppName;

use super::{Gathered, LineFormat};
use crate::Config;
use crate::counts::Tally;
use crate::http1::request::{self, Traceparent};
use crate::http1::text::{push_decimal, push_hex, push_ip};
use crate::traces::{Noted, RequestSpan, Traced};

/// What is written down of a request, or told of it as spans, as far as it is known.
pub(crate) struct Entry {
    gathered: Rc<Gathered>,
    /// With the configuration that the client's connection began with.
    config: Arc<Config>,
    /// Whether it is written down though all went well.
    is_sampled: bool,
    began: SystemTime,
    client: IpAddr,
    protocol: &'static str,
    /// The method, the host and the path, and where the first two end.
    words: String,
    method_end: usize,
    host_end: usize,
    trace: Option<[u8; TRACE]>,
    pub(crate) app: Option<AppName>,
    /// What the client was told; `None`: it left before.
    pub(crate) status: Option<u16>,
    /// What went wrong, in a word.
    pub(crate) failure: Option<&'static str>,
    /// Whose answer it is: its names are there.
    tally: Option<Rc<Tally>>,
    pub(crate) attempts: u32,
    pub(crate) bytes: u64,
    connect: Option<Duration>,
    first_byte: Option<Duration>,
    /// It is told of.
    pub(crate) spans: Option<Box<Noted>>,
}

/// Who asks, and whether the request is traced.
#[derive(Clone, Copy)]
pub(crate) struct Asker {
    pub(crate) client: IpAddr,
    pub(crate) tls: bool,
    pub(crate) traced: Option<Traced>,
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
    /// Of a request of HTTP/1, by what came and by the head that the backend gets.
    pub(crate) fn of_head(came: &'a [u8], request: &request::Head, forwarded: &'a [u8]) -> Self {
        let mut words = came.splitn(3, |byte| *byte == b' ');
        let mut word = || words.next().unwrap_or_default();
        let (method, target) = (word(), word());
        let protocol = if word().starts_with(b"HTTP/1.0") {
            "HTTP/1.0"
        } else {
            "HTTP/1.1"
        };
        Self {
            protocol,
            method,
            host: request
                .host
                .clone()
                .and_then(|host| came.get(host))
                .unwrap_or_default(),
            target,
            traceparent: match request.traceparent {
                Traceparent::Came(at) => came.get(at..at + TRACEPARENT),
                Traceparent::Made(at) => forwarded.get(at..at + TRACEPARENT),
            }
            .unwrap_or_default(),
        }
    }
}

/// The length of a `traceparent` of version 00.
const TRACEPARENT: usize = 55;

impl Entry {
    /// One of a request that has just come; `random` is 64 bits.
    pub(crate) fn new(
        (config, gathered): (&Arc<Config>, &Rc<Gathered>),
        from: Asker,
        asked: &Asked<'_>,
        random: impl FnOnce() -> u64,
    ) -> Option<Box<Self>> {
        let log = config.access_log.as_ref();
        if log.is_none() && from.traced.is_none() {
            return None;
        }
        let path = match asked.target.iter().position(|byte| *byte == b'?') {
            Some(end) if log.is_none_or(|log| !log.with_query) => asked.target.get(..end).unwrap_or_default(),
            _ => asked.target,
        };
        let mut words = gathered.room();
        push_text(&mut words, asked.method, METHOD_MAX);
        let method_end = words.len();
        push_text(&mut words, asked.host, HOST_MAX);
        let host_end = words.len();
        push_text(&mut words, path, PATH_MAX);
        Some(Box::new(Self {
            gathered: Rc::clone(gathered),
            is_sampled: log.is_some_and(|log| {
                log.sample_per_million >= MILLION
                    || random() % u64::from(MILLION) < log.sample_per_million.into()
            }),
            config: Arc::clone(config),
            began: SystemTime::now(),
            client: from.client,
            protocol: asked.protocol,
            words,
            method_end,
            host_end,
            trace: from
                .traced
                .map_or_else(|| trace(asked.traceparent), |traced| digits(traced.trace)),
            app: None,
            status: None,
            failure: None,
            tally: None,
            attempts: 0,
            bytes: 0,
            connect: None,
            first_byte: None,
            spans: from.traced.map(|traced| Box::new(Noted::new(traced, from.tls))),
        }))
    }

    /// A connection was made for it, or could not be.
    pub(crate) fn connected(&mut self, took: Duration) {
        self.connect = Some(self.connect.unwrap_or_default() + took);
        if let Some(spans) = &mut self.spans {
            spans.connected(took);
        }
    }

    /// A backend's answer has begun.
    pub(crate) fn answered(&mut self, status: u16, after: Duration, tally: &Rc<Tally>) {
        self.status = Some(status);
        self.first_byte = Some(after);
        self.tally = Some(Rc::clone(tally));
    }

    /// It has ended.
    pub(crate) fn end(mut self, took: Duration) {
        self.write(took);
        if let Some(spans) = self.spans.take() {
            self.tell(*spans, took);
        }
        self.gathered.give_back(std::mem::take(&mut self.words));
    }

    #[cold]
    fn tell(&self, mut spans: Noted, took: Duration) {
        let Some(tracing) = &self.config.tracing else {
            return;
        };
        let status = self.tally.as_ref().and(self.status);
        spans.end(took, status, self.failure);
        let [method, host, path] = self.words();
        let Traced {
            trace, parent, id, ..
        } = spans.traced;
        let request = RequestSpan {
            trace,
            id,
            parent,
            began: self.began,
            took,
            client: self.client,
            protocol: self.protocol,
            tls: spans.tls,
            method: method.into(),
            host: host.into(),
            path: path_of(path).into(),
            app: match &self.tally {
                Some(tally) => Some(tally.app.name().clone()),
                None => self.app.clone(),
            },
            status: self.status,
            failure: self.failure,
            bytes: self.bytes,
            attempts: spans.into_attempts(),
        };
        self.gathered.add_spans(tracing, request);
    }

    fn write(&self, took: Duration) {
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
        // Once for the whole line, unless much of it is escaped.
        out.reserve(FIXED + self.words.len());
        let [method, host, path] = self.words();
        out.extend_from_slice(b"{\"time\":\"");
        self.write_time(out);
        out.extend_from_slice(b"\",\"client\":\"");
        push_ip(out, self.client);
        out.extend_from_slice(b"\",\"protocol\":\"");
        out.extend_from_slice(self.protocol.as_bytes());
        out.extend_from_slice(b"\",\"method\":\"");
        write_escaped(out, method);
        out.extend_from_slice(b"\",\"host\":\"");
        write_escaped(out, host);
        out.extend_from_slice(b"\",\"path\":\"");
        write_escaped(out, path);
        out.extend_from_slice(b"\",\"status\":");
        write_number_or_null(out, self.status.map(u64::from));
        out.extend_from_slice(b",\"bytes\":");
        push_decimal(out, self.bytes);
        out.extend_from_slice(b",\"app\":");
        write_string_or_null(out, self.app());
        out.extend_from_slice(b",\"backend\":");
        write_string_or_null(out, self.backend());
        out.extend_from_slice(b",\"attempts\":");
        push_decimal(out, self.attempts.into());
        out.extend_from_slice(b",\"total_us\":");
        push_decimal(out, micros(total));
        out.extend_from_slice(b",\"connect_us\":");
        write_number_or_null(out, self.connect.map(micros));
        out.extend_from_slice(b",\"first_byte_us\":");
        write_number_or_null(out, self.first_byte.map(micros));
        out.extend_from_slice(b",\"failure\":");
        write_string_or_null(out, self.failure);
        out.extend_from_slice(b",\"trace\":");
        write_string_or_null(out, self.trace());
        out.extend_from_slice(b"}\n");
    }

    fn write_text(&self, out: &mut Vec<u8>, total: Duration) {
        out.reserve(FIXED + self.words.len());
        self.write_time(out);
        out.push(b' ');
        push_ip(out, self.client);
        out.push(b' ');
        for word in self.words() {
            write_word(out, Some(word));
        }
        write_word(out, Some(self.protocol));
        match self.status {
            Some(status) => push_decimal(out, status.into()),
            None => out.push(b'-'),
        }
        out.push(b' ');
        push_decimal(out, self.bytes);
        out.push(b' ');
        write_word(out, self.app());
        write_word(out, self.backend());
        out.extend_from_slice(b"attempts=");
        push_decimal(out, self.attempts.into());
        write_took(out, b" total=", Some(total));
        write_took(out, b" connect=", self.connect);
        write_took(out, b" first_byte=", self.first_byte);
        if let Some(failure) = self.failure {
            out.extend_from_slice(b" failure=");
            out.extend_from_slice(failure.as_bytes());
        }
        if let Some(trace) = self.trace() {
            out.extend_from_slice(b" trace=");
            out.extend_from_slice(trace.as_bytes());
        }
        out.push(b'\n');
    }

    fn write_time(&self, out: &mut Vec<u8>) {
        let since = self
            .began
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        out.extend_from_slice(&self.gathered.calendar(since.as_secs()));
        let (mut rest, mut digits) = (since.subsec_micros(), *b"000000Z");
        for digit in digits.iter_mut().take(6).rev() {
            *digit += u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
        }
        out.extend_from_slice(&digits);
    }

    /// The method, the host and the path.
    fn words(&self) -> [&str; 3] {
        [
            self.words.get(..self.method_end),
            self.words.get(self.method_end..self.host_end),
            self.words.get(self.host_end..),
        ]
        .map(Option::unwrap_or_default)
    }

    fn app(&self) -> Option<&str> {
        match &self.tally {
            Some(tally) => Some(tally.app.name().as_str()),
            None => self.app.as_ref().map(AppName::as_str),
        }
    }

    fn backend(&self) -> Option<&str> {
        self.tally.as_ref().map(|tally| tally.backend.id().as_str())
    }

    fn trace(&self) -> Option<&str> {
        self.trace
            .as_ref()
            .and_then(|trace| std::str::from_utf8(trace).ok())
    }
}

const MILLION: u32 = 1_000_000;

/// What a line of JSON has besides the words, names of usual length included.
const FIXED: usize = 512;

/// What is no UTF-8 is shown as that, and what is too long is cut.
fn push_text(words: &mut String, bytes: &[u8], max: usize) {
    let (kept, cut) = match bytes.get(..max) {
        Some(kept) if bytes.len() > max => (kept, "…"),
        _ => (bytes, ""),
    };
    match std::str::from_utf8(kept) {
        Ok(text) => words.push_str(text),
        Err(_) => words.push_str(&String::from_utf8_lossy(kept)),
    }
    words.push_str(cut);
}

/// Of a target in origin or absolute form (RFC 9112 §3.2) the path alone; any other one as it is.
fn path_of(target: &str) -> &str {
    let target = target.split('?').next().unwrap_or_default();
    match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            let path = rest.find('/').and_then(|at| rest.get(at..));
            path.unwrap_or("/")
        }
        _ => target,
    }
}

/// `as_micros` would multiply, and be written, in 128 bits.
fn micros(took: Duration) -> u64 {
    took.as_secs()
        .saturating_mul(1_000_000)
        .saturating_add(took.subsec_micros().into())
}

fn trace(traceparent: &[u8]) -> Option<[u8; TRACE]> {
    let id = traceparent.get(3..3 + TRACE)?;
    id.iter().all(u8::is_ascii_hexdigit).then(|| id.try_into().ok())?
}

fn digits(trace: u128) -> Option<[u8; TRACE]> {
    let mut text = Vec::with_capacity(TRACE);
    #[expect(clippy::cast_possible_truncation, reason = "its two halves")]
    for half in [(trace >> 64) as u64, trace as u64] {
        push_hex(&mut text, half);
    }
    text.try_into().ok()
}

/// Writing to memory can't fail.
fn write(out: &mut Vec<u8>, what: std::fmt::Arguments<'_>) {
    let _ = std::io::Write::write_fmt(out, what);
}

fn write_number_or_null(out: &mut Vec<u8>, value: Option<u64>) {
    match value {
        Some(value) => push_decimal(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

fn write_string_or_null(out: &mut Vec<u8>, value: Option<&str>) {
    match value {
        Some(value) => {
            out.push(b'"');
            write_escaped(out, value);
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
}

fn write_took(out: &mut Vec<u8>, name: &[u8], took: Option<Duration>) {
    if let Some(took) = took {
        out.extend_from_slice(name);
        push_decimal(out, micros(took));
        out.extend_from_slice(b"us");
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
    // All of it in any case, many bytes at a time: most is plain to its end.
    let special = |byte| !matches!(byte, b' '..=b'~') || byte == b'"' || byte == b'\\';
    let specials = text.bytes().fold(0, |seen, byte| seen | u8::from(special(byte)));
    if specials == 0 {
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
mod tests;
