use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use edgeproxy_backend::AppName;

use super::pieces::places;
use super::reference::{self, Field, Framing};
use crate::headers::via::{MAX_HOPS, Pseudonym};
use crate::http1::framing::Length;
use crate::http1::head::find_end;
use crate::http1::request::{self, Client, Head, Rules, Stop};
use crate::{AppRoute, AppSettings, PathPrefix, Route, RouteTable, Routes};

const MAX_HEAD: usize = 2 * 1024;
const MAX_FIELDS: usize = 24;
const MAX_TARGET: usize = 256;
const MAX_BODY: u64 = 1 << 40;
const PEER: &str = "192.0.2.7";
const ID: &str = "00000000000000010000000000000001";

/// A head that has been read.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Read {
    head: Head,
    out: Vec<u8>,
}

/// What came of some bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Outcome {
    Part,
    Read(Read),
    /// Of that status.
    Refused(u16),
    LastHop(Vec<u8>, usize),
}

/// A request's head is read alike whatever stands behind it, and found as soon as it is whole. What is passed on
/// of it is what the specification's forwarding rules make of it, line by line, and passes a second time.
pub fn request_head(bytes: &[u8]) {
    for trusted in [false, true] {
        let whole = read(bytes, "edge", trusted);
        in_parts(bytes, &whole, trusted);
        routed(bytes, &whole, trusted);
        match &whole {
            Outcome::Read(read) => passed_on(bytes, read, trusted),
            Outcome::LastHop(answer, len) => last_hop(bytes, answer, *len),
            Outcome::Part => assert!(bytes.len() < MAX_HEAD, "it waits for more than is taken"),
            Outcome::Refused(status) => {
                assert!(matches!(status, 400 | 405 | 413 | 414 | 417 | 431 | 505 | 508));
            }
        }
    }
}

fn read(bytes: &[u8], pseudonym: &str, trusted: bool) -> Outcome {
    let table = table(PathPrefix::root(), Routes::default());
    read_by(&table, bytes, pseudonym, trusted)
}

/// One app, which puts that before every path.
fn table(add_prefix: PathPrefix, routes: Routes) -> RouteTable {
    let app = AppRoute {
        settings: AppSettings {
            max_body_bytes: Some(MAX_BODY),
            add_prefix,
            ..AppSettings::default()
        },
        ..AppRoute::new(AppName::parse("app").unwrap())
    };
    RouteTable::new(1, [Arc::new(app)], Arc::new(routes))
}

fn read_by(table: &RouteTable, bytes: &[u8], pseudonym: &str, trusted: bool) -> Outcome {
    let pseudonym = Pseudonym::parse(pseudonym).unwrap();
    let rules = Rules {
        max_head_bytes: MAX_HEAD,
        max_fields: MAX_FIELDS,
        max_target_bytes: MAX_TARGET,
        table,
        pseudonym: &pseudonym,
        client: Client {
            ip: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
            trusted,
            tls: false,
            whereabouts: request::NOWHERE,
        },
        origins: None,
        sampling: None,
    };
    let mut out = Vec::new();
    match request::read(bytes, &rules, &mut out, || 1) {
        Ok(None) => Outcome::Part,
        Ok(Some(head)) => Outcome::Read(Read { head, out }),
        Err(Stop::Refused(answer)) => Outcome::Refused(answer.status.as_u16()),
        Err(Stop::LastHop(last)) => {
            let (len, keep) = (last.len, last.keep);
            let framing = reference::head(bytes)
                .expect("what is answered is beyond doubt")
                .framing();
            let is_bodiless = matches!(framing, Framing::None | Framing::Length(0));
            assert!(is_bodiless || !keep, "its body would be the next request");
            Outcome::LastHop(last.into_bytes(keep, &[b'd'; 29]), len)
        }
    }
}

fn in_parts(bytes: &[u8], whole: &Outcome, trusted: bool) {
    let len = match whole {
        Outcome::Read(Read { head, .. }) => head.len,
        Outcome::LastHop(_, len) => *len,
        Outcome::Part | Outcome::Refused(_) => {
            for place in places(bytes) {
                let part = read(&bytes[..place], "edge", trusted);
                let agrees = match (&part, whole) {
                    (Outcome::Part, _) => true,
                    // A limit is told as soon as it is broken, whatever else would come to light.
                    (Outcome::Refused(part), Outcome::Refused(whole)) => {
                        part == whole || matches!(part, 414 | 431)
                    }
                    _ => false,
                };
                assert!(agrees, "{place} bytes: {part:?}, all: {whole:?}");
            }
            return;
        }
    };
    assert!(len <= bytes.len() && len <= MAX_HEAD);
    assert_eq!(read(&bytes[..len], "edge", trusted), *whole, "nothing behind it");
    assert_eq!(
        read(&bytes[..len - 1], "edge", trusted),
        Outcome::Part,
        "a byte is missing"
    );
    // A head that trickles in is read only once this finds its end.
    assert_eq!(find_end(bytes, 0), Some(len));
    for place in places(&bytes[..len]) {
        assert_eq!(find_end(&bytes[..place], 0), None);
        assert_eq!(find_end(bytes, place), Some(len), "behind {place}");
    }
}

