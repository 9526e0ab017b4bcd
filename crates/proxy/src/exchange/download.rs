//! A response's body on its way to a client, with all that is held until its end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::Reason;
use http_body::{Body, Frame};
use http_body_util::Full;
use tokio::time::Instant;

use crate::exchange::account::Account;
use crate::exchange::pause::Pause;
use crate::exchange::pick::Taken;
use crate::exchange::upload::Broken;
use crate::headers::hop;
use crate::http1::body::BodyError;
use crate::listen::phase::Turn;
use crate::request::grpc::Call;
use crate::upstream::attempt::{http1, http2};

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
    /// `None` after its end. Dropped before, the stream is reset or the connection closed.
    body: Option<Arriving>,
    /// Given back with the end of the body.
    taken: Option<Taken>,
    limit: Limit,
    /// `None` after its end.
    account: Option<Account>,
}

/// What ends a response that takes too long.
pub(crate) enum Limit {
    /// Its own deadline: a call of gRPC may be silent for as long as it likes.
    Call(Call),
    /// The backend's silence.
    Pause(Pause),
}

/// A response's body, as it comes, and what it comes by.
pub(crate) enum Arriving {
    Http1(Box<http1::Arriving>),
    Http2(http2::Arriving),
}

impl Arriving {
    /// Nobody wants it.
    pub(crate) fn discard(self) {
        match self {
            Self::Http1(body) => body.discard(),
            // Its stream is reset, and the others of the connection go on.
            Self::Http2(body) => drop(body),
        }
    }
}

/// A backend's body broke off; the client's is broken off too, visibly.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Truncated {
    #[error("the backend's body broke off: {0}")]
    Http1(#[from] BodyError),
    #[error("the backend's body broke off: {0}")]
    Http2(#[from] h2::Error),
    #[error("the backend said nothing for too long")]
    Paused,
    /// Its request, which was still being sent, broke off.
    #[error("{0}")]
    Upload(#[from] Broken),
    #[error("the backend has been cut")]
    Cut,
}

impl Truncated {
    /// Why the client's stream is reset: as the backend's was, or else for a fault of ours.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Http2(error) if error.is_remote() && error.is_reset() => match error.reason() {
                // That would say that everything had been said.
                None | Some(Reason::NO_ERROR) => Reason::INTERNAL_ERROR,
                Some(reason) => reason,
            },
            _ => Reason::INTERNAL_ERROR,
        }
    }

    /// Whether the backend said so itself.
    fn is_said(&self) -> bool {
        matches!(self, Self::Http2(error) if error.is_remote() && error.is_reset())
    }
}

impl Download {
    pub(crate) fn own(body: Full<Bytes>, turn: Turn) -> Self {
        Self {
            source: Source::Own(body),
            _turn: turn,
        }
    }

    pub(crate) fn of_backend(
        body: Arriving,
        taken: Taken,
        (turn, account): (Turn, Account),
        limit: Limit,
    ) -> Self {
        let mut body = FromBackend {
            body: Some(body),
            taken: Some(taken),
            limit,
            account: Some(account),
        };
        body.release_at_end();
        Self {
            source: Source::Backend(Box::new(body)),
            _turn: turn,
        }
    }
}

impl Download {
    /// Moves on what a response that the client doesn't take does not have to hold up: the rest of its request.
    pub(crate) fn poll_request(&mut self, cx: &mut Context<'_>) -> Result<(), Truncated> {
        match &mut self.source {
            Source::Backend(from) => match &mut from.body {
                Some(Arriving::Http1(body)) => body.poll_request(cx),
                // That is sent by a task of its own.
                Some(Arriving::Http2(_)) | None => Ok(()),
            },
            Source::Own(_) => Ok(()),
        }
    }
}

impl FromBackend {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Truncated>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(body).poll_frame(cx);
        let polled = match (polled, &mut self.limit) {
            (Poll::Pending, Limit::Call(call)) => {
                ready!(call.poll_late(cx));
                let trailers = Call::late_trailers();
                self.drop_both();
                self.close();
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
            (Poll::Pending, Limit::Pause(pause)) => {
                ready!(pause.poll_over(cx));
                Some(Err(Truncated::Paused))
            }
            (Poll::Ready(polled), Limit::Pause(pause)) => {
                pause.end();
                polled
            }
            (Poll::Ready(polled), Limit::Call(_)) => polled,
        };
        match polled {
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    hop::strip(trailers);
                }
                if let (Some(account), Some(data)) = (&mut self.account, frame.data_ref()) {
                    account.passed(data.len() as u64);
                }
                self.release_at_end();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                self.drop_both();
                self.broke_off(&error);
                tracing::debug!(%error, "a response broke off");
                // A backend's own word is passed on as it is; what gRPC's client would make of a connection that
                // ends, it is told.
                if matches!(self.limit, Limit::Call(_)) && !error.is_said() {
                    return Poll::Ready(Some(Ok(Frame::trailers(Call::broken_trailers()))));
                }
                Poll::Ready(Some(Err(error)))
            }
            None => {
                self.release();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    /// A body of known length says so with its last frame, and is not polled again.
    fn release_at_end(&mut self) {
        if self.is_end_stream() {
            self.release();
        }
    }

    fn drop_both(&mut self) {
        self.body = None;
        self.taken = None;
    }

    /// Whose fault it is.
    fn broke_off(&mut self, error: &Truncated) {
        if let Some(mut account) = self.account.take() {
            match error {
                Truncated::Upload(_) => account.interrupted(),
                _ => account.truncated(),
            }
        }
    }

    fn close(&mut self) {
        if let Some(mut account) = self.account.take() {
            account.close(Instant::now());
        }
    }

    fn release(&mut self) {
        self.taken = None;
        self.close();
        match self.body.take() {
            Some(Arriving::Http1(body)) => body.finish(),
            Some(Arriving::Http2(body)) => body.finish(),
            None => {}
        }
    }
}

impl Drop for FromBackend {
    fn drop(&mut self) {
        if let Some(account) = &mut self.account {
            account.interrupted();
        }
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = Truncated;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Truncated>>> {
        match &mut *self {
            Self::Http1(body) => body.poll_frame(cx),
            Self::Http2(body) => Pin::new(body).poll_frame(cx).map_err(Truncated::Http2),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
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
            Source::Backend(body) => body.is_end_stream(),
        }
    }
}
