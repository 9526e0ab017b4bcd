//! What the proxy stands before: a server that writes down every byte, and reads it as strictly as a parser can.
//!
//! It answers with the target that it was asked for, so that whoever gets somebody else's answer knows. What a message
//! must never look like when it has come through the proxy is held against [`Head::faults`], whoever it is from.

mod head;
mod manner;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

pub(crate) use self::head::{Framing, Head};

/// What the targets of bystanders begin with.
pub(crate) const BYSTANDER: &str = "/bystander/";

/// How much is kept of what strangers ask, in requests and in bytes each.
const KEPT: usize = 10_000;
const BODY: usize = 1 << 20;
/// No head of these tests is as long.
const HEAD: usize = 256 * 1024;

/// A request of somebody who is no bystander.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) head: Head,
    /// Without its framing, the first [`BODY`] bytes.
    pub(crate) body: Vec<u8>,
}

/// It stops when it is dropped.
pub(crate) struct Origin {
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
}

#[derive(Default)]
struct Shared {
    book: Mutex<Book>,
    stop: CancellationToken,
}

#[derive(Default)]
struct Book {
    asked: Vec<Asked>,
    /// Heads whose body never came to its end.
    broken: Vec<Head>,
    faults: Vec<String>,
}

impl Origin {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback can be bound");
        let shared = Arc::new(Shared::default());
        let stop = shared.stop.clone();
        let origin = Self {
            addr: listener.local_addr().expect("a listener has an address"),
            shared: Arc::clone(&shared),
            stop: stop.clone(),
        };
        tokio::spawn(async move { stop.run_until_cancelled(accept(listener, shared)).await });
        origin
    }

    /// What strangers have asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.book().asked.clone()
    }

    /// Whose bodies never came to their end.
    pub(crate) fn broken(&self) -> Vec<Head> {
        self.shared.book().broken.clone()
    }

    /// Forgets what strangers have asked.
    pub(crate) fn forget(&self) {
        let mut book = self.shared.book();
        book.asked.clear();
        book.broken.clear();
    }

    /// What has come here that must not come through a proxy.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.shared.book().faults.clone()
    }

    /// Nobody but bystanders has asked.
    pub(crate) fn was_left_alone(&self) -> Result<()> {
        let asked = self.asked();
        let lines: Vec<_> = asked.iter().map(|asked| asked.head.line()).collect();
        ensure!(
            asked.is_empty(),
            "{} requests came through: {lines:?}",
            asked.len()
        );
        Ok(())
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self, what: String) {
        let mut book = self.book();
        if book.faults.len() < 20 {
            book.faults.push(what);
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        // A connection that is gone before it is accepted is nobody's fault.
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let stop = shared.stop.clone();
            let connection = Connection {
                stream,
                read: Vec::new(),
                written: Vec::new(),
                waits: false,
                shared,
            };
            stop.run_until_cancelled(connection.serve()).await
        });
    }
}

struct Connection {
    stream: TcpStream,
    /// What has come and was not looked at.
    read: Vec<u8>,
    /// What is to be written, and whether more is to come before that.
    written: Vec<u8>,
    waits: bool,
    shared: Arc<Shared>,
}

/// A message broke off, or can't be read.
struct Broken;

impl Connection {
    async fn serve(mut self) {
        while let Some(head) = self.head().await {
            for fault in head.faults() {
                self.shared.fault(format!("{fault} in {:?}", head.text()));
            }
            if manner::is_early(&head) && self.answer(&head).await.is_err() {
                return;
            }
            let Ok(body) = self.body(&head).await else {
                if !head.target().starts_with(BYSTANDER) {
                    self.shared.book().broken.push(head);
                }
                return;
            };
            // What was answered early may be followed by the next request before its body has been read here.
            let may_follow = manner::ignores_bodies(&head) || manner::is_early(&head);
            if !self.read.is_empty() && !may_follow {
                let beyond = String::from_utf8_lossy(&self.read).into_owned();
                self.shared
                    .fault(format!("{beyond:?} came beyond the end of {:?}", head.text()));
            }
            self.waits = manner::ignores_bodies(&head) && !self.read.is_empty();
            let is_early = manner::is_early(&head);
            let asked = Asked { head, body };
            let head = asked.head.clone();
            if !head.target().starts_with(BYSTANDER) {
                let mut book = self.shared.book();
                if book.asked.len() < KEPT {
                    book.asked.push(asked);
                }
            }
            if !is_early && self.answer(&head).await.is_err() {
                return;
            }
        }
    }

