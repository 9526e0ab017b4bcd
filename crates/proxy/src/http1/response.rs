//! A backend's head: what is refused, what is known of the rest, and what the client gets instead. No I/O.

use httparse::Status;

use super::field::Field;
use super::framing::{Framing, FramingError, Length};
use super::head::{self, Fields, HeadError, Line, find_end, tokens};
use super::request::Method;
use crate::headers::via::Pseudonym;

/// What a response answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    /// The client's version: one that speaks HTTP/1.0 knows neither chunks nor 1xx.
    pub(crate) minor: u8,
    pub(crate) upgrade: bool,
}

/// A response that may be passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Head {
    /// Its bytes in the buffer.
    pub(crate) len: usize,
    pub(crate) status: u16,
    /// As the backend frames the body.
    pub(crate) length: Length,
    /// Whether the backend would take another request on this connection.
    pub(crate) keep_alive: bool,
    has_date: bool,
    /// Whether `Connection` names any.
    names_fields: bool,
    /// Of its version.
    pub(crate) minor: u8,
    /// Bytes of the protocol that was asked for, in the buffer; empty but in a 101.
    upgrade: (usize, usize),
}

/// Why a response is not passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum ResponseError {
    #[error("{0}")]
    Head(#[from] HeadError),
    #[error("{0}")]
    Framing(#[from] FramingError),
    #[error("the head is longer than {MAX_HEAD} bytes")]
    TooLong,
    #[error("the status is not from 100 to 599")]
    Status,
    #[error("the protocol was switched without being asked")]
    Unasked,
    #[error("Connection names more fields than are taken")]
    Connection,
}

/// A response's head, at most.
pub(crate) const MAX_HEAD: usize = 64 * 1024;
/// Fields that `Connection` may name.
const MAX_NAMED: usize = 16;

/// How the client gets a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Delivery {
    /// As it comes: of known length, or in the backend's own chunks.
    AsIs,
    /// Out of the backend's chunks, to a client who doesn't know of them. Its connection ends with the body.
    Bare,
    /// In chunks of ours, since the end of the backend's connection is the body's end.
    Chunked,
    /// Until the client's connection ends, too.
    UntilClose,
}

impl Head {
    /// How a client of that version gets the body.
    pub(crate) fn delivery(&self, minor: u8) -> Delivery {
        match (self.length, minor) {
            (Length::Known(_), _) | (Length::Chunked, 1) => Delivery::AsIs,
            (Length::Chunked, _) => Delivery::Bare,
            (Length::UntilClose, 1) => Delivery::Chunked,
            (Length::UntilClose, _) => Delivery::UntilClose,
        }
    }

    /// What a client is told about its connection, which would be kept if it were for the client alone.
    pub(crate) fn persist(&self, asked: Asked, keep: bool) -> Persist {
        let ends = matches!(self.delivery(asked.minor), Delivery::Bare | Delivery::UntilClose);
        Persist::of(keep && !ends, asked.minor)
    }

    /// 1xx: another head follows.
    pub(crate) fn is_interim(&self) -> bool {
        self.status < 200 && self.status != SWITCHING
    }

    pub(crate) fn switches(&self) -> bool {
        self.status == SWITCHING
    }

    /// Whether it switches to something that was asked for, if it switches. `buf` begins with this head; `asked`
    /// is the request's, as the backend got it.
    pub(crate) fn is_agreed(&self, buf: &[u8], asked: &[u8]) -> bool {
        const LINE: &[u8] = b"\r\nupgrade: ";
        if !self.switches() {
            return true;
        }
        let line = asked.windows(LINE.len()).rposition(|window| window == LINE);
        let line = line
            .and_then(|at| asked.get(at + LINE.len()..))
            .unwrap_or_default();
        let offered = line.split(|b| *b == b'\r').next().unwrap_or_default();
        let chosen = buf.get(self.upgrade.0..self.upgrade.1).unwrap_or_default();
        let mut chosen = tokens(chosen).peekable();
        self.minor > 0
            && chosen.peek().is_some()
            && chosen.all(|chosen| tokens(offered).any(|offered| offered.eq_ignore_ascii_case(chosen)))
    }
}

const SWITCHING: u16 = 101;

/// What the client is told about its own connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Persist {
    /// Nothing: it stays open, as is the custom.
    Open,
    /// That it stays open, since HTTP/1.0 would not expect it.
    KeepAlive,
    /// That it ends.
    Close,
}

