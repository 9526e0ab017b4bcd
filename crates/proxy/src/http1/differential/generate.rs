//! Messages by number: the grammar with all its odd corners, and now and then a byte that has no place in it.

use fastrand::Rng;

/// A response, what it answers, and how it ends.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) bytes: Vec<u8>,
    /// It answers a HEAD.
    pub(super) head: bool,
    /// The client's version.
    pub(super) minor: u8,
    /// The backend's connection ends behind it.
    pub(super) closes: bool,
}

/// One of them.
fn of<'t>(rng: &mut Rng, texts: &[&'t str]) -> &'t str {
    texts[rng.usize(..texts.len())]
}

/// Now and then, one of the second.
fn mostly<'t>(rng: &mut Rng, usual: &[&'t str], odd: &[&'t str], one_in: u32) -> &'t str {
    let texts = if rng.u32(..one_in) == 0 { odd } else { usual };
    of(rng, texts)
}

pub(super) fn request(rng: &mut Rng) -> Vec<u8> {
    let methods = [
        "GET", "GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "TRACE", "PATCH",
    ];
    let method = mostly(
        rng,
        &methods,
        &["CONNECT", "BREW", "get", "M-SEARCH", "X!#$%&'*+.^_`|~", "G=T"],
        12,
    );
    let targets = [
        "/",
        "/a",
        "/a/b?c=d&e[]=f",
        "/%41?x=%zz",
        "//x",
        "/a;b=c,d",
        "/?http://x/",
        "/a/../b",
    ];
    let odd = [
        "*",
        "http://b",
        "http://b:81/c?d",
        "HTTP://B?q",
        "https://b./",
        "http://[::1]:8/",
        "http://u@b/",
        "http://b:99999/",
        "http:///a",
        "http://:81/",
        "ftp://b/",
        "a",
        "b:80",
        "/a#b",
        "/\"",
        "/a|b",
        "/{}",
        "/\\",
        "/\u{e9}",
        "/\u{7f}",
        "",
        "http://%41/",
        "http://b:/",
        "/<a>",
        "/^",
        "/`",
        "?a",
    ];
    let target = mostly(rng, &targets, &odd, 5);
    let versions = [
        "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0",
    ];
    let version = mostly(
        rng,
        &versions,
        &[
            "HTTP/1.2",
            "HTTP/2.0",
            "HTTP/0.9",
            "http/1.1",
            "HTTP/1.10",
            "HTTP/1,1",
        ],
        40,
    );
    let mut lines = Vec::new();
    let hosts = [
        "a",
        "a.example:80",
        "A.Example.",
        "[::1]",
        "[2001:db8::1]:8080",
        "127.0.0.1:1",
        "a_b",
    ];
    let odd = [
        "",
        "u@a",
        "a b",
        "a/b",
        "a:b",
        "a:65536",
        "[::1",
        "::1",
        "a,b",
        "a%2Db",
        "\u{e9}",
        "a:",
        "[1.2.3.4]",
    ];
    if rng.u32(..25) > 0 {
        lines.push(format!("Host: {}", mostly(rng, &hosts, &odd, 15)));
    }
    if rng.u32(..40) == 0 {
        lines.push(format!("Host: {}", of(rng, &hosts)));
    }
    for _ in 0..rng.usize(..5) {
        lines.push(plain_field(rng));
    }
    for _ in 0..rng.usize(..3) {
        lines.push(request_field(rng));
    }
    let body = framing(rng, &mut lines, 3);
    message(rng, &format!("{method} {target} {version}"), lines, &body)
}

pub(super) fn response(rng: &mut Rng) -> Response {
    let versions = ["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0"];
    let statuses = [
        "200 OK",
        "200",
        "404 Not Found",
        "204 No Content",
        "304 Not Modified",
        "301 \u{e9}t\u{e9}",
        "599 X\tY",
        "201 ",
    ];
    let odd = [
        "100 Continue",
        "103 Early",
        "101 Switching",
        "99 Low",
        "099 Low",
        "600 High",
        "999 High",
        "20 Two",
        "2000",
        "abc",
        "200OK",
        "-1",
        " 200 OK",
    ];
    let mut bytes = Vec::new();
    while rng.u32(..12) == 0 {
        let line = format!(
            "HTTP/1.1 {}",
            of(rng, &["100 Continue", "103 Early Hints", "102 Processing"])
        );
        let lines = (0..rng.usize(..2)).map(|_| plain_field(rng)).collect();
        bytes.extend_from_slice(&whole(&line, lines, b""));
    }
    let version = mostly(
        rng,
        &versions,
        &["HTTP/2.0", "HTTP/1.2", "http/1.1", "HTTP/1.x"],
        40,
    );
    let line = format!("{version} {}", mostly(rng, &statuses, &odd, 12));
    let mut lines = Vec::new();
    for _ in 0..rng.usize(..5) {
        lines.push(plain_field(rng));
    }
    for _ in 0..rng.usize(..2) {
        lines.push(response_field(rng));
    }
    let body = framing(rng, &mut lines, 6);
    bytes.extend_from_slice(&message(rng, &line, lines, &body));
    Response {
        bytes,
        head: rng.u32(..8) == 0,
        minor: u8::from(rng.u32(..5) > 0),
        closes: rng.bool(),
    }
}

fn plain_field(rng: &mut Rng) -> String {
    let names = [
        "Accept",
        "X-A",
        "x-b",
        "Cookie",
        "User-Agent",
        "X_C",
        "Cache-Control",
        "Date",
        "X.D",
        "Trailer",
        "ETag",
        "a",
    ];
    let odd = [
        "X Y",
        "X:",
        "",
        "X\u{e9}",
        "(X)",
        "X\t",
        " X",
        "Content_Length",
        "x_forwarded_for",
    ];
    let values = [
        "b",
        "text/html, */*;q=0.1",
        "",
        "a b  c",
        "\"q\\\"uoted\"",
        "1",
        "\u{e9}\u{ff}",
        "a\tb",
        "x-a, close",
    ];
    let odd_values = ["a\rb", "a\nb", "a\0b", "\u{7f}", "a\r\n b", "a\r\n\tb", "\u{1}"];
    let gap = of(rng, &[" ", " ", " ", "", "\t", "  ", " \t "]);
    let name = mostly(rng, &names, &odd, 40);
    let value = mostly(rng, &values, &odd_values, 60);
    let end = of(rng, &["", "", "", " ", "\t "]);
    format!("{name}:{gap}{value}{end}")
}

fn request_field(rng: &mut Rng) -> String {
    let value = match of(
        rng,
        &[
            "Connection",
            "Connection",
            "Upgrade",
            "TE",
            "Expect",
            "Via",
            "Max-Forwards",
            "X-Forwarded-For",
            "traceparent",
            "X-Request-Id",
            "Keep-Alive",
            "Proxy-Connection",
            "Many",
        ],
    ) {
        name @ "Connection" => (
            name,
            of(
                rng,
                &[
                    "close",
                    "keep-alive",
                    "Keep-Alive, Close",
                    "upgrade",
                    "x-a",
                    "X-B, close",
                    ",,",
                    "host, te",
                    "close, x-a",
                    "\u{e9}, close",
                    "keep-alive,upgrade",
                ],
            ),
        ),
        name @ "Upgrade" => (name, of(rng, &["websocket", "h2c", "a, h2c, b", "TLS/1.0", ""])),
        name @ "TE" => (name, of(rng, &["trailers", "gzip;q=1, trailers", "gzip", ""])),
        name @ "Expect" => (
            name,
            mostly(
                rng,
                &["100-continue", "100-Continue"],
                &["magic", "", "100-continue, x"],
                4,
            ),
        ),
        name @ "Via" => (
            name,
            mostly(
                rng,
                &["1.0 fred", "1.1 edgy", ""],
                &["1.1 edge", "1.0 fred, 2 edge (c)"],
                4,
            ),
        ),
        name @ "Max-Forwards" => (
            name,
            of(rng, &["0", "1", "10", "x", "", "99999999999999999999999", "-1"]),
        ),
        name @ "X-Forwarded-For" => (name, of(rng, &["192.0.2.1", "unknown", "a, b", ""])),
        name @ "traceparent" => (
            name,
            of(
                rng,
                &[
                    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                    "00-0-0-0",
                    "",
                ],
            ),
        ),
        name @ "X-Request-Id" => (name, of(rng, &["abc", "a b", ""])),
        name @ "Keep-Alive" => (name, "timeout=5"),
        name @ "Proxy-Connection" => (name, "keep-alive"),
        _ => return many(rng),
    };
    format!("{}: {}", value.0, value.1)
}

/// What breaks a limit, or nearly.
fn many(rng: &mut Rng) -> String {
    match rng.u32(..6) {
        0 => format!("Connection: {}", vec!["x-a"; rng.usize(15..19)].join(",")),
        1 => format!("X-Long: {}", "a".repeat(rng.usize(30_000..34_000))),
        2 => vec!["X-Many: b"; rng.usize(90..105)].join("\r\n"),
        _ => "X-One: a".to_owned(),
    }
}

fn response_field(rng: &mut Rng) -> String {
    let name = of(
        rng,
        &["Connection", "Connection", "Upgrade", "Via", "Keep-Alive", "Many"],
    );
    let value = match name {
        "Connection" => of(
            rng,
            &[
                "close",
                "keep-alive",
                "Keep-Alive, Close",
                "x-a",
                "X-B, close",
                ",,",
                "close, x-a",
                "\u{e9}, close",
                "upgrade",
            ],
        ),
        "Upgrade" => of(rng, &["websocket", "h2c"]),
        "Via" => "1.1 origin",
        "Keep-Alive" => "timeout=5",
        _ => return many(rng),
    };
    format!("{name}: {value}")
}

/// Adds what frames a body, and returns that body.
fn framing(rng: &mut Rng, lines: &mut Vec<String>, bodiless_in: u32) -> Vec<u8> {
    let length = rng.usize(..40);
    let content: Vec<u8> = (0..length).map(|_| rng.u8(..)).collect();
    match rng.u32(..bodiless_in + 20) {
        0..8 => {
            let digits = if rng.u32(..8) == 0 {
                format!("00{length}")
            } else {
                length.to_string()
            };
            lines.push(format!("Content-Length: {digits}"));
            content
        }
        8..15 => {
            lines.push(format!(
                "Transfer-Encoding: {}",
                of(rng, &["chunked", "chunked", "Chunked", "CHUNKED"])
            ));
            chunks(rng, &content)
        }
        15 => {
            lines.push(format!("Content-Length: {length}"));
            let again = if rng.bool() { length } else { length + 1 };
            lines.push(format!("content-length: {again}"));
            content
        }
        16 => {
            lines.push(format!("Content-Length: {length}"));
            lines.push("Transfer-Encoding: chunked".to_owned());
            if rng.bool() {
                lines.reverse();
            }
            chunks(rng, &content)
        }
        17 => {
            let codings = [
                "gzip, chunked",
                "chunked, chunked",
                "gzip",
                "identity",
                "",
                "chunked;q=1",
                ",chunked",
                "chunked, gzip",
                "xchunked",
                "\"chunked\"",
            ];
            lines.push(format!("Transfer-Encoding: {}", of(rng, &codings)));
            chunks(rng, &content)
        }
        18 => {
            let lengths = [
                "+5",
                "-1",
                "",
                "5, 5",
                "5,6",
                "0x5",
                "18446744073709551616",
                "18446744073709551615",
                "00000000000000000000005",
                "5 5",
                "\u{b2}",
                "5.0",
            ];
            lines.push(format!("Content-Length: {}", of(rng, &lengths)));
            b"hello".to_vec()
        }
        19 => {
            lines.push("Transfer-Encoding: chunked".to_owned());
            lines.push(format!("Transfer-Encoding: {}", of(rng, &["chunked", "gzip"])));
            chunks(rng, &content)
        }
        _ => Vec::new(),
    }
}

fn chunks(rng: &mut Rng, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = content;
    while !rest.is_empty() {
        let (chunk, left) = rest.split_at(rng.usize(1..=rest.len()));
        rest = left;
        let size = chunk.len();
        let odd_sizes = [
            "ffffffffffffffff",
            "8000000000000000",
            "fffffffffffffffff",
            "",
            "-1",
            "0x1",
            "g",
            "1 1",
        ];
        let size = match rng.u32(..60) {
            0 => of(rng, &odd_sizes).to_owned(),
            1 => format!("{size:020x}"),
            2..10 => format!("{size:04X}"),
            _ => format!("{size:x}"),
        };
        let extension = extension(rng);
        out.extend_from_slice(
            format!("{size}{extension}{}", mostly(rng, &["\r\n"], &["\n", "\r"], 200)).as_bytes(),
        );
        out.extend_from_slice(chunk);
        out.extend_from_slice(mostly(rng, &["\r\n"], &["\n", "", "x\r\n", "\r\r\n"], 100).as_bytes());
    }
    let extension = extension(rng);
    out.extend_from_slice(format!("{}{extension}\r\n", of(rng, &["0", "0", "0", "000"])).as_bytes());
    for _ in 0..rng.usize(..4).saturating_sub(1) {
        let fields = [
            "T: 1",
            "x-a: b",
            "X-Empty:",
            "Date: now",
            "Via: 1.1 t",
            "X-Forwarded-For: 1",
            "trailer: x",
            "content_length: 5",
        ];
        let odd = [
            "Content-Length: 5",
            "Transfer-Encoding: chunked",
            "Host: b",
            "x",
            "X : 1",
            " x: 1",
            "a: \u{1}",
            "a: b\nc: d",
            ": 1",
        ];
        out.extend_from_slice(format!("{}\r\n", mostly(rng, &fields, &odd, 12)).as_bytes());
    }
    out.extend_from_slice(mostly(rng, &["\r\n"], &["\n", "\r", "", "\r*"], 50).as_bytes());
    out
}

fn extension<'t>(rng: &mut Rng) -> &'t str {
    let good = [";a", ";a=b", " ; a = b ;c", ";a=\"b;\\\" \t\"", ";a;b"];
    let odd = [
        ";", ";;", " ", ";a=", ";a=b c", ";\"a\"", ";a=\"b", "\t;a ", ";a\u{1}", ";=b",
    ];
    match rng.u32(..24) {
        0 => of(rng, &odd),
        1..4 => of(rng, &good),
        _ => "",
    }
}

/// Joins it, and in one of four cases spoils it.
fn message(rng: &mut Rng, line: &str, mut lines: Vec<String>, body: &[u8]) -> Vec<u8> {
    rng.shuffle(&mut lines);
    let mut bytes = whole(line, lines, body);
    if rng.u32(..30) == 0 {
        let before = of(rng, &["\r\n", "\r\n\r\n", "\n", "\r"]);
        bytes.splice(0..0, before.bytes());
    }
    if rng.u32(..4) == 0 {
        for _ in 0..rng.usize(1..3) {
            spoil(rng, &mut bytes);
        }
    }
    bytes
}

/// Characters are bytes of their number.
fn whole(line: &str, lines: Vec<String>, body: &[u8]) -> Vec<u8> {
    let mut text = format!("{line}\r\n");
    for line in lines {
        text.push_str(&line);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    // Those above 255 are none of ours.
    let mut bytes: Vec<u8> = text
        .chars()
        .map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?'))
        .collect();
    bytes.extend_from_slice(body);
    bytes
}

fn spoil(rng: &mut Rng, bytes: &mut Vec<u8>) {
    const ODD: &[u8] = b"\r\n\0 \t:,;=\"\\/#?@[]\x7f\x80\xff0aA_-";
    if bytes.is_empty() {
        return;
    }
    let at = rng.usize(..bytes.len());
    let byte = ODD[rng.usize(..ODD.len())];
    match rng.u32(..6) {
        0 => bytes[at] = byte,
        1 => bytes.insert(at, byte),
        2 => drop(bytes.remove(at)),
        3 => bytes[at] ^= 0x20,
        4 => bytes.truncate(at + 1),
        _ => {
            let end = (at + rng.usize(1..20)).min(bytes.len());
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
    }
}
