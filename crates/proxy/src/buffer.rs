//! Memory for bytes on their way. A worker lends it out and gets it back.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};

/// What is free in front of a buffer's first byte, so that a head can be put before a body that is there
/// already, and both leave in one write.
const HEADROOM: usize = 1024;
/// Enough for nearly every request and most answers.
const SMALL: usize = 16 * 1024;
/// For bodies that keep coming: 64 KiB answers cost a third less than with half of it.
const LARGE: usize = 64 * 1024 + HEADROOM;
/// What a worker keeps of each size for the next one who needs it: 2 MiB.
const KEPT_SMALL: usize = 128;
const KEPT_LARGE: usize = 32;
/// Heads that are written, and what a worker keeps of them.
const HEAD: usize = 1024;
const KEPT_HEADS: usize = 128;
/// One that has grown beyond this is not kept.
const HEAD_MAX: usize = 8 * 1024;

/// What is copied for others to hold is cut from pieces of this size, so that it takes no memory of its own. One that
/// is held alone holds all of its piece, which bounds how large a piece may be.
const PIECE: usize = 16 * 1024;
/// What is longer has memory of its own.
const CUT_MAX: usize = 4 * 1024;

/// The buffers of one worker.
#[derive(Default)]
pub(crate) struct Buffers {
    piece: RefCell<BytesMut>,
    small: RefCell<Vec<Box<[u8]>>>,
    large: RefCell<Vec<Box<[u8]>>>,
    heads: RefCell<Vec<Vec<u8>>>,
}

/// Bytes that have come and are still to go. It holds memory only while it holds bytes, or has just been asked
/// for room.
pub(crate) struct Buffer {
    home: Rc<Buffers>,
    /// Empty: none is held.
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

/// A head that is being written.
pub(crate) struct HeadBuffer {
    home: Rc<Buffers>,
    bytes: Vec<u8>,
}

impl Buffers {
    fn lend(&self, large: bool) -> Box<[u8]> {
        let (shelf, size) = if large {
            (&self.large, LARGE)
        } else {
            (&self.small, SMALL)
        };
        let kept = shelf.borrow_mut().pop();
        kept.unwrap_or_else(|| vec![0; size].into_boxed_slice())
    }

    fn take_back(&self, bytes: Box<[u8]>) {
        let (shelf, kept) = match bytes.len() {
            SMALL => (&self.small, KEPT_SMALL),
            LARGE => (&self.large, KEPT_LARGE),
            _ => return,
        };
        let mut shelf = shelf.borrow_mut();
        if shelf.len() < kept {
            shelf.push(bytes);
        }
    }

    /// A buffer that holds nothing.
    pub(crate) fn buffer(self: &Rc<Self>) -> Buffer {
        Buffer {
            home: Rc::clone(self),
            bytes: Box::default(),
            start: HEADROOM,
            end: HEADROOM,
        }
    }

    /// A copy that others may hold, and share.
    pub(crate) fn copy(&self, bytes: &[u8]) -> Bytes {
        if bytes.len() > CUT_MAX {
            return Bytes::copy_from_slice(bytes);
        }
        let mut piece = self.piece.borrow_mut();
        if piece.capacity() < bytes.len() {
            *piece = BytesMut::with_capacity(PIECE);
        }
        piece.extend_from_slice(bytes);
        piece.split().freeze()
    }

    pub(crate) fn head(self: &Rc<Self>) -> HeadBuffer {
        let kept = self.heads.borrow_mut().pop();
        HeadBuffer {
            home: Rc::clone(self),
            bytes: kept.unwrap_or_else(|| Vec::with_capacity(HEAD)),
        }
    }
}

impl Buffer {
    /// Where its memory comes from.
    pub(crate) fn home(&self) -> &Rc<Buffers> {
        &self.home
    }

