//! A request's body on its way to a backend, kept while it may have to be sent again.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::http2::receive::Receive;

/// A client's request body. Each attempt draws from it through a [`Draw`] of its own; what was drawn is kept
/// and drawn again by the next one, up to a limit. Only the latest `Draw` gets anything.
pub(crate) struct Upload<B = Receive>(Rc<RefCell<State<B>>>);

/// Sees when an upload moves, and doesn't hold it.
pub(crate) struct Watch<B = Receive>(Weak<RefCell<State<B>>>);

/// One attempt's view of the body.
pub(crate) struct Draw<B = Receive> {
    state: Rc<RefCell<State<B>>>,
    attempt: u32,
}

/// Why a body ended before its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The client went away, or broke its own framing.
    #[error("the client's body broke off")]
    Client,
    /// It is longer than `max_body_bytes`.
    #[error("the client's body is too large")]
    TooLarge,
    /// It was not even begun: the request can't be written for the backend.
    #[error("the request's target has no form there")]
    Target,
    /// A later attempt draws from it.
    #[error("a later attempt took the body over")]
    Superseded,
}

/// Who holds an upload up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stall {
    /// Nobody: wait until then.
    Until(Instant),
    /// The client: it doesn't send.
    Client,
    /// The backend: it doesn't read, doesn't say that it would, or has everything and doesn't answer.
    Backend,
}

struct State<B> {
    source: B,
    /// `None`: something was drawn that is not kept.
    kept: Option<Kept>,
    keep_max: usize,
    left: Option<u64>,
    attempt: u32,
    ended: bool,
    broken: Option<Broken>,
    waits_for_client: bool,
    /// The client waits to be told to send it (RFC 9110 §10.1.1).
    withheld: bool,
    moved: Instant,
}

#[derive(Default)]
struct Kept {
    data: Vec<Bytes>,
    bytes: usize,
    trailers: Option<HeaderMap>,
    /// How much of it the current attempt has drawn.
    next: usize,
    trailers_drawn: bool,
}

impl<B: Body<Data = Bytes> + Unpin> Upload<B> {
    /// Wraps `source`. Up to `keep_max` bytes are kept; more than `max` are refused.
    pub(crate) fn new(source: B, keep_max: usize, max: Option<u64>) -> Self {
        let ended = source.is_end_stream();
        Self(Rc::new(RefCell::new(State {
            source,
            kept: Some(Kept::default()),
            keep_max,
            left: max,
            attempt: 0,
            ended,
            broken: None,
            waits_for_client: false,
            withheld: false,
            moved: Instant::now(),
        })))
    }

    /// Begins an attempt; what was drawn before is drawn again.
    pub(crate) fn draw(&self) -> Draw<B> {
        let mut state = self.0.borrow_mut();
        state.attempt += 1;
        if let Some(kept) = &mut state.kept {
            kept.next = 0;
            kept.trailers_drawn = false;
        }
        Draw {
            state: Rc::clone(&self.0),
            attempt: state.attempt,
        }
    }

    /// Whether another attempt would get the whole body.
    pub(crate) fn is_replayable(&self) -> bool {
        let state = self.0.borrow();
        state.kept.is_some() && state.broken.is_none()
    }

    /// No further attempt will be made: nothing needs to be kept.
    pub(crate) fn settle(&self) {
        let mut state = self.0.borrow_mut();
        state.keep_max = 0;
        // What the current attempt hasn't drawn yet is still due to it.
        if state.kept.as_ref().is_some_and(Kept::is_drawn) {
            state.kept = None;
        }
    }

    /// The client sends nothing before it is told to.
    pub(crate) fn withhold(&self) {
        self.0.borrow_mut().withheld = true;
    }

    /// The client is told to send it.
    pub(crate) fn grant(&self) {
        self.0.borrow_mut().withheld = false;
    }

    pub(crate) fn watch(&self) -> Watch<B> {
        Watch(Rc::downgrade(&self.0))
    }

    /// Why the body broke off, if it did.
    pub(crate) fn broken(&self) -> Option<Broken> {
        self.0.borrow().broken
    }

