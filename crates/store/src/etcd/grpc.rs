//! gRPC as far as etcd's API needs it: calls with one message each way, and streams, over one connection of HTTP/2.
//! Written after "gRPC over HTTP/2" (PROTOCOL-HTTP2.md of grpc/grpc).

use std::future::poll_fn;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{Reason, RecvStream, SendStream};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;

/// Why a call has no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// The connection didn't carry it, or the member can't serve: another one may. The call may have been done.
    Unreachable(String),
    /// etcd, or whoever answers there, has refused it.
    Refused { code: u16, message: String },
}

/// gRPC's codes that are told apart here.
pub(super) mod code {
    pub(in crate::etcd) const INVALID_ARGUMENT: u16 = 3;
    pub(in crate::etcd) const DEADLINE_EXCEEDED: u16 = 4;
    pub(in crate::etcd) const NOT_FOUND: u16 = 5;
    pub(in crate::etcd) const RESOURCE_EXHAUSTED: u16 = 8;
    pub(in crate::etcd) const OUT_OF_RANGE: u16 = 11;
    pub(in crate::etcd) const UNAVAILABLE: u16 = 14;
    pub(in crate::etcd) const UNAUTHENTICATED: u16 = 16;
    /// No code: the answer is not gRPC's.
    pub(super) const UNKNOWN: u16 = 2;
}

impl Fault {
    fn of_status(code: u16, message: String) -> Self {
        match code {
            code::UNAVAILABLE | code::DEADLINE_EXCEEDED => Self::Unreachable(message),
            _ => Self::Refused { code, message },
        }
    }

    fn of_h2(error: &h2::Error) -> Self {
        let what = match (error.get_io(), error.reason()) {
            (Some(error), _) => error.to_string(),
            (None, Some(reason)) if error.is_remote() => format!("it ended the call: {reason}"),
            _ => error.to_string(),
        };
        Self::Unreachable(what)
    }

    pub(super) fn of_io(error: &io::Error) -> Self {
        Self::Unreachable(error.to_string())
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(what) => f.write_str(what),
            Self::Refused { message, .. } => f.write_str(message),
        }
    }
}

/// The longest message that is taken: a page of 1,000 records of the longest kind is a third of it.
const MESSAGE_MAX: usize = 64 << 20;
/// What a watch may have in flight, so that one that is not read leaves room for the calls beside it.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
const HEAD_MAX: u32 = 16 << 10;
/// Flag and length before each message.
const PREFIX: usize = 5;

/// One connection. Its clones share it, and it ends with the last of them.
#[derive(Clone)]
pub(super) struct Channel {
    sender: SendRequest<Bytes>,
    origin: Uri,
    driver: Arc<Driver>,
}

struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is sent with a call besides its message.
#[derive(Clone, Default, Debug)]
pub(super) struct Extras {
    /// Who calls, as etcd has said itself.
    pub(super) token: Option<HeaderValue>,
    /// The stream ends when the member has no leader.
    pub(super) needs_leader: bool,
}

impl Channel {
    /// Begins HTTP/2 on a stream. `authority` is what requests name as their host.
    pub(super) async fn open<S>(stream: S, authority: &str, encrypted: bool) -> Result<Self, Fault>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let scheme = if encrypted { "https" } else { "http" };
        let origin = Uri::builder()
            .scheme(scheme)
            .authority(authority)
            .path_and_query("/")
            .build()
            .map_err(|error| Fault::Unreachable(error.to_string()))?;
        let mut builder = h2::client::Builder::new();
        builder
            .enable_push(false)
            .max_header_list_size(HEAD_MAX)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let (sender, connection) = builder.handshake(stream).await.map_err(|e| Fault::of_h2(&e))?;
        let driver = tokio::spawn(async move {
            // What ends it is told to every call that is on it.
            let _ = connection.await;
        });
        Ok(Self {
            sender,
            origin,
            driver: Arc::new(Driver(driver.abort_handle())),
        })
    }

    /// Whether it has ended; if not, a call may still find that it has.
    pub(super) fn has_ended(&self) -> bool {
        self.driver.0.is_finished()
    }

    /// Sends one message and waits for one, however long that takes.
    pub(super) async fn call<Q, A>(
        &self,
        path: &'static str,
        extras: &Extras,
        question: &Q,
    ) -> Result<A, Fault>
    where
        Q: Message,
        A: Message + Default,
    {
        let (mut outgoing, mut incoming) = self.stream::<Q, A>(path, extras).await?;
        outgoing.send_last(question)?;
        let Some(answer) = incoming.next().await? else {
            return Err(Fault::Refused {
                code: code::UNKNOWN,
                message: format!("{path} was answered without a message"),
            });
        };
        // What follows it is the status, and may be that it failed after all.
        match incoming.next().await? {
            None => Ok(answer),
            Some(_) => Err(Fault::Refused {
                code: code::UNKNOWN,
                message: format!("{path} was answered twice"),
            }),
        }
    }

    /// Begins a call whose messages stream both ways.
    pub(super) async fn stream<Q, A>(
        &self,
        path: &'static str,
        extras: &Extras,
    ) -> Result<(Outgoing<Q>, Incoming<A>), Fault> {
        let request = self.request(path, extras)?;
        let mut sender = self.sender.clone().ready().await.map_err(|e| Fault::of_h2(&e))?;
        let (response, stream) = sender
            .send_request(request, false)
            .map_err(|e| Fault::of_h2(&e))?;
        let outgoing = Outgoing {
            stream,
            kind: PhantomData,
        };
        let incoming = Incoming {
            state: State::Awaited(response),
            buffer: BytesMut::new(),
            _driver: Arc::clone(&self.driver),
            kind: PhantomData,
        };
        Ok((outgoing, incoming))
    }

    fn request(&self, path: &'static str, extras: &Extras) -> Result<Request<()>, Fault> {
        let mut parts = self.origin.clone().into_parts();
        parts.path_and_query = Some(PathAndQuery::from_static(path));
        let uri = Uri::from_parts(parts).map_err(|error| Fault::Unreachable(error.to_string()))?;
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert("te", HeaderValue::from_static("trailers"));
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        if let Some(token) = &extras.token {
            headers.insert("token", token.clone());
        }
        if extras.needs_leader {
            headers.insert("hasleader", HeaderValue::from_static("true"));
        }
        Ok(request)
    }
}

