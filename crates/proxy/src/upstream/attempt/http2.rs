//! One attempt by HTTP/2: a stream of a shared connection.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use edgeproxy_backend::Endpoint;
use h2::Reason;
use h2::client::ResponseFuture;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::mux::{Mux, Slot, Way};
use super::{Made, Unanswered, await_response};
use crate::Config;
use crate::exchange::retry::Failed;
use crate::exchange::upload::{Draw, Upload};
use crate::headers::via::Pseudonym;
use crate::http2::interim::{self, MAX_INTERIM, Respond};
use crate::http2::pump::{Pump, Stopped};
use crate::http2::receive::Receive;
use crate::worker::timer::Timer;

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

/// Writes a request to a stream and waits for its response's head; `respond` takes interim responses.
pub(crate) async fn send(
    mut slot: Slot,
    request: Request<()>,
    upload: &Upload,
    (respond, pseudonym): (&Respond, &Pseudonym),
    (timer, timeout): (&Timer, Duration),
) -> Result<Response<Arriving>, Unanswered> {
    let sent = Instant::now();
    let (draw, reused) = (upload.draw(), slot.reused);
    let failed = |error: &h2::Error| unanswered(error, reused, upload);
    let ended = draw.is_end_stream();
    let (mut response, stream) = slot.sender.send_request(request, ended).map_err(|e| failed(&e))?;
    let slot = Rc::new(slot);
    let sending = if ended {
        Sending(None)
    } else {
        begin(draw, stream, &slot).await
    };
    let mut left = MAX_INTERIM;
    let response = poll_fn(|cx| {
        while let Some(interim) = poll_interim(cx, &mut response, &mut left, pseudonym)? {
            respond.pass(cx, interim, upload);
        }
        Pin::new(&mut response).poll(cx).map_err(|error| failed(&error))
    });
    let response = await_response(response, upload, timer, (sent, timeout)).await??;
    let (parts, body) = response.into_parts();
    let arriving = Arriving {
        body: Receive::new(body, &parts.headers, slot.sections()),
        sending,
        _slot: slot,
    };
    Ok(Response::from_parts(parts, arriving))
}

/// The next interim response of those that have come, of which `left` more are taken. To be asked before the final
/// one, which h2 looks for behind them.
pub(crate) fn poll_interim(
    cx: &mut Context<'_>,
    response: &mut ResponseFuture,
    left: &mut u32,
    pseudonym: &Pseudonym,
) -> Result<Option<Response<()>>, Failed> {
    // What else there may be the response's future says, too.
    let Poll::Ready(Some(Ok(came))) = response.poll_informational(cx) else {
        return Ok(None);
    };
    *left = left.checked_sub(1).ok_or(Failed::Malformed)?;
    let (parts, ()) = came.into_parts();
    let interim = interim::interim(parts.status, parts.version, parts.headers, pseudonym);
    interim.map(Some).ok_or(Failed::Malformed)
}

/// Sends what can be sent at once; the rest is a task's.
async fn begin(draw: Draw, stream: h2::SendStream<Bytes>, slot: &Rc<Slot>) -> Sending {
    let mut pump = Pump::new(draw, stream);
    let first = poll_fn(|cx| Poll::Ready(pump.poll(cx))).await;
    if let Poll::Ready(ended) = first {
        end(&mut pump, ended.err().as_ref());
        return Sending(None);
    }
    let slot = Rc::clone(slot);
    Sending(Some(tokio::task::spawn_local(async move {
        let ended = poll_fn(|cx| pump.poll(cx)).await;
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
    match upload.broken() {
        Some(broken) => Unanswered::Client(broken),
        None => failure(error, reused).into(),
    }
}

/// Why a request got no response, whose stream ended so. `reused`: its connection was there already.
pub(crate) fn failure(error: &h2::Error, reused: bool) -> Failed {
    tracing::debug!(%error, reused, "a request got no response");
    if error.is_remote() && error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM) {
        Failed::Refused
    } else if error.is_remote() && error.is_go_away() {
        // Only streams above the last one that the backend names end so; those below go on.
        if reused { Failed::GoneAway } else { Failed::Refused }
    } else if error.is_library() {
        Failed::Malformed
    } else {
        Failed::NoResponse
    }
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

/// How a request gets to the backend, see [`Mux::way`].
pub(crate) async fn way(
    mux: &Rc<Mux>,
    endpoint: &Arc<Endpoint>,
    config: &Config,
    connecting: (Duration, &Made),
) -> Result<Way, Failed> {
    if mux.is_cut() {
        return Err(Failed::Connect);
    }
    match mux.free(true) {
        Some(slot) => Ok(Way::Stream(slot)),
        None => Box::pin(mux.way(endpoint, config, connecting)).await,
    }
}
