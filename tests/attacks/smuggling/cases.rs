//! The corpus.

/// One message, and what has to come of it.
pub(super) struct Case<'a> {
    pub(super) what: &'a str,
    pub(super) bytes: &'a [u8],
    pub(super) end: End,
}

#[derive(Clone, Copy)]
pub(super) enum End {
    /// Answered with that status alone, and the connection closed; the backend sees nothing of it.
    Refused(u16),
    /// The backend sees these request lines and bodies, and nothing else.
    Passed(&'static [(&'static str, &'static str)]),
}

const fn refused(what: &'static str, bytes: &'static [u8]) -> Case<'static> {
    refused_as(400, what, bytes)
}

const fn refused_as(status: u16, what: &'static str, bytes: &'static [u8]) -> Case<'static> {
    Case {
        what,
        bytes,
        end: End::Refused(status),
    }
}

const fn passed(
    what: &'static str,
    bytes: &'static [u8],
    seen: &'static [(&'static str, &'static str)],
) -> Case<'static> {
    Case {
        what,
        bytes,
        end: End::Passed(seen),
    }
}

pub(super) const CL_TE: &[Case<'static>] = &[
    refused(
        "the classic",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nContent-Length: 43\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: shop\r\n\r\n",
    ),
    refused(
        "a length of nothing",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    refused(
        "a length that agrees with the chunks",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    refused(
        "in a request that has no body",
        b"GET /attack HTTP/1.1\r\nHost: shop\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    ),
    refused(
        "in other cases of letters",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\ncOnTeNt-LeNgTh: 6\r\ntRaNsFeR-eNcOdInG: cHuNkEd\r\n\r\n0\r\n\r\nG",
    ),
    refused(
        "inside HTTP/1.0, where there are no chunks",
        b"POST /attack HTTP/1.0\r\nHost: shop\r\nContent-Length: 43\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: shop\r\n\r\n",
    ),
    refused(
        "the length taken away by Connection",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nConnection: Content-Length\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    ),
];

pub(super) const TE_CL: &[Case<'static>] = &[
    refused(
        "the classic",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n26\r\nGET /smuggled HTTP/1.1\r\nHost: shop\r\n\r\n\r\n0\r\n\r\n",
    ),
    refused(
        "a length among the chunks' own fields",
        b"POST /attack HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: shop\r\nX: 1\r\nContent-Length: 0\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ),
    refused(
        "the coding taken away by Connection",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nConnection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    ),
    refused(
        "a length in the trailers, which are no head",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n",
    ),
    refused(
        "a host in the trailers",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nHost: evil\r\n\r\n",
    ),
    passed(
        "who the client is in the trailers, which is left out",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Forwarded-For: 10.0.0.1\r\nX: y\r\n\r\n",
        &[("POST /attack HTTP/1.1", "hello")],
    ),
];

/// Lines that some parser takes for `Transfer-Encoding: chunked`, and another one doesn't.
pub(super) const DISGUISES: &[&str] = &[
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding\t: chunked",
    " Transfer-Encoding: chunked",
    "X: x\r\n Transfer-Encoding: chunked",
    "X: x\nTransfer-Encoding: chunked",
    "X: x\rTransfer-Encoding: chunked",
    "Transfer-Encoding:\r\n chunked",
    "Transfer-Encoding:\n chunked",
    "Transfer-Encoding\r\n: chunked",
    "Transfer-Encoding: chunked\0",
    "Transfer-Encoding: \0chunked",
    "Transfer-Encoding: \x0bchunked",
    "Transfer-Encoding: \x0cchunked",
    "Transfer-Encoding: chunked\x0b",
    "Transfer-Encoding: \u{a0}chunked",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: 'chunked'",
    "Transfer-Encoding: chunked;q=1",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: ,chunked",
    "Transfer-Encoding: chunked,",
    "Transfer-Encoding: chunk",
    "Transfer-Encoding: chunked chunked",
    "Transfer-Encoding:",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: cow",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow",
    "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: \u{ff43}hunked",
    "Transfer-Encoding\u{0}: chunked",
    "\u{0}Transfer-Encoding: chunked",
    "Transfer-\u{e9}ncoding: chunked",
    "Transfer Encoding: chunked",
    ":Transfer-Encoding: chunked",
    "\"Transfer-Encoding\": chunked",
    "Transfer-Encoding;: chunked",
    "Transfer-Encoding[: chunked",
];

pub(super) const LENGTHS: &[Case<'static>] = &[
    refused(
        "two that differ",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\nContent-Length: 43\r\n\r\nhello",
    ),
    refused(
        "two that agree",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    ),
    refused(
        "two in one line",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nContent-Length: 5, 43\r\n\r\nhello",
    ),
    refused(
        "twice the same in one line",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nContent-Length: 5, 5\r\n\r\nhello",
    ),
    refused("none", b"POST /attack HTTP/1.1\r\nHost: shop\r\nContent-Length:\r\n\r\n"),
    refused("with a sign", b"POST /attack HTTP/1.1\r\nHost: shop\r\nContent-Length: +5\r\n\r\nhello"),
    refused("below zero", b"POST /attack HTTP/1.1\r\nHost: shop\r\nContent-Length: -1\r\n\r\n"),
    refused("hexadecimal", b"POST /attack HTTP/1.1\r\nHost: shop\r\nContent-Length: 0x5\r\n\r\nhello"),
    refused("a fraction", b"POST /attack HTTP/1.1\r\nHost: shop\r\nContent-Length: 5.0\r\n\r\nhello"),
    refused("with an exponent", b"POST /attack HTTP/1.1\r\nHost: shop\r\nContent-Length: 5e0\r\n\r\nhello"),
    refused("in quotes", b"POST /attack HTTP/1.1\r\nHost: shop\r\nContent-Length: \"5\"\r\n\r\nhello"),
    refused("with a word behind", b"POST /attack HTTP/1.1\r\nHost: shop\r\nContent-Length: 5 x\r\n\r\nhello"),
    refused("with spaces within", b"POST /attack HTTP/1.1\r\nHost: shop\r\nContent-Length: 1 0\r\n\r\nhello"),
    refused("with a control byte", b"POST /attack HTTP/1.1\r\nHost: shop\r\nContent-Length: \x0b5\r\n\r\nhello"),
    refused("of 2^64", b"POST /attack HTTP/1.1\r\nHost: shop\r\nContent-Length: 18446744073709551616\r\n\r\n"),
    refused("of 2^64 and five", b"POST /attack HTTP/1.1\r\nHost: shop\r\nContent-Length: 18446744073709551621\r\n\r\nhello"),
    refused("digits of another script", "POST /attack HTTP/1.1\r\nHost: shop\r\nContent-Length: \u{665}\r\n\r\nhello".as_bytes()),
    passed(
        "names with `_`, which CGI takes for the same",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nContent_Length: 50\r\nTransfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello",
        &[("POST /attack HTTP/1.1", "hello")],
    ),
    passed(
        "a body on a GET, which is a request of itself",
        b"GET /attack HTTP/1.1\r\nHost: shop\r\nContent-Length: 38\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: shop\r\n\r\n",
        &[("GET /attack HTTP/1.1", "GET /smuggled HTTP/1.1\r\nHost: shop\r\n\r\n")],
    ),
    passed(
        "two requests in one segment",
        b"POST /one HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\n\r\nhelloPOST /two HTTP/1.1\r\nHost: shop\r\nContent-Length: 2\r\n\r\nyo",
        &[("POST /one HTTP/1.1", "hello"), ("POST /two HTTP/1.1", "yo")],
    ),
];

pub(super) const CHUNKS: &[Case<'static>] = &[
    passed(
        "extensions, which don't go further",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b;c=\"d;e\"\r\nhello\r\n0;last\r\n\r\n",
        &[("POST /attack HTTP/1.1", "hello")],
    ),
    passed(
        "sizes with zeros before them",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n0005\r\nhello\r\n000\r\n\r\n",
        &[("POST /attack HTTP/1.1", "hello")],
    ),
    passed(
        "a request for content",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n26\r\nGET /smuggled HTTP/1.1\r\nHost: shop\r\n\r\n\r\n0\r\n\r\n",
        &[("POST /attack HTTP/1.1", "GET /smuggled HTTP/1.1\r\nHost: shop\r\n\r\n")],
    ),
    refused(
        "a bare LF behind the size",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
    ),
    refused(
        "a bare LF in an extension (TERM.EXT)",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5;\nxx\r\nhello\r\n0\r\n\r\n",
    ),
    refused(
        "a bare CR in an extension",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5;\rxx\r\nhello\r\n0\r\n\r\n",
    ),
    refused(
        "NUL in an extension",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\0\r\nhello\r\n0\r\n\r\n",
    ),
    refused(
        "a bare LF behind the content",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n",
    ),
    refused(
        "two bytes of something behind the content (0.SPILL)",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
    ),
    refused(
        "nothing behind the content",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n",
    ),
    refused(
        "a size with a prefix",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    ),
    refused(
        "a size with a sign",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
    ),
    refused(
        "a size below zero",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nhello\r\n0\r\n\r\n",
    ),
    refused(
        "no size",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n",
    ),
    refused(
        "a size with an underscore",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n0_5\r\nhello\r\n0\r\n\r\n",
    ),
    refused(
        "a size of 2^64",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n",
    ),
    refused(
        "a size that overflows to five",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n",
    ),
    refused(
        "a size that can't be met",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    ),
    refused(
        "a space before the size",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n",
    ),
    refused(
        "a bare LF at the end of the trailers",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\n\r\n",
    ),
    refused(
        "a bare LF for the empty line at the end",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\n",
    ),
    refused(
        "a folded trailer",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n c\r\n\r\n",
    ),
    refused(
        "a request line for a trailer",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nGET /smuggled HTTP/1.1\r\n\r\n",
    ),
];

pub(super) const LINE_ENDS: &[Case<'static>] = &[
    refused("LF alone", b"GET /attack HTTP/1.1\nHost: shop\n\n"),
    refused(
        "LF behind the request line",
        b"GET /attack HTTP/1.1\nHost: shop\r\n\r\n",
    ),
    refused(
        "LF behind a field",
        b"GET /attack HTTP/1.1\r\nHost: shop\nX: y\r\n\r\n",
    ),
    refused(
        "LF for the empty line",
        b"GET /attack HTTP/1.1\r\nHost: shop\r\n\n",
    ),
    refused(
        "CR alone in a value",
        b"GET /attack HTTP/1.1\r\nHost: shop\r\nX: a\rGET /smuggled HTTP/1.1\r\n\r\n",
    ),
    refused(
        "CR CR LF",
        b"GET /attack HTTP/1.1\r\nHost: shop\r\nX: a\r\r\n\r\n",
    ),
    refused("CR for line ends", b"GET /attack HTTP/1.1\rHost: shop\r\r\n\r\n"),
    refused(
        "NUL in a value",
        b"GET /attack HTTP/1.1\r\nHost: shop\r\nX: a\0b\r\n\r\n",
    ),
    refused(
        "NUL in a name",
        b"GET /attack HTTP/1.1\r\nHost: shop\r\nX\0: a\r\n\r\n",
    ),
    refused(
        "NUL at the end of a value",
        b"GET /attack HTTP/1.1\r\nHost: shop\r\nX: a\0\r\n\r\n",
    ),
    refused(
        "a folded line",
        b"GET /attack HTTP/1.1\r\nHost: shop\r\nX: a\r\n b\r\n\r\n",
    ),
    refused(
        "a folded line by tab",
        b"GET /attack HTTP/1.1\r\nHost: shop\r\nX: a\r\n\tContent-Length: 5\r\n\r\n",
    ),
    refused(
        "a space before the first name",
        b"GET /attack HTTP/1.1\r\n Host: shop\r\n\r\n",
    ),
    refused(
        "a space before the colon",
        b"GET /attack HTTP/1.1\r\nHost : shop\r\n\r\n",
    ),
    refused(
        "a tab before the colon",
        b"GET /attack HTTP/1.1\r\nHost\t: shop\r\n\r\n",
    ),
    refused("no colon", b"GET /attack HTTP/1.1\r\nHost: shop\r\nX\r\n\r\n"),
    refused("no name", b"GET /attack HTTP/1.1\r\nHost: shop\r\n: x\r\n\r\n"),
    refused(
        "a name in brackets",
        b"GET /attack HTTP/1.1\r\nHost: shop\r\nX[0]: x\r\n\r\n",
    ),
    refused(
        "bytes beyond ASCII in a name",
        b"GET /attack HTTP/1.1\r\nHost: shop\r\nX\xff: x\r\n\r\n",
    ),
    refused(
        "DEL in a value",
        b"GET /attack HTTP/1.1\r\nHost: shop\r\nX: a\x7f\r\n\r\n",
    ),
    refused(
        "ESC in a value",
        b"GET /attack HTTP/1.1\r\nHost: shop\r\nX: \x1b[2J\r\n\r\n",
    ),
];

pub(super) const REQUEST_LINES: &[Case<'static>] = &[
    refused("two spaces", b"GET  /attack HTTP/1.1\r\nHost: shop\r\n\r\n"),
    refused(
        "two spaces before the version",
        b"GET /attack  HTTP/1.1\r\nHost: shop\r\n\r\n",
    ),
    refused("tabs", b"GET\t/attack\tHTTP/1.1\r\nHost: shop\r\n\r\n"),
    refused(
        "a space within the target",
        b"GET /attack /smuggled HTTP/1.1\r\nHost: shop\r\n\r\n",
    ),
    refused(
        "a space behind the version",
        b"GET /attack HTTP/1.1 \r\nHost: shop\r\n\r\n",
    ),
    refused(
        "a space before the method",
        b" GET /attack HTTP/1.1\r\nHost: shop\r\n\r\n",
    ),
    refused("no version", b"GET /attack\r\nHost: shop\r\n\r\n"),
    refused("no target", b"GET HTTP/1.1\r\nHost: shop\r\n\r\n"),
    refused(
        "two versions",
        b"GET /attack HTTP/1.1 HTTP/1.1\r\nHost: shop\r\n\r\n",
    ),
    refused(
        "a method in brackets",
        b"(GET) /attack HTTP/1.1\r\nHost: shop\r\n\r\n",
    ),
    refused(
        "NUL in the target",
        b"GET /attack\0 HTTP/1.1\r\nHost: shop\r\n\r\n",
    ),
    refused(
        "bytes beyond ASCII in the target",
        b"GET /attack\xff HTTP/1.1\r\nHost: shop\r\n\r\n",
    ),
    refused(
        "a fragment in the target",
        b"GET /attack#x HTTP/1.1\r\nHost: shop\r\n\r\n",
    ),
    refused(
        "a backslash for a target",
        b"GET \\attack HTTP/1.1\r\nHost: shop\r\n\r\n",
    ),
    refused(
        "a target without a slash",
        b"GET attack HTTP/1.1\r\nHost: shop\r\n\r\n",
    ),
    refused("a star with GET", b"GET * HTTP/1.1\r\nHost: shop\r\n\r\n"),
    refused(
        "a version in small letters",
        b"GET /attack http/1.1\r\nHost: shop\r\n\r\n",
    ),
    refused(
        "a version of more digits",
        b"GET /attack HTTP/1.10\r\nHost: shop\r\n\r\n",
    ),
    refused(
        "a version with zeros",
        b"GET /attack HTTP/01.1\r\nHost: shop\r\n\r\n",
    ),
    refused_as(
        505,
        "version 2.0 in words",
        b"GET /attack HTTP/2.0\r\nHost: shop\r\n\r\n",
    ),
    refused_as(505, "version 1.2", b"GET /attack HTTP/1.2\r\nHost: shop\r\n\r\n"),
    refused_as(505, "version 0.9", b"GET /attack HTTP/0.9\r\nHost: shop\r\n\r\n"),
    passed(
        "an empty line before it",
        b"\r\nGET /attack HTTP/1.1\r\nHost: shop\r\n\r\n",
        &[("GET /attack HTTP/1.1", "")],
    ),
];

pub(super) const H2C: &[Case<'static>] = &[
    passed(
        "as RFC 7540 had it",
        b"GET /attack HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
        &[("GET /attack HTTP/1.1", "")],
    ),
    passed(
        "among others",
        b"GET /attack HTTP/1.1\r\nHost: shop\r\nConnection: upgrade\r\nUpgrade: words, h2c\r\n\r\n",
        &[("GET /attack HTTP/1.1", "")],
    ),
    passed(
        "in capitals, with its settings not named by Connection",
        b"GET /attack HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: H2C\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
        &[("GET /attack HTTP/1.1", "")],
    ),
    passed(
        "without Connection",
        b"GET /attack HTTP/1.1\r\nHost: shop\r\nUpgrade: h2c\r\n\r\n",
        &[("GET /attack HTTP/1.1", "")],
    ),
    passed(
        "over HTTP/1.0",
        b"GET /attack HTTP/1.0\r\nHost: shop\r\nConnection: Upgrade, keep-alive\r\nUpgrade: h2c\r\n\r\n",
        &[("GET /attack HTTP/1.1", "")],
    ),
    refused_as(
        505,
        "the preface behind a request",
        b"PRI * HTTP/2.0\r\nHost: shop\r\n\r\n",
    ),
];

pub(super) const CONNECTION: &[Case<'static>] = &[
    passed(
        "Host",
        b"GET /attack HTTP/1.1\r\nHost: shop\r\nConnection: host\r\n\r\n",
        &[("GET /attack HTTP/1.1", "")],
    ),
    passed(
        "Content-Length",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nConnection: content-length\r\nContent-Length: 38\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: shop\r\n\r\n",
        &[("POST /attack HTTP/1.1", "GET /smuggled HTTP/1.1\r\nHost: shop\r\n\r\n")],
    ),
    passed(
        "Transfer-Encoding",
        b"POST /attack HTTP/1.1\r\nHost: shop\r\nConnection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        &[("POST /attack HTTP/1.1", "hello")],
    ),
    passed(
        "Via and what the proxy adds",
        b"GET /attack HTTP/1.1\r\nHost: shop\r\nConnection: via, x-forwarded-for, x-forwarded-proto, x-request-id, traceparent\r\n\r\n",
        &[("GET /attack HTTP/1.1", "")],
    ),
];

pub(super) const HOSTS: &[Case<'static>] = &[
    refused("none", b"GET /attack HTTP/1.1\r\n\r\n"),
    refused("two", b"GET /attack HTTP/1.1\r\nHost: shop\r\nHost: evil\r\n\r\n"),
    refused("the same twice", b"GET /attack HTTP/1.1\r\nHost: shop\r\nHost: shop\r\n\r\n"),
    refused("two in one", b"GET /attack HTTP/1.1\r\nHost: shop, evil\r\n\r\n"),
    refused("with a user", b"GET /attack HTTP/1.1\r\nHost: evil@shop\r\n\r\n"),
    refused("with a path", b"GET /attack HTTP/1.1\r\nHost: shop/evil\r\n\r\n"),
    refused("with a query", b"GET /attack HTTP/1.1\r\nHost: shop?evil\r\n\r\n"),
    refused("with a fragment", b"GET /attack HTTP/1.1\r\nHost: shop#evil\r\n\r\n"),
    refused("with a backslash", b"GET /attack HTTP/1.1\r\nHost: shop\\evil\r\n\r\n"),
    refused("with a space", b"GET /attack HTTP/1.1\r\nHost: shop evil\r\n\r\n"),
    refused("with a port that is none", b"GET /attack HTTP/1.1\r\nHost: shop:evil\r\n\r\n"),
    refused("with a port too high", b"GET /attack HTTP/1.1\r\nHost: shop:99999\r\n\r\n"),
    refused("with two ports", b"GET /attack HTTP/1.1\r\nHost: shop:80:81\r\n\r\n"),
    refused("an address that isn't closed", b"GET /attack HTTP/1.1\r\nHost: [::1\r\n\r\n"),
    refused("markup", b"GET /attack HTTP/1.1\r\nHost: <script>\r\n\r\n"),
    refused("an absolute target with a user", b"GET http://evil@shop/attack HTTP/1.1\r\nHost: shop\r\n\r\n"),
    refused("an absolute target without a host", b"GET http:///attack HTTP/1.1\r\nHost: shop\r\n\r\n"),
    refused("an absolute target of another scheme", b"GET file:///etc/passwd HTTP/1.1\r\nHost: shop\r\n\r\n"),
    passed(
        "an absolute target beside another Host, which it replaces",
        b"GET http://shop/attack HTTP/1.1\r\nHost: evil\r\n\r\n",
        &[("GET /attack HTTP/1.1", "")],
    ),
    passed(
        "an absolute target without a path",
        b"GET http://shop HTTP/1.1\r\nHost: evil\r\n\r\n",
        &[("GET / HTTP/1.1", "")],
    ),
    passed(
        "a path that looks like another host",
        b"GET //evil/attack HTTP/1.1\r\nHost: shop\r\n\r\n",
        &[("GET //evil/attack HTTP/1.1", "")],
    ),
    passed(
        "X-Forwarded-Host and the like, which choose nothing",
        b"GET /attack HTTP/1.1\r\nHost: shop\r\nX-Forwarded-Host: evil\r\nX-Host: evil\r\nX-Original-URL: /smuggled\r\nX-Rewrite-URL: /smuggled\r\nX-HTTP-Method-Override: DELETE\r\n\r\n",
        &[("GET /attack HTTP/1.1", "")],
    ),
];

pub(super) const CONNECTS: &[Case<'static>] = &[
    refused_as(
        405,
        "to a host elsewhere",
        b"CONNECT example.test:443 HTTP/1.1\r\nHost: example.test:443\r\n\r\n",
    ),
    refused_as(
        405,
        "to this machine",
        b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n",
    ),
    refused_as(
        405,
        "to the app",
        b"CONNECT shop:80 HTTP/1.1\r\nHost: shop:80\r\n\r\n",
    ),
    refused_as(
        405,
        "to cloud metadata",
        b"CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: 169.254.169.254:80\r\n\r\n",
    ),
    refused_as(
        405,
        "to a path",
        b"CONNECT /attack HTTP/1.1\r\nHost: shop\r\n\r\n",
    ),
    refused_as(
        405,
        "with a body behind it",
        b"CONNECT shop:80 HTTP/1.1\r\nHost: shop:80\r\nContent-Length: 5\r\n\r\nhello",
    ),
];
