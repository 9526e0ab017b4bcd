//! A response's body on its way to a client, with all that is held until its end.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::headers::hop;
use crate::phase::Turn;
use crate::pick::Taken;
use crate::pool::{Conn, Upstream};

/// A body that a client gets.
pub(crate) struct Download {
    source: Source,
    /// Ends the request's turn on the client's connection when the body does.
    _turn: Turn,
}

enum Source {
    Own(Full<Bytes>),
    Backend(Box<FromBackend>),
}

struct FromBackend {
    body: Incoming,
    /// Given back at the end of the body; dropped, and the connection closed, if it breaks off.
    held: Option<Held>,
}

/// What a request holds while its response is on its way.
pub(crate) struct Held {
    pub(crate) taken: Taken,
    pub(crate) upstream: Rc<Upstream<Conn>>,
    pub(crate) conn: Conn,
}

/// A backend's body broke off; the client's is broken off too, visibly.
#[derive(Debug, thiserror::Error)]
#[error("the backend's body broke off: {0}")]
pub(crate) struct Truncated(#[from] hyper::Error);

impl Download {
    pub(crate) fn own(body: Full<Bytes>, turn: Turn) -> Self {
        Self {
            source: Source::Own(body),
            _turn: turn,
        }
    }

    pub(crate) fn of_backend(body: Incoming, held: Held, turn: Turn) -> Self {
        let mut body = FromBackend {
            body,
            held: Some(held),
        };
        body.release_at_end();
        Self {
            source: Source::Backend(Box::new(body)),
            _turn: turn,
        }
    }
}

impl FromBackend {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Truncated>>> {
        match std::task::ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    hop::strip(trailers);
                }
                self.release_at_end();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                self.held = None;
                tracing::debug!(%error, "a response broke off");
                Poll::Ready(Some(Err(error.into())))
            }
            None => {
                self.release();
                Poll::Ready(None)
            }
        }
    }

    /// A body of known length says so with its last frame, and is not polled again.
    fn release_at_end(&mut self) {
        if self.body.is_end_stream() {
            self.release();
        }
    }

    fn release(&mut self) {
        let Some(Held {
            taken,
            upstream,
            mut conn,
        }) = self.held.take()
        else {
            return;
        };
        drop(taken);
        if conn.sender.is_ready() {
            upstream.keep(Conn { reused: true, ..conn }, Instant::now());
        } else if !conn.sender.is_closed() {
            // Its task has still to see the end of the response, or the request is still being sent.
            tokio::task::spawn_local(async move {
                if conn.sender.ready().await.is_ok() {
                    upstream.keep(Conn { reused: true, ..conn }, Instant::now());
                }
            });
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = Truncated;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Truncated>>> {
        match &mut self.source {
            Source::Own(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Source::Backend(body) => body.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(body) => body.is_end_stream(),
            Source::Backend(body) => body.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(body) => body.size_hint(),
            Source::Backend(body) => body.body.size_hint(),
        }
    }
}