    /// Who is to blame if nothing has moved for `timeout` since `sent`.
    pub(crate) fn stall(&self, sent: Instant, timeout: Duration) -> Stall {
        let state = self.0.borrow();
        let due = state.moved.max(sent) + timeout;
        if due > Instant::now() {
            Stall::Until(due)
        } else if state.waits_for_client && !state.ended && !state.withheld {
            Stall::Client
        } else {
            Stall::Backend
        }
    }
}

impl<B> Watch<B> {
    /// For a request without a body.
    pub(crate) fn of_nothing() -> Self {
        Self(Weak::new())
    }

    /// When something of it was taken last. `None` if nobody takes any more.
    pub(crate) fn moved(&self) -> Option<Instant> {
        self.0.upgrade().map(|state| state.borrow().moved)
    }
}

impl Kept {
    fn is_drawn(&self) -> bool {
        self.next == self.data.len() && (self.trailers.is_none() || self.trailers_drawn)
    }

    fn redraw(&mut self) -> Option<Frame<Bytes>> {
        if let Some(data) = self.data.get(self.next) {
            self.next += 1;
            return Some(Frame::data(data.clone()));
        }
        if self.trailers_drawn {
            return None;
        }
        self.trailers_drawn = self.trailers.is_some();
        self.trailers.clone().map(Frame::trailers)
    }

    fn undrawn_bytes(&self) -> u64 {
        self.data[self.next..].iter().map(|data| data.len() as u64).sum()
    }
}

impl<B: Body<Data = Bytes> + Unpin> State<B> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(frame) = self.kept.as_mut().and_then(Kept::redraw) {
            self.moved = Instant::now();
            return Poll::Ready(Some(Ok(frame)));
        }
        if let Some(broken) = self.broken {
            return Poll::Ready(Some(Err(broken)));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.source).poll_frame(cx);
        self.waits_for_client = polled.is_pending();
        let Poll::Ready(polled) = polled else {
            return Poll::Pending;
        };
        (self.withheld, self.moved) = (false, Instant::now());
        match polled {
            Some(Ok(frame)) => Poll::Ready(Some(self.take(frame))),
            Some(Err(_)) => Poll::Ready(Some(Err(self.fail(Broken::Client)))),
            None => {
                self.ended = true;
                Poll::Ready(None)
            }
        }
    }

    fn take(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, Broken> {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        if let Some(left) = &mut self.left {
            match left.checked_sub(bytes as u64) {
                Some(rest) => *left = rest,
                None => return Err(self.fail(Broken::TooLarge)),
            }
        }
        self.keep(&frame, bytes);
        self.ended = self.ended || frame.is_trailers() || self.source.is_end_stream();
        Ok(frame)
    }

    fn keep(&mut self, frame: &Frame<Bytes>, bytes: usize) {
        let Some(kept) = &mut self.kept else { return };
        // An empty frame costs no bytes but a place in the list.
        let cost = bytes.max(size_of::<Bytes>());
        if kept.bytes + cost > self.keep_max {
            self.kept = None;
            return;
        }
        kept.bytes += cost;
        if let Some(data) = frame.data_ref() {
            kept.data.push(data.clone());
            kept.next = kept.data.len();
        } else if let Some(trailers) = frame.trailers_ref() {
            kept.trailers = Some(trailers.clone());
            kept.trailers_drawn = true;
        }
    }

    fn fail(&mut self, broken: Broken) -> Broken {
        self.broken = Some(broken);
        broken
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Draw<B> {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let mut state = self.state.borrow_mut();
        if state.attempt != self.attempt {
            return Poll::Ready(Some(Err(Broken::Superseded)));
        }
        state.poll(cx)
    }

    fn is_end_stream(&self) -> bool {
        let state = self.state.borrow();
        state.ended && state.broken.is_none() && state.kept.as_ref().is_none_or(Kept::is_drawn)
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.state.borrow();
        let again = state.kept.as_ref().map_or(0, Kept::undrawn_bytes);
        match state.source.size_hint().exact() {
            Some(rest) => SizeHint::with_exact(again + rest),
            None => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests;
