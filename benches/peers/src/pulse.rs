//! Clients that register, and that renew leases: with edgeproxy by HTTP/1.1, with etcd by gRPC.
//!
//! One thread, a few kept-alive connections, nothing allocated for an exchange once buffers have grown: what a client
//! takes is missing where it shares a core with what is measured.

mod etcd;
mod http1;

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

pub(crate) use etcd::{Grants, KeepAlives};
pub(crate) use http1::{Heartbeats, Hosts, Registrations, Requests};

/// How a connection asks, and what it takes for an answer.
pub(crate) trait Dialect {
    /// Puts what a connection begins with.
    fn begin(&mut self, _to: &mut Vec<u8>) {}

    /// Puts a request about the member of that number.
    fn ask(&mut self, member: u64, to: &mut Vec<u8>);

    /// Takes whole answers off the front of `from`, and says how many. What has to be said at once goes to `to`.
    ///
    /// # Errors
    /// An answer is not a success, or can't be read.
    fn take_answers(&mut self, from: &mut Vec<u8>, to: &mut Vec<u8>) -> anyhow::Result<usize>;
}

/// When the next request is made.
#[derive(Clone, Copy)]
pub(crate) enum Rhythm {
    /// As soon as there is room: until so many were made.
    Count(u64),
    /// As soon as there is room, for so long.
    Closed(Duration),
    /// Evenly, whatever becomes of those before: so many a second, for so long. An answer's time counts from the moment
    /// at which its request should have been made.
    Open { rate: f64, time: Duration },
}

/// The connections, and how much is asked over each at a time.
#[derive(Clone, Copy)]
pub(crate) struct Clients {
    pub(crate) to: SocketAddr,
    pub(crate) connections: usize,
    pub(crate) depth: usize,
    /// Numbers of members go round below this.
    pub(crate) members: u64,
}

struct Connection<D> {
    stream: TcpStream,
    dialect: D,
    input: Vec<u8>,
    output: Vec<u8>,
    /// When the requests under way should have been made, oldest first.
    asked: VecDeque<Instant>,
}

/// How long nothing may come while something is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is read at once.
const READ: usize = 64 * 1024;

/// Does what `rhythm` says, and prints what came of it.
pub(crate) fn run<D: Dialect>(
    clients: Clients,
    rhythm: Rhythm,
    dialect: impl Fn() -> D,
) -> anyhow::Result<()> {
    let mut run = Run::begin(clients, rhythm, dialect)?;
    run.go_on()?;
    run.tell();
    Ok(())
}

struct Run<D> {
    clients: Clients,
    rhythm: Rhythm,
    poll: Poll,
    connections: Vec<Connection<D>>,
    /// Those with room for another request; the one that has waited longest is first.
    idle: VecDeque<usize>,
    begun: Instant,
    made: u64,
    /// Microseconds.
    times: Vec<u32>,
}