/// Messages to etcd.
pub(super) struct Outgoing<Q> {
    stream: SendStream<Bytes>,
    kind: PhantomData<fn(Q)>,
}

impl<Q: Message> Outgoing<Q> {
    /// What doesn't fit the windows yet is kept by h2: the callers' messages are few, and limited in size.
    pub(super) fn send(&mut self, message: &Q) -> Result<(), Fault> {
        self.put(message, false)
    }

    fn send_last(&mut self, message: &Q) -> Result<(), Fault> {
        self.put(message, true)
    }

    fn put(&mut self, message: &Q, ends: bool) -> Result<(), Fault> {
        let frame = framed(message)?;
        self.stream.send_data(frame, ends).map_err(|e| Fault::of_h2(&e))
    }
}

fn framed<Q: Message>(message: &Q) -> Result<Bytes, Fault> {
    let length = message.encoded_len();
    let too_long = || Fault::Refused {
        code: code::INVALID_ARGUMENT,
        message: format!("a message of {length} bytes can't be sent"),
    };
    let prefix = u32::try_from(length).map_err(|_| too_long())?;
    let mut frame = BytesMut::with_capacity(PREFIX + length);
    frame.put_u8(0);
    frame.put_u32(prefix);
    message.encode(&mut frame).map_err(|_| too_long())?;
    Ok(frame.freeze())
}

/// Messages from etcd. Dropped before its end, the call is given up.
pub(super) struct Incoming<A> {
    state: State,
    buffer: BytesMut,
    _driver: Arc<Driver>,
    kind: PhantomData<fn() -> A>,
}

enum State {
    Awaited(h2::client::ResponseFuture),
    Open(RecvStream),
    Ended,
}

impl<A: Message + Default> Incoming<A> {
    /// The next message; `None` once the call has ended well. Dropped halfway it loses nothing.
    pub(super) async fn next(&mut self) -> Result<Option<A>, Fault> {
        loop {
            match &mut self.state {
                State::Ended => return Ok(None),
                State::Awaited(response) => {
                    let response = response.await;
                    let (head, body) = response.map_err(|e| self.end(Fault::of_h2(&e)))?.into_parts();
                    if head.status != http::StatusCode::OK {
                        let message = format!("HTTP status {} in place of gRPC's", head.status);
                        return Err(self.end(Fault::Refused {
                            code: code::UNKNOWN,
                            message,
                        }));
                    }
                    // An answer without a message has its status where others have their head.
                    if head.headers.contains_key("grpc-status") {
                        self.state = State::Ended;
                        return status(&head.headers).map(|()| None);
                    }
                    self.state = State::Open(body);
                }
                State::Open(body) => {
                    if let Some(message) = take(&mut self.buffer)? {
                        return Ok(Some(message));
                    }
                    match poll_fn(|cx| body.poll_data(cx)).await {
                        Some(Ok(data)) => {
                            // Room for more, now that it is here. Fails only when the stream has ended.
                            let _ = body.flow_control().release_capacity(data.len());
                            self.buffer.extend_from_slice(&data);
                        }
                        Some(Err(error)) => return Err(self.end(ended(&error))),
                        None => {
                            let trailers = poll_fn(|cx| body.poll_trailers(cx)).await;
                            let trailers = trailers.map_err(|e| self.end(Fault::of_h2(&e)))?;
                            self.state = State::Ended;
                            return status(&trailers.unwrap_or_default()).map(|()| None);
                        }
                    }
                }
            }
        }
    }

