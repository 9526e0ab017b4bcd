//! A request on its way to a backend by HTTP/1.1: its head, and its body in a framing of its own.

use std::io::{self, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use edgeproxy_backend::BackendAddr;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Uri};
use http_body::{Body, Frame};

use crate::exchange::upload::{Broken, Draw};
use crate::headers::forward::Added;
use crate::http1::field::Field;
use crate::http1::leaving::{CHUNK_AND_LAST, LAST_CHUNK, LINE_END, Leaving};
use crate::transport::buffer::HeadBuffer;
use crate::upstream::wire::Wire;

/// A request's head, as a backend gets it.
pub(crate) struct Outgoing<'a> {
    /// The client's fields, but for the host. What they say about the connection was written by the proxy.
    pub(crate) parts: &'a Parts,
    /// The proxy's own.
    pub(crate) added: &'a Added,
    /// In origin form, or `*`.
    pub(crate) target: &'a Uri,
    pub(crate) host: Option<&'a HeaderValue>,
    /// The host of a request that names none.
    pub(crate) addr: BackendAddr,
}

/// A request under way. The head leaves with the beginning of the body, if there is one by then.
pub(super) struct Sending {
    draw: Draw,
    rest: Rest,
    out: Leaving<HeadBuffer>,
    /// How many bytes of the head have not left.
    head_left: usize,
    /// How many bytes have left.
    sent: u64,
}

/// What is still to be drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rest {
    Ended,
    Known(u64),
    Chunked,
}

/// Why a request doesn't get on.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The client's body broke off.
    Client(Broken),
    /// The backend takes no more.
    Backend(io::Error),
}

impl Sending {
    /// Writes the head to `front`, which is empty.
    pub(super) fn new(request: &Outgoing<'_>, draw: Draw, mut front: HeadBuffer) -> Self {
        let length = request.parts.headers.get(header::CONTENT_LENGTH);
        let known = length
            .and_then(|length| length.to_str().ok())
            .and_then(|length| length.parse().ok());
        let rest = match known {
            _ if draw.is_end_stream() => Rest::Ended,
            Some(0) => Rest::Ended,
            Some(length) => Rest::Known(length),
            None => Rest::Chunked,
        };
        write_head(
            request.parts,
            request.target,
            request.host,
            request.addr,
            &mut front,
        );
        request
            .added
            .each(|name, value| push(&mut front, name.as_str(), value));
        match (rest, length) {
            (Rest::Chunked, _) => front.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            (_, Some(length)) => push(&mut front, "content-length", length.as_bytes()),
            (_, None) => {}
        }
        front.extend_from_slice(LINE_END);
        Self {
            draw,
            rest,
            head_left: front.len(),
            out: Leaving::new(front),
            sent: 0,
        }
    }

    /// Whether all of it has left.
    pub(super) fn has_left(&self) -> bool {
        self.rest == Rest::Ended && self.out.is_empty()
    }

