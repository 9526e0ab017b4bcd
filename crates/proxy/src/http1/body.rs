//! A body on its way from one side to the other: what has come, what of it may leave, and where it ends. No I/O.

use super::chunked::{At, ChunkError, Decoder, Keep};
use super::framing::Length;
use super::response::Delivery;
use super::trailers::trailers;
use crate::transport::buffer::Buffer;

/// One body. Bytes come into its [`Buffer`], which may hold the end of the head before it and the beginning of
/// the message behind it.
pub(crate) struct Body {
    pub(crate) buffer: Buffer,
    /// That many bytes at the buffer's beginning are to leave as they are.
    ready: usize,
    rest: Rest,
    /// Leaves behind what is ready: trailers, or the last chunk.
    tail: Vec<u8>,
    tail_sent: usize,
    /// Content that may still come.
    left: Option<u64>,
}

/// What is still to come.
enum Rest {
    /// Nothing.
    Ended,
    Known(u64),
    Chunked(Decoder, Keep),
    Trailers(Keep),
    /// Until the connection ends; in chunks of ours or as it is.
    UntilClose {
        chunks: bool,
    },
}

impl Rest {
    fn of(length: Length, delivery: Delivery) -> Self {
        match (length, delivery) {
            (Length::Known(0), _) => Self::Ended,
            (Length::Known(length), _) => Self::Known(length),
            (Length::Chunked, Delivery::Bare) => Self::Chunked(Decoder::new(), Keep::Data),
            (Length::Chunked, _) => Self::Chunked(Decoder::new(), Keep::Chunks),
            (Length::UntilClose, delivery) => Self::UntilClose {
                chunks: delivery == Delivery::Chunked,
            },
        }
    }
}

/// What is wrong with a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("{0}")]
    Chunk(#[from] ChunkError),
    #[error("the body is longer than is taken")]
    TooLong,
    #[error("the connection ended before the body did")]
    Truncated,
}

/// The trailers of a body, at most. They have to come whole before they are passed on.
const MAX_TRAILERS: usize = 8 * 1024;
/// A chunk's size, its line end, and the line end behind its data.
const CHUNK_FRONT: usize = 18;
const CHUNK_BACK: &[u8] = b"\r\n";
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

impl Body {
    /// A request's body, of which at most `max` bytes of content are taken.
    pub(crate) fn request(buffer: Buffer, length: Length, max: Option<u64>) -> Self {
        Self::new(buffer, Rest::of(length, Delivery::AsIs), max)
    }

    /// A response's body.
    pub(crate) fn response(buffer: Buffer, length: Length, delivery: Delivery) -> Self {
        Self::new(buffer, Rest::of(length, delivery), None)
    }

    /// The head has come that tells what body it is. What is in the buffer behind it is the beginning.
    pub(crate) fn begin(&mut self, length: Length, delivery: Delivery) {
        self.rest = Rest::of(length, delivery);
    }

    fn new(buffer: Buffer, rest: Rest, left: Option<u64>) -> Self {
        Self {
            buffer,
            ready: 0,
            rest,
            tail: Vec::new(),
            tail_sent: 0,
            left,
        }
    }

    /// Looks at what has come, once nothing is ready any more.
    pub(crate) fn decode(&mut self) -> Result<(), BodyError> {
        if self.ready > 0 || self.buffer.is_empty() {
            return Ok(());
        }
        match &mut self.rest {
            Rest::Ended => {}
            Rest::Known(left) => {
                let there = self.buffer.len();
                self.ready = usize::try_from(*left).map_or(there, |left| left.min(there));
                *left -= self.ready as u64;
                if *left == 0 {
                    self.rest = Rest::Ended;
                }
            }
            Rest::UntilClose { chunks } => {
                if *chunks {
                    let front = format!("{:x}\r\n", self.buffer.len());
                    // Room for both was left when the bytes were asked for, unless they came with the head.
                    if self.buffer.space().len() < CHUNK_BACK.len() {
                        self.buffer.shift();
                    }
                    if !(self.buffer.append(CHUNK_BACK) && self.buffer.prepend(front.as_bytes())) {
                        return Err(BodyError::TooLong);
                    }
                }
                self.ready = self.buffer.len();
            }
            Rest::Chunked(..) => self.decode_chunks()?,
            Rest::Trailers(_) => self.decode_trailers()?,
        }
        Ok(())
    }