impl Persist {
    /// Of a client that speaks HTTP/1.`minor`.
    pub(crate) fn of(keep: bool, minor: u8) -> Self {
        match (keep, minor) {
            (false, _) => Self::Close,
            (true, 0) => Self::KeepAlive,
            (true, _) => Self::Open,
        }
    }

    /// The field that says so, if any does.
    pub(crate) fn line(self) -> &'static str {
        match self {
            Self::Open => "",
            Self::KeepAlive => "connection: keep-alive\r\n",
            Self::Close => "connection: close\r\n",
        }
    }
}

/// Reads the head at the beginning of `buf`, of which `seen` bytes have been looked at before, and hands it with
/// its fields to `then`. `None`: there is more to come.
pub(crate) fn read<R>(
    buf: &[u8],
    seen: usize,
    asked: Asked,
    then: impl FnOnce(Head, &Fields<'_, '_>) -> Result<R, ResponseError>,
) -> Result<Option<(Head, R)>, ResponseError> {
    if seen > 0 && find_end(buf, seen).is_none() {
        return unfinished(buf).map(|()| None);
    }
    let mut room = head::room();
    let mut response = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let len = match parser.parse_response_with_uninit_headers(&mut response, buf, &mut room) {
        Ok(Status::Complete(len)) => len,
        Ok(Status::Partial) => return unfinished(buf).map(|()| None),
        Err(error) => return Err(refusal(error).into()),
    };
    if len > MAX_HEAD {
        return Err(ResponseError::TooLong);
    }
    let (Some(status), Some(minor)) = (response.code, response.version) else {
        return Err(HeadError::StatusLine.into());
    };
    let mut kinds = head::kinds();
    let head = buf.get(..len).unwrap_or_default();
    // The parser overlooks empty lines in front.
    if !head.starts_with(b"HTTP/") {
        return Err(HeadError::StatusLine.into());
    }
    let fields = Fields::check(head, response.headers, &mut kinds)?;
    let head = gather(head, status, minor, &fields, asked)?;
    then(head, &fields).map(|then| Some((head, then)))
}

fn gather(
    head: &[u8],
    status: u16,
    minor: u8,
    fields: &Fields<'_, '_>,
    asked: Asked,
) -> Result<Head, ResponseError> {
    if !(100..=599).contains(&status) {
        return Err(ResponseError::Status);
    }
    if status == SWITCHING && !asked.upgrade {
        return Err(ResponseError::Unasked);
    }
    let (mut framing, mut close, mut keep_alive, mut has_date) = (Framing::default(), false, false, false);
    let (mut upgrade, mut named) = ((0, 0), 0);
    for line in fields.iter() {
        match line.field {
            Field::ContentLength => framing.content_length(line.value)?,
            Field::TransferEncoding => framing.transfer_encoding(line.value)?,
            Field::Connection => {
                for token in tokens(line.value) {
                    if token.eq_ignore_ascii_case("close") {
                        close = true;
                    } else if token.eq_ignore_ascii_case("keep-alive") {
                        keep_alive = true;
                    } else if !token.eq_ignore_ascii_case("upgrade") {
                        named += 1;
                    }
                }
                if named > MAX_NAMED {
                    return Err(ResponseError::Connection);
                }
            }
            Field::Date => has_date = true,
            Field::Upgrade if status == SWITCHING => {
                let start = (line.value.as_ptr() as usize).wrapping_sub(head.as_ptr() as usize);
                upgrade = (start, start + line.value.len());
            }
            _ => {}
        }
    }
    // RFC 9112 §6.3: these have no body, whatever their fields say. The fields are checked all the same.
    let framed = framing.decide(minor)?;
    let bodiless = asked.method == Method::Head || matches!(status, 100..=199 | 204 | 304);
    let length = if bodiless {
        Length::NONE
    } else {
        framed.unwrap_or(Length::UntilClose)
    };
    Ok(Head {
        len: head.len(),
        status,
        length,
        keep_alive: !close && (minor > 0 || keep_alive) && length != Length::UntilClose,
        has_date,
        names_fields: named > 0,
        minor,
        upgrade,
    })
}

/// How a response is written for the client.
pub(crate) struct Manner<'a> {
    pub(crate) pseudonym: &'a Pseudonym,
    pub(crate) asked: Asked,
    pub(crate) persist: Persist,
    /// For an answer that lacks one (RFC 9110 §6.6.1).
    pub(crate) date: &'a dyn Fn() -> [u8; 29],
}

