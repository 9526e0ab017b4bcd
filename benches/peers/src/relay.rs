//! The floor: what a proxy costs that looks at nothing. A connection to the origin for each client's.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const LISTENER: Token = Token(0);
const BUFFER: usize = 64 * 1024;

/// How bytes get from one socket into the other.
pub(crate) trait Direction: Sized {
    /// Before the first byte.
    fn new() -> io::Result<Self>;
    /// Moves until one of the sockets wants no more; whether `from` has ended and everything has left.
    fn pump(&mut self, from: &mut TcpStream, to: &mut TcpStream, buffer: &mut [u8]) -> io::Result<bool>;
}

/// By reading and writing.
struct Copy {
    /// What was read and could not be written.
    left: Vec<u8>,
    ended: bool,
}

impl Direction for Copy {
    fn new() -> io::Result<Self> {
        Ok(Self {
            left: Vec::new(),
            ended: false,
        })
    }

    fn pump(&mut self, from: &mut TcpStream, to: &mut TcpStream, buffer: &mut [u8]) -> io::Result<bool> {
        loop {
            while !self.left.is_empty() {
                match to.write(&self.left) {
                    Ok(count) => drop(self.left.drain(..count)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
            if self.ended {
                return Ok(true);
            }
            let count = match from.read(buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            };
            self.ended = count == 0;
            let mut rest = &buffer[..count];
            while !rest.is_empty() {
                match to.write(rest) {
                    Ok(count) => rest = &rest[count..],
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            self.left.extend_from_slice(rest);
        }
    }
}

/// A client's connection, the one to the origin, and what is on its way between them.
struct Pair<D> {
    client: TcpStream,
    origin: TcpStream,
    up: D,
    down: D,
    up_closed: bool,
    down_closed: bool,
}

impl<D: Direction> Pair<D> {
    /// Whether there is more to come.
    fn turn(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        if !self.up_closed && self.up.pump(&mut self.client, &mut self.origin, buffer)? {
            self.up_closed = true;
            self.origin.shutdown(Shutdown::Write)?;
        }
        if !self.down_closed && self.down.pump(&mut self.origin, &mut self.client, buffer)? {
            self.down_closed = true;
            self.client.shutdown(Shutdown::Write)?;
        }
        Ok(!(self.up_closed && self.down_closed))
    }
}

/// Relays to `to`, copying, until a signal ends the process.
pub(crate) fn run(to: SocketAddr) -> anyhow::Result<()> {
    serve::<Copy>(to)
}

/// Relays to `to` until a signal ends the process.
pub(crate) fn serve<D: Direction>(to: SocketAddr) -> anyhow::Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    println!("relay {}", listener.local_addr()?);

    let mut pairs: Vec<Option<Pair<D>>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut buffer = vec![0; BUFFER];
    let mut events = Events::with_capacity(1024);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut client, _)) = listener.accept() {
                    // On loopback this is done before it returns.
                    let origin = std::net::TcpStream::connect(to)?;
                    origin.set_nonblocking(true)?;
                    let mut origin = TcpStream::from_std(origin);
                    let _ = client.set_nodelay(true);
                    let _ = origin.set_nodelay(true);
                    let slot = free.pop().unwrap_or_else(|| {
                        pairs.push(None);
                        pairs.len() - 1
                    });
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    // Odd for the client, even for the origin; 0 is the listener.
                    poll.registry()
                        .register(&mut client, Token(2 * slot + 1), interest)?;
                    poll.registry()
                        .register(&mut origin, Token(2 * slot + 2), interest)?;
                    pairs[slot] = Some(Pair {
                        client,
                        origin,
                        up: D::new()?,
                        down: D::new()?,
                        up_closed: false,
                        down_closed: false,
                    });
                }
                continue;
            }
            let slot = (event.token().0 - 1) / 2;
            let Some(pair) = &mut pairs[slot] else {
                continue;
            };
            // An error is a client or an origin that has reset its connection.
            if !pair.turn(&mut buffer).unwrap_or(false) {
                pairs[slot] = None;
                free.push(slot);
            }
        }
    }
}
