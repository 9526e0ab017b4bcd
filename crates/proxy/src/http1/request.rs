//! A client's head: what is refused, what is known of the rest, and what the backend gets instead. No I/O.

mod compose;
pub(crate) mod target;

use std::ops::Range;

use edgeproxy_balance::Client as Whereabouts;
use httparse::{Error, Status};

use super::field::Field;
use super::framing::{Framing, Length};
use super::head::{self, Fields, HeadError, tokens};
use super::response::Persist;
use super::text::push_hex;
use crate::RouteTable;
use crate::exchange::answer::Answer;
use crate::headers::via::Pseudonym;
use crate::request::host::{self, Authority};
use crate::request::origin::{Introduced, Origins};
use crate::telemetry::traces::{Sampling, Traced};

/// What holds for every request on a connection.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) max_head_bytes: usize,
    pub(crate) max_fields: usize,
    pub(crate) max_target_bytes: usize,
    /// Says where they go.
    pub(crate) table: &'a RouteTable,
    pub(crate) pseudonym: &'a Pseudonym,
    pub(crate) client: Client,
    /// How it is read where the client is, if its word counts.
    pub(crate) origins: Option<Origins<'a>>,
    /// Which requests are told of, if any is.
    pub(crate) sampling: Option<Sampling>,
}

/// Nobody knows where.
#[cfg(any(test, fuzzing))]
pub(crate) const NOWHERE: Whereabouts = Whereabouts {
    country: None,
    region: None,
    key: None,
    bound: None,
};

/// Who sends the requests of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    pub(crate) ip: std::net::IpAddr,
    /// Whether its own forwarding fields are believed.
    pub(crate) trusted: bool,
    /// Whether it came by TLS.
    pub(crate) tls: bool,
    /// Where its address is.
    pub(crate) whereabouts: Whereabouts,
}

/// A request that may be forwarded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Head {
    /// Its bytes in the buffer.
    pub(crate) len: usize,
    pub(crate) method: Method,
    pub(crate) minor: u8,
    pub(crate) length: Length,
    /// Where the name of the host that it is for stands in the buffer, without a port. HTTP/1.0 may do without,
    /// and then the backend still has to be told one, at [`Head::host_at`] in what is forwarded.
    pub(crate) host: Option<Range<usize>>,
    pub(crate) host_at: usize,
    /// The place of the app that it goes to, in the table. `None`: it goes nowhere.
    pub(crate) app: Option<usize>,
    /// How long its body may be, in bytes.
    pub(crate) max_body: Option<u64>,
    /// Whether the client would send another request on this connection.
    pub(crate) keep_alive: bool,
    /// Whether it asks to speak another protocol.
    pub(crate) upgrade: bool,
    /// Whether the client waits for a 100 before it sends the body.
    pub(crate) expects: bool,
    /// Whom it is from, if the client comes for somebody else.
    pub(crate) introduced: Option<Introduced>,
    /// Where the value of `traceparent` stands.
    pub(crate) traceparent: Traceparent,
    /// It is told of. In a box, since few are.
    pub(crate) traced: Option<Box<Told>>,
}

/// Where the value stands that the backend gets, which has the form of version 00 at least up to its flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Traceparent {
    /// In the head that came, so far from its beginning.
    Came(usize),
    /// In the head that the backend gets.
    Made(usize),
}

/// What a backend is told of a request's trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Told {
    pub(crate) traced: Traced,
    /// Where the span's id stands in the head that the backend gets, from the end of that: what is put in before it later
    /// doesn't move it.
    pub(crate) from_end: usize,
}

impl Told {
    /// Has the next backend told another span.
    pub(crate) fn step(&self, head: &mut [u8], span: u64) {
        let at = head.len().checked_sub(self.from_end);
        let digits = at.and_then(|at| head.get_mut(at..)?.first_chunk_mut::<16>());
        if let Some(digits) = digits {
            let mut text = Vec::with_capacity(16);
            push_hex(&mut text, span);
            digits.copy_from_slice(&text);
        }
    }
}

/// As far as a proxy has to tell them apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Method {
    Get,
    Head,
    Put,
    Delete,
    Options,
    Trace,
    Connect,
    Other,
}