    /// Whether the head has left.
    pub(super) fn has_told(&self) -> bool {
        self.head_left == 0
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Moves it on as far as both sides allow. Ready once all of it has left.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, wire: &mut Wire) -> Poll<Result<(), Stopped>> {
        loop {
            if self.rest != Rest::Ended && self.out.is_open() {
                match Pin::new(&mut self.draw).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => self.take(frame).map_err(Stopped::Client)?,
                    Poll::Ready(Some(Err(broken))) => return Poll::Ready(Err(Stopped::Client(broken))),
                    Poll::Ready(None) => self.end().map_err(Stopped::Client)?,
                    Poll::Pending if self.out.is_empty() => return Poll::Pending,
                    Poll::Pending => {}
                }
            }
            if self.out.is_empty() {
                if self.rest == Rest::Ended {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            match ready!(self.out.poll_write(cx, wire)) {
                Ok(0) => return Poll::Ready(Err(Stopped::Backend(io::ErrorKind::WriteZero.into()))),
                Ok(count) => self.advance(count),
                Err(error) => return Poll::Ready(Err(Stopped::Backend(error))),
            }
        }
    }

    fn take(&mut self, frame: Frame<Bytes>) -> Result<(), Broken> {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                return match frame.into_trailers() {
                    Ok(trailers) => self.end_with(&trailers),
                    Err(_) => Ok(()),
                };
            }
        };
        let back: &[u8] = match &mut self.rest {
            Rest::Ended => return Ok(()),
            Rest::Known(left) => {
                // The codec of the client's side has counted already; more would be the next request.
                *left = left.checked_sub(data.len() as u64).ok_or(Broken::Client)?;
                if *left == 0 {
                    self.rest = Rest::Ended;
                }
                b""
            }
            // An empty chunk would be the last one.
            Rest::Chunked if data.is_empty() => return Ok(()),
            Rest::Chunked => {
                // Writing to a vector does not fail.
                let _ = write!(self.out.front(), "{:x}\r\n", data.len());
                if self.draw.is_end_stream() {
                    self.rest = Rest::Ended;
                    CHUNK_AND_LAST
                } else {
                    LINE_END
                }
            }
        };
        self.out.put(data, back);
        Ok(())
    }

    fn end(&mut self) -> Result<(), Broken> {
        match self.rest {
            Rest::Ended => {}
            Rest::Known(_) => return Err(Broken::Client),
            Rest::Chunked => {
                self.out.front().extend_from_slice(LAST_CHUNK);
                self.out.front().extend_from_slice(LINE_END);
            }
        }
        self.rest = Rest::Ended;
        Ok(())
    }

    /// A body of known length has no place for them.
    fn end_with(&mut self, trailers: &HeaderMap) -> Result<(), Broken> {
        if self.rest != Rest::Chunked {
            return self.end();
        }
        self.out.front().extend_from_slice(LAST_CHUNK);
        for (name, value) in trailers {
            if Field::of(name.as_str()).may_trail() {
                push(self.out.front(), name.as_str(), value.as_bytes());
            }
        }
        self.out.front().extend_from_slice(LINE_END);
        self.rest = Rest::Ended;
        Ok(())
    }

    fn advance(&mut self, count: usize) {
        self.sent += count as u64;
        self.head_left = self.head_left.saturating_sub(count);
        self.out.advance(count);
    }
}

/// The request line and the client's fields, but for those that frame the body.
fn write_head(parts: &Parts, target: &Uri, host: Option<&HeaderValue>, addr: BackendAddr, out: &mut Vec<u8>) {
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b' ');
    let target = target.path_and_query().map_or("/", |target| target.as_str());
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    match host {
        Some(host) => push(out, "host", host.as_bytes()),
        None => push(out, "host", addr.to_string().as_bytes()),
    }
    let mut trailers = false;
    for (name, value) in &parts.headers {
        if name != header::CONTENT_LENGTH {
            push(out, name.as_str(), value.as_bytes());
        }
        trailers |= name == header::TE;
    }
    // RFC 9110 §10.1.4.
    if trailers {
        out.extend_from_slice(b"connection: te\r\n");
    }
}

fn push(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(LINE_END);
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn head(request: http::request::Builder, host: Option<&'static str>) -> String {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let host = host.map(HeaderValue::from_static);
        let mut out = Vec::new();
        let addr = BackendAddr::parse("10.0.0.1", 80).unwrap();
        write_head(&parts, &parts.uri, host.as_ref(), addr, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_host_is_first_and_what_frames_the_body_is_not_there() {
        let request = Request::post("/a?b")
            .header("a", "1")
            .header("content-length", "5");
        assert_eq!(
            head(request, Some("app")),
            "POST /a?b HTTP/1.1\r\nhost: app\r\na: 1\r\n"
        );
    }

    #[test]
    fn a_request_without_host_is_given_the_backends_address() {
        assert_eq!(
            head(Request::options("*"), None),
            "OPTIONS * HTTP/1.1\r\nhost: 10.0.0.1:80\r\n"
        );
    }

    #[test]
    fn whoever_asks_for_trailers_says_that_it_is_for_the_neighbour() {
        assert_eq!(
            head(Request::get("/").header("te", "trailers"), Some("app")),
            "GET / HTTP/1.1\r\nhost: app\r\nte: trailers\r\nconnection: te\r\n"
        );
    }
}
