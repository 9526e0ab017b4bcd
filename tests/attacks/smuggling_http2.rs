//! The same over HTTP/2, on its way to a backend of HTTP/1.1: what a length, a line end or a colon would be there.

use anyhow::{Context, Result, bail, ensure};

use crate::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, Outcome, Raw, block, code_name, frame};
use crate::origin::Asked;
use crate::row::{Did, Row};
use crate::stage::Stage;

pub(crate) const ROWS: &[Row] = &[
    Row::new(
        "smuggling-h2-cl",
        "lengths that contradict the DATA (H2.CL)",
        |stage| Box::pin(hold(stage, lengths())),
    )
    .quick(),
    Row::new(
        "smuggling-h2-te",
        "`transfer-encoding`, `connection` and their kin (H2.TE)",
        |stage| Box::pin(hold(stage, hops())),
    )
    .quick(),
    Row::new(
        "smuggling-h2-line-ends",
        "CR, LF, NUL and colons in names and values",
        |stage| Box::pin(hold(stage, line_ends())),
    )
    .quick(),
    Row::new(
        "smuggling-h2-pseudo",
        "request lines and fields within `:method`, `:path`, `:authority` and `:scheme`",
        |stage| Box::pin(hold(stage, pseudo())),
    )
    .quick(),
];

type Fields = Vec<(&'static [u8], &'static [u8])>;

struct Case {
    what: &'static str,
    fields: Fields,
    body: Option<&'static [u8]>,
    /// Whether it may reach the backend, where it has to be unambiguous.
    may_pass: bool,
}

const METHOD: (&[u8], &[u8]) = (b":method", b"POST");
const SCHEME: (&[u8], &[u8]) = (b":scheme", b"http");
const PATH: (&[u8], &[u8]) = (b":path", b"/attack");
const AUTHORITY: (&[u8], &[u8]) = (b":authority", b"shop");

const INNER: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: shop\r\n\r\n";

fn case(what: &'static str, more: &[(&'static [u8], &'static [u8])], body: Option<&'static [u8]>) -> Case {
    let mut fields = vec![METHOD, SCHEME, PATH, AUTHORITY];
    fields.extend_from_slice(more);
    Case {
        what,
        fields,
        body,
        may_pass: false,
    }
}

/// One with other pseudo-headers.
fn headed(what: &'static str, fields: &[(&'static [u8], &'static [u8])]) -> Case {
    Case {
        what,
        fields: fields.to_vec(),
        body: None,
        may_pass: false,
    }
}

fn passes(case: Case) -> Case {
    Case {
        may_pass: true,
        ..case
    }
}

fn lengths() -> Vec<Case> {
    vec![
        case(
            "nothing, and a request for DATA",
            &[(b"content-length", b"0")],
            Some(INNER),
        ),
        case(
            "less than the DATA",
            &[(b"content-length", b"5")],
            Some(b"helloGET /smuggled HTTP/1.1\r\nHost: shop\r\n\r\n"),
        ),
        case(
            "more than the DATA",
            &[(b"content-length", b"500")],
            Some(b"hello"),
        ),
        case("something, and no DATA", &[(b"content-length", b"5")], None),
        case(
            "two that differ",
            &[(b"content-length", b"5"), (b"content-length", b"0")],
            Some(b"hello"),
        ),
        case("two in one", &[(b"content-length", b"5, 5")], Some(b"hello")),
        case("with a sign", &[(b"content-length", b"+5")], Some(b"hello")),
        case("hexadecimal", &[(b"content-length", b"0x5")], Some(b"hello")),
        case(
            "of 2^64 and five",
            &[(b"content-length", b"18446744073709551621")],
            Some(b"hello"),
        ),
        case("none", &[(b"content-length", b"")], Some(b"hello")),
        passes(case(
            "a name with `_`",
            &[(b"content_length", b"500")],
            Some(b"hello"),
        )),
        passes(case(
            "the right one",
            &[(b"content-length", b"5")],
            Some(b"hello"),
        )),
        passes(case("none at all, and a request for DATA", &[], Some(INNER))),
    ]
}

