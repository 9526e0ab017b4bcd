//! One attempt by HTTP/2: a stream of a shared connection.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::Reason;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::mux::{Mux, Slot};
use super::{Unanswered, await_response};
use crate::http2::pump::{Pump, Stopped};
use crate::http2::receive::Receive;
use crate::retry::Failed;
use crate::timer::Timer;
use crate::upload::{Draw, Upload};

/// A response's body. Dropped before its end it resets the stream, and the request's body with it.
pub(crate) struct Arriving {
    body: Receive,
    sending: Sending,
    _slot: Rc<Slot>,
}

/// The request's body, which is sent by a task of its own while the response comes.
struct Sending(Option<JoinHandle<()>>);

impl Drop for Sending {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            // With the last handle on the stream h2 resets it, with CANCEL.
            task.abort();
        }
    }
}

/// Writes a request to a stream and waits for its response's head.
pub(crate) async fn send(
    mut slot: Slot,
    request: Request<()>,
    upload: &Upload,
    (timer, timeout): (&Timer, std::time::Duration),
) -> Result<Response<Arriving>, Unanswered> {
    let sent = Instant::now();
    let (draw, reused) = (upload.draw(), slot.reused);
    let failed = |error: &h2::Error| unanswered(error, reused, upload);
    let ended = draw.is_end_stream();
    let (response, stream) = slot.sender.send_request(request, ended).map_err(|e| failed(&e))?;
    let slot = Rc::new(slot);
    let sending = if ended {
        Sending(None)
    } else {
        begin(draw, stream, &slot).await
    };
    let response = await_response(response, upload, timer, (sent, timeout)).await?;
    let (parts, body) = response.map_err(|error| failed(&error))?.into_parts();
    let arriving = Arriving {
        body: Receive::new(body, &parts.headers),
        sending,
        _slot: slot,
    };
    Ok(Response::from_parts(parts, arriving))
}

/// Sends what can be sent at once; the rest is a task's.
async fn begin(draw: Draw, stream: h2::SendStream<Bytes>, slot: &Rc<Slot>) -> Sending {
    let mut pump = Pump::new(draw, stream);
    let first = std::future::poll_fn(|cx| Poll::Ready(pump.poll(cx))).await;
    if let Poll::Ready(ended) = first {
        end(&mut pump, ended.err().as_ref());
        return Sending(None);
    }
    let slot = Rc::clone(slot);
    Sending(Some(tokio::task::spawn_local(async move {
        let ended = std::future::poll_fn(|cx| pump.poll(cx)).await;
        end(&mut pump, ended.err().as_ref());
        drop(slot);
    })))
}

/// A request's body that broke off is never ended as if it were whole.
fn end<E>(pump: &mut Pump<Draw>, stopped: Option<&Stopped<E>>) {
    if let Some(Stopped::Source(_)) = stopped {
        pump.reset(Reason::CANCEL);
    }
}

fn unanswered(error: &h2::Error, reused: bool, upload: &Upload) -> Unanswered {
    tracing::debug!(%error, reused, "a request got no response");
    if let Some(broken) = upload.broken() {
        return Unanswered::Client(broken);
    }
    let failed = if error.is_remote() && error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM) {
        Failed::Refused
    } else if error.is_remote() && error.is_go_away() {
        // Only streams above the last one that the backend names end so; those below go on.
        if reused { Failed::GoneAway } else { Failed::Refused }
    } else if error.is_library() {
        Failed::Malformed
    } else {
        Failed::NoResponse
    };
    failed.into()
}

impl Arriving {
    /// The backend has said everything. What the client still sends goes on.
    pub(crate) fn finish(mut self) {
        self.sending.0.take();
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream of the backend that its request may have, see [`Mux::slot`].
pub(crate) async fn slot(
    mux: &Rc<Mux>,
    addr: std::net::SocketAddr,
    config: &crate::Config,
) -> Result<Slot, Unanswered> {
    if mux.is_cut() {
        return Err(Failed::Connect.into());
    }
    match mux.free(true) {
        Some(slot) => Ok(slot),
        None => Ok(Box::pin(mux.slot(addr, config)).await?),
    }
}