impl Method {
    fn of(name: &str) -> Self {
        match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            "OPTIONS" => Self::Options,
            "TRACE" => Self::Trace,
            "CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }

    /// RFC 9110 §9.2.2. An unknown method promises nothing.
    pub(crate) fn is_idempotent(self) -> bool {
        !matches!(self, Self::Connect | Self::Other)
    }
}

/// Why a request is not forwarded.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It is refused.
    Refused(Answer),
    /// `Max-Forwards: 0`: this proxy is the last recipient (RFC 9110 §7.6.2), and answers.
    LastHop(LastHop),
}

/// What this proxy answers as the last recipient.
#[derive(Debug)]
pub(crate) struct LastHop {
    pub(crate) status: u16,
    /// Up to what is said of the connection.
    head: Vec<u8>,
    body: Vec<u8>,
    /// Bytes of the request's head in the buffer.
    pub(crate) len: usize,
    minor: u8,
    /// Whether the client would send another request right behind that head. A body there is read by nobody.
    pub(crate) keep: bool,
}

impl LastHop {
    /// As the bytes of a whole response; `keep`: the connection goes on.
    pub(crate) fn into_bytes(self, keep: bool, date: &[u8; 29]) -> Vec<u8> {
        let mut out = self.head;
        out.extend_from_slice(b"date: ");
        out.extend_from_slice(date);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(Persist::of(keep, self.minor).line().as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.body);
        out
    }
}

impl From<Answer> for Stop {
    fn from(answer: Answer) -> Self {
        Self::Refused(answer)
    }
}

/// Reads the head at the beginning of `buf`, and writes what the backend gets to `out`. `None`: there is more to
/// come. `random` gives 64 bits a call.
pub(crate) fn read(
    buf: &[u8],
    rules: &Rules<'_>,
    out: &mut Vec<u8>,
    random: impl FnMut() -> u64,
) -> Result<Option<Head>, Stop> {
    // The parser would overlook empty lines, however many and whatever they end in; one has been taken away.
    if buf.starts_with(b"\r") || buf.starts_with(b"\n") {
        return Err(malformed(HeadError::RequestLine).into());
    }
    let mut room = head::room();
    let mut request = httparse::Request::new(&mut []);
    let len = match request.parse_with_uninit_headers(buf, &mut room) {
        Ok(Status::Complete(len)) => len,
        Ok(Status::Partial) => return unfinished(buf, rules).map(|()| None),
        // The parser tells at the first byte, which is too early to tell what it is.
        Err(Error::Version) if may_name_a_version(buf) => return unfinished(buf, rules).map(|()| None),
        Err(error) => return Err(refusal(buf, error, rules).into()),
    };
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(malformed(HeadError::RequestLine).into());
    };
    let line = Start {
        method,
        target,
        minor,
    };
    if target.len() > rules.max_target_bytes {
        return Err(Answer::target_too_long(rules.max_target_bytes).into());
    }
    if len > rules.max_head_bytes {
        return Err(too_large(rules).into());
    }
    let mut kinds = head::kinds();
    let head = buf.get(..len).unwrap_or_default();
    let fields = Fields::check(head, request.headers, &mut kinds).map_err(malformed)?;
    if fields.len() > rules.max_fields {
        return Err(too_many_fields(rules).into());
    }
    Facts::gather(line, &fields, rules)?
        .compose(head, &fields, rules, out, random)
        .map(Some)
}

/// The first line.
#[derive(Clone, Copy)]
struct Start<'b> {
    method: &'b str,
    target: &'b str,
    minor: u8,
}

/// What the fields say, in one pass.
struct Facts<'b> {
    line: Start<'b>,
    method: Method,
    target: target::Target<'b>,
    framing: Framing,
    host: Option<Host<'b>>,
    close: bool,
    keep_alive: bool,
    connection: Connection,
    upgrade: bool,
    expect: Seen<'b>,
    trailers: bool,
    request_id: Seen<'b>,
    traceparent: Seen<'b>,
    max_forwards: Option<u64>,
    /// How many proxies it has come through.
    hops: usize,
    xfor: bool,
    xproto: bool,
    xhost: bool,
    introduced: Option<Introduced>,
    traced: Option<Traced>,
}

/// Whom a request is for.
#[derive(Clone, Copy)]
struct Host<'b> {
    /// As it was written.
    text: &'b [u8],
    /// Without a port.
    name: &'b [u8],
}

