//! HTTP/2 by hand: for what no library would send.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// No frame is waited for longer.
const LIMIT: Duration = Duration::from_secs(15);

/// What the table calls an error code (RFC 9113 §7).
pub(crate) fn code_name(code: u32) -> String {
    let names = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
    ];
    let name = usize::try_from(code).ok().and_then(|at| names.get(at));
    name.map_or_else(|| format!("the code {code}"), |name| (*name).to_owned())
}

/// A frame as it is on the wire (RFC 9113 §4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .expect("no frame is as long")
        .to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A field as a literal that nobody remembers (RFC 7541 §6.2.2).
pub(crate) fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut field = vec![0];
    for text in [name, value] {
        push_number(&mut field, text.len());
        field.extend(text);
    }
    field
}

/// A length with a prefix of seven bits (RFC 7541 §5.1).
fn push_number(out: &mut Vec<u8>, number: usize) {
    let byte = |number: usize| u8::try_from(number).expect("it was cut to seven bits");
    if number < 127 {
        return out.push(byte(number));
    }
    out.push(127);
    let mut rest = number - 127;
    while rest >= 128 {
        out.push(byte(rest % 128 + 128));
        rest /= 128;
    }
    out.push(byte(rest));
}

pub(crate) fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    fields
        .iter()
        .flat_map(|(name, value)| literal(name, value))
        .collect()
}

/// The pseudo-headers of a request for the app of bystanders.
pub(crate) fn get(path: &str) -> Vec<u8> {
    asked("GET", path)
}

pub(crate) fn asked(method: &str, path: &str) -> Vec<u8> {
    block(&[
        (b":method", method.as_bytes()),
        (b":scheme", b"http"),
        (b":path", path.as_bytes()),
        (b":authority", b"shop"),
    ])
}

/// A client that writes HTTP/2 by hand.
pub(crate) struct Raw {
    stream: TcpStream,
}

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The code of a RST_STREAM or GOAWAY.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        let bytes = self
            .payload
            .get(at..at + 4)
            .and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(u32::MAX, u32::from_be_bytes)
    }

    /// The status that a head begins with (RFC 7541, appendix A: 8 to 14 are statuses, as literals those of 8).
    fn status(&self) -> Result<u16> {
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
        let status = match self.payload.as_slice() {
            [index @ 0x88..=0x8e, ..] => Some([200, 204, 206, 304, 400, 404, 500][usize::from(index - 0x88)]),
            [0x08 | 0x48 | 0x18, 3, status @ ..] if status.len() >= 3 => text(&status[..3]),
            // The same in Huffman's code, where each digit has five or six bits.
            [0x08 | 0x48 | 0x18, length, rest @ ..] if length & 0x80 != 0 => {
                digits(rest.get(..usize::from(length & 0x7f)).unwrap_or_default())
            }
            _ => None,
        };
        status.with_context(|| {
            format!(
                "a head that begins with {:x?}",
                &self.payload[..self.payload.len().min(8)]
            )
        })
    }
}

/// Digits in Huffman's code (RFC 7541, appendix B): 0 to 2 have five bits, 3 to 9 six.
fn digits(bytes: &[u8]) -> Option<u16> {
    let mut bits = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |at| u16::from(byte >> at & 1)));
    let mut number = 0;
    for _ in 0..3 {
        let mut code = 0;
        for _ in 0..5 {
            code = code * 2 + bits.next()?;
        }
        let digit = if code <= 2 {
            code
        } else {
            code = code * 2 + bits.next()?;
            code.checked_sub(0x19)? + 3
        };
        number = number * 10 + digit;
    }
    Some(number)
}

/// How a stream or its connection ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Answered(u16),
    Reset(u32),
    /// The connection, by a GOAWAY.
    Ended(u32),
    /// The connection, without a word.
    Closed,
}

impl Raw {
    /// With those settings.
    pub(crate) async fn with(addr: SocketAddr, settings: &[(u16, u32)]) -> Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let mut raw = Self { stream };
        let mut first = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let settings: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()[..]].concat())
            .collect();
        first.extend(frame(SETTINGS, 0, 0, &settings));
        raw.write(&first).await?;
        Ok(raw)
    }

    pub(crate) async fn connect(addr: SocketAddr) -> Result<Self> {
        Self::with(addr, &[]).await
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// A whole head, without a body behind it.
    pub(crate) async fn request(&mut self, stream: u32, block: &[u8]) -> io::Result<()> {
        self.write(&frame(HEADERS, END_HEADERS | END_STREAM, stream, block))
            .await
    }

    /// The next frame but those of the connection's own keeping; `None`: it has ended.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>> {
        tokio::time::timeout(LIMIT, self.read())
            .await
            .with_context(|| format!("no frame within {LIMIT:?}"))
    }

    async fn read(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            self.stream.read_exact(&mut payload).await.ok()?;
            let found = Frame {
                kind: head[3],
                flags: head[4],
                stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
                payload,
            };
            match found.kind {
                SETTINGS if found.flags & ACK == 0 => {
                    self.write(&frame(SETTINGS, ACK, 0, &[])).await.ok()?;
                }
                SETTINGS | PING | WINDOW_UPDATE => {}
                _ => return Some(found),
            }
        }
    }

    /// How that stream ends; what else comes is passed over.
    pub(crate) async fn outcome(&mut self, stream: u32) -> Result<Outcome> {
        let mut status = None;
        while let Some(frame) = self.next().await? {
            match frame.kind {
                GOAWAY => return Ok(Outcome::Ended(frame.code())),
                RST_STREAM if frame.stream == stream => return Ok(Outcome::Reset(frame.code())),
                HEADERS if frame.stream == stream && status.is_none() => status = Some(frame.status()?),
                _ => {}
            }
            if frame.stream == stream
                && matches!(frame.kind, HEADERS | DATA)
                && frame.flags & END_STREAM != 0
                && let Some(status) = status
            {
                return Ok(Outcome::Answered(status));
            }
        }
        Ok(Outcome::Closed)
    }

    /// Writes `again` until the connection is ended: how many times, and with which code.
    pub(crate) async fn flood(self, most: u64, mut again: impl FnMut(u64) -> Vec<u8>) -> Result<(u64, u32)> {
        let (read, mut write) = self.stream.into_split();
        let mut reading = tokio::spawn(goaway(read));
        let mut sent = 0;
        while sent < most && !reading.is_finished() && write.write_all(&again(sent)).await.is_ok() {
            sent += 1;
            tokio::task::yield_now().await;
        }
        let told = tokio::time::timeout(LIMIT, &mut reading).await;
        match told {
            Ok(code) => Ok((sent, code??)),
            Err(_) => bail!("the connection goes on after {sent}"),
        }
    }
}

/// The code that a connection is ended with.
async fn goaway(mut read: tokio::net::tcp::OwnedReadHalf) -> Result<u32> {
    loop {
        let mut head = [0; 9];
        read.read_exact(&mut head)
            .await
            .context("it was closed without a word")?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        read.read_exact(&mut payload)
            .await
            .context("it was closed within a frame")?;
        if head[3] == GOAWAY
            && let Some(code) = payload.get(4..8).and_then(|bytes| bytes.try_into().ok())
        {
            return Ok(u32::from_be_bytes(code));
        }
    }
}
