//! Bodies whose every byte is known, so that a part that is lost, repeated or moved is seen.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// A prime, so that no buffer's size hides a shift.
const PERIOD: usize = 65_521;

/// What a body gives at a time, at most.
const PIECE: usize = 16 * 1024;

static TABLE: LazyLock<Bytes> = LazyLock::new(|| {
    (0..PERIOD)
        .map(|at| ((at / 251) ^ at).to_le_bytes()[0])
        .collect::<Vec<u8>>()
        .into()
});

/// A piece of the pattern that begins at `at`, at most `max` long.
pub(crate) fn piece(at: usize, max: usize) -> Bytes {
    let from = at % PERIOD;
    TABLE.slice(from..PERIOD.min(from + max.min(PIECE)))
}

/// What was received of it so far.
#[derive(Default, Debug)]
pub(crate) struct Check {
    at: usize,
}

impl Check {
    /// Takes what has come.
    ///
    /// # Errors
    /// It is not what comes next; says where.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() {
            let expected = piece(self.at, bytes.len());
            let (these, rest) = bytes.split_at(expected.len());
            if these != expected {
                return Err(format!("the bytes from {} on are others", self.at));
            }
            self.at += these.len();
            bytes = rest;
        }
        Ok(())
    }

    /// How much that was.
    pub(crate) fn count(&self) -> usize {
        self.at
    }
}

/// A body of that many bytes.
#[derive(Debug)]
pub(crate) struct Pattern {
    at: usize,
    left: usize,
    framing: Framing,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Framing {
    Length,
    Chunks,
}

impl Pattern {
    /// With its length in the head.
    pub(crate) fn of_length(length: usize) -> Self {
        Self {
            at: 0,
            left: length,
            framing: Framing::Length,
        }
    }

    /// In chunks.
    pub(crate) fn in_chunks(length: usize) -> Self {
        Self {
            at: 0,
            left: length,
            framing: Framing::Chunks,
        }
    }
}

impl Body for Pattern {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let next = piece(self.at, self.left);
        self.at += next.len();
        self.left -= next.len();
        Poll::Ready(Some(Ok(Frame::data(next))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        match self.framing {
            Framing::Length => SizeHint::with_exact(self.left as u64),
            Framing::Chunks => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_and_a_gap_are_seen() {
        let whole: Vec<u8> = (0..10).flat_map(|n| piece(n * PIECE, PIECE)).collect();
        let mut check = Check::default();
        check.take(&whole[..PERIOD]).unwrap();
        check.take(&piece(PERIOD, 100)).unwrap();
        assert_eq!(check.count(), PERIOD + 100);
        assert!(check.take(&piece(PERIOD + 101, 100)).is_err());
    }
}
