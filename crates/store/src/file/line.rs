//! The lines of a file, and how they are found again in a damaged one.
//!
//! ```text
//! 5d2fa1c0 214 {"registered":{"id":"backend-eu-1","incarnation":7,…}}
//! ```
//!
//! First the CRC-32 (IEEE) of the JSON in hexadecimal digits, then its length in bytes, then itself. JSON has no line
//! feed inside, so a line feed is where reading goes on after damage: a byte that was flipped costs the line that it
//! is in. The length is there for the line feeds themselves. With it, one that was flipped costs nothing.

use std::io::Write as _;
use std::ops::Range;

const CHECKSUM_DIGITS: usize = 8;

/// Puts one line at the end of `bytes`. `json` has no line feed.
pub(super) fn put(json: &[u8], bytes: &mut Vec<u8>) {
    debug_assert!(!json.contains(&b'\n'));
    // Writing to a Vec can't fail.
    let _ = write!(bytes, "{:08x} {} ", crc32fast::hash(json), json.len());
    bytes.extend_from_slice(json);
    bytes.push(b'\n');
}

/// How long the line of this JSON is, in bytes.
pub(super) fn len_with(json: &[u8]) -> usize {
    let digits = json.len().checked_ilog10().map_or(1, |log| log as usize + 1);
    CHECKSUM_DIGITS + 1 + digits + 1 + json.len() + 1
}

/// A part of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Piece<'a> {
    /// The JSON of a line whose checksum is right.
    Line(&'a [u8]),
    /// What is no line, up to where one can begin again.
    Damage(Range<usize>),
    /// The beginning of a line, at the end of the file: what is left by a write that was interrupted.
    Torn(Range<usize>),
}

/// The parts of a file, from its beginning to its end.
#[derive(Clone, Debug)]
pub(super) struct Pieces<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Pieces<'a> {
    pub(super) const fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn skip(&mut self, len: usize) -> Range<usize> {
        let from = self.at;
        self.at = from.saturating_add(len).min(self.bytes.len());
        from..self.at
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let rest = self.rest();
        if rest.is_empty() {
            return None;
        }
        if let Some((json, len)) = whole(rest) {
            self.skip(len);
            return Some(Piece::Line(json));
        }
        if is_torn(rest) {
            return Some(Piece::Torn(self.skip(rest.len())));
        }
        // A line feed that was flipped is found at the beginning of what follows a whole line: it costs itself alone.
        if self.at > 0 && whole(rest.get(1..).unwrap_or_default()).is_some() {
            return Some(Piece::Damage(self.skip(1)));
        }
        let end = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(rest.len(), |at| at + 1);
        Some(Piece::Damage(self.skip(end)))
    }
}

/// The JSON of the line at the beginning of `bytes`, and how long the line is. Its line feed need not be right, but if it
/// isn't, it isn't counted.
fn whole(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let head = Head::read(bytes)?;
    let end = head.len.checked_add(head.json_len)?;
    let json = bytes.get(head.len..end)?;
    if crc32fast::hash(json) != head.checksum {
        return None;
    }
    let has_line_feed = bytes.get(end) == Some(&b'\n');
    Some((json, end + usize::from(has_line_feed)))
}

/// Whether `bytes`, which go to the end of the file, are the beginning of a line and no whole one. What a file system
/// has made room for but not written reads as zeros.
fn is_torn(bytes: &[u8]) -> bool {
    let written = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    let (written, _) = bytes.split_at(written);
    if written.contains(&b'\n') || written.contains(&0) {
        return false;
    }
    match Head::read(written) {
        Some(head) => written.len() - head.len < head.json_len,
        None => is_beginning_of_head(written),
    }
}

/// What stands before the JSON.
struct Head {
    checksum: u32,
    json_len: usize,
    len: usize,
}

impl Head {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (checksum, rest) = bytes.split_at_checked(CHECKSUM_DIGITS)?;
        let checksum = checksum
            .iter()
            .try_fold(0, |sum: u32, byte| Some(sum << 4 | hex(*byte)?))?;
        let rest = rest.strip_prefix(b" ")?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (json_len, rest) = rest.split_at(digits);
        let json_len = std::str::from_utf8(json_len).ok()?.parse().ok()?;
        rest.strip_prefix(b" ")?;
        Some(Self {
            checksum,
            json_len,
            len: CHECKSUM_DIGITS + 1 + digits + 1,
        })
    }
}

// Lower case only, so that each value has one spelling and a flipped bit is seen in the digits as well.
const fn hex(byte: u8) -> Option<u32> {
    match byte {
        b'0'..=b'9' => Some((byte - b'0') as u32),
        b'a'..=b'f' => Some((byte - b'a' + 10) as u32),
        _ => None,
    }
}

fn is_beginning_of_head(bytes: &[u8]) -> bool {
    bytes.iter().enumerate().all(|(at, byte)| match at {
        0..CHECKSUM_DIGITS => hex(*byte).is_some(),
        CHECKSUM_DIGITS => *byte == b' ',
        // With the space after it, it would be a head.
        _ => byte.is_ascii_digit(),
    })
}

#[cfg(test)]
mod tests;
