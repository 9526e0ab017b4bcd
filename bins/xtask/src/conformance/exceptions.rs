//! The cases that edgeproxy is known to fail, and why.

/// A case that may fail.
pub(super) struct Exception {
    pub(super) case: &'static str,
    pub(super) fails: Fails,
    /// With the section that says what is right.
    pub(super) reason: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fails {
    /// So that one that has been mended leaves this list.
    Always,
    /// The tool sees the one or the other, by chance.
    Sometimes,
}

const fn always(case: &'static str, reason: &'static str) -> Exception {
    Exception {
        case,
        fails: Fails::Always,
        reason,
    }
}

const fn sometimes(case: &'static str, reason: &'static str) -> Exception {
    Exception {
        case,
        fails: Fails::Sometimes,
        reason,
    }
}

/// Refused, with another code than the tool wants.
const CLOSED: &str = "the connection ends, with PROTOCOL_ERROR for STREAM_CLOSED (RFC 9113 §5.1)";
/// Answered, which is allowed before the stream is closed, but not reset.
const ANSWERED: &str =
    "answered by 400 and closed, as a malformed request may be (RFC 9113 §8.1.1); not reset";
/// Taken although it is malformed.
const SPACE: &str = "white space around a value is passed on, where HTTP/1 overlooks it, instead of refused (RFC 9113 §8.2.1)";

pub(super) const EXCEPTIONS: &[Exception] = &[
    always(
        "RFC 9113 :: 4. http frames :: invalid header block fragment",
        "the connection ends, with PROTOCOL_ERROR for COMPRESSION_ERROR (RFC 9113 §4.3)",
    ),
    always(
        "RFC 9113 :: 5. streams and multiplexing :: closed sends headers frame",
        CLOSED,
    ),
    always(
        "RFC 9113 :: 5. streams and multiplexing :: closed sends headers frame after rst stream",
        CLOSED,
    ),
    always(
        "RFC 9113 :: 5. streams and multiplexing :: half closed remote sends headers frame",
        CLOSED,
    ),
    sometimes(
        "RFC 9113 :: 5. streams and multiplexing :: half closed remote sends data frame",
        CLOSED,
    ),
    sometimes(
        "RFC 9113 :: 6. frame definitions :: sends data frame on invalid stream state",
        CLOSED,
    ),
    sometimes(
        "RFC 9113 :: 7. error codes :: sends goaway frame with unknown error code",
        "a client that has said GOAWAY and has no stream open can ask for nothing more, and is closed; the tool \
         pings it all the same (RFC 9113 §6.8)",
    ),
    always(
        "RFC 9113 :: 8. expressing http semantics in http2 :: sends connect without authority",
        "answered by 405, since no CONNECT is served here at all (RFC 9113 §8.5); not reset",
    ),
    always(
        "RFC 9113 :: 8. expressing http semantics in http2 :: sends headers frame with leading space in field value",
        SPACE,
    ),
    always(
        "RFC 9113 :: 8. expressing http semantics in http2 :: sends headers frame with mismatched host authority",
        ANSWERED,
    ),
    always(
        "RFC 9113 :: 8. expressing http semantics in http2 :: sends headers frame with trailing tab in field value",
        SPACE,
    ),
];
