//! A request as a line of the access log.

use std::borrow::Cow;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use edgeproxy_backend::AppName;
use tokio::time::Instant;

use super::escaped::{shortened, write_escaped, write_word};
use super::{Gathered, LineFormat};
use crate::Config;
use crate::http1::request::{self, Traceparent};
use crate::http1::text::{push_decimal, push_hex, push_ip};
use crate::telemetry::counts::Tally;
use crate::telemetry::traces::{Noted, RequestSpan, Traced};

/// What is written down of a request, or told of it as spans, as far as it is known.
#[derive(Default)]
pub(crate) struct Entry {
    /// Whose it is. None while it waits for another request.
    home: Option<Home>,
    /// Whether it is written down though all went well.
    is_sampled: bool,
    /// The beginning of its line: what is known as soon as it has come.
    line: Vec<u8>,
    trace: Option<TraceId>,
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

struct Home {
    gathered: Rc<Gathered>,
    /// The configuration that the client's connection began with.
    config: Arc<Config>,
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
    /// The one that the backend gets, if it was looked at.
    pub(crate) trace: Option<&'a TraceId>,
}

/// A trace's id, in hexadecimal digits (W3C Trace Context §3.2.2.3).
pub(crate) type TraceId = [u8; 32];
/// So much of a host, and of a path, is written down.
const HOST_MAX: usize = 255;
const PATH_MAX: usize = 1_024;
const METHOD_MAX: usize = 32;

/// What is written down of what was asked, as long as it may be.
pub(crate) struct Words<'a> {
    pub(crate) protocol: &'static str,
    pub(crate) method: Cow<'a, [u8]>,
    pub(crate) host: Cow<'a, [u8]>,
    pub(crate) path: Cow<'a, [u8]>,
    trace: Option<&'a TraceId>,
}

impl Words<'_> {
    fn len(&self) -> usize {
        self.method.len() + self.host.len() + self.path.len()
    }
}

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
            trace: match request.traceparent {
                Traceparent::Came(at) => trace_of(came.get(at..).unwrap_or_default()),
                Traceparent::Made(at) => trace_of(forwarded.get(at..).unwrap_or_default()),
            },
        }
    }
}

impl<'a> Asked<'a> {
    fn shortened(&self, with_query: bool) -> Words<'a> {
        let path = match self.target.iter().position(|byte| *byte == b'?') {
            Some(end) if !with_query => self.target.get(..end).unwrap_or_default(),
            _ => self.target,
        };
        Words {
            protocol: self.protocol,
            method: shortened(self.method, METHOD_MAX),
            host: shortened(self.host, HOST_MAX),
            path: shortened(path, PATH_MAX),
            trace: self.trace,
        }
    }
}

/// The id in a `traceparent` that has the form of version 00.
pub(crate) fn trace_of(traceparent: &[u8]) -> Option<&TraceId> {
    traceparent.get(3..)?.first_chunk()
}

