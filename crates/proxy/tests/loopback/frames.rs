//! HTTP/2 by hand: for what no library would send.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const COMPRESSION_ERROR: u32 = 9;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame as it is on the wire (RFC 9113 §4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
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
        let length = u8::try_from(text.len()).unwrap();
        assert!(length < 127);
        field.push(length);
        field.extend(text);
    }
    field
}

pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields
        .iter()
        .flat_map(|(name, value)| literal(name.as_bytes(), value.as_bytes()))
        .collect()
}

/// The pseudo-headers of a request.
pub(crate) fn get(path: &str) -> Vec<u8> {
    block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "app"),
    ])
}

/// A client that writes HTTP/2 by hand.
pub(crate) struct Raw {
    stream: TcpStream,
}

#[derive(Debug, PartialEq, Eq)]
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
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// The status that a head begins with, of those that the proxy gives here (RFC 7541, appendix A).
    pub(crate) fn status(&self) -> u16 {
        match self.payload[0] {
            0x88 => 200,
            0x8c => 400,
            0x8d => 404,
            // A literal, with the name from the table.
            0x48 | 0x08 if self.payload[1] == 3 => {
                std::str::from_utf8(&self.payload[2..5]).unwrap().parse().unwrap()
            }
            // As before, but in Huffman's code.
            0x48 => match &self.payload[1..5] {
                [0x83, 0x68, 0x0d, 0xff] => 405,
                other => panic!("a status in {other:x?}"),
            },
            other => panic!("a head begins with {other:x}: {:x?}", self.payload),
        }
    }
}

impl Raw {
    /// With those settings.
    pub(crate) async fn with(addr: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        let mut raw = Self { stream };
        raw.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let settings: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()[..]].concat())
            .collect();
        raw.write(&frame(SETTINGS, 0, 0, &settings)).await.unwrap();
        raw
    }

    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self::with(addr, &[]).await
    }

    /// The other side: what has connected gets settings, and its preface is taken.
    pub(crate) async fn serve(mut stream: TcpStream) -> Self {
        stream.read_exact(&mut [0; 24]).await.unwrap();
        let mut raw = Self { stream };
        raw.write(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        raw
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// A whole head, without a body behind it.
    pub(crate) async fn request(&mut self, stream: u32, block: &[u8]) {
        let head = frame(HEADERS, END_HEADERS | END_STREAM, stream, block);
        self.write(&head).await.unwrap();
    }

    /// The next frame but SETTINGS, PING and WINDOW_UPDATE; `None`: the connection has ended.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let read = tokio::time::timeout(Duration::from_secs(10), self.read());
        read.await.expect("no frame in ten seconds")
    }

    async fn read(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            self.stream.read_exact(&mut payload).await.ok()?;
            let frame = Frame {
                kind: head[3],
                flags: head[4],
                stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
                payload,
            };
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => {
                    self.stream
                        .write_all(&self::frame(SETTINGS, ACK, 0, &[]))
                        .await
                        .ok()?;
                }
                SETTINGS | PING | WINDOW_UPDATE => {}
                _ => return Some(frame),
            }
        }
    }

    /// The next frame of that stream.
    pub(crate) async fn next_of(&mut self, stream: u32) -> Frame {
        loop {
            let frame = self.next().await.expect("the connection has ended");
            assert_ne!(frame.kind, GOAWAY, "the connection is ended: {}", frame.code());
            if frame.stream == stream {
                return frame;
            }
        }
    }

    /// Writes `again` until the connection is closed; with which code that was.
    pub(crate) async fn flood(self, mut again: impl FnMut(u32) -> Vec<u8>) -> u32 {
        let (read, mut write) = self.stream.into_split();
        let mut reading = tokio::spawn(goaway(read));
        for number in 0..2_000_000 {
            if reading.is_finished() || write.write_all(&again(number)).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let told = tokio::time::timeout(Duration::from_secs(10), &mut reading);
        told.await
            .expect("it was never told to end")
            .unwrap()
            .expect("it ended without a word")
    }
}

async fn goaway(mut read: tokio::net::tcp::OwnedReadHalf) -> Option<u32> {
    loop {
        let mut head = [0; 9];
        read.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        read.read_exact(&mut payload).await.ok()?;
        if head[3] == GOAWAY {
            return Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
    }
}
