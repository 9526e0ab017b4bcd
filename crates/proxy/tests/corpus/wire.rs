//! HTTP/1.1 read by hand and without mercy: whatever the proxy writes must be beyond doubt.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::case::{Field, text};

/// How long a proxy may take for anything. Far more than it needs, for machines that are busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A message, as far as it was read. Text is bytes as Latin-1.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    pub(crate) start: String,
    pub(crate) fields: Vec<Field>,
    pub(crate) body: String,
    pub(crate) trailers: Vec<Field>,
}

/// How a body ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Framing {
    None,
    Length(usize),
    Chunked,
    UntilClose,
}

/// Why a message could not be read to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// The connection ended before the message began.
    Nothing,
    /// It ended within it.
    Ended,
    /// It was reset.
    Reset,
    /// Nothing came.
    Silence,
    /// It is malformed.
    Malformed(String),
}

/// A socket with what was read too far.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    pub(crate) buffer: Vec<u8>,
}

impl Message {
    /// All values of a field.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let named = self
            .fields
            .iter()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }

    /// How the body is framed that those fields announce. `None`: by nothing.
    fn announced(&self) -> Result<Option<Framing>, Fault> {
        match (
            self.all("transfer-encoding").as_slice(),
            self.all("content-length").as_slice(),
        ) {
            ([], []) => Ok(None),
            (["chunked"], []) => Ok(Some(Framing::Chunked)),
            ([], [length]) if !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) => length
                .parse()
                .map(|length| Some(Framing::Length(length)))
                .map_err(|_| Fault::Malformed(format!("a length of {length}"))),
            (codings, lengths) => Err(Fault::Malformed(format!(
                "framed by codings {codings:?} and lengths {lengths:?}"
            ))),
        }
    }

    pub(crate) fn request_framing(&self) -> Result<Framing, Fault> {
        Ok(self.announced()?.unwrap_or(Framing::None))
    }

    pub(crate) fn response_framing(&self, to_head: bool) -> Result<Framing, Fault> {
        let announced = self.announced()?.unwrap_or(Framing::UntilClose);
        Ok(match self.status()? {
            101 => Framing::UntilClose,
            100..=199 | 204 | 304 => Framing::None,
            _ if to_head => Framing::None,
            _ => announced,
        })
    }

    pub(crate) fn status(&self) -> Result<u16, Fault> {
        let malformed = || Fault::Malformed(format!("the status line is {:?}", self.start));
        // A client that speaks HTTP/1.0 may be answered by either version (RFC 9110 §6.2).
        let rest = self.start.strip_prefix("HTTP/1.").ok_or_else(malformed)?;
        let rest = rest
            .strip_prefix(['0', '1'])
            .and_then(|rest| rest.strip_prefix(' '))
            .ok_or_else(malformed)?;
        let (status, _) = rest.split_once(' ').ok_or_else(malformed)?;
        if status.len() != 3 {
            return Err(malformed());
        }
        status.parse().map_err(|_| malformed())
    }
}

impl Wire {
    /// Resets the connection when it is dropped, so that the system keeps nothing of it.
    pub(crate) fn new(stream: TcpStream) -> Self {
        let _ = (stream.set_nodelay(true), stream.set_zero_linger());
        let buffer = Vec::new();
        Self { stream, buffer }
    }

    /// Writes, as long as anybody listens.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        // One who has been refused may be cut off in the middle; what was answered is read all the same.
        let written = tokio::time::timeout(PATIENCE, self.stream.write_all(bytes));
        let _ = written.await;
    }

    async fn fill(&mut self) -> Result<(), Fault> {
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.buffer));
        match read.await {
            Err(_) => Err(Fault::Silence),
            Ok(Err(_)) => Err(Fault::Reset),
            Ok(Ok(0)) => Err(Fault::Ended),
            Ok(Ok(_)) => Ok(()),
        }
    }

    /// What is left until the end of the connection; whether it was reset.
    pub(crate) async fn rest(&mut self) -> Result<(String, bool), Fault> {
        let reset = loop {
            match self.fill().await {
                Ok(()) => {}
                Err(Fault::Ended) => break false,
                Err(Fault::Reset) => break true,
                Err(fault) => return Err(fault),
            }
        };
        Ok((text(&std::mem::take(&mut self.buffer)), reset))
    }

    /// The start line and the fields.
    pub(crate) async fn head(&mut self, message: &mut Message) -> Result<(), Fault> {
        if self.buffer.is_empty() {
            match self.fill().await {
                Err(Fault::Ended) => return Err(Fault::Nothing),
                other => other?,
            }
        }
        message.start = self.line().await?;
        self.fields(&mut message.fields).await
    }

    /// The body. What came of it is in `message` even if it breaks off.
    pub(crate) async fn body(&mut self, framing: Framing, message: &mut Message) -> Result<(), Fault> {
        match framing {
            Framing::None => Ok(()),
            Framing::Length(length) => self.take(length, &mut message.body).await,
            Framing::UntilClose => {
                let (rest, reset) = self.rest().await?;
                message.body.push_str(&rest);
                if reset { Err(Fault::Reset) } else { Ok(()) }
            }
            Framing::Chunked => {
                loop {
                    let line = self.line().await?;
                    let hex = !line.is_empty() && line.bytes().all(|b| b.is_ascii_hexdigit());
                    let size = if hex {
                        usize::from_str_radix(&line, 16).ok()
                    } else {
                        None
                    };
                    match size {
                        None => return Err(Fault::Malformed(format!("a chunk of size {line:?}"))),
                        Some(0) => break,
                        Some(size) => self.take(size, &mut message.body).await?,
                    }
                    let end = self.line().await?;
                    if !end.is_empty() {
                        return Err(Fault::Malformed(format!("{end:?} behind a chunk")));
                    }
                }
                self.fields(&mut message.trailers).await
            }
        }
    }

    async fn take(&mut self, length: usize, into: &mut String) -> Result<(), Fault> {
        let mut left = length;
        loop {
            let count = left.min(self.buffer.len());
            into.extend(self.buffer.drain(..count).map(char::from));
            left -= count;
            if left == 0 {
                return Ok(());
            }
            self.fill().await?;
        }
    }

    async fn fields(&mut self, into: &mut Vec<Field>) -> Result<(), Fault> {
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(());
            }
            let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            match line.split_once(':') {
                Some((name, value)) if !name.is_empty() && name.bytes().all(token) => {
                    into.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
                }
                _ => return Err(Fault::Malformed(format!("the field line {line:?}"))),
            }
        }
    }

    async fn line(&mut self) -> Result<String, Fault> {
        let mut seen = 0;
        let end = loop {
            let control = |b: &u8| matches!(b, b'\r' | b'\n' | 0..=8 | 11..=31 | 127);
            if let Some(at) = self.buffer[seen..].iter().position(control) {
                let at = seen + at;
                match self.buffer.get(at..at + 2) {
                    Some(b"\r\n") => break at,
                    None if self.buffer[at] == b'\r' => seen = at,
                    _ => {
                        let line = text(&self.buffer[..=at]);
                        return Err(Fault::Malformed(format!("a control character in {line:?}")));
                    }
                }
            } else {
                seen = self.buffer.len();
            }
            self.fill().await?;
        };
        let line = text(&self.buffer[..end]);
        self.buffer.drain(..end + 2);
        Ok(line)
    }
}