/// Routes change nothing but the path, and refuse nothing but paths with dots.
fn routed(bytes: &[u8], plain: &Outcome, trusted: bool) {
    let app = AppName::parse("app").unwrap();
    let api = Route {
        path: PathPrefix::parse("/api").unwrap(),
        replace_prefix: Some(PathPrefix::parse("/v1").unwrap()),
        ..Route::to(app.clone())
    };
    let table = table(
        PathPrefix::parse("/base").unwrap(),
        Routes::new([api, Route::to(app)]),
    );
    let routed = read_by(&table, bytes, "edge", trusted);
    let plain = match plain {
        Outcome::Read(plain) => plain,
        // The path is looked at before the length of the body, which it decides on.
        Outcome::Refused(413) if routed == Outcome::Refused(400) => return,
        other => return assert_eq!(routed, *other),
    };
    let (line, rest) = first_line(&plain.out);
    let target = line.split(' ').nth(1).unwrap();
    let end = target.find('?').unwrap_or(target.len());
    let (path, query) = target.split_at(end);
    let Outcome::Read(routed) = routed else {
        assert!(has_dots(path), "{path} was refused: {routed:?}");
        return assert_eq!(routed, Outcome::Refused(400));
    };
    let expected = match path.strip_prefix("/api") {
        _ if path == "*" => "*".to_owned(),
        Some(behind) if behind.is_empty() || behind.starts_with('/') => format!("/base/v1{behind}{query}"),
        _ => format!("/base{path}{query}"),
    };
    let (found, same) = first_line(&routed.out);
    assert_eq!(found.split(' ').nth(1), Some(expected.as_str()));
    assert!(!has_dots(path), "{path} was passed on");
    assert_eq!(same, rest);
}

/// And what follows it.
fn first_line(head: &[u8]) -> (&str, &[u8]) {
    let end = head.windows(2).position(|two| two == b"\r\n").unwrap();
    (std::str::from_utf8(&head[..end]).unwrap(), &head[end..])
}

/// Whether a server that takes much for a separator would find a segment `.` or `..`.
fn has_dots(path: &str) -> bool {
    let plain = path.to_ascii_lowercase().replace("%2e", ".");
    let plain = plain.replace("%2f", "/").replace("%5c", "/").replace(';', "/;");
    plain.split('/').any(|segment| matches!(segment, "." | ".."))
}

fn passed_on(bytes: &[u8], read: &Read, trusted: bool) {
    let came = reference::head(bytes).expect("what is accepted is beyond doubt");
    let left = reference::head(&read.out).expect("what is passed on is beyond doubt");
    assert_eq!((came.len, left.len), (read.head.len, read.out.len()));
    assert!(came.fields.len() <= MAX_FIELDS);
    let start = Start::of(came.line);
    assert!(start.target.len() <= MAX_TARGET);
    assert_eq!(
        left.line,
        format!("{} {} HTTP/1.1", start.method, start.path()).as_bytes()
    );
    let framing = came.framing();
    let length = match framing {
        Framing::None => Length::NONE,
        Framing::Length(length) => Length::Known(length),
        Framing::Chunked => Length::Chunked,
        Framing::Bad => panic!("{:?} is ambiguous", came.fields),
    };
    assert_eq!(read.head.length, length);
    assert_eq!(left.framing(), framing);
    let expected = expected(&came, start, trusted);
    assert_eq!(left.fields, expected);
    assert_eq!(
        read.head.upgrade,
        expected.iter().any(|field| field.name == "upgrade")
    );
    let says = |word: &str| came.items("connection").iter().any(|item| item == word);
    assert_eq!(
        read.head.keep_alive,
        !says("close") && (start.minor == 1 || says("keep-alive"))
    );
    let host = start.host(&came);
    let name = read.head.host.clone().map(|range| &bytes[range]);
    assert_eq!(
        name.map(<[u8]>::to_vec),
        host.as_deref().map(name_of).map(Vec::from)
    );
    again(read, host.is_none());
}

