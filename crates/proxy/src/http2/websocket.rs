//! WebSockets of HTTP/2 clients: extended CONNECT (RFC 8441) in front, an upgrade of HTTP/1.1 behind.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode, response};
use http_body::{Body, Frame};
use sha1::{Digest, Sha1};
use tokio::io::{AsyncWrite, ReadHalf, WriteHalf};
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

use crate::exchange;
use crate::exchange::answer::Answer;
use crate::exchange::download::{Arriving, Download, Limit};
use crate::exchange::pause::Pause;
use crate::exchange::upload::Watch;
use crate::http1::request::Client;
use crate::http2::interim::Respond;
use crate::http2::pump::{Pump, Stopped};
use crate::listen::front;
use crate::listen::phase::Turn;
use crate::transport::buffer::Buffer;
use crate::upstream::pool::Upstream;
use crate::upstream::wire::Wire;
use crate::worker::Worker;

/// Appended to the key before it is hashed (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// What is asked of a backend, and how it has to agree (RFC 6455 §4).
pub(crate) struct Handshake {
    key: String,
}

impl Handshake {
    /// With a fresh key; `random` gives 64 bits a call.
    pub(crate) fn new(mut random: impl FnMut() -> u64) -> Self {
        let nonce = (u128::from(random()) << 64 | u128::from(random())).to_be_bytes();
        Self {
            key: STANDARD.encode(nonce),
        }
    }

    /// Turns a request's fields into those that ask for a WebSocket.
    pub(crate) fn ask(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, WEBSOCKET);
        headers.remove(header::TE);
        headers.remove(header::EXPECT);
        headers.remove(header::CONTENT_LENGTH);
        if let Ok(key) = HeaderValue::from_str(&self.key) {
            headers.insert(header::SEC_WEBSOCKET_KEY, key);
        }
    }

    /// Whether a 101 agrees to what was asked; what is left of it is the answer that the client gets.
    pub(crate) fn settle(&self, parts: &mut response::Parts) -> bool {
        let headers = &mut parts.headers;
        let upgrades = headers
            .get(header::UPGRADE)
            .is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"));
        let accepted = headers.remove(header::SEC_WEBSOCKET_ACCEPT);
        if !upgrades || accepted.is_none_or(|accept| accept.as_bytes() != self.accept().as_bytes()) {
            return false;
        }
        parts.status = StatusCode::OK;
        true
    }

    fn accept(&self) -> String {
        let mut hash = Sha1::new();
        hash.update(self.key.as_bytes());
        hash.update(GUID);
        STANDARD.encode(hash.finalize())
    }
}

/// Serves an extended CONNECT, until both sides have ended.
pub(crate) async fn serve(
    worker: &Worker,
    client: Client,
    turn: Turn,
    request: Request<RecvStream>,
    respond: Respond,
) {
    let (parts, body) = request.into_parts();
    let version = parts.version;
    let protocol = parts.extensions.get::<h2::ext::Protocol>();
    let known = protocol.is_some_and(|protocol| protocol.as_str() == "websocket");
    let upgraded = if known {
        let mut upgrading = std::pin::pin!(exchange::upgrade(worker, client, parts, &respond));
        let upgraded = poll_fn(|cx| match upgrading.as_mut().poll(cx) {
            Poll::Ready(upgraded) => Poll::Ready(Some(upgraded)),
            Poll::Pending => respond.poll_reset(cx).map(|()| None),
        });
        let Some(upgraded) = upgraded.await else { return };
        upgraded
    } else {
        let answer = Answer::protocol_unknown();
        worker.books().own.refuse(&answer);
        Err(answer)
    };
    let (response, taken, app, mut account) = match upgraded {
        Ok(upgraded) => upgraded,
        Err(answer) => {
            let response = answer.into_response(version);
            return front::answer(worker, response.map(|body| Download::own(body, turn)), &respond).await;
        }
    };
    if !response.status().is_success() {
        let (timer, timeout) = (worker.timers().timer(), app.settings.response_body_timeout);
        let limit = Limit::Pause(Pause::new(timer, timeout, Watch::of_nothing()));
        let response = response.map(|body| Download::of_backend(body, taken, (turn, account), limit));
        return front::answer(worker, response, &respond).await;
    }
    let (parts, arriving) = response.into_parts();
    let Arriving::Http1(arriving) = arriving else {
        return;
    };
    let (wire, early, upstream) = arriving.switched();
    account.switched();
    let Ok(sender) = respond.answer(Response::from_parts(parts, ()), false) else {
        return account.interrupted();
    };
    let tunnel = Tunnel::new(wire, &early, body, sender);
    tunnel
        .run(worker, &upstream, app.settings.tunnel_idle_timeout)
        .await;
    account.close(Instant::now());
    // Until here it counts as one in flight.
    drop((taken, turn));
}

/// Bytes both ways.
struct Tunnel {
    up: Up,
    down: Pump<Down>,
}

/// From the client to the backend.
struct Up {
    source: RecvStream,
    sink: WriteHalf<Wire>,
    chunk: Bytes,
    ended: bool,
    passed: u64,
}

