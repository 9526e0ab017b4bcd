//! The server behind every proxy: canned answers, one thread, no allocation for a request.
//!
//! Its cost is no part of any figure, but it shares a core with the client, and what it takes is missing there.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const HTTP: Token = Token(0);
const BYTES: Token = Token(1);
const FIRST_CONNECTION: usize = 2;

/// What is read at once, and the longest request's head.
const READ: usize = 16 * 1024;

/// The largest piece that is written at once where bytes are wanted.
const PIECE: usize = 256 * 1024;

/// Which of the canned answers.
#[derive(Clone, Copy)]
enum Size {
    Kib1,
    Kib64,
    Kib256,
    /// It becomes a WebSocket on which nothing is ever said.
    Upgrade,
}

/// For the key of RFC 6455 §1.3, which all clients here send.
const UPGRADE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

struct Canned {
    answers: [Vec<u8>; 3],
    piece: Vec<u8>,
}

impl Canned {
    fn new() -> Self {
        let answer = |kib: usize| {
            let length = kib * 1024;
            let mut answer = format!(
                "HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 12:00:00 GMT\r\nServer: origin\r\nContent-Type: \
                 text/plain\r\nContent-Length: {length}\r\n\r\n"
            )
            .into_bytes();
            answer.resize(answer.len() + length, b'x');
            answer
        };
        Self {
            answers: [answer(1), answer(64), answer(256)],
            piece: vec![b'x'; PIECE],
        }
    }

    fn answer(&self, size: Size) -> &[u8] {
        let [kib1, kib64, kib256] = &self.answers;
        match size {
            Size::Kib1 => kib1,
            Size::Kib64 => kib64,
            Size::Kib256 => kib256,
            Size::Upgrade => UPGRADE,
        }
    }
}

/// What a connection speaks, and what it still has to send.
enum Speaks {
    Http(Requests),
    /// A client sends a count of eight bytes, big-endian, and gets as many bytes; again and again.
    Bytes {
        count: Vec<u8>,
        owed: u64,
    },
}

#[derive(Default)]
struct Requests {
    /// The beginning of a head of which the rest has not come.
    partial: Vec<u8>,
    answers: VecDeque<Size>,
    /// How much of the first of them was sent.
    sent: usize,
    /// The client asked for the connection's end after the last of them.
    last: bool,
}

struct Connection {
    stream: TcpStream,
    speaks: Speaks,
}

/// What is left to do with a connection.
#[derive(PartialEq, Eq)]
enum Then {
    Wait,
    Close,
}

/// Serves until a signal ends the process.
pub(crate) fn run() -> anyhow::Result<()> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut poll = Poll::new()?;
    let mut http = TcpListener::bind(any)?;
    let mut bytes = TcpListener::bind(any)?;
    poll.registry().register(&mut http, HTTP, Interest::READABLE)?;
    poll.registry().register(&mut bytes, BYTES, Interest::READABLE)?;
    println!("http {}\nbytes {}", http.local_addr()?, bytes.local_addr()?);

    let canned = Canned::new();
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut buffer = vec![0; READ];
    let mut events = Events::with_capacity(1024);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            let listener = match event.token() {
                HTTP => Some(&http),
                BYTES => Some(&bytes),
                _ => None,
            };
            if let Some(listener) = listener {
                while let Some(mut stream) = accepted(listener)? {
                    let _ = stream.set_nodelay(true);
                    let slot = free.pop().unwrap_or_else(|| {
                        connections.push(None);
                        connections.len() - 1
                    });
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    let token = Token(FIRST_CONNECTION + slot);
                    poll.registry().register(&mut stream, token, interest)?;
                    let speaks = if event.token() == HTTP {
                        Speaks::Http(Requests::default())
                    } else {
                        Speaks::Bytes {
                            count: Vec::new(),
                            owed: 0,
                        }
                    };
                    connections[slot] = Some(Connection { stream, speaks });
                }
                continue;
            }
            let slot = event.token().0 - FIRST_CONNECTION;
            let Some(connection) = &mut connections[slot] else {
                continue;
            };
            let then = connection.turn(&canned, &mut buffer, event.is_read_closed());
            // A client that resets its connection is a client that has ended.
            if then.is_err() || then.is_ok_and(|then| then == Then::Close) {
                connections[slot] = None;
                free.push(slot);
            }
        }
    }
}