/// A field of which one is expected.
#[derive(Clone, Copy)]
enum Seen<'b> {
    No,
    Once(&'b [u8]),
    Often,
}

impl<'b> Seen<'b> {
    fn another(self, value: &'b [u8]) -> Self {
        match self {
            Self::No => Self::Once(value),
            _ => Self::Often,
        }
    }

    fn is(self, sane: impl FnOnce(&[u8]) -> bool) -> bool {
        matches!(self, Self::Once(value) if sane(value))
    }

    fn is_there(self) -> bool {
        !matches!(self, Self::No)
    }
}

/// What `Connection` says besides whether it goes on.
#[derive(Clone, Copy)]
struct Connection {
    upgrade: bool,
    /// How many fields it names. They are few, and rare: whoever wants to know them reads it again.
    named: usize,
}

/// Fields that `Connection` may name. Nobody has that many between two neighbours.
const MAX_NAMED: usize = 16;

impl<'b> Facts<'b> {
    fn gather(line: Start<'b>, fields: &Fields<'_, 'b>, rules: &Rules<'_>) -> Result<Self, Stop> {
        let method = Method::of(line.method);
        if method == Method::Connect {
            return Err(Answer::connect_refused().into());
        }
        let mut facts = Self {
            line,
            method,
            target: target::Target::parse(line.target, method)?,
            framing: Framing::default(),
            host: None,
            close: false,
            keep_alive: false,
            connection: Connection {
                upgrade: false,
                named: 0,
            },
            upgrade: false,
            expect: Seen::No,
            trailers: false,
            request_id: Seen::No,
            traceparent: Seen::No,
            max_forwards: None,
            hops: 0,
            xfor: false,
            xproto: false,
            xhost: false,
            introduced: rules.origins.map(|origins| origins.of(fields)),
            traced: None,
        };
        for line in fields.iter() {
            facts.take(line.field, line.value, rules)?;
        }
        facts.host = facts.host()?;
        Ok(facts)
    }

    fn take(&mut self, field: Field, value: &'b [u8], rules: &Rules<'_>) -> Result<(), Stop> {
        match field {
            Field::Host => {
                if self.host.is_some() {
                    return Err(Answer::bad_request("Host is given more than once").into());
                }
                self.host = Some(authority("Host", value)?);
            }
            Field::ContentLength => self.framing.content_length(value).map_err(ambiguous)?,
            Field::TransferEncoding => self.framing.transfer_encoding(value).map_err(ambiguous)?,
            Field::Connection => self.connection(value)?,
            Field::Te => self.trailers |= tokens(value).any(|token| token.eq_ignore_ascii_case("trailers")),
            Field::Upgrade => self.upgrade |= tokens(value).any(may_be_spoken),
            Field::Expect => self.expect = self.expect.another(value),
            Field::Via => {
                let followed = rules.pseudonym.follow(self.hops, value);
                self.hops = followed.map_err(Answer::loop_detected)?;
            }
            Field::RequestId => self.request_id = self.request_id.another(value),
            Field::Traceparent => self.traceparent = self.traceparent.another(value),
            Field::MaxForwards if matches!(self.method, Method::Options | Method::Trace) => {
                let left = max_forwards(value)?;
                if self.max_forwards.replace(left).is_some() {
                    return Err(Answer::bad_request("Max-Forwards is given more than once").into());
                }
            }
            Field::XFor => self.xfor = true,
            Field::XProto => self.xproto = true,
            Field::XHost => self.xhost = true,
            _ => {}
        }
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) -> Result<(), Stop> {
        for token in tokens(value) {
            if token.eq_ignore_ascii_case("close") {
                self.close = true;
            } else if token.eq_ignore_ascii_case("keep-alive") {
                self.keep_alive = true;
            } else if token.eq_ignore_ascii_case("upgrade") {
                self.connection.upgrade = true;
            } else if self.connection.named == MAX_NAMED {
                return Err(Answer::bad_request("Connection names more fields than are taken").into());
            } else {
                self.connection.named += 1;
            }
        }
        Ok(())
    }

    /// The authority that it is for (RFC 9112 §3.2).
    fn host(&self) -> Result<Option<Host<'b>>, Stop> {
        if self.host.is_none() && self.line.minor > 0 {
            return Err(Answer::bad_request("Host is missing").into());
        }
        match self.target.authority {
            // The absolute form replaces whatever Host says (RFC 9112 §3.2.2).
            Some(named) => authority("the target's authority", named.as_bytes()).map(Some),
            None => Ok(self.host),
        }
    }
}