impl<D: Dialect> Run<D> {
    fn begin(clients: Clients, rhythm: Rhythm, dialect: impl Fn() -> D) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let mut connections = Vec::with_capacity(clients.connections);
        for n in 0..clients.connections {
            let stream = std::net::TcpStream::connect(clients.to)
                .with_context(|| format!("{} does not accept", clients.to))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry()
                .register(&mut stream, Token(n), Interest::READABLE | Interest::WRITABLE)?;
            let (mut dialect, mut output) = (dialect(), Vec::new());
            dialect.begin(&mut output);
            connections.push(Connection {
                stream,
                dialect,
                input: Vec::new(),
                output,
                asked: VecDeque::new(),
            });
        }
        Ok(Self {
            idle: (0..clients.depth).flat_map(|_| 0..clients.connections).collect(),
            clients,
            rhythm,
            poll,
            connections,
            begun: Instant::now(),
            made: 0,
            times: Vec::new(),
        })
    }

    fn go_on(&mut self) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(1_024);
        let mut buffer = vec![0; READ];
        let mut latest = Instant::now();
        loop {
            self.ask_what_is_due()?;
            let under_way = self.made > self.times.len() as u64;
            let next = self.next_due();
            if !under_way && next.is_none() {
                return Ok(());
            }
            // A selector waits in whole milliseconds, which is five heartbeats too coarse.
            let pause = next
                .filter(|_| !self.idle.is_empty())
                .map(|next| next.saturating_duration_since(Instant::now()));
            if let Some(pause) = pause {
                std::thread::sleep(pause);
            }
            match self.poll.poll(
                &mut events,
                pause.map_or(Some(PATIENCE), |_| Some(Duration::ZERO)),
            ) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                self.read(event.token().0, &mut buffer)?;
            }
            if !events.is_empty() || !under_way {
                latest = Instant::now();
            } else if latest.elapsed() > PATIENCE {
                bail!("nothing was answered for {PATIENCE:?}");
            }
        }
    }

    /// When the next request should be made; `None`: none any more.
    fn next_due(&self) -> Option<Instant> {
        match self.rhythm {
            Rhythm::Count(count) => (self.made < count).then_some(self.begun),
            Rhythm::Closed(time) => (self.begun.elapsed() < time).then_some(self.begun),
            Rhythm::Open { rate, time } => {
                let after = Duration::from_secs_f64(self.made as f64 / rate);
                (after < time).then(|| self.begun + after)
            }
        }
    }

    fn ask_what_is_due(&mut self) -> anyhow::Result<()> {
        let mut asking = Vec::new();
        while let Some(due) = self.next_due() {
            let now = Instant::now();
            if due > now {
                break;
            }
            let Some(n) = self.idle.pop_front() else { break };
            let connection = &mut self.connections[n];
            let member = self.made % self.clients.members;
            connection.dialect.ask(member, &mut connection.output);
            let is_open = matches!(self.rhythm, Rhythm::Open { .. });
            connection.asked.push_back(if is_open { due } else { now });
            self.made += 1;
            if self.clients.depth == 1 {
                flush(connection)?;
            } else {
                asking.push(n);
            }
        }
        // What is asked at once over one connection is written at once.
        asking.sort_unstable();
        asking.dedup();
        for n in asking {
            flush(&mut self.connections[n])?;
        }
        Ok(())
    }

    fn read(&mut self, n: usize, buffer: &mut [u8]) -> anyhow::Result<()> {
        let connection = &mut self.connections[n];
        loop {
            match connection.stream.read(buffer) {
                Ok(0) => bail!("the connection was closed"),
                Ok(count) => {
                    connection.input.extend_from_slice(&buffer[..count]);
                    if count < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        let answers = connection
            .dialect
            .take_answers(&mut connection.input, &mut connection.output)?;
        flush(connection)?;
        let now = Instant::now();
        for _ in 0..answers {
            let asked = connection.asked.pop_front().context("an answer to nothing")?;
            let micros = now.saturating_duration_since(asked).as_micros();
            self.times.push(u32::try_from(micros).unwrap_or(u32::MAX));
            self.idle.push_back(n);
        }
        Ok(())
    }

    fn tell(&mut self) {
        let seconds = self.begun.elapsed().as_secs_f64();
        self.times.sort_unstable();
        let at = |share: f64| {
            let index = (self.times.len() as f64 * share) as usize;
            self.times
                .get(index.min(self.times.len().saturating_sub(1)))
                .copied()
                .unwrap_or(0)
        };
        println!(
            "done {}\nseconds {seconds}\np50_us {}\np99_us {}\np999_us {}\nmax_us {}",
            self.times.len(),
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0)
        );
    }
}

/// Writes as much as goes; the rest when the next event says that there is room.
fn flush<D>(connection: &mut Connection<D>) -> anyhow::Result<()> {
    while !connection.output.is_empty() {
        match connection.stream.write(&connection.output) {
            Ok(0) => bail!("the connection takes nothing any more"),
            Ok(count) => drop(connection.output.drain(..count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