    fn decode_chunks(&mut self) -> Result<(), BodyError> {
        let Rest::Chunked(decoder, keep) = &mut self.rest else {
            return Ok(());
        };
        let keep = *keep;
        let decoded = decoder.decode(self.buffer.data_mut(), keep)?;
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(decoded.data).ok_or(BodyError::TooLong)?;
            // What is announced is not waited for.
            if decoder.announced() > *left {
                return Err(BodyError::TooLong);
            }
        }
        self.buffer
            .close_gap(decoded.kept, decoded.consumed - decoded.kept);
        self.ready = decoded.kept;
        match decoded.at {
            At::Middle => {}
            At::End => self.rest = Rest::Ended,
            At::Trailers => {
                self.rest = Rest::Trailers(keep);
                if self.ready == 0 {
                    self.decode_trailers()?;
                }
            }
        }
        Ok(())
    }

    fn decode_trailers(&mut self) -> Result<(), BodyError> {
        let Rest::Trailers(keep) = &self.rest else {
            return Ok(());
        };
        let mut tail = Vec::new();
        if let Some(read) = trailers(self.buffer.data(), MAX_TRAILERS, &mut tail)? {
            self.buffer.consume(read);
            if *keep == Keep::Data {
                // They have no place behind bare content.
                self.tail_sent = tail.len();
            }
            self.tail = tail;
            self.rest = Rest::Ended;
        }
        Ok(())
    }

    /// What is to leave next; empty if more has to come first, or if all has left.
    pub(crate) fn outgoing(&self) -> &[u8] {
        if self.ready > 0 {
            self.buffer.data().get(..self.ready).unwrap_or_default()
        } else {
            self.tail.get(self.tail_sent..).unwrap_or_default()
        }
    }

    /// That many bytes of what was outgoing have left.
    pub(crate) fn sent(&mut self, count: usize) {
        if self.ready > 0 {
            self.buffer.consume(count);
            self.ready -= count.min(self.ready);
        } else {
            self.tail_sent += count;
        }
    }

    /// The lines behind content out of its chunks, and the empty line that ends them; nothing before they have come,
    /// or if there are none.
    pub(crate) fn trailers(&self) -> &[u8] {
        &self.tail
    }

    /// Puts bytes in front of what is outgoing, such as the head, so that they leave together. `false`: they
    /// don't fit.
    #[must_use]
    pub(crate) fn prepend(&mut self, front: &[u8]) -> bool {
        let fits = self.ready > 0 && self.buffer.prepend(front);
        if fits {
            self.ready += front.len();
        }
        fits
    }

    /// Whether everything has come. Some of it may still have to leave.
    pub(crate) fn has_come(&self) -> bool {
        matches!(self.rest, Rest::Ended)
    }

    /// Throws away what has come. Whether that was all of it, and nothing behind it.
    pub(crate) fn discard(&mut self) -> bool {
        while self.decode().is_ok() {
            let count = self.outgoing().len();
            if count == 0 {
                return self.has_come() && !self.has_extra();
            }
            self.sent(count);
        }
        false
    }

    /// Whether everything has left.
    pub(crate) fn has_left(&self) -> bool {
        self.has_come() && self.outgoing().is_empty()
    }

    /// Whether bytes have come that don't belong to it.
    pub(crate) fn has_extra(&self) -> bool {
        self.has_come() && self.buffer.len() > self.ready
    }

    /// Content still to come, as far as it is known.
    pub(crate) fn to_come(&self) -> u64 {
        match &self.rest {
            Rest::Ended => 0,
            Rest::Known(left) => *left,
            Rest::Chunked(..) | Rest::Trailers(_) | Rest::UntilClose { .. } => u64::MAX,
        }
    }

    /// Where the next bytes can be put; only once nothing is outgoing. Empty if they can't be taken.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.buffer.space().is_empty() {
            self.buffer.shift();
        }
        match &self.rest {
            Rest::UntilClose { chunks: true } => {
                let space = self.buffer.space();
                let end = space.len().saturating_sub(CHUNK_BACK.len() + CHUNK_FRONT);
                space.get_mut(..end).unwrap_or_default()
            }
            _ => self.buffer.space(),
        }
    }

    /// The connection that it comes by has ended.
    pub(crate) fn closed(&mut self) -> Result<(), BodyError> {
        match &self.rest {
            Rest::Ended => Ok(()),
            Rest::UntilClose { chunks } => {
                if *chunks {
                    self.tail = LAST_CHUNK.to_vec();
                }
                self.rest = Rest::Ended;
                Ok(())
            }
            Rest::Known(_) | Rest::Chunked(..) | Rest::Trailers(_) => Err(BodyError::Truncated),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use proptest::prelude::*;

    use super::*;
    use crate::transport::buffer::Buffers;

    /// What leaves of bytes that come in pieces, and what is left behind them.
    fn pass(
        length: Length,
        delivery: Delivery,
        pieces: &[&[u8]],
        closes: bool,
    ) -> Result<(Vec<u8>, Vec<u8>), BodyError> {
        let mut body = Body::response(Rc::<Buffers>::default().buffer(), length, delivery);
        let mut out = Vec::new();
        for piece in pieces {
            let space = body.space();
            space[..piece.len()].copy_from_slice(piece);
            body.buffer.filled(piece.len());
            loop {
                body.decode()?;
                let Some(byte) = body.outgoing().first().copied() else {
                    break;
                };
                out.push(byte);
                body.sent(1);
            }
        }
        if closes {
            body.closed()?;
        }
        out.extend_from_slice(body.outgoing());
        assert!(body.has_come());
        Ok((out, body.buffer.data().to_vec()))
    }

    fn whole(length: Length, delivery: Delivery, bytes: &str) -> (String, String) {
        let (out, left) = pass(
            length,
            delivery,
            &[bytes.as_bytes()],
            length == Length::UntilClose,
        )
        .unwrap();
        (String::from_utf8(out).unwrap(), String::from_utf8(left).unwrap())
    }

    fn texts(out: &str, left: &str) -> (String, String) {
        (out.to_owned(), left.to_owned())
    }

    #[test]
    fn each_kind_ends_where_it_ends() {
        assert_eq!(
            whole(Length::Known(3), Delivery::AsIs, "abcdef"),
            texts("abc", "def")
        );
        assert_eq!(whole(Length::NONE, Delivery::AsIs, "abc"), texts("", "abc"));
        let chunks = "3;x=y\r\nabc\r\n0\r\nA: 1\r\nVia: h\r\n\r\nrest";
        assert_eq!(
            whole(Length::Chunked, Delivery::AsIs, chunks),
            texts("3\r\nabc\r\n0\r\nA: 1\r\n\r\n", "rest")
        );
        assert_eq!(
            whole(Length::Chunked, Delivery::Bare, chunks),
            texts("abc", "rest")
        );
        assert_eq!(
            whole(Length::UntilClose, Delivery::Chunked, "abc"),
            texts("3\r\nabc\r\n0\r\n\r\n", "")
        );
        assert_eq!(
            whole(Length::UntilClose, Delivery::UntilClose, "abc"),
            texts("abc", "")
        );
    }

    #[test]
    fn what_ends_early_is_truncated() {
        for length in [Length::Known(4), Length::Chunked] {
            let passed = pass(length, Delivery::AsIs, &[b"3\r\n"], true);
            assert_eq!(passed, Err(BodyError::Truncated));
        }
        let trailers = pass(Length::Chunked, Delivery::AsIs, &[b"0\r\na: 1\r\n"], true);
        assert_eq!(trailers, Err(BodyError::Truncated));
    }

    #[test]
    fn content_beyond_the_limit_is_refused_and_framing_does_not_count() {
        let body = |text: &[u8]| {
            let mut body = Body::request(Rc::<Buffers>::default().buffer(), Length::Chunked, Some(4));
            assert!(body.buffer.append(text));
            body.decode()
        };
        assert_eq!(body(b"2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"), Ok(()));
        assert_eq!(body(b"2\r\nab\r\n3\r\ncde\r\n"), Err(BodyError::TooLong));
    }

    #[test]
    fn a_head_leaves_with_what_is_ready() {
        let mut body = Body::request(Rc::<Buffers>::default().buffer(), Length::Known(2), None);
        assert!(!body.prepend(b"head"), "nothing is ready");
        assert!(body.buffer.append(b"abc"));
        body.decode().unwrap();
        assert!(body.prepend(b"head "));
        assert_eq!(body.outgoing(), b"head ab");
        body.sent(7);
        assert!(body.has_left());
        assert_eq!(body.buffer.data(), b"c");
    }

    proptest! {
        #[test]
        fn pieces_leave_as_the_whole_does(
            chunks in proptest::collection::vec("[a-z]{1,20}", 0..5),
            trailer in proptest::option::of("[a-z]{1,9}"),
            cuts in proptest::collection::vec(0usize..150, 0..4),
        ) {
            let mut bytes = String::new();
            for chunk in &chunks {
                bytes.push_str(&format!("{:x};e\r\n{chunk}\r\n", chunk.len()));
            }
            bytes.push_str("0\r\n");
            if let Some(value) = &trailer {
                bytes.push_str(&format!("t: {value}\r\n"));
            }
            bytes.push_str("\r\nrest");
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes.as_bytes()[pair[0]..pair[1]]).collect();
            for delivery in [Delivery::AsIs, Delivery::Bare] {
                let (out, left) = pass(Length::Chunked, delivery, &pieces, false).unwrap();
                let (expected, rest) = whole(Length::Chunked, delivery, &bytes);
                prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
                prop_assert_eq!(String::from_utf8(left).unwrap(), rest);
            }
        }
    }
}