impl Entry {
    /// One of a request that came at `began`; `random` is 64 bits.
    pub(crate) fn new(
        (config, gathered): (&Arc<Config>, &Rc<Gathered>),
        from: Asker,
        asked: &Asked<'_>,
        began: Instant,
        random: impl FnOnce() -> u64,
    ) -> Option<Box<Self>> {
        let log = config.access_log.as_ref();
        if log.is_none() && from.traced.is_none() {
            return None;
        }
        let mut entry = gathered.entry();
        let began = gathered.time_of(began);
        let asked = asked.shortened(log.is_some_and(|log| log.with_query));
        if let Some(log) = log {
            entry.is_sampled = log.sample_per_million >= MILLION
                || random() % u64::from(MILLION) < log.sample_per_million.into();
            // Once for the beginning, unless much of it is escaped.
            entry.line.reserve(FIXED + asked.len());
            match log.format {
                LineFormat::Json => begin_json(&mut entry.line, gathered, began, from.client, &asked),
                LineFormat::Text => begin_text(&mut entry.line, gathered, began, from.client, &asked),
            }
        }
        entry.home = Some(Home {
            gathered: Rc::clone(gathered),
            config: Arc::clone(config),
        });
        match from.traced {
            None => entry.trace = asked.trace.copied(),
            Some(traced) => {
                entry.trace = digits(traced.trace);
                entry.spans = Some(Box::new(Noted::new(traced, from, &asked, began)));
            }
        }
        Some(entry)
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
    pub(crate) fn end(mut self: Box<Self>, took: Duration) {
        let Some(home) = self.home.take() else {
            return;
        };
        self.write(&home, took);
        if let Some(spans) = self.spans.take() {
            self.tell(&home, *spans, took);
        }
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        *self = Self {
            line,
            ..Self::default()
        };
        home.gathered.give_back(self);
    }

    /// Bytes of memory that it keeps for the next one.
    pub(super) fn room(&self) -> usize {
        self.line.capacity()
    }

    #[cold]
    fn tell(&self, home: &Home, mut spans: Noted, took: Duration) {
        let Some(tracing) = &home.config.tracing else {
            return;
        };
        let status = self.tally.as_ref().and(self.status);
        spans.end(took, status, self.failure);
        let Traced {
            trace, parent, id, ..
        } = spans.traced;
        let (asked, attempts) = spans.into_parts();
        let request = RequestSpan {
            trace,
            id,
            parent,
            began: SystemTime::UNIX_EPOCH + asked.began,
            took,
            client: asked.client,
            protocol: asked.protocol,
            tls: asked.tls,
            method: asked.method,
            host: asked.host,
            path: asked.path,
            app: match &self.tally {
                Some(tally) => Some(tally.app.name().clone()),
                None => self.app.clone(),
            },
            status: self.status,
            failure: self.failure,
            bytes: self.bytes,
            attempts,
        };
        home.gathered.add_spans(tracing, request);
    }

    fn write(&self, home: &Home, took: Duration) {
        let Some(log) = &home.config.access_log else {
            return;
        };
        let went_well = self.failure.is_none() && self.status.is_some_and(|status| status < 500);
        if went_well && !self.is_sampled {
            return;
        }
        home.gathered.add(log, |out| {
            out.reserve(self.line.len() + FIXED);
            out.extend_from_slice(&self.line);
            match log.format {
                LineFormat::Json => self.end_json(out, took),
                LineFormat::Text => self.end_text(out, took),
            }
        });
    }

    /// Names of apps, backends and failures have nothing that would have to be escaped.
    fn end_json(&self, out: &mut Vec<u8>, total: Duration) {
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
        match &self.trace {
            Some(trace) => {
                out.extend_from_slice(b",\"trace\":\"");
                out.extend_from_slice(trace);
                out.extend_from_slice(b"\"}\n");
            }
            None => out.extend_from_slice(b",\"trace\":null}\n"),
        }
    }

    fn end_text(&self, out: &mut Vec<u8>, total: Duration) {
        match self.status {
            Some(status) => push_decimal(out, status.into()),
            None => out.push(b'-'),
        }
        out.push(b' ');
        push_decimal(out, self.bytes);
        for name in [self.app(), self.backend()] {
            out.push(b' ');
            out.extend_from_slice(name.unwrap_or("-").as_bytes());
        }
        out.extend_from_slice(b" attempts=");
        push_decimal(out, self.attempts.into());
        write_took(out, b" total=", Some(total));
        write_took(out, b" connect=", self.connect);
        write_took(out, b" first_byte=", self.first_byte);
        if let Some(failure) = self.failure {
            out.extend_from_slice(b" failure=");
            out.extend_from_slice(failure.as_bytes());
        }
        if let Some(trace) = &self.trace {
            out.extend_from_slice(b" trace=");
            out.extend_from_slice(trace);
        }
        out.push(b'\n');
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
}

fn begin_json(out: &mut Vec<u8>, gathered: &Gathered, began: Duration, client: IpAddr, asked: &Words<'_>) {
    out.extend_from_slice(b"{\"time\":\"");
    write_time(out, gathered, began);
    out.extend_from_slice(b"\",\"client\":\"");
    push_ip(out, client);
    out.extend_from_slice(b"\",\"protocol\":\"");
    out.extend_from_slice(asked.protocol.as_bytes());
    out.extend_from_slice(b"\",\"method\":\"");
    write_escaped(out, &asked.method);
    out.extend_from_slice(b"\",\"host\":\"");
    write_escaped(out, &asked.host);
    out.extend_from_slice(b"\",\"path\":\"");
    write_escaped(out, &asked.path);
    out.extend_from_slice(b"\",\"status\":");
}

fn begin_text(out: &mut Vec<u8>, gathered: &Gathered, began: Duration, client: IpAddr, asked: &Words<'_>) {
    write_time(out, gathered, began);
    out.push(b' ');
    push_ip(out, client);
    for word in [&asked.method, &asked.host, &asked.path] {
        out.push(b' ');
        write_word(out, word);
    }
    out.push(b' ');
    out.extend_from_slice(asked.protocol.as_bytes());
    out.push(b' ');
}

/// `began` is since 1970.
fn write_time(out: &mut Vec<u8>, gathered: &Gathered, began: Duration) {
    out.extend_from_slice(&gathered.calendar(began.as_secs()));
    let (mut rest, mut digits) = (began.subsec_micros(), *b"000000Z");
    for digit in digits.iter_mut().take(6).rev() {
        *digit += u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
    }
    out.extend_from_slice(&digits);
}

const MILLION: u32 = 1_000_000;

/// What each half of a line has besides the words, names of usual length included.
const FIXED: usize = 256;

/// `as_micros` would multiply, and be written, in 128 bits.
fn micros(took: Duration) -> u64 {
    took.as_secs()
        .saturating_mul(1_000_000)
        .saturating_add(took.subsec_micros().into())
}

fn digits(trace: u128) -> Option<TraceId> {
    let mut text = Vec::with_capacity(size_of::<TraceId>());
    #[expect(clippy::cast_possible_truncation, reason = "its two halves")]
    for half in [(trace >> 64) as u64, trace as u64] {
        push_hex(&mut text, half);
    }
    text.try_into().ok()
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
            out.extend_from_slice(value.as_bytes());
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

#[cfg(test)]
mod tests;
