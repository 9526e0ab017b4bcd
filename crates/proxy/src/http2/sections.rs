//! Whether the trailers that h2 hands over are all that came.
//!
//! A pseudo-header field has no place in trailers and makes the message malformed (RFC 9113 §8.1). h2 0.4.20 takes such
//! fields out without a word, and so it does with those beyond its limit for a field section, which heads are refused
//! for. So the fields of each section are counted as they come, for which nothing of them has to be understood: who
//! gets fewer knows that some were taken out.

use std::cell::RefCell;
use std::collections::VecDeque;

/// What has been counted on one connection, and on which streams it was too few that came.
#[derive(Default)]
pub(crate) struct Sections {
    counted: RefCell<VecDeque<(u32, usize)>>,
    spoiled: RefCell<Vec<u32>>,
}

/// Of how many streams the count is kept until somebody asks for it. Beyond that the oldest are forgotten, and what
/// is not known is not refused: nobody loses more by it than a malformed field.
const KEPT: usize = 1024;

impl Sections {
    fn count(&self, stream: u32, fields: usize) {
        let mut counted = self.counted.borrow_mut();
        if counted.len() == KEPT {
            counted.pop_front();
        }
        counted.push_back((stream, fields));
    }

    /// How many fields came in the latest section of a stream. It is forgotten then.
    fn take(&self, stream: u32) -> Option<usize> {
        let mut counted = self.counted.borrow_mut();
        let at = counted.iter().rposition(|(counted, _)| *counted == stream)?;
        counted.remove(at).map(|(_, fields)| fields)
    }

    /// Whether nothing is kept of any stream.
    pub(crate) fn is_empty(&self) -> bool {
        self.counted.borrow().is_empty()
    }

    /// A stream has no trailers.
    pub(crate) fn forget(&self, stream: u32) {
        self.take(stream);
    }

    /// Whether `fields` are all that came as the trailers of a stream. If not it is [spoiled](Self::is_spoiled).
    pub(crate) fn is_whole(&self, stream: u32, fields: usize) -> bool {
        let whole = self.take(stream).is_none_or(|came| came == fields);
        if !whole {
            tracing::debug!(
                stream,
                "trailers have fields that they must not have, or too many"
            );
            let mut spoiled = self.spoiled.borrow_mut();
            // Of one that has been answered before nobody asks.
            spoiled.truncate(KEPT - 1);
            spoiled.push(stream);
        }
        whole
    }

    /// Whether the trailers of any stream were malformed.
    pub(crate) fn has_spoiled(&self) -> bool {
        !self.spoiled.borrow().is_empty()
    }

    /// Whether the trailers of a stream were malformed.
    pub(crate) fn is_spoiled(&self, stream: u32) -> bool {
        self.spoiled.borrow().contains(&stream)
    }

    /// A stream has ended.
    pub(crate) fn end(&self, stream: u32) {
        self.spoiled.borrow_mut().retain(|spoiled| *spoiled != stream);
    }
}

/// Follows the frames of one side and counts the fields of the sections that end a stream.
pub(crate) struct Counter {
    side: Side,
    /// Bytes until the next frame's head, or until the part of its payload that matters.
    skip: usize,
    head: [u8; HEAD],
    /// How much of the head has come.
    have: usize,
    /// Bytes of the current frame that belong to a section.
    left: usize,
    /// Padding behind those.
    padding: usize,
    /// The next byte is the length of the padding, and so many bytes of a priority follow.
    padded: Option<usize>,
    section: Option<Section>,
}

/// Whose frames they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    /// A client's: its first section on each stream is a request's head, and each stream's number is above those
    /// before. This is the highest so far.
    Client(u32),
    /// A backend's. The head of a response without a body ends its stream too.
    Backend,
}

/// A section that ends a stream, as far as it has come.
struct Section {
    stream: u32,
    /// Nothing of it follows in another frame.
    last: bool,
    fields: usize,
    at: At,
}

const HEAD: usize = 9;
const PREFACE: usize = crate::http1::connection::PREFACE.len();
const PRIORITY: usize = 5;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const HAS_PRIORITY: u8 = 0x20;

impl Counter {
    /// Of what a client sends, the preface included.
    pub(crate) fn of_client() -> Self {
        Self::new(Side::Client(0), PREFACE)
    }

    /// Of what a backend sends. Its heads without a body are counted, too, see [`Sections::forget`].
    pub(crate) fn of_backend() -> Self {
        Self::new(Side::Backend, 0)
    }

    fn new(side: Side, before: usize) -> Self {
        Self {
            side,
            skip: before,
            head: [0; HEAD],
            have: 0,
            left: 0,
            padding: 0,
            padded: None,
            section: None,
        }
    }

