//! etcd's leases (`etcdserverpb.Lease`), by as much of HTTP/2 (RFC 9113) and gRPC as that takes.
//!
//! By hand, since what counts is how little the client takes: whole frames of a few bytes each, many in one write.

use anyhow::{Context as _, bail, ensure};

use super::Dialect;

/// How long a lease is, in seconds: longer than any measurement.
const TTL_SECS: u64 = 3_600;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// The largest window: no measurement reads as much, so it is opened once.
const WINDOW: u32 = (1 << 31) - 1;
const FIRST_WINDOW: u32 = 65_535;

fn put_frame(kind: u8, flags: u8, stream: u32, payload: &[u8], to: &mut Vec<u8>) {
    let [_, a, b, c] = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    to.extend_from_slice(&[a, b, c, kind, flags]);
    to.extend_from_slice(&stream.to_be_bytes());
    to.extend_from_slice(payload);
}

fn put_preface(to: &mut Vec<u8>) {
    to.extend_from_slice(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    let mut settings = vec![0, 4]; // SETTINGS_INITIAL_WINDOW_SIZE
    settings.extend_from_slice(&WINDOW.to_be_bytes());
    put_frame(SETTINGS, 0, 0, &settings, to);
    put_frame(WINDOW_UPDATE, 0, 0, &(WINDOW - FIRST_WINDOW).to_be_bytes(), to);
}

/// A call's head, in HPACK (RFC 7541) without a dynamic table and without Huffman codes.
fn put_call(path: &str, stream: u32, to: &mut Vec<u8>) {
    let mut block = vec![0x83, 0x86]; // :method POST, :scheme http
    let mut literal = |name: &[u8], value: &str| {
        block.extend_from_slice(name);
        block.push(u8::try_from(value.len()).unwrap_or(0));
        block.extend_from_slice(value.as_bytes());
    };
    literal(&[0x04], path);
    literal(&[0x01], "bench.example"); // :authority
    literal(&[0x0f, 0x10], "application/grpc"); // content-type
    literal(b"\x00\x02te", "trailers");
    put_frame(HEADERS, END_HEADERS, stream, &block, to);
}

/// A message of one or two whole numbers, by their tags.
fn put_message(fields: &[(u8, u64)], flags: u8, stream: u32, to: &mut Vec<u8>) {
    let mut message = vec![0; 5];
    for (tag, mut value) in fields.iter().copied() {
        message.push(tag << 3);
        while value >= 0x80 {
            message.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        message.push(value as u8);
    }
    let len = u32::try_from(message.len() - 5).unwrap_or(0);
    message[1..5].copy_from_slice(&len.to_be_bytes());
    put_frame(DATA, flags, stream, &message, to);
}

/// Takes whole frames off the front. Those that are the connection's own are answered, the others are for `each`.
fn take_frames(
    from: &mut Vec<u8>,
    to: &mut Vec<u8>,
    mut each: impl FnMut(u8, u8, u32, &[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut rest = from.as_slice();
    while let Some(([a, b, c, kind, flags, stream @ ..], after)) = rest.split_first_chunk::<9>() {
        let len = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let Some((payload, after)) = after.split_at_checked(len) else {
            break;
        };
        match *kind {
            SETTINGS if flags & ACK == 0 => put_frame(SETTINGS, ACK, 0, &[], to),
            PING if flags & ACK == 0 => put_frame(PING, ACK, 0, payload, to),
            GOAWAY | RST_STREAM => bail!("etcd ended it: {}", payload.escape_ascii()),
            DATA | HEADERS => each(*kind, *flags, u32::from_be_bytes(*stream), payload)?,
            _ => {}
        }
        rest = after;
    }
    let taken = from.len() - rest.len();
    from.drain(..taken);
    Ok(())
}

/// The whole number of that tag in a message; those of etcd's leases come after their header.
fn field(mut message: &[u8], tag: u64) -> Option<u64> {
    loop {
        let key = varint(&mut message)?;
        match key & 7 {
            0 => {
                let value = varint(&mut message)?;
                if key >> 3 == tag {
                    return Some(value);
                }
            }
            2 => {
                let len = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(len..)?;
            }
            _ => return None,
        }
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Grants a lease for each member, a call each; its id is the member's number and one.
#[derive(Default)]
pub(crate) struct Grants {
    next: u32,
    /// Those that have been answered and not yet ended.
    answered: Vec<u32>,
}

impl Dialect for Grants {
    fn begin(&mut self, to: &mut Vec<u8>) {
        put_preface(to);
        self.next = 1;
    }

    fn ask(&mut self, member: u64, to: &mut Vec<u8>) {
        put_call("/etcdserverpb.Lease/LeaseGrant", self.next, to);
        put_message(&[(1, TTL_SECS), (2, member + 1)], END_STREAM, self.next, to);
        self.next += 2;
    }

    fn take_answers(&mut self, from: &mut Vec<u8>, to: &mut Vec<u8>) -> anyhow::Result<usize> {
        let mut answers = 0;
        let answered = &mut self.answered;
        take_frames(from, to, |kind, flags, stream, _| {
            if kind == DATA {
                answered.push(stream);
            } else if flags & END_STREAM != 0 {
                let at = answered.iter().position(|one| *one == stream);
                answered.swap_remove(at.context("etcd refused a lease")?);
                answers += 1;
            }
            Ok(())
        })?;
        Ok(answers)
    }
}

/// Renews leases that are there, all of a connection over one stream.
#[derive(Default)]
pub(crate) struct KeepAlives {
    /// Messages may begin and end anywhere in the frames.
    messages: Vec<u8>,
}

impl Dialect for KeepAlives {
    fn begin(&mut self, to: &mut Vec<u8>) {
        put_preface(to);
        put_call("/etcdserverpb.Lease/LeaseKeepAlive", 1, to);
    }

    fn ask(&mut self, member: u64, to: &mut Vec<u8>) {
        put_message(&[(1, member + 1)], 0, 1, to);
    }

    fn take_answers(&mut self, from: &mut Vec<u8>, to: &mut Vec<u8>) -> anyhow::Result<usize> {
        let messages = &mut self.messages;
        take_frames(from, to, |kind, flags, _, payload| {
            if kind == DATA {
                messages.extend_from_slice(payload);
            } else if flags & END_STREAM != 0 {
                bail!("etcd ended the stream: {}", payload.escape_ascii());
            }
            Ok(())
        })?;
        let (mut answers, mut rest) = (0, messages.as_slice());
        while let Some(([_, len @ ..], after)) = rest.split_first_chunk::<5>() {
            let Some((message, after)) = after.split_at_checked(u32::from_be_bytes(*len) as usize) else {
                break;
            };
            ensure!(
                field(message, 3) > Some(0),
                "etcd does not know the lease any more"
            );
            answers += 1;
            rest = after;
        }
        let taken = messages.len() - rest.len();
        messages.drain(..taken);
        Ok(answers)
    }
}