    /// The next head; `None` at the end.
    async fn head(&mut self) -> Option<Head> {
        loop {
            if let Some(at) = find(&self.read, b"\r\n\r\n") {
                let rest = self.read.split_off(at + 4);
                let bytes = std::mem::replace(&mut self.read, rest);
                match Head::parse(&bytes) {
                    Ok(head) => return Some(head),
                    Err(fault) => {
                        let text = String::from_utf8_lossy(&bytes).into_owned();
                        self.shared.fault(format!("{fault} in {text:?}"));
                        return None;
                    }
                }
            }
            if self.read.len() > HEAD || !self.fill().await {
                if !self.read.is_empty() {
                    let text = String::from_utf8_lossy(&self.read[..self.read.len().min(200)]).into_owned();
                    self.shared.fault(format!("a head that breaks off: {text:?}"));
                }
                return None;
            }
        }
    }

    async fn body(&mut self, head: &Head) -> Result<Vec<u8>, Broken> {
        if manner::ignores_bodies(head) {
            return Ok(Vec::new());
        }
        match head.framing() {
            Framing::None => Ok(Vec::new()),
            Framing::Length(length) => {
                let mut body = Vec::new();
                let mut left = length;
                while left > 0 {
                    if self.read.is_empty() {
                        self.more().await?;
                    }
                    let part = left.min(self.read.len());
                    keep(&mut body, &self.read[..part]);
                    self.read.drain(..part);
                    left -= part;
                }
                Ok(body)
            }
            Framing::Chunked => self.chunks().await,
        }
    }

    async fn chunks(&mut self) -> Result<Vec<u8>, Broken> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let size = std::str::from_utf8(&line)
                .ok()
                .and_then(|line| usize::from_str_radix(line, 16).ok());
            // The proxy frames anew, so there is nothing but digits.
            let Some(size) = size.filter(|_| line.iter().all(u8::is_ascii_hexdigit)) else {
                let line = String::from_utf8_lossy(&line).into_owned();
                self.shared.fault(format!("the chunk size {line:?}"));
                return Err(Broken);
            };
            if size == 0 {
                while !self.line().await?.is_empty() {}
                return Ok(body);
            }
            let mut left = size;
            while left > 0 {
                if self.read.is_empty() {
                    self.more().await?;
                }
                let part = left.min(self.read.len());
                keep(&mut body, &self.read[..part]);
                self.read.drain(..part);
                left -= part;
            }
            if !self.line().await?.is_empty() {
                self.shared
                    .fault("a chunk that is longer than its size".to_owned());
                return Err(Broken);
            }
        }
    }

    /// A line without its end, which is CR LF.
    async fn line(&mut self) -> Result<Vec<u8>, Broken> {
        loop {
            if let Some(at) = find(&self.read, b"\r\n") {
                let mut line: Vec<u8> = self.read.drain(..at + 2).collect();
                line.truncate(at);
                return Ok(line);
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<(), Broken> {
        if self.fill().await { Ok(()) } else { Err(Broken) }
    }

    /// Reads once; `false` at the end.
    async fn fill(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.read).await, Ok(read) if read > 0)
    }

    /// What answers to an ignored body's requests are to leave in one segment waits for the last of them.
    async fn write(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.written.extend_from_slice(bytes);
        if self.waits {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.written);
        self.stream.write_all(&bytes).await.map_err(|_| Broken)
    }
}

fn keep(body: &mut Vec<u8>, part: &[u8]) {
    let room = BODY.saturating_sub(body.len()).min(part.len());
    body.extend_from_slice(&part[..room]);
}

fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len()).position(|window| window == mark)
}