    fn end(&mut self, fault: Fault) -> Fault {
        self.state = State::Ended;
        fault
    }
}

fn ended(error: &h2::Error) -> Fault {
    match error.reason() {
        Some(Reason::NO_ERROR) => Fault::Unreachable("it ended the call".to_owned()),
        _ => Fault::of_h2(error),
    }
}

/// The next whole message of what has come.
fn take<A: Message + Default>(buffer: &mut BytesMut) -> Result<Option<A>, Fault> {
    let fault = |message: String| Fault::Refused {
        code: code::UNKNOWN,
        message,
    };
    let Some((&[flag, a, b, c, d], _)) = buffer.split_first_chunk::<PREFIX>() else {
        return Ok(None);
    };
    if flag != 0 {
        return Err(fault("a compressed message, which was not asked for".to_owned()));
    }
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if length > MESSAGE_MAX {
        return Err(fault(format!(
            "a message of {length} bytes; at most {MESSAGE_MAX} are taken"
        )));
    }
    if buffer.len() - PREFIX < length {
        buffer.reserve(PREFIX + length - buffer.len());
        return Ok(None);
    }
    buffer.advance(PREFIX);
    let message = buffer.split_to(length).freeze();
    A::decode(message)
        .map(Some)
        .map_err(|error| fault(format!("a message that can't be read: {error}")))
}

/// How the call ended.
fn status(headers: &HeaderMap) -> Result<(), Fault> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let code = text("grpc-status").and_then(|code| code.parse().ok());
    match code {
        Some(0) => Ok(()),
        Some(code) => {
            let message = unescaped(text("grpc-message").unwrap_or_default());
            let message = if message.is_empty() {
                format!("gRPC status {code}")
            } else {
                message
            };
            Err(Fault::of_status(code, message))
        }
        None => Err(Fault::Unreachable("the answer ended without a status".to_owned())),
    }
}

/// Percent-encoded text, at most 500 bytes of it; what is no UTF-8 is replaced.
fn unescaped(text: &str) -> String {
    const LONGEST: usize = 500;
    let mut bytes = Vec::with_capacity(text.len().min(LONGEST));
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if bytes.len() == LONGEST {
            break;
        }
        let escaped = match rest {
            [b'%', high, low, tail @ ..] => hex(*high).zip(hex(*low)).map(|(h, l)| (h << 4 | l, tail)),
            _ => None,
        };
        let (byte, tail) = escaped.unwrap_or((*first, tail));
        // A line feed would tear a line of the log.
        bytes.push(if byte.is_ascii_control() { b' ' } else { byte });
        rest = tail;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::message::{Header, LeaseId};

    #[test]
    fn a_message_is_taken_when_it_is_whole() {
        let frame = framed(&LeaseId { id: 300 }).unwrap();
        assert_eq!(frame[..], [0, 0, 0, 0, 3, 8, 0xac, 2]);
        let mut buffer = BytesMut::new();
        for byte in &frame[..frame.len() - 1] {
            buffer.put_u8(*byte);
            assert_eq!(take::<LeaseId>(&mut buffer), Ok(None));
        }
        buffer.put_u8(frame[frame.len() - 1]);
        buffer.extend_from_slice(&frame[..2]);
        assert_eq!(take(&mut buffer), Ok(Some(LeaseId { id: 300 })));
        assert_eq!(buffer[..], frame[..2]);
    }

    #[test]
    fn a_message_that_is_compressed_too_long_or_garbled_is_refused() {
        for bytes in [&[1, 0, 0, 0, 0][..], &[0, 0xff, 0, 0, 0], &[0, 0, 0, 0, 1, 0x1a]] {
            let mut buffer = BytesMut::from(bytes);
            assert!(
                matches!(take::<Header>(&mut buffer), Err(Fault::Refused { .. })),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn a_status_is_read_with_its_message() {
        let mut headers = HeaderMap::new();
        assert!(matches!(status(&headers), Err(Fault::Unreachable(_))));
        headers.insert("grpc-status", HeaderValue::from_static("0"));
        assert_eq!(status(&headers), Ok(()));
        headers.insert("grpc-status", HeaderValue::from_static("16"));
        headers.insert("grpc-message", HeaderValue::from_static("a%20b%0a%zz%"));
        assert_eq!(
            status(&headers),
            Err(Fault::Refused {
                code: code::UNAUTHENTICATED,
                message: "a b %zz%".to_owned()
            })
        );
        headers.insert("grpc-status", HeaderValue::from_static("14"));
        assert_eq!(status(&headers), Err(Fault::Unreachable("a b %zz%".to_owned())));
    }
}