    pub(crate) fn data(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    pub(crate) fn data_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.end).unwrap_or_default()
    }

    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Where bytes can be put that come next. Empty if the buffer is full.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.bytes = self.home.lend(false);
        }
        if self.is_empty() {
            (self.start, self.end) = (HEADROOM, HEADROOM);
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// That many bytes have been put into the space.
    pub(crate) fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// That many bytes at the beginning are done with.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// Takes `gap` bytes out that stand behind the first `count`.
    pub(crate) fn close_gap(&mut self, count: usize, gap: usize) {
        if gap > 0 {
            let start = self.start;
            self.bytes.copy_within(start..start + count, start + gap);
            self.consume(gap);
        }
    }

    /// Puts bytes before the first one. `false`: they don't fit, and nothing has changed.
    #[must_use]
    pub(crate) fn prepend(&mut self, front: &[u8]) -> bool {
        if self.bytes.is_empty() {
            self.bytes = self.home.lend(false);
        }
        let Some(start) = self.start.checked_sub(front.len()) else {
            return false;
        };
        let Some(place) = self.bytes.get_mut(start..self.start) else {
            return false;
        };
        place.copy_from_slice(front);
        self.start = start;
        true
    }

    /// Puts bytes behind the last one. `false`: they don't fit, and nothing has changed.
    #[must_use]
    pub(crate) fn append(&mut self, back: &[u8]) -> bool {
        let Some(place) = self.space().get_mut(..back.len()) else {
            return false;
        };
        place.copy_from_slice(back);
        self.filled(back.len());
        true
    }

    /// Moves what it holds to the front, so that there is more space behind it.
    pub(crate) fn shift(&mut self) {
        if self.start > HEADROOM {
            self.bytes.copy_within(self.start..self.end, HEADROOM);
            (self.start, self.end) = (HEADROOM, HEADROOM + self.len());
        }
    }

    pub(crate) fn is_large(&self) -> bool {
        self.bytes.len() == LARGE
    }

    /// Exchanges its memory for the larger kind.
    pub(crate) fn grow(&mut self) {
        if self.is_large() {
            return;
        }
        let mut larger = self.home.lend(true);
        let (len, start) = (self.len(), HEADROOM);
        if let Some(place) = larger.get_mut(start..start + len) {
            place.copy_from_slice(self.data());
        }
        self.home.take_back(std::mem::replace(&mut self.bytes, larger));
        (self.start, self.end) = (start, start + len);
    }

    /// Gives its memory back if it holds nothing.
    pub(crate) fn release(&mut self) {
        if self.is_empty() && !self.bytes.is_empty() {
            self.home.take_back(std::mem::take(&mut self.bytes));
            (self.start, self.end) = (HEADROOM, HEADROOM);
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.home.take_back(std::mem::take(&mut self.bytes));
        }
    }
}

impl std::ops::Deref for HeadBuffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl std::ops::DerefMut for HeadBuffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Drop for HeadBuffer {
    fn drop(&mut self) {
        let mut heads = self.home.heads.borrow_mut();
        if heads.len() < KEPT_HEADS && self.bytes.capacity() <= HEAD_MAX {
            let mut bytes = std::mem::take(&mut self.bytes);
            bytes.clear();
            heads.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(bytes: &[u8]) -> (Rc<Buffers>, Buffer) {
        let home = Rc::<Buffers>::default();
        let mut buffer = home.buffer();
        assert!(buffer.append(bytes));
        (home, buffer)
    }

    #[test]
    fn copies_are_cut_from_one_piece_and_long_ones_are_not() {
        let home = Buffers::default();
        let (one, other, long) = (home.copy(b"abc"), home.copy(b"d"), home.copy(&[7; CUT_MAX + 1]));
        assert_eq!(
            (&one[..], &other[..], &long[..]),
            (&b"abc"[..], &b"d"[..], &[7; CUT_MAX + 1][..])
        );
        assert_eq!(one.as_ptr().wrapping_add(3), other.as_ptr());
        assert_eq!(home.piece.borrow().capacity(), PIECE - 4);
        for _ in 0..PIECE / CUT_MAX {
            assert_eq!(home.copy(&[7; CUT_MAX]).len(), CUT_MAX);
        }
        assert_eq!((&one[..], &other[..]), (&b"abc"[..], &b"d"[..]));
    }

    #[test]
    fn bytes_go_in_behind_and_out_in_front() {
        let (_, mut buffer) = holding(b"abcdef");
        buffer.consume(2);
        assert!(buffer.prepend(b"<head>"));
        assert_eq!(buffer.data(), b"<head>cdef");
        buffer.close_gap(6, 2);
        assert_eq!(buffer.data(), b"<head>ef");
        buffer.consume(100);
        assert!(buffer.is_empty());
        assert!(!buffer.prepend(&[0; SMALL]));
        assert!(!buffer.append(&[0; SMALL]));
    }

    #[test]
    fn it_grows_with_what_it_holds_and_shifts_to_make_room() {
        let (_, mut buffer) = holding(&[7; SMALL - HEADROOM]);
        assert!(buffer.space().is_empty());
        buffer.consume(1);
        buffer.shift();
        assert_eq!(buffer.space().len(), 1);
        buffer.grow();
        assert!(buffer.is_large());
        assert_eq!(buffer.data(), [7; SMALL - HEADROOM - 1]);
        assert_eq!(buffer.space().len(), LARGE - SMALL + 1);
    }

    #[test]
    fn memory_is_held_only_with_bytes_and_goes_to_the_next_one() {
        let (home, mut buffer) = holding(b"a");
        buffer.release();
        assert_eq!(home.small.borrow().len(), 0, "it still holds a byte");
        buffer.consume(1);
        buffer.release();
        assert_eq!(home.small.borrow().len(), 1);
        assert!(!buffer.space().is_empty());
        assert_eq!(home.small.borrow().len(), 0);
        drop(buffer);
        assert_eq!(home.small.borrow().len(), 1);
        drop(home.head());
        assert_eq!(home.heads.borrow().len(), 1);
    }
}