/// Another proxy takes it, and reads the same.
fn again(first: &Read, lacks_host: bool) {
    let mut out = first.out.clone();
    if lacks_host {
        out.splice(first.head.host_at..first.head.host_at, *b"host: backend\r\n");
    }
    match read(&out, "next", false) {
        Outcome::Read(second) => {
            assert_eq!(second.head.length, first.head.length);
            assert_eq!(second.head.method, first.head.method);
            assert_eq!(second.head.upgrade, first.head.upgrade);
        }
        // What it added may be too much for the next, or have been the last that was permitted.
        Outcome::Refused(414 | 431) => {
            assert!(out.len() > MAX_HEAD || reference::head(&out).unwrap().fields.len() > MAX_FIELDS);
        }
        Outcome::LastHop(..) => assert!(find(&out, "max-forwards: 0\r\n")),
        // The client had named the next in `Via` already, or as many others as a message may come through.
        Outcome::Refused(508) => {
            assert!(find(&out, " next") || find(&out, "\tnext") || commas(&out) + 1 >= MAX_HOPS);
        }
        other => panic!("{other:?} of {}", out.escape_ascii()),
    }
}

/// No fewer than there are between the values of one field or between fields.
fn commas(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| matches!(byte, b',' | b'\n')).count()
}

fn find(bytes: &[u8], text: &str) -> bool {
    reference::find(bytes, text.as_bytes()).is_some()
}

fn last_hop(bytes: &[u8], answer: &[u8], len: usize) {
    let came = reference::head(bytes).expect("what is answered is beyond doubt");
    assert_eq!(came.len, len);
    let answer_head = reference::head(answer).expect("an answer");
    let body = &answer[answer_head.len..];
    match Start::of(came.line).method {
        "OPTIONS" => assert_eq!(
            (answer_head.line, body),
            (&b"HTTP/1.1 204 No Content"[..], &b""[..])
        ),
        "TRACE" => {
            assert_eq!(answer_head.framing(), Framing::Length(body.len() as u64));
            let secret = ["authorization", "cookie", "proxy-authorization"];
            let mut open = came.fields;
            open.retain(|field| !secret.contains(&field.name.as_str()));
            assert_eq!(reference::head(body).unwrap().fields, open);
        }
        other => panic!("{other} has no last hop"),
    }
}

/// A request line.
#[derive(Clone, Copy)]
struct Start<'b> {
    method: &'b str,
    target: &'b str,
    minor: u8,
}

impl<'b> Start<'b> {
    fn of(line: &'b [u8]) -> Self {
        let line = std::str::from_utf8(line).expect("a request line is text");
        let words: Vec<&str> = line.split(' ').collect();
        let [method, target, version] = words.as_slice() else {
            panic!("{line} is no request line");
        };
        assert!(reference::is_token(method));
        let minor = match *version {
            "HTTP/1.0" => 0,
            "HTTP/1.1" => 1,
            _ => panic!("{version} is no version"),
        };
        Self {
            method,
            target,
            minor,
        }
    }

    /// Of a target in absolute form: the authority, and what is behind it.
    fn absolute(self) -> Option<(&'b str, &'b str)> {
        if self.target.starts_with('/') || self.target == "*" {
            return None;
        }
        let (scheme, rest) = self.target.split_once("://").expect("an absolute target");
        assert!(["http", "https"].contains(&scheme.to_lowercase().as_str()));
        Some(rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())))
    }

    fn path(self) -> String {
        match self.absolute() {
            None => self.target.to_owned(),
            Some((_, "")) if self.method == "OPTIONS" => "*".to_owned(),
            Some((_, path)) if path.starts_with('/') => path.to_owned(),
            Some((_, query)) => format!("/{query}"),
        }
    }

    fn host(self, head: &reference::Head<'_>) -> Option<String> {
        let mut hosts = head.values("host");
        let host = hosts.next();
        assert!(hosts.next().is_none() && (host.is_some() || self.minor == 0));
        match self.absolute() {
            Some((authority, _)) => Some(authority.to_owned()),
            None => host.map(|host| String::from_utf8(host.to_vec()).unwrap()),
        }
    }
}

/// The host of an authority, as apps are looked up by.
fn name_of(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(literal) => literal.split(']').next().unwrap_or_default(),
        None => {
            let host = authority.split(':').next().unwrap_or_default();
            host.strip_suffix('.').unwrap_or(host)
        }
    }
}