fn hops() -> Vec<Case> {
    vec![
        case(
            "chunked",
            &[(b"transfer-encoding", b"chunked")],
            Some(b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: shop\r\n\r\n"),
        ),
        case(
            "chunked, and a length",
            &[(b"transfer-encoding", b"chunked"), (b"content-length", b"5")],
            Some(b"0\r\n\r\n"),
        ),
        case("identity", &[(b"transfer-encoding", b"identity")], Some(b"hello")),
        case("connection", &[(b"connection", b"keep-alive")], None),
        case(
            "connection that names a length",
            &[(b"connection", b"content-length"), (b"content-length", b"5")],
            Some(b"hello"),
        ),
        case("keep-alive", &[(b"keep-alive", b"timeout=5")], None),
        case("proxy-connection", &[(b"proxy-connection", b"keep-alive")], None),
        case("an upgrade", &[(b"upgrade", b"websocket")], None),
        case(
            "an upgrade to h2c",
            &[(b"upgrade", b"h2c"), (b"http2-settings", b"AAMAAABk")],
            None,
        ),
        case("te of more than trailers", &[(b"te", b"gzip, chunked")], None),
        passes(case(
            "a name with `_`",
            &[(b"transfer_encoding", b"chunked")],
            Some(b"0\r\n\r\n"),
        )),
        passes(case("te of trailers", &[(b"te", b"trailers")], None)),
        passes(case(
            "http2-settings alone",
            &[(b"http2-settings", b"AAMAAABk")],
            None,
        )),
    ]
}

fn line_ends() -> Vec<Case> {
    vec![
        case(
            "a field behind CR LF",
            &[(b"x", b"a\r\ntransfer-encoding: chunked")],
            Some(INNER),
        ),
        case(
            "a field behind LF",
            &[(b"x", b"a\ntransfer-encoding: chunked")],
            Some(INNER),
        ),
        case(
            "a field behind CR",
            &[(b"x", b"a\rtransfer-encoding: chunked")],
            Some(INNER),
        ),
        case(
            "a request behind CR LF CR LF",
            &[(b"x", b"a\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: shop\r\n\r\n")],
            None,
        ),
        case("NUL", &[(b"x", b"a\0b")], None),
        case("CR LF in a cookie", &[(b"cookie", b"a=b\r\nx: y")], None),
        case(
            "LF in a crumb of a cookie",
            &[(b"cookie", b"a=b"), (b"cookie", b"c=d\nx: y")],
            None,
        ),
        case(
            "CR LF in a name",
            &[(b"x\r\ntransfer-encoding: chunked\r\ny", b"z")],
            Some(INNER),
        ),
        case(
            "a colon in a name",
            &[(b"transfer-encoding: chunked\r\nx", b"y")],
            Some(INNER),
        ),
        case("a colon alone in a name", &[(b"x:y", b"z")], None),
        case(
            "a space in a name",
            &[(b"transfer-encoding ", b"chunked")],
            Some(INNER),
        ),
        case(
            "a tab in a name",
            &[(b"transfer-encoding\t", b"chunked")],
            Some(INNER),
        ),
        case("NUL in a name", &[(b"x\0", b"y")], None),
        case("no name", &[(b"", b"y")], None),
        case(
            "capitals in a name",
            &[(b"Transfer-Encoding", b"chunked")],
            Some(INNER),
        ),
        case("bytes beyond ASCII in a name", &[(b"x\xff", b"y")], None),
        case("ESC in a value", &[(b"x", b"\x1b[2J")], None),
        case("DEL in a value", &[(b"x", b"a\x7f")], None),
        passes(case("a space before a value", &[(b"x", b" a")], None)),
        passes(case("bytes beyond ASCII in a value", &[(b"x", b"caf\xe9")], None)),
    ]
}

fn pseudo() -> Vec<Case> {
    let get: (&[u8], &[u8]) = (b":method", b"GET");
    vec![
        headed(
            "a request line in :method",
            &[
                (b":method", b"GET /smuggled HTTP/1.1\r\nHost: shop\r\n\r\nGET"),
                SCHEME,
                PATH,
                AUTHORITY,
            ],
        ),
        headed(
            "a space in :method",
            &[(b":method", b"GET /smuggled HTTP/1.1"), SCHEME, PATH, AUTHORITY],
        ),
        headed("no :method", &[SCHEME, PATH, AUTHORITY]),
        headed("an empty :method", &[(b":method", b""), SCHEME, PATH, AUTHORITY]),
        headed(
            "a version in :path",
            &[
                get,
                SCHEME,
                (b":path", b"/ HTTP/1.1\r\nHost: shop\r\n\r\nGET /smuggled"),
                AUTHORITY,
            ],
        ),
        headed(
            "a space in :path",
            &[get, SCHEME, (b":path", b"/attack HTTP/1.1"), AUTHORITY],
        ),
        headed(
            "NUL in :path",
            &[get, SCHEME, (b":path", b"/attack\0"), AUTHORITY],
        ),
        headed(
            "a tab in :path",
            &[get, SCHEME, (b":path", b"/attack\tx"), AUTHORITY],
        ),
        headed(
            "a :path without a slash",
            &[get, SCHEME, (b":path", b"attack"), AUTHORITY],
        ),
        headed(
            "an absolute :path",
            &[get, SCHEME, (b":path", b"http://evil/smuggled"), AUTHORITY],
        ),
        headed("an empty :path", &[get, SCHEME, (b":path", b""), AUTHORITY]),
        headed("no :path", &[get, SCHEME, AUTHORITY]),
        headed(
            "a star in :path with GET",
            &[get, SCHEME, (b":path", b"*"), AUTHORITY],
        ),
        headed(
            "two of :path",
            &[get, SCHEME, PATH, (b":path", b"/smuggled"), AUTHORITY],
        ),
        headed(
            "two of :authority",
            &[get, SCHEME, PATH, AUTHORITY, (b":authority", b"evil")],
        ),
        headed(
            "a field in :authority",
            &[get, SCHEME, PATH, (b":authority", b"shop\r\nx: y")],
        ),
        headed(
            "a user in :authority",
            &[get, SCHEME, PATH, (b":authority", b"evil@shop")],
        ),
        headed(
            "a path in :authority",
            &[get, SCHEME, PATH, (b":authority", b"shop/evil")],
        ),
        headed(
            "a space in :authority",
            &[get, SCHEME, PATH, (b":authority", b"shop evil")],
        ),
        headed("an empty :authority", &[get, SCHEME, PATH, (b":authority", b"")]),
        headed("neither :authority nor host", &[get, SCHEME, PATH]),
        headed(
            "a host that contradicts it",
            &[get, SCHEME, PATH, AUTHORITY, (b"host", b"evil")],
        ),
        headed(
            "two hosts",
            &[get, SCHEME, PATH, (b"host", b"shop"), (b"host", b"evil")],
        ),
        headed(
            "an address in :scheme",
            &[get, (b":scheme", b"http://evil/smuggled?"), PATH, AUTHORITY],
        ),
        headed(
            "CR LF in :scheme",
            &[get, (b":scheme", b"http\r\nx: y"), PATH, AUTHORITY],
        ),
        headed(
            "an unknown one",
            &[get, SCHEME, PATH, AUTHORITY, (b":evil", b"1")],
        ),
        headed(":status", &[get, SCHEME, PATH, AUTHORITY, (b":status", b"200")]),
        headed(
            "one behind a field",
            &[get, SCHEME, (b"x", b"y"), PATH, AUTHORITY],
        ),
        headed(
            ":protocol without CONNECT",
            &[get, SCHEME, PATH, AUTHORITY, (b":protocol", b"websocket")],
        ),
        headed(
            "CONNECT as of old",
            &[(b":method", b"CONNECT"), (b":authority", b"127.0.0.1:22")],
        ),
        headed(
            "CONNECT with a path",
            &[(b":method", b"CONNECT"), SCHEME, PATH, AUTHORITY],
        ),
        headed(
            "CONNECT for another protocol",
            &[
                (b":method", b"CONNECT"),
                SCHEME,
                PATH,
                AUTHORITY,
                (b":protocol", b"connect-ip"),
            ],
        ),
        headed(
            "bytes beyond ASCII in :path",
            &[get, SCHEME, (b":path", b"/caf\xc3\xa9"), AUTHORITY],
        ),
        headed(
            "a backslash in :path",
            &[get, SCHEME, (b":path", b"/a\\..\\b"), AUTHORITY],
        ),
        headed("quotes in :path", &[get, SCHEME, (b":path", b"/a\"b"), AUTHORITY]),
        headed(
            "angle brackets in :path",
            &[get, SCHEME, (b":path", b"/<script>"), AUTHORITY],
        ),
        passes(headed(
            "a fragment in :path",
            &[get, SCHEME, (b":path", b"/attack#evil"), AUTHORITY],
        )),
        passes(headed(
            "a host that agrees",
            &[get, SCHEME, PATH, AUTHORITY, (b"host", b"shop")],
        )),
        passes(headed("a host alone", &[get, SCHEME, PATH, (b"host", b"shop")])),
    ]
}

async fn hold(stage: &Stage, cases: Vec<Case>) -> Result<Did> {
    let (mut said, mut refused, mut passed) = (Vec::new(), 0_u64, 0_u64);
    for case in &cases {
        stage.origin.forget();
        let outcome = played(stage, case).await.with_context(|| case.what.to_owned())?;
        match outcome {
            Outcome::Answered(200) if case.may_pass => passed += 1,
            Outcome::Answered(status @ (400 | 405 | 501)) => {
                refused += 1;
                said.push(status.to_string());
            }
            Outcome::Reset(code) | Outcome::Ended(code) if code != 0 => {
                refused += 1;
                said.push(code_name(code));
            }
            other => bail!("{}: {other:?}", case.what),
        }
        // One whose length is 0 is whole before the DATA that it must not have comes, and is told without that.
        let asked: Vec<_> = stage.origin.asked();
        let is_empty =
            |asked: &Asked| asked.head.one("content-length").as_deref() == Some("0") && asked.body.is_empty();
        ensure!(
            outcome == Outcome::Answered(200) || asked.iter().all(is_empty),
            "{}: the backend saw {:?}",
            case.what,
            asked[0].head.text()
        );
        for asked in asked {
            let (method, target) = (asked.head.method(), asked.head.target());
            ensure!(
                matches!(method, "GET" | "POST")
                    && target == "/attack"
                    && asked.head.one("host").as_deref() == Some("shop"),
                "{}: the backend saw {:?}",
                case.what,
                asked.head.text()
            );
            let body = case.body.unwrap_or_default();
            ensure!(
                asked.body == body || is_empty(&asked),
                "{}: the body is {:?}",
                case.what,
                String::from_utf8_lossy(&asked.body)
            );
        }
        // What begins another way is never completed.
        for head in stage.origin.broken() {
            ensure!(
                head.target() == "/attack",
                "{}: the backend saw {:?}",
                case.what,
                head.text()
            );
        }
    }
    said.sort_unstable();
    said.dedup();
    Ok(Did::new(
        cases.len() as u64,
        format!(
            "{refused} refused ({}), {passed} passed on, without what is ambiguous",
            said.join(", ")
        ),
    ))
}

async fn played(stage: &Stage, case: &Case) -> Result<Outcome> {
    let mut raw = Raw::connect(stage.proxy()).await?;
    let end = if case.body.is_some() { 0 } else { END_STREAM };
    let mut bytes = frame(HEADERS, END_HEADERS | end, 1, &block(&case.fields));
    if let Some(body) = case.body {
        bytes.extend(frame(DATA, END_STREAM, 1, body));
    }
    raw.write(&bytes).await?;
    raw.outcome(1).await
}