    /// Bytes have come.
    pub(crate) fn read(&mut self, mut bytes: &[u8], sections: &Sections) {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            if bytes.is_empty() {
                return;
            }
            if let Some(priority) = self.padded.take() {
                let (padding, rest) = bytes
                    .split_first()
                    .map_or((0, bytes), |(byte, rest)| (*byte, rest));
                bytes = rest;
                self.padding = usize::from(padding).min(self.left);
                self.left -= self.padding;
                self.skip = priority;
                self.end_frame(sections);
            } else if self.left > 0 {
                let (part, rest) = bytes.split_at(self.left.min(bytes.len()));
                bytes = rest;
                self.left -= part.len();
                if let Some(section) = &mut self.section {
                    section.read(part);
                }
                self.end_frame(sections);
            } else {
                let (part, rest) = bytes.split_at((HEAD - self.have).min(bytes.len()));
                bytes = rest;
                if let Some(place) = self.head.get_mut(self.have..self.have + part.len()) {
                    place.copy_from_slice(part);
                }
                self.have += part.len();
                if self.have == HEAD {
                    self.have = 0;
                    self.begin_frame(sections);
                }
            }
        }
    }

    fn begin_frame(&mut self, sections: &Sections) {
        let [a, b, c, kind, flags, stream @ ..] = self.head;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        let last = flags & END_HEADERS != 0;
        let opens = self.opens(kind, stream);
        match (kind, &mut self.section) {
            (HEADERS, _) if flags & END_STREAM != 0 && !opens => {
                self.section = Some(Section {
                    stream,
                    last,
                    fields: 0,
                    at: At::Field,
                });
            }
            (CONTINUATION, Some(section)) => section.last = last,
            // Nothing else may come in between, and h2 lets nothing.
            _ => {
                self.section = None;
                self.skip = length;
                return;
            }
        }
        self.left = length;
        if kind == HEADERS {
            let priority = if flags & HAS_PRIORITY != 0 { PRIORITY } else { 0 };
            self.left = self.left.saturating_sub(priority);
            if flags & PADDED != 0 && length > 0 {
                self.left = self.left.saturating_sub(1);
                self.padded = Some(priority);
                return;
            }
            self.skip = priority.min(length);
        }
        self.end_frame(sections);
    }

    /// Whether a frame is the head of a request, and so the first of its stream.
    fn opens(&mut self, kind: u8, stream: u32) -> bool {
        match &mut self.side {
            Side::Client(highest) if kind == HEADERS && stream > *highest => {
                *highest = stream;
                true
            }
            _ => false,
        }
    }

    /// Goes on behind a frame, if all of it has come that matters.
    fn end_frame(&mut self, sections: &Sections) {
        if self.left > 0 {
            return;
        }
        self.skip += std::mem::take(&mut self.padding);
        if let Some(section) = self.section.take_if(|section| section.last) {
            sections.count(section.stream, section.fields);
        }
    }
}

/// Where in a field's representation the next byte is (RFC 7541 §6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    /// The first of one.
    Field,
    /// An index, or the size of a table, goes on; so many strings follow.
    Index { strings: u8 },
    /// The length of a string; so many follow with it.
    Length { strings: u8 },
    /// That goes on.
    LongLength { strings: u8, length: usize, shift: u32 },
    /// A string, of which so many bytes are to come, and behind it so many more.
    String { left: usize, strings: u8 },
}

impl Section {
    fn read(&mut self, mut bytes: &[u8]) {
        while let Some((byte, rest)) = bytes.split_first() {
            if let At::String { left, strings } = &mut self.at {
                let skipped = (*left).min(bytes.len());
                *left -= skipped;
                bytes = bytes.get(skipped..).unwrap_or_default();
                if *left == 0 {
                    self.at = behind(*strings);
                }
                continue;
            }
            bytes = rest;
            self.at = self.step(*byte);
        }
    }

    fn step(&mut self, byte: u8) -> At {
        match self.at {
            At::Field => {
                let (prefix, named) = match byte {
                    0x80.. => (0x7f, true),
                    0x40.. => (0x3f, false),
                    0x20.. => (0x1f, true),
                    _ => (0x0f, false),
                };
                if !matches!(byte, 0x20..0x40) {
                    self.fields += 1;
                }
                let index = byte & prefix;
                let strings = match (named, index) {
                    (true, _) => 0,
                    (false, 0) => 2,
                    (false, _) => 1,
                };
                if index == prefix {
                    At::Index { strings }
                } else {
                    behind(strings)
                }
            }
            At::Index { .. } if byte & MORE != 0 => self.at,
            At::Index { strings } => behind(strings),
            At::Length { strings } => match usize::from(byte & LENGTH) {
                length if length == usize::from(LENGTH) => At::LongLength {
                    strings: strings - 1,
                    length,
                    shift: 0,
                },
                length => string(length, strings - 1),
            },
            At::LongLength {
                strings,
                length,
                shift,
            } => {
                // Longer ones than there can be are h2's to refuse.
                let part = usize::from(byte & !MORE).checked_shl(shift).unwrap_or_default();
                let length = length.saturating_add(part);
                if byte & MORE == 0 {
                    string(length, strings)
                } else {
                    At::LongLength {
                        strings,
                        length,
                        shift: shift + 7,
                    }
                }
            }
            At::String { .. } => self.at,
        }
    }
}

/// An integer goes on with the next byte.
const MORE: u8 = 0x80;
/// Of a string's length, beside the bit that says how it is coded.
const LENGTH: u8 = 0x7f;

fn behind(strings: u8) -> At {
    match strings {
        0 => At::Field,
        strings => At::Length { strings },
    }
}

fn string(length: usize, strings: u8) -> At {
    match length {
        0 => behind(strings),
        left => At::String { left, strings },
    }
}

#[cfg(test)]
mod tests;