/// The fields that a backend gets, in their order: the client's, and the proxy's own behind them.
fn expected(head: &reference::Head<'_>, start: Start<'_>, trusted: bool) -> Vec<Field> {
    let named = |name: &str| {
        let framing = ["host", "content-length", "transfer-encoding", "via"];
        !framing.contains(&name)
            && head
                .items("connection")
                .iter()
                .any(|item| item == name && !is_option(item))
    };
    let single = |name: &str, is_sane: fn(&[u8]) -> bool| {
        let values: Vec<&[u8]> = head.values(name).collect();
        !named(name) && matches!(values.as_slice(), [value] if is_sane(value))
    };
    let counted = matches!(start.method, "OPTIONS" | "TRACE") && head.values("max-forwards").next().is_some();
    let parent = head.values("traceparent").collect::<Vec<_>>();
    let has_parent = matches!(parent.as_slice(), [value] if super::values::is_traceparent(value));
    let keeps = |field: &&Field| {
        let name = field.name.as_str();
        !named(name)
            && match name {
                "connection" | "keep-alive" | "proxy-connection" | "te" | "transfer-encoding" | "upgrade" => {
                    false
                }
                "content-length" | "http2-settings" | "x-forwarded-for" => false,
                "host" => start.absolute().is_none(),
                "expect" => start.minor == 1,
                "max-forwards" => !counted,
                "x-request-id" => single(name, super::values::is_request_id),
                "traceparent" | "tracestate" => has_parent,
                "forwarded" | "x-forwarded-proto" | "x-forwarded-host" | "x-forwarded-port" => trusted,
                "x-forwarded-server" | "x-real-ip" => trusted,
                name => !is_lookalike(name),
            }
    };
    let mut fields: Vec<Field> = head.fields.iter().filter(keeps).cloned().collect();
    let kept = fields.clone();
    let has = |name: &str| kept.iter().any(|field| field.name == name);
    let mut add = |name: &str, value: &str| fields.push(Field::new(name, value));
    let host = start.host(head);
    if let Some((authority, _)) = start.absolute() {
        add("host", authority);
    }
    let mut chain = Vec::new();
    for value in head.values("x-forwarded-for").filter(|_| trusted) {
        if let Ok(value) = std::str::from_utf8(value)
            && !value.is_empty()
            && value.is_ascii()
        {
            chain.push(value);
        }
    }
    chain.push(PEER);
    add("x-forwarded-for", &chain.join(", "));
    if !has("x-forwarded-proto") {
        add("x-forwarded-proto", "http");
    }
    if let (false, Some(host)) = (has("x-forwarded-host"), &host) {
        add("x-forwarded-host", host);
    }
    if !has("x-request-id") {
        add("x-request-id", ID);
    }
    if !has("traceparent") {
        add("traceparent", &format!("00-{ID}-{}-00", &ID[16..]));
    }
    add("via", &format!("1.{} edge", start.minor));
    let takes_trailers = head.items("te").iter().any(|item| item == "trailers");
    let protocols = head.raw_items("upgrade");
    let is_spoken = |protocol: &&String| !["h2", "h2c"].contains(&protocol.to_lowercase().as_str());
    let protocols: Vec<&str> = protocols.iter().filter(is_spoken).map(String::as_str).collect();
    let asks = head.items("connection").iter().any(|item| item == "upgrade");
    let bodiless = matches!(head.framing(), Framing::None | Framing::Length(0));
    let upgrades = asks && bodiless && start.minor == 1 && !protocols.is_empty();
    if takes_trailers {
        add("te", "trailers");
    }
    match (upgrades, takes_trailers) {
        (true, true) => add("connection", "upgrade, te"),
        (true, false) => add("connection", "upgrade"),
        (false, true) => add("connection", "te"),
        (false, false) => {}
    }
    if upgrades {
        add("upgrade", &protocols.join(", "));
    }
    if counted {
        let count = head.values("max-forwards").next().unwrap();
        let count: u64 = std::str::from_utf8(count).unwrap().parse().unwrap_or(u64::MAX);
        add("max-forwards", &(count - 1).to_string());
    }
    match head.framing() {
        Framing::Length(length) => add("content-length", &length.to_string()),
        Framing::Chunked => add("transfer-encoding", "chunked"),
        Framing::None | Framing::Bad => {}
    }
    fields
}

/// `Connection`'s own words, which name no field.
fn is_option(item: &str) -> bool {
    matches!(item, "close" | "keep-alive" | "upgrade")
}

/// Fields that the proxy looks at.
pub(super) const KNOWN: [&str; 24] = [
    "connection",
    "content-length",
    "date",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "traceparent",
    "tracestate",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-real-ip",
    "x-request-id",
];

/// Whether a name is that of a field that the proxy looks at, but for underscores.
fn is_lookalike(name: &str) -> bool {
    name.contains('_') && KNOWN.contains(&name.replace('_', "-").as_str())
}