/// Checks what has come of a head that is not whole yet.
fn unfinished(buf: &[u8], rules: &Rules<'_>) -> Result<(), Stop> {
    if head::has_odd_line_end(buf, 0) {
        return Err(malformed(HeadError::LineEnd).into());
    }
    if buf.len() < rules.max_head_bytes {
        return Ok(());
    }
    let line = buf.split(|b| *b == b'\n').next().unwrap_or_default();
    let target = line.split(|b| *b == b' ').nth(1);
    let ends_here = line.len() == buf.len();
    Err(match target {
        Some(target) if ends_here || target.len() > rules.max_target_bytes => {
            Answer::target_too_long(rules.max_target_bytes)
        }
        _ => too_large(rules),
    }
    .into())
}

fn refusal(buf: &[u8], error: Error, rules: &Rules<'_>) -> Answer {
    match error {
        Error::Version if names_a_version(buf) => Answer::version(),
        Error::Version | Error::Token | Error::Status => malformed(HeadError::RequestLine),
        Error::TooManyHeaders => too_many_fields(rules),
        Error::HeaderName => malformed(HeadError::Name),
        Error::HeaderValue => malformed(HeadError::Value),
        Error::NewLine => malformed(HeadError::LineEnd),
    }
}

/// Whether the first line ends in something like `HTTP/3.0`, which is understood but not spoken.
fn names_a_version(buf: &[u8]) -> bool {
    let end = buf.iter().position(|b| matches!(b, b'\r' | b'\n'));
    let line = end.and_then(|end| buf.get(..end)).unwrap_or_default();
    third_word(line).is_some_and(|word| word.len() == VERSION.len() && begins_a_version(word))
}

/// Whether the first line, which has not ended, has come so far that it may end in one.
fn may_name_a_version(buf: &[u8]) -> bool {
    third_word(buf).is_some_and(|word| word.len() <= VERSION.len() && begins_a_version(word))
}

const VERSION: &[u8; 8] = b"HTTP/d.d";

fn begins_a_version(text: &[u8]) -> bool {
    let agrees = |(byte, form): (&u8, &u8)| match form {
        b'd' => byte.is_ascii_digit(),
        form => byte == form,
    };
    text.iter().zip(VERSION).all(agrees)
}

/// What stands behind the method and the target, up to the end.
fn third_word(line: &[u8]) -> Option<&[u8]> {
    line.splitn(3, |b| *b == b' ').nth(2)
}

fn malformed(error: HeadError) -> Answer {
    Answer::bad_request(error.to_string())
}

fn ambiguous(error: super::framing::FramingError) -> Answer {
    Answer::bad_request(error.to_string())
}

fn too_large(rules: &Rules<'_>) -> Answer {
    let max = rules.max_head_bytes;
    Answer::head_too_large(format!("the request's head is longer than {max} bytes"))
}

fn too_many_fields(rules: &Rules<'_>) -> Answer {
    let max = rules.max_fields;
    Answer::head_too_large(format!("the request has more than {max} fields"))
}

fn authority<'b>(what: &str, text: &'b [u8]) -> Result<Host<'b>, Stop> {
    if let Some(name) = host::plain_name(text) {
        return Ok(Host { text, name });
    }
    let authority = Authority::parse(text);
    let authority = authority.map_err(|problem| Answer::bad_request(format!("{what} {problem}")))?;
    Ok(Host {
        text: authority.text.as_bytes(),
        name: authority.name().as_bytes(),
    })
}

fn max_forwards(value: &[u8]) -> Result<u64, Stop> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Answer::bad_request("Max-Forwards is not a number").into());
    }
    // Digits that overflow are a number all the same.
    let number = std::str::from_utf8(value)
        .ok()
        .and_then(|digits| digits.parse().ok());
    Ok(number.unwrap_or(u64::MAX))
}

/// Whether a protocol may be asked for by `Upgrade`. `h2c` is never forwarded: RFC 9113 §3.1 made it obsolete.
fn may_be_spoken(protocol: &str) -> bool {
    !protocol.eq_ignore_ascii_case("h2c") && !protocol.eq_ignore_ascii_case("h2")
}

#[cfg(test)]
mod tests;