/// A connection, where one is waiting.
fn accepted(listener: &TcpListener) -> io::Result<Option<TcpStream>> {
    match listener.accept() {
        Ok((stream, _)) => Ok(Some(stream)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        // It ended before it was accepted.
        Err(error) if error.kind() == ErrorKind::ConnectionAborted => Ok(None),
        Err(error) => Err(error),
    }
}

impl Connection {
    /// Sends what is owed, reads what has come, until the socket wants no more.
    fn turn(&mut self, canned: &Canned, buffer: &mut [u8], read_closed: bool) -> io::Result<Then> {
        let mut drained = false;
        loop {
            let sent = match &mut self.speaks {
                Speaks::Http(requests) => requests.send(&mut self.stream, canned),
                Speaks::Bytes { owed, .. } => send_bytes(owed, &mut self.stream, canned),
            };
            match sent {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Then::Wait),
                result => result?,
            }
            if matches!(&self.speaks, Speaks::Http(requests) if requests.last) {
                return Ok(Then::Close);
            }
            if drained {
                return Ok(Then::Wait);
            }
            let count = match self.stream.read(buffer) {
                Ok(0) => return Ok(Then::Close),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Then::Wait),
                Err(error) => return Err(error),
            };
            // A read that fills less than it could has emptied the socket; asking again costs a call.
            drained = count < buffer.len() && !read_closed;
            match &mut self.speaks {
                Speaks::Http(requests) => requests.take(&buffer[..count])?,
                Speaks::Bytes { count: head, owed } => {
                    head.extend_from_slice(&buffer[..count]);
                    while let Some((first, rest)) = head.split_first_chunk::<8>() {
                        *owed = owed.saturating_add(u64::from_be_bytes(*first));
                        *head = rest.to_vec();
                    }
                }
            }
        }
    }
}

fn send_bytes(owed: &mut u64, stream: &mut TcpStream, canned: &Canned) -> io::Result<()> {
    while *owed > 0 {
        let wanted = usize::try_from(*owed).unwrap_or(PIECE).min(PIECE);
        let sent = stream.write(&canned.piece[..wanted])?;
        *owed -= sent as u64;
    }
    Ok(())
}

impl Requests {
    fn send(&mut self, stream: &mut TcpStream, canned: &Canned) -> io::Result<()> {
        while let Some(size) = self.answers.front() {
            let answer = canned.answer(*size);
            while self.sent < answer.len() {
                self.sent += stream.write(&answer[self.sent..])?;
            }
            self.sent = 0;
            self.answers.pop_front();
        }
        Ok(())
    }

    /// Takes requests without bodies; of their heads only the path and `Connection: close` count.
    fn take(&mut self, mut read: &[u8]) -> io::Result<()> {
        if !self.partial.is_empty() {
            self.partial.extend_from_slice(read);
            let whole = std::mem::take(&mut self.partial);
            return self.take(&whole);
        }
        while let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            let (head, rest) = read.split_at(end + 4);
            self.answers.push_back(wanted(head));
            self.last |= asks_to_close(head);
            read = rest;
        }
        if read.len() >= READ {
            return Err(ErrorKind::InvalidData.into());
        }
        self.partial.extend_from_slice(read);
        Ok(())
    }
}

/// By the path; 1 KiB for any that is not known.
fn wanted(head: &[u8]) -> Size {
    let path = head.split(|&byte| byte == b' ').nth(1);
    match path {
        Some(b"/64k") => Size::Kib64,
        Some(b"/256k") => Size::Kib256,
        Some(b"/socket") => Size::Upgrade,
        _ => Size::Kib1,
    }
}

fn asks_to_close(head: &[u8]) -> bool {
    const NAME: &[u8] = b"connection:";
    head.split(|&byte| byte == b'\n').any(|line| {
        line.split_at_checked(NAME.len()).is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case(NAME) && value.trim_ascii().eq_ignore_ascii_case(b"close")
        })
    })
}
