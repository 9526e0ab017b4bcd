use std::rc::Rc;

use super::pieces::divisions;
use super::reference::{self, Chunked, Field};
use crate::http1::body::{Body, BodyError};
use crate::http1::framing::Length;
use crate::http1::response::Delivery;
use crate::transport::buffer::Buffers;

/// Of trailers.
const MAX_TRAILERS: (usize, usize) = (8 * 1024, 100);
/// Of extensions.
const MAX_EXTENSIONS: usize = 8 * 1024;

/// What became of a body whose bytes, and then the connection's end, have come.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Passed {
    out: Vec<u8>,
    /// Bytes behind it.
    left: Vec<u8>,
}

/// A request's body ends where its framing says, however it is cut, and nothing of it is lost, added or passed on
/// beyond its limit.
pub fn request_body(bytes: &[u8]) {
    let buffers = Rc::default();
    for max in [None, Some(bytes.len() as u64 / 2)] {
        known(bytes, &buffers, |buffer_of, length| {
            Body::request(buffer_of.buffer(), length, max)
        });
        let [whole, few, single] = divisions(bytes)
            .map(|pieces| pass(Body::request(buffers.buffer(), Length::Chunked, max), &pieces));
        // Which of two errors is met first may depend on how much has come.
        assert_eq!(whole.as_ref().ok(), few.as_ref().ok(), "in a few pieces");
        assert_eq!(whole.as_ref().ok(), single.as_ref().ok(), "byte by byte");
        chunked(bytes, whole, max, Delivery::AsIs);
    }
}

/// A response's body ends where its framing says, however it is cut, and each kind of client can tell its end.
pub fn response_body(bytes: &[u8]) {
    let buffers = Rc::default();
    known(bytes, &buffers, |buffers, length| {
        Body::response(buffers.buffer(), length, Delivery::AsIs)
    });
    for delivery in [Delivery::AsIs, Delivery::Bare] {
        let [whole, few, single] = divisions(bytes).map(|pieces| {
            pass(
                Body::response(buffers.buffer(), Length::Chunked, delivery),
                &pieces,
            )
        });
        assert_eq!(whole, few, "in a few pieces");
        assert_eq!(whole, single, "byte by byte");
        chunked(bytes, whole, None, delivery);
    }
    for pieces in divisions(bytes) {
        let body = Body::response(buffers.buffer(), Length::UntilClose, Delivery::UntilClose);
        assert_eq!(pass(body, &pieces), passed(bytes, b""));
        let body = Body::response(buffers.buffer(), Length::UntilClose, Delivery::Chunked);
        let Passed { out, left } = pass(body, &pieces).unwrap();
        let Chunked::Whole {
            content, trailers, ..
        } = reference::chunked(&out)
        else {
            panic!("{} has no end", out.escape_ascii());
        };
        assert_eq!(
            (content.as_slice(), trailers.len(), trailers.end),
            (bytes, 2, out.len())
        );
        assert!(left.is_empty());
    }
}

/// Bodies of known length, of which some come whole.
fn known(bytes: &[u8], buffers: &Rc<Buffers>, body: impl Fn(&Rc<Buffers>, Length) -> Body) {
    let there = bytes.len();
    for length in [0, 1, there / 2, there, there + 1] {
        let expected = match bytes.get(..length) {
            Some(content) => passed(content, &bytes[length..]),
            None => Err(BodyError::Truncated),
        };
        for pieces in divisions(bytes) {
            assert_eq!(
                pass(body(buffers, Length::Known(length as u64)), &pieces),
                expected
            );
        }
    }
}

fn passed(out: &[u8], left: &[u8]) -> Result<Passed, BodyError> {
    Ok(Passed {
        out: out.to_vec(),
        left: left.to_vec(),
    })
}

fn pass(mut body: Body, pieces: &[&[u8]]) -> Result<Passed, BodyError> {
    let (mut out, mut left) = (Vec::new(), Vec::new());
    let mut turn = 0;
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            if body.has_come() {
                left.extend_from_slice(body.buffer.data());
                let count = body.buffer.len();
                body.buffer.consume(count);
                left.extend_from_slice(rest);
                break;
            }
            let space = body.space();
            assert!(!space.is_empty(), "it takes nothing more, and does not say so");
            let count = space.len().min(rest.len());
            space[..count].copy_from_slice(&rest[..count]);
            body.buffer.filled(count);
            rest = &rest[count..];
            drain(&mut body, &mut out, &mut turn)?;
        }
    }
    if body.has_come() {
        left.splice(0..0, body.buffer.data().iter().copied());
    }
    body.closed()?;
    drain(&mut body, &mut out, &mut turn)?;
    assert!(body.has_left() && body.to_come() == 0);
    Ok(Passed { out, left })
}

/// Sends what may leave, now all of it and now a part.
fn drain(body: &mut Body, out: &mut Vec<u8>, turn: &mut usize) -> Result<(), BodyError> {
    loop {
        body.decode()?;
        let outgoing = body.outgoing();
        if outgoing.is_empty() {
            return Ok(());
        }
        *turn += 1;
        let count = if turn.is_multiple_of(2) { 1 } else { outgoing.len() };
        out.extend_from_slice(&outgoing[..count]);
        body.sent(count);
    }
}

/// Holds a chunked body against the reference.
fn chunked(bytes: &[u8], whole: Result<Passed, BodyError>, max: Option<u64>, delivery: Delivery) {
    let Chunked::Whole {
        content,
        trailers,
        extensions,
    } = reference::chunked(bytes)
    else {
        assert!(whole.is_err(), "it has no end, and yet {whole:?}");
        return;
    };
    let fields = reference::trailers(&bytes[trailers.clone()]);
    let spoilt = |field: &Field| {
        matches!(
            folded(field).as_str(),
            "content-length" | "host" | "transfer-encoding"
        ) && !field.name.contains('_')
    };
    let is_sound = |fields: &Vec<Field>| fields.len() <= MAX_TRAILERS.1 && !fields.iter().any(spoilt);
    let fields = fields
        .filter(is_sound)
        .filter(|_| trailers.len() <= MAX_TRAILERS.0);
    let fits = max.is_none_or(|max| content.len() as u64 <= max) && extensions <= MAX_EXTENSIONS;
    let (Some(fields), true) = (fields, fits) else {
        assert!(whole.is_err(), "{whole:?}");
        return;
    };
    let Passed { out, left } = whole.expect("it is sound");
    assert_eq!(left, &bytes[trailers.end..]);
    if delivery == Delivery::Bare {
        assert_eq!(out, content);
        return;
    }
    let Chunked::Whole {
        content: again,
        trailers,
        extensions: 0,
    } = reference::chunked(&out)
    else {
        panic!("{} is no body", out.escape_ascii());
    };
    assert_eq!((again, trailers.end), (content, out.len()));
    let kept: Vec<Field> = fields.into_iter().filter(may_trail).collect();
    assert_eq!(reference::trailers(&out[trailers]), Some(kept));
}

fn folded(field: &Field) -> String {
    field.name.replace('_', "-")
}

/// Whether a field passes behind a body: none that a proxy looks at does.
fn may_trail(field: &Field) -> bool {
    let known = super::request_head::KNOWN.contains(&folded(field).as_str());
    !known || field.name == "date"
}
