//! The chunked coding (RFC 9112 §7.1), read in place. No I/O.
//!
//! What is read from one side is what is sent to the other, in the same buffer: a body that comes in plain
//! chunks is passed on without a byte being copied. Extensions mean something between neighbours only and are
//! taken out. Everything else that is not the grammar to the letter is refused, since a lenient reader on the
//! other side could take it for something else.

/// How a body is passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Keep {
    /// In chunks, as it came.
    Chunks,
    /// Without its framing, for a reader who does not know of chunks.
    Data,
}

/// Why a body is malformed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum ChunkError {
    #[error("a chunk's size is not a hexadecimal number of at most 16 digits")]
    Size,
    #[error("a chunk's extension is malformed or too long")]
    Extension,
    #[error("a chunk's line or data does not end in CR LF")]
    LineEnd,
    #[error("the trailers are malformed")]
    Trailers,
    #[error("the trailers are too long")]
    TrailersTooLong,
}

/// What came of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Decoded {
    /// That many bytes at the beginning are to be passed on.
    pub(crate) kept: usize,
    /// That many bytes were read.
    pub(crate) consumed: usize,
    /// Bytes of the body's content among them.
    pub(crate) data: u64,
    pub(crate) at: At,
}

/// Where the reader is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum At {
    /// More is to come.
    Middle,
    /// Trailers begin with the next byte. They are for [`trailers`](super::trailers).
    Trailers,
    /// The body has ended.
    End,
}

/// Reads a chunked body piece by piece.
#[derive(Clone, Debug)]
pub(crate) struct Decoder {
    state: State,
    /// What is left of the chunk; while its size is read, the size so far.
    left: u64,
    /// Digits of the size so far.
    digits: u8,
    /// Bytes of extensions so far, in the whole body.
    extensions: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Size,
    /// White space behind the size, before a semicolon.
    SizeGap,
    /// Behind a semicolon, or in an extension's name.
    Extension(Extension),
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    /// Behind the last chunk's line: the empty line, or trailers.
    Last,
    LastLf,
    End,
}

/// `;name`, `;name=token` or `;name="quoted \" string"`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Extension {
    NameStart,
    Name,
    NameGap,
    ValueStart,
    Value,
    Quoted,
    Escaped,
    QuotedEnd,
    ValueGap,
}

/// Of one chunk's size; enough for 64 bits.
const MAX_DIGITS: u8 = 16;
/// Larger ones are negative to somebody.
const MAX_SIZE: u64 = i64::MAX as u64;
/// Of all extensions of a body. Nobody is known to use them, and each byte is one that is read for nothing.
const MAX_EXTENSIONS: u16 = 8 * 1024;

impl Decoder {
    pub(crate) const fn new() -> Self {
        Self {
            state: State::Size,
            left: 0,
            digits: 0,
            extensions: 0,
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.state == State::End
    }

    /// Content of the current chunk that has still to come.
    pub(crate) fn announced(&self) -> u64 {
        if self.state == State::Data { self.left } else { 0 }
    }

    /// Reads `bytes`, and moves those that are to be passed on to their beginning.
    pub(crate) fn decode(&mut self, bytes: &mut [u8], keep: Keep) -> Result<Decoded, ChunkError> {
        let (mut read, mut kept, mut data) = (0, 0, 0);
        let framing = keep == Keep::Chunks;
        while let Some(byte) = bytes.get(read).copied() {
            match self.state {
                State::Data => {
                    let there = bytes.len() - read;
                    let count = usize::try_from(self.left).map_or(there, |left| left.min(there));
                    if kept != read {
                        bytes.copy_within(read..read + count, kept);
                    }
                    self.left -= count as u64;
                    if self.left == 0 {
                        self.state = State::DataCr;
                    }
                    (read, kept, data) = (read + count, kept + count, data + count as u64);
                    continue;
                }
                State::Last if !matches!(byte, b'\r' | b'\n') => {
                    return Ok(Decoded {
                        kept,
                        consumed: read,
                        data,
                        at: At::Trailers,
                    });
                }
                State::End => break,
                _ => {}
            }
            let passes = self.step(byte)?;
            if passes && framing {
                bytes[kept] = byte;
                kept += 1;
            }
            read += 1;
        }
        Ok(Decoded {
            kept,
            consumed: read,
            data,
            at: if self.has_ended() { At::End } else { At::Middle },
        })
    }

    /// Takes a byte of the framing. Whether it is passed on.
    fn step(&mut self, byte: u8) -> Result<bool, ChunkError> {
        let next = match (self.state, byte) {
            (State::Size, b'\r' | b';' | b' ' | b'\t') if self.digits == 0 => return Err(ChunkError::Size),
            (
                State::Size | State::Extension(Extension::Name | Extension::Value | Extension::QuotedEnd),
                b'\r',
            ) => State::SizeEnd,
            (State::Size | State::SizeGap, b';') => State::Extension(Extension::NameStart),
            (State::Size | State::SizeGap, b' ' | b'\t') => State::SizeGap,
            (State::SizeGap, _) => return Err(ChunkError::Size),
            (State::Size, byte) => {
                let digit = char::from(byte).to_digit(16).ok_or(ChunkError::Size)?;
                if self.digits == MAX_DIGITS {
                    return Err(ChunkError::Size);
                }
                self.digits += 1;
                self.left = self.left << 4 | u64::from(digit);
                State::Size
            }
            (State::Extension(at), byte) => {
                State::Extension(extension(at, byte).ok_or(ChunkError::Extension)?)
            }
            (State::SizeEnd, b'\n') => {
                self.digits = 0;
                match self.left {
                    0 => State::Last,
                    1..=MAX_SIZE => State::Data,
                    _ => return Err(ChunkError::Size),
                }
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size,
            (State::Last, b'\r') => State::LastLf,
            (State::LastLf, b'\n') => State::End,
            _ => return Err(ChunkError::LineEnd),
        };
        let passes = !matches!(next, State::Extension(_) | State::SizeGap);
        if !passes {
            self.extensions += 1;
            if self.extensions > MAX_EXTENSIONS {
                return Err(ChunkError::Extension);
            }
        }
        self.state = next;
        Ok(passes)
    }
}

fn extension(at: Extension, byte: u8) -> Option<Extension> {
    let (token, space) = (is_token(byte), matches!(byte, b' ' | b'\t'));
    Some(match (at, byte) {
        // White space is bad here, and has to be taken all the same (RFC 9112 §7.1.1).
        (Extension::NameStart | Extension::ValueStart, _) if space => at,
        (Extension::Name | Extension::NameGap, _) if space => Extension::NameGap,
        (Extension::Value | Extension::QuotedEnd | Extension::ValueGap, _) if space => Extension::ValueGap,
        (Extension::NameStart | Extension::Name, _) if token => Extension::Name,
        (Extension::Name | Extension::NameGap, b'=') => Extension::ValueStart,
        (
            Extension::Name
            | Extension::NameGap
            | Extension::Value
            | Extension::QuotedEnd
            | Extension::ValueGap,
            b';',
        ) => Extension::NameStart,
        (Extension::ValueStart, b'"') => Extension::Quoted,
        (Extension::ValueStart | Extension::Value, _) if token => Extension::Value,
        (Extension::Quoted, b'"') => Extension::QuotedEnd,
        (Extension::Quoted, b'\\') => Extension::Escaped,
        (Extension::Quoted | Extension::Escaped, b'\t' | b' '..=b'~' | 0x80..) => Extension::Quoted,
        _ => return None,
    })
}

/// RFC 9110 §5.6.2.
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