impl Head {
    /// Writes what the client gets in place of this head, which stands at the beginning of `buf`.
    pub(crate) fn write(
        &self,
        buf: &[u8],
        fields: &Fields<'_, '_>,
        manner: &Manner<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), ResponseError> {
        let head = buf.get(..self.len).unwrap_or_default();
        out.clear();
        out.reserve(head.len() + 256);
        // The version is the proxy's own (RFC 9110 §2.5).
        out.extend_from_slice(b"HTTP/1.1");
        let version = b"HTTP/1.1".len();
        let mut run = version;
        // The space behind the status is there even if no reason is (RFC 9112 §4).
        let status = b"HTTP/1.1 200".len();
        if head.get(status) == Some(&b'\r') {
            out.extend_from_slice(head.get(version..status).unwrap_or_default());
            out.push(b' ');
            run = status;
        }
        for line in fields.iter() {
            let is_kept = self.keeps(line.field, line.name, fields);
            let number = plain_number(&line);
            if is_kept && number.is_none() {
                continue;
            }
            out.extend_from_slice(head.get(run..line.start).unwrap_or_default());
            if let Some(number) = number
                && is_kept
            {
                out.extend_from_slice(b"content-length: ");
                out.extend_from_slice(number);
                out.extend_from_slice(b"\r\n");
            }
            run = line.end;
        }
        out.extend_from_slice(head.get(run..fields.end()).unwrap_or_default());
        manner.pseudonym.push_line(out, self.minor);
        if !self.has_date && !self.is_interim() {
            out.extend_from_slice(b"date: ");
            out.extend_from_slice(&(manner.date)());
            out.extend_from_slice(b"\r\n");
        }
        self.push_hop(head, manner, out);
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// Whether a field is for more than the backend's connection.
    pub(crate) fn passes_on(&self, line: &Line<'_>, fields: &Fields<'_, '_>) -> bool {
        self.keeps(line.field, line.name, fields)
    }

    fn keeps(&self, field: Field, name: &str, fields: &Fields<'_, '_>) -> bool {
        let kept = match field {
            Field::Connection
            | Field::KeepAlive
            | Field::ProxyConnection
            | Field::Te
            | Field::TransferEncoding
            | Field::Upgrade => false,
            // RFC 9110 §8.6: these carry none.
            Field::ContentLength => self.status >= 200 && self.status != 204,
            _ => true,
        };
        kept && !(self.names_fields && field.may_be_named() && fields.connection_names(name))
    }

    fn push_hop(&self, head: &[u8], manner: &Manner<'_>, out: &mut Vec<u8>) {
        if self.switches() {
            out.extend_from_slice(b"connection: upgrade\r\nupgrade: ");
            out.extend_from_slice(head.get(self.upgrade.0..self.upgrade.1).unwrap_or_default());
            out.extend_from_slice(b"\r\n");
            return;
        }
        if self.is_interim() {
            return;
        }
        out.extend_from_slice(manner.persist.line().as_bytes());
        let chunked =
            self.length == Length::Chunked || self.delivery(manner.asked.minor) == Delivery::Chunked;
        if chunked && manner.asked.minor > 0 {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
    }
}

/// A length that has leading zeros, without them: some would take it for octal.
fn plain_number<'b>(line: &Line<'b>) -> Option<&'b [u8]> {
    if line.field != Field::ContentLength || !line.value.starts_with(b"0") || line.value.len() == 1 {
        return None;
    }
    let zeros = line.value.iter().take_while(|digit| **digit == b'0').count();
    line.value.get(zeros.min(line.value.len() - 1)..)
}

fn unfinished(buf: &[u8]) -> Result<(), ResponseError> {
    if buf.len() < MAX_HEAD {
        Ok(())
    } else {
        Err(ResponseError::TooLong)
    }
}

fn refusal(error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::HeaderName => HeadError::Name,
        httparse::Error::HeaderValue => HeadError::Value,
        httparse::Error::NewLine => HeadError::LineEnd,
        httparse::Error::TooManyHeaders => HeadError::TooManyFields,
        httparse::Error::Version => HeadError::Version,
        httparse::Error::Status | httparse::Error::Token => HeadError::StatusLine,
    }
}

#[cfg(test)]
mod tests;
