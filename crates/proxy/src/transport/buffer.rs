//! Memory for bytes on their way. A worker lends it out and gets it back.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

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

/// Memory for what is copied for others to hold, and what a worker keeps of it: 512 KiB. The allocator is slow with
/// hundreds of pieces of this size at a time, quick with shorter ones, and longer ones are worth their price.
const COPY: usize = 2 * 1024;
const COPY_MIN: usize = 256;
const KEPT_COPIES: usize = 256;

/// The buffers of one worker.
#[derive(Default)]
pub(crate) struct Buffers {
    copies: Arc<Copies>,
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

/// Memory for copies. Behind a lock, since whoever holds [`Bytes`] may be in any thread; here that is always the worker's.
#[derive(Default)]
struct Copies(Mutex<Vec<Vec<u8>>>);

impl Copies {
    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A copy, whose memory goes back when nobody holds it any more.
struct Copied {
    bytes: Vec<u8>,
    home: Arc<Copies>,
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

    /// A copy that others may hold for as long as they like.
    pub(crate) fn copy(&self, bytes: &[u8]) -> Bytes {
        if !(COPY_MIN..=COPY).contains(&bytes.len()) {
            return Bytes::copy_from_slice(bytes);
        }
        let kept = self.copies.lock().pop();
        let mut copy = kept.unwrap_or_else(|| Vec::with_capacity(COPY));
        copy.extend_from_slice(bytes);
        Bytes::from_owner(Copied {
            bytes: copy,
            home: Arc::clone(&self.copies),
        })
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

impl AsRef<[u8]> for Copied {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        let mut copies = self.home.lock();
        if copies.len() < KEPT_COPIES {
            self.bytes.clear();
            copies.push(std::mem::take(&mut self.bytes));
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
    fn a_copys_memory_goes_to_the_next_one_when_nobody_holds_it() {
        let home = Buffers::default();
        let kept = |home: &Buffers| home.copies.lock().len();
        let one = home.copy(&[1; COPY]);
        let part = one.slice(..2);
        drop(one);
        assert_eq!((&part[..], kept(&home)), (&[1, 1][..], 0));
        drop(part);
        assert_eq!(kept(&home), 1);
        let next = home.copy(&[2; COPY_MIN]);
        assert_eq!((&next[..], kept(&home)), (&[2; COPY_MIN][..], 0));
        for len in [0, COPY_MIN - 1, COPY + 1] {
            assert_eq!(home.copy(&vec![3; len]), vec![3; len]);
        }
        assert_eq!(kept(&home), 0);
        drop((next, home));
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