/// From the backend to the client, as a body.
struct Down {
    source: ReadHalf<Wire>,
    buffer: BytesMut,
}

/// What is read of a backend at a time.
const READ: usize = 16 * 1024;

impl Tunnel {
    /// `early`: what has come behind the backend's head.
    fn new(wire: Wire, early: &Buffer, source: RecvStream, sender: SendStream<Bytes>) -> Self {
        let (read, write) = tokio::io::split(wire);
        let down = Down {
            source: read,
            buffer: BytesMut::from(early.data()),
        };
        Self {
            up: Up {
                source,
                sink: write,
                chunk: Bytes::new(),
                ended: false,
                passed: 0,
            },
            down: Pump::new(down, sender),
        }
    }

    /// Passes what either side says, until both have ended, one is reset, nothing has moved for a long time, or the
    /// backend is cut. Each side can end its own direction alone.
    async fn run(mut self, worker: &Worker, upstream: &Upstream<Wire>, idle: Duration) {
        let timer = worker.timers().timer();
        let (mut up, mut down, mut passed) = (false, false, 0);
        timer.arm(Instant::now() + idle);
        let whole = poll_fn(|cx| {
            if timer.poll_due(cx).is_ready() || upstream.is_cut() {
                return Poll::Ready(false);
            }
            if !up {
                match self.up.poll(cx) {
                    Poll::Ready(Ok(())) => up = true,
                    Poll::Ready(Err(())) => return Poll::Ready(false),
                    Poll::Pending => {}
                }
            }
            if !down {
                match self.down.poll(cx) {
                    Poll::Ready(Ok(())) => down = true,
                    Poll::Ready(Err(Stopped::Source(_) | Stopped::Peer)) => return Poll::Ready(false),
                    Poll::Pending => {}
                }
            }
            let now = self.up.passed + self.down.sent();
            if now != passed {
                passed = now;
                timer.arm(Instant::now() + idle);
            }
            if up && down {
                Poll::Ready(true)
            } else {
                Poll::Pending
            }
        })
        .await;
        if !whole {
            // RFC 8441 §5: what is a reset of a TCP connection is this of a stream.
            self.down.reset(Reason::CANCEL);
        }
    }
}

impl Up {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        loop {
            while !self.chunk.is_empty() {
                let written = ready!(Pin::new(&mut self.sink).poll_write(cx, &self.chunk)).map_err(drop)?;
                if written == 0 {
                    return Poll::Ready(Err(()));
                }
                self.chunk.advance(written);
                self.passed += written as u64;
                // It fails only for more than has come.
                let _ = self.source.flow_control().release_capacity(written);
            }
            if self.ended {
                return Pin::new(&mut self.sink).poll_shutdown(cx).map_err(drop);
            }
            match self.source.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => self.chunk = data,
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(())),
                Poll::Ready(None) => self.ended = true,
                Poll::Pending => {
                    ready!(Pin::new(&mut self.sink).poll_flush(cx)).map_err(drop)?;
                    return Poll::Pending;
                }
            }
        }
    }
}

impl Body for Down {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let this = &mut *self;
        if !this.buffer.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(this.buffer.split().freeze()))));
        }
        this.buffer.reserve(READ);
        let count = ready!(poll_read_buf(Pin::new(&mut this.source), cx, &mut this.buffer))?;
        if count == 0 {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(Frame::data(this.buffer.split().freeze()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(fields: &[(&'static str, &'static str)]) -> response::Parts {
        let mut response = Response::builder().status(101);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        response.body(()).unwrap().into_parts().0
    }

    /// The one of RFC 6455 §1.3.
    fn handshake() -> Handshake {
        Handshake {
            key: "dGhlIHNhbXBsZSBub25jZQ==".to_owned(),
        }
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted_and_becomes_200() {
        let mut parts = answered(&[
            ("upgrade", "WebSocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            ("sec-websocket-protocol", "chat"),
        ]);
        assert!(handshake().settle(&mut parts));
        assert_eq!(parts.status, 200);
        assert_eq!(parts.headers["sec-websocket-protocol"], "chat");
        assert!(!parts.headers.contains_key("sec-websocket-accept"));
    }

    #[test]
    fn what_does_not_prove_that_it_has_read_the_key_is_refused() {
        for fields in [
            &[("upgrade", "websocket")][..],
            &[
                ("upgrade", "websocket"),
                ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xO0="),
            ],
            &[
                ("upgrade", "h2c"),
                ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            ],
            &[("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")],
        ] {
            assert!(!handshake().settle(&mut answered(fields)), "{fields:?}");
        }
    }

    #[test]
    fn every_key_is_fresh_and_of_16_bytes() {
        let mut n = 0;
        let mut key = || {
            Handshake::new(|| {
                n += 1;
                n
            })
            .key
        };
        let (one, other) = (key(), key());
        assert_ne!(one, other);
        assert_eq!(STANDARD.decode(one).unwrap().len(), 16);
    }
}
